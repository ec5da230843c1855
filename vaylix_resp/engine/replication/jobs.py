"""Work on the loop that nobody waits for, and that must not end unheard.

Promise: whatever goes wrong in a job that should not goes to `guard`, which ends the process: a node that has silently
ceased to do something looks healthy and is not.
Not here: what can be foreseen, which each job sees to itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Jobs:
    """`guard` calls what it is given, and ends the process if that raises."""

    def __init__(self, loop: asyncio.AbstractEventLoop, guard: Callable[..., Any]) -> None:
        self._loop, self._guard = loop, guard
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, job: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(job)
        self._tasks.add(task)  # one that nobody refers to may be collected before it ends
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._guard(task.result)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
