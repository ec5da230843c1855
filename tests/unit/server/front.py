"""A whole server without sockets and without an event loop: the test decides when anything happens.

    stage = Stage()                       real node, log (on a simulated disk), state machine, Shared
    a = stage.connect()                   a real Connection over a `Wire`, which stands for the transport
    a.send("SET k 1", "GET k")            one packet; a line is split at blanks, a tuple is taken as it is
    a.heard()                             what arrived since: ["+OK", "1"]
    stage.commit()                        seal, write, sync, apply, answer; `seal` and `land` are its two halves
    stage.breathe()                       what an event loop would do next: connections that were closed end

`stage.close()` replays the log from the disk and compares: whatever a test did, a restart comes to the same state.
The cruelty of `Wire`: it takes nothing while `slow` is set, and calls back in the middle of a write, as uvloop does.
"""

from __future__ import annotations

from random import Random
from typing import Any

from tests.sim.disk.keys import MemoryKeys
from tests.sim.disk.simdisk import SimDisk
from tests.unit.engine import lab
from vaylix_resp.config import Settings
from vaylix_resp.engine import boot, entries
from vaylix_resp.engine.founding import found
from vaylix_resp.engine.node import Batch, Node
from vaylix_resp.limits import KIB
from vaylix_resp.server.connection import Connection
from vaylix_resp.server.entrance import cost_of, policy_of
from vaylix_resp.server.shared import Shared
from vaylix_resp.state.digest import digest_hex
from vaylix_resp.storage.log_files import WalConfig
from vaylix_resp.storage.store import Store

START_MS = 1_700_000_000_000
ROOT = "data"
KEYS = MemoryKeys()
CONFIG = WalConfig(segment_bytes=1 << 16, first_segment_bytes=1 << 14, spares=0)

Line = str | tuple[bytes | str | int, ...]


class Clock:
    """Stands still until it is told to move on."""

    def __init__(self) -> None:
        self.ms = START_MS

    def wall_ms(self) -> int:
        return self.ms

    def wall_us(self) -> int:
        return self.ms * 1000

    def now(self) -> float:
        return self.ms / 1000


class Wire:
    """The transport of one connection."""

    HIGH = 1 << 20

    def __init__(self, stage: Stage, peer: tuple[str, int] | str = ("127.0.0.1", 50000)) -> None:
        self.stage, self.peer = stage, peer
        self.protocol: Any = None
        self.taken = bytearray()  # what the client has received
        self.unsent = bytearray()  # what it has not: it does not read
        self.inbox: list[bytes] = []  # sent by the client, not read by the server
        self.slow = self.paused = self.writing_paused = False
        self.closing = self.aborted = self.lost = self.ended = False
        self.high = self.HIGH
        self.writes = 0
        self.on_write: Any = None

    # The server's side.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": self.peer, "sockname": ("127.0.0.1", 6379)}.get(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high or self.HIGH

    def get_write_buffer_size(self) -> int:
        return len(self.unsent)

    def write(self, data: bytes) -> None:
        assert not self.lost, "a write behind connection_lost"
        self.writes += 1
        if self.closing or self.aborted:
            return  # as uvloop: nothing follows a close
        if self.slow:
            self.unsent += data
            if len(self.unsent) > self.high and not self.writing_paused:
                self.writing_paused = True
                self.protocol.pause_writing()
            return
        self.taken += data
        if self.on_write is not None:
            self.on_write(data)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        self.stage.readers.append(self)

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True
        self.unsent.clear()

    def is_closing(self) -> bool:
        return self.closing

    # The client's side.

    def arrive(self, data: bytes) -> None:
        self.inbox.append(data)
        self.deliver()

    def deliver(self) -> None:
        while self.inbox and not self.paused and not self.closing:
            self.protocol.data_received(self.inbox.pop(0))
        if self.ended and not self.inbox and not self.paused and not self.closing:
            self.ended = False
            if not self.protocol.eof_received():
                self.close()

    def read(self) -> None:
        """The client reads again."""
        self.slow = False
        if not self.closing or not self.aborted:
            self.taken += self.unsent
        self.unsent.clear()
        if self.writing_paused and not self.lost:
            self.writing_paused = False
            self.protocol.resume_writing()

    def lose(self, why: Exception | None = None) -> None:
        if not self.lost:
            self.closing = self.lost = True
            self.protocol.connection_lost(why)


