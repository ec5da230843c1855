"""A snapshot from one directory to another over a wire that the test holds in its hands."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.patience import PATIENCE_S
from tests.sim.disk.keys import MemoryKeys
from tests.sim.disk.simdisk import SimDisk
from tests.unit.engine.lab import Lab, op
from vaylix_resp.engine import entries
from vaylix_resp.engine.replication import stream_pace
from vaylix_resp.engine.replication import streams as module
from vaylix_resp.engine.replication.formation import begin
from vaylix_resp.engine.replication.stream_pace import Limits
from vaylix_resp.engine.replication.streams import NotHere, Receiver, Sender
from vaylix_resp.engine.snapshot_child import make_snapshot
from vaylix_resp.peers.messages import SnapshotChunk, SnapshotDone, SnapshotOffer, SnapshotWant
from vaylix_resp.raft.ready import Persist
from vaylix_resp.raft.types import EntryId, HardState, SnapshotMeta
from vaylix_resp.state.digest import digest_hex
from vaylix_resp.state.nodes import NodeInfo
from vaylix_resp.storage.errors import Corrupt
from vaylix_resp.storage.hard_state import Identity
from vaylix_resp.storage.recovery import Recovered
from vaylix_resp.storage.snapshot import SnapshotReader, received_path
from vaylix_resp.storage.store import Store

CLUSTER = b"c" * 16
MEMBERS = [NodeInfo(node, f"n{node}", "h", 7000 + node, voter=True) for node in (1, 2)]
SENDER, RECEIVER = 1, 2


def member(node: int, writes: int) -> Lab:
    """A member's directory with some data; nobody leads, so the test writes."""
    lab = Lab(SimDisk(), keys=MemoryKeys(), root="data")
    if writes:
        for number in range(0, writes, 50):
            lab.write(*(f"SET key:{at} {'x' * 500}" for at in range(number, number + 50)))
    recovered = Recovered(lab.store.wal, (), 0, 0, None, lab.machine.applied, ())
    begin(lab.store, lab.machine, recovered, Identity(CLUSTER, node, 0), MEMBERS)
    return lab


def snapshot(lab: Lab) -> None:
    store = lab.store
    store.wal.rotate()
    info = make_snapshot(store.disk, store.root, store.keys, lab.machine.applied, 4, lambda _: None)
    store.publish_snapshot(info)


class Wire:
    """Both ends; `lose` says of a message whether it is lost."""

    def __init__(self, old: Store, new: Store) -> None:
        self.lose: Callable[[object], bool] = lambda _: False
        self.held: list[int] = []
        self.sent: list[object] = []
        self.outcome: asyncio.Future[SnapshotMeta | None] = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()
        self.rate, self.log_bytes = 0, 0
        limits = Limits(lambda: self.rate, lambda: self.log_bytes)
        self.needed: Callable[[int], bool] = lambda node: node == RECEIVER
        self.sender = Sender(
            old, self._to(RECEIVER), loop, self._hold, lambda _, meta: self.outcome.set_result(meta),
            self._is_needed, limits,
        )  # fmt: skip
        self.receiver = Receiver(new, self._to(SENDER), loop, 4, limits)

    def _is_needed(self, node: int) -> bool:
        return self.needed(node)

    def _to(self, node: int) -> Any:
        wire = self

        class End:
            def send(self, to: int, message: object) -> bool:
                assert to == node
                wire.sent.append(message)
                if not wire.lose(message):
                    asyncio.get_running_loop().call_soon(wire._arrive, message)
                return True

            def queue_bytes(self, to: int, *, large: bool = False) -> int:
                return 0

        return End()

    def _arrive(self, message: object) -> None:
        if isinstance(message, SnapshotOffer | SnapshotChunk):
            self.receiver.hear(SENDER, message)
        elif isinstance(message, SnapshotWant | SnapshotDone):
            self.sender.hear(RECEIVER, message)

    @contextlib.contextmanager
    def _hold(self, sequence: int) -> Iterator[None]:
        self.held.append(sequence)
        try:
            yield
        finally:
            self.held.append(-sequence)


