"""A data directory as the server makes it, on a simulated disk: real engine, real keyring, tiny segments.

And the sweep: one verb, interrupted at each of its calls in turn, by a power cut, a kill, a failing or a full disk; what is
left is then looked at by the caller's check.
Not here: what the verbs are (`tests/sim/test_sweeps.py`), random lives (`story`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from unittest.mock import patch

from tests.sim.disk.simdisk import MODES, Fault, PowerCut, SimDisk
from tests.sim.thorough import ALL, some_calls, some_ways
from tests.unit.engine.lab import START_MS, Client, Clock, Operation, op
from vaylix_resp.engine import boot
from vaylix_resp.engine.keys import ServerKeys
from vaylix_resp.engine.node import Node
from vaylix_resp.engine.snapshot_child import make_snapshot
from vaylix_resp.errors import Refused
from vaylix_resp.security.master_key import ENVIRONMENT, Source
from vaylix_resp.state.digest import digest_hex
from vaylix_resp.storage.disk import Disk
from vaylix_resp.storage.log_files import WalConfig
from vaylix_resp.storage.manifest import Keep
from vaylix_resp.storage.sealing import Cipher
from vaylix_resp.storage.store import Store
from vaylix_resp.storage.upkeep.verify import verify

ROOT = "data"
STORE_ID = bytes(range(30, 46))
TINY = WalConfig(segment_bytes=6144, first_segment_bytes=5120, spares=1)
DATABASES = 4
MASTER = Source(ENVIRONMENT, "VAYLIX_MASTER_KEY", Random(77).randbytes(32).hex())


class Tokens:
    """Random bytes from a seed, for keys and nonces; one for all lives of a store, so that none comes again."""

    def __init__(self, seed: int = 1) -> None:
        self._rng = Random(seed)

    def __call__(self, size: int) -> bytes:
        return self._rng.randbytes(size)


class Engine:
    """One life. `begin`: with the first entry of a term, as a server does before anybody may write."""

    def __init__(
        self, disk: Disk, root: str = ROOT, *, sealed: bool = True, tokens: Tokens | None = None, begin: bool = True,
        clock: Clock | None = None, source: Source = MASTER, databases: int = DATABASES,
    ) -> None:  # fmt: skip
        self.disk, self.root, self.clock = disk, root, clock or Clock(START_MS)
        self.server_keys = ServerKeys(
            disk, root, source, encryption=sealed, now_ms=self.clock.ms, token=tokens or Tokens(Random().getrandbits(64))
        )
        self.store = Store.open(
            disk, root, new_store_id=STORE_ID, now_ms=self.clock.ms, open_keys=self.server_keys, config=TINY
        )  # fmt: skip
        try:
            self.machine = boot.new_machine(databases)
            self.warnings = boot.recover(self.store, self.machine)
            self.found = digest_hex(self.machine)
            self.node = Node(self.store.wal, self.machine, self.clock, Random(5))
            if begin:
                boot.open_term(self.node)
        except BaseException:
            self.store.abandon()
            raise
        self.told: list[tuple[str, str, object]] = []

    def write(self, *texts: str, db: int = 0) -> None:
        """One batch, acknowledged."""
        self.propose(*(op(text, db) for text in texts))

    def propose(self, *operations: Operation) -> None:
        self.clock.ms += 1000
        Client(self.node, self.told).write(*operations)
        batch = self.node.seal()
        assert batch is not None
        self.node.persist(batch)
        self.node.persisted(batch)

    def snapshot(self, keep: Keep | None = None) -> None:
        self.store.wal.rotate()
        info = make_snapshot(self.disk, self.root, self.store.keys, self.store.wal.last, DATABASES, _unheard)
        self.store.publish_snapshot(info, keep=keep)
        self.store.prune()

    def digest(self) -> str:
        return digest_hex(self.machine)

    def stop(self) -> str:
        digest = self.digest()
        self.store.clean_stop(self.clock.ms)
        return digest

    def abandon(self) -> str:
        """As a kill would."""
        self.store.abandon()
        if isinstance(self.disk, SimDisk):
            self.disk.kill()
        return self.digest()


def _unheard(fraction: float) -> None:
    """Nobody watches."""


def all_of_them(snapshots):  # type: ignore[no-untyped-def]
    """A retention that keeps every snapshot."""
    return snapshots


def filled(disk: SimDisk, *, sealed: bool = True, tokens: Tokens | None = None, stop: bool = False) -> str:
    """Two snapshots, sealed segments before, between and behind them, an active one; the digest of the state."""
    engine = Engine(disk, sealed=sealed, tokens=tokens or Tokens())
    engine.write("SET a 1", "SET b two EX 100000")
    engine.snapshot(keep=all_of_them)
    engine.write("INCR a", "SET c " + "c" * 900)
    engine.store.wal.rotate()
    engine.write("SET d 4", db=2)
    engine.snapshot(keep=all_of_them)
    engine.write("APPEND c more", "DEL b")
    engine.store.wal.rotate()
    engine.write("SET e 5")
    return engine.stop() if stop else engine.abandon()


def started(disk: SimDisk, root: str = ROOT, *, sealed: bool = True) -> str:
    """Start on what there is, without writing; the digest of the state that was found."""
    engine = Engine(disk, root, sealed=sealed, begin=False)
    engine.abandon()
    return engine.found


def assert_verified(disk: SimDisk, root: str = ROOT, *, sealed: bool = True) -> None:
    """`vaylix storage verify` finds nothing wrong."""
    keys = reading_keys_of(disk, root)
    report = verify(disk, root, keys).report
    assert report.whole, [str(problem) for file in report.bad for problem in file.problems]


def reading_keys_of(disk: Disk, root: str = ROOT):  # type: ignore[no-untyped-def]
    from vaylix_resp.engine.keys import reading_keys

    return reading_keys(disk, root, MASTER)


def prepared(*, sealed: bool = True, stop: bool = False) -> tuple[SimDisk, str]:
    disk = SimDisk()
    digest = filled(disk, sealed=sealed, stop=stop)
    return disk.copy(), digest


def starts_with(*allowed: str, sealed: bool = True) -> Callable[[SimDisk, str], None]:
    """The check that most verbs need: the state is one of these, whoever looks, and it can be written to."""

    def check(disk: SimDisk, after: str) -> None:
        if "a kill" not in after:
            assert_verified(disk)  # as it is, before a start has tidied it
            assert started(disk, sealed=sealed) in allowed, f"another state after {after}"
            return
        engine = Engine(disk, sealed=sealed)
        assert engine.found in allowed, f"another state after {after}"
        engine.write("SET later 1")
        digest = engine.abandon()
        assert_verified(disk)
        assert started(disk, sealed=sealed) == digest, after

    return check


def refuses_or_is_empty(disk: SimDisk, root: str) -> None:
    """A start on half a store is refused; on what is not yet a store it makes an empty one."""
    empty = started(SimDisk())
    try:
        assert started(disk, root) == empty
    except Refused:
        return


@contextmanager
def nonces_recorded() -> Iterator[set[tuple[int, int]]]:
    """Fails at once when a data key seals two records under one number."""
    used: set[tuple[int, int]] = set()
    seal = Cipher.seal

    def recording(self: Cipher, number: int, data: bytes, bound: bytes) -> bytes:
        pair = self.fingerprint, number
        assert pair not in used, f"number {number} was used before under key {self.fingerprint:08x}"
        used.add(pair)
        return seal(self, number, data, bound)

    with patch.object(Cipher, "seal", recording):
        yield used


KINDS = ("eio", "enospc")
Check = Callable[[SimDisk, str], None]  # the disk after the interruption, and what interrupted it


def sweep(prepared: SimDisk, verb: Callable[[SimDisk], object], check: Check) -> int:
    """Run `verb` on copies of `prepared`, interrupted at its calls in turn (`thorough`); how many calls it makes.

    Each interruption is a power cut that loses all it can and one of the other modes in turn (with VAYLIX_SWEEP=all: all
    of them), a kill, and in turn an EIO and an ENOSPC (or both).
    """
    whole = prepared.copy()
    verb(whole)
    calls = whole.calls
    assert calls, "a verb that changes nothing needs no sweep"
    check(whole.kill(), "nothing")
    for call in some_calls(range(1, calls + 1)):
        disk = prepared.copy()
        disk.faults[call] = Fault("crash")
        try:
            verb(disk)
        except PowerCut:
            for mode in some_ways(call, (*MODES, None)):
                check(disk.crash(Random(f"{call} {mode}"), mode), f"a power cut at call {call} of {calls} ({mode})")
            check(disk.kill(), f"a kill at call {call} of {calls}")
        else:
            raise AssertionError(f"call {call} of {calls} did not come: the verb is not the same every time")
        for kind in KINDS if ALL else KINDS[call % 2 :][:1]:
            disk = prepared.copy()
            disk.faults[call] = Fault(kind, 0.5)
            try:
                verb(disk)
            except Refused:
                check(disk.crash(Random(call), "lose"), f"{kind} at call {call} of {calls}, then a power cut")
            check(disk.kill(), f"{kind} at call {call} of {calls}")
    return calls
