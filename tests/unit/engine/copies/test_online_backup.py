"""The online backup: every verb in every state, what the copy is worth, and crashes at every call of the disk."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest

from tests.patience import PATIENCE_S
from tests.sim.disk.simdisk import Fault, SimDisk
from tests.unit.engine.copies.backup_bench import Bench, files_below
from tests.unit.engine.lab import ROOT, Lab
from vaylix_resp.engine.copies import online_backup
from vaylix_resp.resp.reply import OK
from vaylix_resp.storage.manifest import read_manifest
from vaylix_resp.storage.sealing import CLEAR

COPY = f"{ROOT}/backups/online"
STATES = ("idle", "pending", "snapshotting", "incrementing", "sealed", "failed")

IN_PROGRESS = "ERR A backup is already in progress, ABORT it first"
NOT_READY = "ERR No backup ready to seal (must be in the incrementing state)"
NONE = "ERR No backup in progress"
RUNNING = "ERR Backup is in progress, ABORT it first"
SEALED = "ERR A sealed backup exists, CLEANUP it first"

# (verb, state) -> reply, state afterwards. The texts are Redis's.
TABLE: dict[tuple[str, str], tuple[Any, str]] = {
    ("start", "idle"): (OK, "incrementing"),
    ("start", "pending"): (IN_PROGRESS, "pending"),
    ("start", "snapshotting"): (IN_PROGRESS, "snapshotting"),
    ("start", "incrementing"): (IN_PROGRESS, "incrementing"),
    ("start", "sealed"): (SEALED, "sealed"),
    ("start", "failed"): (OK, "incrementing"),
    ("seal", "idle"): (NOT_READY, "idle"),
    ("seal", "pending"): (NOT_READY, "pending"),
    ("seal", "snapshotting"): (NOT_READY, "snapshotting"),
    ("seal", "incrementing"): (OK, "sealed"),
    ("seal", "sealed"): (NOT_READY, "sealed"),
    ("seal", "failed"): (NOT_READY, "failed"),
    ("abort", "idle"): (NONE, "idle"),
    ("abort", "pending"): (OK, "failed"),
    ("abort", "snapshotting"): (OK, "failed"),
    ("abort", "incrementing"): (OK, "failed"),
    ("abort", "sealed"): (NONE, "sealed"),
    ("abort", "failed"): (NONE, "failed"),
    ("cleanup", "idle"): (OK, "idle"),
    ("cleanup", "pending"): (RUNNING, "pending"),
    ("cleanup", "snapshotting"): (RUNNING, "snapshotting"),
    ("cleanup", "incrementing"): (RUNNING, "incrementing"),
    ("cleanup", "sealed"): (OK, "idle"),
    ("cleanup", "failed"): (OK, "idle"),
}


def run(scenario: Callable[[Bench], Awaitable[None]], lab: Lab | None = None, **settings: Any) -> Bench:
    """Play a scenario on a bench of its own; the bench is stopped as by a kill afterwards."""

    async def play() -> Bench:
        bench = Bench(lab or Lab(), **settings)
        try:
            await scenario(bench)
        finally:
            await bench.stop()
        assert bench.halts == []
        return bench

    return asyncio.run(play())


async def bring(bench: Bench, state: str) -> None:
    """From idle to any state."""
    await bench.write("SET a 1", "SET b 2")
    if state in ("pending", "snapshotting"):
        bench.children.gate.clear()
    if state == "pending":
        bench.checkpoint.start()
    if state != "idle":
        assert await bench.ask("start") is OK
        await bench.until(state if state in ("pending", "snapshotting") else "incrementing")
    if state == "sealed":
        assert await bench.ask("seal") is OK
    if state == "failed":
        assert await bench.ask("abort") is OK
    assert bench.backup.state == state


def test_the_table_is_complete():
    assert set(TABLE) == {(verb, state) for verb in ("start", "seal", "abort", "cleanup") for state in STATES}


@pytest.mark.parametrize(("verb", "state"), TABLE)
def test_every_verb_in_every_state(verb, state):
    async def scenario(bench: Bench) -> None:
        await bring(bench, state)
        reply, after = TABLE[verb, state]
        assert await bench.ask(verb) == reply
        if after == "incrementing":
            await bench.until("incrementing")
        assert bench.backup.state == after
        assert bench.backup.in_progress == (after in ("pending", "snapshotting", "incrementing"))
        if after in ("idle", "failed"):
            assert files_below(bench.lab.sim, COPY) == {}
            assert bench.backup.needed_from() is None

    run(scenario)


def test_status_tells_state_error_and_times():
    async def scenario(bench: Bench) -> None:
        ask = bench.backup.status
        assert ask() == {b"state": b"idle", b"error": b"", b"start_time": 0, b"end_time": 0}
        await bring(bench, "incrementing")
        began = bench.lab.clock.ms // 1000
        assert ask() == {b"state": b"incrementing", b"error": b"", b"start_time": began, b"end_time": 0}
        bench.lab.clock.ms += 5000
        await bench.ask("seal")
        assert ask() == {b"state": b"sealed", b"error": b"", b"start_time": began, b"end_time": began + 5}
        await bench.ask("cleanup")
        assert ask() == {b"state": b"idle", b"error": b"", b"start_time": 0, b"end_time": 0}
        await bench.ask("start")
        await bench.ask("abort")
        assert ask()[b"state"], ask()[b"error"] == (b"failed", b"aborted by user")

    run(scenario)


def test_a_waiting_backup_goes_on_when_the_other_snapshot_is_done():
    async def scenario(bench: Bench) -> None:
        await bring(bench, "pending")
        assert bench.backup.list() == []
        bench.children.gate.set()
        await bench.until("incrementing")

    run(scenario)


def test_the_copy_has_exactly_the_state_at_the_seal():
    digests = []

    async def scenario(bench: Bench) -> None:
        await bring(bench, "incrementing")
        assert [path.decode().rpartition("/")[2][:9] for path in bench.backup.list()] == ["snapshot-"]
        for number in range(30):
            await bench.write(f"SET key:{number} {'x' * 900}")  # several segments
        await bench.write("DEL a", "PEXPIREAT b 4000000000000")
        digests.append(bench.lab.digest())
        assert await bench.ask("seal") is OK
        await bench.write("SET late 1", "DEL b")

    bench = run(scenario)
    disk = bench.lab.sim
    names = set(files_below(disk, COPY))
    listed = {path.decode().removeprefix(COPY + "/") for path in bench.backup.list()}
    assert listed == names - {"backup.json"}
    assert {name.partition("/")[0] for name in listed} == {"snapshots", "wal", "keyring", "manifest.json"}
    assert sum(name.startswith("wal/") for name in names) > 2
    copy = Lab(disk, root=COPY, term=False)
    assert copy.digest() == digests[0]
    assert (copy.get("late"), copy.get("b")) == (None, b"2")
    copy.store.abandon()
    assert bench.lab.restart(term=False).get("late") == b"1"


def test_a_store_in_the_clear_has_a_copy_in_the_clear():
    async def scenario(bench: Bench) -> None:
        bench.backup._export_keyring = lambda: None
        await bring(bench, "sealed")

    disk = run(scenario, Lab(keys=CLEAR)).lab.sim
    assert not any(path.startswith(f"{COPY}/keyring/") for path in disk.names)
    assert Lab(disk, root=COPY, term=False, keys=CLEAR).get("b") == b"2"


def test_the_log_keeps_what_the_copy_lacks_however_many_snapshots_come():
    async def scenario(bench: Bench) -> None:
        await bring(bench, "incrementing")
        for number in range(3):
            for key in range(8):
                await bench.write(f"SET key:{number}:{key} {'x' * 900}")
            assert await bench.save() is OK
        kept = bench.lab.store.wal.segments()
        assert kept[0].first <= (bench.backup.needed_from() or 0)
        await bench.backup._follow()
        assert await bench.save() is OK  # what was linked meanwhile may go
        await bench.write("SET last 1")
        assert await bench.save() is OK
        assert bench.lab.store.wal.segments()[0].first > kept[0].first
        assert await bench.ask("seal") is OK
        assert Lab(bench.lab.sim.copy(), root=COPY, term=False).digest() == bench.lab.digest()

    run(scenario)


def test_the_files_that_are_shared_are_never_written_again():
    """Neither by the original nor by a server that is started in the copy."""

    async def scenario(bench: Bench) -> None:
        await bring(bench, "incrementing")
        for number in range(10):
            await bench.write(f"SET key:{number} {'y' * 900}")
        assert await bench.ask("seal") is OK

    disk = run(scenario).lab.sim
    shared = {path: inode for path, inode in disk.names.items() if path.startswith((f"{COPY}/wal", f"{COPY}/snap"))}
    before = {path: bytes(inode.shown) for path, inode in shared.items()}
    assert len(before) >= 2
    disk.kill()
    for root in (COPY, ROOT):
        lab = Lab(disk, root=root)
        for number in range(40):
            lab.write(f"SET key:{number} {'x' * 900}")
        lab = lab.restart()
        lab.write("SET again 1")
        lab.restart(clean=True).store.abandon()
    assert {path: bytes(inode.shown) for path, inode in shared.items()} == before
    assert not any(inode.pending for inode in shared.values())


def test_another_file_system_gets_copies():
    lab = Lab()
    lab.sim.mount("/mnt")

    async def scenario(bench: Bench) -> None:
        await bring(bench, "incrementing")
        await bench.write("SET c 3")
        assert await bench.ask("seal") is OK

    run(scenario, lab, backup_dir="/mnt")
    copy = Lab(lab.sim, root="/mnt/online", term=False)
    assert (copy.get("a"), copy.get("c")) == (b"1", b"3")
    linked = {id(inode) for path, inode in lab.sim.names.items() if path.startswith(ROOT)}
    assert not linked & {id(inode) for path, inode in lab.sim.names.items() if path.startswith("/mnt")}


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("", "ERR backupdirname '' is not a plain name"),
        ("..", "ERR backupdirname '..' is not a plain name"),
        ("a/b", "ERR backupdirname 'a/b' is not a plain name"),
        ("/tmp", "ERR backupdirname '/tmp' is not a plain name"),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(name, error):
    async def scenario(bench: Bench) -> None:
        assert (await bench.ask("start")).startswith(error)
        assert bench.backup.state == "idle"

    run(scenario, backupdirname=name)


def test_a_directory_with_anything_in_it_is_refused_and_left_alone():
    lab = Lab()
    lab.sim.mkdir(COPY)
    lab.sim.put(f"{COPY}/notes.txt", b"mine")

    async def scenario(bench: Bench) -> None:
        assert "is not empty" in await bench.ask("start")
        assert await bench.ask("cleanup") is OK
        assert files_below(lab.sim, COPY) == {"notes.txt": b"mine"}

    run(scenario, lab)


def test_a_foreign_file_among_ours_stays():
    async def scenario(bench: Bench) -> None:
        await bring(bench, "sealed")
        bench.lab.sim.put(f"{COPY}/wal/notes.txt", b"mine")
        assert await bench.ask("cleanup") is OK
        assert files_below(bench.lab.sim, COPY) == {"wal/notes.txt": b"mine"}
        assert "is not empty" in await bench.ask("start")

    run(scenario)


def test_a_backup_in_which_a_server_was_started_is_not_deleted():
    async def scenario(bench: Bench) -> None:
        await bring(bench, "sealed")
        other = Lab(bench.lab.sim, root=COPY)
        other.write("SET other 1")
        before = files_below(bench.lab.sim, COPY)
        assert "a server has been started in this backup" in await bench.ask("cleanup")
        assert bench.backup.state == "sealed"
        assert files_below(bench.lab.sim, COPY) == before
        other.store.abandon()

    run(scenario)


@pytest.mark.parametrize(
    ("state", "after", "error"),
    [
        ("idle", "idle", b""),
        ("incrementing", "failed", b"the server was restarted before BACKUP SEAL"),
        ("sealed", "sealed", b""),
        ("failed", "idle", b""),
    ],
)
def test_after_a_restart(state, after, error):
    before: list[Any] = []

    async def first(bench: Bench) -> None:
        await bring(bench, state)
        before.append((bench.backup.status(), sorted(bench.backup.list())))

    lab = run(first).lab.restart()

    async def second(bench: Bench) -> None:
        status = bench.backup.status()
        assert (status[b"state"], status[b"error"]) == (after.encode(), error)
        if after == "sealed":
            assert (status, sorted(bench.backup.list())) == before[0]
        if after == "failed":
            assert "run BACKUP CLEANUP" in await bench.ask("start")
        assert await bench.ask("cleanup") is OK
        assert await bench.ask("start") is OK
        await bench.until("incrementing")

    run(second, lab)


def test_a_sealed_backup_goes_when_its_time_is_over(monkeypatch):
    monkeypatch.setattr(online_backup, "FOLLOW_S", 0.01)

    async def scenario(bench: Bench) -> None:
        await bring(bench, "sealed")
        watch = asyncio.create_task(bench.backup.run())
        await asyncio.sleep(0.05)
        assert bench.backup.state == "sealed"
        bench.lab.clock.ms += 60_000
        await bench.until("idle")
        watch.cancel()
        assert files_below(bench.lab.sim, COPY) == {}

    run(scenario, backup_sealed_ttl=60)


def test_the_next_verb_may_come_with_the_reply_of_the_last():
    """As in a pipeline: the server executes it while the reply is being given."""

    async def scenario(bench: Bench) -> None:
        await bring(bench, "sealed")
        told: list[Any] = []
        bench.backup.cleanup().listen(lambda reply: told.append((reply, bench.backup.start())))
        await bench.until("incrementing")
        assert told == [(OK, OK)]

    run(scenario)


FAILURES = [
    ("create", "backups/online/backup.json.tmp", "failed"),
    ("link", "backups/online/snapshots", "failed"),
    ("link", "backups/online/wal", "incrementing"),
    ("create", "backups/online/manifest.json.tmp", "incrementing"),
]


@pytest.mark.parametrize(("call", "path", "state"), FAILURES)
def test_a_disk_that_refuses_fails_the_backup_and_nothing_else(call, path, state):
    """Before SEAL the backup is over; SEAL itself may be tried again."""

    async def scenario(bench: Bench) -> None:
        sim = bench.lab.sim
        real = sim.call

        def call_or_fail(name: str, where: str, *rest: Any, **more: Any) -> None:
            if name == call and path in where:
                raise OSError(errno.EIO, "Input/output error", where)
            real(name, where, *rest, **more)

        sim.call = call_or_fail  # type: ignore[method-assign]
        await bench.write("SET a 1")
        await bench.ask("start")
        await bench.until("incrementing", "failed")
        await bench.write("SET b 2")
        if state == "failed":
            assert bench.backup.state == "failed"
            assert "Input/output error" in bench.backup.error
            await bench.rest()
            assert files_below(sim, COPY) == {}
        else:
            assert "could not be sealed" in await bench.ask("seal")
            assert bench.backup.state == "incrementing"
        sim.call = real  # type: ignore[method-assign]
        assert await bench.write("SET c 3") is None and bench.lab.get("c") == b"3"
        if state == "failed":
            assert await bench.ask("start") is OK
            await bench.until("incrementing")
        assert await bench.ask("seal") is OK
        assert Lab(sim.copy(), root=COPY, term=False).get("c") == b"3"

    run(scenario)


class Story:
    """A fixed course of events with everything in it, on a disk that dies at one call."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.sealed: list[str] = []  # digests of what SEAL has been told of

    async def play(self, bench: Bench) -> None:
        await self._writes(bench, 1)
        await bench.ask("start")
        await bench.until("incrementing", "failed")
        await self._writes(bench, 8)
        await bench.backup._follow()
        await bench.save()
        await self._writes(bench, 2)
        self.digest = bench.lab.digest()
        if await bench.ask("seal") is OK:
            self.sealed.append(self.digest)
        await self._writes(bench, 1)
        self.sealed.clear()  # from here on it may be there or not
        await bench.ask("cleanup")

    async def _writes(self, bench: Bench, count: int) -> None:
        for _ in range(count):
            await bench.write(f"SET n {self.acknowledged + 1} ", f"SET pad:{self.acknowledged % 7} {'x' * 900}")
            self.acknowledged += 1


