"""The handshake: both nodes prove that they know the secret of the cluster, and say who they are. Pure.

    dialer                                   listener
    HELLO      who I am, nonce        ->
                                      <-     CHALLENGE  who I am, nonce, version to speak
    PROOF      HMAC(secret, dialer)   ->
                                      <-     WELCOME    HMAC(secret, listener)      or REFUSED code, text at any point

Both proofs cover a transcript of everything that both have said (nonces, cluster, ids, lives, versions) and the
certificates of both when TLS is below; so nothing of it can be changed on the way, and a connection cannot be relayed
into another. The dialer proves first: whoever only dials learns nothing that a secret could be tried on. Then each
judges who the other is (`roster`) before a message of Raft is looked at. With a secret, each direction gets a key of
its own from the secret and the transcript; these keys seal every later frame (`wire.Keyed`).
Without a secret the proofs are made with a key that everybody knows: then they are a checksum, and TLS or a loopback
address has to keep strangers out.
Promises: proofs are compared in constant time; what an unproven node says goes into the log bounded and printable, and
all that it learns is what a greeting holds: ids and the name of this node; no text made here holds the secret. A HELLO
keeps its form in all versions to come: what they add stands in `extra`, which is covered by the proofs and passed over
by whoever does not know it.
Not here: sockets and deadlines (`channel`), names in certificates (`tls`).
Source: ISO/IEC 9798-4 (mutual authentication by a check function); RFC 5869 (HKDF).
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .codec import VERSION_MAX, VERSION_MIN
from .fields import ID, NAME, NUMBER, SMALL, U8, Pieces, WireError, blob, one_of, text
from .wire import KEY_BYTES, Frame

HELLO, CHALLENGE, PROOF, WELCOME, REFUSED = 241, 242, 243, 244, 245  # kinds of frames
MAGIC: Final = b"VxPeer\r\n"  # the line end shows transports that meddle with text
NONCE_BYTES: Final = 32
CLUSTER_BYTES: Final = 16
NO_CLUSTER: Final = bytes(CLUSTER_BYTES)
_PROOF_BYTES: Final = 32
_NO_SECRET: Final = bytes(KEY_BYTES)
_EXTRA_BYTES_MAX: Final = 1024
_EXTRA: Final = blob(_EXTRA_BYTES_MAX)
EARLIER_MAX: Final = 64  # processes of a node that it tells of; who has not seen it for longer has to believe it
assert 8 * EARLIER_MAX <= _EXTRA_BYTES_MAX - 128, "the rest of what is said in `extra` needs room, too"
_SECRETS_DIFFER: Final = "the nodes do not have the same cluster-secret, or somebody stands between them"
_TEXT: Final = text(512)
_KNOWS_SECRET: Final = 1  # the only flag


class Purpose(IntEnum):
    TALK = 1  # messages of members
    BULK = 2  # the large ones, so that heartbeats pass
    FOUND = 3  # nodes of a configuration that are about to become a group
    JOIN = 4  # a node that wants to become a member


GUESTS: Final = (Purpose.FOUND, Purpose.JOIN)


class Code(IntEnum):
    """Why a node is refused."""

    GARBAGE = 1
    VERSION = 2
    SECRET = 3  # it does not know ours
    SECRET_MODE = 4  # one side has none
    CLUSTER = 5
    NOT_YET = 6  # this node belongs to no cluster so far
    SELF = 7
    REMOVED = 8
    NAME = 9
    STORE = 10
    LIFE = 11  # an older copy of its data directory, or a second process of it
    BUSY = 12
    CERTIFICATE = 13
    DATABASES = 14


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a node is. `store` is made with a data directory, `incarnation` counts its starts, `boot` names a process.

    A copy of the directory counts on from where it was made; but of the processes since then it has not had these.
    """

    cluster: bytes  # NO_CLUSTER: none so far
    node: int
    name: str
    store: int
    incarnation: int
    boot: int
    understands: int = 1  # the highest cluster version that it knows; 1 if it says nothing of it, as the first did
    in_force: int = 1  # the cluster version that it has come to
    databases: int = 0  # how many it has; 0: it does not say
    earlier: tuple[int, ...] = ()  # its processes before this one, by their `boot`, the last first; as far as it tells

    def __post_init__(self) -> None:
        assert len(self.cluster) == CLUSTER_BYTES, len(self.cluster)

    def __str__(self) -> str:
        return f"{self.name or 'a node without a name'} (id {self.node:016x})"


