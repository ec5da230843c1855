"""Any state of the past, from the files: recorded while it was live, rebuilt later, the same digest each time."""

from __future__ import annotations

import os
from bisect import bisect_right
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sim.disk.simdisk import Fault, PowerCut, SimDisk
from tests.unit.engine.lab import ROOT, START_MS, Lab, op
from vaylix_resp.commands.points import Point
from vaylix_resp.engine import entries
from vaylix_resp.engine.boot import new_machine
from vaylix_resp.engine.copies.backup_state import load, save
from vaylix_resp.engine.history.new_store import create_store, prove, reserve
from vaylix_resp.engine.history.restore import OutOfRange, rebuild
from vaylix_resp.engine.snapshot_child import make_snapshot
from vaylix_resp.errors import Refused
from vaylix_resp.state.digest import digest_hex
from vaylix_resp.state.machine import StateMachine
from vaylix_resp.storage.errors import Corrupt
from vaylix_resp.storage.history import DataDirectory, History
from vaylix_resp.storage.sealing import CLEAR

KEYS = "a b c d".split()
EXAMPLES = int(os.environ.get("VAYLIX_RESTORE_EXAMPLES", "25"))


def history_of(lab: Lab, root: str = ROOT) -> History:
    return History(lab.disk, DataDirectory(lab.disk, root), lab.store.keys)


class Recorder:
    """Writes through a lab, and keeps the digest after every single entry by applying each to a machine of its own."""

    def __init__(self, seed: int, **options: object) -> None:
        self.rng = Random(seed)
        self.lab = Lab(**options)  # type: ignore[arg-type]
        self.oracle: StateMachine = new_machine(self.lab.databases)
        self.digests = {0: digest_hex(new_machine(1))}
        self.times: list[tuple[int, int]] = []  # (time of a batch, its last sequence)
        self.follow_term()

    def follow_term(self) -> None:
        """The first entry of a term, which the lab has written by itself."""
        batch = list(history_of(self.lab).batches(None))[-1] if not self.times else None
        for one in history_of(self.lab).batches(None) if batch is None else (batch,):
            if one.first > self.oracle.applied:
                self.follow(one.timestamp_ms, one.seed, one.body)

    def follow(self, at_ms: int, seed: int, body: bytes) -> None:
        self.oracle.begin_batch(at_ms, seed)
        for operation in entries.decode(body):
            self.oracle.apply(operation)
            self.digests[self.oracle.applied] = digest_hex(self.oracle)
        self.times.append((at_ms, self.oracle.applied))

    def write(self) -> None:
        lab, rng = self.lab, self.rng
        lab.client.write(*(self.operation() for _ in range(rng.choice([1, 1, 2, 5]))))
        batch = lab.commit()
        assert batch is not None
        self.follow(batch.timestamp_ms, batch.seed, batch.body)
        assert lab.digest() == self.digests[lab.node.applied]

    def operation(self) -> tuple[bytes, ...]:
        rng, key = self.rng, self.rng.choice(KEYS)
        text = rng.choice([
            f"SET {key} {rng.randrange(1000)}", f"SET {key} x PX {rng.randrange(1, 5000)}", f"APPEND {key} y",
            f"DEL {key}", f"INCR n{key}", "FLUSHALL" if rng.random() < 0.2 else f"GETDEL {key}", f"EXPIRE {key} 3",
            f"COPY {key} {rng.choice(KEYS)} DB 2", f"SWAPDB 0 {rng.randrange(3)}",
        ])  # fmt: skip
        return op(text, rng.choice([0, 0, 2]))

    def snapshot(self, keep_all: bool = True) -> None:
        lab = self.lab
        lab.store.wal.rotate()
        newest = lab.store.manifest.newest
        if newest is None or newest.sequence < lab.store.wal.last:
            info = make_snapshot(
                lab.disk, ROOT, lab.store.keys, lab.store.wal.last, lab.databases, lambda fraction: None
            )
            lab.store.publish_snapshot(info, (lambda all_: all_) if keep_all else None)

    def restart(self, *, clean: bool) -> None:
        self.lab = self.lab.restart(clean=clean)
        self.follow_term()

    def step(self) -> None:
        rng = self.rng
        self.lab.clock.ms += rng.choice([0, 0, 1, 10, 2000])
        match rng.randrange(20):
            case 0:
                self.snapshot()
            case 1:
                self.lab.store.wal.rotate()
            case 2:
                self.restart(clean=rng.random() < 0.5)
            case _:
                self.write()

    def digest_at(self, at_ms: int) -> str:
        found = bisect_right(self.times, (at_ms, 1 << 62))
        return self.digests[self.times[found - 1][1] if found else 0]


