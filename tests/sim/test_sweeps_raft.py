"""The log of a member of a cluster, interrupted at each of its calls by a power cut, a kill, a failing disk and a full one:
term and vote with batches, a cut of each kind, an installed snapshot, and starts on what those leave.

After each interruption: `storage verify` finds nothing wrong; a start finds one of the states that the call may leave, the
next start the same one; and the log goes on. A call that has returned has left exactly one.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from tests.sim.disk.directory import sweep
from tests.sim.disk.keys import MemoryKeys
from tests.sim.disk.member import NODE, Member, Sent, Vote, entry
from tests.sim.disk.simdisk import MODES, Fault, PowerCut, SimDisk
from tests.sim.disk.workload import ROOT, fact
from vaylix_resp.errors import Refused
from vaylix_resp.storage.upkeep.verify import verify


def filled(committed: int = 3) -> SimDisk:
    """Segments 1..4, 5..7 and an active one with 8 and 9; hard states everywhere."""
    disk = SimDisk()
    one = Member(disk).open()
    one.save(Vote(3, 4), [entry(1, 1, count=2), entry(3, 1), entry(4, 2, b"*" + b"y" * 900)], committed=committed)
    one.store.wal.rotate()
    one.save(Vote(5), [entry(5, 3), entry(6, 4), entry(7, 5)], committed=committed)
    one.save(Vote(6, 2))
    one.store.wal.rotate()
    one.save(None, [entry(8, 6), entry(9, 6)], committed=committed)
    one.store.wal.prepare_spare()
    one.store.abandon()
    return disk.kill().copy()


def assert_verified(disk: SimDisk, after: str) -> None:
    report = verify(disk, ROOT, MemoryKeys()).report
    assert report.whole, (after, [str(problem) for file in report.bad for problem in file.problems])


def swept(disk: SimDisk, act: Callable[[Member], None]) -> int:
    """Sweep over one life: the start, then `act`."""
    lives: list[Member] = []

    def verb(disk: SimDisk) -> None:
        lives[:] = [Member(disk)]
        lives[0].open()
        act(lives[0])

    start = Member(disk.copy()).open().promised

    def check(disk: SimDisk, after: str) -> None:
        allowed = lives[0].possible or [start]
        assert_verified(disk, after)
        found = Member(disk).open()
        assert found.told in allowed, after
        outcome = found.told
        found.store.abandon()
        found = Member(disk.crash(Random(after), "lose")).open()
        assert found.told == outcome, after
        first = found.last + 1
        found.save(Vote(20, NODE), [entry(first, 20)], committed=first)
        found.store.abandon()
        found = Member(found.disk.kill()).open()
        assert found.recovered.committed == first, after

    return sweep(disk, verb, check)


def test_term_vote_and_batches_are_saved() -> None:
    def act(one: Member) -> None:
        one.save(Vote(7, NODE))
        one.save(Vote(8, 3), [entry(10, 7), entry(11, 7, b"*" + b"b" * 2500, count=3), entry(14, 8)], committed=9)
        one.save(None, [entry(15, 8, b"*" + b"c" * 5000)], committed=14)
        one.save(Vote(9, 3))
        one.store.wal.rotate()
        one.save(None, [entry(16, 9)], committed=15)

    assert swept(filled(), act) > 30


@pytest.mark.parametrize("last", [8, 7, 6, 5, 4, 3])
def test_the_log_is_cut(last: int) -> None:
    """Inside the active segment, at its start, inside a sealed one, between two, and further back."""

    def act(one: Member) -> None:
        one.truncate(last)
        one.save(Vote(8, 1), [entry(last + 1, 8), entry(last + 2, 8)], committed=last)

    assert swept(filled(), act) > 20


def test_the_log_is_cut_again_and_again() -> None:
    def act(one: Member) -> None:
        for last in (8, 6, 5):
            one.truncate(last)
            one.save(None, [entry(last + 1, 6)])
        one.truncate(3)

    assert swept(filled(), act) > 60


@pytest.mark.parametrize("committed", [0, 4, 9])
def test_a_snapshot_is_installed(committed: int) -> None:
    snapshot = Sent.of([fact(entry(first, 6, b"*s" * 200)) for first in range(1, 21)])
    disk = filled(committed)
    if committed == 4:
        one = Member(disk).open()
        one.snapshot()
        one.store.abandon()
        disk = disk.kill().copy()

    def act(one: Member) -> None:
        one.install(snapshot, Vote(8, 1))
        one.save(None, [entry(21, 7)], committed=20)

    assert swept(disk, act) > 30


def test_a_member_stops_cleanly_with_a_vote_behind_the_last_batch() -> None:
    def act(one: Member) -> None:
        one.save(Vote(7, 1))
        one.store.wal.rotate()
        one.save(Vote(8, 2))
        one.stop()

    assert swept(filled(), act) > 20


@pytest.mark.parametrize("last", [8, 5, 4])
def test_a_start_on_a_half_made_change_is_interrupted_too(last: int) -> None:
    """A cut, and an install, each cut short at every call; then the start on that, at every call again."""
    snapshot = Sent.of([fact(entry(first, 6)) for first in range(1, 21)])
    halves = set[int]()
    for call in range(1, 60):
        for change in (lambda one: one.truncate(last), lambda one: one.install(snapshot)):
            one = Member(filled()).open()
            one.disk.faults[one.disk.calls + call] = Fault("crash")
            try:
                change(one)
                continue
            except PowerCut:
                image = one.disk.crash(Random(call), MODES[call % len(MODES)])
            if any("/cut-" in path or "/fresh-" in path for path in image.files()):
                halves.add(hash(tuple(sorted(image.files().items()))))
                interrupted_start(image, call)
    assert len(halves) > 6


def interrupted_start(image: SimDisk, seed: int) -> None:
    outcome = Member(image.copy()).open().told
    for call in range(1 + seed % 3, 200, 3):  # the next half-made change is interrupted at other calls
        disk = image.copy()
        disk.faults[call] = Fault("crash")
        try:
            Member(disk).open()
            return
        except PowerCut:
            after = disk.crash(Random(seed + call), None)
        assert_verified(after, f"call {call}")
        assert Member(after).open().told == outcome, (seed, call)
    raise AssertionError("the start does not end")


def test_flips_on_a_half_made_change_are_refused_or_without_effect() -> None:
    rng, refused = Random(4), 0
    for call in range(1, 60):
        one = Member(filled()).open()
        one.disk.faults[one.disk.calls + call] = Fault("crash")
        try:
            one.truncate(5)
            break
        except PowerCut:
            image = one.disk.crash(rng, None)
        for _ in range(6):
            disk = image.copy()
            path, bit = disk.rot(rng, ROOT)
            try:
                found = Member(disk).open()
            except Refused:
                refused += 1
                continue
            assert found.told in one.possible, (call, path, bit)
    assert refused > 20