class Peer:
    """A client, seen from its end of the wire."""

    def __init__(self, stage: Stage, wire: Wire) -> None:
        self.stage, self.wire = stage, wire
        self.session = Connection(stage.shared)
        wire.protocol = self.session
        self.session.connection_made(wire)  # type: ignore[arg-type]

    def send(self, *lines: Line) -> Peer:
        """All lines in one packet."""
        self.wire.arrive(pack(*lines))
        return self

    def raw(self, data: bytes) -> Peer:
        self.wire.arrive(data)
        return self

    def heard(self) -> list[str]:
        """What has arrived since the last look, in a short form (`show`)."""
        data = self.bytes()
        return show(data)

    def bytes(self) -> bytes:
        data = bytes(self.wire.taken)
        self.wire.taken.clear()
        return data

    def ask(self, *lines: Line) -> list[str]:
        """Send, commit whatever is there to commit, and listen."""
        self.send(*lines)
        self.stage.commit()
        return self.heard()

    def end(self) -> None:
        """Half a close: the client says no more and still listens."""
        self.wire.ended = True
        self.wire.deliver()

    def vanish(self) -> None:
        self.wire.lose(ConnectionResetError())

    @property
    def closed(self) -> bool:
        return self.wire.closing


class Stage:
    def __init__(self, databases: int = 16, **settings: Any) -> None:
        self.settings = Settings()
        self.settings.password_hash_memory, self.settings.password_hash_iterations = 128 * KIB, 1
        for name, value in settings.items():
            assert hasattr(self.settings, name), name
            setattr(self.settings, name, value)
        self.clock = Clock()
        self.databases = databases
        self.disk = SimDisk()
        self.store, self.node = self._start(self.disk)
        self.shared = Shared(self.settings, self.clock, self.node, "0" * 40, AtOnce())
        self.peers: list[Peer] = []
        self.readers: list[Wire] = []
        self.timers: list[Timer] = []
        self.shared.call_later = self._call_later  # type: ignore[method-assign]
        self.bugs: list[str] = []
        self.shared.report_bug = self._bug  # type: ignore[method-assign]

    def _start(self, disk: SimDisk) -> tuple[Store, Node]:
        store = Store.open(
            disk, ROOT, new_store_id=bytes(range(16)), now_ms=self.clock.ms, open_keys=lambda manifest: KEYS, config=CONFIG
        )
        machine = boot.new_machine(self.databases)
        assert boot.recover(store, machine) == []
        node = Node(store.wal, machine, self.clock, Random(7))
        boot.open_term(node)
        if self.settings.requirepass:
            cost, policy = cost_of(self.settings), policy_of(self.settings)
            found(node, [], self.settings.requirepass, policy=policy, cost=cost)
        return store, node

    def _bug(self, name: str, bug: BaseException) -> None:
        self.bugs.append(f"{name}: {bug!r}")

    def _call_later(self, seconds: float, callback: Any) -> Timer:
        timer = Timer(self.clock.now() + seconds, callback)
        self.timers.append(timer)
        return timer

    def connect(self, *lines: Line, peer: tuple[str, int] | str | None = None) -> Peer:
        """A new client; `lines` are what it says first, and their replies are not looked at."""
        client = Peer(self, Wire(self, peer or ("127.0.0.1", 50001 + len(self.peers))))
        self.peers.append(client)
        if lines:
            client.ask(*lines)
        return client

    # The log.

    def seal(self) -> Batch | None:
        return self.node.seal()

    def land(self, batch: Batch) -> None:
        lab.land(self.node, batch)

    def commit(self) -> int:
        """Until nothing waits for the log; how many batches that took."""
        count = 0
        self.breathe()
        while self.node.open.runs:
            batch = self.seal()
            if batch is not None:
                self.land(batch)
            count += 1
            assert count < 10_000, "the log is never done"
            self.breathe()
        return count

    def break_disk(self) -> None:
        """Every fsync of the log fails from now on."""
        self.disk.sync_error_on = ".wal"

    def logged(self) -> list[list[bytes]]:
        """The operations of the open batch."""
        return [list(op) for op in entries.decode(b"".join(p for run in self.node.open.runs for p in run.payload))]

    # Time, and the loop.

    def wait(self, seconds: float) -> None:
        """Time passes: timers ring, housekeeping ticks as often as it would."""
        end_ms = self.clock.ms + round(seconds * 1000)
        while self.clock.ms < end_ms:
            self.clock.ms += min(100, end_ms - self.clock.ms)
            for timer in [timer for timer in self.timers if timer.at <= self.clock.now()]:
                self.timers.remove(timer)
                timer.ring()
            self.shared.tick()
            self.breathe()

    def breathe(self) -> None:
        while True:
            readers, self.readers = self.readers, []
            for wire in readers:
                wire.deliver()
            for client in self.peers:
                wire = client.wire
                if wire.closing and not wire.lost and not wire.unsent:
                    wire.lose()
            if not self.readers:
                return

    def close(self) -> None:
        """The test is over: nothing was reported as a bug, nothing is left hanging, a restart finds the same."""
        assert self.bugs == []
        if self.node.failure is not None or self.node.full:
            return
        self.commit()
        for client in self.peers:
            self.check_idle(client)
        live = digest_hex(self.node.machine)
        assert self.replayed() == live, "memory and log disagree"

    def check_idle(self, client: Peer) -> None:
        session: Any = client.session
        assert not session._flight and not session.barrier and session._depth == 0
        if client.wire.lost:
            assert client.session not in self.shared.parked
            assert client.session not in self.shared.watchers
        elif not client.wire.slow and not self.shared.clients.pause_kind(self.clock.now()) and not session.waiting:
            assert not session._backlog, "requests that nobody will execute"
            assert session._reading, "nobody reads from it any more"

    def replayed(self) -> str:
        disk = self.disk.copy()
        store = Store.open(
            disk, ROOT, new_store_id=bytes(16), now_ms=self.clock.ms, open_keys=lambda manifest: KEYS, config=CONFIG
        )
        machine = boot.new_machine(self.databases)
        boot.recover(store, machine)
        return digest_hex(machine)


