"""archive-command: what it is called with, in which order, and what happens when it fails."""

from __future__ import annotations

import asyncio
import os
import re
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.patience import PATIENCE_S
from tests.sim.disk.simdisk import Fault, SimDisk
from tests.unit.engine.copies.backup_bench import Bench
from tests.unit.engine.lab import ROOT, Lab
from vaylix_resp.config_text import split_words
from vaylix_resp.engine.copies import archiver
from vaylix_resp.engine.copies.archiver import Archiver, WrongCommand, expand
from vaylix_resp.resp.reply import OK
from vaylix_resp.storage.copies.archive import Item
from vaylix_resp.storage.disk import RealDisk

CONF = Path(__file__).parents[4] / "conf" / "vaylix.conf"
KEYRING = "ffeeddccbbaa99887766554433221100"


@pytest.mark.parametrize(
    ("command", "path", "expanded"),
    [
        ("cp %p /a/%f", "/d/x.wal", "cp /d/x.wal /a/x.wal"),
        ("cp %p /a/%f", "/my data/x.wal", "cp '/my data/x.wal' /a/x.wal"),
        ("cp %p %f", "/it's/x.wal", """cp '/it'"'"'s/x.wal' x.wal"""),
        ("cp %p %f", "/$(rm -rf x);`y`/x.wal", "cp '/$(rm -rf x);`y`/x.wal' x.wal"),
        ("date +%%s; cp %p %%p", "/d/x.wal", "date +%s; cp /d/x.wal %p"),
        ("%%%p%%", "/d/x.wal", "%/d/x.wal%"),
        ("true", "/d/x.wal", "true"),
        ("cp %p %p", "/%f/x.wal", "cp /%f/x.wal /%f/x.wal"),
    ],
)
def test_what_the_shell_gets(command, path, expanded):
    assert expand(command, path, "x.wal") == expanded


@pytest.mark.parametrize("command", ["cp %s /a", "cp %", "cp %P %f", "%\n"])
def test_other_percent_signs_are_refused(command):
    with pytest.raises(WrongCommand, match="is not known, only %p"):
        expand(command, "/d/x.wal", "x.wal")


class Recorder(Archiver):
    """Without a shell: writes down what goes, and fails while `refuse` says so."""

    def __init__(self, bench: Bench, keyring: Any = lambda: (KEYRING, b"wrapped")) -> None:
        lab = bench.lab
        self.gone: list[str] = []
        self.contents: dict[str, bytes] = {}
        self.refuse = lambda item: ""
        self.rotations = 0

        async def rotate() -> None:
            self.rotations += 1
            await bench.checkpoint.seal_log()

        bench.settings.archive_command = bench.settings.archive_command or "cp %p %f"
        self.committed: int | None = None  # the test says so; None: all that is applied
        super().__init__(lab.store, lab.clock, bench.settings, rotate, self._know_committed, keyring)
        bench.checkpoint.needed_from.append(self.needed_from)
        self.disk = lab.disk

    def _know_committed(self) -> int:
        return self._store.wal.last if self.committed is None else self.committed

    async def _run(self, command: str, item: Item, path: str) -> str:
        problem = self.refuse(item)
        if not problem:
            self.gone.append(item.name)
            if path.endswith("keyring.json"):
                keyring = self._keyring()
                assert keyring is not None
                content = keyring[1]
            else:
                content = self.disk.read_file(path)
            assert self.contents.setdefault(item.name, content) == content
        return problem

    def kinds(self) -> str:
        return " ".join(name[0] if name[0] in "kms" else "w" for name in self.gone)


def play(scenario: Any, lab: Lab | None = None, **settings: Any) -> Bench:
    async def run() -> Bench:
        bench = Bench(lab or Lab(), **settings)
        try:
            await scenario(bench)
        finally:
            await bench.stop()
        return bench

    return asyncio.run(run())


async def fill(bench: Bench, count: int = 10) -> None:
    """More than one segment."""
    for number in range(count):
        await bench.write(f"SET key:{number} {'x' * 900}")


def test_everything_goes_in_order_once():
    async def scenario(bench: Bench) -> None:
        archive = Recorder(bench)
        await fill(bench)
        await bench.checkpoint.seal_log()
        await archive._turn()
        assert archive.kinds().startswith("k m w") and archive.kinds().count("w") >= 2
        sealed = [os.path.basename(one.path) for one in bench.lab.store.wal.segments()[:-1]]
        assert [name for name in archive.gone if name.endswith(".wal")] == sealed
        assert archive.pending() == []
        before = len(archive.gone)
        await archive._turn()
        assert len(archive.gone) == before
        await fill(bench)
        assert await bench.save() is OK
        await archive._turn()
        assert archive.kinds().endswith("w s m")
        assert archive.archived_count == len(archive.gone) == len(set(archive.gone))
        assert archive.sequence == bench.lab.store.wal.segments()[-2].last

    play(scenario)


