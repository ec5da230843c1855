"""Cutting a log by hand: the state is the one of that sequence, what was cut is kept, and a crash loses neither."""

from random import Random

import pytest

from tests.sim.disk.simdisk import Fault, PowerCut
from tests.unit.engine.lab import Lab
from tests.unit.storage.upkeep.test_verify import lived
from vaylix_resp.commands.points import Point
from vaylix_resp.engine.history.restore import rebuild
from vaylix_resp.engine.proof import halve
from vaylix_resp.errors import Refused
from vaylix_resp.state.digest import digest_hex
from vaylix_resp.storage import unfinished
from vaylix_resp.storage.errors import Corrupt, IoFailed
from vaylix_resp.storage.history import DataDirectory, History
from vaylix_resp.storage.manifest import read_manifest, write_manifest
from vaylix_resp.storage.segment import parse_name
from vaylix_resp.storage.upkeep.repair import Repair, Unreachable
from vaylix_resp.storage.upkeep.verify import verify

ROOT = "data"


def history():
    """A directory, and the digest of its state at each batch end and within one batch."""
    lab = lived()
    return lab, lab.machine.applied


def plan_of(lab, disk, sequence, lost=None):
    manifest = read_manifest(disk, ROOT)
    repair = Repair(disk, ROOT, manifest, lab.keys, halve)
    return repair, repair.plan(sequence, lost)


def run(lab, disk, sequence):
    repair, plan = plan_of(lab, disk, sequence)
    repair.carry_out(plan)
    return plan


def state_at(lab, disk, sequence):
    """What a server finds after a repair."""
    again = Lab(disk, keys=lab.keys, term=False)
    again.store.abandon()
    disk.kill()
    assert again.machine.applied == sequence
    return again.digest()


def wanted(lab, sequence):
    """The state at a sequence by another way: replaying the untouched log up to it."""
    source = DataDirectory(lab.sim, ROOT)
    found = rebuild(History(lab.sim, source, lab.keys), Point(sequence=sequence), 1 << 60)
    return digest_hex(found.machine)


def all_bytes(disk):
    return {path: raw for path, raw in disk.files().items() if not path.endswith("LOCK")}


def test_every_sequence_can_be_the_end():
    lab, last = history()
    for sequence in range(last + 1):
        disk, digest = lab.sim.copy(), wanted(lab, sequence)
        before = all_bytes(disk)
        plan = run(lab, disk, sequence)
        assert plan.lost_entries == last - sequence and not plan.unreadable
        kept = {path.rpartition("/")[2]: raw for path, raw in disk.files().items() if "/dropped-after-" in path}
        gone = {path for path in before if path not in disk.files()}
        assert all(kept[path.rpartition("/")[2]] == before[path] for path in gone), sequence
        assert kept["manifest.json"] == before[f"{ROOT}/manifest.json"]
        report = verify(disk, ROOT, lab.keys).report
        assert report.whole and report.end == sequence, (sequence, report.verdict())
        assert state_at(lab, disk, sequence) == digest, sequence


def test_after_a_repair_the_server_goes_on_and_survives_a_restart():
    lab, last = history()
    run(lab, lab.sim, last - 3)
    again = Lab(lab.sim, keys=lab.keys)
    again.write("SET new 1")
    digest = again.digest()
    third = again.restart(clean=True, term=False)
    assert third.digest() == digest and third.get("new") == b"1"
    assert verify(lab.sim, ROOT, lab.keys).report.whole


def test_what_is_lost_is_counted_and_named():
    lab, last = history()
    seen = []
    _, plan = plan_of(lab, lab.sim, last - 2, seen.append)
    assert plan.lost_entries == 2 and seen[-1].last == last
    assert plan.lost_from_ms <= plan.lost_to_ms == lab.machine.time_ms


def damaged_segments(lab):
    names = [path for path in sorted(lab.sim.files()) if "/wal/0" in path]
    return [(path, parse_name(path.rpartition("/")[2])) for path in names]


def test_behind_damage_the_log_can_be_cut_and_the_server_starts():
    lab, last = history()
    path, name = damaged_segments(lab)[-1]
    digest = wanted(lab, name.first - 1)
    lab.sim.flip(path, 8 * 4300)
    with pytest.raises(Corrupt):
        Lab(lab.sim.copy(), keys=lab.keys, term=False)
    with pytest.raises(Unreachable, match=f"whole up to sequence {name.first - 1} "):
        plan_of(lab, lab.sim, last)
    _, plan = plan_of(lab, lab.sim, name.first - 1)
    assert plan.unreadable and plan.lost_entries < last - name.first + 1
    run(lab, lab.sim, name.first - 1)
    assert state_at(lab, lab.sim, name.first - 1) == digest


