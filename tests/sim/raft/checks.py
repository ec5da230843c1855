"""What must hold over all nodes at each step, seen from outside.

One leader per term; log matching; leader completeness; whatever is committed is durable on a majority and never
cut; the same batch applied at the same index everywhere; nothing said that is not durable yet; reads and writes of
each register linearizable. The last is exact and cheap, because the log gives the order of all writes: an operation
must see, or come behind, everything that had been completed on its register when it was invoked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaylix_resp.raft import messages as msg
from vaylix_resp.raft.quorum import is_quorum
from vaylix_resp.raft.ready import Persist
from vaylix_resp.raft.types import Entry, EntryId, EntryKind, Role, SnapshotMeta

if TYPE_CHECKING:
    from .node import SimNode
    from .world import Operation


class Violation(Exception):
    """A promise is broken; the text says which, where and when."""


class Checks:
    def __init__(self, nodes: dict[int, SimNode]) -> None:
        self.nodes = nodes
        self.leaders: dict[int, int] = {}  # term -> node
        self.batches: dict[EntryId, tuple[Entry, EntryId]] = {}  # with the one before
        self.committed: dict[int, EntryId] = {0: EntryId(0, 0)}  # batch end -> the batch
        self.committed_last = 0
        self.before: dict[int, EntryId] = {}  # of each committed batch
        self.terms: dict[int, int] = {}  # node -> the highest durable term it has shown
        self.votes: dict[tuple[int, int], int] = {}  # (node, term) -> for whom
        self.commits: dict[int, int] = {}  # node -> commit index in this life
        self.values: dict[bytes, int] = {}  # value -> index of its write
        self.seen: dict[bytes, int] = {}  # register -> the newest write that a completed operation has made or seen
        self.lost: set[bytes] = set()  # values whose writers were told that nothing has happened
        self.asked_to: set[tuple[int, int]] = set()  # (node, term): by the leader, to take over
        self.met: dict[tuple[int, int, int], int] = {}  # (node, candidate, term) -> term of the node when it was asked
        self.elections = 0

    def fail(self, text: str) -> None:
        raise Violation(text)

    # --- a node's life ----------------------------------------------------------------------------------------------

    def started(self, node: SimNode) -> None:
        """What it knows to be committed it had known before, though perhaps only for the length of a write."""
        assert node.core is not None
        self.commits[node.id] = 0
        node.followed = (0, -100)
        commit = node.core.log.committed
        self.is_committed(node, node.core.log.id_at(commit))
        self.commits[node.id] = commit

    def crashed(self, node: SimNode) -> None:
        self.durable(node)

    def installed(self, node: SimNode, meta: SnapshotMeta) -> None:
        if self.committed.get(meta.last.index) != meta.last:
            self.fail(f"{node.id} installs snapshot {meta.last}, committed is {self.committed.get(meta.last.index)}")

    def looked(self, node: SimNode) -> None:
        """After all that a node had to do."""
        core = node.core
        if core is None:
            return
        voters = core.membership.voters
        if not node.memberships or node.memberships[-1][1] != voters:
            node.memberships.append((node.world.now, voters))
            node.voters_tick = node.ticks
        if core.role is Role.LEADER:
            self.leads(node)
        commit = core.log.committed
        if commit < self.commits[node.id]:
            self.fail(f"{node.id} takes back its commit index: {self.commits[node.id]} to {commit}")
        if commit > self.commits[node.id]:
            self.commits[node.id] = commit
            if core.role is Role.LEADER:
                self.commits_by_quorum(node, core.log.id_at(commit))
            self.is_committed(node, core.log.id_at(commit))

    def leads(self, node: SimNode) -> None:
        core = node.core
        assert core is not None
        first = self.leaders.setdefault(core.term, node.id)
        if first != node.id:
            self.fail(f"{first} and {node.id} both lead in term {core.term}")
        last = self.committed[self.committed_last]
        own = core.log.terms.at(last.index)
        if core.term > last.term and own != last.term and last.index >= core.log.terms.start.index:
            self.fail(f"{node.id} leads in term {core.term} without {last}, which is committed")
        if node.led_since[0] != core.term:
            node.led_since = core.term, node.ticks
        since = node.ticks - 2 * core.config.election_ticks
        heard = {other for other, tick in node.heard.items() if tick >= since} | {node.id}
        if max(node.led_since[1], node.voters_tick) < since and not is_quorum(heard, core.membership.voters):
            self.fail(f"{node.id} leads, and has not heard from a quorum for two election timeouts")
        if node.id not in core.membership.voters:
            self.fail(f"{node.id} leads, and is no voter: {core.membership}")
        if len(core.log.members) > 1:
            self.fail(f"{node.id} has several changes of the membership in doubt: {core.log.members}")

    # --- commit and apply -------------------------------------------------------------------------------------------

    def commits_by_quorum(self, node: SimNode, entry: EntryId) -> None:
        """At the time when a leader commits, a majority of its voters have the batch on their disks."""
        assert node.core is not None
        if entry.index <= self.committed_last:
            return
        voters = node.core.membership.voters
        have = {voter for voter in voters if voter in self.nodes and self.nodes[voter].disk.holds(entry)}
        if not is_quorum(have, voters):
            self.fail(f"{node.id} commits {entry} in term {node.core.term}, durable on {have} of {set(voters)}")
        if entry.term != node.core.term and self.batches[entry][0].kind is not EntryKind.MEMBERS:
            self.fail(f"{node.id} commits {entry} in term {node.core.term} by counting")

    def is_committed(self, node: SimNode, entry: EntryId) -> None:
        """Two nodes that commit the same index mean the same batch, and the same ones before it."""
        if entry.index <= self.committed_last:
            known = self.committed.get(entry.index)
            if known != entry:
                self.fail(f"{node.id} commits {entry}, where {known} is committed")
            return
        path = []
        at = entry
        while at.index > self.committed_last:
            path.append(at)
            if at not in self.batches:
                if at.index in self.committed or not path[1:]:
                    self.fail(f"{node.id} commits {at}, which nobody has proposed")
                break
            at = self.batches[at][1]
        if at != self.committed.get(self.committed_last):
            self.fail(f"{node.id} commits {entry}, which does not follow {self.committed[self.committed_last]}")
        for done in reversed(path):
            self.committed[done.index] = done
            batch, self.before[done.index] = self.batches[done]
            self.writes(batch)
        self.committed_last = entry.index

    def writes(self, entry: Entry) -> None:
        if entry.kind is EntryKind.NORMAL:
            for at, operation in enumerate(entry.body.split(b"\n")):
                value = operation.split(b"=")[1]
                if value in self.values:
                    self.fail(f"{value!r} is written twice")
                if value in self.lost:
                    self.fail(f"{value!r} is committed; its writer was told that it is not")
                self.values[value] = entry.first + at

    def applied(self, node: SimNode, entry: Entry) -> None:
        if self.committed.get(entry.last) != entry.id or self.batches[entry.id][0] != entry:
            self.fail(f"{node.id} applies {entry}, committed is {self.committed.get(entry.last)}")
        if not node.disk.holds(entry.id):
            self.fail(f"{node.id} applies {entry}, which is not on its disk")

    # --- the disk ---------------------------------------------------------------------------------------------------

    def persists(self, node: SimNode, persist: Persist) -> None:
        """What a node is about to write: the same batch has the same place behind the same batch, wherever it is."""
        before = node.disk.last
        if persist.truncate_after is not None:
            for batch in node.disk.batches:
                if batch.last <= persist.truncate_after:
                    before = batch.id
                elif self.committed.get(batch.last) == batch.id:
                    self.fail(f"{node.id} cuts {batch}, which is committed")
            if persist.truncate_after == node.disk.start.index:
                before = node.disk.start
        for entry in persist.entries:
            known = self.batches.setdefault(entry.id, (entry, before))
            if known != (entry, before):
                self.fail(f"{node.id} writes {entry} behind {before}; elsewhere it is {known[0]} behind {known[1]}")
            before = entry.id

    def durable(self, node: SimNode) -> None:
        state = node.disk.hard_state
        if state.term < self.terms.get(node.id, 0):
            self.fail(f"{node.id} falls back to term {state.term}")
        self.terms[node.id] = state.term

    # --- messages ---------------------------------------------------------------------------------------------------

    def sent(self, node: SimNode, message: msg.Message) -> None:
        """Nothing leaves a node that a crash could make untrue."""
        state = node.disk.hard_state
        asks_ahead = isinstance(message, msg.PreVote) or (isinstance(message, msg.PreVoteReply) and message.granted)
        if message.term > state.term and not asks_ahead and message.term > node.disk.last.term:
            self.fail(f"{node.id} sends {message}, its disk has term {state.term}")
        match message:
            case msg.VoteReply(granted=True) | msg.Vote():
                candidate = message.to if isinstance(message, msg.VoteReply) else node.id
                if self.votes.setdefault((node.id, message.term), candidate) != candidate:
                    self.fail(f"{node.id} votes twice in term {message.term}")
                if state.term <= message.term and (state.term, state.vote) != (message.term, candidate):
                    self.fail(f"{node.id} sends {message} with {state} on its disk")
                if isinstance(message, msg.Vote):
                    self.stands(node)
                else:
                    self.leader_was_gone(node, message)
            case msg.AppendReply(rejected=False) | msg.SnapshotReply(ok=True) if node.core is not None:
                if message.term == node.core.term and not node.disk.holds(node.core.log.id_at(message.index)):
                    self.fail(f"{node.id} acknowledges {message.index}, its disk has something else or nothing")
            case msg.TimeoutNow():
                target = self.nodes.get(message.to)
                if target is not None and target.disk.last.index < node.core_last():
                    self.fail(f"{node.id} hands over to {message.to}, which has not got all of its log")

    def delivered(self, node: SimNode, message: msg.Message, sent: int) -> None:
        if isinstance(message, msg.Heartbeat):
            node.told_at[message.frm] = max(sent, node.told_at.get(message.frm, -1))
        if isinstance(message, msg.Vote):
            self.met[node.id, message.frm, message.term] = node.core_term()
            if message.transfer:
                self.asked_to.add((message.frm, message.term))

    def heard(self, node: SimNode, message: msg.Message) -> None:
        """After the node has looked at the message."""
        if isinstance(message, msg.Heartbeat | msg.Append) and node.core is not None:
            if (node.core.status.leader, node.core.term) == (message.frm, message.term):
                node.followed = (message.term, node.ticks)

    def leader_was_gone(self, node: SimNode, message: msg.VoteReply) -> None:
        """Votes are for when the leader of the term before is not heard, unless it wants to be followed."""
        assert node.core is not None
        term, tick = node.followed
        heard = node.ticks - tick < node.core.config.election_ticks - 1 and term == message.term - 1
        was_there = self.met[node.id, message.to, message.term] == message.term  # by word of somebody else
        if heard and not was_there and (message.to, message.term) not in self.asked_to:
            self.fail(f"{node.id} sends {message} while it hears a leader of term {term}")

    def stands(self, node: SimNode) -> None:
        self.elections += 1
        done, upto = node.machine.last.index, self.commits[node.id]
        for batch in node.disk.batches:
            if done < batch.last <= upto and batch.kind is EntryKind.MEMBERS:
                self.fail(f"{node.id} stands for election, and has not applied {batch}, which is committed")

    # --- clients ----------------------------------------------------------------------------------------------------

    def completed_write(self, operation: Operation, index: int) -> None:
        for at, (key, value) in enumerate(operation.writes):
            if self.values.get(value) != index + at:
                self.fail(f"{operation} is acknowledged at {index + at}; committed: {self.values.get(value)}")
            self.ordered(operation, key, index + at, strictly=True)

    def completed_read(self, operation: Operation, index: int, value: bytes, *, leases: bool) -> None:
        if index and self.values.get(value) != index:
            self.fail(f"{operation} has read {value!r} of {index}; committed: {self.values.get(value)}")
        self.ordered(operation, operation.key, index, strictly=False)
        if not leases and not any(self.asked_quorum(leader, operation.began) for leader in self.nodes.values()):
            self.fail(f"{operation} is answered, and no leader has asked a quorum since {operation.began}")

    def asked_quorum(self, leader: SimNode, since: int) -> bool:
        """Whether a quorum has had a heartbeat that this node sent then or later."""
        core = leader.core
        if core is None:
            return True  # what it knew has died with it
        told = {node for node, one in self.nodes.items() if one.told_at.get(leader.id, -1) >= since} | {leader.id}
        # Also by the voters of a moment ago: a read may wait to be applied while the membership changes.
        until = [begin for begin, _ in leader.memberships[1:]] + [leader.world.now]
        valid = [voters for (_, voters), end in zip(leader.memberships, until, strict=True) if end >= since]
        return any(is_quorum(told, voters) for voters in [*valid, core.membership.voters])

    def ordered(self, operation: Operation, key: bytes, index: int, *, strictly: bool) -> None:
        floor = operation.seen.get(key, 0)
        if index < floor or (strictly and index == floor):
            self.fail(f"{operation} is at {index}, but {floor} was completed before it began")
        self.seen[key] = max(self.seen.get(key, 0), index)

    def told_lost(self, operation: Operation) -> None:
        for _, value in operation.writes:
            if value in self.values:
                self.fail(f"{operation} is said not to have happened, but it has")
            self.lost.add(value)

    def invoked(self) -> dict[bytes, int]:
        return dict(self.seen)
