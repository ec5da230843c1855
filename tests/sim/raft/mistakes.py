"""What a deliberate mistake is: it puts what somebody might well have written in the place of something of the core.

`MUTATIONS` has each by its name, with the faults that it needs to show; the modules `mistakes_*` fill it.
Not here: mistakes that only cost time or room, which no run can tell from the right thing; the hunt (`mutations`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

Mutation = Callable[[ExitStack], None]
MUTATIONS: dict[str, tuple[Mutation, dict[str, Any]]] = {}


def mutation(**certain: Any) -> Callable[[Mutation], Mutation]:
    def noted(function: Mutation) -> Mutation:
        MUTATIONS[function.__name__.replace("_", " ")] = function, certain
        return function

    return noted


def replaced(stack: ExitStack, owner: object, name: str, new: object) -> Any:
    """Put `new` in the place of the attribute until the stack is closed; the attribute as it was."""
    old = getattr(owner, name)
    stack.enter_context(patch.object(owner, name, new))
    return old
