"""Replies whose lives are watched: how many of them are held at the same time."""

from __future__ import annotations

from random import Random
from typing import Any
from weakref import WeakSet

from vaylix_resp.commands.registry import new_accounts
from vaylix_resp.state.machine import StateMachine


class Value:
    """A reply that can be looked for."""


class Reader:
    """Its `machine` answers READ with a new value; `most`: how many were held already whenever one was made."""

    def __init__(self) -> None:
        self._kept: WeakSet[Value] = WeakSet()
        self.most: list[int] = []
        self.machine = StateMachine({b"READ": self._read}, 3, rng=Random(1), accounts=new_accounts())

    def _read(self, tx: Any, argv: Any) -> Value:
        self.most.append(len(self._kept))
        self._kept.add(reply := Value())
        return reply
