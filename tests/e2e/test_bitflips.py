"""Issue 3, shown by 2: one flipped bit, in any file, leads to a refusal or to exactly the right state; `storage verify` finds it.

The directory is written by the real engine, sealed, on a simulated disk: manifest, keyring, the account of the archive, two
snapshots, sealed segments before and behind them, an active one, a logical backup with its sidecar. Every bit of it is flipped in
turn; on a copy the server's start, and for a backup its reading, are run as they are in the product.
CI flips one bit of every byte that carries meaning, and of every FILL_STEPth that only fills up (the header's filling, sectors
that were never written); VAYLIX_BITFLIPS=all flips all of them, VAYLIX_BITFLIPS=<n> n random ones over a large directory.
A bit behind the last batch of an active segment, where nothing was ever written, cannot be told from a write that a crash
interrupted: the start sets it aside, the state is right, and `storage verify` need not call it damage.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from random import Random

import pytest

from tests.sim.disk.directory import MASTER, ROOT, Engine, Tokens, all_of_them, reading_keys_of, started
from tests.sim.disk.simdisk import SimDisk
from vaylix_resp.engine.copies.backup_state import load, save
from vaylix_resp.engine.proof import verify
from vaylix_resp.errors import Refused
from vaylix_resp.state.digest import digest_hex
from vaylix_resp.storage.copies import archive
from vaylix_resp.storage.copies.backup_sidecar import prepare
from vaylix_resp.storage.disk import join
from vaylix_resp.storage.segment import SEGMENT_HEADER_BYTES

ASKED = os.environ.get("VAYLIX_BITFLIPS", "")
EVERY_BIT = ASKED == "all"
RANDOM_FLIPS = int(ASKED) if ASKED.isdigit() else 150
FILL_STEP = 31  # bytes
HEADER_MEANING_BYTES = 256  # of a segment's header; then it is filled up, and a digest ends it
DIGEST_BYTES = 16
BACKUPS = "backups"
WORKERS = 2
CHUNK_BITS = 200


@dataclass(frozen=True)
class Written:
    disk: SimDisk
    digest: str  # of the data directory's state
    backup_digest: str


@cache
def small() -> Written:
    return written(keys=2)


@cache
def large() -> Written:
    return written(keys=300)


def written(keys: int) -> Written:
    disk = SimDisk()
    engine = Engine(disk, tokens=Tokens())
    fill(engine, keys, 0)
    engine.snapshot(keep=all_of_them)
    fill(engine, keys, 1)
    engine.snapshot(keep=all_of_them)
    disk.mkdir(BACKUPS)
    save(
        disk, prepare(disk, BACKUPS, "b"), "b", engine.machine, term=1, store_id=engine.store.manifest.store_id,
        keys=engine.store.keys,
    )  # fmt: skip
    backup_digest = engine.digest()
    fill(engine, keys, 2)
    engine.store.wal.rotate()
    fill(engine, keys, 3)
    disk.mkdir(join(ROOT, archive.DIRECTORY))
    disk.replace_file(join(ROOT, archive.DIRECTORY, archive.STATE), archive.encode_state(archive.Archived()))
    return Written(disk.copy(), engine.abandon(), backup_digest)


def fill(engine: Engine, keys: int, turn: int) -> None:
    for start in range(0, keys, 50):
        engine.write(*(f"SET key{n} {'v' * (n % 40)}{turn} EX {1000 + n}" for n in range(start, min(start + 50, keys))))


def fate(made: Written, path: str, bit: int) -> str:
    """refused or right; an AssertionError if it is anything else, or if nobody notices."""
    disk = made.disk.copy()
    disk.flip(path, bit)
    where = f"bit {bit} of {path}"
    outcome = read_backup(made, disk, where) if path.startswith(BACKUPS) else start(made, disk, where)
    disk = made.disk.copy()
    disk.flip(path, bit)
    report = verify(disk, ROOT, MASTER, quick=True, backup_dirs=(BACKUPS,))
    if report.whole and outcome == "right" and unwritten(made, path, bit):
        return "right, where nothing was written"
    assert not report.whole, f"{where} flipped: `storage verify` finds nothing"
    name = f"{BACKUPS}/b.vxb" if path.startswith(BACKUPS) else path.removeprefix(ROOT + "/")
    assert name in {file.path for file in report.bad}, f"{where} flipped: `storage verify` names {report.bad}"
    return outcome


def unwritten(made: Written, path: str, bit: int) -> bool:
    return "active-" in path and bit // 8 >= len(made.disk.read_file(path).rstrip(b"\0"))


def start(made: Written, disk: SimDisk, where: str) -> str:
    try:
        found = started(disk)
    except Refused as refusal:
        text = str(refusal)
        assert "\n" not in text and ROOT in text, text
        return "refused"
    assert found == made.digest, f"{where} flipped: the server starts with another state"
    return "right"


def read_backup(made: Written, disk: SimDisk, where: str) -> str:
    try:
        loaded = load(disk, f"{BACKUPS}/b.vxb", lambda: reading_keys_of(disk), lambda: MASTER.read(disk))
    except Refused:
        return "refused"
    assert digest_hex(loaded.machine) == made.backup_digest, f"{where} flipped: the backup gives another state"
    return "right"


def fates(kind: str, path: str, bits: list[int]) -> Counter[str]:
    made = {"small": small, "large": large}[kind]()
    return Counter(fate(made, path, bit) for bit in bits)


def all_fates(kind: str, jobs: list[tuple[str, list[int]]]) -> Counter[str]:
    """In processes of their own: it is the same work over and over."""
    counts: Counter[str] = Counter()
    with ProcessPoolExecutor(WORKERS, get_context("fork")) as pool:
        for some in [pool.submit(fates, kind, path, bits) for path, bits in jobs]:
            counts += some.result()
    return counts


def bits_of(made: Written, path: str) -> list[int]:
    """Every bit; or, for CI, one of each byte that carries meaning, each place in turn, and of some that fill up."""
    content = made.disk.read_file(path)
    if EVERY_BIT:
        return list(range(len(content) * 8))
    used = len(content.rstrip(b"\0"))

    def fills_up(at: int) -> bool:
        return path.endswith(".wal") and (HEADER_MEANING_BYTES <= at < SEGMENT_HEADER_BYTES - DIGEST_BYTES or at >= used)

    return [at * 8 + at * 3 % 8 for at in range(len(content)) if at % FILL_STEP == 0 or not fills_up(at)]


def in_chunks(path: str, bits: list[int]) -> list[tuple[str, list[int]]]:
    return [(path, bits[at : at + CHUNK_BITS]) for at in range(0, len(bits), CHUNK_BITS)]


def files(made: Written) -> list[str]:
    return sorted(path for path, content in made.disk.files().items() if content)


UNREAD = {path for path in files(small()) if re.search(r"/0*4-0*5\.wal|snapshot-0*3\.|state\.json", path)}


def test_the_directory_has_every_kind_of_file() -> None:
    made = small()
    kinds = {path.rpartition("/")[2].partition("-")[0].lstrip("0123456789") or "sealed" for path in files(made)}
    assert kinds == {"manifest.json", "keyring.json", archive.STATE, "snapshot", "sealed", "active", "b.vxb", "b.json"}
    assert start(made, made.disk.copy(), "no bit") == read_backup(made, made.disk.copy(), "no bit") == "right"
    assert verify(made.disk, ROOT, MASTER, backup_dirs=(BACKUPS,)).whole
    assert len(UNREAD) == 3


@pytest.mark.parametrize("path", files(small()))
def test_every_bit_of_a_small_directory(path: str) -> None:
    counts = all_fates("small", in_chunks(path, bits_of(small(), path)))
    print(path, dict(counts))
    assert sum(counts.values()) > 150
    # What lies wholly before the newest snapshot is only read by time travel and by `storage verify`.
    assert (counts["refused"] > 100) == (path not in UNREAD), counts


def test_random_bits_of_a_large_directory() -> None:
    made, rng = large(), Random(11)
    paths = files(made)
    sizes = [len(made.disk.read_file(path)) for path in paths]
    jobs = []
    for path in rng.choices(paths, sizes, k=RANDOM_FLIPS):
        bit = rng.randrange(len(made.disk.read_file(path)) * 8)
        jobs.append((path, [bit]))
    counts = all_fates("large", jobs)
    print(sum(sizes), dict(counts))
    assert sum(counts.values()) == RANDOM_FLIPS and counts["refused"]
