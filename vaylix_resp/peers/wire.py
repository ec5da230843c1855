"""Frames: how messages are told apart on a connection between nodes, and how damage is noticed.

    length u32 | format u8 | kind u8 | 0 u16 | seal, 16 bytes | body          length: of all that follows it

The seal covers how many frames went before in this direction, the header and the body. Before the handshake is
complete, and when the cluster has no secret, it is XXH3-128: it finds damage and our own mistakes. With a secret it is
HMAC-SHA256, cut to 16 bytes, under a key that only this connection and direction have: nobody without the secret can
make, change, repeat, leave out or move a frame. (Keyed BLAKE2b takes twice as long here: 1.4 ms for 1 MiB.)
Promises: a length is looked at before anything is gathered for it; nothing is taken out of a frame before its seal has
been checked; memory grows with the bytes that came, not with what they claim.
Units: bytes. Not here: what a body means (`codec`), the handshake (`hello`), encryption (TLS below all this).
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple, Protocol

import xxhash

from ..limits import BATCH_BODY_BYTES_MAX, KIB
from .fields import WireError

FORMAT: Final = 1
SEAL_BYTES: Final = 16
KEY_BYTES: Final = 32
HELLO_BODY_MAX: Final = 4 * KIB  # before the other side has proved who it is
GUEST_BODY_MAX: Final = 64 * KIB  # from a node that is no member
BODY_MAX: Final = BATCH_BODY_BYTES_MAX + 64 * KIB  # the largest batch, and what stands around it

JOINED_BYTES_MAX: Final = 4 * KIB  # copying so much is cheaper than handling its pieces one by one

_START: Final = Struct(">IBBH")
_NUMBER: Final = Struct(">Q")
HEADER_BYTES: Final = _START.size + SEAL_BYTES
_BESIDE_BODY: Final = HEADER_BYTES - 4  # of what the length counts


class Seal(Protocol):
    """One direction of one connection; `of` counts."""

    def of(self, start: bytes, pieces: Sequence[bytes]) -> bytes:
        """The seal of the next frame."""


class Checksum:
    """Finds damage, not malice."""

    __slots__ = ("_frames",)

    def __init__(self) -> None:
        self._frames = 0

    def of(self, start: bytes, pieces: Sequence[bytes]) -> bytes:
        hashed = xxhash.xxh3_128(_NUMBER.pack(self._frames))
        self._frames += 1
        hashed.update(start)
        for piece in pieces:
            hashed.update(piece)
        return hashed.digest()


class Keyed:
    """Cannot be made without the key."""

    __slots__ = ("_base", "_frames")

    def __init__(self, key: bytes) -> None:
        assert len(key) == KEY_BYTES, len(key)
        self._base = hmac.new(key, digestmod="sha256")
        self._frames = 0

    def of(self, start: bytes, pieces: Sequence[bytes]) -> bytes:
        hashed, begin = self._base.copy(), _NUMBER.pack(self._frames) + start
        self._frames += 1
        if len(pieces) == 1 and len(pieces[0]) <= JOINED_BYTES_MAX:
            hashed.update(begin + pieces[0])
            return hashed.digest()[:SEAL_BYTES]
        hashed.update(begin)
        for piece in pieces:
            hashed.update(piece)
        return hashed.digest()[:SEAL_BYTES]


def frame(kind: int, pieces: Sequence[bytes], seal: Seal) -> list[bytes]:
    """The pieces of a frame; large bodies are not copied. To be sent in the order in which they are made."""
    length = sum(map(len, pieces))
    assert length <= BODY_MAX, length
    start = _START.pack(_BESIDE_BODY + length, FORMAT, kind, 0)
    if length > JOINED_BYTES_MAX:
        return [start + seal.of(start, pieces), *pieces]
    body = b"".join(pieces)
    return [b"".join((start, seal.of(start, (body,)), body))]


class Frame(NamedTuple):
    kind: int
    body: bytes


class FrameReader:
    """Bytes in, frames out: feed(), then next() until None. `seal` and `body_max` may be changed between two frames."""

    __slots__ = ("_at", "_data", "_have", "_need", "_rest", "_start", "body_max", "seal")

    def __init__(self) -> None:
        self.seal: Seal = Checksum()
        self.body_max = HELLO_BODY_MAX
        self._data, self._at = b"", 0
        self._rest: list[bytes] = []  # arrived behind _data; joined to it once, when a frame is whole
        self._have = 0  # bytes of both that are not used up
        self._need = _START.size  # before anything can be done with them
        self._start: tuple[int, int] | None = None  # kind and length of the body, once the header is known

    def feed(self, data: bytes) -> None:
        self._have += len(data)
        if self._at == len(self._data):
            self._data, self._at = data, 0
        else:
            self._rest.append(data)

    def next(self) -> Frame | None:
        """The next whole frame. Raises WireError, after which the connection is of no use."""
        if self._start is None:
            if self._have < self._need:
                return None
            self._join()
            self._start = self._read_start()
            self._need = HEADER_BYTES + self._start[1]
        if self._have < self._need:
            return None
        self._join()
        kind, _ = self._start
        at, end = self._at, self._at + self._need
        start, sealed = self._data[at : at + _START.size], self._data[at + _START.size : at + HEADER_BYTES]
        body = self._data[at + HEADER_BYTES : end]
        if not hmac.compare_digest(self.seal.of(start, (body,)), sealed):
            raise WireError("a frame does not match its seal: it was damaged, forged or repeated on the way")
        self._have -= self._need
        self._at, self._need, self._start = end, _START.size, None
        if end == len(self._data):
            self._data, self._at = b"", 0
        return Frame(kind, body)

    def _join(self) -> None:
        if self._rest:
            self._data = b"".join((self._data[self._at :], *self._rest))
            self._at = 0
            self._rest.clear()

    def _read_start(self) -> tuple[int, int]:
        length, form, kind, zero = _START.unpack_from(self._data, self._at)
        if length < _BESIDE_BODY or length - _BESIDE_BODY > self.body_max:
            raise WireError(f"a frame of {length} bytes where {self.body_max + _BESIDE_BODY} are the most")
        if form != FORMAT or zero:
            raise WireError(f"a frame of format {form}; this build speaks {FORMAT}")
        return kind, length - _BESIDE_BODY


_STRANGERS: Final = (
    (b"\x16\x03", "it speaks TLS, and tls-cluster is not set here"),
    (b"\x15\x03", "it speaks TLS, and tls-cluster is not set here"),
    (b"-", "a server for clients of Redis answers; its raft port is another"),
    (b"*", "it is a client of Redis; the port for clients is another"),
    (b"PING", "it is a client of Redis; the port for clients is another"),
    (b"GET ", "it speaks HTTP"),
    (b"POST ", "it speaks HTTP"),
    (b"HEAD ", "it speaks HTTP"),
    (b"OPTIONS ", "it speaks HTTP"),
)


def stranger(first: bytes) -> str:
    """What somebody is who begins like this, if it is a common mistake; otherwise ""."""
    return next((what for begin, what in _STRANGERS if first.startswith(begin)), "")
