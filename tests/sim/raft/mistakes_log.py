"""Mistakes of the log: what is compared, cut, taken in and acknowledged."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from vaylix_resp.raft import follower, log, replication, roles
from vaylix_resp.raft.messages import Append

from .mistakes import mutation, replaced


@mutation()
def acknowledges_before_the_fsync(stack: ExitStack) -> None:
    def flush(self: follower.Follower) -> None:
        here, self._local.log.persisted = self._local.log.persisted, self._local.log.last
        old(self)
        self._local.log.persisted = here

    old = replaced(stack, follower.Follower, "flush", flush)


@mutation()
def acknowledges_what_was_not_compared(stack: ExitStack) -> None:
    def flush(self: follower.Follower) -> None:
        self._verified = self._local.log.last if self._owed else self._verified
        old(self)

    old = replaced(stack, follower.Follower, "flush", flush)


@mutation(transfers=True, nodes=3, clients=3, drop=0, delay_ms=500, fifo=False)
def takes_an_append_of_an_earlier_term(stack: ExitStack) -> None:
    def step(self: roles.Roles, message: Any) -> None:
        if isinstance(message, Append) and message.term < self._local.term:
            message = Append(
                message.frm,
                message.to,
                self._local.term,
                message.number,
                message.prev,
                message.prev_chain,
                message.entries,
                message.commit,
            )
        old(self, message)

    old = replaced(stack, roles.Roles, "step", step)


@mutation()
def appends_without_looking_at_what_is_before(stack: ExitStack) -> None:
    replaced(stack, log.RaftLog, "holds", lambda self, entry: self.terms.at(entry.index) is not None)


@mutation()
def forgets_to_cut_the_disk(stack: ExitStack) -> None:
    def cut(self: log.RaftLog, after: Any) -> Any:
        dropped = old(self, after)
        self._after = None
        return dropped

    old = replaced(stack, log.RaftLog, "cut", cut)


@mutation()
def cuts_behind_every_append(stack: ExitStack) -> None:
    """Without a conflict: a late, shorter append takes away what has been acknowledged since."""

    def take(self: follower.Follower, prev: Any, entries: Any) -> int:
        end = old(self, prev, entries)
        self._local.log.cut(self._local.log.id_at(max(end, self._local.log.committed)))
        return end

    old = replaced(stack, follower.Follower, "_take", take)


@mutation()
def cuts_what_is_committed(stack: ExitStack) -> None:
    def cut(self: log.RaftLog, after: Any) -> Any:
        committed, self.committed = self.committed, 0
        try:
            return old(self, after)
        finally:
            self.committed = min(committed, self.last)

    def on_append(self: follower.Follower, message: Any) -> None:
        here = self._local.log
        committed = here.committed
        if message.prev.index >= here.base and here.holds(message.prev) and message.entries:
            here.committed = message.prev.index
            here.cut(message.prev)
            here.committed = min(committed, here.last)
        old_append(self, message)

    old = replaced(stack, log.RaftLog, "cut", cut)
    old_append = replaced(stack, follower.Follower, "on_append", on_append)


@mutation(slow_disks=True, partitions=True, nodes=5, clients=8)
def believes_an_old_report_of_the_disk(stack: ExitStack) -> None:
    """ABA: what was written, cut and written again counts as durable when the first write returns."""

    def cut(self: log.RaftLog, after: Any) -> Any:
        ends = [handed.end for handed in self._handed]
        dropped = old(self, after)
        for handed, end in zip(self._handed, ends, strict=True):
            handed.end = end
        return dropped

    def done(self: log.RaftLog, number: int) -> Any:
        finished = old_done(self, number)
        self.persisted = min(self.persisted, self.last)
        return finished

    old = replaced(stack, log.RaftLog, "cut", cut)
    old_done = replaced(stack, log.RaftLog, "done", done)


@mutation()
def takes_a_rejection_for_an_acknowledgement(stack: ExitStack) -> None:
    def acknowledged(self: replication.Replication, peer: Any, reply: Any) -> bool:
        if reply.rejected and reply.number <= peer.state_number:  # a late one
            object.__setattr__(reply, "rejected", False)
        return old(self, peer, reply)

    old = replaced(stack, replication.Replication, "acknowledged", acknowledged)
