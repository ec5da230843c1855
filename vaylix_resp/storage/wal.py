"""The write-ahead log on disk, which is also the Raft log.

Holds batches without gaps in sealed segments and one active segment.
Promise: what sync() returned for survives a power cut; after DiskFull nothing of the batch is there and the log goes
on; after WalFailed it takes nothing more. Whenever the process may die there is at least one active segment.
Each segment is sealed with a data key of its own, which only this object ever writes with: a segment that was there
before a start is never appended to. No number is used for two frames, not even if the first could not be written.
Units: sizes and offsets in bytes; sequences from 1, 0 is "before the first".
Threads: append, rotate and seal_and_close belong to one thread at a time; sync, prepare_spare (one caller) and prune
may run beside them.
Not here: when to sync and when to snapshot (`engine`); what is found at start (`recovery`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from vaylix_resp.storage.batch import encode, frame_bytes, store_salt
from vaylix_resp.storage.disk import NO_SPACE, Disk, File
from vaylix_resp.storage.errors import DiskFull, WalFailed
from vaylix_resp.storage.sealing import Cipher, Keys
from vaylix_resp.storage.segment import (
    FIRST_SEGMENT_BYTES,
    SEGMENT_BYTES,
    SEGMENT_HEADER_BYTES,
    Chain,
    SegmentHeader,
    active_name,
    create_zeroed,
    encode_segment_header,
    sealed_name,
    with_new_key,
)

# RAFT.md: two segments are kept in reserve, so that a full disk is noticed while there is still room for writes.
SPARES = 2


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of the log. `last` is first - 1 for an active segment without batches."""

    path: str
    first: int
    last: int
    size: int


@dataclass(frozen=True, slots=True)
class WalConfig:
    segment_bytes: int = SEGMENT_BYTES
    first_segment_bytes: int = FIRST_SEGMENT_BYTES
    spares: int = SPARES


@dataclass(frozen=True, slots=True)
class Opened:
    """An empty active segment. `size`: how far zeros are written ahead; `cipher` is None when it is in the clear."""

    file: File
    size: int
    cipher: Cipher | None


def create_active(disk: Disk, directory: str, store_id: bytes, chain: Chain, size: int, keys: Keys) -> Opened:
    """A new active segment right behind `chain`, durable under its name when this returns."""
    temporary = f"{directory}/next.tmp"
    size = max(size, SEGMENT_HEADER_BYTES)
    file = create_zeroed(disk, temporary, size)
    try:
        return Opened(file, size, name_active(disk, directory, store_id, chain, file, temporary, keys))
    except BaseException:
        file.close()
        raise


def name_active(
    disk: Disk, directory: str, store_id: bytes, chain: Chain, file: File, temporary: str, keys: Keys
) -> Cipher | None:
    """Turn a file of zeros into the active segment. The header is synced before the name: a name implies a header."""
    header, cipher = with_new_key(SegmentHeader(store_id, chain.last + 1, chain.tag, chain.timestamp_ms), keys)
    file.pwrite(encode_segment_header(header), 0)
    file.fsync()
    file.path = f"{directory}/{active_name(chain.last + 1)}"
    disk.rename(temporary, file.path)
    return cipher


