"""Which batch goes when, on a loop that the test turns itself; the thread is a real one."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from queue import Queue
from typing import Any, cast

import pytest

from tests.patience import PATIENCE_S
from tests.unit.engine.lab import Client, Lab, op
from vaylix_resp.engine import node as node_module
from vaylix_resp.engine.group_commit import INLINE_US_MAX, GroupCommit
from vaylix_resp.engine.node import Run
from vaylix_resp.errors import EX_BROKEN, EX_CONFIG, EX_DATA, EX_IO, Halt
from vaylix_resp.resp.reply import OK
from vaylix_resp.storage.errors import Corrupt


class Loop:
    """An event loop as far as a group commit knows one."""

    def __init__(self) -> None:
        self._soon: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._from_threads: Queue[tuple[Callable[..., object], tuple[object, ...]]] = Queue()
        self.expected = 0  # calls from the thread that are still to come

    def call_soon(self, call: Callable[..., object], *arguments: object) -> None:
        self._soon.append((call, arguments))

    def call_soon_threadsafe(self, call: Callable[..., object], *arguments: object) -> None:
        self._from_threads.put((call, arguments))

    def turn(self) -> bool:
        """What is due now, not what that makes due; False if nothing was."""
        due, self._soon = self._soon, deque()
        for call, arguments in due:
            call(*arguments)
        return bool(due)

    def hear(self) -> None:
        """Wait for the thread to report."""
        call, arguments = self._from_threads.get(timeout=PATIENCE_S)
        call(*arguments)


class Desk:
    """A lab with a group commit."""

    def __init__(self, mode: str = "inline", **options: Any) -> None:
        self.lab = Lab(**options)
        self.loop = Loop()
        self.halts: list[Halt] = []
        self.commit = GroupCommit(self.lab.node, cast(asyncio.AbstractEventLoop, self.loop), self.halts.append)
        self.commit.mode = mode
        self.told, self.client = self.lab.told, self.lab.client

    def run(self) -> None:
        """Until nothing happens any more."""
        while self.loop.turn() or self.commit._in_flight:
            if self.commit._in_flight:
                self.loop.hear()


@pytest.fixture
def desks() -> Iterator[Callable[..., Desk]]:
    """Makes desks, and ends their threads when the test is over."""
    made: list[Desk] = []

    def make(*arguments: Any, **options: Any) -> Desk:
        made.append(Desk(*arguments, **options))
        return made[-1]

    yield make
    for desk in made:
        desk.commit.close()
        assert not desk.commit._thread.is_alive()


MODES = ("inline", "thread", "adaptive")
Make = Callable[..., Desk]


@pytest.mark.parametrize("mode", MODES)
def test_what_one_turn_has_read_shares_an_fsync(mode: str, desks: Make) -> None:
    desk = desks(mode)
    desk.lab.sim.kill()
    for name in "abc":
        desk.lab.new_client(name).write(op("INCR n"))
    assert not desk.told and not desk.commit.idle
    desk.run()
    assert desk.told == [("a", "done", [1]), ("b", "done", [2]), ("c", "done", [3])]
    assert desk.lab.wal_calls("fdatasync") == 1 and desk.commit.idle


def test_one_batch_is_in_flight_and_the_next_gathers(desks: Make) -> None:
    desk = desks("thread")
    go, started = threading.Event(), threading.Event()
    sync, in_sync = desk.lab.store.wal.sync, []

    def blocked() -> None:
        in_sync.append(len(in_sync))
        started.set()
        assert go.wait(PATIENCE_S)
        sync()

    desk.lab.store.wal.sync = blocked  # type: ignore[method-assign]
    desk.client.write(op("INCR n"))
    desk.loop.turn()
    assert started.wait(PATIENCE_S)
    for name in "ab":
        desk.lab.new_client(name).write(op("INCR n"))
        desk.loop.turn()
    assert in_sync == [0] and not desk.told and not desk.commit.idle
    assert desk.lab.get("n") is None, "reads go on and do not see what could still be lost"
    go.set()
    desk.loop.hear()
    assert desk.told == [("c", "done", [1])]
    desk.run()
    assert desk.told[1:] == [("a", "done", [2]), ("b", "done", [3])]
    assert in_sync == [0, 1]


def script(desk: Desk) -> None:
    """Some of everything, with pauses in between."""
    for round_ in range(6):
        for name in "abc":
            client = desk.lab.new_client(name)
            client.write(op(f"SET {name}{round_} {name * 50 * round_}"), op("INCR n", db=round_ % 3))
            client.write(op(f"APPEND log {name}"), op("INCR log"))
            desk.loop.turn()
        if round_ == 2:
            desk.commit.between_batches(desk.lab.store.wal.rotate)
        if round_ == 3:
            desk.run()
            desk.lab.sim.full = "all"
        if round_ == 4:
            desk.run()
            desk.lab.sim.full = ""
            desk.lab.node.space_is_back()
    desk.run()
    desk.commit.between_batches(desk.lab.store.wal.rotate)  # so that the next batch has room where it is written
    desk.run()
    desk.lab.sim.sync_error_on = ".wal"
    desk.client.write(op("INCR n"))
    desk.run()
    desk.client.write(op("INCR n"))
    desk.run()


def answers(desk: Desk) -> list[tuple[str, str]]:
    return [(name, what if what == "done" else f"{what} {reply}") for name, what, reply in desk.told]


def test_inline_and_thread_give_the_same_results(desks: Make) -> None:
    """Batches may differ, as the thread gives more time to gather; what clients are told and the state do not."""
    outcome = {}
    for mode in MODES:
        desk = desks(mode)
        script(desk)
        assert desk.halts == []
        outcome[mode] = desk.told, desk.lab.digest()
        assert {what for _, what in answers(desk)} == {"done", "failed MISCONF", "failed INDETERMINATE"}
    assert outcome["thread"] == outcome["inline"] == outcome["adaptive"]


@pytest.mark.parametrize("mode", MODES)
def test_a_job_between_batches_sees_no_batch_in_flight(mode: str, desks: Make) -> None:
    desk = desks(mode)
    seen: list[tuple[int, int]] = []
    for number in range(8):
        desk.client.write(op("INCR n"))
        desk.commit.between_batches(lambda: seen.append((desk.lab.store.wal.last, desk.lab.node.applied)))
        assert not desk.commit.idle
        desk.loop.turn()
        if number % 2:
            desk.run()
    desk.run()
    assert len(seen) == 8 and all(last == applied for last, applied in seen)
    assert desk.commit.idle and desk.lab.get("n") == b"8"


def test_a_job_comes_before_the_batch_that_waits(desks: Make) -> None:
    desk = desks("inline")
    order: list[str] = []
    desk.lab.node.machine.world.touched = []
    desk.client.write(op("INCR n"))
    desk.commit.between_batches(lambda: order.append(f"first {desk.lab.get('n')}"))
    desk.commit.between_batches(lambda: order.append(f"second {desk.lab.get('n')}"))
    desk.run()
    assert order == ["first None", "second None"] and desk.lab.get("n") == b"1"


def test_a_job_alone_is_run(desks: Make) -> None:
    desk = desks("inline")
    ran: list[bool] = []
    desk.commit.between_batches(lambda: ran.append(True))
    desk.run()
    assert ran == [True] and desk.commit.idle


# Where the fsync runs.


def test_adaptive_goes_to_the_thread_when_fsync_is_slow_and_comes_back(desks: Make) -> None:
    desk = desks("adaptive")
    where: list[str] = []
    sync = desk.lab.store.wal.sync
    microseconds = 10.0

    def measured() -> None:
        where.append(threading.current_thread().name)
        desk.lab.clock.seconds += microseconds / 1e6
        sync()

    desk.lab.store.wal.sync = measured  # type: ignore[method-assign]

    def write(count: int) -> list[str]:
        where.clear()
        for _ in range(count):
            desk.client.write(op("INCR n"))
            desk.run()
        return list(where)

    here = threading.current_thread().name
    assert set(write(20)) == {here}
    microseconds = INLINE_US_MAX * 5
    assert write(40)[-20:] == ["wal"] * 20
    microseconds = 10.0
    assert write(80)[-20:] == [here] * 20


# What may go wrong.


@pytest.mark.parametrize("mode", MODES)
def test_failures_of_the_disk_reach_the_owners(mode: str, desks: Make) -> None:
    desk = desks(mode)
    desk.lab.sim.full = "all"
    desk.client.write(op("SET k 1"))
    desk.run()
    desk.lab.sim.full = ""
    desk.lab.node.space_is_back()
    desk.client.write(op("SET k 1"))
    desk.run()
    assert [what for _, what, _ in desk.told] == ["failed", "done"]
    desk.lab.sim.sync_error_on = ".wal"
    desk.client.write(op("SET k 1"))
    desk.run()
    desk.client.write(op("SET k 1"))
    desk.run()
    failed = [code for _, what, code in desk.told if what == "failed"]
    assert failed == ["MISCONF", "INDETERMINATE", "MISCONF"] and len(desk.told) == 4
    assert desk.halts == [] and desk.commit.idle


@pytest.mark.parametrize("mode", MODES)
def test_on_io_error_exit(mode: str, desks: Make) -> None:
    desk = desks(mode, exit_on_io_error=True)
    desk.lab.sim.sync_error_on = ".wal"
    desk.client.write(op("SET k 1"))
    desk.run()
    assert [halt.exit_code for halt in desk.halts] == [EX_IO]
    assert desk.told == [("c", "failed", "INDETERMINATE")]


def broken_append(desk: Desk) -> None:
    def append(*_: object) -> None:
        raise OverflowError("a bug in the log")

    desk.lab.store.wal.append = append  # type: ignore[method-assign]


def broken_owner(desk: Desk) -> None:
    def complete(run: Run) -> None:
        raise KeyError("a bug in an owner")

    desk.client.complete = complete  # type: ignore[method-assign]


def forgetful_owner(desk: Desk) -> None:
    """It answers without having applied its entries."""
    desk.client.complete = lambda run: None  # type: ignore[method-assign]


def broken_job(desk: Desk) -> None:
    def job() -> None:
        raise ZeroDivisionError

    desk.commit.between_batches(job)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", [broken_append, broken_owner, forgetful_owner, broken_job])
def test_a_bug_ends_the_server_and_nothing_follows(mode: str, fault: Callable[[Desk], None], desks: Make) -> None:
    """Above all it must not leave clients waiting for ever, nor tell a later one that all is well."""
    desk = desks(mode)
    fault(desk)
    desk.client.write(op("SET k 1"))
    desk.run()
    (halt,) = desk.halts
    assert halt.exit_code == EX_BROKEN and "invariant" in str(halt)
    assert desk.told == []
    last = desk.lab.store.wal.last
    desk.lab.new_client("next").write(op("SET j 1"))
    desk.run()
    assert desk.told == [] and desk.lab.store.wal.last == last and len(desk.halts) == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cause", [Corrupt("a/b.wal", 7, "a batch"), Halt(EX_DATA, "a/b.wal: byte 7")])
def test_what_ends_the_server_while_it_writes_is_said_in_its_own_words(
    mode: str, cause: BaseException, desks: Make
) -> None:
    """A follower that has to cut its log may find it damaged there; on the thread as well nobody waits for ever."""
    desk = desks(mode)

    def append(*_: object) -> None:
        raise cause

    desk.lab.store.wal.append = append  # type: ignore[method-assign]
    desk.client.write(op("SET k 1"))
    desk.run()
    (halt,) = desk.halts
    assert halt.exit_code == EX_DATA and "a/b.wal: byte 7" in str(halt) and "invariant" not in str(halt)


@pytest.mark.parametrize("mode", MODES)
def test_nobody_waits_behind_a_batch_that_was_too_large(
    mode: str, desks: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_module, "BATCH_BODY_BYTES_MAX", 1000)
    desk = desks(mode)

    class Retrying(Client):
        def fail(self, run: Run, refusal: object) -> None:
            desk.client.write(op("INCR n"))

    Retrying(desk.lab.node, desk.told).write(op(f"SET k {'x' * 2000}"))
    desk.run()
    assert desk.told == [("c", "done", [1])] and desk.commit.idle
    for name in "abc":
        desk.lab.new_client(name).write(op(f"SET {name} {'x' * 600}"))
    desk.run()
    assert desk.told[1:] == [(name, "done", [OK]) for name in "abc"] and desk.commit.idle


def test_an_entry_that_only_newer_software_can_apply_ends_the_server_with_its_reason(desks: Make) -> None:
    desk = desks()
    desk.client.write((b"@version", b"99"))
    desk.run()
    (halt,) = desk.halts
    assert halt.exit_code == EX_CONFIG and "cluster version 99 is in force" in str(halt)
