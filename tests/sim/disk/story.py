"""Random lives of the storage on one simulated disk, each ended by whatever comes, and the check in front of the next.

A story knows what the outside knows: which batches were acknowledged, which one was in flight, which were refused for
good. After every end it starts the storage again and demands: it starts; every acknowledged batch is there, byte for
byte; what was in flight is there as a whole or not at all; nothing else is there; and a copy with one bit flipped
is refused or is exactly as good.
Not here: what entries mean (`tests.sim.engine` plays whole engines and compares digests of their state).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from xxhash import xxh3_128_hexdigest

from tests.sim.disk.keys import MemoryKeys
from tests.sim.disk.simdisk import MODES, Fault, PowerCut, SimDisk
from tests.sim.disk.workload import ROOT, Fact, World, fact
from vaylix_resp.errors import Refused
from vaylix_resp.storage.disk import join
from vaylix_resp.storage.errors import DiskFull, IoFailed, Unreadable, WalFailed
from vaylix_resp.storage.manifest import NAME as MANIFEST
from vaylix_resp.storage.upkeep.verify import verify

LIVES = 12
SIZES = (1, 30, 300, 700, 3000, 9000)
FILLERS = (b"x", b"\0", b"\r\n*1\r\n", b"VxB\xa7")
RETRIES = 30  # of a start; each may be interrupted again


class Broken(AssertionError):
    """A promise was broken; the text says which."""


@dataclass
class Known:
    """What the outside knows between two lives."""

    told: list[Fact] = field(default_factory=list)
    in_flight: list[Fact] = field(default_factory=list)
    whole: int = 0  # as many of those in flight were handed to the kernel completely

    def check(self, state: list[Fact], *, powered: bool) -> None:
        """`powered`: the machine stayed on, so that what the kernel had is still there."""
        if state[: len(self.told)] != self.told:
            same = sum(1 for found, told in zip(state, self.told, strict=False) if found == told)
            raise Broken(f"{len(self.told)} batches were acknowledged, the first {same} are as they were")
        rest = state[len(self.told) :]
        if rest != self.in_flight[: len(rest)]:
            raise Broken(f"{len(rest)} batches behind the acknowledged ones, not those that were in flight")
        if powered and len(rest) < self.whole:
            raise Broken(f"{self.whole} batches were written before the process died, {len(rest)} are there")


class Story:
    """`python -m tests.sim.disk` tells many of them."""

    def __init__(self, seed: int) -> None:
        self.seed, self.rng = seed, Random(seed)
        self.relaxed = self.rng.random() < 0.25  # appendfsync everysec: several batches between two syncs
        self.disk = SimDisk()
        self.disk.reverts = self.rng.random() < 0.3
        self.known = Known()
        self.powered = True  # since what is known became known
        self.counts: Counter[str] = Counter()

    def tell(self, lives: int = LIVES) -> Story:
        for _ in range(lives):
            self._plan()
            self._live(self.rng.choice((0, 4, 12, 30)), stop=self.rng.random() < 0.4)
            self._end()
        self._settle()
        world = self._start(self.disk)
        self._check(world)
        world.store.clean_stop(99)
        again = self.disk.crash(self.rng, "lose")  # a clean stop leaves nothing to lose
        world = self._start(again)
        self._check(world)
        world.store.abandon()
        return self

    @property
    def digest(self) -> str:
        """Of all that is promised; the same for the same seed."""
        return xxh3_128_hexdigest(repr(self.known.told).encode())

    def _plan(self) -> None:
        """Faults for the next life: usually one, at a call that it may or may not reach."""
        rng, disk = self.rng, self.disk
        disk.faults = {}
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            at = disk.calls + rng.choice((rng.randrange(1, 40), rng.randrange(20, 120), rng.randrange(20, 300)))
            kind = rng.choice(("crash", "crash", "crash", "eio", "enospc"))
            disk.faults[at] = Fault(kind, rng.choice((0.0, 0.3, 0.7, 0.99)))
        if rng.random() < 0.1:
            disk.bad_reads = {disk.reads + rng.randrange(1, 60)}

    def _live(self, steps: int, *, stop: bool) -> None:
        """One process, from its start to whatever ends it."""
        world = World(self.disk)
        try:
            world.open()
        except PowerCut:
            return self._count("cut while starting")
        except (IoFailed, Unreadable):
            return self._count("start refused by the disk")
        self._check(world)
        try:
            self._check_history(world)
            self._steps(world, steps)
            if stop and not world.store.wal.failed:
                world.store.clean_stop(99)
                self._count("clean stop")
            else:
                world.store.abandon()
        except PowerCut:
            self._count("cut")
        except (WalFailed, IoFailed, Unreadable, DiskFull):
            self._count("disk failed")
            world.store.abandon()
        finally:
            self._learn(world)

    def _steps(self, world: World, count: int) -> None:
        wal, told = world.store.wal, list(world.acknowledged)
        for _ in range(count):
            failed = wal.failed
            try:
                self._step(world)
            except WalFailed:
                self._count("log failed")
                if self.disk.reverts:
                    self.known.whole = 0  # what an fsync failed on is gone from memory as well
                if self.rng.random() < 0.5:
                    return
            if failed and world.acknowledged != told:
                raise Broken(f"a log that has failed ({failed}) took a batch")
            told = list(world.acknowledged)

    def _step(self, world: World) -> None:
        rng, wal = self.rng, world.store.wal
        match rng.randrange(14):
            case 0:
                self._count("snapshot")
                world.snapshot(keep=rng.choice((1, 1, 2, 3)), compress=rng.random() < 0.3)
            case 1:
                self._try(wal.prepare_spare)
            case 2:
                self._try(wal.rotate)
            case 3:
                self._try(wal.probe_space)
            case 4:
                self._sync(world)
            case 5 if rng.random() < 0.2:
                wal.settle()
            case 6:
                self._fill(world)
            case _:
                self._append(world)

    def _append(self, world: World, body: bytes = b"") -> None:
        rng = self.rng
        if not body:
            body = b"*" + rng.choice(FILLERS) * rng.choice(SIZES) if rng.random() < 0.98 else b"*" + b"z" * 20_000
            body += b"%d" % rng.randrange(1000)
        self._count("batch")
        try:
            world.append(body, rng.randrange(1, 5), sync=False)
        except DiskFull:
            world.in_flight.pop()  # the answer was a definite no: it must never be seen again
            self._count("refused for want of room")
            return
        self.known.whole += 1
        if not self.relaxed or rng.random() < 0.3:
            self._sync(world)

    def _fill(self, world: World) -> None:
        """The disk is full in the middle of a large batch; the next one is small, and there is room for it."""
        self.disk.faults[self.disk.calls + 1] = Fault("enospc", self.rng.random())
        self._append(world, b"*" + self.rng.randbytes(4000))
        self._append(world, b"*small")

    def _sync(self, world: World) -> None:
        world.sync()
        self.known.whole = 0

    def _try(self, job: Callable[[], object]) -> None:
        try:
            job()
        except DiskFull:
            self._count("no room")

    def _learn(self, world: World) -> None:
        self.known.told, self.known.in_flight = list(world.acknowledged), list(world.in_flight)

    def _end(self) -> None:
        """The process is gone; sometimes the power as well."""
        rng = self.rng
        if rng.random() < (0.8 if self.disk.off else 0.3):
            self.disk, self.powered = self.disk.crash(rng, rng.choice((*MODES, None))), False
            self._count("power cut")
        else:
            self.disk.kill()
            self._count("process killed")
        if rng.random() < 0.3:
            self._rot()
        if rng.random() < 0.2 and (problem := self._verdict(self.disk)):
            raise Broken(f"`storage verify` takes what a crash left for damage: {problem}")

    def _start(self, disk: SimDisk) -> World:
        disk.kill()
        return World(disk).open()

    def _check(self, world: World) -> None:
        """What was found is from now on what was promised: somebody may have read it."""
        self.known.check(world.state, powered=self.powered)
        self._count("starts")
        self._count("torn batches cut", len(world.recovered.warnings))
        self.known = Known(list(world.state))
        self.powered = True

    def _settle(self) -> None:
        """The same image, started again and again, each time interrupted: the outcome is always the same one."""
        image = self.disk.copy() if self.rng.random() < 0.5 else self.disk.crash(self.rng)
        if not self.powered or image.files() != self.disk.files():
            self.powered = False
        world = self._start(image.copy())
        self.known.check(world.state, powered=self.powered)
        outcome, calls = list(world.state), world.disk.calls  # type: ignore[attr-defined]
        disk = image
        for _ in range(self.rng.randrange(RETRIES // 3)):
            disk.kill()
            disk.faults[self.rng.randrange(1, calls + 1)] = Fault("crash")
            try:
                World(disk).open().store.abandon()
            except PowerCut:
                self._count("cut while starting")
            disk = disk.crash(self.rng)
            world = self._start(disk.copy())
            if world.state != outcome:
                raise Broken(f"an interrupted start found {len(outcome)} batches, the next one {len(world.state)}")
        self.disk, self.powered = disk, False
        self.known = Known(outcome)

    def _check_history(self, world: World) -> None:
        """Every snapshot that is kept, and the log behind it, give the state: what time travel reads."""
        store = world.store
        for info in store.manifest.snapshots:
            reader = store._reader(info)
            facts = [tuple(one) for _, chunk in reader for one in chunk]  # type: ignore[attr-defined]
            reader.close()
            facts += [fact(batch) for batch in world.read_batches(info.sequence)]
            if facts != world.state:
                raise Broken(f"snapshot {info.sequence} and the log behind it give {len(facts)} batches of another state")
            self._count("snapshots replayed")

    def _rot(self) -> None:
        """One bit of a copy flips: the start is refused, or finds what it may find."""
        disk = self.disk.copy()
        if not any(disk.files().values()):
            return None
        path, bit = disk.rot(self.rng, ROOT)
        verdict = self._verdict(disk)
        try:
            world = World(disk).open()
        except Refused:
            if verdict == "":
                raise Broken(f"bit {bit} of {path} flipped: the start is refused, and `storage verify` finds nothing") from None
            return self._count("flips refused")
        try:
            self.known.check(world.state, powered=False)
        except Broken as broken:
            raise Broken(f"bit {bit} of {path} flipped: {broken}") from None
        return self._count("flips without effect")

    def _verdict(self, disk: SimDisk) -> str | None:
        """What `storage verify` says: "" if all is well, None if there is no store yet."""
        disk = disk.copy()
        if not disk.exists(join(ROOT, MANIFEST)):
            return None
        bad = verify(disk, ROOT, MemoryKeys()).report.bad
        self._count("verifications")
        return "; ".join(str(problem) for file in bad for problem in file.problems)

    def _count(self, what: str, number: int = 1) -> None:
        self.counts[what] += number
