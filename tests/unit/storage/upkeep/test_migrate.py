"""From format 1 to the current one: the same state, the old files kept, and no moment at which a crash loses either."""

from contextlib import closing
from random import Random

import pytest

from tests.sim.disk.keys import MemoryKeys
from tests.sim.disk.simdisk import Fault, PowerCut, SimDisk
from tests.unit.engine.lab import Lab
from tests.unit.storage.old_directory import NAMES, ROOT, facts, put
from tests.unit.storage.upkeep.test_format1 import read as read_old
from vaylix_resp.errors import Refused
from vaylix_resp.storage import unfinished
from vaylix_resp.storage.errors import Corrupt, IoFailed
from vaylix_resp.storage.sealing import CLEAR
from vaylix_resp.storage.upkeep import format1, migrate
from vaylix_resp.tools.storage import run_migration

TARGET = "target"


def run(disk, target=ROOT, keys=None):
    if target != ROOT:
        disk.mkdir(target)
    return run_migration(disk, ROOT, target, lambda: keys or MemoryKeys())


def starts(disk, root=ROOT, keys=None):
    """The digest of what a server finds."""
    lab = Lab(disk, root=root, keys=keys, term=False)
    lab.store.abandon()
    return lab.digest()


def contents(disk, prefix=ROOT):
    return {path: raw for path, raw in disk.files().items() if path.startswith(prefix) and not path.endswith("LOCK")}


@pytest.mark.parametrize("keys", [None, CLEAR], ids=["sealed", "clear"])
@pytest.mark.parametrize("target", [ROOT, TARGET], ids=["in-place", "target"])
@pytest.mark.parametrize("name", NAMES)
def test_the_state_is_the_same_and_the_old_files_are_kept(name, target, keys):
    disk = put(name)
    before = contents(disk)
    done = run(disk, target, keys)
    assert done.sequence == facts(name)["sequence"] and not done.torn
    kept = "data/format1" if target == ROOT else "data"
    assert done.kept == kept
    assert {path.replace(kept, ROOT): raw for path, raw in contents(disk, kept).items()} == before
    plain = [path for path, raw in contents(disk, target).items() if b"user:" in raw and kept not in path]
    assert bool(plain) == (keys is CLEAR)
    assert starts(disk, target, keys) == facts(name)["digest"]


def test_the_kept_directory_is_one_of_format_1_by_itself():
    disk = put("killed")
    run(disk)
    other = SimDisk()
    for path, raw in contents(disk, "data/format1").items():
        other.mkdir(path.replace("data/format1", ROOT).rpartition("/")[0])
        other.put(path.replace("data/format1", ROOT), raw)
    assert read_old(other)[0] == facts("killed")["digest"]


def test_a_torn_end_is_left_out_and_said():
    disk = put("killed")
    path = f"{ROOT}/wal/active-00000000000000000044.wal"
    raw = disk.files()[path]
    end = len(raw.rstrip(b"\0"))
    disk.put(path, raw[: end - 300] + bytes(len(raw) - end + 300))
    done = run(disk)
    assert done.sequence == 46 and f"{path}: byte {end - 512}" in done.torn
    assert starts(disk)


def test_a_damaged_directory_is_refused_and_stays_as_it_is():
    disk = put("killed")
    disk.flip(f"{ROOT}/wal/00000000000000000033-00000000000000000042.wal", 8 * 4200)
    before = contents(disk)
    with pytest.raises(Corrupt, match=r"0042\.wal: byte 4096"):
        run(disk)
    assert {path: raw for path, raw in contents(disk).items() if not path.endswith(migrate.UNFINISHED)} == before


def test_an_older_format_is_never_read_silently():
    with pytest.raises(Corrupt, match="vaylix storage migrate"):
        starts(put("stopped"))


def test_a_copy_that_differs_is_found_before_anything_is_switched():
    disk = put("stopped")
    migration = migrate.Migration(disk, ROOT, ROOT, CLEAR)
    migration.write()
    path = next(path for path in disk.files() if path.endswith(f"42.wal{migrate.UNFINISHED}"))
    with closing(disk.open(path, write=True)) as file:
        file.pwrite(b"!", 4096 + 140)
    with pytest.raises(Refused):
        migration.compare()


