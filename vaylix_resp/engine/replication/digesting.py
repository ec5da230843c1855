"""The states of the nodes are compared in the background, slice after slice; a node that differs stops serving.

    the leader tells the others what to digest, then proposes `@digest mark`
    each node, when it applies that, takes the slice, digests it in steps, and tells whoever leads what came out
    the leader compares (`digests`), and proposes `@digest differ` with the nodes that are wrong, itself among them
    who applies its own name there   refuses every client, hands over what it leads and never stands again; it goes on
                                     voting and acknowledging, as its log is right (that is what the chain hash proves)

That a node differs is a part of the replicated state and so outlives its process: a restart may well make its data
right, but nobody knows what had made it wrong, nor what else it has touched. It ends when the node is removed.
Promises: nothing here takes longer than about a millisecond in one go, however many keys there are and however large;
nodes that lack the question (it was lost, they were away) say nothing, and are not judged.
Bounds: one slice on its way, ASKS_KEPT questions, TAKEN_MAX slices being digested.
Units: monotonic seconds, sequences. Not here: what a slice covers (`state.slices`); damage on disk (`storage`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from ...commands import digest_operations
from ...commands.cluster_view import Comparison
from ...errors import CommandError
from ...observability.logs import get_log
from ...peers.messages import Digest, DigestAsk
from ...state.nodes import Difference
from ...state.slices import Question, Slice, SliceKind, Walk, take
from ...state.versions import REQUIRED, version_in_force
from ..node import Run
from .digests import ANSWER_S, KEPT, Comparisons, Verdict
from .errors import DIFFERS
from .replica import Replica

log = get_log("raft")

ENTRIES: Final = 10_000  # operations after which the next slice is due, though the time has not come
INTERVAL_S_MIN: Final = 0.1
PAUSE_S: Final = 0.25  # between two slices that operations bring about, however fast the log grows
IDLE_FACTOR: Final = 60  # so much more rarely when all has been compared, nothing written since: a mark wears disks
STEP_PAUSE_S: Final = 0.002  # between two steps of a digest: a tenth of the loop's time at most
ASKS_KEPT: Final = 8
TAKEN_MAX: Final = 4
AGAIN_S: Final = 1.0  # an accusation that the log did not take
LEAVE_S: Final = 3.0  # for a hand-over, before a leader that differs just stops leading
assert KEPT * INTERVAL_S_MIN > ANSWER_S, "no place is forgotten before it is judged"
WHAT_TO_DO: Final = "remove it (CLUSTER REMOVE) and let it join anew with an empty directory, or restore a backup there"


class Digesting:
    """Of one node; owner of the entries that it proposes. `look` is called with each tick."""

    def __init__(
        self, replica: Replica, send: Callable[[int, Digest | DigestAsk], object],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:  # fmt: skip
        self._replica, self._send, self._call_later = replica, send, call_later
        self.interval_s = 0.0  # between two slices; 0: none. Only the leader's counts
        self.alike: Callable[[], bool] = _yes  # all nodes run the same software: else a state may well be put otherwise
        self.comparisons = Comparisons()
        self._walk = Walk()
        self.last: Verdict | None = None  # of those that this node has given as a leader
        self.stopped: CommandError | None = None  # this node's data is not to be believed: what clients are told
        self._asks: dict[int, Question] = {}  # by the number of their mark
        self._taken: deque[tuple[int, str, Slice]] = deque()
        self._result: tuple[int, str, bytes] | None = None  # the last digest made here
        self._count = 0
        self._open = False  # a mark of ours is on its way into the log
        self._marked_s, self._marked_at = self._now, replica.applied
        self._idle_round = 2  # of `_walk`, from which on all has been compared since marks are all that is written
        self._leader = 0  # as of the last look
        self._accused: dict[int, Verdict] = {}
        self._again_s: float | None = 0.0  # when to propose that; None: it has been
        self._known: frozenset[int] = frozenset()  # who differs
        self._leaving_s: float | None = None
        replica.machine.world.on_mark = self._mark
        self._look_at_nodes()

    @property
    def _now(self) -> float:
        return self._replica.clock.now()

    def look(self) -> None:
        """With each tick."""
        replica = self._replica
        self._look_at_nodes()
        if replica.status.leader != self._leader:
            self._leader = replica.status.leader
            self._deliver()
        if not replica.leads:
            return
        if self.stopped is not None:
            self._leave()
            return
        self._compare()
        if self._due:
            self._ask()

    @property
    def comparison(self) -> Comparison:
        """The last one that this node has made as a leader."""
        last, nodes = self.last, self._replica.machine.world.nodes
        return Comparison(
            last.sequence if last is not None else 0,
            last.subject if last is not None else "",
            self._now - last.at_s if last is not None else None,
            last.agree if last is not None else frozenset(),
            last.differ if last is not None else frozenset(),
            {node: known.sequence for node, known in nodes.differing.items()},
            self.comparisons.compared,
            self._walk.rounds,
        )

    # Questions.

    @property
    def _due(self) -> bool:
        replica, interval_s = self._replica, self.interval_s
        if not interval_s or self._open or self._taken or replica.refusal is not None or replica.crowded:
            return False
        if len(replica.core.membership.members) < 2 or not self.alike():
            return False
        if version_in_force(replica.machine.world) < REQUIRED[digest_operations.DIGEST]:
            return False
        passed = self._now - self._marked_s
        many = replica.applied - self._marked_at >= ENTRIES
        if replica.applied == self._marked_at and self._walk.rounds >= self._idle_round:
            interval_s *= IDLE_FACTOR
        return passed >= max(min(interval_s, PAUSE_S) if many else interval_s, INTERVAL_S_MIN)

    def _ask(self) -> None:
        """The question goes ahead of the entry on the same connections, so that it is there when that is applied."""
        replica = self._replica
        question = self._walk.next(replica.machine.world)
        self._count += 1
        number = replica.boot + self._count
        self._remember(number, question)
        for node in replica.core.membership.members - {replica.id}:
            self._send(node, DigestAsk(number, int(question.kind), question.db, question.names))
        self._open = True
        replica.propose(self, digest_operations.mark(number))

    def _remember(self, number: int, question: Question) -> None:
        self._asks[number] = question
        if len(self._asks) > ASKS_KEPT:
            del self._asks[next(iter(self._asks))]

    def hear(self, node: int, message: Digest | DigestAsk) -> None:
        """From another member."""
        if isinstance(message, Digest):
            self.comparisons.answer(node, message.sequence, message.digest, self._now)
        elif message.kind in (SliceKind.KEYS, SliceKind.USERS):
            self._remember(message.number, Question(SliceKind(message.kind), message.db, message.names))

    # Answers.

    def _mark(self, number: int) -> None:
        """The entry is being applied: the state is the same on every node now, or should be."""
        world = self._replica.machine.world
        if world.sequence != self._marked_at + 1:  # this one, which began already, and a whole one
            self._idle_round = self._walk.rounds + 2
        self._marked_s, self._marked_at = self._now, world.sequence
        question = self._asks.pop(number, None)
        if question is None or len(self._taken) >= TAKEN_MAX:
            return
        self._taken.append((world.sequence, question.subject, take(world, question)))
        if len(self._taken) == 1:
            self._call_later(STEP_PAUSE_S, self._step)

    def _step(self) -> None:
        sequence, subject, taken = self._taken[0]
        if taken.step():
            self._taken.popleft()
            self._result = sequence, subject, taken.digest
            self._deliver()
        if self._taken:
            self._call_later(STEP_PAUSE_S, self._step)

    def _deliver(self) -> None:
        """The last digest, to whoever leads; to a new leader again."""
        replica = self._replica
        if self._result is None:
            return
        sequence, subject, digest = self._result
        self.comparisons.answer(replica.id, sequence, digest, self._now, subject)
        if replica.status.leader and not replica.leads:
            self._send(replica.status.leader, Digest(sequence, digest))

    # Verdicts.

    def _compare(self) -> None:
        replica, now = self._replica, self._now
        membership, differing = replica.core.membership, replica.machine.world.nodes.differing
        voters = membership.voters - differing.keys()
        for verdict in self.comparisons.settle(membership.members, voters, replica.id, now):
            self.last = verdict
            for node in verdict.differ - differing.keys() - self._accused.keys():
                self._accused[node] = verdict
        self._accused = {node: verdict for node, verdict in self._accused.items() if node not in differing}
        due = self._again_s is not None and now >= self._again_s
        if self._accused and due and replica.refusal is None:
            verdict = next(iter(self._accused.values()))
            nodes = [node for node, other in self._accused.items() if other is verdict]
            self._again_s = None
            replica.propose(self, digest_operations.differ(verdict.sequence, verdict.subject, nodes))

    def complete(self, run: Run) -> None:
        """As the owner of a mark or an accusation: it is committed."""
        self._replica.machine.apply_all(run.items)
        self._ended(run)

    def fail(self, run: Run, refusal: CommandError) -> None:
        """It is tried again, by whoever leads then."""
        self._ended(run)

    def _ended(self, run: Run) -> None:
        ((_, what, *_),) = run.items
        if what == digest_operations.MARK:
            self._open = False
        else:
            self._again_s = self._now + AGAIN_S

    # What becomes of a node that differs.

    def _look_at_nodes(self) -> None:
        """As the state names them now: an entry may have come, or a snapshot, or a start."""
        replica = self._replica
        nodes = replica.machine.world.nodes
        if nodes.differing.keys() == self._known:
            return
        fresh, self._known = nodes.differing.keys() - self._known, frozenset(nodes.differing)
        names = {member.id: member.name or f"{member.id:016x}" for member in nodes.members}
        for node in sorted(fresh):
            known = nodes.differing[node]
            if node == replica.id:
                self._stop(known)
            else:
                log.warning(
                    f"THE DATA OF {names[node]} DIFFER from those of the other nodes: it serves no clients any more; "
                    + WHAT_TO_DO, sequence=known.sequence, compared=known.subject.decode(),
                )  # fmt: skip
        replica.on_members()

    def _stop(self, known: Difference) -> None:
        replica, subject = self._replica, known.subject.decode()
        log.warning(
            "THE DATA OF THIS NODE DIFFER from those of the other nodes: it serves no clients any more, and never "
            f"leads; {WHAT_TO_DO}", sequence=known.sequence, compared=subject,
        )  # fmt: skip
        self.stopped = CommandError(DIFFERS.format(sequence=known.sequence, subject=subject))
        replica.close_for(self.stopped)
        replica.core.stand_down()

    def _leave(self) -> None:
        """It leads, and must not: whoever is right and has most of the log takes over."""
        replica = self._replica
        if self._leaving_s is None:
            self._leaving_s = self._now
            to = self._successor()
            if to and replica.core.transfer(to) is None:
                replica.on_work()
                return
        elif self._now - self._leaving_s < LEAVE_S:
            return
        self._leaving_s = None
        replica.core.resign()
        replica.on_work()

    def _successor(self) -> int:
        leading, nodes = self._replica.core.leading, self._replica.machine.world.nodes
        peers: dict[int, Any] = dict(leading.replication.peers) if leading is not None else {}
        fit = [
            (peers[node].match, node)
            for node in self._replica.core.membership.voters
            if node in peers and node not in nodes.differing
        ]
        return max(fit)[1] if fit else 0


def _yes() -> bool:
    """Until somebody knows better."""
    return True
