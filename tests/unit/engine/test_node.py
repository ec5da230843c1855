"""From a proposal to an answer, call by call."""

from __future__ import annotations

from random import Random

import pytest

from tests.sim.disk.simdisk import Fault
from tests.unit.engine.lab import START_MS, Client, Lab, op
from vaylix_resp.engine import node as module
from vaylix_resp.engine.node import TOO_LARGE, Run
from vaylix_resp.errors import EX_IO, CommandError, Halt
from vaylix_resp.limits import BATCH_BYTES_MAX
from vaylix_resp.resp.reply import OK
from vaylix_resp.storage.sealed_log import read_batches


def test_runs_are_completed_in_the_order_in_which_they_joined() -> None:
    lab = Lab()
    clients = {name: lab.new_client(name) for name in "abc"}
    first = clients["b"].write(op("SET k 1"))
    clients["a"].write(op("INCR k"), op("GET k"))
    clients["b"].more(first, op("APPEND k 0"))  # joins the run that is there: before those of `a`
    clients["c"].write(op("INCR k"))
    lab.commit()
    assert lab.told == [("b", "done", [OK, 2]), ("a", "done", [11, b"11"]), ("c", "done", [12])]
    assert lab.get("k") == b"12"


def test_nobody_is_told_before_the_fsync_returned() -> None:
    lab = Lab()
    calls: list[tuple[str, ...]] = []

    class Watching(Client):
        def complete(self, run: Run) -> None:
            calls.append(tuple(name for name, path, _ in lab.sim.log[-2:] if path.endswith(".wal")))
            assert lab.store.wal.durable == lab.node.last_sequence == lab.node.raft.committed
            super().complete(run)

    for _ in range(3):
        Watching(lab.node, lab.told).write(op("INCR n"))
        lab.commit()
    assert calls == [("pwrite", "fdatasync")] * 3


def test_a_batch_is_in_flight_until_its_owners_are_answered() -> None:
    lab = Lab()
    seen: list[int] = []

    class Looking(Client):
        def complete(self, run: Run) -> None:
            seen.append(lab.node.in_flight)
            super().complete(run)

    Looking(lab.node, lab.told).write(op("INCR n"))
    assert lab.node.in_flight == 0
    lab.commit()
    assert seen == [1] and lab.node.in_flight == 0


def test_what_joins_during_an_answer_shares_the_next_batch() -> None:
    lab = Lab()

    class Insisting(Client):
        def complete(self, run: Run) -> None:
            super().complete(run)
            if len(self.told) < 3:
                self.write(op("INCR n"))

    Insisting(lab.node, lab.told).write(op("INCR n"))
    lab.commit()
    assert len(lab.told) == 1
    lab.commit()
    lab.commit()
    assert lab.told == [("c", "done", [1]), ("c", "done", [2]), ("c", "done", [3])]
    assert lab.commit() is None


def test_an_entry_that_is_refused_when_it_is_applied_counts() -> None:
    lab = Lab()
    assert lab.write("SET k text", "INCR k", "SET j 1") == [OK, "ERR value is not an integer or out of range", OK]
    assert lab.node.applied == 4 and lab.version("j") == 4
    assert lab.restart(term=False).digest() == lab.digest()


def test_a_batch_lets_go_of_its_runs() -> None:
    lab = Lab()
    lab.client.write(op("SET k 1"))
    batch = lab.commit()
    assert batch is not None and batch.runs == []


def test_a_batch_as_it_stands_in_the_log() -> None:
    lab = Lab()
    lab.write("SET k 1")
    lab.write("SET k 2", "SET k 3")
    lab.store.wal.rotate()
    noop, first, second = read_batches(lab.disk, lab.root, lab.store.manifest, lab.keys, 0)
    assert (noop.first, noop.count, noop.term) == (1, 1, 1)
    assert (first.first, first.count, first.term, first.timestamp_ms, first.committed) == (2, 1, 1, START_MS, 1)
    assert (second.first, second.count, second.term, second.timestamp_ms, second.committed) == (3, 2, 1, START_MS, 2)
    assert len({noop.seed, first.seed, second.seed}) == 3


# Where the caller listens.


def test_the_driver_hears_of_a_batch_once_and_of_room_once() -> None:
    lab = Lab()
    heard: list[str] = []
    lab.node.on_join = lambda: heard.append("join")
    lab.node.on_open = lambda: heard.append("open")
    lab.client.write(op("SET a 1"))
    lab.client.write(op("SET b 1"))
    assert heard == ["join"] and not lab.node.crowded
    lab.commit()
    assert heard == ["join"], "room was never short"
    run = lab.client.write(op("SET a 1"))
    run.add((), b"")
    run.batch.size += BATCH_BYTES_MAX
    assert lab.node.crowded
    lab.node.seal()
    assert heard == ["join", "join", "open"] and not lab.node.crowded


