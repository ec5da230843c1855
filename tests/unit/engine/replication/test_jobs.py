"""Work that nobody waits for: its end is heard when it is a bad one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from vaylix_resp.engine.replication.jobs import Jobs


@pytest.mark.parametrize(("fails", "heard"), [(False, []), (True, ["KeyError('bug')"])])
def test_a_job_that_breaks_is_heard_of(fails: bool, heard: list[str]) -> None:
    told: list[str] = []

    def guard(step: Callable[[], object]) -> None:
        try:
            step()
        except KeyError as bug:
            told.append(repr(bug))

    async def job() -> None:
        await asyncio.sleep(0)
        if fails:
            raise KeyError("bug")

    async def run() -> None:
        jobs = Jobs(asyncio.get_running_loop(), guard)
        jobs.begin(job())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not jobs._tasks, "none is kept when it is over"

    asyncio.run(run())
    assert told == heard


def test_what_is_cancelled_at_the_end_is_no_fault() -> None:
    told: list[object] = []

    async def run() -> None:
        jobs = Jobs(asyncio.get_running_loop(), told.append)
        jobs.begin(asyncio.sleep(60))
        await asyncio.sleep(0)
        jobs.close()
        await asyncio.sleep(0.001)

    asyncio.run(run())
    assert not told
