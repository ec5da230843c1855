"""Data directories with a damaged file: refused with a file and an offset, or exactly what was acknowledged comes out.

One file of a directory (manifest, segments of the log, snapshot) is mutated, as bad disks, copies that went wrong and
editors do it; checksums are left as they are. Only the end of the active segment may be cut, where a crash could have
interrupted a write. In CI some hundred inputs; `python -m tests.fuzz data_directory --seconds 600` for longer.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from tests.fuzz.mutation import CORPUS, mutated
from tests.sim.disk.keys import MemoryKeys
from tests.sim.disk.simdisk import SimDisk
from tests.sim.disk.workload import ROOT, Fact, World
from vaylix_resp.errors import Refused
from vaylix_resp.storage.batch import MAGIC, SECTOR
from vaylix_resp.storage.sealing import CLEAR

FOLDER = CORPUS / "directory"
TOKENS = [MAGIC, bytes(SECTOR), bytes(4), b"\xff" * 8, b"\0\1", b"VxB", b'"', b"0", b"{", b"}", b"null", b"\n"]
KEYS = {"sealed": MemoryKeys(9), "clear": CLEAR}


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def disk_of(files: dict[str, bytes]) -> SimDisk:
    disk = SimDisk()
    for name in ("wal", "snapshots"):
        disk.mkdir(f"{ROOT}/{name}")
    for name, content in files.items():
        disk.put(f"{ROOT}/{name}", content)
    return disk.copy()


def start(files: dict[str, bytes], kind: str) -> list[Fact]:
    return World(disk_of(files), keys=KEYS[kind]).open().state


FILES = {
    (kind, how): files_of(FOLDER / f"{kind}-{how}") for kind in ("sealed", "clear") for how in ("stopped", "killed")
}
WHOLE = {place: start(files, place[0]) for place, files in FILES.items()}


def check(rng: Random) -> None:
    place = rng.choice(sorted(FILES))
    files = dict(FILES[place])
    name = rng.choice(sorted(files))
    raw = files[name]
    # Behind the last batch the active segment is all zeros, tens of sectors of them: aim before their end.
    used = len(raw.rstrip(b"\0")) + SECTOR if "active" in name else len(raw)
    files[name] = mutated(rng, raw[:used], TOKENS) + raw[used:]
    try:
        found = start(files, place[0])
    except Refused as refused:
        assert "\n" not in str(refused)
        return
    told = WHOLE[place]
    if place[1] == "stopped" or "active" not in name:
        assert found == told, (place, name, "after damage something else came out than was acknowledged")
    else:
        assert found == told[: len(found)], (place, name, "not what was acknowledged first")
        assert len(found) >= len(told) - 3, (place, name, "more was cut than the active segment holds")


def test_the_corpus_is_whole() -> None:
    """Also: directories that this format's first release wrote are read by every later one."""
    assert all(len(facts) == 7 for facts in WHOLE.values())
    assert len({tuple(facts) for facts in WHOLE.values()}) == 1


def test_mutated_directories() -> None:
    for seed in range(800):
        check(Random(seed))
