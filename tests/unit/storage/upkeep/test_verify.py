"""Verification: every damage is found and named, nothing that is whole is called damaged, and nothing is changed."""

from random import Random

import pytest

from tests.sim.disk.keys import MemoryKeys
from tests.unit.engine.lab import Lab
from vaylix_resp.engine.proof import prove
from vaylix_resp.engine.snapshot_child import make_snapshot
from vaylix_resp.storage.upkeep.report import Status
from vaylix_resp.storage.upkeep.verify import verify

ROOT = "data"


def keep_all(infos):
    return infos


def snapshot(lab):
    lab.node.wal.rotate()
    info = make_snapshot(lab.disk, ROOT, lab.keys, lab.node.wal.last, lab.databases, lambda done: None)
    lab.store.publish_snapshot(info, keep_all)


def lived(*, clean=False, keys=None):
    """Sealed segments, two snapshots, and a log behind them; killed or stopped cleanly."""
    lab = Lab(keys=keys)
    for n in range(3):
        lab.write(f"SET a{n} {n}", "INCR total")
        lab.clock.ms += 10
    snapshot(lab)
    for n in range(3):
        lab.write(f"SET b{n} {n}", db=1)
        lab.clock.ms += 10
    snapshot(lab)
    for n in range(3):
        lab.write(f"SET c{n} {n}", f"DEL a{n}")
        lab.clock.ms += 10
    lab.node.wal.rotate()
    lab.write("SET last 1")
    if clean:
        lab.store.clean_stop(lab.clock.ms)
    else:
        lab.store.abandon()
        lab.sim.kill()
    return lab


def look(lab, disk=None, keys=None, deep=True):
    disk = disk or lab.sim
    found = verify(disk, ROOT, keys or lab.keys)
    if deep and found.manifest is not None:
        prove(disk, ROOT, keys or lab.keys, found.manifest, found.report, lambda *said: None)
    return found.report


def paths(lab, part):
    return [path for path in sorted(lab.sim.files()) if part in path]


@pytest.mark.parametrize("clear", [False, True], ids=["sealed", "clear"])
@pytest.mark.parametrize("clean", [False, True], ids=["killed", "stopped"])
def test_a_good_directory_is_whole_and_proved(clean, clear):
    lab = lived(clean=clean, keys=MemoryKeys(seals=False, clear_until=(1 << 64) - 1) if clear else None)
    before = lab.sim.files()
    report = look(lab)
    assert report.whole and report.exit_code == 0, report.verdict()
    assert report.end == lab.machine.applied
    assert [(one.base, one.last) for one in report.restorable()] == [(0, report.end)]
    assert sum("same digest" in proof for proof in report.proofs) == 2 and lab.digest() in report.proofs[-1]
    assert lab.sim.files() == before
    assert {file.sealed for file in report.files if file.kind in ("segment", "snapshot")} == {not clear}


def test_beside_a_server_what_it_is_writing_is_no_damage():
    lab = Lab()
    lab.write("SET a 1", "SET b 2")
    snapshot(lab)
    lab.write("SET c 3")
    report = look(lab)
    assert report.whole and report.end == lab.machine.applied
    path = paths(lab, "active-")[0]
    end = len(lab.sim.files()[path].rstrip(b"\0"))
    lab.sim.names[path].shown[end + 8 : end + 80] = b"x" * 72  # a batch of which a part can be seen
    report = look(lab)
    (active,) = [file for file in report.files if file.kind == "active segment"]
    assert report.whole and active.status is Status.TORN
    assert "the next start cuts it" in str(active.problems[0])


def test_bytes_behind_the_end_of_an_active_segment_are_told_apart_from_none():
    """A flip there looks like a part of an append: the start cuts it, nothing is lost, and it is said."""
    lab = lived()
    flip_at(-1)(lab, paths(lab, "active-")[0])
    report = look(lab)
    assert report.whole and [file.kind for file in report.files if file.status is Status.TORN] == ["active segment"]


class Moving:
    """A disk on which a server goes on, just before the n-th file is opened."""

    def __init__(self, disk, number, move):
        self._disk, self._left, self._move = disk, number, move

    def __getattr__(self, name):
        return getattr(self._disk, name)

    def open(self, path, *, write=False):
        self._left -= 1
        if self._left == 0:
            self._move()
        return self._disk.open(path, write=write)


def rotate(lab):
    lab.write("SET d 4")
    lab.node.wal.rotate()
    lab.write("SET e 5")


def snapshot_and_prune(lab):
    lab.write("SET d 4")
    lab.node.wal.rotate()
    info = make_snapshot(lab.disk, ROOT, lab.keys, lab.node.wal.last, lab.databases, lambda done: None)
    lab.store.publish_snapshot(info)
    lab.store.prune()


