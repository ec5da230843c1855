"""The Raft core of a group of one: it leads from the first moment and is its own quorum.

Promises: term never falls; committed <= persisted <= last; applied <= committed; none of them falls. An entry is
committed only when it is durable here and of the current term. The node drives it in the shape that etcd made
standard (propose, persisted, applied), so that peers change this module and not its callers.
Missing here until nodes have peers: votes, messages, reads by quorum.
Source: Raft (Ongaro, 2014), sections 3.4 to 3.6.
"""

from __future__ import annotations

from .types import EntryId


class RaftCore:
    """Cursors over one log. `last` is what the log held when it was opened."""

    __slots__ = ("applied", "committed", "last", "persisted", "term")

    def __init__(self, last: EntryId) -> None:
        self.term = last.term + 1  # a new leadership begins with each start; its first entry makes the term durable
        self.last = last.index
        self.persisted = last.index
        self.committed = last.index  # a quorum of one has committed whatever its log holds
        self.applied = last.index

    def propose(self, count: int) -> int:
        """Give places to `count` entries; the index of the first. One proposal at a time is unpersisted."""
        assert count > 0, count
        assert self.last == self.persisted, (self.last, self.persisted)
        first = self.last + 1
        self.last += count
        return first

    def withdraw(self) -> None:
        """The log has refused the proposal before any of it could become durable: its places are free again."""
        self.last = self.persisted

    def persist(self, last: EntryId) -> int:
        """The log is durable up to `last`; the commit index that follows."""
        assert last.term == self.term and last.index == self.last, (last, self.term, self.last)
        self.persisted = last.index
        self.committed = last.index
        return self.committed

    def apply(self, index: int) -> None:
        """The state machine has applied everything up to `index`."""
        assert self.applied <= index <= self.committed, (self.applied, index, self.committed)
        self.applied = index
