"""One node of the simulated cluster: a core, a disk, a small state machine, and the driver between them.

Cruelty: any of the driver's actions may be the last before a crash; applying takes time of its own; the fsync is slow.
The machine is a map of registers, each with the index of its last write, so a read tells which writes it has seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from vaylix_resp.raft.core import RaftCore
from vaylix_resp.raft.ready import Config, Fate, Fetch, Persist, Ready
from vaylix_resp.raft.types import NOTHING, Entry, EntryId, EntryKind, Membership, Refused, Role, SnapshotMeta

from .disk import Saved, SimDisk

if TYPE_CHECKING:
    from .world import World

KEYS = (b"a", b"b", b"c")


class Crashed(Exception):
    """The process has died between two of its actions."""


def encode_members(membership: Membership) -> bytes:
    return b"|".join(
        b",".join(b"%d" % node for node in sorted(some))
        for some in (membership.voters, membership.learners, membership.retired)
    )


def decode_members(body: bytes) -> Membership:
    return Membership(*(frozenset(int(node) for node in some.split(b",") if node) for some in body.split(b"|")))


class Machine:
    def __init__(self, saved: Saved) -> None:
        meta, state = saved
        self.last = meta.last
        self.membership = meta.membership
        self.state = dict(state)

    def apply(self, entry: Entry) -> None:
        assert entry.first == self.last.index + 1, (entry.first, self.last)
        if entry.kind is EntryKind.NORMAL:
            for at, operation in enumerate(entry.body.split(b"\n")):
                key, value = operation.split(b"=")
                self.state[key] = (entry.first + at, value)
        elif entry.kind is EntryKind.MEMBERS:
            self.membership = decode_members(entry.body)
        self.last = entry.id

    def save(self) -> Saved:
        return SnapshotMeta(str(self.last), self.last, self.membership), dict(self.state)


class SimNode:
    def __init__(self, world: World, node_id: int, founders: Membership, rng: Random) -> None:
        self.world = world
        self.id = node_id
        self.rng = rng
        self.disk = SimDisk(founders)
        self.core: RaftCore | None = None
        self.life = 0  # rises with every start: what was begun in an earlier one does not return
        self.doom = -1  # actions until it crashes; -1: it does not
        self.paused_until = 0
        self.slow_disk = 0  # ms on top of every fsync
        self.received: dict[str, Saved] = {}
        self.ticks = 0
        self.heard: dict[int, int] = {}  # node -> tick of its last message
        self.followed = (0, -100)  # (term, tick) of the last word of a leader
        self.told_at: dict[int, int] = {}  # node -> when the newest heartbeat of it was sent
        self.memberships: list[tuple[int, frozenset[int]]] = []  # (since when, voters) by its own account
        self.voters_tick = 0  # since when, in ticks
        self.led_since: tuple[int, int] = (0, 0)  # (term, tick)
        self.start()

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self.life += 1
        self.doom = -1
        self.machine = Machine(self.disk.snapshot)
        self.queue: deque[Entry] = deque()
        self.waiting: dict[EntryId, Any] = {}  # own proposals -> the client's operation
        self.reads: list[tuple[int, Any]] = []
        self.installing: str | None = None
        log = self.disk.batches
        begun = self.machine.last.index
        for entry in log:
            if begun < entry.last <= self.disk.committed:
                self.machine.apply(entry)
        applied = self.machine.last.index
        self.core = RaftCore(
            self.world.config(self.id),
            self.disk.hard_state,
            self.machine.membership,
            self.disk,
            self.rng,
            applied,
            [entry for entry in log if entry.last > applied],
        )
        self.world.checks.started(self)
        self.pump()

    def crash(self) -> None:
        if self.core is not None:
            self.core = None
            self.life += 1
            self.disk.crash(self.rng, self.received.get(self.installing or ""))
            self.received.clear()
            self.world.checks.crashed(self)

    @property
    def alive(self) -> bool:
        return self.core is not None

    @property
    def leads(self) -> bool:
        return self.core is not None and self.core.role is Role.LEADER

    def core_term(self) -> int:
        return self.core.term if self.core is not None else 0

    def core_last(self) -> int:
        return self.core.log.last if self.core is not None else 0

    def act(self) -> None:
        """Between any two actions it may be over."""
        if self.doom >= 0:
            self.doom -= 1
            if self.doom < 0:
                raise Crashed

    def told(self, what: str, *arguments: Any) -> Any:
        """Call the core, then do what it asks for. A crash in between is a crash."""
        if self.core is None:
            return None
        answer = getattr(self.core, what)(*arguments)
        self.pump()
        return answer

    # --- the driver -------------------------------------------------------------------------------------------------

    def pump(self) -> None:
        try:
            while self.core is not None:
                work = self.core.ready(self.disk.writing is None and self.installing is None)
                if work is None:
                    break
                self.do(work)
        except Crashed:
            self.crash()
            return
        self.world.checks.looked(self)

    def do(self, work: Ready) -> None:
        world, life = self.world, self.life
        steps = [lambda: self.send(work), lambda: self.persist(work), lambda: self.give(work.apply)]
        self.rng.shuffle(steps)  # whatever is in one Ready may be done in any order
        for step in steps:
            step()
        for token, index in work.reads:
            self.reads.append((index, token))
        for token in work.reads_failed:
            world.read_failed(token)
        for entry, fate in work.fates:
            world.decided(self.waiting.pop(entry, None), lost=fate is Fate.LOST)
        for fetch in work.fetch:
            world.later(self.rng.randrange(1, 60), lambda fetch=fetch: self.fetched(fetch, life))
        for node in work.stream:
            world.later(self.rng.randrange(5, 300), lambda node=node: world.stream(self, node, life))
        for node in work.lost:
            world.checks.fail(f"{self.id} says that {node} has lost data")
        if work.noop and self.core is not None:
            made = self.core.propose(EntryKind.NOOP, 1, world.now, 0, b"noop")
            assert isinstance(made, EntryId), made
        self.serve()

    def send(self, work: Ready) -> None:
        for message in work.send:
            self.act()
            self.world.checks.sent(self, message)
            self.world.send(message)

    def persist(self, work: Ready) -> None:
        if work.persist is None:
            return
        self.act()
        persist = work.persist
        self.world.checks.persists(self, persist)
        if persist.snapshot is not None and persist.snapshot.name not in self.received:
            life = self.life
            self.world.later(1, lambda: life == self.life and self.told("install_failed"))
            return
        self.installing = persist.snapshot.name if persist.snapshot else None
        self.disk.begin(persist)
        self.act()
        life = self.life
        self.world.later(self.fsync_ms(), lambda: self.persisted(persist, life))

    def fsync_ms(self) -> int:
        return self.slow_disk + self.rng.choice((1, 1, 2, 3, 10))

    def persisted(self, persist: Persist, life: int) -> None:
        if life != self.life:
            return
        if self.paused_until > self.world.now:
            self.world.later(self.paused_until - self.world.now, lambda: self.persisted(persist, life))
            return
        name, self.installing = self.installing, None
        saved = self.received[name] if name else None
        self.disk.finish(saved)
        if saved is not None:
            self.machine = Machine(saved)
            self.queue.clear()
            self.world.checks.installed(self, saved[0])
        self.world.checks.durable(self)
        self.told("persisted", persist.number)

    def give(self, entries: Sequence[Entry]) -> None:
        if entries:
            self.act()
            self.queue.extend(entries)
            life = self.life
            self.world.later(self.slow_disk + self.rng.choice((0, 0, 1, 20)), lambda: self.apply(life))

    def apply(self, life: int) -> None:
        if life != self.life or self.core is None:
            return
        if self.installing is not None:  # the state is being replaced
            self.queue.clear()
            return
        while self.queue:
            entry = self.queue.popleft()
            self.machine.apply(entry)
            self.world.checks.applied(self, entry)
            if entry.kind is EntryKind.MEMBERS:
                self.core.apply_members(entry.last, self.machine.membership)
            self.core.applied(entry.last)
            self.world.decided(self.waiting.pop(entry.id, None), lost=False, index=entry.first)
        self.serve()
        self.pump()

    def serve(self) -> None:
        ready = [token for index, token in self.reads if index <= self.machine.last.index]
        if ready:
            self.reads = [read for read in self.reads if read[0] > self.machine.last.index]
            for token in ready:
                self.world.read_served(token, self.machine.state)

    def fetched(self, fetch: Fetch, life: int) -> None:
        if life == self.life:
            self.told("fetched", fetch, self.disk.read(fetch.after, fetch.max_bytes))

    # --- what the world asks for ------------------------------------------------------------------------------------

    def propose(self, operation: Any, body: bytes) -> Refused | None:
        assert self.core is not None
        count = body.count(b"\n") + 1
        made = self.core.propose(EntryKind.NORMAL, count, self.world.now, self.rng.getrandbits(64), body)
        if isinstance(made, Refused):
            return made
        self.waiting[made] = operation
        self.pump()
        return None

    def compact(self) -> None:
        """A snapshot of now, and the log behind some earlier batch end."""
        if self.core is None or self.installing is not None or self.machine.last == NOTHING:
            return
        self.disk.save(self.machine.save())
        ends = [entry.id for entry in self.disk.batches if entry.last <= self.core.log.applied]
        if ends:
            upto = self.rng.choice(ends)
            self.disk.prune(upto)
            self.told("compacted", upto.index)


def small_config(node_id: int, *, lease_reads: bool = False) -> Config:
    """Bounds so small that every one of them is met."""
    return Config(
        node_id,
        election_ticks=10,
        heartbeat_ticks=2,
        inflight_messages=3,
        inflight_bytes=3000,
        append_bytes=1024,
        append_entries=5,
        probe_bytes=300,
        uncommitted_bytes=8000,
        cache_bytes=1500,
        promote_lag=20,
        lease_reads=lease_reads,
    )
