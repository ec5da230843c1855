"""The write-ahead log on disk, which is also the Raft log.

Holds batches without gaps in sealed segments and one active segment, and the newest term and vote.
Promise: what sync() returned for survives a power cut; after DiskFull nothing of the batch is there and the log goes
on; after WalFailed it takes nothing more. Whenever the process may die there is at least one active segment. The newest
term and vote are in the last segment, whatever is pruned or cut. What has been called committed is never cut.
Each segment is sealed with a data key of its own, which only this object ever writes with: a segment that was there
before a start is never appended to. No number is used for two frames, not even if the first could not be written.
Units: sizes and offsets in bytes; sequences from 1, 0 is "before the first".
Threads: append, save, truncate_after, rotate, prepare_fresh, begin_fresh and seal_and_close belong to one thread at a
time; sync, prepare_spare (one caller), prune, view and the properties may be called beside them.
Not here: when to sync and when to snapshot (`engine`); what is found at start (`recovery`); reading (`log_reader`).
Source: Raft (Ongaro, 2014), figure 3.1 (log[], currentTerm, votedFor) and sections 3.5 and 3.8.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from vaylix_resp.storage.active import Opened, Segment, encode_hard_state, seal
from vaylix_resp.storage.batch import ENTRIES, encode, frame_bytes, store_salt
from vaylix_resp.storage.cutting import Cutting
from vaylix_resp.storage.disk import Disk
from vaylix_resp.storage.errors import DiskFull, WalFailed
from vaylix_resp.storage.hard_state import FRAME_BYTES as HARD_STATE_BYTES
from vaylix_resp.storage.hard_state import HardState, Identity, TermAndVote
from vaylix_resp.storage.listing import arrange, cut_name, fresh_name
from vaylix_resp.storage.log_files import LogFiles, WalConfig
from vaylix_resp.storage.sealing import Keys
from vaylix_resp.storage.segment import Chain, SegmentName, active_name
from vaylix_resp.storage.terms import Terms


class Entry(Protocol):
    """A batch that a leader has made; `kind` is one of those of `batch` that take sequences."""

    @property
    def kind(self) -> int: ...
    @property
    def first(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def term(self) -> int: ...
    @property
    def timestamp_ms(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def body(self) -> bytes: ...


class Wal(LogFiles):
    """Open for appending. Made by `recovery`, which hands over a new active segment."""

    def __init__(
        self, disk: Disk, directory: str, store_id: bytes, chain: Chain, sealed: list[Segment], active: Opened,
        config: WalConfig, keys: Keys, terms: Terms, identity: Identity | None = None,
    ) -> None:  # fmt: skip
        super().__init__(disk, directory, store_id, chain, sealed, active, config, keys, terms)
        self._salt = store_salt(store_id)
        self._fresh: tuple[Opened, Chain] | None = None
        self.appended_bytes = 0  # of all frames since the start
        self.identity = identity  # whose term and vote are saved; None: not in a cluster

    @property
    def tag(self) -> bytes:
        """Of the last batch."""
        return self._chain.tag

    @property
    def term(self) -> int:
        """Of the last batch."""
        return self._chain.term

    @property
    def timestamp_ms(self) -> int:
        """Of the last batch: no later one may be stamped earlier."""
        return self._chain.timestamp_ms

    @property
    def hard_state(self) -> HardState | None:
        """Term and vote as last saved in this life; None: never."""
        return self._chain.hard_state

    @property
    def committed(self) -> int:
        """The highest sequence that append() or save() or what they had written before has called committed."""
        return self._chain.committed

    @property
    def start(self) -> tuple[int, int]:
        """The batch end, and its term, behind which the log can be read with its terms known."""
        return self._terms.start

    @property
    def terms(self) -> list[tuple[int, int]]:
        """(first sequence, term) of each run of batches of one term, from behind `start` to `last`."""
        return self._terms.runs(self.last)

    def append(
        self, first: int, count: int, term: int, timestamp_ms: int, committed: int, seed: int, body: bytes,
        kind: int = ENTRIES,
    ) -> None:  # fmt: skip
        """One batch, one write. Not durable before sync(). DiskFull and WalFailed as in the module's promise."""
        chain = self._chain
        assert first == chain.last + 1 and count > 0, (first, count, chain.last)
        assert term >= chain.term and timestamp_ms >= chain.timestamp_ms, (term, timestamp_ms)
        assert chain.hard_state is None or term <= chain.hard_state.term, (term, chain.hard_state)
        self._make_room(frame_bytes(len(body)))
        self._number += 1
        frame, tag = encode(
            self._salt, chain.end_tag, self._durable, first, count, term, timestamp_ms, committed, seed, body,
            self._cipher, self._number, kind, self._synced,
        )  # fmt: skip
        self._write(frame)
        if term != chain.term:
            self._terms.add(first, term)
        chain.last = first + count - 1
        chain.tag = chain.end_tag = tag
        chain.term, chain.timestamp_ms = term, timestamp_ms
        if committed > chain.committed:
            chain.committed = committed

    def save(self, hard_state: TermAndVote | None, entries: Sequence[Entry], committed: int) -> None:
        """Term and vote if they have changed, then batches: a group of frames in one write, durable after sync().

        Whoever relies on term or vote waits for that. `committed` may lie behind the last batch; but no frame says so
        of what comes behind it: of a group that a crash cut short it would speak of batches that are written later.
        """
        new = self._news(hard_state)
        if new is None and not entries:
            return
        self._make_room(sum([frame_bytes(len(entry.body)) for entry in entries]) + (HARD_STATE_BYTES if new else 0))
        end, frames, changes = self._chain.copy(), list[bytes](), list[tuple[int, int]]()
        end.committed = max(end.committed, min(committed, end.last))
        if new is not None:
            frames.append(self._hard_state_frame(end, new))
        for entry in entries:
            first, count, term, timestamp_ms = entry.first, entry.count, entry.term, entry.timestamp_ms
            assert first == end.last + 1 and count > 0, (first, count, end.last)
            assert term >= end.term and timestamp_ms >= end.timestamp_ms, (term, timestamp_ms)
            assert end.hard_state is None or term <= end.hard_state.term, (term, end.hard_state)
            self._number += 1
            end.committed = max(end.committed, min(committed, first + count - 1))
            frame, end.end_tag = encode(
                self._salt, end.end_tag, self._durable, first, count, term, timestamp_ms, end.committed, entry.seed,
                entry.body, self._cipher, self._number, entry.kind, self._synced,
            )  # fmt: skip
            frames.append(frame)
            if term != end.term:
                changes.append((first, term))
            end.last, end.tag, end.term, end.timestamp_ms = first + count - 1, end.end_tag, term, timestamp_ms
        self._write(b"".join(frames))
        for change in changes:
            self._terms.add(*change)
        self._chain.move_to(end)

    def conclude(self, committed: int) -> None:
        """Say how much is committed, if no frame has said so yet: the last word of a member before a clean stop, so
        that whoever reads the directory without its cluster knows. Durable after sync(). DiskFull: nothing has changed.
        """
        if self.hard_state is None or min(committed, self.last) <= self.committed:
            return
        self._make_room(HARD_STATE_BYTES)
        end = self._chain.copy()
        assert end.hard_state is not None
        end.committed = min(committed, end.last)
        self._write(self._hard_state_frame(end, end.hard_state))
        self._chain.move_to(end)

    def _hard_state_frame(self, end: Chain, hard_state: HardState) -> bytes:
        """Behind `end`, which goes along."""
        self._number += 1
        frame, end.end_tag = encode_hard_state(
            self._salt, end, end.end_tag, self._durable, hard_state, self._cipher, self._number, self._synced
        )
        end.hard_state = hard_state
        return frame

    def _news(self, wanted: TermAndVote | None) -> HardState | None:
        """What has to be written about term and vote."""
        known = self._chain.hard_state
        if wanted is None or (known is not None and known.says(wanted)):
            return None
        assert self.identity is not None, "only a member of a cluster votes"
        new = HardState(self.identity, wanted.term, wanted.vote)
        assert new.term >= self._chain.term and (known is None or new.may_follow(known)), (known, new)
        return new

    def _write(self, frames: bytes) -> None:
        """At the end of the log. Their numbers are used up, whatever becomes of it."""
        try:
            self._file.pwrite(frames, self._offset)
        except OSError as cause:
            self._dirty_end = self._offset + len(frames)
            failure = self._failure("write", self._file.path, cause)
            if isinstance(failure, DiskFull):
                self._scrub()
            raise failure from cause
        self._offset += len(frames)
        self.appended_bytes += len(frames)

    def _make_room(self, size: int) -> None:
        """What has to be right before frames are written. Whatever fails here, nothing of them is in the log."""
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
            self._sync()

    def _sync(self) -> None:
        last, offset = self._chain.last, self._offset  # in this order: what is behind `last` is behind `offset` too
        if self._synced < offset:
            self._fsync(self._file.fdatasync, self._file.path)
            self._durable, self._synced = last, offset

    def settle(self) -> None:
        """Durable, and nothing behind the last batch: what the watermark of a clean stop may be taken from."""
        if self._dirty_end:
            self._scrub()
        self.sync()

    def rotate(self, *, empty_too: bool = False) -> None:
        """Seal the active segment, if there is anything in it, so that others may read all there is so far.

        `empty_too`: replace an empty one as well, for a new key.
        """
        self._clear()
        if empty_too or self.last >= self._first:
            self._rotate(0)
        if self._unsealed:
            raise DiskFull(f"{self._unsealed[2].path}: no room to seal it")

    def _clear(self) -> None:
        """No failed write may lie behind the last batch when the active segment changes."""
        if self.failed:
            raise WalFailed(self.failed)
        if self._dirty_end:
            self._scrub()

    def _rotate(self, size: int) -> None:
        """Go on in a new segment with room for frames of `size`; then seal the old one.

        The new one comes first: a crash in between leaves two active segments, never none.
        """
        with self._sync_lock:
            self._check_sealed()
            self._sync()  # recovery relies on it: what lies before another segment was synced
            following = self._next_file(size, self._chain, self.hard_state)
            old, used = self._file, self._offset
            segment = Segment(old.path, self._first, self.last, used)
            self._begin(following)
            if segment.last < segment.first:
                old.close()  # without batches, and too small or under an old key; the new one took its name
                return
            self._unsealed = old, used, segment
            self._seal_waiting()

    def truncate_after(self, last: int) -> None:
        """Take away all batches behind `last`, which ends one; durable when this returns. Term and vote stay.

        DiskFull: nothing has changed. The log goes on in a new segment, as after a start.
        """
        chain = self._chain
        assert chain.committed <= last <= chain.last, (chain.committed, last, chain.last)
        if last == chain.last:
            return
        self._clear()
        term = self._terms.at(last)
        assert term is not None, (last, self._terms.start)
        with self._sync_lock, self._sealed_lock:
            self._check_sealed()
            self._sync()  # what stays must not be younger on the disk than what says that the rest is void
            cutting = Cutting(self._disk, self._directory, self._store_id, self._keys)
            end, spanning = cutting.chain_at(self.segments(), last, term)
            end.committed, end.hard_state = chain.committed, chain.hard_state
            sealed = spanning if spanning and spanning.name != active_name(self._first) else None
            opened = self._open_cut(cutting, end, sealed)
            shorter = self._complete(cutting, opened, end, copied=sealed is not None)
            kept = [segment for segment in self._sealed if segment.last <= last]
            self._sealed = [*kept, shorter] if shorter else kept
            self._terms.cut(last)

    def _open_cut(self, cutting: Cutting, end: Chain, spanning: SegmentName | None) -> Opened:
        """The cut happens here, when the new segment gets its name; whatever may lack room comes before that."""
        try:
            if spanning is not None:
                cutting.copy_kept(spanning)
            return self._next_file(0, end, end.hard_state, cut_name(end.last + 1))
        except (OSError, DiskFull) as cause:
            if spanning is not None:
                cutting.drop_copy(spanning)
            if isinstance(cause, OSError):
                raise self._failure("copy", self._directory, cause) from cause
            raise

    def prepare_fresh(self, chain: Chain, hard_state: TermAndVote | None = None) -> None:
        """The first half of an install: an empty log behind a snapshot, that counts once the manifest names that.

        DiskFull: nothing has changed. `hard_state`: if it differs from what was saved last.
        """
        assert chain.last > self._chain.committed and self._fresh is None, (chain.last, self._chain.committed)
        self._clear()
        chain.committed, chain.hard_state = chain.last, self._news(hard_state) or self.hard_state
        with self._sync_lock:
            self._check_sealed()
            self._fresh = self._next_file(0, chain, chain.hard_state, fresh_name(chain.last + 1)), chain

    def drop_fresh(self) -> None:
        """The manifest will not name the snapshot: nothing has changed."""
        assert self._fresh is not None
        (opened, _), self._fresh = self._fresh, None
        opened.file.close()
        with suppress(OSError):  # what is left of it counts for nothing, and the next start removes it
            self._disk.unlink(opened.file.path)

    def begin_fresh(self) -> None:
        """The second half: the manifest is durable, and of the old log nothing counts any more."""
        assert self._fresh is not None
        opened, chain = self._fresh
        with self._sync_lock, self._sealed_lock:
            cutting = Cutting(self._disk, self._directory, self._store_id, self._keys)
            self._complete(cutting, opened, chain, copied=False)
            self._sealed, self._fresh = [], None
            self._terms = Terms(chain.last, chain.term)

    def _complete(self, cutting: Cutting, opened: Opened, chain: Chain, *, copied: bool) -> Segment | None:
        """Clear away what does not count any more, and go on in `opened`. Nobody can say how far a failure got."""
        try:
            shorter = cutting.complete(arrange(self._disk.listdir(self._directory), chain.last), copied=copied)
        except OSError as cause:
            raise self._fail("cut", opened.file.path, cause) from cause
        self._file.close()
        opened.file.path = f"{self._directory}/{active_name(chain.last + 1)}"
        self._chain.move_to(chain)
        self._begin(opened)
        self._durable, self._changes = chain.last, self._changes + 1
        return shorter

    def stop(self, reason: str) -> None:
        """Take nothing more: nobody can say any more what the next start will find."""
        self.failed = self.failed or reason

    def seal_and_close(self) -> tuple[int, bytes]:
        """The last act of a clean stop, after the manifest has the watermark; no active segment with batches is left.

        (Not before it: without a watermark, a directory without an active segment is one that lost it.)
        """
        self.sync()
        with self._sync_lock:
            self._check_sealed()
            active = Segment(self._file.path, self._first, self.last, self._offset)
            try:
                if active.last >= active.first:
                    self._file.truncate(self._offset)
                    self._sealed.append(seal(self._disk, self._directory, self._file, active))
                elif self.hard_state is None:
                    self._disk.unlink(active.path)
                for spare in self._spares:
                    self._disk.unlink(spare.path)
            except OSError as cause:
                raise self._failure("seal", active.path, cause) from cause
        self.abandon()
        return self.last, self.tag