def state_at(lab: Lab, point: Point) -> str:
    return digest_hex(rebuild(history_of(lab), point, lab.clock.ms).machine)


@settings(max_examples=EXAMPLES)
@given(st.integers(0, 1 << 32))
def test_every_sequence_and_time_of_a_random_history(seed: int) -> None:
    recorder = Recorder(seed)
    for _ in range(40):
        recorder.step()
    lab, rng = recorder.lab, recorder.rng
    calls, files = lab.sim.calls, lab.sim.files()
    for sequence in rng.sample(sorted(recorder.digests), 12):
        assert state_at(lab, Point(sequence)) == recorder.digests[sequence], (seed, sequence)
    first_ms = history_of(lab).range().first_ms
    for _ in range(8):
        at_ms = rng.randint(first_ms, lab.clock.ms)
        assert state_at(lab, Point(timestamp_ms=at_ms)) == recorder.digest_at(at_ms), (seed, at_ms)
    assert lab.sim.calls == calls and lab.sim.files() == files, "the source is only read"


def written(seed: int = 7, steps: int = 60) -> Recorder:
    recorder = Recorder(seed)
    for _ in range(steps):
        recorder.write()
        recorder.lab.clock.ms += 100
    return recorder


def test_what_a_pruned_store_still_has() -> None:
    recorder = written()
    recorder.snapshot()
    base = recorder.lab.store.wal.last
    for _ in range(10):
        recorder.write()
    recorder.lab.store.prune()
    lab, last = recorder.lab, recorder.lab.node.applied
    for sequence in range(base, last + 1):
        assert state_at(lab, Point(sequence)) == recorder.digests[sequence]
    named = rf"only sequence {base} \(2023-.*Z\) to {last} \("
    for point in (Point(base - 1), Point(last + 1), Point(0), Point(timestamp_ms=START_MS - 1)):
        with pytest.raises(OutOfRange, match=named):
            state_at(lab, point)
    with pytest.raises(OutOfRange, match=named):
        state_at(lab, Point(timestamp_ms=lab.clock.ms + 1))


def test_an_empty_store_and_its_beginning() -> None:
    lab = Lab(term=False)
    assert rebuild(history_of(lab), Point(0), lab.clock.ms).sequence == 0
    with pytest.raises(OutOfRange, match="only sequence 0 "):
        rebuild(history_of(lab), Point(1), lab.clock.ms)


def test_how_far_it_has_come_is_told() -> None:
    recorder, told = written(), list[tuple[int, int]]()
    last = recorder.lab.node.applied
    rebuild(history_of(recorder.lab), Point(last), 0, lambda done, total: told.append((done, total)))
    assert told[-1] == (last, last) and told == sorted(told)


@pytest.mark.parametrize("sequence", [0, 1, 30, 60])
def test_a_new_directory(sequence: int) -> None:
    """It is what a server starts on, it has the state and no more, and its history goes on from there."""
    recorder = written()
    lab = recorder.lab
    rebuilt = rebuild(history_of(lab), Point(sequence), lab.clock.ms)
    manifest = create_store(
        lab.disk, "new", rebuilt.machine, rebuilt.term, lab.store.keys, store_id=bytes(16), now_ms=lab.clock.ms
    )
    prove(lab.disk, "new", lab.store.keys, rebuilt.machine)
    assert manifest.store_id_bytes != lab.store.manifest.store_id_bytes
    again = Lab(lab.disk, clock=lab.clock, root="new", term=False)
    assert again.machine.applied == sequence and not again.warnings
    if sequence:
        assert again.digest() == recorder.digests[sequence]
    again.write("SET more 1")
    assert again.restart(term=False).get("more") == b"1"