def test_a_failure_is_tried_again_later_and_later_and_nothing_overtakes():
    async def scenario(bench: Bench) -> None:
        archive = Recorder(bench)
        await fill(bench)
        await archive._turn()
        done = len(archive.gone)
        await fill(bench)
        archive.refuse = lambda item: "the command ended with exit code 1: no route"
        pauses = [await archive._turn() for _ in range(9)]
        assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
        assert archive.failed_count == 9 and len(archive.gone) == done
        assert archive.last_error.endswith(": the command ended with exit code 1: no route")
        assert archive.last_failed_time == bench.lab.clock.ms // 1000
        archive.refuse = lambda item: ""
        await archive._turn()
        assert archive.pending() == [] and archive.gone == sorted(set(archive.gone), key=archive.gone.index)
        archive.refuse = lambda item: "again"
        await fill(bench)
        assert await archive._turn() == 1  # a success in between begins anew

    play(scenario)


def test_the_log_is_kept_until_it_is_archived():
    async def scenario(bench: Bench) -> None:
        archive = Recorder(bench)
        archive.refuse = lambda item: "full"
        for _ in range(3):
            await fill(bench)
            assert await bench.save() is OK
            await archive._turn()
        assert bench.lab.store.wal.segments()[0].first == 1
        assert (archive.needed_from(), archive.sequence) == (1, 0)
        archive.refuse = lambda item: ""
        await archive._turn()
        await fill(bench)
        assert await bench.save() is OK
        assert bench.lab.store.wal.segments()[0].first > 1

    play(scenario)


def test_after_a_restart_it_goes_on_where_it_was():
    gone: list[str] = []

    async def first(bench: Bench) -> None:
        archive = Recorder(bench)
        await fill(bench)
        await archive._turn()
        gone.extend(archive.gone)

    async def second(bench: Bench) -> None:
        archive = Recorder(bench)
        await fill(bench)
        await archive._turn()
        assert archive.gone and not set(archive.gone) & set(gone)

    play(second, play(first).lab.restart())


@pytest.mark.parametrize("damage", ["flip", "remove", "other command"])
def test_without_its_account_or_with_another_command_everything_goes_again(damage):
    async def first(bench: Bench) -> None:
        await fill(bench)
        await Recorder(bench)._turn()

    lab = play(first).lab
    disk = lab.sim
    if damage == "flip":
        disk.flip(f"{ROOT}/archive/state.json", 1000)
    if damage == "remove":
        disk.remove(f"{ROOT}/archive/state.json")

    async def second(bench: Bench) -> None:
        if damage == "other command":
            bench.settings.archive_command = "cp %p /elsewhere"
        archive = Recorder(bench)
        assert archive.needed_from() == 1
        await archive._turn()
        assert archive.kinds().startswith("k m w w")

    play(second, lab.restart())


def test_without_a_command_nothing_is_kept_or_done():
    async def scenario(bench: Bench) -> None:
        archive = Recorder(bench)
        bench.settings.archive_command = ""
        await fill(bench)
        await archive._turn()
        assert (archive.enabled, archive.gone, archive.pending(), archive.needed_from()) == (False, [], [], None)
        assert archive.sequence == 0

    play(scenario)


def test_a_new_key_goes_before_what_it_has_sealed():
    async def scenario(bench: Bench) -> None:
        content = [b"one key"]
        archive = Recorder(bench, lambda: (KEYRING, content[0]))
        await fill(bench)
        await archive._turn()
        content[0] = b"two keys"
        await fill(bench)
        before = len(archive.gone)
        await archive._turn()
        assert archive.gone[before].startswith(f"keyring-{KEYRING}-") and archive.gone[before + 1].endswith(".wal")
        copies = [name for name in archive.gone if name.startswith("keyring")]
        assert copies == sorted(copies) and [archive.contents[name] for name in copies] == [b"one key", b"two keys"]

    play(scenario)


def test_a_store_in_the_clear_has_no_keyring_to_archive():
    async def scenario(bench: Bench) -> None:
        archive = Recorder(bench, lambda: None)
        await fill(bench)
        await archive._turn()
        assert archive.kinds().startswith("m w")

    play(scenario)


