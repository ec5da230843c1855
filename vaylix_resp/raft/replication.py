"""How a leader brings its log to the other nodes: appends, what comes back, snapshots where the log has been pruned.

Appends are made when the driver asks for work (`flush`), so that what was proposed since then goes in one; the leader's
own fsync goes on meanwhile. Batches that are no longer in memory are fetched by the driver, and only then sent.
Promises: at most a window of appends on the way to a node; a leader never overwrites its own log, so all it reads back
from there is checked against its terms.
Not here: what is committed (`leader`); how a snapshot travels (the driver).
Source: Raft (Ongaro, 2014), sections 3.5, 5.1, 10.2.1.
"""

from __future__ import annotations

from collections.abc import Sequence

from .local import Local
from .messages import Append, AppendReply, HeartbeatReply, InstallSnapshot, SnapshotReply
from .progress import Progress, State
from .ready import Fetch
from .types import ENTRY_OVERHEAD_BYTES, Entry, InvariantBroken, SnapshotMeta


class Replication:
    __slots__ = ("_local", "_number", "announced", "peers")

    def __init__(self, local: Local) -> None:
        self._local = local
        self._number = 0  # of the last append
        self.announced = 0  # up to here, nobody has to wait for the next append to hear what is committed
        self.peers: dict[int, Progress] = {}
        self.follow_membership()

    def follow_membership(self) -> None:
        """Nodes that left get the news of it; new ones are probed."""
        local = self._local
        members = local.membership.members
        for node in [node for node in self.peers if node not in members]:
            peer = self.peers.pop(node)
            news = peer.commit_sent < local.log.committed
            if news and peer.state is State.REPLICATE and peer.next > local.log.terms.start.index:
                self._send(node, peer, ())
        for node in sorted(members - self.peers.keys() - {local.id}):
            self.peers[node] = Progress(local.config, local.log.last, local.tick)

    # --- sending ------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Whatever may go to anybody."""
        for node, peer in self.peers.items():
            if peer.sends:
                self._feed(node, peer)

    def _feed(self, node: int, peer: Progress) -> None:
        local, config = self._local, self._local.config
        log = local.log
        while peer.sends:
            if peer.next > log.last:
                news = peer.commit_sent < (log.committed if config.eager_commits else self.announced)
                if peer.state is State.PROBE or peer.poked or news:
                    self._send(node, peer, ())
                return
            if peer.next <= log.terms.start.index:
                self._stream(node, peer)
                return
            entries = log.slice(peer.next - 1, config.append_bytes, config.append_entries)
            if entries is None:
                local.fetches += 1
                peer.fetching = local.fetches
                local.fetch.append(Fetch(node, local.fetches, peer.next - 1, config.append_bytes))
                local.dirty = True
                return
            self._send(node, peer, entries)

    def announce(self, index: int) -> None:
        """Whoever has not been told by then hears with the next `flush` that `index` is committed."""
        self.announced = max(self.announced, min(index, self._local.log.committed))

    @property
    def news_due(self) -> bool:
        return any(peer.commit_sent < self.announced for peer in self.peers.values())

    def tell(self, node: int) -> None:
        """Before an answer that `node` can do nothing with until it knows what is committed."""
        peer, log = self.peers.get(node), self._local.log
        if peer is None or self._local.config.eager_commits or peer.commit_sent >= log.committed:
            return
        if peer.state is State.REPLICATE and peer.next > log.terms.start.index:
            self._send(node, peer, ())

    def _send(self, node: int, peer: Progress, entries: Sequence[Entry]) -> None:
        """One append. Without `entries` it goes behind the last that was sent."""
        local, log = self._local, self._local.log
        before = last = peer.next - 1
        size = 0
        if entries:
            before, last, size = self._checked(entries)
            if peer.state is State.PROBE and size > local.config.probe_bytes:
                entries = ()
        number = 0
        if entries or peer.poked or peer.state is not State.REPLICATE:
            self._number += 1
            number = self._number
        chain = log.chain_at(before)
        local.send(Append(local.id, node, local.term, number, log.id_at(before), chain, tuple(entries), log.committed))
        peer.commit_sent = log.committed
        peer.sent(last, size)

    def _checked(self, entries: Sequence[Entry]) -> tuple[int, int, int]:
        """The index before `entries`, their last one and their size; they may come from the disk."""
        at = self._local.log.terms.at
        before = last = entries[0].first - 1
        size = 0
        for entry in entries:
            if entry.first != last + 1 or at(entry.last) != entry.term:
                raise InvariantBroken(f"the log has {entry} behind {last}; by its terms that is of {at(entry.last)}")
            last = entry.last
            size += len(entry.body) + ENTRY_OVERHEAD_BYTES
        return before, last, size

    def fetched(self, fetch: Fetch, entries: Sequence[Entry] | None) -> None:
        """What the driver has read; None: it is not there any more."""
        peer = self.peers.get(fetch.to)
        if peer is None or peer.fetching != fetch.number:
            return  # asked for before something else was learnt
        peer.fetching = 0
        if not entries:
            self._stream(fetch.to, peer)
        elif peer.sends and peer.next == fetch.after + 1:
            self._send(fetch.to, peer, entries[: self._local.config.append_entries])

    # --- what comes back ----------------------------------------------------------------------------------------

    def acknowledged(self, peer: Progress, reply: AppendReply) -> bool:
        """Whether the node has more than was known."""
        log = self._local.log
        if reply.rejected:
            self._rejected(peer, reply)
            return False
        news = peer.matched(reply.index, self._number, self._local.tick, log.last)
        if peer.state in (State.PROBE, State.SNAPSHOT) and peer.match >= log.terms.start.index:
            if news or reply.number > peer.state_number:
                peer.become(State.REPLICATE, self._number)
        return news

    def _rejected(self, peer: Progress, reply: AppendReply) -> None:
        if peer.is_stale(reply.number):
            return
        if peer.has_lost(reply.number, reply.hint.index):
            peer.become(State.LOST, self._number)
            self._local.lost.append(reply.frm)
            self._local.dirty = True
            return
        terms = self._local.log.terms
        floor = terms.floor(reply.hint.index, reply.hint.term)
        peer.retreat(terms.start.index - 1 if floor is None else floor.index, self._number)

    def alive(self, peer: Progress, reply: HeartbeatReply) -> None:
        """The node hears this leader: whatever it has not acknowledged by now may have been lost."""
        peer.round = max(peer.round, reply.round)
        peer.paused = False
        if peer.match == self._local.log.last:
            peer.span_tick, peer.span_end = self._local.tick, peer.match
        elif peer.state is State.REPLICATE:
            if peer.inflight.full:
                peer.inflight.free_first()
            peer.poked = True

    def unreachable(self, node: int) -> None:
        """Messages to the node have been dropped: do not send further without knowing what has arrived."""
        peer = self.peers.get(node)
        if peer is not None and peer.state is State.REPLICATE:
            peer.become(State.PROBE, self._number)

    # --- snapshots ----------------------------------------------------------------------------------------------

    def _stream(self, node: int, peer: Progress) -> None:
        peer.become(State.SNAPSHOT, self._number)
        self._local.stream.append(node)
        self._local.dirty = True

    def snapshot_sent(self, node: int, snapshot: SnapshotMeta | None) -> None:
        """The stream has arrived and is durable there; None: it has not, and it is tried again after a heartbeat."""
        peer = self.peers.get(node)
        if peer is None or peer.state is not State.SNAPSHOT:
            return  # it has caught up otherwise
        if snapshot is None:
            self._start_over(peer)
            return
        if snapshot.last.index > self._local.log.applied:
            raise InvariantBroken(f"snapshot {snapshot.last} is ahead of the state at {self._local.log.applied}")
        peer.snapshot = snapshot
        self._offer(node, peer, snapshot)

    def _start_over(self, peer: Progress) -> None:
        peer.become(State.PROBE, self._number)
        peer.paused = True

    def _offer(self, node: int, peer: Progress, snapshot: SnapshotMeta) -> None:
        local = self._local
        peer.snapshot_tick = local.tick
        local.send(InstallSnapshot(local.id, node, local.term, snapshot))

    def tick(self) -> None:
        """An offer without an answer is repeated: it, or the answer, may have been lost."""
        for node, peer in self.peers.items():
            if peer.snapshot and self._local.tick - peer.snapshot_tick >= self._local.config.election_ticks:
                self._offer(node, peer, peer.snapshot)

    def installed(self, peer: Progress, reply: SnapshotReply) -> bool:
        """Whether the node has more than was known."""
        if not reply.ok:
            if peer.snapshot is not None:
                self._start_over(peer)
            return False
        log = self._local.log
        news = peer.matched(reply.index, self._number, self._local.tick, log.last)
        if peer.state is State.SNAPSHOT and peer.snapshot and peer.match >= peer.snapshot.last.index:
            peer.become(State.REPLICATE, self._number)
        return news