def test_a_new_directory_that_reads_back_otherwise_is_not_proved() -> None:
    recorder = written()
    lab = recorder.lab
    rebuilt = rebuild(history_of(lab), Point(30), lab.clock.ms)
    create_store(lab.disk, "new", rebuilt.machine, rebuilt.term, lab.store.keys, store_id=bytes(16), now_ms=1)
    rebuilt.machine.begin_batch(lab.clock.ms, 1)
    rebuilt.machine.apply(op("SET other 1"))
    with pytest.raises(Corrupt, match="a state with digest"):
        prove(lab.disk, "new", lab.store.keys, rebuilt.machine)


@pytest.mark.parametrize("sequence", [0, 30])
def test_a_restore_that_is_cut_short(sequence: int) -> None:
    """At every call: no server starts on what is there, or it is whole. A second try is refused, too."""
    recorder = written(steps=30)
    lab = recorder.lab
    rebuilt = rebuild(history_of(lab), Point(sequence), lab.clock.ms)

    def restore(disk: SimDisk) -> None:
        reserve(disk, "new")
        create_store(disk, "new", rebuilt.machine, rebuilt.term, lab.keys, store_id=bytes(16), now_ms=1)

    calls = SimDisk()
    restore(calls)
    outcomes = set()
    for call in range(1, calls.calls + 1):
        disk = SimDisk()
        disk.faults[call] = Fault("crash")
        with pytest.raises(PowerCut):
            restore(disk)
        for mode in ("lose", "keep"):
            after = disk.crash(Random(call), mode)
            if not after.exists("new/snapshots/unfinished") and not after.exists("new/wal"):
                outcomes.add("nothing")
                continue
            try:
                again = Lab(after, root="new", keys=lab.keys, term=False)
            except Refused:
                with pytest.raises(Refused, match="holds"):
                    reserve(after, "new")
                outcomes.add("refused")
            else:
                assert again.machine.applied == sequence and (not sequence or again.digest() == recorder.digests[30])
                outcomes.add("whole")
    assert outcomes == {"nothing", "refused", "whole"}


def test_a_target_with_anything_in_it() -> None:
    disk = SimDisk()
    disk.put("new/master.key", b"...")
    disk.directories.add("new")
    reserve(disk, "new")
    with pytest.raises(Refused, match="new: holds snapshots already; to continue: name a new or an empty directory"):
        reserve(disk, "new")


def test_what_is_rebuilt_from_a_member_is_no_member() -> None:
    """Its state names the cluster; a directory or a backup made of it must not come back as that node."""
    lab = Lab()
    lab.write("SET k v", "@members 0123456789abcdef 1 17 n1 h1 7001 1 5")
    assert lab.machine.world.nodes.members
    rebuilt = rebuild(history_of(lab), Point(sequence=lab.node.applied), START_MS)
    assert rebuilt.machine.world.nodes.cluster_id == b"" and not rebuilt.machine.world.nodes.members
    reserve(lab.disk, "target")
    create_store(lab.disk, "target", rebuilt.machine, rebuilt.term, lab.store.keys, store_id=bytes(16), now_ms=START_MS)
    prove(lab.disk, "target", lab.store.keys, rebuilt.machine)
    save(lab.disk, "./b.vxb.tmp", "b", rebuilt.machine, term=rebuilt.term, store_id="ab" * 16, keys=CLEAR)
    loaded = load(lab.disk, "./b.vxb", lambda: CLEAR, lambda: None).machine
    assert digest_hex(loaded) == digest_hex(rebuilt.machine) and not loaded.world.nodes.members
