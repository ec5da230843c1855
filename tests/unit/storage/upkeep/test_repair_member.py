"""A repair of the log of a member of a cluster, also where a cut was interrupted: what is left is nobody's member."""

from __future__ import annotations

from random import Random

import pytest

from tests.sim.disk.member import Member, Told, Vote, entry, last_of
from tests.sim.disk.simdisk import Fault, PowerCut, SimDisk
from tests.sim.disk.workload import ROOT
from vaylix_resp.storage.batch import Batch
from vaylix_resp.storage.manifest import read_manifest
from vaylix_resp.storage.upkeep.repair import Repair
from vaylix_resp.storage.upkeep.verify import verify


def filled() -> Member:
    disk = SimDisk()
    one = Member(disk).open()
    one.save(Vote(3, 4), [entry(1, 1), entry(2, 1), entry(3, 2)], committed=2)
    one.store.wal.rotate()
    one.save(Vote(5), [entry(4, 3), entry(5, 4), entry(6, 5)])
    one.store.wal.rotate()
    one.save(Vote(6, 2), [entry(7, 6), entry(8, 6)])
    one.save(Vote(7, 2))
    return one


def halve(batch: Batch, sequence: int) -> Batch:
    raise AssertionError("every batch has one entry")


def repaired(disk: SimDisk, sequence: int) -> None:
    manifest = read_manifest(disk, ROOT)
    assert manifest is not None
    repair = Repair(disk, ROOT, manifest, Member(disk).keys, halve)
    repair.carry_out(repair.plan(sequence))


def check(disk: SimDisk, one: Member, sequence: int) -> None:
    manifest = read_manifest(disk, ROOT)
    assert manifest is not None and manifest.identity is None and manifest.incarnation == 2
    report = verify(disk, ROOT, one.keys).report
    assert report.whole, [str(problem) for file in report.bad for problem in file.problems]
    found = Member(disk).open(join=False)
    kept = tuple(known for known in one.promised.log if last_of(known) <= sequence)
    assert found.told == Told((0, 0), kept, sequence)
    found.store.wal.append(sequence + 1, 1, 9, 99_999, sequence, 0, b"*x")
    found.store.wal.sync()
    found.store.abandon()
    assert len(Member(disk.kill()).open(join=False).told.log) == len(kept) + 1


@pytest.mark.parametrize("sequence", range(1, 9))
def test_term_and_vote_end_with_the_life(sequence: int) -> None:
    one = filled()
    one.store.abandon()
    disk = one.disk.kill().copy()
    repaired(disk, sequence)
    check(disk, one, sequence)


@pytest.mark.parametrize("last", [3, 5, 7])
def test_where_a_cut_was_interrupted(last: int) -> None:
    cuts = 0
    for call in range(1, 60):
        one = filled()
        one.disk.faults[one.disk.calls + call] = Fault("crash")
        try:
            one.truncate(last)
            break
        except PowerCut:
            image = one.disk.crash(Random(call), "keep")
        if not any("/cut-" in path for path in image.files()):
            continue
        for sequence in {last, 2}:
            disk = image.copy()
            repaired(disk, sequence)
            check(disk, one, sequence)
            assert not any("/cut-" in path for path in disk.files() if "/wal/" in path)
            cuts += 1
    assert cuts > 4
