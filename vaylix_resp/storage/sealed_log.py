"""The sealed part of a log, read from a snapshot on: for the process that makes the next snapshot.

Promise: read-only; what comes out has been checked, and continues the very batch that the snapshot was made from.
Not here: the end of the log (`recovery`, `history`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from vaylix_resp.storage.batch import Batch, store_salt
from vaylix_resp.storage.disk import Disk, join
from vaylix_resp.storage.errors import Corrupt
from vaylix_resp.storage.listing import DIRECTORY, NEVER, list_wal
from vaylix_resp.storage.manifest import Manifest
from vaylix_resp.storage.sealing import Keys
from vaylix_resp.storage.segment import Chain, Scan, check_sealed_end, follow_segment, open_segment


def read_batches(
    disk: Disk, root: str, manifest: Manifest, keys: Keys, after: int, up_to: int = NEVER
) -> Iterator[Batch]:
    """The batches of the sealed segments that lie behind `after` and end at or before `up_to`, checked. Read-only.

    For the process that makes a snapshot: it may run beside the server, which only adds segments meanwhile.
    `after` is 0 or the sequence of a snapshot in the manifest, whose tag the log has to continue.
    """
    directory, store_id = join(root, DIRECTORY), manifest.store_id_bytes
    listing = list_wal(disk, root, manifest.newest.sequence if manifest.newest else 0)
    names = [name for name in listing.sealed if name.last is not None and name.last > after]
    base = next((info for info in manifest.snapshots if info.sequence == after), None)
    assert base or after == 0, after
    chain = Chain(after, bytes.fromhex(base.tag), base.term, base.timestamp_ms) if base else Chain()
    anchor = chain.tag
    if names and names[0].first > after + 1:
        expected = f"a log that begins at sequence {after + 1} or before, this is the oldest segment"
        raise Corrupt(join(directory, names[0].name), 0, expected, sequence=after + 1)
    for number, name in enumerate(names):
        if name.first > up_to:
            return
        reader, header, cipher = open_segment(disk, directory, name, store_id, keys)
        with closing(reader.file):
            if number == 0 and name.first <= after:
                chain = Chain(header.first - 1, header.prev_tag)  # the base lies inside; its batch is compared below
            follow_segment(chain, header, reader.path)
            scan = Scan(reader, chain, store_salt(store_id), cipher)
            if name.first == after + 1:
                _check_base(header.prev_tag, anchor, reader.path, after)
            for batch in scan:
                if batch.last == after:
                    _check_base(chain.tag, anchor, reader.path, after)
                if batch.last > up_to:
                    return
                if batch.first > after:
                    yield batch
            check_sealed_end(scan, name)


def _check_base(found: bytes, expected: bytes, path: str, sequence: int) -> None:
    if found != expected:
        raise Corrupt(path, 0, "the batch that the snapshot of this sequence was made from", sequence=sequence)