async def streamed(wire: Wire) -> SnapshotMeta | None:
    job = asyncio.get_running_loop().create_task(wire.receiver.run())
    try:
        wire.sender.begin(RECEIVER)
        wire.sender.begin(RECEIVER)
        return await asyncio.wait_for(wire.outcome, PATIENCE_S)
    finally:
        job.cancel()


async def one_loaded() -> tuple[Any, Wire, SnapshotMeta, Any]:
    """A member that has been sent a snapshot and has loaded it: it, its wire, what was sent, what is ready."""
    old, new = member(SENDER, 50), member(RECEIVER, 0)
    snapshot(old)
    wire = Wire(old.store, new.store)
    meta = await streamed(wire)
    assert meta is not None
    [loaded] = wire.receiver.ready.values()
    return new, wire, meta, loaded


def once(kind: type, number: int) -> Callable[[object], bool]:
    """Loses the message of this kind that comes as the number-th."""
    seen = [0]

    def lose(message: object) -> bool:
        seen[0] += isinstance(message, kind)
        return isinstance(message, kind) and seen[0] == number

    return lose


@pytest.mark.parametrize("lost", [None, (SnapshotChunk, 1), (SnapshotChunk, 2), (SnapshotWant, 2)])
def test_it_arrives_and_takes_over(lost: tuple[type, int] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.02)

    async def run() -> None:
        old, new = member(SENDER, 4000), member(RECEIVER, 0)
        snapshot(old)
        wire = Wire(old.store, new.store)
        if lost is not None:
            wire.lose = once(*lost)
        meta = await streamed(wire)
        assert meta is not None and meta.last.index == old.machine.applied and meta.membership.voters == {1, 2}
        offers = [message for message in wire.sent if isinstance(message, SnapshotOffer)]
        assert len({offer.stream for offer in offers}) == 1, "one stream at a time"
        assert wire.held == [meta.last.index + 1, -(meta.last.index + 1)], "its files stay as long as it takes"
        other = SnapshotMeta("other", meta.last, meta.membership)
        with pytest.raises(NotHere):
            wire.receiver.install(Persist(1, HardState(5), False, None, (), other))
        machine = wire.receiver.install(Persist(1, HardState(5), True, None, (), meta))
        assert digest_hex(machine) == digest_hex(old.machine)
        assert new.store.wal.last == meta.last.index and new.store.wal.hard_state is not None
        new.store.abandon()
        again = Lab(new.sim.kill(), keys=new.keys, root="data", term=False)
        assert digest_hex(again.machine) == digest_hex(old.machine)

    asyncio.run(run())


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long senders have rested; it takes no time here."""
    slept: list[float] = []
    usual = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await usual(0.0 if seconds >= module.REST_S else seconds)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    return slept


def test_a_node_without_a_snapshot_says_so_and_rests(rests: list[float]) -> None:
    async def run() -> None:
        wire = Wire(member(SENDER, 50).store, member(RECEIVER, 0).store)
        assert await streamed(wire) is None and wire.sent == [] and rests == [module.REST_S]

    asyncio.run(run())


def test_a_node_that_cannot_take_it_is_not_sent_it_again_and_again(rests: list[float]) -> None:
    """Its disk has no room: each attempt would fill it anew, and the network as well."""

    async def run() -> None:
        old, new = member(SENDER, 4000), member(RECEIVER, 0)
        snapshot(old)
        size = old.store.manifest.newest.bytes
        new.sim.budget = sum(len(new.sim.read_file(name)) for name in new.sim.names) + size - 1
        files, wire = set(new.sim.names), Wire(old.store, new.store)
        for _ in range(5):
            assert await streamed(wire) is None
            wire.outcome = asyncio.get_running_loop().create_future()
        assert rests == [3.0, 6.0, 12.0, 24.0, 30.0]
        assert not any(isinstance(message, SnapshotChunk) for message in wire.sent) and set(new.sim.names) == files
        told = next(message for message in wire.sent if isinstance(message, SnapshotDone))
        assert f"it takes {size} bytes, and {size - 1} are free" in told.text and not told.ok
        new.sim.budget = None
        assert await streamed(wire) is not None, "there is room now"
        wire.outcome = asyncio.get_running_loop().create_future()
        new.sim.full, wire.receiver.ready = "all", {}
        wire.receiver._offer = None
        assert await streamed(wire) is None and rests[5:] == [3.0], "and it begins anew"

    asyncio.run(run())


def test_a_node_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    monkeypatch.setattr(module, "AGAIN_S", 0.02)

    async def run() -> None:
        old = member(SENDER, 50)
        snapshot(old)
        wire = Wire(old.store, member(RECEIVER, 0).store)
        wire.lose = lambda message: isinstance(message, SnapshotWant)
        assert await streamed(wire) is None and len(wire.held) == 2

    asyncio.run(run())


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_who_does_not_lead_any_more_stops_sending(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the streams of two leaders would push each other aside, and neither come to its end."""
    monkeypatch.setattr(module, "AGAIN_S", 0.02)

    async def run() -> None:
        old, new = member(SENDER, 4000), member(RECEIVER, 0)
        snapshot(old)
        wire = Wire(old.store, new.store)
        chunks = [0]

        def count(message: object) -> bool:
            chunks[0] += isinstance(message, SnapshotChunk)
            return False

        wire.lose = count
        wire.needed = lambda _: when == "meanwhile" and chunks[0] < 1
        assert await streamed(wire) is None
        assert chunks == [1 if when == "meanwhile" else 0] and len(wire.held) == 2

    asyncio.run(run())