def test_a_snapshot_that_was_replaced_meanwhile_is_let_go():
    async def scenario(bench: Bench) -> None:
        archive = Recorder(bench)
        await fill(bench)
        assert await bench.save() is OK
        first = bench.lab.store.manifest.snapshots[0]

        def replaced(item: Item) -> str:
            if item.name == first.file:
                bench.lab.sim.unlink(item.path)
                bench.lab.store.manifest = bench.lab.store.manifest.__class__(
                    bench.lab.store.manifest.store_id, 0, (), None
                )
                return "no such file"
            return ""

        archive.refuse = replaced
        await archive._turn()
        assert archive.failed_count == 0 and first.file not in archive.gone

    play(scenario)


def test_a_quiet_server_seals_its_last_segment_in_time():
    async def scenario(bench: Bench) -> None:
        archive = Recorder(bench)
        await bench.write("SET a 1")
        await archive._turn()
        bench.lab.clock.seconds += 59
        await archive._turn()
        assert archive.rotations == 0
        bench.lab.clock.seconds += 1
        await archive._turn()
        assert archive.rotations == 1
        await archive._turn()
        assert archive.sequence == bench.lab.node.applied
        bench.lab.clock.seconds += 1000
        await archive._turn()
        await archive._turn()
        assert archive.rotations == 1  # nothing has been written since

    play(scenario)


def test_archive_timeout_0_waits_for_a_full_segment():
    async def scenario(bench: Bench) -> None:
        archive = Recorder(bench)
        await bench.write("SET a 1")
        for _ in range(3):
            await archive._turn()
            bench.lab.clock.seconds += 10_000
        assert archive.rotations == 0

    play(scenario, archive_timeout=0)


def test_while_the_command_fails_no_small_segments_are_made():
    async def scenario(bench: Bench) -> None:
        archive = Recorder(bench)
        archive.refuse = lambda item: "no"
        await bench.write("SET a 1")
        for _ in range(3):
            await archive._turn()
            bench.lab.clock.seconds += 100
        assert archive.rotations == 0

    play(scenario)


def test_an_outbox_that_a_crash_left_full_is_emptied():
    async def scenario(bench: Bench) -> None:
        disk = bench.lab.sim
        disk.mkdir(f"{ROOT}/archive/outbox")
        disk.put(f"{ROOT}/archive/outbox/{archiver.keyring_name(KEYRING, 5)}", b"old")
        archive = Recorder(bench)
        await archive._turn()
        assert disk.listdir(f"{ROOT}/archive/outbox") == []
        assert b"old" not in archive.contents.values()

    play(scenario)


def test_an_account_that_cannot_be_written_stops_nothing():
    gone: list[str] = []

    async def first(bench: Bench) -> None:
        archive = Recorder(bench)
        bench.lab.sim.sync_error_on = "archive/state.json"
        await fill(bench)
        assert await archive._turn() == archiver.POLL_S
        assert archive.pending() == [] and (archive.needed_from() or 0) > 1
        bench.lab.sim.sync_error_on = ""
        gone.extend(archive.gone)

    async def second(bench: Bench) -> None:
        archive = Recorder(bench)
        await archive._turn()
        assert set(gone) - {gone[0]} < set(archive.gone)  # all again, the keyring under a later name

    play(second, play(first).lab.restart())


def test_on_a_full_disk_what_needs_no_room_goes_on():
    """Segments do; the descriptions wait, and come when there is room."""

    async def scenario(bench: Bench) -> None:
        archive = Recorder(bench)
        await fill(bench)
        assert await bench.save() is OK
        await fill(bench)
        bench.lab.sim.full = "all"
        assert await archive._turn() == archiver.RETRY_S_MAX
        assert set(archive.kinds().split()) == {"k", "w", "s"}
        assert [item.kind for item in archive.pending()] == ["manifest", "manifest"]
        assert archive.sequence == bench.lab.store.wal.segments()[-2].last
        bench.lab.sim.full = ""
        await archive._turn()
        assert archive.pending() == [] and archive.kinds().endswith("m m")

    play(scenario)


