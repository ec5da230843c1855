"""What a leader knows of one other node's log, and how much it may send there.

PROBE: where the logs part is not known; one append at a time, the next after its reply or a heartbeat's.
REPLICATE: they part at `match`; appends follow each other without waiting, within the window.
SNAPSHOT: what the node needs has been pruned; a snapshot is streamed, and no append is sent.
LOST: the node no longer has what it had acknowledged; nothing more is sent, and `match` stays where it is.

Promises: match never falls; next > match; a reply to an append that was sent before something newer was learnt
changes nothing that the newer has settled.
Units: indexes as in `types`; ticks; bytes.
Not here: sending (`leader`).
Source: Raft (Ongaro, 2014), section 3.5; the states and the window are those that etcd's raft made standard.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum

from .ready import Config
from .types import InvariantBroken, SnapshotMeta


class State(IntEnum):
    PROBE = 1
    REPLICATE = 2
    SNAPSHOT = 3
    LOST = 4


class Inflight:
    """The appends on the way, oldest first. A full window holds at least one message."""

    __slots__ = ("_window", "bytes", "bytes_max", "messages_max")

    def __init__(self, messages_max: int, bytes_max: int) -> None:
        self.messages_max = messages_max
        self.bytes_max = bytes_max
        self.bytes = 0
        self._window: deque[tuple[int, int]] = deque()  # (last index, bytes)

    def __len__(self) -> int:
        return len(self._window)

    @property
    def full(self) -> bool:
        return len(self._window) >= self.messages_max or self.bytes >= self.bytes_max

    def add(self, last: int, size: int) -> None:
        if self.full or (self._window and last < self._window[-1][0]):
            raise InvariantBroken(f"append up to {last} does not fit into a window of {len(self)}, {self.bytes} bytes")
        self._window.append((last, size))
        self.bytes += size

    def free(self, index: int) -> None:
        """All up to `index` has arrived."""
        while self._window and self._window[0][0] <= index:
            self.bytes -= self._window.popleft()[1]

    def free_first(self) -> None:
        """The oldest may have been lost; make room to find out."""
        if self._window:
            self.bytes -= self._window.popleft()[1]

    def clear(self) -> None:
        self._window.clear()
        self.bytes = 0


class Progress:
    __slots__ = (
        "commit_sent",
        "fetching",
        "heard",
        "inflight",
        "match",
        "match_number",
        "next",
        "paused",
        "poked",
        "round",
        "snapshot",
        "snapshot_tick",
        "span_end",
        "span_tick",
        "span_ticks",
        "state",
        "state_number",
    )

    def __init__(self, config: Config, last: int, tick: int) -> None:
        self.state = State.PROBE
        self.match = 0  # the node's log is durable and equal to the leader's up to here
        self.next = last + 1  # what is sent next is the batch that holds this index
        self.paused = False  # PROBE: one is on the way
        self.state_number = 0  # appends with greater numbers were sent in the present state
        self.match_number = 0  # appends with greater numbers were sent with the present match known
        self.inflight = Inflight(config.inflight_messages, config.inflight_bytes)
        self.poked = False  # something may have been lost: send an append, even an empty one
        self.commit_sent = 0  # the highest commit index that was sent
        self.fetching = 0  # the number of a fetch that is on the way; 0: none
        self.snapshot: SnapshotMeta | None = None  # SNAPSHOT: streamed, but not known to be installed
        self.snapshot_tick = 0  # when it was offered last
        self.heard = tick  # when any message of this term came; a new leader gives everybody an election timeout
        self.round = 0  # the highest heartbeat round it has answered
        self.span_end = last  # to be promoted, a learner gets this far ...
        self.span_tick = tick  # ... counted from here ...
        self.span_ticks: int | None = None  # ... and took so long for the last such stretch (section 4.2.1)

    @property
    def sends(self) -> bool:
        """Whether an append may be sent."""
        match self.state:
            case State.PROBE:
                return not self.paused and not self.fetching
            case State.REPLICATE:
                return not self.inflight.full and not self.fetching
        return False

    @property
    def durable(self) -> int:
        """What counts for a commit: a node that has lost something may have lost all of it."""
        return 0 if self.state is State.LOST else self.match

    def sent(self, last: int, size: int) -> None:
        """An append up to `last` has gone out; `size` 0: without a batch."""
        self.poked = False
        if self.state is State.PROBE:
            self.paused = True
        elif size:
            self.next = last + 1
            self.inflight.add(last, size)

    def become(self, state: State, number: int) -> None:
        """`number`: of the last append that was sent to anybody."""
        self.state = state
        self.state_number = number
        self.paused = self.poked = False
        self.snapshot = None
        self.inflight.clear()
        self.fetching = 0
        self.next = self.match + 1

    def matched(self, index: int, number: int, tick: int, last: int) -> bool:
        """The node has the log up to `index`, durable; whether that is news. `last`: the end of the leader's log."""
        if index > last:
            raise InvariantBroken(f"a follower acknowledges {index}; the log ends at {last}")
        self.inflight.free(index)
        if index <= self.match:
            return False
        self.match = index
        self.match_number = number
        self.next = max(self.next, index + 1)
        if index >= self.span_end:
            self.span_ticks = tick - self.span_tick
            self.span_tick, self.span_end = tick, last
        return True

    def is_stale(self, number: int) -> bool:
        """Whether a rejection of append `number` tells nothing that is not known already.

        In PROBE all appends since the last retreat ask the same question, so any of them is an answer: with a round
        trip longer than a heartbeat there would be none otherwise.
        """
        return number <= self.state_number or self.state not in (State.PROBE, State.REPLICATE)

    def has_lost(self, number: int, hint: int) -> bool:
        """Whether a rejection proves that acknowledged batches are gone: sent later, and not even `match` fits."""
        return number > self.match_number and hint < self.match

    def retreat(self, index: int, number: int) -> None:
        """A rejection: the logs part behind `index` at the latest."""
        self.become(State.PROBE, number)
        self.next = max(index, self.match) + 1
