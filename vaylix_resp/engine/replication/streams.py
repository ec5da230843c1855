"""Snapshots between nodes: a leader streams its newest one to a follower that needs what the log has no more.

    leader    offer -> (want) -> pieces, as fast as the follower's disk and the connection take them -> (done)
    follower  offer -> want from where it stands -> pieces onto the disk, then loaded aside -> done
Then the leader's core tells the follower's core to put it in the place of its log: `Persist.snapshot`, here `install`.

Promises: one stream to a node and one from any node at a time; files are read, written and loaded on threads; what is
streamed stays on the disk meanwhile, and the log behind it, up to a cap: past that a newer snapshot is sent. No more is
on the way than a window: the follower tells how far it is. A connection that breaks costs what was on it. Neither side
moves more bytes a second than it may (`Limits`).
Units: bytes, seconds. Not here: the bytes of a stream (`storage.transfer`), when one is needed (`raft.replication`).
Source: Raft (Ongaro, 2014), chapter 5.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from ...errors import Refused
from ...limits import MIB
from ...observability.logs import get_log
from ...peers.messages import SnapshotChunk, SnapshotDone, SnapshotOffer, SnapshotWant, chunk_checksum
from ...peers.ports import Network
from ...raft.ready import Persist
from ...raft.types import EntryId, Membership, SnapshotMeta
from ...state import image
from ...state.machine import StateMachine
from ...state.nodes import Nodes
from ...storage import transfer
from ...storage.disk import join
from ...storage.errors import DiskFull, IoFailed
from ...storage.manifest import SnapshotInfo
from ...storage.snapshot import DIRECTORY, SnapshotReader
from ...storage.store import Store
from ...storage.transfer import Offer, Received, SnapshotReceiver
from ..boot import load_snapshot, new_machine
from .members import membership_of
from .stream_pace import Limits, Pace

log = get_log("raft")

WINDOW_BYTES: Final = 4 * MIB  # sent and not yet on the disk of the other side
INBOX_BYTES: Final = 2 * WINDOW_BYTES  # what comes beyond that is dropped, and asked for again
TELL_BYTES: Final = MIB  # it says so each time that it has so much more ...
TELL_S: Final = 0.3  # ... or any more, since so long ago
PATIENCE_S: Final = 20.0  # without a word from the other side
LOAD_S: Final = 900.0  # the same, once it has everything and builds the state from it
LOOK_S: Final = 0.02
AGAIN_S: Final = 1.0  # after which the same is said again
REST_S, REST_S_MAX = 3.0, 30.0  # after a failure (a full disk, say), which the next attempt may meet as well; doubled

Hold = Callable[[int], contextlib.AbstractContextManager[None]]  # keep snapshot and log from this sequence on


class Unwanted(Exception):
    """Nobody needs this stream any more, or another one serves better."""


@dataclass
class Sending:
    """To one node. `wanted`: where the follower wants it to go on; `done`: what it has said at the end."""

    stream: int
    begun: bool = False
    sent: int = 0  # where the next piece begins
    taken: int = -1  # how far the follower says that it is
    whole: bool = False  # all of it has been sent
    wanted: int | None = None
    done: bool | None = None
    why: str = ""
    heard: asyncio.Event = field(default_factory=asyncio.Event)


class Sender:
    """The leader's side. `needed`: whether a node still waits for its stream. It does not when this node has ceased to
    lead: two leaders' streams would push each other aside."""

    def __init__(
        self, store: Store, network: Network, loop: asyncio.AbstractEventLoop, hold: Hold,
        sent: Callable[[int, SnapshotMeta | None], None], needed: Callable[[int], bool], limits: Limits,
    ) -> None:  # fmt: skip
        self._store, self._network, self._loop, self._hold, self._sent = store, network, loop, hold, sent
        self._needed, self._limits = needed, limits
        self._pace = Pace(loop.time, limits.rate)  # of all streams together
        self._sending: dict[int, Sending] = {}
        self._rest_s: dict[int, float] = {}  # of nodes whose last stream has failed
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, node: int) -> None:
        """The core asks for a stream to this node; `sent` is called at its end."""
        if node not in self._sending:
            self._sending[node] = sending = Sending(secrets.randbits(63) + 1)
            task = self._loop.create_task(self._run(node, sending))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def hear(self, node: int, message: SnapshotWant | SnapshotDone) -> None:
        sending = self._sending.get(node)
        if sending is None or sending.stream != message.stream:
            return
        if isinstance(message, SnapshotWant):
            if sending.begun and sending.taken < message.offset <= sending.sent:
                sending.taken = message.offset
            else:  # the beginning; or it says the same again, because something was lost
                sending.wanted = message.offset
        else:
            sending.done, sending.why = message.ok, message.text
        sending.heard.set()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _run(self, node: int, sending: Sending) -> None:
        meta: SnapshotMeta | None = None
        try:
            info = self._store.manifest.newest
            if info is None:
                raise Refused("there is none; SAVE makes one")
            with self._hold(info.sequence + 1):
                meta = await self._stream(node, sending, info)
            self._rest_s.pop(node, None)
        except Unwanted as why:
            log.notice(f"a snapshot is not sent to its end: {why}", node=f"{node:016x}")
        except TimeoutError:
            log.warning("a snapshot could not be sent: no answer; it is tried again", node=f"{node:016x}")
        except Refused as failure:
            log.warning(f"a snapshot could not be sent: {failure}; it is tried again", node=f"{node:016x}")
            self._rest_s[node] = min(2 * self._rest_s.get(node, REST_S / 2), REST_S_MAX)
            await asyncio.sleep(self._rest_s[node])  # the core asks again at once
        finally:
            del self._sending[node]
            self._sent(node, meta)

    async def _stream(self, node: int, sending: Sending, info: SnapshotInfo) -> SnapshotMeta:
        membership = await self._loop.run_in_executor(None, self._membership, info)
        last = EntryId(info.sequence, info.term)
        name = f"{info.sequence}-{info.digest[:16]}"
        offer = SnapshotOffer(sending.stream, name, last, info.timestamp_ms, info.bytes, bytes.fromhex(info.digest))
        log.notice("a snapshot is being sent", node=f"{node:016x}", sequence=info.sequence, bytes=info.bytes)
        self._network.send(node, offer)
        while sending.done is None:
            self._check(node, info)
            await self._word(node, sending, offer, info)
            if sending.done is None and sending.wanted is not None:
                offset, sending.wanted = sending.wanted, None
                sending.begun, sending.sent, sending.taken, sending.whole = True, offset, offset, False
                await self._pieces(node, sending, offer, info, offset)
        if not sending.done:
            raise Refused(f"the other node could not take it: {sending.why}")
        return SnapshotMeta(name, last, membership)

    def _check(self, node: int, info: SnapshotInfo) -> None:
        """Raises Unwanted, also when the node could not go on behind this snapshot: the log there would have gone by
        then, or would fill the disk. The newest one is sent to its end: the log behind that stays in any case."""
        if not self._needed(node):
            raise Unwanted("it is not needed any more")
        newest, most = self._store.manifest.newest, self._limits.log_bytes()
        if most and newest is not None and newest.sequence > info.sequence:
            behind = sum(segment.size for segment in self._store.wal.segments() if segment.last > info.sequence)
            if behind > most:
                raise Unwanted("the log behind it is longer than follower-log-max; a newer one is sent")

    async def _word(self, node: int, sending: Sending, offer: SnapshotOffer, info: SnapshotInfo) -> None:
        """Wait until the other side has said something; the last it has heard may have been lost, so it is asked.
        Raises TimeoutError, and as _check does."""
        began = self._loop.time()
        sending.heard.clear()
        while sending.done is None and sending.wanted is None and not sending.heard.is_set():
            try:
                await asyncio.wait_for(sending.heard.wait(), AGAIN_S)
            except TimeoutError:
                loads = sending.whole and sending.taken == sending.sent
                if self._loop.time() - began >= (LOAD_S if loads else PATIENCE_S):
                    raise
                self._check(node, info)
                self._network.send(node, offer)

    async def _pieces(self, node: int, sending: Sending, offer: SnapshotOffer, info: SnapshotInfo, offset: int) -> None:
        """From `offset` to the end, or until the other side wants another place."""
        pieces = await self._loop.run_in_executor(None, lambda: _Pieces(self._reader(info), offset))
        try:
            while (piece := await self._loop.run_in_executor(None, next, pieces, None)) is not None:
                at, data = piece
                while at - sending.taken >= WINDOW_BYTES and sending.wanted is None and sending.done is None:
                    await self._word(node, sending, offer, info)
                while self._network.queue_bytes(node, large=True) > WINDOW_BYTES:
                    self._check(node, info)
                    await asyncio.sleep(LOOK_S)
                await self._pace.take(len(data))
                self._check(node, info)
                if sending.wanted is not None or sending.done is not None:
                    return
                sending.sent = at + len(data)
                if not self._network.send(node, SnapshotChunk(sending.stream, at, data, chunk_checksum(data))):
                    return  # the follower asks again when it is back
            sending.whole = True
        finally:
            pieces.close()

    def _reader(self, info: SnapshotInfo) -> SnapshotReader:
        store = self._store
        path = join(store.root, DIRECTORY, info.file)
        return SnapshotReader(store.disk, path, store.manifest.store_id_bytes, store.keys, info)

    def _membership(self, info: SnapshotInfo) -> Membership:
        """As of the snapshot: it stands at its beginning."""
        reader, nodes = self._reader(info), Nodes()
        try:
            for kind, obj in reader:
                if kind == image.NODES:
                    assert isinstance(obj, list)
                    nodes.load(obj)
                if kind == image.ITEMS:
                    break
        finally:
            reader.close()
        return membership_of(nodes)