def test_a_crash_at_any_call_of_the_archiver_loses_no_file():
    """What was archived before the crash and what goes after it make the whole log, each name with one content."""

    def life(disk: SimDisk | None, cut_after: int | None) -> tuple[Lab, dict[str, bytes], int]:
        contents: dict[str, bytes] = {}
        lab = Lab(disk)
        start = [0]

        async def scenario(bench: Bench) -> None:
            archive = Recorder(bench)
            archive.contents = contents
            if disk is None:
                await fill(bench)
                await bench.save()
            start[0] = bench.lab.sim.calls
            if cut_after is not None:
                bench.lab.sim.faults[start[0] + cut_after] = Fault("crash")
            turn = asyncio.create_task(archive._turn())
            await asyncio.wait([turn])
            turn.exception()

        play(scenario, lab)
        return lab, contents, lab.sim.calls - start[0]

    _, whole, calls = life(None, None)
    assert calls > 20
    for call in range(1, calls + 1, 3):
        lab, before, _ = life(None, call)
        _, after, _ = life(lab.sim.crash(Random(call)), None)
        names = {name for name in whole if not name.startswith("keyring")}
        assert names <= {*before, *after}
        assert all(before[name] == after[name] for name in {*before, *after} if name in before and name in after)


# With a real shell.


class Yard:
    """A store on a real disk and an archive directory beside it, with a blank in every path."""

    def __init__(self, tmp_path: Path, command: str) -> None:
        self.target = tmp_path / "my archive"
        self.target.mkdir()
        self.lab = Lab(RealDisk(), root=str(tmp_path / "my data"))
        (tmp_path / "my data" / "keyring").mkdir()
        (tmp_path / "my data" / "keyring" / "keyring.json").write_bytes(b"wrapped")
        self.command = command.replace("TARGET", f"'{self.target}'")

    def play(self, scenario: Any) -> None:
        async def run(bench: Bench) -> None:
            bench.settings.archive_command = self.command
            lab = bench.lab
            archive = Archiver(
                lab.store, lab.clock, bench.settings, bench.checkpoint.rotate_log, lambda: lab.node.applied,
                lambda: (KEYRING, b"wrapped"),
            )  # fmt: skip
            bench.checkpoint.needed_from.append(archive.needed_from)
            await scenario(bench, archive)

        play(run, self.lab)
        self.lab.store.abandon()

    def names(self) -> list[str]:
        return sorted(path.name for path in self.target.iterdir())


def test_cp_makes_an_archive(tmp_path):
    yard = Yard(tmp_path, "cp %p TARGET/%f")

    async def scenario(bench: Bench, archive: Archiver) -> None:
        await fill(bench)
        await bench.save()
        assert await archive._turn() == archiver.POLL_S
        assert (archive.failed_count, archive.last_error) == (0, "")

    yard.play(scenario)
    root = tmp_path / "my data"
    for path in yard.target.iterdir():
        for place in ("wal", "snapshots"):
            if (root / place / path.name).exists():
                assert path.read_bytes() == (root / place / path.name).read_bytes()
    kinds = {name.partition("-")[0] for name in yard.names()}
    assert {"keyring", "manifest", "snapshot", f"{1:020d}"} <= kinds


def test_the_example_of_the_configuration_takes_a_file_twice_and_no_other_in_its_place(tmp_path):
    (line,) = re.findall(r"^# Example: (archive-command .*)$", CONF.read_text(), re.MULTILINE)
    words = split_words(line)
    assert words is not None and len(words) == 2
    yard = Yard(tmp_path, "")
    yard.command = words[1].replace("/mnt/archive", f"'{yard.target}'")

    async def scenario(bench: Bench, archive: Archiver) -> None:
        await fill(bench)
        assert await archive._turn() == archiver.POLL_S
        for change in (b"", b"x"):
            (tmp_path / "my data" / "archive" / "state.json").unlink()
            next(yard.target.glob("0*.wal")).open("ab").write(change)
            again = Archiver(
                bench.lab.store, bench.lab.clock, bench.settings, archive._rotate, archive._committed, archive._keyring
            )
            await again._turn()
            assert bool(again.failed_count) == bool(change), again.last_error

    yard.play(scenario)
    assert not [name for name in yard.names() if name.endswith(".tmp")]


