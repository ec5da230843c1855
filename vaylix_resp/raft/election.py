"""How a node comes to lead: it asks who would vote for it, then for the votes.

The first question (pre-vote) moves nobody's term, so a node that was cut off and comes back disturbs no leader that a
majority hears. Voters answer by the same rule both times; who heard a leader lately refuses.
Promise: one vote in a term; no vote for a log that lacks something that may be committed.
Not here: what follows from the outcome (`core`).
Source: Raft (Ongaro, 2014), sections 3.4, 3.6.1, 4.2.3, 9.6.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from .local import Local
from .messages import PreVote, PreVoteReply, Vote, VoteReply
from .quorum import is_quorum, majority
from .types import EntryId

TOLD_TICKS: Final = 2  # in which the others have been told as well, so that they do not refuse
TURN_TICKS: Final = 4  # between two that stand for the same vacancy: 200 ms, a few round trips and fsyncs


class Outcome(Enum):
    OPEN = 0
    WON = 1
    LOST = 2


def is_up_to_date(last: EntryId, mine: EntryId) -> bool:
    """Whether a log that ends at `last` has all that one ending at `mine` could have committed."""
    return (last.term, last.index) >= (mine.term, mine.index)


def draw_timeout(local: Local) -> int:
    """In ticks, another one each time, so that two candidates do not split the votes for ever."""
    ticks = local.config.election_ticks
    return ticks + local.rng.randrange(ticks)


def draw_turn(local: Local, gone: int) -> int:
    """Ticks until this node should stand in the place of a leader that is `gone`.

    All are told at about the same time. So they go by the order of their ids, far enough apart that each has been
    elected, or refused because its log is shorter, before the next one asks: equal waits would split the votes.
    """
    turn = sum(1 for node in local.membership.voters if node < local.id and node != gone)
    return TOLD_TICKS + TURN_TICKS * turn + local.rng.randrange(2)


def may_grant(local: Local, ask: PreVote | Vote, leader: int) -> bool:
    """The rule for both kinds. `leader`: whom this node knows to lead in its own term; 0: nobody."""
    if isinstance(ask, PreVote) and ask.term > local.term:
        free = True
    else:
        free = ask.term == local.term and (local.vote == ask.frm or (local.vote == 0 and leader == 0))
    return free and is_up_to_date(ask.last, local.log.last_id)


class Election:
    """One campaign. `pre`: the first question; then `term` is one that nobody is in yet."""

    __slots__ = ("_answers", "_local", "_until", "pre", "term", "transfer")

    leader = 0

    def __init__(self, local: Local, *, pre: bool, transfer: bool = False) -> None:
        self._local = local
        self.pre = pre
        self.transfer = transfer
        self.term = local.term + 1 if pre else local.term
        self._until = local.tick + draw_timeout(local)
        self._answers = {local.id: True}

    def ask(self) -> None:
        local, last = self._local, self._local.log.last_id
        for node in sorted(local.membership.voters - {local.id}):
            if self.pre:
                local.send(PreVote(local.id, node, self.term, last))
            else:
                local.send(Vote(local.id, node, self.term, last, self.transfer))

    def record(self, reply: PreVoteReply | VoteReply) -> None:
        """An answer is final: what comes a second time is the same message again."""
        if isinstance(reply, PreVoteReply) == self.pre and (not reply.granted or reply.term == self.term):
            self._answers.setdefault(reply.frm, reply.granted)

    @property
    def outcome(self) -> Outcome:
        """Counted by the voters of now: learners and strangers do not count."""
        voters = self._local.membership.voters
        granted = {node for node, yes in self._answers.items() if yes}
        if is_quorum(granted, voters):
            return Outcome.WON
        refused = sum(1 for node in voters if not self._answers.get(node, True))
        return Outcome.LOST if refused > len(voters) - majority(len(voters)) else Outcome.OPEN

    def tick(self) -> bool:
        """Whether it has taken too long."""
        return self._local.tick >= self._until

    def flush(self) -> None:
        """All was asked at once."""
