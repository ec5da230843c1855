"""How much memory the keys may take (`maxmemory`): what is refused, who waits, and which keys go instead.

What is compared is the memory of the keys (`state.footprint.data_bytes`), looked at after each batch and ten times a
second. Buffers of clients are not in it: they have bounds of their own (`maxmemory-clients`), and somebody who reads
slowly shall not be able to have the keys of others removed.
With an evicting policy the leader proposes the removal of keys, and every node removes the same ones by the log. Until
that is applied writes go on, up to a slack above the limit; beyond it those that take memory wait, and when there is no
room after WAIT_S_MAX, or nothing that may go, they are refused.
Promise: what is refused is refused before the log; reads, and writes that only remove, go on. A row of writes costs one
look at `tight` and one at `stretching`, and without `maxmemory` nothing is counted.
Not here: which keys go (`state.candidates`); when they were used (`state.usage`); what commands that make many bytes of
a few will have made (`foresight`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

from ..commands.operations import EVICT, eviction
from ..commands.spec import CommandSpec
from ..errors import OUT_OF_MEMORY, CommandError
from ..limits import KIB, MIB, VALUE_BYTES_MAX
from ..observability.logs import get_log
from ..state import versions
from ..state.candidates import LFU, LRU, Candidate, Candidates, Policy
from ..state.footprint import data_bytes
from ..state.usage import Frequency, Recency, Usage
from .foresight import NAMES, Foresight
from .proposals import propose

if TYPE_CHECKING:
    from .session import Session
    from .shared import Shared

log = get_log("server")

SLACK_SHARE: Final = 64  # a 64th of maxmemory may be exceeded while keys are being removed ...
SLACK_MIN, SLACK_MAX = 64 * KIB, 16 * MIB  # ... within these
BATCH_BYTES_MIN: Final = 64 * KIB  # of writes under way when the limit is near ...
BATCH_SHARE: Final = 8  # ... or an eighth of what is left: a small value takes five times its bytes
ENTRIES_MAX: Final = 8  # under way at once: a slow fsync shall not be what keeps keys from going
WAIT_S_MAX: Final = 1.0
WARN_S: Final = 60.0
DIRECTIVES: Final = ("maxmemory", "maxmemory-policy", "lfu-log-factor", "lfu-decay-time")


class MemoryLimit:
    """`refusal` is the answer to every write that takes memory, or None; `waits`: it has to wait; `tight`: either."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._world = shared.machine.world
        self._candidates = Candidates(self._world, shared.rng)
        self.refusal: CommandError | None = None
        self.waits = self.tight = False
        self._limit = self._slack = 0
        self._batch_bytes_max: int = shared.node.batch_bytes  # where there is room
        self.stretching: Collection[str] = ()  # commands that `exceeds` and `crowds` have to be asked about
        self._foresight = Foresight(shared)
        self._policy: Policy | None = None
        self._going: set[Candidate] = set()  # chosen, and not removed yet
        self._going_bytes = self._in_flight = 0  # what they take, and the entries that they are in
        self._more_asked = False
        self._since: float | None = None  # when the slack was used up, or writes were first refused
        self._exceeded_s = 0.0  # for how long, all in all, until then
        self._warned: float | None = None
        shared.node.on_complete = self.changed
        for name in DIRECTIVES:
            shared.settings.subscribe(name, lambda _: self._configure())
        self._read_settings()  # the first look is that of the first tick: until then nobody drives the log

    @property
    def used(self) -> int:
        """What is compared with `maxmemory`, in bytes; 0 while there is no limit."""
        return data_bytes(self._world) if self._limit else 0

    @property
    def exceeded_ms(self) -> tuple[int, int]:
        """(until now, this time) with less than the slack left, or writes refused."""
        current = 0.0 if self._since is None else self._shared.clock.now() - self._since
        return int((self._exceeded_s + current) * 1000), int(current * 1000)

    def denies(self, session: Session, spec: CommandSpec) -> bool:
        """Whether this request would be one of those that are refused: as Redis decides it, also within MULTI."""
        if session.multi is None:
            return "denyoom" in spec.flags
        if spec.name == "exec":
            return any("denyoom" in queued.flags for queued, _, _ in session.multi.requests)
        return spec.name not in ("discard", "multi", "watch", "quit", "reset")

    def crowds(self, session: Session, spec: CommandSpec, argv: Sequence[bytes]) -> bool:
        """Whether this request has to wait until what is under way is applied. One within MULTI is asked at EXEC."""
        if session.multi is not None and spec.name != "exec":
            return False
        room = self._limit + self._slack - data_bytes(self._world)
        return self._foresight.crowds(session, spec, argv, room // BATCH_SHARE)

    def exceeds(self, session: Session, spec: CommandSpec, argv: Sequence[bytes]) -> bool:
        """Whether this request makes more than fits: with one value beyond the limit, where others can make room."""
        if session.multi is not None and spec.name != "exec":
            return False
        room = self._limit - data_bytes(self._world)
        if self._can_evict():
            room = min(room + VALUE_BYTES_MAX, self._limit)
        return self._foresight.too_much(session, spec, argv, room)

    def changed(self) -> None:
        """Entries have been applied. Hot: once per batch."""
        if self._limit:
            self._look()
        if self._foresight.active:
            self._foresight.changed()

    def tick(self) -> None:
        """Several times a second."""
        if self._world.usage is not None:
            self._world.usage.tick(self._shared.clock.now())
        if self._limit:
            self._look()
        if self._foresight.active:  # what has failed, or was never logged, is noticed here
            self._foresight.changed()

    def _configure(self) -> None:
        self._read_settings()
        if self._limit:
            self._look()
        else:
            self._settle(refused=False, waits=False, batch_bytes=self._batch_bytes_max)

    def _read_settings(self) -> None:
        settings, world = self._shared.settings, self._world
        self._limit = settings.maxmemory
        self._policy = Policy.named(settings.maxmemory_policy)
        self.stretching = NAMES if self._limit else ()
        share = min(max(self._limit // SLACK_SHARE, SLACK_MIN), SLACK_MAX)
        self._slack = share if self._policy is not None else 0
        if world.weighed != bool(self._limit):
            world.weigh(wanted=bool(self._limit))
        usage = self._usage(world.usage)
        if usage is not world.usage:
            world.usage = usage
            for db in world.databases:
                db.uses = {}
        self._candidates.forget()

    def _usage(self, known: Usage | None) -> Usage | None:
        """What the policy chooses by; what is known already where that goes on."""
        settings, now = self._shared.settings, self._shared.clock.now()
        measure = None if self._policy is None else self._policy.measure
        if measure == LRU:
            return known if isinstance(known, Recency) else Recency(now)
        if measure != LFU:
            return None
        if not isinstance(known, Frequency):
            known = Frequency(now, Random(self._shared.rng.getrandbits(64)))
        known.log_factor, known.decay_minutes = settings.lfu_log_factor, settings.lfu_decay_time
        return known

    def _look(self) -> None:
        """Compare, and decide what that means for writes and for keys."""
        over = data_bytes(self._world) - self._limit
        refused = waits = False
        if over > 0 and not self._can_evict():
            refused = True
        elif over > self._slack:
            waited = 0.0 if self._since is None else self._shared.clock.now() - self._since
            refused = waited >= WAIT_S_MAX
            waits = not refused
        room = (self._slack - over) // BATCH_SHARE
        if over > 0:
            self._evict(over)
        self._settle(refused=refused, waits=waits, batch_bytes=min(max(room, BATCH_BYTES_MIN), self._batch_bytes_max))

    def _settle(self, *, refused: bool, waits: bool, batch_bytes: int) -> None:
        """Let it be so from now on, and wake who has waited for that."""
        shared, now = self._shared, self._shared.clock.now()
        more = (self.waits and not waits) or batch_bytes > shared.node.batch_bytes
        shared.node.batch_bytes = batch_bytes
        self.waits, self.tight = waits, waits or refused
        self.refusal = (self.refusal or CommandError(OUT_OF_MEMORY)) if refused else None
        if self.tight and self._since is None:
            self._since = now
        elif not self.tight and self._since is not None:
            self._exceeded_s += now - self._since
            self._since = None
        if refused:
            self._warn(now)
        if more and shared.parked:
            shared.release_parked()

    def _warn(self, now: float) -> None:
        if self._warned is not None and now - self._warned < WARN_S:
            return
        self._warned = now
        if self._policy is None:
            cure = "remove keys, raise maxmemory, or choose a maxmemory-policy that evicts"
        elif versions.needed(EVICT, self._world.cluster_version):
            cure = "nothing is evicted before every node has been upgraded (cluster version 3)"
        elif self._policy.has_candidates(self._world):
            cure = "keys are not removed quickly enough: has every node the same maxmemory and policy, is the log slow?"
        else:
            cure = f"remove keys or raise maxmemory: {self._shared.settings.maxmemory_policy} finds nothing to evict"
        log.warning(f"maxmemory is reached and writes are refused; {cure}", maxmemory=self._limit)

    # Which keys go.

    def _can_evict(self) -> bool:
        """On a follower: whether the leader could."""
        world, policy = self._world, self._policy
        return (
            policy is not None
            and not versions.needed(EVICT, world.cluster_version)
            and policy.has_candidates(world)
        )  # fmt: skip

    def _evict(self, over: int) -> None:
        """Propose the removal of keys that make up for so many bytes; of some now, of more in a later turn."""
        shared, needed = self._shared, over - self._going_bytes
        if self._policy is None or needed <= 0 or self._in_flight >= ENTRIES_MAX:
            return
        if shared.node.refusal is not None or not shared.node.leads or not self._can_evict():
            return
        if shared.clients.pause_kind(shared.clock.now()):  # as in Redis: nothing changes during a pause
            return
        began = shared.clock.now()
        found = self._candidates.choose(self._policy, shared.settings.maxmemory_samples, needed, self._going)
        for chosen in found:
            going = {(chosen.database, key) for key, _ in chosen.keys}
            self._going |= going
            self._going_bytes += chosen.bytes
            self._in_flight += 1
            needed -= chosen.bytes
            later = propose(shared, eviction(chosen.database, chosen.keys))
            later.listen(partial(self._landed, going, chosen.bytes))
        shared.lateness.event("eviction-cycle", shared.clock.now() - began)
        if found and needed > 0 and not self._more_asked:
            self._more_asked = True
            shared.call_later(0, self._more)

    def _more(self) -> None:
        self._more_asked = False
        if self._limit:
            self._evict(data_bytes(self._world) - self._limit)

    def _landed(self, going: set[Candidate], size: int, reply: object) -> None:
        """Removed, or refused: then the next look tries again."""
        self._going -= going
        self._going_bytes -= size
        self._in_flight -= 1