class _Pieces(Iterator[tuple[int, bytes]]):
    """The stream of one snapshot; closes its file."""

    def __init__(self, reader: SnapshotReader, offset: int) -> None:
        self._reader = reader
        self._pieces = transfer.send(reader, offset)

    def __next__(self) -> tuple[int, bytes]:
        return next(self._pieces)

    def close(self) -> None:
        self._reader.close()


@dataclass
class Loaded:
    """A snapshot that is here, and the state in it."""

    received: Received
    machine: StateMachine


class Receiver:
    """The follower's side. `ready` holds what has come and may be installed, by the name that the core knows."""

    def __init__(
        self, store: Store, network: Network, loop: asyncio.AbstractEventLoop, databases: int, limits: Limits
    ) -> None:
        self._store, self._network, self._loop, self._databases = store, network, loop, databases
        self._pace = Pace(loop.time, limits.rate)
        self._offer: SnapshotOffer | None = None
        self._from = 0
        self._receiver: SnapshotReceiver | None = None
        self._asked_s, self._told = 0.0, 0
        self._inbox: asyncio.Queue[tuple[int, SnapshotOffer | SnapshotChunk]] = asyncio.Queue()
        self._inbox_bytes = 0
        self._offers: set[int] = set()  # streams whose offers wait in the inbox
        self.ready: dict[str, Loaded] = {}

    def hear(self, node: int, message: SnapshotOffer | SnapshotChunk) -> None:
        if isinstance(message, SnapshotOffer):
            if message.stream in self._offers:
                return
            self._offers.add(message.stream)
        elif self._inbox_bytes + len(message.data) > INBOX_BYTES:
            return  # nobody who keeps to the window comes here; what is missing is asked for
        else:
            self._inbox_bytes += len(message.data)
        self._inbox.put_nowait((node, message))

    def look(self, applied: int) -> None:
        """Now and then: what has come is a second state in memory, so it goes when the log has overtaken it."""
        for name, loaded in list(self.ready.items()):
            if loaded.received.info.sequence <= applied and self.ready.pop(name, None) is not None:
                self._loop.run_in_executor(None, self._remove, loaded.received)

    async def run(self) -> None:
        """Until cancelled: what comes, one after the other."""
        while True:
            node, message = await self._inbox.get()
            try:
                if isinstance(message, SnapshotOffer):
                    self._offers.discard(message.stream)
                    await self._begin(node, message)
                else:
                    self._inbox_bytes -= len(message.data)
                    if self._offer is not None and message.stream == self._offer.stream and node == self._from:
                        await self._take(message)
            except Refused as failure:
                await self._give_up(str(failure))

    async def _begin(self, node: int, offer: SnapshotOffer) -> None:
        """A new stream; of the same snapshot as the last one, it goes on where that one ended."""
        old, self._offer, self._from = self._offer, offer, node
        if offer.name in self.ready:
            self._network.send(node, SnapshotDone(offer.stream, True, ""))
            return
        if self._receiver is None or old is None or (old.name, old.digest) != (offer.name, offer.digest):
            await self._drop()
            await self._loop.run_in_executor(None, self._forget)
            store = self._store
            made = Offer(offer.last.index, offer.last.term, offer.timestamp_ms, offer.digest, offer.size)
            self._receiver = await self._loop.run_in_executor(
                None, lambda: SnapshotReceiver(store.disk, store.root, store.manifest.store_id_bytes, store.keys, made)
            )
            log.notice("a snapshot is coming", node=f"{node:016x}", sequence=offer.last.index, bytes=offer.size)
        self._want()

    def _want(self) -> None:
        assert self._offer is not None and self._receiver is not None
        self._asked_s, self._told = self._loop.time(), self._receiver.offset
        self._network.send(self._from, SnapshotWant(self._offer.stream, self._receiver.offset))

    async def _take(self, chunk: SnapshotChunk) -> None:
        receiver, offer = self._receiver, self._offer
        if receiver is None or offer is None:
            return
        if chunk.offset > receiver.offset:  # something before it was lost
            if self._loop.time() - self._asked_s >= AGAIN_S:
                self._want()
            return
        received = None
        for at in range(0, len(chunk.data), step := self._pace.slice_bytes):
            piece = chunk.data[at : at + step]
            await self._pace.take(len(piece))
            received = await self._loop.run_in_executor(None, receiver.write, chunk.offset + at, piece)
            waited_s = self._loop.time() - self._asked_s
            if receiver.offset - self._told >= TELL_BYTES or (receiver.offset > self._told and waited_s >= TELL_S):
                self._want()
        if received is not None:
            if receiver.offset > self._told:
                self._want()  # for nothing more, but so that the other side knows what it waits for
            self._receiver = None
            try:
                machine = await self._loop.run_in_executor(None, self._load, received)
            except Refused:
                self._remove(received)
                raise
            self.ready[offer.name] = Loaded(received, machine)
            log.notice("a snapshot has come", sequence=received.info.sequence)
            self._network.send(self._from, SnapshotDone(offer.stream, True, ""))

    def _load(self, received: Received) -> StateMachine:
        store, info = self._store, received.info
        machine = new_machine(self._databases)
        load_snapshot(
            machine, SnapshotReader(store.disk, received.path, store.manifest.store_id_bytes, store.keys, info)
        )
        machine.world.index()
        return machine

    async def _give_up(self, why: str) -> None:
        log.warning(f"a snapshot could not be taken: {why}; the leader sends another one")
        if self._offer is not None:
            self._network.send(self._from, SnapshotDone(self._offer.stream, False, why))
        self._offer = None
        await self._drop()

    async def _drop(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            with contextlib.suppress(IoFailed):  # the next start removes it
                await self._loop.run_in_executor(None, receiver.abort)

    def _forget(self) -> None:
        """Another one comes: nobody will ask for those that have come. On a thread; `install` may be on another."""
        while self.ready:
            with contextlib.suppress(KeyError):  # `install` has taken it
                self._remove(self.ready.popitem()[1].received)

    def _remove(self, received: Received) -> None:
        with contextlib.suppress(OSError):  # the next start removes it
            self._store.disk.unlink(received.path)

    def install(self, persist: Persist) -> StateMachine:
        """On the log's thread: the snapshot in the place of the log; the state that takes over. Raises NotHere.

        A full disk as well: until there is room the leader sends it again, and meanwhile old files may be deleted."""
        assert persist.snapshot is not None
        loaded = self.ready.pop(persist.snapshot.name, None)
        if loaded is None:
            raise NotHere(persist.snapshot.name)
        try:
            self._store.install(loaded.received, persist.hard_state)
        except DiskFull as full:
            self._remove(loaded.received)
            raise NotHere(str(full)) from full
        except IoFailed:
            self._remove(loaded.received)
            raise
        return loaded.machine


class NotHere(Exception):
    """The snapshot that is to be installed has not come, or has been given up."""