def test_the_command_knows_the_file_and_none_of_our_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("VAYLIX_REQUIREPASS", "hunter2")
    yard = Yard(tmp_path, "env > TARGET/%f.env")

    async def scenario(bench: Bench, archive: Archiver) -> None:
        await fill(bench)
        await archive._turn()

    yard.play(scenario)
    segment = next(path for path in yard.target.iterdir() if path.name.endswith(".wal.env"))
    found = dict(line.partition("=")[::2] for line in segment.read_text().splitlines())
    ours = {name: value for name, value in found.items() if name.startswith("VAYLIX")}
    name = segment.name.removesuffix(".env")
    first, last = (str(int(part)) for part in name.removesuffix(".wal").split("-"))
    assert ours == {
        "VAYLIX_FILE_KIND": "segment", "VAYLIX_FILE_NAME": name, "VAYLIX_FIRST": first, "VAYLIX_LAST": last,
        "VAYLIX_FILE_PATH": str(tmp_path / "my data" / "wal" / name),
    }  # fmt: skip
    assert found["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("echo no route >&2; exit 3", "the command ended with exit code 3: no route"),
        ("printf 'a\\n\\nb\\033[31m' >&2; false", "the command ended with exit code 1: a / b [31m"),
        ("kill -9 $$", "the command was killed by signal 9"),
        ("exit 1", "the command ended with exit code 1"),
        ("cp %q x", "archive-command: %q is not known"),
        ("head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 1", "the command ended with exit code 1: " + "x" * 100),
    ],
)
def test_how_a_failure_is_told(tmp_path, command, error):
    yard = Yard(tmp_path, command)

    async def scenario(bench: Bench, archive: Archiver) -> None:
        assert await archive._turn() == 1
        told = archive.last_error.partition(": ")[2]
        assert told.startswith(error) and len(told) < 4000
        assert archive.last_error.isprintable() and command not in archive.last_error

    yard.play(scenario)


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr(archiver, "COMMAND_S_MAX", 0.3)
    yard = Yard(tmp_path, "sleep 1000 & echo $! > TARGET/pid; wait")

    async def scenario(bench: Bench, archive: Archiver) -> None:
        await archive._turn()
        assert "did not end within" in archive.last_error

    yard.play(scenario)
    assert gone(yard)


def test_the_end_of_the_server_ends_the_command(tmp_path):
    yard = Yard(tmp_path, "sleep 1000 & echo $! > TARGET/tmp; mv TARGET/tmp TARGET/pid; wait")

    async def scenario(bench: Bench, archive: Archiver) -> None:
        task = asyncio.create_task(archive.run())
        async with asyncio.timeout(PATIENCE_S):
            while not (yard.target / "pid").exists():
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task], timeout=20)
        assert task.cancelled() and archive.archived_count == archive.failed_count == 0

    yard.play(scenario)
    assert gone(yard)


def test_a_command_that_may_not_be_killed_does_not_keep_the_server(tmp_path, monkeypatch):
    """As with sudo: the error would have taken the place of the cancellation."""
    monkeypatch.setattr(archiver, "KILL_S", 0.05)
    yard = Yard(tmp_path, "echo $$ > TARGET/tmp; mv TARGET/tmp TARGET/pid; exec sleep 1000")

    def refuse(group: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    async def scenario(bench: Bench, archive: Archiver) -> None:
        task = asyncio.create_task(archive.run())
        async with asyncio.timeout(PATIENCE_S):
            while not (yard.target / "pid").exists():
                await asyncio.sleep(0.01)
        with monkeypatch.context() as patch:
            patch.setattr(os, "killpg", refuse)
            task.cancel()
            await asyncio.wait([task], timeout=20)
            assert task.done() and task.cancelled()
        os.kill(int((yard.target / "pid").read_text()), 9)

    yard.play(scenario)


def test_a_cancel_while_the_command_is_being_started_ends_it_too(tmp_path, monkeypatch):
    yard = Yard(tmp_path, "sleep 1000 & echo $! > TARGET/tmp; mv TARGET/tmp TARGET/pid; wait")
    real = asyncio.create_subprocess_shell

    async def slow(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        process = await real(*arguments, **options)
        while not (yard.target / "pid").exists():
            await asyncio.sleep(0.01)
        started.set()
        await asyncio.sleep(0.01)
        return process

    started = asyncio.Event()
    monkeypatch.setattr(asyncio, "create_subprocess_shell", slow)

    async def scenario(bench: Bench, archive: Archiver) -> None:
        task = asyncio.create_task(archive.run())
        await asyncio.wait_for(started.wait(), PATIENCE_S)
        task.cancel()
        await asyncio.wait([task], timeout=20)
        assert task.cancelled()

    yard.play(scenario)
    assert gone(yard)


def gone(yard: Yard) -> bool:
    """Whether the process that the command has started ends (or waits to be reaped); it has been killed, not asked."""
    path = Path(f"/proc/{(yard.target / 'pid').read_text().strip()}/stat")
    for _ in range(1000):
        try:
            if path.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False
