"""The simulated event loop: time is the world's, threads take a disk's time, and the end is the end."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from tests.sim.cluster.loop import SimLoop
from vaylix_resp.errors import Refused


class Time:
    def __init__(self) -> None:
        self.now, self._count = 0.0, count()
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.loop = SimLoop(self._after, lambda: self.now, lambda: 0.25)

    def _after(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._count), call, arguments))

    def run(self) -> None:
        while self._events:
            self.now, _, call, arguments = heapq.heappop(self._events)
            call(*arguments)


def test_sleep_threads_and_time_limits() -> None:
    time, told = Time(), []

    async def story() -> None:
        await asyncio.sleep(3.0)
        told.append(round(time.now, 3))
        told.append(await asyncio.get_running_loop().run_in_executor(None, len, b"abc"))
        told.append(round(time.now, 3))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 2.0)
        told.append(round(time.now, 3))

    time.loop.create_task(story())
    time.run()
    assert told == [3.0, 3, 3.25, 5.25]


def test_what_goes_wrong_in_a_task_is_raised_but_for_refusals() -> None:
    async def fail(with_what: Exception) -> None:
        raise with_what

    time = Time()
    time.loop.create_task(fail(Refused("the disk")))
    time.run()
    time.loop.create_task(fail(KeyError("a bug")))
    with pytest.raises(KeyError):
        time.run()


def test_the_end_runs_finally_and_nothing_after_it() -> None:
    time, told = Time(), []

    async def story() -> None:
        try:
            await asyncio.sleep(1.0)
            told.append("slept")
        finally:
            told.append("finally")
            await asyncio.sleep(1.0)
            told.append("too late")

    time.loop.create_task(story())
    time._after(0.5, time.loop.end)
    time.run()
    assert told == ["finally"]
