"""One node's log as the core sees it: cursors, terms, and the batches that are still in memory.

    start ... base | batches in memory ... last
              applied <= given <= min(committed, persisted); handed is how far the driver has been told to write

Promises, all checked: committed and applied never fall; nothing at or before committed is cut; a batch is given out to
be applied only when it is committed and durable here; batches follow each other without gap and with rising terms.
`persisted` counts a batch only when a persist that was handed out after its last change has returned: a report about
a tail that has been cut since then, and perhaps written anew, moves nothing (no ABA).
Units: as in `types`; sizes in bytes with ENTRY_OVERHEAD_BYTES for each batch.
Not here: files; who may append (`leader`, `follower`).
Source: Raft (Ongaro, 2014), sections 3.5, 3.6 and 10.2.1.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from .chain import UNKNOWN, link
from .ready import LogView, Persist
from .terms import Terms
from .types import ENTRY_OVERHEAD_BYTES, Entry, EntryId, EntryKind, HardState, InvariantBroken, SnapshotMeta

NEWEST: Final = 3  # batches looked at one by one before the log is searched
_LAST = attrgetter("last")


class Handed:
    """A persist that the driver works on. `end` falls when the log is cut meanwhile: the rest will be written anew."""

    __slots__ = ("end", "number", "snapshot", "state")

    def __init__(self, number: int, end: int, state: HardState, snapshot: SnapshotMeta | None) -> None:
        self.number = number
        self.end = end
        self.state = state
        self.snapshot = snapshot


class RaftLog:
    """`applied`: where the state machine stands at the start; `tail`: the batches of `view` behind it."""

    __slots__ = (
        "_after",
        "_batches",
        "_chains",
        "_handed",
        "_number",
        "_written",
        "applied",
        "base",
        "base_chain",
        "cached_bytes",
        "chaining",
        "committed",
        "given",
        "keep_bytes",
        "members",
        "persisted",
        "position",
        "terms",
        "unhanded",
        "view",
        "waiting_bytes",
    )

    def __init__(self, view: LogView, committed: int, applied: int, tail: Sequence[Entry]) -> None:
        self.view = view
        self.terms = Terms(view.start, view.terms, view.last)
        term = self.terms.at(applied)
        if term is None:
            raise InvariantBroken(f"the state stands at {applied}, outside of the log {view.start} to {view.last}")
        self.base = applied  # the end before the first batch in memory
        self.base_chain = UNKNOWN
        self.applied = self.given = applied
        self.persisted = view.last.index
        self.committed = max(applied, min(committed, view.last.index))
        self.chaining = False  # whether there is anybody to compare chains with
        self.keep_bytes = 0  # of what is applied, for followers that are a little behind
        self.members: list[int] = []  # ends of the MEMBERS batches that are not applied
        self.position = 0  # in _batches, of the first that has not been given out to be applied
        self.waiting_bytes = 0  # of batches from there on
        self.cached_bytes = 0  # of those before
        self._batches: list[Entry] = []
        self._chains: list[bytes] = []  # of each
        self.unhanded: list[Entry] = []  # the end of _batches that the driver has not been told to write
        self._handed: deque[Handed] = deque()
        self._number = 0  # of the last persist
        self._written = view.last.index  # of this log, what the driver has, or has been told to write
        self._after: int | None = None  # where the driver has to cut before it writes on
        before = EntryId(applied, term)
        for entry in tail:
            if entry.first != before.index + 1 or self.terms.at(entry.last) != entry.term or entry.count < 1:
                raise InvariantBroken(f"the log's tail has {entry} behind {before}")
            self._remember(entry)
            before = entry.id
        if before != view.last:
            raise InvariantBroken(f"the log's tail ends at {before}, the log at {view.last}")

    @property
    def last(self) -> int:
        return self.terms.last

    @property
    def last_id(self) -> EntryId:
        return EntryId(self.terms.last, self.terms.last_term)

    # --- what the log holds -------------------------------------------------------------------------------------

    def id_at(self, index: int) -> EntryId:
        """Only for an index that the log knows."""
        term = self.terms.at(index)
        if term is None:
            raise InvariantBroken(f"index {index} is outside of the log {self.terms.start} to {self.last_id}")
        return EntryId(index, term)

    def holds(self, entry: EntryId) -> bool:
        return self.terms.at(entry.index) == entry.term

    def chain_at(self, index: int) -> bytes:
        """The chain at a batch end; b"" where it is not known."""
        if index == self.base:
            return self.base_chain
        at = self._behind(index) - 1
        return self._chains[at] if at >= 0 and self._batches[at].last == index else UNKNOWN

    def _behind(self, index: int) -> int:
        """In _batches, the first that ends behind `index`. Hot: nearly always that is one of the newest."""
        batches = self._batches
        at = len(batches)
        for _ in range(NEWEST):
            if at == 0 or batches[at - 1].last <= index:
                return at
            at -= 1
        return bisect_right(batches, index, 0, at, key=_LAST)

    def adopt_chain(self, chain: bytes) -> None:
        """At the end of the log, where this node does not know it: the leader does."""
        if self._chains:
            self._chains[-1] = chain
        else:
            self.base_chain = chain

    def slice(self, after: int, max_bytes: int, max_entries: int) -> Sequence[Entry] | None:
        """As `LogView.entries`, from memory where it is there."""
        if after < self.base:
            return self.view.entries(after, max_bytes)
        at = self._behind(after)
        some = self._batches[at : at + max_entries]
        size = 0
        for taken, entry in enumerate(some):
            size += len(entry.body) + ENTRY_OVERHEAD_BYTES
            if size > max_bytes and taken:
                return some[:taken]
        return some

    # --- how it changes -----------------------------------------------------------------------------------------

    def append(self, entry: Entry) -> None:
        """Hot."""
        terms, count = self.terms, entry.count
        if entry.first != terms.last + 1 or count < 1:
            raise InvariantBroken(f"{entry} cannot follow {self.last_id}")
        if entry.term == terms.last_term and terms.last > terms.start.index:
            terms.last += count
        else:
            terms.append(terms.last + count, entry.term)
        self._remember(entry)
        self.unhanded.append(entry)

    def _remember(self, entry: Entry) -> None:
        chain = self._chains[-1] if self._chains else self.base_chain
        if entry.kind is not EntryKind.NORMAL:
            chain = link(chain, entry)
            if entry.kind is EntryKind.MEMBERS:
                self.members.append(entry.last)
        elif chain:
            chain = link(chain, entry) if self.chaining else UNKNOWN
        self._batches.append(entry)
        self._chains.append(chain)
        self.waiting_bytes += len(entry.body) + ENTRY_OVERHEAD_BYTES

    def cut(self, after: EntryId) -> Sequence[Entry]:
        """Drop what conflicts with the leader, behind the batch end `after`; what was dropped."""
        index = after.index
        if index < self.committed:
            raise InvariantBroken(f"a leader wants the log cut after {after}; it is committed up to {self.committed}")
        if not self.holds(after):
            raise InvariantBroken(f"cannot cut after {after}, which is not in the log up to {self.last_id}")
        at = self._behind(index)
        dropped = self._batches[at:]
        del self._batches[at:], self._chains[at:]
        self.waiting_bytes -= sum(len(entry.body) + ENTRY_OVERHEAD_BYTES for entry in dropped)
        self.terms.cut(index, after.term)
        self.members = [end for end in self.members if end <= index]
        del self.unhanded[bisect_right(self.unhanded, index, key=_LAST) :]
        if index < self._written:
            self._after = self._written = index
        self.persisted = min(self.persisted, index)
        for handed in self._handed:
            handed.end = min(handed.end, index)
        return dropped

    def forget(self, index: int) -> None:
        """The driver has pruned its log up to the batch end `index`."""
        if index > self.applied:
            raise InvariantBroken(f"the log was pruned up to {index}, but applied only up to {self.applied}")
        if index > self.terms.start.index:
            self.terms.forget(self.id_at(index))

    # --- the disk -----------------------------------------------------------------------------------------------

    def hand_out(self, term: int, vote: int, changed: bool) -> Persist | None:
        """All that is to be made durable. Hot."""
        entries = self.unhanded
        if not entries and not changed and self._after is None:
            return None
        self._number = number = self._number + 1
        self.unhanded = []
        after, self._after = self._after, None
        end = self._written = self.terms.last
        state = HardState(term, vote, self.committed)
        self._handed.append(Handed(number, end, state, None))
        return tuple.__new__(Persist, (number, state, changed, after, entries, None))  # Persist(...), but hot

    def hand_out_snapshot(self, term: int, vote: int, snapshot: SnapshotMeta) -> Persist:
        """The log stays as it is until the snapshot is in its place."""
        self._number += 1
        state = HardState(term, vote, self.committed)
        self._handed.append(Handed(self._number, self._written, state, snapshot))
        return Persist(self._number, state, False, None, (), snapshot)

    def snapshot_failed(self) -> None:
        """The snapshot that was handed out will not come: its persist does nothing."""
        for handed in self._handed:
            handed.snapshot = None

    def done(self, number: int) -> Sequence[Handed]:
        """Persists up to `number` are durable; those that were not known to be, oldest first."""
        if number > self._number:
            raise InvariantBroken(f"persist {number} is done, but only {self._number} have been asked for")
        done = []
        while self._handed and self._handed[0].number <= number:
            handed = self._handed.popleft()
            if handed.end < self.persisted:
                raise InvariantBroken(f"the durable end falls from {self.persisted} to {handed.end}")
            self.persisted = handed.end
            done.append(handed)
        return done

    # --- commit and apply ---------------------------------------------------------------------------------------

    def commit(self, index: int) -> None:
        if index < self.committed or index > self.terms.last:
            raise InvariantBroken(f"commit moves from {self.committed} to {index}; the log ends at {self.last_id}")
        self.committed = index

    def give(self) -> Sequence[Entry]:
        """The batches that may be applied now and were not given out before. Hot."""
        limit = self.committed if self.committed < self.persisted else self.persisted
        if limit <= self.given:
            return ()
        at = begin = self.position
        batches = self._batches
        size = given = 0
        for entry in batches if at == 0 else batches[at:]:
            last = entry.first + entry.count - 1
            if last > limit:
                break
            size += len(entry.body) + ENTRY_OVERHEAD_BYTES
            given = last
            at += 1
        if at == begin:
            return ()
        self.position = at
        self.given = given
        self.waiting_bytes -= size
        self.cached_bytes += size
        return batches[begin:at]

    def apply(self, index: int) -> None:
        """The state machine stands at the batch end `index`. Keeps the newest `keep_bytes` of what is applied. Hot."""
        keep_bytes = self.keep_bytes
        if index <= self.terms.start.index:
            return  # a snapshot has overtaken it
        if not self.applied <= index <= self.given:
            raise InvariantBroken(f"applied moves from {self.applied} to {index}; given out up to {self.given}")
        if self.members and self.members[0] <= index:
            raise InvariantBroken(f"applied {index} without the membership of {self.members[0]}")
        self.applied = index
        if self.cached_bytes <= keep_bytes:
            return
        batches, gone = self._batches, 0
        while gone < self.position and self.cached_bytes > keep_bytes:
            entry = batches[gone]
            last = entry.first + entry.count - 1
            if last > index:
                break
            self.cached_bytes -= len(entry.body) + ENTRY_OVERHEAD_BYTES
            self.base = last
            gone += 1
        if gone:
            self.base_chain = self._chains[gone - 1]
            del batches[:gone], self._chains[:gone]
            self.position -= gone

    def restart_behind(self, snapshot: SnapshotMeta) -> Sequence[Entry]:
        """A snapshot has taken the place of log and state; the batches in memory that were not applied."""
        index = snapshot.last.index
        if index <= self.committed or self.unhanded or self._after is not None:
            raise InvariantBroken(f"snapshot {snapshot.last} behind {self.committed}, or among batches to be written")
        dropped = self._batches[self.position :]
        self._batches, self._chains, self.members = [], [], []
        self.terms = Terms(snapshot.last, (), snapshot.last)
        self.base, self.base_chain = index, UNKNOWN
        self.position = self.waiting_bytes = self.cached_bytes = 0
        self.persisted = self.committed = self.applied = self.given = self._written = index
        for handed in self._handed:  # hard states that were handed out behind the snapshot
            handed.end = index
        return dropped
