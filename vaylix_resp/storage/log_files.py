"""The files of an open log: sealed segments, the active one, spares made ahead of need; and what follows a failure.

Promise: after DiskFull the files are as they were; after WalFailed nothing more is written to them, ever.
Threads: prepare_spare (one caller), prune, view and the properties may be called beside whoever appends.
Not here: what is written into the active segment, and when the next one begins (`wal`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

from vaylix_resp.storage.active import Opened, Segment, head_bytes, name_active, seal
from vaylix_resp.storage.disk import NO_SPACE, Disk, File
from vaylix_resp.storage.errors import DiskFull, WalFailed
from vaylix_resp.storage.hard_state import HardState
from vaylix_resp.storage.sealing import Keys
from vaylix_resp.storage.segment import FIRST_SEGMENT_BYTES, SEGMENT_BYTES, Chain, create_zeroed
from vaylix_resp.storage.terms import Terms

# Segments that are kept in reserve, so that a full disk is noticed while there is still room for writes.
SPARES = 2


@dataclass(frozen=True, slots=True)
class WalConfig:
    segment_bytes: int = SEGMENT_BYTES
    first_segment_bytes: int = FIRST_SEGMENT_BYTES
    spares: int = SPARES


@dataclass(frozen=True, slots=True)
class View:
    """The log at one moment, for a reader on another thread: durable up to `durable`.

    Segments may get other names or go away afterwards; as long as `changes` is what it is in a later view, nothing
    that was durable in this one has been cut.
    """

    segments: tuple[Segment, ...]
    durable: int
    changes: int


def kept_for_follower(segments: Sequence[Segment], wanted: int, bytes_max: int) -> int | None:
    """From which sequence on the log stays for a follower that wants `wanted` next; None: not for its sake.

    As long as the segments it needs take no more than `bytes_max`; past that it gets a snapshot, and a part would not
    help it. `segments` as `LogFiles.segments` gives them. An answer fits into `Checkpoint.needed_from`.
    """
    needed = [segment for segment in segments if segment.last >= wanted]
    if not segments or segments[0].first > wanted or sum(segment.size for segment in needed) > bytes_max:
        return None
    return wanted


class LogFiles:
    """What `Wal` is built on."""

    def __init__(
        self, disk: Disk, directory: str, store_id: bytes, chain: Chain, sealed: list[Segment], active: Opened,
        config: WalConfig, keys: Keys, terms: Terms,
    ) -> None:  # fmt: skip
        self._disk, self._directory, self._store_id, self._config = disk, directory, store_id, config
        self._keys = keys
        self._chain = chain  # recovery no longer uses it; `hard_state` is that of our own life or None
        self._sealed = sealed
        self._terms = terms
        self._begin(active)
        self._durable = chain.last
        self._changes = 0  # how often what was durable has been cut
        self._dirty_end = 0  # bytes up to here were written for a batch that failed, and have to be zeroed first
        self._unsealed: tuple[File, int, Segment] | None = None  # rotated away, but the disk was full for sealing it
        self._spares: list[File] = []
        self._spares_made = 0
        self._sync_lock = Lock()  # a sync, a view and a change of the active file exclude each other
        self._sealed_lock = Lock()  # so do pruning and cutting
        self.failed: str | None = None

    @property
    def last(self) -> int:
        """Sequence of the last entry appended; durable is what it was at the last sync()."""
        return self._chain.last

    @property
    def durable(self) -> int:
        return self._durable

    @property
    def changes(self) -> int:
        """How often batches behind the committed ones have been cut away, or the whole log replaced."""
        return self._changes

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

    def view(self) -> View:
        """For a reader on another thread. Waits for an fsync that is under way."""
        with self._sync_lock:
            return View(tuple(self.segments()), self._durable, self._changes)

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
        with self._sealed_lock:
            while self._sealed and self._sealed[0].last <= up_to:
                self._terms.prune(self._sealed[0].last)  # first: nobody is to look for what is not there
                self._disk.unlink(self._sealed[0].path)
                del self._sealed[0]
                pruned += 1
        return pruned

    def abandon(self) -> None:
        """Close the files and leave them as they are, as a kill would."""
        self.failed = self.failed or "the log is closed"
        for file in [self._file, *self._spares, *([self._unsealed[0]] if self._unsealed else [])]:
            file.close()
        self._spares = []

    def _begin(self, active: Opened) -> None:
        """From now on the log is written to this file, in which there is no batch yet."""
        self._file, self._capacity, self._cipher = active.file, active.size, active.cipher
        self._offset = self._synced = active.offset  # `_synced`: up to here the file is durable
        self._number = active.number
        self._chain.end_tag = active.end_tag
        self._first = self.last + 1

    def _next_file(self, needed: int, chain: Chain, hard_state: HardState | None, name: str = "") -> Opened:
        """A named active segment behind `chain` with room for `needed` bytes of frames: a spare, or made for it."""
        temporary, file = f"{self._directory}/next.tmp", None
        needed += head_bytes(hard_state)
        try:
            if self._spares and needed <= self._config.segment_bytes:
                file, size = self._spares.pop(0), self._config.segment_bytes
                temporary = file.path
            else:
                size = max(needed, self._config.first_segment_bytes)
                file = create_zeroed(self._disk, temporary, size)
            return name_active(
                self._disk, self._directory, self._store_id, chain, file, size, temporary, self._keys, hard_state, name
            )
        except OSError as cause:
            if file is not None:
                file.close()
            if file is not None and not self._disk.exists(temporary):  # renamed, but nobody can say for how long
                raise self._fail("name", temporary, cause) from cause
            raise self._give_up(temporary, cause) from cause

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

    def _check_sealed(self) -> None:
        self._seal_waiting()
        if self._unsealed:
            raise DiskFull(f"{self._unsealed[2].path}: no room to seal it")

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