@pytest.mark.parametrize(("log_bytes", "arrives"), [(0, True), (10_000_000, True), (10_000, False)])
def test_a_snapshot_whose_log_gets_too_long_is_given_up_for_a_newer_one(log_bytes: int, arrives: bool) -> None:
    async def run() -> None:
        old, new = member(SENDER, 4000), member(RECEIVER, 0)
        snapshot(old)
        wire = Wire(old.store, new.store)
        wire.log_bytes = log_bytes
        write = [True]

        def grow(message: object) -> bool:
            if isinstance(message, SnapshotChunk) and write:
                write.clear()
                # A newer snapshot, made while this one is on its way, and the log between them.
                wal = old.store.wal
                first, body = wal.last + 1, entries.encode((op("SET k " + "x" * 20_000),))
                wal.append(first, 1, wal.term, wal.timestamp_ms, first, 7, body)
                wal.sync()
                wal.rotate()
                info = make_snapshot(old.store.disk, old.store.root, old.store.keys, first, 4, lambda _: None)
                old.store.publish_snapshot(info, keep=lambda all_of_them: all_of_them)
            return False

        wire.lose = grow
        assert (await streamed(wire) is not None) == arrives and not write

    asyncio.run(run())


def test_both_sides_keep_to_their_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of the test: what is slept is what the bytes take, whoever else has the processor."""
    slept: list[float] = []
    now = [50.0]

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(stream_pace.asyncio, "sleep", sleep)

    async def run() -> None:
        rate = [1000]
        pace = stream_pace.Pace(lambda: now[0], lambda: rate[0])
        for _ in range(5):
            await pace.take(500)
        assert now[0] == 52.0 and slept == [0.5] * 4, "the first at once, then half a second each"
        assert pace.slice_bytes == stream_pace.SLICE_BYTES
        rate[0] = 0
        await pace.take(10**9)
        assert now[0] == 52.0
        rate[0] = 10**9
        assert pace.slice_bytes == 3 * 10**8

    asyncio.run(run())


def test_a_slow_pace_cuts_pieces_and_tells_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TELL_S", 0.0)
    monkeypatch.setattr(stream_pace, "SLICE_BYTES", 20_000)

    async def run() -> None:
        old, new = member(SENDER, 400), member(RECEIVER, 0)
        snapshot(old)
        wire = Wire(old.store, new.store)
        taken: list[int] = []

        async def take(size: int) -> None:
            taken.append(size)

        wire.rate = 1
        wire.sender._pace.take = wire.receiver._pace.take = take  # type: ignore[method-assign]
        assert await streamed(wire) is not None
        whole = max(taken)
        assert taken[0] == whole and sum(taken[1:]) == whole and set(taken[1:-1]) == {20_000}
        wants = [message.offset for message in wire.sent if isinstance(message, SnapshotWant)]
        assert wants == [0, *range(20_000, whole, 20_000), whole]

    asyncio.run(run())


def test_more_than_the_inbox_holds_is_dropped_and_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.02)
    monkeypatch.setattr(module, "INBOX_BYTES", module.MIB)

    async def run() -> None:
        old, new = member(SENDER, 4000), member(RECEIVER, 0)
        snapshot(old)
        wire = Wire(old.store, new.store)
        offer = SnapshotOffer(1, "1", EntryId(1, 1), 0, 0, b"d" * 16)
        for _ in range(3):
            wire.receiver.hear(SENDER, offer)
            wire.receiver.hear(SENDER, SnapshotChunk(9, 0, b"x" * module.MIB, 0))
        assert wire.receiver._inbox.qsize() == 2, "one of each kind"
        assert await streamed(wire) is not None and wire.receiver._inbox_bytes == 0

    asyncio.run(run())


def test_what_has_come_in_vain_is_removed() -> None:
    async def run() -> None:
        new, wire, _, loaded = await one_loaded()
        assert new.disk.exists(loaded.received.path)
        again = SnapshotOffer(7, "another", EntryId(99, 9), 0, 10, b"d" * 16)
        await wire.receiver._begin(SENDER, again)
        assert not new.disk.exists(loaded.received.path) and wire.receiver.ready == {}

    asyncio.run(run())


def test_what_the_log_has_overtaken_is_let_go() -> None:
    """The leader that sent it has died, say: nobody will ask for it, and it is as large as the state itself."""

    async def run() -> None:
        new, wire, meta, loaded = await one_loaded()
        wire.receiver.look(meta.last.index - 1)
        assert new.disk.exists(loaded.received.path) and wire.receiver.ready
        wire.receiver.look(meta.last.index)
        await asyncio.get_running_loop().shutdown_default_executor()
        assert not new.disk.exists(loaded.received.path) and not wire.receiver.ready

    asyncio.run(run())


def test_what_cannot_be_loaded_leaves_no_file(monkeypatch: pytest.MonkeyPatch, rests: list[float]) -> None:
    def load(machine: object, reader: SnapshotReader) -> None:
        reader.close()
        raise Corrupt("received", 0, "what this version knows")

    monkeypatch.setattr(module, "load_snapshot", load)

    async def run() -> None:
        old, new = member(SENDER, 50), member(RECEIVER, 0)
        snapshot(old)
        wire = Wire(old.store, new.store)
        assert await streamed(wire) is None
        assert not new.disk.exists(received_path("data", old.machine.applied)) and not wire.receiver.ready

    asyncio.run(run())


def test_a_full_disk_at_the_install_is_no_end() -> None:
    """It is as if it had not come: it is sent again, and old files may go meanwhile."""

    async def run() -> None:
        new, wire, meta, loaded = await one_loaded()
        new.sim.full = "all"
        before = new.store.wal.last
        with pytest.raises(NotHere):
            wire.receiver.install(Persist(1, HardState(5), True, None, (), meta))
        assert new.store.wal.last == before and not new.store.wal.failed
        assert not new.disk.exists(loaded.received.path)

    asyncio.run(run())


def test_a_disk_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        old, new = member(SENDER, 500), member(RECEIVER, 0)
        snapshot(old)
        new.sim.full = "all"
        wire = Wire(old.store, new.store)
        assert await streamed(wire) is None
        assert any(isinstance(message, SnapshotDone) and not message.ok for message in wire.sent)

    asyncio.run(run())