@dataclass(frozen=True, slots=True)
class Refusal:
    """`ours`: we refuse them; otherwise they refuse us. `proven`: who says so knows the secret."""

    code: Code
    text: str
    ours: bool = True
    proven: bool = True


@dataclass(frozen=True, slots=True)
class Agreed:
    """The outcome of a handshake, the same on both sides but for the point of view."""

    peer: Identity
    purpose: Purpose
    version: int
    seal_key: bytes  # of frames that we send; b"": there is no secret
    open_key: bytes  # of frames that we get


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from a frame: frames to send; then it is agreed, or refused, or neither so far.

    When it is agreed and refused at once, the frames that tell the other side are sealed with the new keys.
    """

    send: tuple[tuple[int, Pieces], ...] = ()
    agreed: Agreed | None = None
    refusal: Refusal | None = None


Judge = Callable[[Identity, Purpose], Refusal | None]


@lru_cache(maxsize=4)
def secret_key(secret: str) -> bytes:
    """The key that stands for a secret; b"" for none. Slow on purpose: whoever guesses has to do it for each guess."""
    if not secret:
        return b""
    raw = secret.encode("utf-8", "surrogateescape")
    return hashlib.scrypt(raw, salt=b"vaylix cluster secret 1", n=1 << 14, r=8, p=1, dklen=KEY_BYTES)


@dataclass(frozen=True, slots=True)
class _Said:
    """A HELLO or CHALLENGE as it was read."""

    identity: Identity
    version_min: int
    version_max: int
    purpose: Purpose
    secret: bool


_CLUSTER: Final = blob(CLUSTER_BYTES)
_NONCE: Final = blob(NONCE_BYTES)
_PURPOSE: Final = one_of(Purpose)
_CODE: Final = one_of(Code)
_VERSIONS: Final = (VERSION_MIN, VERSION_MAX)


def _write_said(me: Identity, purpose: Purpose, versions: tuple[int, int], secret: bool, nonce: bytes) -> bytes:
    out: Pieces = [MAGIC]
    for version in versions:
        SMALL.write(version, out)
    _PURPOSE.write(purpose, out)
    out.append(U8.pack(_KNOWS_SECRET if secret else 0))
    _CLUSTER.write(me.cluster, out)
    ID.write(me.node, out)
    NAME.write(me.name, out)
    ID.write(me.store, out)
    NUMBER.write(me.incarnation, out)
    ID.write(me.boot, out)
    _NONCE.write(nonce, out)
    extra: Pieces = []
    for version in (me.understands, me.in_force):
        SMALL.write(version, extra)
    NUMBER.write(me.databases, extra)
    SMALL.write(len(me.earlier), extra)
    for boot in me.earlier:
        ID.write(boot, extra)
    _EXTRA.write(b"".join(extra), out)
    return b"".join(out)


def _read_extra(extra: bytes) -> dict[str, Any]:
    """Each as far as it is there. What a later version of us adds stands behind them."""
    found: dict[str, Any] = {}
    at = 0
    for name, field in (("understands", SMALL), ("in_force", SMALL), ("databases", NUMBER)):
        if at < len(extra):
            found[name], at = field.read(extra, at)
    if at < len(extra):
        count, at = SMALL.read(extra, at)
        boots = []
        for _ in range(count):
            boot, at = ID.read(extra, at)
            boots.append(boot)
        found["earlier"] = tuple(boots)
    return found


def _read_said(data: bytes) -> _Said:
    if not data.startswith(MAGIC):
        raise WireError("it does not begin as a node does")
    at = len(MAGIC)
    low, at = SMALL.read(data, at)
    high, at = SMALL.read(data, at)
    purpose, at = _PURPOSE.read(data, at)
    (flags,) = U8.unpack_from(data, at)
    cluster, at = _CLUSTER.read(data, at + 1)
    node, at = ID.read(data, at)
    name, at = NAME.read(data, at)
    store, at = ID.read(data, at)
    incarnation, at = NUMBER.read(data, at)
    boot, at = ID.read(data, at)
    nonce, at = _NONCE.read(data, at)
    extra, at = _EXTRA.read(data, at)
    if at != len(data) or len(cluster) != CLUSTER_BYTES or len(nonce) != NONCE_BYTES or not low <= high:
        raise WireError("its greeting is in disorder")
    identity = Identity(cluster, node, name, store, incarnation, boot, **_read_extra(extra))
    return _Said(identity, low, high, purpose, bool(flags & _KNOWS_SECRET))


class Hello:
    """One side of one handshake. `nonce` is NONCE_BYTES of chance that are used only here."""

    def __init__(
        self, me: Identity, judge: Judge, key: bytes, nonce: bytes, *, purpose: Purpose | None = None,
        binding: bytes = b"", versions: tuple[int, int] = _VERSIONS,
    ) -> None:  # fmt: skip
        """`purpose` makes it the dialer's side. `binding`: the certificates, dialer's first; the same on both sides."""
        assert len(nonce) == NONCE_BYTES, len(nonce)
        self._me, self._judge, self._nonce, self._versions = me, judge, nonce, versions
        self._has_secret, self._key = bool(key), key or _NO_SECRET
        self._purpose, self._binding = purpose, binding
        self._expects = HELLO if purpose is None else CHALLENGE
        self._mine = self._theirs = b""
        self._peer: _Said | None = None
        self._version = 0
        self._steps = {
            HELLO: self._on_hello, CHALLENGE: self._on_challenge, PROOF: self._on_proof, WELCOME: self._on_welcome,
        }  # fmt: skip

    @property
    def peer(self) -> Identity | None:
        """Who the other side says it is, proven or not."""
        return self._peer.identity if self._peer is not None else None

    def start(self) -> Step:
        """The dialer's first word."""
        assert self._purpose is not None
        self._mine = _write_said(self._me, self._purpose, self._versions, self._has_secret, self._nonce)
        return Step(((HELLO, [self._mine]),))

    def step(self, frame: Frame) -> Step:
        """Whatever the frame holds, this returns; after a refusal nothing more may be given to it."""
        try:
            if frame.kind == REFUSED:
                return Step(refusal=read_refusal(frame.body, proven=False))
            if frame.kind != self._expects:
                raise WireError(f"a frame of kind {frame.kind} in a handshake that expects {self._expects}")
            return self._steps[frame.kind](frame.body)
        except (WireError, struct.error) as bad:
            what = str(bad) if isinstance(bad, WireError) else "it ends within a field"
            return Step(refusal=Refusal(Code.GARBAGE, what))

    def _on_hello(self, body: bytes) -> Step:
        self._theirs, self._peer = body, _read_said(body)
        refused = self._compare(self._peer)
        if refused is not None:
            return refused
        self._purpose = self._peer.purpose
        self._version = min(self._versions[1], self._peer.version_max)
        versions = (self._version, self._version)
        self._mine = _write_said(self._me, self._purpose, versions, self._has_secret, self._nonce)
        self._expects = PROOF
        return Step(((CHALLENGE, [self._mine]),))

    def _on_challenge(self, body: bytes) -> Step:
        self._theirs, self._peer = body, _read_said(body)
        refused = self._compare(self._peer)
        if refused is not None:
            return refused
        if self._peer.purpose is not self._purpose or self._peer.version_min != self._peer.version_max:
            raise WireError("its answer does not fit our greeting")
        self._version = self._peer.version_max
        self._expects = WELCOME
        return Step(((PROOF, [self._proof(b"dialer")]),))

    def _on_proof(self, body: bytes) -> Step:
        if not self._proves(body, b"dialer"):
            return _refused(Code.SECRET, _SECRETS_DIFFER)
        refusal = self._verdict()
        if refusal is not None:
            return _refused(refusal.code, refusal.text)
        return Step(((WELCOME, [self._proof(b"listener")]),), agreed=self._agreed())

    def _on_welcome(self, body: bytes) -> Step:
        if not self._proves(body, b"listener"):
            return Step(refusal=Refusal(Code.SECRET, _SECRETS_DIFFER))  # it expects keys by now that it cannot have
        refusal = self._verdict()
        if refusal is not None:
            return Step(_refused(refusal.code, refusal.text).send, self._agreed(), refusal)
        return Step(agreed=self._agreed())

    def _verdict(self) -> Refusal | None:
        assert self._peer is not None and self._purpose is not None
        return self._judge(self._peer.identity, self._purpose)

    def _compare(self, peer: _Said) -> Step | None:
        """What has to fit before anything is proven; says nothing that a stranger might not know."""
        ranges = [self._versions, (peer.version_min, peer.version_max)]
        if max(low for low, _ in ranges) > min(high for _, high in ranges):
            if self._expects == HELLO:
                ranges.reverse()
            dialer, listener = (f"{low} to {high}" for low, high in ranges)
            text = f"no version of the protocol in common: the dialer speaks {dialer}, the listener {listener}"
            return _refused(Code.VERSION, text)
        if peer.secret != self._has_secret:
            return _refused(Code.SECRET_MODE, "only one of the two nodes has a cluster-secret; all need the same")
        return None

    def _transcript(self) -> bytes:
        dialed = self._expects == WELCOME
        first, second = (self._mine, self._theirs) if dialed else (self._theirs, self._mine)
        hashed = hashlib.sha256(b"vaylix peers 1")
        for part in (first, second, self._binding):
            hashed.update(len(part).to_bytes(8, "big"))
            hashed.update(part)
        return hashed.digest()

    def _proof(self, side: bytes) -> bytes:
        return hmac.digest(self._key, b"proof of the " + side + self._transcript(), "sha256")

    def _proves(self, body: bytes, side: bytes) -> bool:
        return len(body) == _PROOF_BYTES and hmac.compare_digest(body, self._proof(side))

    def _agreed(self) -> Agreed:
        assert self._peer is not None and self._purpose is not None
        keys = (b"", b"")
        if self._has_secret:
            # The key is uniform (scrypt); the transcript, with both nonces, makes those of each connection differ.
            info = b"vaylix frames: dialer's, listener's"
            both = HKDF(SHA256(), 2 * KEY_BYTES, salt=self._transcript(), info=info).derive(self._key)
            keys = (both[:KEY_BYTES], both[KEY_BYTES:])
            if self._expects == PROOF:
                keys = keys[::-1]
        return Agreed(self._peer.identity, self._purpose, self._version, *keys)


def refusal_frame(code: Code, text: str) -> tuple[int, Pieces]:
    out: Pieces = []
    _CODE.write(code, out)
    _TEXT.write(text, out)
    return REFUSED, out


def read_refusal(body: bytes, *, proven: bool) -> Refusal:
    """What a REFUSED frame says. Raises WireError or struct.error."""
    code, at = _CODE.read(body, 0)
    said, at = _TEXT.read(body, at)
    if at != len(body):
        raise WireError("a refusal is in disorder")
    return Refusal(code, said, ours=False, proven=proven)


def _refused(code: Code, text: str) -> Step:
    return Step((refusal_frame(code, text),), refusal=Refusal(code, text))
