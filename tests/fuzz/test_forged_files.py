"""Segments and snapshots in the clear whose checksums were made right again: refused, or read; never anything else.

That is what somebody can do who writes to a data directory without encryption, and what lies behind a checksum is
otherwise never reached by damage. What comes out may be wrong then: a checksum is no signature. What must not come is
an exception of another kind, or more memory than the file has bytes.
In CI a thousand inputs; `python -m tests.fuzz forged_files --seconds 600` for longer.
"""

from __future__ import annotations

import struct
from random import Random
from zlib import crc32

from xxhash import xxh3_128, xxh3_128_digest

from tests.fuzz.mutation import mutated
from tests.fuzz.test_data_directory import FILES, TOKENS, disk_of
from tests.sim.disk.workload import STORE_ID, World, fact
from vaylix_resp.errors import Refused
from vaylix_resp.storage.batch import HEADER_BYTES as FRAME_HEADER_BYTES
from vaylix_resp.storage.batch import MAGIC, SECTOR, store_salt
from vaylix_resp.storage.sealing import CLEAR
from vaylix_resp.storage.segment import SEGMENT_HEADER_BYTES
from vaylix_resp.storage.snapshot import HEADER_BYTES as SNAPSHOT_HEADER_BYTES

_BODY_BYTES = struct.Struct("<I")
_BODY_BYTES_AT = 20  # in the header of a frame
_CHUNK = struct.Struct("<BBxxIII")


def segment_repaired(raw: bytes) -> bytes:
    """With a right checksum of its header and of each frame that still begins at a sector and ends in the file."""
    data = bytearray(raw)
    if len(data) >= SEGMENT_HEADER_BYTES:
        data[SEGMENT_HEADER_BYTES - 16 : SEGMENT_HEADER_BYTES] = xxh3_128_digest(data[: SEGMENT_HEADER_BYTES - 16])
    at = data.find(MAGIC)
    while at >= 0:
        if at % SECTOR == 0 and len(data) - at >= FRAME_HEADER_BYTES:
            (size,) = _BODY_BYTES.unpack_from(data, at + _BODY_BYTES_AT)
            body = at + FRAME_HEADER_BYTES
            if size <= len(data) - body:
                hasher = xxh3_128(data[at : body - 20])
                hasher.update(data[body : body + size])
                data[body - 20 : body - 4] = hasher.digest()
            data[body - 4 : body] = struct.pack("<I", crc32(data[at : body - 4], store_salt(STORE_ID)))
        at = data.find(MAGIC, at + 1)
    return bytes(data)


def snapshot_repaired(raw: bytes) -> bytes:
    data = bytearray(raw)
    if len(data) < SNAPSHOT_HEADER_BYTES:
        return raw
    data[SNAPSHOT_HEADER_BYTES - 16 : SNAPSHOT_HEADER_BYTES] = xxh3_128_digest(data[: SNAPSHOT_HEADER_BYTES - 16])
    at = SNAPSHOT_HEADER_BYTES
    while at + _CHUNK.size + 16 <= len(data):
        stored = _CHUNK.unpack_from(data, at)[3]
        body = at + _CHUNK.size + 16
        hasher = xxh3_128(data[at : at + _CHUNK.size])
        hasher.update(data[body : body + stored])
        data[body - 16 : body] = hasher.digest()
        at = body + stored
    return bytes(data)


class Reading(World):
    """Reads all that is there and makes nothing of it: what chunks and bodies mean is for others to say."""

    def _load(self) -> None:
        reader = self.store.snapshot()
        if reader:
            self.chunks = list(reader)
            reader.close()
        self.recovered = self.store.recover(lambda batch: self.state.append(fact(batch)))


def check(rng: Random) -> None:
    how = rng.choice(("stopped", "killed"))
    files = dict(FILES["clear", how])
    name = rng.choice([name for name in sorted(files) if name != "manifest.json"])
    raw = files[name]
    used = len(raw.rstrip(b"\0")) + SECTOR if "active" in name else len(raw)
    changed = mutated(rng, raw[:used], TOKENS, (1, 1, 2)) + raw[used:]
    files[name] = segment_repaired(changed) if name.startswith("wal/") else snapshot_repaired(changed)
    try:
        Reading(disk_of(files), keys=CLEAR).open()
    except Refused as refused:
        assert "\n" not in str(refused)


def test_the_repairs_are_right() -> None:
    """On an undamaged file they change nothing; otherwise no mutation would get past a checksum."""
    for name, raw in FILES["clear", "killed"].items():
        if name.startswith("wal/"):
            assert segment_repaired(raw) == raw, name
        elif name.startswith("snapshots/"):
            assert snapshot_repaired(raw) == raw, name


def test_forged_files() -> None:
    for seed in range(1000):
        check(Random(seed))
