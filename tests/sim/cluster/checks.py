"""What has to hold over all nodes, at each step and at the end. Watches from outside; knows nothing of how it is done.

One leader in a term; nothing leaves before what it relies on is in the log; what is applied at a place is the same batch
everywhere, in every life; the same state at the same place; applied <= committed <= last; with `write-ack-mode all`, what
is answered is on the disk of every voter. At the end: everybody has the same, and histories are linearizable.
"""

from __future__ import annotations

from typing import Any

from tests.sim.cluster.clients import History
from tests.sim.cluster.linear import violation
from tests.sim.cluster.world import SimNode, World
from vaylix_resp.raft.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    ReadIndex,
    ReadIndexReply,
    TimeoutNow,
    Vote,
    VoteReply,
)
from vaylix_resp.raft.types import Entry, Role
from vaylix_resp.state.digest import digest_hex

BOUND = (Append, AppendReply, Heartbeat, HeartbeatReply, Vote, VoteReply, ReadIndex, ReadIndexReply, TimeoutNow)
DIGEST_EVERY = 64  # turns of a node between two looks at its whole state


class Checks:
    def __init__(self, world: World, history: History) -> None:
        self._world, self._history = world, history
        self._leaders: dict[int, int] = {}  # term -> who led in it
        self._applied: dict[int, tuple[int, int, int]] = {}  # last -> first, term, hash of the batch
        self._digests: dict[int, str] = {}  # applied sequence -> digest
        self._turns = 0
        world.checks.append(self.turn)
        world.on_start.append(self._watch)
        world.on_send.append(self._sends)
        if world.ack_all:
            world.on_answer.append(self._answers)

    def _watch(self, node: SimNode) -> None:
        assert node.replica is not None
        applier = node.replica.applier
        apply, seen = applier.apply, self._applied

        def watched(entry: Entry) -> None:
            mine = entry.first, entry.term, hash(entry.body)
            other = seen.setdefault(entry.last, mine)
            assert other == mine, f"node {node.id} applies {entry}, which is another batch elsewhere"
            apply(entry)

        applier.apply = watched  # type: ignore[method-assign]

    def _sends(self, node: SimNode, message: Any) -> None:
        """Nothing of a term leaves before the log has it, nor a vote, nor an acknowledgement of what is not there."""
        if not isinstance(message, BOUND):
            return
        assert node.replica is not None
        wal = node.replica.wal
        term, vote = (wal.hard_state.term, wal.hard_state.vote) if wal.hard_state else (wal.term, 0)
        assert message.term <= term, f"node {node.id} sends {message}; its log is in term {term}"
        # (In a later term it never votes in this one again, whether or not the vote itself has been written.)
        if isinstance(message, VoteReply) and message.granted and message.term == term:
            kept = vote == message.to or term > message.term  # who is in a later term votes no more in this one
            assert kept, f"node {node.id} sends {message}; its log has a vote for {vote}"
        if isinstance(message, AppendReply) and not message.rejected:
            assert message.index <= wal.last, f"node {node.id} sends {message}; its log ends at {wal.last}"

    def _answers(self, node: SimNode) -> None:
        assert node.replica is not None
        sequence = node.replica.machine.applied
        replicas = [other.replica for other in self._world.nodes.values() if other.replica is not None]
        newest = max(replicas, key=lambda replica: replica.machine.applied)  # it may know of a voter that has left
        for voter in node.replica.core.membership.voters & newest.core.membership.voters:
            other = self._world.nodes[voter].replica
            if other is not None:
                has = other.core.log.persisted
                assert has >= sequence, f"node {node.id} answers at {sequence}, which node {voter} has up to {has}"

    def turn(self, node: SimNode) -> None:
        replica = node.replica
        assert replica is not None
        status = replica.status
        if status.role is Role.LEADER:
            other = self._leaders.setdefault(status.term, node.id)
            assert other == node.id, f"{other} and {node.id} lead in term {status.term}"
        log = replica.core.log
        assert replica.machine.applied <= log.committed <= log.last
        self._turns += 1
        if self._turns % DIGEST_EVERY == 0:
            self.compare(node)

    def compare(self, node: SimNode) -> None:
        assert node.replica is not None
        machine = node.replica.machine
        digest = digest_hex(machine)
        other = self._digests.setdefault(machine.applied, digest)
        assert other == digest, f"node {node.id} differs at {machine.applied}"

    def end(self) -> None:
        """After the cure: somebody leads, all have the same, and what clients were told makes sense."""
        world = self._world
        assert len(world.leaders) == 1, [node.id for node in world.leaders]
        applied = {node.replica.machine.applied for node in world.members if node.replica}
        assert len(applied) == 1, applied
        for node in world.members:
            self.compare(node)
        for key, calls in sorted(self._history.calls.items()):
            problem = violation(calls)
            assert problem is None, f"{key!r}: {problem}"
