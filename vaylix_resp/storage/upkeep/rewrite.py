"""Segments and snapshots written in one go from content that exists: by tools that replace a log, never by the server.

Promise: a file is durable when `finish` returns; it has a data key of its own, and no number of it is used twice.
Not here: under which names the files become part of a directory (`migrate`, `repair`).
"""

from __future__ import annotations

from vaylix_resp.storage.batch import Batch, encode, store_salt
from vaylix_resp.storage.disk import Disk
from vaylix_resp.storage.errors import IoFailed
from vaylix_resp.storage.sealing import Keys
from vaylix_resp.storage.segment import SegmentHeader, encode_segment_header, with_new_key

WRITE_BYTES = 1 << 20  # gathered before a write
SYNC_BYTES = 8 << 20  # synced so often, so that the last fsync does not stall everything else on the disk


class SegmentWriter:
    """One sealed segment; the batches come in order, and each becomes a frame that names the one before it."""

    def __init__(
        self, disk: Disk, path: str, keys: Keys, *, store_id: bytes, first: int, prev_tag: bytes, created_ms: int
    ) -> None:
        self.path, self.tag, self.last = path, prev_tag, first - 1
        self._salt, self._number = store_salt(store_id), 0
        header, self._cipher = with_new_key(SegmentHeader(store_id, first, prev_tag, created_ms), keys)
        raw = encode_segment_header(header)
        self._parts, self._gathered = [raw], len(raw)
        self._written = self._synced = 0
        try:
            self._file = disk.create(path)
        except OSError as cause:
            raise IoFailed(path, cause) from cause

    def add(self, batch: Batch) -> None:
        """All that is in `batch` but its tag: that follows from the file and from what came before."""
        assert batch.first == self.last + 1, (batch.first, self.last)
        self._number += 1
        frame, self.tag = encode(
            self._salt, self.tag, batch.first - 1, batch.first, batch.count, batch.term, batch.timestamp_ms,
            batch.committed, batch.seed, batch.body, self._cipher, self._number, batch.kind,
        )  # fmt: skip
        self.last = batch.last
        self._parts.append(frame)
        self._gathered += len(frame)
        if self._gathered >= WRITE_BYTES:
            self._flush()

    def finish(self) -> int:
        """Write the rest, sync, close; the size."""
        self._flush()
        try:
            self._file.fsync()
        except OSError as cause:
            raise IoFailed(self.path, cause) from cause
        finally:
            self._file.close()
        return self._written

    def abandon(self) -> None:
        """Close the file as it is; whoever chose its name removes it."""
        self._file.close()

    def _flush(self) -> None:
        try:
            self._file.pwrite(b"".join(self._parts), self._written)
            self._written += self._gathered
            if self._written - self._synced >= SYNC_BYTES:
                self._file.fdatasync()
                self._synced = self._written
        except OSError as cause:
            raise IoFailed(self.path, cause) from cause
        self._parts, self._gathered = [], 0
