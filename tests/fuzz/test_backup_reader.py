"""Mutated backups and sidecars: nothing but a refusal comes out, or exactly the rows that are in the file.

Checksums are made right again behind most mutations, as somebody would who forges a backup in the clear or a header.
In CI a few thousand inputs; `python -m tests.fuzz backup_reader --seconds 600` for longer.
"""

from __future__ import annotations

import json
from hashlib import sha256
from random import Random

from tests.fuzz import mutation
from tests.sim.disk.keys import MemoryKeys
from tests.sim.disk.simdisk import SimDisk
from tests.unit.storage.backups import ROWS, make
from vaylix_resp.errors import Refused
from vaylix_resp.storage.copies.backup_file import HEADER_BYTES
from vaylix_resp.storage.copies.backup_reader import BackupReader
from vaylix_resp.storage.copies.backup_sidecar import check_content, decode_sidecar, encode_sidecar
from vaylix_resp.storage.sealing import CLEAR

PATH = "./b.vxb"
KEYS = MemoryKeys(5)


def files_of(sealed: bool) -> tuple[bytes, bytes]:
    disk = SimDisk()
    make(disk, ".", "b", KEYS if sealed else CLEAR)
    return disk.files()[PATH], disk.files()["./b.json"]


FILES = {sealed: files_of(sealed) for sealed in (False, True)}
TOKENS = [
    b"{", b"}", b"\n", b'"', b"null", b"-1", b"0", b"9" * 30, b"[", b"true", b"1e9", b"=", b"\\", b"\xff", b"VxBC",
    b'"db":', b'"end":true', b'"keys":', b'"format":', b'"databases":', b"65537", b'"sequence":',
]  # fmt: skip


def mutated(rng: Random, raw: bytes) -> bytes:
    """Sometimes with its lines in another order; a backup is a file of lines."""
    if rng.random() < 0.2:
        lines = raw.splitlines(keepends=True)
        rng.shuffle(lines)
        return b"".join(lines)
    return mutation.mutated(rng, raw, TOKENS)


def repaired(raw: bytes, *, sealed: bool) -> bytes:
    """With a right digest of the header, so that what comes behind that check is reached."""
    if not sealed or len(raw) < HEADER_BYTES:
        return raw
    head = raw[: HEADER_BYTES - 16]
    return head + sha256(head).digest()[:16] + raw[HEADER_BYTES:]


def check_file(rng: Random) -> None:
    sealed = rng.random() < 0.5
    raw, sidecar = FILES[sealed]
    changed = mutated(rng, raw)
    if rng.random() < 0.7:
        changed = repaired(changed, sealed=sealed)
    disk = SimDisk()
    disk.put(PATH, changed)
    try:
        reader = BackupReader(disk, PATH, KEYS)
        rows = list(reader.rows())
    except Refused:
        return
    assert reader.content is not None and len(rows) == reader.content.tail.keys
    if sealed:
        assert changed == raw and rows == ROWS, "a seal was broken unnoticed"
    try:
        check_content(decode_sidecar(sidecar, "b.json"), reader.content, PATH)
    except Refused:
        return
    assert rows == ROWS


def check_sidecar(rng: Random) -> None:
    raw = FILES[True][1]
    changed = mutated(rng, raw)
    if rng.random() < 0.7:
        changed = signed(changed)
    try:
        found = decode_sidecar(changed, "b.json")
    except Refused:
        return
    assert encode_sidecar(found) == changed


def signed(raw: bytes) -> bytes:
    """With a right checksum, if it is JSON at all."""
    try:
        body = json.loads(raw)
        body.pop("checksum")
        digest = sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
        return json.dumps({"checksum": digest, **body}, indent=2).encode() + b"\n"
    except (ValueError, KeyError, TypeError, AttributeError):
        return raw


def check(rng: Random) -> None:
    check_file(rng)
    check_sidecar(rng)


def test_mutated_backups() -> None:
    for seed in range(3000):
        check(Random(seed))