class Wal:
    """Open for appending. Made by `recovery`, which hands over a new, empty active segment."""

    def __init__(
        self, disk: Disk, directory: str, store_id: bytes, chain: Chain, sealed: list[Segment], active: Opened,
        config: WalConfig, keys: Keys,
    ) -> None:  # fmt: skip
        self._disk, self._directory, self._store_id, self._config = disk, directory, store_id, config
        self._keys = keys
        self._salt = store_salt(store_id)
        self._chain = chain  # only `last`, `tag`, `term`, `timestamp_ms`; recovery no longer uses it
        self._sealed = sealed
        self._begin(active)
        self._durable = chain.last
        self.appended_bytes = 0  # of all batches since the start
        self._dirty_end = 0  # bytes up to here were written for a batch that failed, and have to be zeroed first
        self._unsealed: tuple[File, int, Segment] | None = None  # rotated away, but the disk was full for sealing it
        self._spares: list[File] = []
        self._spares_made = 0
        self._sync_lock = Lock()  # a sync and a rotation exclude each other: the file changes under it
        self.failed: str | None = None

    @property
    def last(self) -> int:
        """Sequence of the last entry appended; durable is what it was at the last sync()."""
        return self._chain.last

    @property
    def tag(self) -> bytes:
        return self._chain.tag

    @property
    def term(self) -> int:
        return self._chain.term

    @property
    def timestamp_ms(self) -> int:
        """Of the last batch: no later one may be stamped earlier."""
        return self._chain.timestamp_ms

    @property
    def durable(self) -> int:
        return self._durable

    @property
    def active_bytes(self) -> int:
        return self._offset

    @property
    def total_bytes(self) -> int:
        return self._offset + sum(segment.size for segment in self._sealed)

    @property
    def spares_ready(self) -> int:
        return len(self._spares)

    @property
    def wants_spare(self) -> bool:
        return len(self._spares) < self._config.spares

    def segments(self) -> list[Segment]:
        """Sealed ones in order, then the active one."""
        waiting = [self._unsealed[2]] if self._unsealed else []
        return [*self._sealed, *waiting, Segment(self._file.path, self._first, self.last, self._offset)]

    def append(
        self, first: int, count: int, term: int, timestamp_ms: int, committed: int, seed: int, body: bytes
    ) -> None:
        """One batch, one write. Not durable before sync(). DiskFull and WalFailed as in the module's promise."""
        chain = self._chain
        assert first == chain.last + 1 and count > 0, (first, count, chain.last)
        assert term >= chain.term and timestamp_ms >= chain.timestamp_ms, (term, timestamp_ms)
        self._make_room(frame_bytes(len(body)))
        self._number += 1
        place = first, count, term, timestamp_ms, committed, seed
        frame, tag = encode(self._salt, chain.tag, self._durable, *place, body, self._cipher, self._number)
        try:
            self._file.pwrite(frame, self._offset)
        except OSError as cause:
            self._dirty_end = self._offset + len(frame)
            failure = self._failure("write", self._file.path, cause)
            if isinstance(failure, DiskFull):
                self._scrub()
            raise failure from cause
        self._offset += len(frame)
        self.appended_bytes += len(frame)
        chain.last = first + count - 1
        chain.tag, chain.term, chain.timestamp_ms = tag, term, timestamp_ms

    def _make_room(self, size: int) -> None:
        """What has to be right before a frame is written. Whatever fails here, nothing of the batch is in the log."""
        try:
            if self.failed:
                raise WalFailed(self.failed)
            if self._dirty_end:
                self._scrub()
            if self._offset + size > self._capacity:
                self._rotate(size)
        except WalFailed as failure:
            failure.definite = True
            raise

    def sync(self) -> None:
        """Make durable what was appended before the call. Never repeated after a failure."""
        with self._sync_lock:
            if self.failed:
                raise WalFailed(self.failed)
            last = self._chain.last
            if self._durable < last:
                self._fsync(self._file.fdatasync, self._file.path)
                self._durable = last

    def settle(self) -> None:
        """Durable, and nothing behind the last batch: what the watermark of a clean stop may be taken from."""
        if self._dirty_end:
            self._scrub()
        self.sync()

    def rotate(self, *, empty_too: bool = False) -> None:
        """Seal the active segment, if there is anything in it, so that others may read all there is so far.

        `empty_too`: replace an empty one as well, for a new key.
        """
        if self.failed:
            raise WalFailed(self.failed)
        if self._dirty_end:
            self._scrub()
        if empty_too or self.last >= self._first:
            self._rotate(0)
        if self._unsealed:
            raise DiskFull(f"{self._unsealed[2].path}: no room to seal it")

    def prepare_spare(self, pause: Callable[[], None] | None = None) -> bool:
        """Make one more segment ahead of need; False if there are enough. For a background thread.

        `pause` is called between small pieces. DiskFull shows here, well before a batch meets it.
        """
        if self.failed:
            raise WalFailed(self.failed)
        if not self.wants_spare:
            return False
        self._spares_made += 1
        path = f"{self._directory}/spare-{self._spares_made}.tmp"
        try:
            self._spares.append(create_zeroed(self._disk, path, self._config.segment_bytes, pause))
        except OSError as cause:
            raise self._give_up(path, cause) from cause
        return True

    def probe_space(self) -> bool:
        """Whether writes can be taken again after DiskFull. May write a whole spare: for a background thread."""
        try:
            return bool(self._spares) or self.prepare_spare()
        except DiskFull:
            return False

    def prune(self, up_to: int) -> int:
        """Delete sealed segments that hold nothing behind `up_to`; how many. Only after the manifest covers them.

        Oldest first: a crash in between leaves a log without a gap.
        """
        pruned = 0
        while self._sealed and self._sealed[0].last <= up_to:
            self._disk.unlink(self._sealed[0].path)
            del self._sealed[0]
            pruned += 1
        return pruned

    def seal_and_close(self) -> tuple[int, bytes]:
        """The last act of a clean stop, after the manifest has the watermark; no active segment is left.

        (Not before it: without a watermark, a directory without an active segment is one that lost it.)
        """
        self.sync()
        with self._sync_lock:
            self._seal_waiting()
            if self._unsealed:
                raise DiskFull(f"{self._unsealed[2].path}: no room to seal it")
            active = Segment(self._file.path, self._first, self.last, self._offset)
            try:
                if active.last < active.first:
                    self._disk.unlink(active.path)
                else:
                    self._file.truncate(self._offset)
                    self._sealed.append(seal(self._disk, self._directory, self._file, active))
                for spare in self._spares:
                    self._disk.unlink(spare.path)
            except OSError as cause:
                raise self._failure("seal", active.path, cause) from cause
        self.abandon()
        return self.last, self.tag

    def abandon(self) -> None:
        """Close the files and leave them as they are, as a kill would."""
        self.failed = self.failed or "the log is closed"
        for file in [self._file, *self._spares, *([self._unsealed[0]] if self._unsealed else [])]:
            file.close()
        self._spares = []

    def _begin(self, active: Opened) -> None:
        """From now on the log is written to this file, which is empty."""
        self._file, self._capacity, self._offset = active.file, active.size, SEGMENT_HEADER_BYTES
        self._cipher, self._number = active.cipher, 0
        self._first = self.last + 1

    def _rotate(self, size: int) -> None:
        """Go on in a new segment with room for a frame of `size`; then seal the old one.

        The new one comes first: a crash in between leaves two active segments, never none.
        """
        with self._sync_lock:
            self._seal_waiting()
            if self._unsealed:
                raise DiskFull(f"{self._unsealed[2].path}: no room to seal it")
            if self._durable < self.last:  # recovery relies on it: what lies before another segment was synced
                self._fsync(self._file.fdatasync, self._file.path)
                self._durable = self.last
            following = self._next_file(SEGMENT_HEADER_BYTES + size)
            old, used = self._file, self._offset
            segment = Segment(old.path, self._first, self.last, used)
            self._begin(following)
            if segment.last < segment.first:
                old.close()  # it was empty, and too small or under an old key; the new one took its name
                return
            self._unsealed = old, used, segment
            self._seal_waiting()

    def _next_file(self, needed: int) -> Opened:
        """A named active segment: a spare if one is ready and large enough, else one made on the spot."""
        temporary, file = f"{self._directory}/next.tmp", None
        try:
            if self._spares and needed <= self._config.segment_bytes:
                file, size = self._spares.pop(0), self._config.segment_bytes
                temporary = file.path
            else:
                size = max(needed, self._config.first_segment_bytes)
                file = create_zeroed(self._disk, temporary, size)
            cipher = name_active(
                self._disk, self._directory, self._store_id, self._chain, file, temporary, self._keys
            )
        except OSError as cause:
            if file is not None:
                file.close()
            if file is not None and not self._disk.exists(temporary):  # renamed, but nobody can say for how long
                raise self._fail("name", temporary, cause) from cause
            raise self._give_up(temporary, cause) from cause
        return Opened(file, size, cipher)

    def _seal_waiting(self) -> None:
        """Finish a rotation. A full disk only postpones it: both segments are in order as they are."""
        if self._unsealed:
            file, _, segment = self._unsealed
            try:
                file.truncate(segment.size)
            except OSError as cause:
                if cause.errno in NO_SPACE:
                    return
                raise self._fail("truncate", segment.path, cause) from cause
            try:
                sealed = seal(self._disk, self._directory, file, segment)
            except OSError as cause:
                raise self._fail("seal", segment.path, cause) from cause
            file.close()
            self._sealed.append(sealed)
            self._unsealed = None

    def _scrub(self) -> None:
        """Zero what a failed write left behind the last batch, durably, before anything else goes there.

        Otherwise the end of a longer failed frame could lie behind a shorter good one and look like damage.
        """
        try:
            self._file.pwrite(bytes(self._dirty_end - self._offset), self._offset)
        except OSError as cause:
            raise self._failure("clear", self._file.path, cause) from cause
        self._fsync(self._file.fdatasync, self._file.path)
        self._dirty_end = 0

    def _fsync(self, fsync: Callable[[], None], path: str) -> None:
        try:
            fsync()
        except OSError as cause:
            raise self._fail("fsync", path, cause) from cause

    def _failure(self, what: str, path: str, cause: OSError) -> DiskFull | WalFailed:
        if cause.errno in NO_SPACE:
            return DiskFull(f"{path}: no room to {what} ({cause.strerror})")
        return self._fail(what, path, cause)

    def _fail(self, what: str, path: str, cause: OSError) -> WalFailed:
        self.failed = f"{path}: {what} failed ({cause.strerror or cause})"
        return WalFailed(self.failed)

    def _give_up(self, path: str, cause: OSError) -> DiskFull | WalFailed:
        """A file that was to become a segment could not be made; give its room back."""
        failure = self._failure("prepare a segment", path, cause)
        try:
            if self._disk.exists(path):
                self._disk.unlink(path)
        except OSError as second:
            return self._fail("unlink", path, second)
        return failure


def seal(disk: Disk, directory: str, file: File, segment: Segment) -> Segment:
    """Give a segment, already cut to what is written in it, its final name."""
    file.fsync()
    path = f"{directory}/{sealed_name(segment.first, segment.last)}"
    disk.rename(segment.path, path)
    return Segment(path, segment.first, segment.last, segment.size)
