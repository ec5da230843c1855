"""The log's upkeep: who is told what when the disk fills up, fails, or has room again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from vaylix_resp.engine.maintenance import LogKeeper
from vaylix_resp.engine.stages import Stages
from vaylix_resp.storage.errors import DiskFull, WalFailed


class FakeWal:
    def __init__(self) -> None:
        self.wants_spare = True
        self.spares_ready = 0
        self.prepared = 0
        self.error: Exception | None = None
        self.room = False

    def prepare_spare(self, pause: Any) -> bool:
        if self.error:
            raise self.error
        self.prepared += 1
        return True

    def probe_space(self) -> bool:
        return self.room


class FakeNode:
    def __init__(self) -> None:
        self.wal = FakeWal()
        self.appendfsync = "always"
        self.full = False
        self.failure: str | None = None
        self.syncs = 0
        self.halts = 0
        self.late: list[str] = []
        self.stages = Stages()
        self.stages.on_late, self.stages.late_s = lambda kind, seconds: self.late.append(kind), 0.5

    def sync(self) -> None:
        self.syncs += 1
        self.stages.synced(0.6)

    def out_of_space(self) -> None:
        self.full = True

    def space_is_back(self) -> None:
        self.full = False

    def log_failed(self, reason: str) -> None:
        self.failure = reason

    def halt_if_asked(self) -> None:
        self.halts += 1


def once(node: FakeNode, job: str) -> None:
    async def go() -> None:
        await getattr(LogKeeper(node, asyncio.get_running_loop()), job)()  # type: ignore[arg-type]

    asyncio.run(go())


@pytest.mark.parametrize("mode, syncs", [("always", 0), ("everysec", 1), ("no", 0)])
def test_the_fsync_of_every_second_is_for_one_mode(mode: str, syncs: int) -> None:
    node = FakeNode()
    node.appendfsync = mode
    once(node, "sync")
    assert node.syncs == syncs and node.late == ["fsync"] * syncs


def test_a_spare_is_made_when_there_is_need_of_one() -> None:
    node = FakeNode()
    once(node, "prepare")
    assert node.wal.prepared == 1
    node.wal.wants_spare = False
    once(node, "prepare")
    assert node.wal.prepared == 1


@pytest.mark.parametrize("spares, full", [(0, True), (1, False)])
def test_writes_stop_when_the_last_spare_is_gone_and_no_other_fits(spares: int, full: bool) -> None:
    node = FakeNode()
    node.wal.error, node.wal.spares_ready = DiskFull("no room"), spares
    once(node, "prepare")
    assert node.full is full


def test_a_full_disk_is_asked_until_it_has_room() -> None:
    node = FakeNode()
    node.full = True
    once(node, "prepare")
    assert node.wal.prepared == 0, "no more attempts than the probe's"
    once(node, "probe")
    assert node.full
    node.wal.room = True
    once(node, "probe")
    assert not node.full


def test_the_log_says_once_that_the_disk_is_full_and_that_it_is_not(caplog: pytest.LogCaptureFixture) -> None:
    """There may be room for a probe, again and again, and none for what is to be written."""
    node = FakeNode()
    node.wal.room = True

    async def go() -> list[int]:
        keeper, said = LogKeeper(node, asyncio.get_running_loop()), []  # type: ignore[arg-type]
        for full in (False, True, True, True, False, False, True, False):
            node.full = full
            await keeper.probe()
            said.append(len(caplog.messages))
        return said

    caplog.set_level("INFO", "vaylix.server")
    assert asyncio.run(go()) == [0, 1, 1, 1, 2, 2, 3, 4]
    assert [line.split(":")[0] for line in caplog.messages] == ["THE DISK IS FULL", "the disk has room again"] * 2


def test_a_failed_log_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    node = FakeNode()
    node.wal.error = WalFailed("the disk has gone")
    monkeypatch.setattr("vaylix_resp.engine.maintenance.SPARE_PERIOD_S", 0)
    monkeypatch.setattr("vaylix_resp.engine.maintenance.SYNC_PERIOD_S", 0)

    async def go() -> None:
        job = asyncio.create_task(LogKeeper(node, asyncio.get_running_loop()).run())  # type: ignore[arg-type]
        while node.failure is None:
            await asyncio.sleep(0)
        node.wal.error = None
        for _ in range(20):
            await asyncio.sleep(0)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job

    asyncio.run(go())
    assert (node.failure, node.halts, node.wal.prepared) == ("the disk has gone", 1, 0)