# Time.


@pytest.mark.parametrize("jump_ms", [-1, -3_600_000, -(10**12)])
def test_time_in_the_log_never_falls(jump_ms: int) -> None:
    lab = Lab()
    lab.clock.ms += 500
    lab.write("SET k v PX 1000")
    assert lab.machine.time_ms == START_MS + 500
    lab.clock.ms += jump_ms
    lab.write("SET j v PX 1000")
    assert lab.machine.time_ms == START_MS + 500
    lab = lab.restart()
    lab.write("SET i v PX 1000")
    expiries = [lab.machine.world.views[0].expiry(key) for key in (b"k", b"j", b"i")]
    assert expiries == [START_MS + 1500] * 3
    lab.clock.ms = START_MS + 501
    lab.write("SET h v")
    assert lab.machine.time_ms == START_MS + 501


def test_entries_mean_the_time_of_their_batch_also_behind_reads() -> None:
    """A read between two runs moves the time by which reads hide keys; the next run's entries must not see that."""
    lab = Lab()

    class Reading(Client):
        def complete(self, run: Run) -> None:
            super().complete(run)
            lab.machine.read_at(START_MS + 10_000)

    Reading(lab.node, lab.told, "r").write(op("SET k v PX 1000"))
    lab.client.write(op("APPEND k w"))
    lab.commit()
    assert lab.told[1] == ("c", "done", [2])
    assert lab.restart(term=False).digest() == lab.digest()


# A full disk.


def test_a_full_disk_is_a_definite_no() -> None:
    lab = Lab()
    lab.write("SET k 1")
    before = lab.digest()
    lab.sim.full = "all"
    lab.client.write(op("INCR k"))
    other = lab.new_client("d")
    other.write(op("SET j 1"))
    lab.commit()
    assert lab.told[1:] == [("c", "failed", "MISCONF"), ("d", "failed", "MISCONF")]
    assert lab.digest() == before and lab.get("k") == b"1"
    assert lab.node.full and lab.node.failure is None
    assert lab.node.refusal is not None and "Writes resume when space is back" in lab.node.refusal.text


def test_writes_resume_when_space_is_back() -> None:
    lab = Lab()
    lab.write("SET k 1")
    lab.sim.full = "all"
    lab.write("INCR k")
    lab.write("INCR k")  # joined although refused: refused when its batch is sealed
    assert [what for _, what, _ in lab.told[1:]] == ["failed", "failed"]
    sequence = lab.node.applied
    lab.sim.full = ""
    lab.node.space_is_back()
    assert lab.node.refusal is None and not lab.node.full
    assert lab.write("INCR k") == [2]
    assert lab.node.applied == sequence + 1, "the refused entries' places were given again"
    again = lab.restart(term=False)
    assert again.digest() == lab.digest() and again.warnings == []


