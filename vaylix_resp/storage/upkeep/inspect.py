"""Where each batch of a log lies and what its frame says: for people who look into segments.

Promise: read-only, also beside a server; every batch that comes out has been checked like at a start.
Units: offsets and sizes in bytes; sequences from 1.
Not here: entries and their words (`tools.entry_text`), judging a directory (`verify`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from vaylix_resp.storage.batch import Batch, store_salt
from vaylix_resp.storage.damage import Do, decide, gather
from vaylix_resp.storage.disk import Disk, join
from vaylix_resp.storage.errors import Corrupt
from vaylix_resp.storage.manifest import Manifest
from vaylix_resp.storage.recovery import DIRECTORY as WAL
from vaylix_resp.storage.recovery import check_sealed_end, describe
from vaylix_resp.storage.sealing import Keys
from vaylix_resp.storage.segment import Chain, Scan, SegmentName, open_segment


@dataclass(frozen=True, slots=True)
class Frame:
    """One batch and its place in the file."""

    offset: int
    bytes: int
    batch: Batch


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
    """The batches of one segment; Corrupt where they end and should not."""
    reader, header, cipher = open_segment(disk, join(root, WAL), name, manifest.store_id_bytes, keys)
    salt = store_salt(manifest.store_id_bytes)
    with closing(reader.file):
        scan = Scan(reader, Chain(header.first - 1, header.prev_tag), salt, cipher)
        offset = scan.offset
        for batch in scan:
            yield Frame(offset, scan.offset - offset, batch)
            offset = scan.offset
        if name.last is not None:
            check_sealed_end(scan, name)
            return
        facts, _ = gather(reader, scan.offset, scan.chain.last + 1, salt, cipher)
        if decide(facts) is Do.REFUSE:
            raise Corrupt(reader.path, scan.offset, describe(facts), sequence=scan.chain.last + 1)
