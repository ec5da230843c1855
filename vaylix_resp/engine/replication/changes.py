"""Changes of the membership: proposed where the leader is, and answered when they are applied.

A client may ask any node. One that does not lead asks the leader for it; a leader that is itself to lose its vote hands
over first, and then asks its successor.
Promises: an answer is OK only when the change is committed and applied on the leader; an error is definite unless it
begins with INDETERMINATE.
Units: monotonic seconds. Not here: which change may follow (`raft.types`, `raft.leader`), who comes in (`admission`).
Source: Raft (Ongaro, 2014), chapter 4; 4.2.2 on a leader that is removed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ...commands.ports import Later, then
from ...errors import CommandError
from ...observability.logs import get_log
from ...peers.messages import MembersReply, MembersRequest
from ...raft.types import Change, ChangeKind, Refusal, Refused
from ...resp.reply import OK, Reply
from ...state.nodes import NodeInfo
from .errors import NO_LEADER, REFUSALS
from .members import nodes_after
from .replica import Replica

log = get_log("raft")

ANSWER_S: Final = 10.0  # a leader that says nothing for so long is not waited for
HAND_OVER_S: Final = 5.0
AGAIN_S: Final = 0.1  # a new leader takes no change before its first batch is committed
DEPOSED: Final = "INDETERMINATE the change at {place} was proposed, then this node ceased to lead"
UNANSWERED: Final = "INDETERMINATE the leader was asked, and has not answered: look at RAFT SERVER LIST"
NODE_DIFFERS: Final = "ERR the node's data differ from those of the others: remove it and let it join anew"
PASSING: Final = (REFUSALS[Refusal.NOT_READY], REFUSALS[Refusal.TRANSFERRING], REFUSALS[Refusal.CHANGE_PENDING])

Send = Callable[[int, MembersRequest | MembersReply], object]


@dataclass(slots=True)
class _Asked:
    """The leader was asked for it."""

    later: Later
    give_up: float


@dataclass(slots=True)
class _Waiting:
    """Nobody can be asked before a moment has passed."""

    change: Change
    force: bool
    later: Later
    again: float
    give_up: float


class Changes:
    """Of one node. `hand_over` resolves when another node leads, or with why none does."""

    def __init__(self, replica: Replica, send: Send, hand_over: Callable[[float], Later]) -> None:
        self._replica, self._send, self._hand_over = replica, send, hand_over
        self._proposed: list[tuple[int, Later]] = []  # by their place in the log
        self._asked: dict[int, _Asked] = {}
        self._waiting: list[_Waiting] = []
        self._number = 0

    # What is asked for here.

    def request(self, change: Change, *, force: bool = False) -> Later:
        """By a client of this node, whoever leads."""
        later = Later()
        if self._replica.machine.world.nodes.member(change.node) is None:
            later.resolve(CommandError(f"ERR no node {change.node:x} in this cluster"))
        else:
            self._begin(_Waiting(change, force, later, 0.0, self._now + ANSWER_S))
        return later

    def propose(self, change: Change, joining: NodeInfo | None = None, *, force: bool = False) -> Later:
        """Only where the leader is. OK when it is applied here."""
        later, replica = Later(), self._replica
        nodes = replica.machine.world.nodes
        if change.kind is not ChangeKind.ADD_LEARNER and nodes.member(change.node) is None:
            later.resolve(CommandError(f"ERR no node {change.node:x} in this cluster"))
            return later
        if change.kind is ChangeKind.PROMOTE and change.node in nodes.differing:
            later.resolve(CommandError(NODE_DIFFERS))
            return later
        placed = replica.propose_members(change, nodes_after(nodes, change, joining), force=force)
        if isinstance(placed, Refused):
            later.resolve(refusal_of(placed))
        else:
            log.notice(f"a change of the membership is proposed: {change}", at=placed.index)
            self._proposed.append((placed.index, later))
            replica.on_work()
        return later

    def ask_for_a_vote(self) -> None:
        """This node has come to be a voter: the leader may make it one. No answer is waited for."""
        replica = self._replica
        if replica.status.leader and not replica.leads:
            self._send(replica.status.leader, MembersRequest(0, ChangeKind.PROMOTE, replica.id, False))

    # What others say.

    def hear(self, node: int, message: MembersRequest | MembersReply) -> None:
        if isinstance(message, MembersReply):
            asked = self._asked.pop(message.number, None)
            if asked is not None:
                asked.later.resolve(CommandError(message.text) if message.text else OK)
            return

        def answer(reply: Reply) -> None:
            if message.number:
                self._send(node, MembersReply(message.number, reply.text if isinstance(reply, CommandError) else ""))

        self._of_others(message).listen(answer)

    def _of_others(self, message: MembersRequest) -> Later:
        later = Later()
        kinds = (ChangeKind.PROMOTE, ChangeKind.DEMOTE, ChangeKind.REMOVE)
        kind = next((kind for kind in kinds if kind == message.kind), None)
        if kind is None:
            later.resolve(CommandError("ERR this node's version does not know such a change"))
        elif not self._replica.leads:
            later.resolve(CommandError(NO_LEADER))
        else:
            return self.propose(Change(kind, message.node), force=message.force)
        return later

    # Time, and what becomes of the leadership.

    def look(self) -> None:
        """With each tick."""
        now, replica = self._now, self._replica
        for place, later in list(self._proposed):
            if replica.applied >= place:
                self._proposed.remove((place, later))
                later.resolve(OK)
        for number, asked in list(self._asked.items()):
            if now >= asked.give_up:
                del self._asked[number]
                asked.later.resolve(CommandError(UNANSWERED))
        for waiting in list(self._waiting):
            if now >= waiting.again:
                self._waiting.remove(waiting)
                self._begin(waiting)

    def deposed(self) -> None:
        """What was proposed here may still be committed; what is applied has been."""
        self.look()
        for place, later in self._proposed:
            later.resolve(CommandError(DEPOSED.format(place=place)))
        self._proposed.clear()

    # How it is done.

    @property
    def _now(self) -> float:
        return self._replica.clock.now()

    def _begin(self, waiting: _Waiting) -> None:
        replica, change = self._replica, waiting.change
        if not replica.leads:
            self._ask(waiting)
        elif change.kind in (ChangeKind.REMOVE, ChangeKind.DEMOTE) and change.node == replica.id:
            self._leave(waiting)
        else:
            self.propose(change, force=waiting.force).listen(lambda reply: self._ended(waiting, reply))

    def _ask(self, waiting: _Waiting) -> None:
        status = self._replica.core.status
        if not status.leader or not status.quorum_fresh:
            self._ended(waiting, CommandError(NO_LEADER))
            return
        self._number += 1
        change, answered = waiting.change, Later()
        self._asked[self._number] = _Asked(answered, self._now + ANSWER_S)
        answered.listen(lambda reply: self._ended(waiting, reply))
        self._send(status.leader, MembersRequest(self._number, change.kind, change.node, waiting.force))

    def _leave(self, waiting: _Waiting) -> None:
        """Leadership goes first, so that nobody has to wait for an election."""
        others = self._replica.core.membership.voters - {self._replica.id}
        if not others:
            waiting.later.resolve(CommandError(REFUSALS[Refusal.CHANGE_INVALID]))
            return

        def handed_over(reply: Reply) -> Reply:
            if isinstance(reply, CommandError):
                return reply
            self._put_off(waiting)
            return OK

        def failed(reply: Reply) -> None:
            if isinstance(reply, CommandError):
                waiting.later.resolve(reply)

        then(self._hand_over(HAND_OVER_S), handed_over).listen(failed)

    def _ended(self, waiting: _Waiting, reply: Reply) -> None:
        """A refusal that passes by itself is not the client's business."""
        passing = isinstance(reply, CommandError) and reply.text in (*PASSING, NO_LEADER)
        if passing and self._now < waiting.give_up:
            self._put_off(waiting)
        else:
            waiting.later.resolve(reply)

    def _put_off(self, waiting: _Waiting) -> None:
        waiting.again = self._now + AGAIN_S
        self._waiting.append(waiting)


def refusal_of(refused: Refused) -> CommandError:
    """As a client is told."""
    if refused.reason in (Refusal.NOT_LEADER, Refusal.NO_LEADER):
        return CommandError(NO_LEADER)
    return CommandError(REFUSALS[refused.reason])