def stop(lab):
    lab.store.clean_stop(lab.clock.ms)


@pytest.mark.parametrize("move", [rotate, snapshot_and_prune, stop])
@pytest.mark.parametrize("number", range(1, 26, 2))
def test_files_that_go_away_meanwhile_are_no_damage(move, number):
    lab = Lab()
    for n in range(4):
        lab.write(f"SET a{n} {n}")
        lab.node.wal.rotate()
        if n == 1:
            snapshot(lab)
    disk = Moving(lab.sim, number, lambda: move(lab))
    report = look(lab, disk, deep=False)
    assert report.whole, (report.verdict(), [str(p) for file in report.bad for p in file.problems])


def rewrite(change):
    def do(lab, path):
        raw = bytearray(lab.sim.files()[path])
        lab.sim.put(path, bytes(change(raw)))

    return do


def flip_at(at):
    def change(raw):
        raw[at] ^= 0x10
        return raw

    return rewrite(change)


def swapped(lab, path):
    other = next(name for name in paths(lab, path.rpartition("/")[0]) if name != path and name.endswith(path[-4:]))
    raw = lab.sim.files()
    lab.sim.put(path, raw[other])


SEALED, ACTIVE, SNAPSHOT, MANIFEST = "wal/0", "wal/active-", "snapshots/", "manifest.json"
DAMAGES = [
    # (where, which of them, what, what the report says, exit code)
    (SEALED, 0, flip_at(3), "byte 0: ", 65),
    (SEALED, 1, flip_at(60), "expected a segment header", 65),
    (SEALED, 1, flip_at(4095), "expected a segment header", 65),
    (SEALED, 1, flip_at(4096 + 20), "byte 4096: ", 65),
    (SEALED, 1, flip_at(4096 + 124), "byte 4096: ", 65),
    (SEALED, 1, flip_at(4096 + 150), "byte 4096: ", 65),
    (SEALED, 1, flip_at(4096 + 511), "byte 4096: ", 65),
    (SEALED, 2, flip_at(-1), "sequence ", 65),
    (SEALED, 1, rewrite(lambda raw: b""), "byte 0: ", 65),
    (SEALED, 1, rewrite(lambda raw: raw[:-512]), "expected batches up to sequence", 65),
    (SEALED, 1, rewrite(lambda raw: raw[:-100]), "expected a whole batch", 65),
    (SEALED, 1, rewrite(lambda raw: raw + bytes(512)), "expected a whole batch", 65),
    (SEALED, 1, lambda lab, path: lab.sim.remove(path), "the file is not there", 65),
    (SEALED, 1, swapped, "expected first sequence", 65),
    (ACTIVE, 0, flip_at(4096 + 20), "byte 4096: ", 65),
    (ACTIVE, 0, flip_at(4096 + 150), "byte 4096: ", 65),
    (ACTIVE, 0, flip_at(4096 + 511), "byte 4096: ", 65),
    (ACTIVE, 0, lambda lab, path: lab.sim.remove(path), "the file is not there", 65),
    (ACTIVE, 0, rewrite(lambda raw: b""), "segment header", 65),
    (SNAPSHOT, 0, flip_at(0), "expected a snapshot header", 65),
    (SNAPSHOT, 0, flip_at(300), "byte 256: ", 65),
    (SNAPSHOT, 1, flip_at(-1), "byte ", 65),
    (SNAPSHOT, 1, rewrite(lambda raw: raw[:-1]), "size that the manifest names", 65),
    (SNAPSHOT, 1, lambda lab, path: lab.sim.remove(path), "the manifest names it", 65),
    (SNAPSHOT, 1, swapped, "that the manifest names", 65),
    (MANIFEST, 0, flip_at(40), "byte 0: expected a manifest", 65),
    (MANIFEST, 0, rewrite(lambda raw: b""), "byte 0: expected a manifest", 65),
    (MANIFEST, 0, lambda lab, path: lab.sim.remove(path), "expected a manifest", 65),
]


@pytest.mark.parametrize("where, which, damage, said, code", DAMAGES)
def test_damage_is_named_with_file_and_place(where, which, damage, said, code):
    lab = lived()
    path = paths(lab, where)[which]
    damage(lab, path)
    report = look(lab)
    assert report.exit_code == code
    lines = [f"{file.path}: {problem}" for file in report.bad for problem in file.problems]
    if where == ACTIVE and "not there" in said:
        assert lines == ["wal/active-*.wal: the file is not there"]
    else:
        name = path.removeprefix(f"{ROOT}/")
        assert any(line.startswith(name) and said in line for line in lines), lines
    others = {"manifest.json"} if where == MANIFEST else set()
    damaged = {line.split(": ")[0] for line in lines} - others
    assert len(damaged) <= 1, "one damage is not reported for other files"