class AtOnce:
    """Workers that are never busy: what is handed to them is done before anything else happens."""

    count = 1

    def run(self, work: Any, finished: Any) -> None:
        try:
            result = work()
        except Exception as failure:  # noqa: BLE001 - as the real ones do
            result = failure
        finished(result)

    def close(self) -> None:
        return None


class Timer:
    def __init__(self, at: float, callback: Any) -> None:
        self.at, self._callback = at, callback

    def ring(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()

    def cancel(self) -> None:
        self._callback = None


def pack(*lines: Line) -> bytes:
    return b"".join(_request(line) for line in lines)


def _request(line: Line) -> bytes:
    words = [_word(word) for word in (line.split() if isinstance(line, str) else line)]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _word(word: bytes | str | int) -> bytes:
    return word if isinstance(word, bytes) else str(word).encode()


def show(data: bytes) -> list[str]:
    """Replies in short: `+OK`, `:1`, `-ERR ...`, `_` for null, `*_` for a null array, `[a b]`, `>[a b]`, `{k v}`.

    A bulk string stands as it is. Raises if the bytes are not whole replies.
    """
    found, at = [], 0
    while at < len(data):
        text, at = _frame(data, at)
        found.append(text)
    return found


def frames(data: bytes) -> list[bytes]:
    """Cut into whole replies."""
    found, at = [], 0
    while at < len(data):
        _, end = _frame(data, at)
        found.append(data[at:end])
        at = end
    return found


def _frame(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\r\n", at)
    kind, rest = chr(data[at]), data[at + 1 : end].decode("utf-8", "backslashreplace")
    end += 2
    if kind in "+:-,#(":
        return kind + rest, end
    if kind == "_" or (kind == "$" and rest == "-1"):
        return "_", end
    if kind == "*" and rest == "-1":
        return "*_", end
    size = int(rest)
    if kind in "$=":
        assert data[end + size : end + size + 2] == b"\r\n", data[at : at + 80]
        return data[end : end + size].decode("utf-8", "backslashreplace"), end + size + 2
    assert kind in "*~>%", data[at : at + 80]
    parts = []
    for _ in range(size * 2 if kind == "%" else size):
        part, end = _frame(data, end)
        parts.append(part)
    body = " ".join(parts)
    return (f"{{{body}}}" if kind == "%" else f"{kind.replace('*', '')}[{body}]"), end