@pytest.mark.parametrize("kind", ["enospc", "eio"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_a_write_that_fails_half_way(kind: str, part: float) -> None:
    """After ENOSPC the answer is definite, so nothing of it may come back; after EIO it may."""
    lab = Lab()
    lab.write("SET k 1")
    lab.sim.faults[lab.sim.calls + 1] = Fault(kind, part)
    lab.write(f"SET k {'2' * 2000}")
    assert lab.told[-1] == ("c", "failed", "MISCONF" if kind == "enospc" else "INDETERMINATE")
    lab.sim.faults.clear()
    again = lab.restart(term=False)
    assert again.get("k") == b"1", "no part of a write makes a whole one"
    assert kind == "eio" or again.warnings == [], "what could be written of a refused batch is cleared away"


# A failing log.


def failing_fsync(lab: Lab) -> None:
    lab.sim.sync_error_on = ".wal"


def failing_write(lab: Lab) -> None:
    lab.sim.faults[lab.sim.calls + 1] = Fault("eio", 0.5)


@pytest.mark.parametrize("fail", [failing_fsync, failing_write])
def test_after_a_failure_of_the_log(fail) -> None:  # type: ignore[no-untyped-def]
    lab = Lab()
    heard: list[str] = []
    lab.node.on_failure = heard.append
    lab.write("SET k 1")
    before, applied = lab.digest(), lab.node.applied
    fail(lab)
    lab.client.write(op("INCR k"))
    batch = lab.node.seal()
    assert batch is not None
    lab.new_client("late").write(op("SET j 1"))  # gathers while the batch is being synced
    lab.land(batch)
    assert lab.told[1:] == [("c", "failed", "INDETERMINATE")]
    syncs = lab.wal_calls("fdatasync", "fsync")
    lab.sim.sync_error_on = ""

    # Nothing of it is seen, reads go on, writes are refused for good.
    assert lab.digest() == before and lab.node.applied == applied and lab.get("k") == b"1"
    assert lab.commit() is None
    assert lab.told[2:] == [("late", "failed", "MISCONF")]
    refusal = lab.node.refusal
    assert refusal is not None and refusal.text.startswith("MISCONF Writes are refused: the log failed")
    assert "Reads go on" in refusal.text and ".wal" in refusal.text and heard == [lab.node.failure]
    lab.node.out_of_space()
    lab.node.space_is_back()
    assert lab.node.refusal is refusal
    assert lab.write("SET j 2") == ["MISCONF"]
    assert lab.wal_calls("fdatasync", "fsync") == syncs, "an fsync that failed is never tried again"
    assert lab.digest() == before


def test_what_is_indeterminate_is_there_as_a_whole_or_not_at_all() -> None:
    seen = set()
    for call in range(6):
        lab = Lab()
        lab.write("SET k 1")
        lab.sim.faults[lab.sim.calls + 1 + call % 2] = Fault("eio", 0.4)
        lab.write("SET k 2", "SET j 2")
        assert lab.told[-1][2] == "INDETERMINATE"
        again = lab.restart(term=False)
        assert (again.get("k"), again.get("j")) in {(b"1", None), (b"2", b"2")}
        seen.add(again.get("k"))
    assert seen == {b"1", b"2"}


def test_a_failure_before_anything_was_written_is_a_definite_answer() -> None:
    """The batch needs a new segment, and none can be made: no restart can bring the batch back."""
    lab = Lab()
    lab.write("SET k 1", f"SET filler {'x' * 3000}")
    lab.sim.faults[lab.sim.calls + 1] = Fault("eio")
    before = lab.digest()
    lab.write(f"SET k {'2' * 3000}")
    assert lab.told[-1] == ("c", "failed", "MISCONF") and lab.digest() == before
    assert lab.node.failure is not None and lab.node.last_sequence == lab.node.applied
    assert lab.write("SET j 1") == ["MISCONF"]
    assert lab.restart(term=False).digest() == before


def test_on_io_error_exit_answers_first() -> None:
    lab = Lab(exit_on_io_error=True)
    lab.write("SET k 1")
    failing_fsync(lab)
    lab.client.write(op("INCR k"))
    with pytest.raises(Halt) as halted:
        lab.commit()
    assert halted.value.exit_code == EX_IO and ".wal" in str(halted.value)
    assert lab.told[-1] == ("c", "failed", "INDETERMINATE")
    with pytest.raises(Halt):
        lab.node.halt_if_asked()


def test_a_healthy_node_does_not_halt() -> None:
    Lab(exit_on_io_error=True).node.halt_if_asked()
    lab = Lab()
    failing_fsync(lab)
    lab.write("SET k 1")
    lab.node.halt_if_asked()


# appendfsync.


@pytest.mark.parametrize("mode", ["everysec", "no"])
def test_answers_need_not_wait_for_the_fsync(mode: str) -> None:
    lab = Lab()
    lab.node.appendfsync = mode
    lab.sim.kill()
    lab.write("SET k 1")
    assert lab.told[-1] == ("c", "done", [OK]) and lab.get("k") == b"1"
    assert lab.wal_calls("fdatasync", "fsync") == 0
    lab.node.sync()
    assert lab.wal_calls("fdatasync", "fsync") == 1
    lab.write("SET k 2")
    lost = Lab(lab.sim.crash(Random(1), "lose"), term=False)
    assert lost.get("k") == b"1", "what was synced is there, and here nothing else"
    assert Lab(lab.sim.kill(), term=False).get("k") == b"2", "a killed process loses nothing"


def test_always_again_makes_durable_what_came_before() -> None:
    lab = Lab()
    lab.node.appendfsync = "no"
    lab.write("SET k 1")
    lab.node.appendfsync = "always"
    lab.write("SET j 1")
    lost = Lab(lab.sim.crash(Random(1), "lose"), term=False)
    assert (lost.get("k"), lost.get("j")) == (b"1", b"1")


def test_a_sync_in_the_background_that_fails() -> None:
    """What was answered stays applied; only later writes hear of it."""
    lab = Lab()
    lab.node.appendfsync = "everysec"
    lab.write("SET k 1")
    failing_fsync(lab)
    with pytest.raises(module.WalFailed) as failure:
        lab.node.sync()
    lab.node.log_failed(str(failure.value))
    assert lab.get("k") == b"1"
    assert lab.write("SET k 2") == ["MISCONF"]
    assert lab.get("k") == b"1"


@pytest.mark.parametrize("fails", [False, True])
def test_an_fsync_is_under_way_until_it_ends_or_fails(fails: bool) -> None:
    lab = Lab()
    sync, seen = lab.store.wal.sync, []

    def looking() -> None:
        seen.append(lab.node.syncing_since)
        if fails:
            raise module.WalFailed("no more")
        sync()

    lab.store.wal.sync = looking  # type: ignore[method-assign]
    lab.write("SET k 1")
    assert seen == [lab.clock.now()] and lab.node.syncing_since is None


def test_fsyncs_are_measured() -> None:
    lab = Lab()
    wal_sync = lab.store.wal.sync

    def slow() -> None:
        lab.clock.seconds += 0.002
        wal_sync()

    lab.store.wal.sync = slow  # type: ignore[method-assign]
    count = lab.node.fsync.count
    lab.write("SET k 1")
    assert lab.node.fsync.count == count + 1
    assert 1900 <= lab.node.fsync.last_us <= 2100 and lab.node.fsync.max_us == lab.node.fsync.last_us


# More than one batch may hold.


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Bodies of at most 1000 bytes."""
    monkeypatch.setattr(module, "BATCH_BODY_BYTES_MAX", 1000)
    return 1000


def test_too_large_a_run_harms_nobody_else(small: int) -> None:
    lab = Lab()
    for name, size in (("a", 300), ("b", 2000), ("c", 300)):
        lab.new_client(name).write(op(f"SET {name} {'x' * size}"))
    lab.commit()
    assert sorted(lab.told) == [("a", "done", [OK]), ("b", "failed", "ERR"), ("c", "done", [OK])]
    assert lab.get("b") is None
    assert lab.write("SET d 1") == [OK]
    assert lab.restart(term=False).digest() == lab.digest()


def test_a_batch_of_nothing_but_too_large_runs(small: int) -> None:
    lab = Lab()
    lab.client.write(op(f"SET k {'x' * 2000}"))
    assert lab.commit() is None
    assert lab.told == [("c", "failed", "ERR")] and "too much at once" in TOO_LARGE
    assert lab.write("SET k 1") == [OK]


def test_runs_for_which_there_is_no_room_come_next_and_in_order(small: int) -> None:
    lab = Lab()
    for name in "abcdef":
        lab.new_client(name).write(op(f"APPEND k {name * 400}"))
    batches = 0
    while lab.node.open.runs:
        batch = lab.commit()
        assert batch is not None and len(batch.body) <= small
        batches += 1
    assert batches == 3
    assert [name for name, _, _ in lab.told] == list("abcdef")
    assert lab.get("k") == b"".join(name.encode() * 400 for name in "abcdef")
    assert lab.restart(term=False).digest() == lab.digest()


def test_a_run_that_was_put_off_can_be_added_to(small: int) -> None:
    lab = Lab()
    lab.new_client("a").write(op(f"SET a {'x' * 800}"))
    late = lab.client.write(op(f"SET k {'x' * 800}"))
    lab.commit()
    assert late.batch is lab.node.open and lab.node.open.size == late.size
    lab.client.more(late, op("STRLEN k"))
    lab.commit()
    assert lab.told == [("a", "done", [OK]), ("c", "done", [OK, 800])]


def test_an_owner_that_tries_again_at_once_stands_behind_those_put_off(small: int) -> None:
    lab = Lab()

    class Stubborn(Client):
        def fail(self, run: Run, refusal: CommandError) -> None:
            super().fail(run, refusal)
            self.write(op("APPEND order s"))

    Stubborn(lab.node, lab.told, "s").write(op(f"SET k {'x' * 2000}"))
    lab.new_client("a").write(op(f"APPEND order {'a' * 800}"))
    lab.new_client("b").write(op(f"APPEND order {'b' * 800}"))
    while lab.node.open.runs:
        lab.commit()
    assert lab.get("order") == b"a" * 800 + b"b" * 800 + b"s"