@pytest.mark.parametrize("where, which, reach", [(SEALED, 0, True), (SEALED, 2, False), (SNAPSHOT, 0, True)])
def test_the_verdict_says_up_to_where_the_data_can_be_restored(where, which, reach):
    """Before the newest snapshot nothing of the end is lost; behind it, everything from the damage on."""
    lab = lived()
    path = paths(lab, where)[which]
    lab.sim.flip(path, 8 * 4300 if where == SEALED else 8 * 300)
    report = look(lab)
    ranges = report.restorable()
    assert (ranges[-1].last == report.end == lab.machine.applied) == reach
    newest = lab.store.manifest.newest.sequence
    assert ("are lost here" in report.verdict()) != reach
    assert ranges[-1].last >= newest


def test_an_older_copy_is_found_by_the_watermark_of_a_clean_stop():
    lab = lived()
    before = lab.sim.files()
    again = lab.restart()
    again.write("SET more 1")
    again.store.clean_stop(again.clock.ms)
    for path in paths(again, "wal/"):
        again.sim.remove(path)
    for path, raw in before.items():
        if "/wal/" in path:
            again.sim.put(path, raw)
    report = look(again)
    assert any("where the server stopped cleanly" in str(p) for file in report.bad for p in file.problems)


def test_without_its_keyring_sealed_files_are_said_to_be_unchecked():
    lab = lived()
    report = verify(lab.sim, ROOT, None).report
    assert {file.status for file in report.files if file.kind == "segment"} == {Status.UNCHECKED}
    assert report.exit_code == 65


def test_what_the_disk_cannot_read_is_no_damage_but_no_success():
    lab = lived()
    lab.sim.read_error_on = paths(lab, SEALED)[1]
    report = look(lab, deep=False)
    assert report.exit_code == 74
    assert [file.status for file in report.bad] == [Status.UNREADABLE]


STRANGE = [
    ("wal/notes.txt", 65, "only segments"), ("snapshots/x", 65, "only snapshots"), ("wal/next.tmp", 0, ""),
    ("snapshots/snapshot-00000000000000000001.vxs.tmp", 0, ""), ("core", 0, ""), ("quarantine/a.torn", 0, ""),
]  # fmt: skip


@pytest.mark.parametrize("name, code, said", STRANGE)
def test_names_that_are_not_data_are_listed(name, code, said):
    lab = lived()
    lab.sim.put(f"{ROOT}/{name}", b"?")
    report = look(lab)
    (file,) = [file for file in report.files if file.path == name]
    assert report.exit_code == code and said in "".join(map(str, file.problems))


def test_a_state_that_is_not_the_recorded_one_is_found():
    """Whole files whose content is wrong: a snapshot that was made from another state."""
    lab = Lab()
    lab.write("SET a 1")
    lab.node.wal.rotate()
    sequence = lab.node.wal.last
    make_snapshot(lab.disk, ROOT, lab.keys, sequence, lab.databases, lambda done: None)
    other = Lab()
    other.write("SET a 2")
    other.node.wal.rotate()
    info = make_snapshot(other.disk, ROOT, other.keys, sequence, other.databases, lambda done: None)
    path = f"{ROOT}/snapshots/{info.file}.tmp"
    lab.sim.put(path, other.sim.files()[path])
    lab.store.publish_snapshot(info, keep_all)
    lab.store.abandon()
    report = look(lab)
    problems = [str(problem) for file in report.bad for problem in file.problems]
    assert report.exit_code == 65, problems


def test_each_flipped_bit_is_found():
    """A bit in about every hundred bytes of every file; D's runs take all of them."""
    rng, lab = Random(8), lived()
    for path, raw in sorted(lab.sim.files().items()):
        if path.endswith("LOCK"):
            continue
        for at in range(0, len(raw), 97):
            disk = lab.sim.copy()
            bit = 8 * at + rng.randrange(8)
            disk.flip(path, bit)
            report = look(lab, disk, deep=False)
            unused = "active-" in path and at >= len(raw.rstrip(b"\0"))
            assert report.whole == (unused and report.bad == []), (path, bit)


@pytest.mark.parametrize("part, missing", [("/wal/", "wal/active-*.wal"), ("/snapshots/", "snapshots/")])
def test_a_whole_directory_that_is_gone_is_missing(part, missing):
    lab = lived()
    for path in paths(lab, part):
        lab.sim.remove(path)
    report = look(lab)
    assert report.exit_code == 65
    assert any(file.status is Status.MISSING and file.path.startswith(missing) for file in report.bad)