def test_a_damaged_newest_snapshot_is_set_aside_without_losing_an_entry():
    lab, last = history()
    digest, newest = wanted(lab, last), lab.store.manifest.newest
    lab.sim.flip(f"{ROOT}/snapshots/{newest.file}", 8 * 300)
    with pytest.raises(Corrupt):
        Lab(lab.sim.copy(), keys=lab.keys, term=False)
    plan = run(lab, lab.sim, last)
    assert plan.lost_entries == 0 and f"snapshots/{newest.file}" in plan.drop
    assert state_at(lab, lab.sim, last) == digest


def pruned():
    lab = lived()
    lab = lab.restart(term=False)
    lab.store.manifest = lab.store.manifest.keeping(None)
    lab.store.prune()
    write_manifest(lab.sim, ROOT, lab.store.manifest)
    lab.store.abandon()
    lab.sim.kill()
    return lab


NONSENSE = [
    # (sequence relative to what, what the refusal says)
    (lambda lab: lab.machine.applied + 1, "the log is whole up to sequence"),
    (lambda lab: lab.store.manifest.newest.sequence - 1, "choose sequence"),
    (lambda lab: -5, "choose sequence"),
]


@pytest.mark.parametrize("sequence, said", NONSENSE)
def test_a_point_that_nothing_leads_to_is_refused_and_nothing_is_changed(sequence, said):
    lab = pruned()
    before = all_bytes(lab.sim)
    with pytest.raises(Unreachable, match=said) as told:
        plan_of(lab, lab.sim, sequence(lab))
    assert told.value.exit_code == 64 and all_bytes(lab.sim) == before


@pytest.mark.parametrize("mode", ["lose", "keep", None])
@pytest.mark.parametrize("back", [0, 1, 4, 9])
def test_a_crash_at_any_call_leaves_the_old_state_or_one_that_the_command_finishes(mode, back):
    lab, last = history()
    sequence = last - back
    old, new = wanted(lab, last), wanted(lab, sequence)
    counting = lab.sim.copy()
    run(lab, counting, sequence)
    between = 0
    for call in range(1, counting.calls + 1):
        disk = lab.sim.copy()
        disk.faults[call] = Fault("crash")
        with pytest.raises(PowerCut):
            run(lab, disk, sequence)
        disk = disk.crash(Random(call), mode)
        if unfinished.read(disk, ROOT):
            between += 1
            with pytest.raises(Corrupt, match=f"--drop-after {sequence}' again"):
                Lab(disk.copy(), keys=lab.keys, term=False)
            with pytest.raises(Unreachable, match="was interrupted"):
                plan_of(lab, disk, sequence - 1)
            run(lab, disk, sequence)
            assert state_at(lab, disk, sequence) == new, call
        else:
            found = Lab(disk, keys=lab.keys, term=False)
            assert found.digest() in (old, new), call
    assert between > 5


@pytest.mark.parametrize("mode", ["lose", None])
def test_a_process_that_dies_and_then_the_power(mode):
    """What the dead process had not synced is seen by the next one, and must not be gone or come back behind it."""
    lab, last = history()
    sequence = last - 4
    new = wanted(lab, sequence)
    counting = lab.sim.copy()
    run(lab, counting, sequence)
    for call in range(1, counting.calls + 1):
        disk = lab.sim.copy()
        disk.faults[call] = Fault("crash")
        with pytest.raises(PowerCut):
            run(lab, disk, sequence)
        disk.kill()
        run(lab, disk, sequence)
        disk = disk.crash(Random(call), mode)
        assert state_at(lab, disk, sequence) == new, call


@pytest.mark.parametrize("kind", ["eio", "enospc"])
def test_what_a_disk_refuses_is_told_and_can_be_repeated(kind):
    lab, last = history()
    sequence = last - 4
    new = wanted(lab, sequence)
    counting = lab.sim.copy()
    run(lab, counting, sequence)
    told = 0
    for call in range(1, counting.calls + 1):
        disk = lab.sim.copy()
        disk.faults[call] = Fault(kind, 0.5)
        try:
            run(lab, disk, sequence)
        except IoFailed as failure:
            told += 1
            assert failure.exit_code == 74
            disk.faults = {}
            run(lab, disk, sequence)
        disk = disk.crash(Random(call), "lose")
        assert state_at(lab, disk, sequence) == new, call
    assert told > counting.calls // 3


def test_the_archive_account_is_set_aside():
    """It says that everything up to a sequence has gone; what is written from now on has not."""
    lab, last = history()
    lab.sim.mkdir(f"{ROOT}/archive")
    lab.sim.put(f"{ROOT}/archive/state.json", b"{}")
    run(lab, lab.sim, last - 1)
    assert not lab.sim.exists(f"{ROOT}/archive/state.json")


def test_a_note_that_cannot_be_read_stops_everybody():
    lab, last = history()
    lab.sim.put(f"{ROOT}/{unfinished.NAME}", b"{}")
    with pytest.raises(Corrupt, match="note of an unfinished command"):
        Lab(lab.sim.copy(), keys=lab.keys, term=False)
    with pytest.raises(Refused):
        plan_of(lab, lab.sim, last)
