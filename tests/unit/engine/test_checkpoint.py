"""Snapshots and comparisons with a real child process, beside a server that goes on writing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE_S
from tests.unit.engine.lab import START_MS, Client, Clock, Lab, op
from tests.unit.engine.test_boot import some_of_everything
from vaylix_resp.commands.ports import Later
from vaylix_resp.engine.checkpoint import IN_PROGRESS, Checkpoint
from vaylix_resp.engine.children import Children
from vaylix_resp.engine.group_commit import GroupCommit
from vaylix_resp.engine.keys import ServerKeys
from vaylix_resp.engine.node import Run
from vaylix_resp.errors import EX_IO, CommandError, Halt
from vaylix_resp.resp.reply import OK
from vaylix_resp.security.master_key import choose
from vaylix_resp.storage.disk import RealDisk
from vaylix_resp.storage.errors import IoFailed, WalFailed


class Office:
    """A lab on a real disk with a group commit and a checkpoint, inside the running event loop."""

    def __init__(self, root: Path, mode: str = "inline", **options: Any) -> None:
        disk = RealDisk()
        opened = ServerKeys(disk, str(root), choose(str(root)), encryption=True, now_ms=START_MS)
        self.lab = Lab(disk, root=str(root), keys=opened(None), **options)
        self.halts: list[Halt] = []
        self.commit = GroupCommit(self.lab.node, asyncio.get_running_loop(), self.halts.append)
        self.commit.mode = mode
        self.checkpoint = Checkpoint(
            self.lab.store, self.lab.node, self.commit, self.lab.clock, self.lab.databases, Children(opened.secret)
        )  # fmt: skip
        self.ends: list[tuple[bool, str]] = []
        self.checkpoint.on_end = lambda ok, error: self.ends.append((ok, error))
        self.snapshots = root / "snapshots"

    async def write(self, *texts: str, db: int = 0) -> None:
        self.lab.client.write(*(op(text, db) for text in texts))
        while not self.commit.idle:
            await asyncio.sleep(0)

    async def save(self) -> Any:
        return await reply_of(self.checkpoint.start())

    def files(self) -> list[str]:
        return sorted(path.name for path in self.snapshots.iterdir())

    def segments(self) -> list[str]:
        return sorted(path.name for path in (self.snapshots.parent / "wal").glob("0*.wal"))

    async def close(self, *, clean: bool = False) -> Lab:
        """The state that a restart finds."""
        await self.checkpoint.cancel()
        while not self.commit.idle:
            await asyncio.sleep(0)
        self.commit.close()
        return self.lab.restart(clean=clean, term=False)


async def reply_of(later: Later | CommandError) -> Any:
    if isinstance(later, CommandError):
        return later
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    later.listen(future.set_result)
    return await asyncio.wait_for(future, PATIENCE_S)


class Writer(Client):
    """Writes again as soon as it is answered, until told to stop: the open batch is never empty for long."""

    stopped = False

    def begin(self) -> None:
        self.write(op(f"APPEND {self.name} x"), op("INCR n"))

    def complete(self, run: Run) -> None:
        super().complete(run)
        if not self.stopped:
            self.begin()


async def test_a_snapshot_is_published_and_the_log_pruned(tmp_path: Path) -> None:
    office = Office(tmp_path)
    some_of_everything(office.lab)
    office.lab.store.wal.rotate()
    await office.write("SET k 1")
    sequence = office.lab.node.applied
    assert office.checkpoint.changes_since == sequence
    office.lab.clock.ms += 5000
    late: list[tuple[str, float]] = []
    office.lab.node.stages.on_late, office.lab.node.stages.late_s = lambda *told: late.append(told), 0.0
    assert await office.save() is OK
    assert ("snapshot", office.checkpoint.last_duration_s) in late
    (info,) = office.lab.store.manifest.snapshots
    assert info.sequence == office.checkpoint.sequence == sequence
    assert office.files() == [info.file] and office.segments() == []
    assert office.checkpoint.changes_since == 0 and office.checkpoint.log_bytes_since == 0
    assert office.checkpoint.last_save_unix == office.lab.clock.ms // 1000
    assert office.ends == [(True, "")] and office.checkpoint.count == 1 and office.checkpoint.last_ok
    assert not office.checkpoint.running and office.checkpoint.progress == 1.0
    await office.write("SET k 2")
    assert office.checkpoint.changes_since == 1 and office.checkpoint.log_bytes_since > 0
    live = office.lab.digest()
    again = await office.close()
    assert again.digest() == live
    assert Checkpoint(again.store, again.node, office.commit, again.clock, 4, Children()).sequence == sequence


@pytest.mark.parametrize("mode", ["inline", "thread"])
async def test_snapshots_and_comparisons_beside_writers(mode: str, tmp_path: Path) -> None:
    """The child is asked for the sequence at which the log was sealed, whatever is written meanwhile."""
    office = Office(tmp_path, mode)
    writers = [Writer(office.lab.node, office.lab.told, name) for name in "abc"]
    for writer in writers:
        writer.begin()
    for _ in range(3):
        assert await office.save() is OK
        assert await reply_of(office.checkpoint.rebuild_and_compare()) is OK
    for writer in writers:
        writer.stopped = True
    assert office.checkpoint.count == 3 and office.halts == []
    assert {what for _, what, _ in office.lab.told} == {"done"}
    while not office.commit.idle:
        await asyncio.sleep(0)
    live = office.lab.digest()
    assert (await office.close(clean=True)).digest() == live


async def test_one_at_a_time(tmp_path: Path) -> None:
    office = Office(tmp_path)
    first = office.checkpoint.start()
    second = office.checkpoint.start()
    assert isinstance(second, CommandError) and second.text == IN_PROGRESS
    assert office.checkpoint.running and office.checkpoint.started_s is not None
    assert await reply_of(first) is OK
    assert await office.save() is OK
    await office.close()


async def test_nothing_new_is_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(tmp_path)
    assert await office.save() is OK
    file = office.snapshots / office.files()[0]
    before = file.stat()
    monkeypatch.setattr(office.checkpoint._children, "run", None)
    office.lab.clock.ms += 60_000
    assert await office.save() is OK
    assert file.stat() == before
    assert office.checkpoint.last_save_unix == office.lab.clock.ms // 1000 and office.checkpoint.count == 2
    await office.close()


# Endings.


async def until_the_child_runs(office: Office) -> Any:
    while not office.checkpoint._children._processes:
        await asyncio.sleep(0.001)
    (process,) = office.checkpoint._children._processes
    return process


async def test_a_cancelled_snapshot_leaves_nothing(tmp_path: Path) -> None:
    office = Office(tmp_path)
    office.checkpoint.throttle_bytes = 1000  # it would take a while
    for number in range(40):
        await office.write(f"SET key:{number} {'x' * 500}")
    later = office.checkpoint.start()
    process = await until_the_child_runs(office)
    await office.checkpoint.cancel()
    assert process.returncode == -signal.SIGTERM and not office.checkpoint.running
    reply = await reply_of(later)
    assert isinstance(reply, CommandError) and reply.text.startswith("ERR snapshot failed")
    assert office.files() == [] and office.lab.store.manifest.snapshots == ()
    live = office.lab.digest()
    assert (await office.close(clean=True)).digest() == live


async def test_cancelling_before_the_child_is_there(tmp_path: Path) -> None:
    office = Office(tmp_path)
    later = office.checkpoint.start()
    await office.checkpoint.cancel()
    assert isinstance(await reply_of(later), CommandError)
    assert office.files() == []
    await office.checkpoint.cancel()  # nothing runs: nothing happens
    await office.close()


@pytest.mark.parametrize("how", ["killed", "paused, then killed"])
async def test_a_child_that_is_killed(how: str, tmp_path: Path) -> None:
    office = Office(tmp_path)
    office.checkpoint.throttle_bytes = 1000
    for number in range(40):
        await office.write(f"SET key:{number} {'x' * 500}")
    later = office.checkpoint.start()
    process = await until_the_child_runs(office)
    if "paused" in how:
        os.kill(process.pid, signal.SIGSTOP)
        await office.write("SET meanwhile 1")  # nobody waits for a snapshot
    os.kill(process.pid, signal.SIGKILL)
    reply = await reply_of(later)
    assert isinstance(reply, CommandError) and "status -9" in reply.text
    assert office.ends == [(False, reply.text)] and office.checkpoint.last_error == reply.text
    assert not office.checkpoint.last_ok and not office.checkpoint.running
    assert office.files() == []
    office.checkpoint.throttle_bytes = 0
    assert await office.save() is OK and office.checkpoint.last_ok and office.checkpoint.last_error == ""
    live = office.lab.digest()
    assert (await office.close()).digest() == live


async def test_a_half_written_file_of_a_killed_child_goes(tmp_path: Path) -> None:
    """Otherwise failures that come again and again would fill the disk until the next start."""
    office = Office(tmp_path)
    await office.write("SET k 1")
    sequence = office.lab.node.applied
    half = office.snapshots / f"snapshot-{sequence:020d}.vxs.tmp"

    async def child(arguments: list[str], *listeners: Any) -> dict[str, Any]:
        half.write_bytes(b"half")
        raise OSError("no more processes")

    office.checkpoint._children.run = child  # type: ignore[method-assign]
    reply = await office.save()
    assert isinstance(reply, CommandError) and "no more processes" in reply.text
    assert not half.exists()
    await office.close()


async def test_a_snapshot_that_cannot_be_published_gives_its_room_back(tmp_path: Path) -> None:
    """The disk is full by now, for the manifest as well: what holds the room must not stay until the next start."""
    office = Office(tmp_path)
    await office.write("SET k 1")
    disk = office.lab.store.disk
    real = disk.replace_file

    def full(path: str, data: bytes) -> None:
        raise OSError(28, "No space left on device", path)

    disk.replace_file = full  # type: ignore[method-assign]
    reply = await office.save()
    assert isinstance(reply, CommandError) and "No space" in reply.text
    assert office.files() == []
    disk.replace_file = real  # type: ignore[method-assign]
    await office.write("SET k 2")
    assert await office.save() is OK and len(office.files()) == 1
    live = office.lab.digest()
    assert (await office.close()).digest() == live


async def test_a_published_snapshot_stays_if_nobody_can_say_for_how_long(tmp_path: Path) -> None:
    """The manifest that names it is there, but the disk has not confirmed it."""
    office = Office(tmp_path)
    await office.write("SET k 1")
    disk = office.lab.store.disk
    real = disk.replace_file

    def unsure(path: str, data: bytes) -> None:
        real(path, data)
        raise OSError(5, "Input/output error", path)

    disk.replace_file = unsure  # type: ignore[method-assign]
    assert isinstance(await office.save(), CommandError)
    assert len(office.files()) == 1
    disk.replace_file = real  # type: ignore[method-assign]
    live = office.lab.digest()
    assert (await office.close()).digest() == live


def answers_nothing(office: Office) -> None:
    async def child(arguments: list[str], *listeners: Any) -> dict[str, Any]:
        return {"progress": 0.5}

    office.checkpoint._children.run = child  # type: ignore[method-assign]


def cannot_publish(office: Office) -> None:
    def publish(*_: object, **__: object) -> None:
        raise IoFailed("snapshots", OSError(28, "No space left on device"))

    office.lab.store.publish_snapshot = publish  # type: ignore[method-assign]


def has_a_bug(office: Office) -> None:
    def prune(*_: object) -> int:
        raise ZeroDivisionError

    office.lab.store.prune = prune  # type: ignore[method-assign]


@pytest.mark.parametrize("fault", [answers_nothing, cannot_publish, has_a_bug])
async def test_whatever_goes_wrong_is_not_ok(fault: Callable[[Office], None], tmp_path: Path) -> None:
    office = Office(tmp_path)
    await office.write("SET k 1")
    fault(office)
    reply = await office.save()
    assert isinstance(reply, CommandError) and reply.text.startswith("ERR snapshot failed: ")
    assert office.ends == [(False, reply.text)] and not office.checkpoint.running
    await office.write("SET k 2")
    live = office.lab.digest()
    assert (await office.close()).digest() == live


async def test_a_snapshot_that_is_published_is_no_failure_when_old_files_cannot_be_deleted(tmp_path: Path) -> None:
    office = Office(tmp_path)
    await office.write("SET k 1")
    assert await office.save() is OK
    prune, refusals = office.lab.store.prune, [IoFailed("wal", OSError(5, "Input/output error"))]

    def refuse_once(up_to: int | None = None) -> int:
        if refusals:
            raise refusals.pop()
        return prune(up_to)

    office.lab.store.prune = refuse_once  # type: ignore[method-assign]
    await office.write("SET k 2")
    assert await office.save() is OK and refusals == []
    assert len(office.files()) == 2 and len(office.segments()) == 1
    async with office.checkpoint.reading():
        pass
    assert len(office.files()) == 1 and office.segments() == []
    await office.close()


async def test_a_stopped_log_is_not_snapshotted(tmp_path: Path) -> None:
    office = Office(tmp_path)
    office.lab.node.log_failed("the disk is gone")
    reply = await office.save()
    assert isinstance(reply, CommandError)
    assert reply.text == "MISCONF no snapshot while the log is stopped: the disk is gone"
    await office.close()


@pytest.mark.parametrize("exits", [False, True])
async def test_a_log_that_fails_at_the_seal(exits: bool, tmp_path: Path) -> None:
    """Writers learn of it at once, not from an INDETERMINATE that nothing made uncertain."""
    office = Office(tmp_path, exit_on_io_error=exits)

    def rotate() -> None:
        raise WalFailed("active.wal: fsync failed")

    office.lab.store.wal.rotate = rotate  # type: ignore[method-assign]
    reply = await office.save()
    assert isinstance(reply, CommandError) and "fsync failed" in reply.text
    assert office.lab.node.failure == "active.wal: fsync failed"
    assert [halt.exit_code for halt in office.halts] == ([EX_IO] if exits else [])
    if not exits:
        await office.write("SET k 1")
        assert office.lab.told[-1] == ("c", "failed", "MISCONF")
    office.commit._scheduled = False
    await office.close()


# The comparison.


async def test_memory_and_disk_are_compared(tmp_path: Path) -> None:
    office = Office(tmp_path)
    some_of_everything(office.lab)
    assert await reply_of(office.checkpoint.rebuild_and_compare()) is OK
    assert await office.save() is OK
    some_of_everything(office.lab, "again")
    assert await reply_of(office.checkpoint.rebuild_and_compare()) is OK
    await office.close()


def change_a_value(office: Office) -> None:
    items = office.lab.machine.world.databases[2].items
    key = next(iter(items))
    items[key] = items[key][:-1] + b"?"


def lose_a_key(office: Office) -> None:
    db = office.lab.machine.world.databases[2]
    db.remove(next(iter(db.items)))


def move_an_expiry(office: Office) -> None:
    db = office.lab.machine.world.databases[2]
    db.set_expiry(next(iter(db.items)), 1)


def forget_a_version(office: Office) -> None:
    office.lab.machine.world.deleted_version -= 1


@pytest.mark.parametrize("fault", [change_a_value, lose_a_key, move_an_expiry, forget_a_version])
async def test_a_difference_is_found(fault: Callable[[Office], None], tmp_path: Path) -> None:
    office = Office(tmp_path)
    some_of_everything(office.lab)
    fault(office)
    reply = await reply_of(office.checkpoint.rebuild_and_compare())
    assert isinstance(reply, CommandError) and reply.text.startswith("ERR the state in memory (")
    assert "differs from the one on disk" in reply.text
    await office.close()


async def test_a_comparison_that_cannot_be_made(tmp_path: Path) -> None:
    office = Office(tmp_path)
    office.checkpoint._databases = 1
    reply = await reply_of(office.checkpoint.rebuild_and_compare())
    assert isinstance(reply, CommandError) and reply.text.startswith("ERR the state could not be rebuilt: ")
    assert "set `databases 4` or more" in reply.text
    await office.close()


async def test_a_comparison_and_a_snapshot_wait_for_each_other(tmp_path: Path) -> None:
    """The snapshot's pruning would take away the segments that the comparison reads."""
    office = Office(tmp_path)
    for number in range(30):
        await office.write(f"SET key:{number} {'x' * 1000}")
    compare, save = office.checkpoint.rebuild_and_compare, office.checkpoint.start
    laters = [compare(), save(), compare()]
    assert [await reply_of(later) for later in laters] == [OK] * 3
    await office.write("SET k 1")
    laters = [save(), compare(), compare()]
    assert [await reply_of(later) for later in laters] == [OK] * 3
    assert not office.checkpoint._tasks
    await office.close()


