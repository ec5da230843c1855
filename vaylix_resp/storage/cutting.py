"""The end of the log moved back, and the log begun anew behind a snapshot: the steps on the disk.

    cut:    [copy what stays of a sealed segment] -> cut-<first>.wal appears -> complete()
    fresh:  fresh-<first>.wal appears -> the manifest names the snapshot -> complete()
In between a crash may come at any call: `listing` says what counts, and the next start calls complete() again.
Promise: a sealed segment is never written to (backups share it by hard links): its kept part becomes a file of its own.
The frames are copied as they are, so nothing is ever sealed a second time.
Not here: whether the log may be cut there (`wal`); what the names mean (`listing`).
Source: Raft (Ongaro, 2014), section 3.5 (a follower deletes what conflicts) and chapter 5 (snapshots).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress

from vaylix_resp.storage.active import Segment, seal
from vaylix_resp.storage.batch import store_salt
from vaylix_resp.storage.disk import Disk
from vaylix_resp.storage.errors import Corrupt
from vaylix_resp.storage.listing import Listing
from vaylix_resp.storage.sealing import Keys
from vaylix_resp.storage.segment import (
    READ_BYTES,
    Chain,
    Scan,
    SegmentName,
    active_name,
    open_segment,
    sealed_name,
)

SYNC_BYTES = 8 << 20  # of a copy: one fsync of everything would stall those of other files


class Cutting:
    """One change of one log."""

    def __init__(self, disk: Disk, directory: str, store_id: bytes, keys: Keys) -> None:
        self._disk, self._directory, self._store_id, self._keys = disk, directory, store_id, keys
        self._measured: dict[SegmentName, tuple[Chain, int]] = {}

    def chain_at(self, segments: Sequence[Segment], last: int, term: int) -> tuple[Chain, SegmentName | None]:
        """Where the log stands at `last`, the end of a batch of `term`; and the segment that goes on behind it."""
        for segment in segments:
            name = segment.path.rpartition("/")[2]
            if segment.first <= last < segment.last:
                spanning = SegmentName(name, segment.first, last, clipped=True)
                return self._measure(spanning)[0], spanning
            if segment.first == last + 1:
                reader, header, _ = open_segment(
                    self._disk, self._directory, SegmentName(name, segment.first, None), self._store_id, self._keys
                )
                reader.file.close()
                return Chain(last, header.prev_tag, term, header.created_ms), None
        raise AssertionError(f"sequence {last} is not in the log")

    def _measure(self, name: SegmentName) -> tuple[Chain, int]:
        """Read a segment up to where it is clipped: the chain there, and the offset."""
        if name in self._measured:
            return self._measured[name]
        reader, header, cipher = open_segment(self._disk, self._directory, name, self._store_id, self._keys)
        with closing(reader.file):
            scan = Scan(reader, Chain(header.first - 1, header.prev_tag), store_salt(self._store_id), cipher)
            for _ in scan:
                continue
        if scan.chain.last != name.last:
            expected = f"a batch that ends with sequence {name.last}"
            raise Corrupt(reader.path, scan.offset, expected, sequence=scan.chain.last + 1)
        self._measured[name] = scan.chain, scan.offset
        return scan.chain, scan.offset

    def copy_kept(self, name: SegmentName) -> None:
        """The part of a sealed segment that stays, durable under a temporary name: whatever needs room comes first."""
        disk, end = self._disk, self._measure(name)[1]
        reading = disk.open(self._path(name.name))
        with closing(reading):
            writing = disk.create(self._kept_path(name) + ".tmp")
            with closing(writing):
                for offset in range(0, end, READ_BYTES):
                    writing.pwrite(reading.pread(min(READ_BYTES, end - offset), offset), offset)
                    if (offset + READ_BYTES) % SYNC_BYTES == 0:
                        writing.fdatasync()
                writing.fsync()

    def drop_copy(self, name: SegmentName) -> None:
        """Nothing comes of the cut: give the room back. What cannot be removed now, the next start removes."""
        path = self._kept_path(name) + ".tmp"
        with suppress(OSError):
            if self._disk.exists(path):
                self._disk.unlink(path)

    def complete(self, listing: Listing, *, copied: bool) -> Segment | None:
        """Make the names say without `opening` what they say with it; the segment that has become shorter.

        `copied`: copy_kept() has just been called.
        """
        assert listing.opening is not None
        shorter = None
        for name in listing.void:
            self._disk.unlink(self._path(name))
        for segment in listing.sealed:
            if segment.clipped:
                shorter = self._clip(segment, copied=copied)
        last_name = active_name(listing.opening.first)
        self._disk.rename(self._path(listing.opening.name), self._path(last_name))
        return shorter

    def _clip(self, name: SegmentName, *, copied: bool) -> Segment:
        disk, path, end = self._disk, self._path(name.name), self._measure(name)[1]
        assert name.last is not None
        if name.name == active_name(name.first):  # nobody else has a name for this one
            file = disk.open(path, write=True)
            with closing(file):
                file.truncate(end)
                return seal(disk, self._directory, file, Segment(path, name.first, name.last, end))
        if not copied:
            self.copy_kept(name)
        disk.rename(self._kept_path(name) + ".tmp", self._kept_path(name))
        disk.unlink(path)
        return Segment(self._kept_path(name), name.first, name.last, end)

    def _kept_path(self, name: SegmentName) -> str:
        assert name.last is not None
        return self._path(sealed_name(name.first, name.last))

    def _path(self, name: str) -> str:
        return f"{self._directory}/{name}"
