"""The replica's side of a link to a primary, in a thread of its own: what comes goes into the spool.

Promises: a lost connection is made again and goes on where it was (partial resynchronisation); when the source cannot,
the spool begins anew; what is acknowledged to the source is durable at the target.
Units: seconds, bytes. Not here: what is done with it (`from_stream`).
Source: `syncWithMaster`, `replicationSendAck` of Redis 7.0.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from ...errors import EX_IO, Refused
from ...interchange.replication_link import (
    Continued,
    Declined,
    Full,
    Part,
    Payload,
    PayloadBegin,
    PayloadEnd,
    ReplicationLink,
    Stream,
)
from ..reach import told
from .channel import Address, Channel, Denied, packed
from .patience import ForNow, is_for_now
from .spool import SPOOL_BYTES_MAX, Spool

ACK_S: Final = 1.0  # between two acknowledgements, as a replica of Redis does
QUIET_S: Final = 60.0  # a primary sends something every ten seconds (repl-ping-replica-period)
PAUSE_S: Final = 1.0  # before the connection is made again
RECEIVE_BYTES: Final = 1 << 18


class NoReplicas(Refused):
    """The source does not take us for a replica: it has to be read by SCAN."""


class SourceLost(Refused):
    """The source was not there for too long."""

    exit_code = EX_IO


class Receiver(threading.Thread):
    """See above. `applied`: up to where the target has it, set by whoever applies."""

    def __init__(self, address: Address, spool: Spool, retry_s: float, history: tuple[str, int] | None) -> None:
        super().__init__(name="receiver", daemon=True)
        self._address, self._spool, self._retry_s = address, spool, retry_s
        self._history = history  # name and offset to go on from
        self._stop_asked = threading.Event()
        self._moved = threading.Condition()
        self.ready = False  # the file is whole, or was not needed
        self.received = self.size = 0  # of the file
        self.applied = 0
        self.failure: Exception | None = None
        self._full: Full | None = None
        self._begun = False
        self._heard = time.monotonic()
        self._channel: Channel | None = None

    def run(self) -> None:
        try:
            while not self._stop_asked.is_set():
                try:
                    self._connected()
                except OSError as error:
                    if time.monotonic() - self._heard > self._retry_s:
                        raise SourceLost(
                            f"{self._address.where}: nothing came for {self._retry_s:g} s: {told(error)}"
                        ) from error
                self._stop_asked.wait(PAUSE_S)
        except Exception as failure:  # whatever it is, the thread that applies has to know
            self.failure = failure
        finally:
            self._notify()

    def stop(self) -> None:
        self._stop_asked.set()
        self.join()

    def wait(self, seconds: float) -> None:
        """Until something has come, or not."""
        with self._moved:
            self._moved.wait(seconds)

    def acknowledge(self) -> None:
        """Tell the source what is durable; by whoever applies, when it was asked for."""
        channel = self._channel
        if channel is not None and self.ready:
            try:
                channel.socket.sendall(packed([(b"REPLCONF", b"ACK", b"%d" % self.applied)]))
            except OSError:
                pass  # the thread that reads finds out and connects again

    def _notify(self) -> None:
        with self._moved:
            self._moved.notify_all()

    def _connected(self) -> None:
        """One connection until it is lost."""
        with Channel(self._address) as channel:
            channel.all([(b"PING",)])
            port = b"%d" % channel.socket.getsockname()[1]
            channel.all([(b"REPLCONF", b"listening-port", port), (b"REPLCONF", b"capa", b"eof", b"capa", b"psync2")])
            name, offset = self._history or ("?", -2)
            channel.send([(b"PSYNC", name.encode(), b"%d" % (offset + 1))])
            channel.socket.settimeout(ACK_S)
            link = ReplicationLink()
            self._channel = channel
            try:
                self._receive(channel, link)
            finally:
                self._channel = None
                if not self.ready:
                    self._history = None  # half a file is nothing

    def _receive(self, channel: Channel, link: ReplicationLink) -> None:
        said = heard = time.monotonic()
        while not self._stop_asked.is_set():
            try:
                data = channel.socket.recv(RECEIVE_BYTES)
            except TimeoutError:
                if time.monotonic() - heard > QUIET_S:
                    raise
            else:
                if not data:
                    raise ConnectionResetError("the source closed the connection")
                heard = time.monotonic()
                for part in link.feed(data):
                    self._take(part)
                self._notify()
            if time.monotonic() - said >= ACK_S:
                said = time.monotonic()
                self.acknowledge()
            while self._spool.end - self.applied > SPOOL_BYTES_MAX and self.ready and not self._stop_asked.is_set():
                self._stop_asked.wait(ACK_S)
                self.acknowledge()

    def _take(self, part: Part) -> None:
        if not isinstance(part, Declined):
            self._heard, self._begun = time.monotonic(), True
        match part:
            case Full():
                self.ready, self._full, self.received = False, part, 0
                self._spool.begin()
            case Continued():
                assert self._history is not None
                if part.replid and part.replid != self._spool.replid:
                    self._spool.rename(part.replid)
                    self._history = (part.replid, self._history[1])
                self.ready = True
            case Declined():
                self._declined(part.text)
            case PayloadBegin():
                self.size = part.size
            case Payload():
                self._spool.write(part.data)
                self.received += len(part.data)
            case PayloadEnd():
                assert self._full is not None
                self._spool.complete(self._full.replid, self._full.offset)
                self._history = (self._full.replid, self._full.offset)
                self.applied = self._full.offset
                self.ready = True
                self.acknowledge()  # a diskless primary begins its stream only now
            case Stream():
                assert self._history is not None
                self._spool.append(part.data)
                self._history = (self._history[0], self._spool.end)

    def _declined(self, text: str) -> None:
        if is_for_now(text):
            raise ForNow(text)
        if self._begun or self._history:
            raise Denied(f"{self._address.where}: PSYNC is refused: {text}")
        raise NoReplicas(f"{self._address.where}: PSYNC is refused: {text}")