def crash_states(name, target, mode, step=1):
    """The disk after a power cut at each call of a migration."""
    counting = put(name)
    run(counting, target)
    for call in range(1, counting.calls + 1, step):
        disk = put(name)
        disk.faults[call] = Fault("crash")
        with pytest.raises(PowerCut):
            run(disk, target)
        yield call, disk.crash(Random(call), mode)


@pytest.mark.parametrize("mode, name, step", [("lose", "stopped", 1), ("keep", "stopped", 1), (None, "killed", 2)])
def test_a_crash_at_any_call_leaves_the_old_directory_or_one_that_the_command_finishes(mode, name, step):
    wanted, seen = facts(name)["digest"], set()
    for call, disk in crash_states(name, ROOT, mode, step):
        if not migrate.is_format1(disk, ROOT):
            seen.add("new")
            assert starts(disk) == wanted, call
            continue
        with pytest.raises(Corrupt, match="vaylix storage migrate"):
            starts(disk)
        if migrate.was_interrupted(disk, ROOT):
            seen.add("between")
            with pytest.raises(Refused):
                read_old(disk)
        else:
            seen.add("old")
            assert read_old(disk)[0] == wanted, call
        assert run(disk).sequence == facts(name)["sequence"], call
        assert starts(disk) == wanted, call
        assert format1.read_manifest(disk, f"{ROOT}/format1").store_id, call
    assert seen >= {"old", "between"} and ("new" in seen or mode != "keep")


def test_a_crash_while_an_interrupted_migration_is_finished_changes_nothing():
    wanted = facts("stopped")["digest"]
    between = [disk for _, disk in crash_states("stopped", ROOT, "keep") if migrate.is_format1(disk, ROOT)]
    between = [disk for disk in between if migrate.was_interrupted(disk, ROOT)]
    assert len(between) > 3
    for first in between[:: max(1, len(between) // 4)]:
        counting = first.copy()
        assert run(counting).resumed
        for call in range(1, counting.calls + 1):
            disk = first.copy()
            disk.faults[call] = Fault("crash")
            with pytest.raises(PowerCut):
                run(disk)
            again = disk.crash(Random(call))
            if migrate.is_format1(again, ROOT):
                run(again)
            assert starts(again) == wanted


@pytest.mark.parametrize("fault", ["crash", "eio", "enospc"])
def test_a_process_that_dies_or_is_refused_and_then_the_power(fault):
    """The command is repeated on what can be seen; what was not synced goes with the power only afterwards."""
    wanted = facts("stopped")["digest"]
    counting = put("stopped")
    run(counting)
    told = 0
    for call in range(1, counting.calls + 1):
        disk = put("stopped")
        disk.faults[call] = Fault(fault, 0.5)
        try:
            run(disk)
        except (PowerCut, IoFailed):
            told += 1
        disk.kill()
        if migrate.is_format1(disk, ROOT):
            run(disk)
        disk = disk.crash(Random(call), "lose")
        if migrate.is_format1(disk, ROOT):  # the very last step was only seen, not made durable
            run(disk)
        assert starts(disk) == wanted, call
    assert told > counting.calls // 3


@pytest.mark.parametrize("mode", [None, "keep"])
def test_with_a_target_a_crash_leaves_the_source_and_no_server_starts_on_half_a_target(mode):
    wanted, whole = facts("stopped")["digest"], contents(put("stopped"))
    finished = 0
    for call, disk in crash_states("stopped", TARGET, mode):
        assert {path: raw for path, raw in contents(disk).items() if path in whole} == whole, call
        if any(path.startswith(f"{TARGET}/") for path in disk.files()):
            if disk.exists(f"{TARGET}/manifest.json") and not disk.exists(f"{TARGET}/{unfinished.NAME}"):
                finished += 1
                assert starts(disk, TARGET) == wanted
            elif disk.exists(f"{TARGET}/{unfinished.NAME}"):
                with pytest.raises(Corrupt, match="a migration into it was interrupted"):
                    starts(disk, TARGET)
    assert finished or mode is None