async def test_the_end_of_the_server_ends_both(tmp_path: Path) -> None:
    office = Office(tmp_path)
    comparison, snapshot = office.checkpoint.rebuild_and_compare(), office.checkpoint.start()
    while len(office.checkpoint._children._processes) < 2:
        await asyncio.sleep(0.001)
    processes = [*office.checkpoint._children._processes]
    await office.checkpoint.cancel()
    assert all(process.returncode is not None for process in processes) and not office.checkpoint._children._processes
    for later in (comparison, snapshot):
        assert isinstance(await reply_of(later), CommandError)
    await office.close(clean=True)


async def test_progress_is_what_the_child_last_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(tmp_path, clock=Clock())
    for number in range(20):
        await office.write(f"SET key:{number} {'x' * 500}")
    office.checkpoint.throttle_bytes = 5000
    later = office.checkpoint.start()
    seen = set()
    while office.checkpoint.running:
        seen.add(office.checkpoint.progress)
        await asyncio.sleep(0.01)
    assert await reply_of(later) is OK
    assert all(0 <= value <= 1 for value in seen) and 0.0 in seen
    await office.close()


async def test_who_is_cancelled_before_the_log_is_sealed_harms_nobody(tmp_path: Path) -> None:
    """A stop cancels the archiver, and BACKUP ABORT its START: the batch in flight may end only after that."""
    office = Office(tmp_path)
    await office.write("SET k 1")
    for ask in (office.checkpoint.seal_log, office.checkpoint.renew_log, office.checkpoint.reading().__aenter__):
        waiting = asyncio.ensure_future(ask())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await office.write("SET k 2")
        assert office.halts == [] and office.segments() == []
    await office.close()
