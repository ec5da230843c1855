"""Where each batch of a log lies and what its frame says: for people who look into segments.

Promise: read-only, also beside a server; every batch that comes out has been checked like at a start.
Units: offsets and sizes in bytes; sequences from 1.
Not here: entries and their words (`tools.entry_text`), judging a directory (`verify`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from vaylix_resp.storage.batch import Batch, frame_bytes, store_salt
from vaylix_resp.storage.damage import Do, decide, describe, gather
from vaylix_resp.storage.disk import Disk, join
from vaylix_resp.storage.errors import Corrupt
from vaylix_resp.storage.hard_state import FRAME_BYTES, HardState
from vaylix_resp.storage.listing import DIRECTORY as WAL
from vaylix_resp.storage.manifest import Manifest
from vaylix_resp.storage.sealing import Keys
from vaylix_resp.storage.segment import Chain, Scan, SegmentName, check_sealed_end, open_segment


@dataclass(frozen=True, slots=True)
class Frame:
    """A batch or a hard state (then `batch` is None), and its place in the file."""

    offset: int
    bytes: int
    batch: Batch | None
    hard_state: HardState | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """What a segment's header says."""

    name: str
    first: int
    created_ms: int
    prev_tag: bytes
    key_id: int
    bytes: int


def segment_head(disk: Disk, root: str, manifest: Manifest, keys: Keys, name: SegmentName) -> Head:
    reader, header, _ = open_segment(disk, join(root, WAL), name, manifest.store_id_bytes, keys)
    reader.file.close()
    return Head(name.name, header.first, header.created_ms, header.prev_tag, header.key_id, reader.size)


def frames(disk: Disk, root: str, manifest: Manifest, keys: Keys, name: SegmentName) -> Iterator[Frame]:
    """The frames of one segment; Corrupt where they end and should not."""
    reader, header, cipher = open_segment(disk, join(root, WAL), name, manifest.store_id_bytes, keys)
    salt = store_salt(manifest.store_id_bytes)
    with closing(reader.file):
        scan = Scan(reader, Chain(header.first - 1, header.prev_tag), salt, cipher)
        for batch in scan:
            yield from _hard_states(scan)
            size = frame_bytes(len(batch.body))
            yield Frame(scan.offset - size, size, batch)
        yield from _hard_states(scan)
        if name.last is not None:
            check_sealed_end(scan, name)
            return
        facts, _ = gather(reader, scan.offset, scan.chain.last + 1, salt, cipher)
        if decide(facts) is Do.REFUSE:
            raise Corrupt(reader.path, scan.offset, describe(facts), sequence=scan.chain.last + 1)


def _hard_states(scan: Scan) -> Iterator[Frame]:
    """Those that the scan has come across since the last call."""
    for offset, hard_state in scan.hard_states:
        yield Frame(offset, FRAME_BYTES, None, hard_state)
    scan.hard_states.clear()