def play_until(call: int | None) -> tuple[Story, SimDisk, int]:
    """`call`: the one at which the power goes; None: never. The calls made after the engine was up."""
    lab, story = Lab(), Story()
    began = lab.sim.calls
    if call is not None:
        lab.sim.faults[began + call] = Fault("crash")

    async def play() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: None)  # it only prints the cut
        bench = Bench(lab)
        task = asyncio.create_task(story.play(bench))
        async with asyncio.timeout(PATIENCE_S):
            while not (task.done() or lab.sim.off):
                await asyncio.sleep(0.0005)
        task.cancel()  # it may wait for somebody whom the cut has met
        await asyncio.wait([task])
        bench.commit.close()
        await bench.backup.close()
        if call is None:
            task.result()

    asyncio.run(play())
    return story, lab.sim, lab.sim.calls - began


def test_a_crash_at_any_call_leaves_a_server_that_starts_and_a_backup_that_is_whole_or_none():
    _, _, calls = play_until(None)
    sealed = partial = 0
    for call in range(1, calls + 1):
        story, disk, _ = play_until(call)
        after = disk.crash(Random(call))
        lab = Lab(after)
        assert int(lab.get("n") or 0) >= story.acknowledged, call
        if after.exists(COPY) and read_manifest(after, COPY) is not None:
            sealed += 1
            assert Lab(after.copy(), root=COPY, term=False).digest() == story.digest, call
        else:
            assert not story.sealed, call  # what SEAL was answered OK to is there
            partial += bool(files_below(after, COPY))

        async def again(bench: Bench) -> None:
            assert bench.backup.state in ("idle", "failed", "sealed")
            if bench.backup.state != "idle":
                assert await bench.ask("cleanup") is OK
            assert set(files_below(bench.lab.sim, COPY)) <= {"backup.json.tmp"}
            assert await bench.ask("start") is OK
            await bench.until("incrementing")
            assert await bench.ask("seal") is OK

        if call % 5 == 0:
            run(again, lab)
    assert sealed and partial
