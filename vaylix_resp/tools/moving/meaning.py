"""What a command of an append only file or a replication stream is at the target: the same, another, none or unknown.

While a stream is being followed no key of the target may expire by itself: the stream comes late, and what it does to a
key is meant for the key as it was at the source (a session whose expiry is moved every minute would be gone here before
the command that moves it has come). So expiries are written SHIFT_MS later than they are, and moved back when the last
command has been applied (`settle`). What expires at the source meanwhile comes as a DEL, as it does to every replica.

Promises: time that is relative becomes absolute by the time at which the command was read; a piece of an operation is
never larger than PIECE_BYTES, so that it fits into a transaction.
Units: milliseconds since the epoch, bytes. Pure. Not here: how often an operation is applied (`target`).
Source: `setGenericCommand`, `expireGenericCommand`, `propagateDeletion` of Redis 7.0; `replicationFeedSlaves` of 6.0,
which sends expiries as they came.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ...commands.arguments import INT64_MAX
from ...errors import CommandError, printable
from ...interchange.dump_payload import deserialize
from ...limits import MIB, VALUE_BYTES_MAX

SHIFT_MS: Final = 1 << 50  # 35,000 years: no deadline that somebody means is so late
PIECE_BYTES: Final = 8 * MIB  # of one operation; a transaction takes twice as much
PART_KEY: Final = b"{vaylix:import}:part"  # where a value grows that is larger than a piece, until it is renamed

Words = tuple[bytes, ...]


class Operation(NamedTuple):
    db: int
    words: Words


@dataclass(frozen=True, slots=True)
class Unknown:
    """What cannot be taken: `kind` for the table, a key if it has one, and why."""

    kind: str
    key: bytes
    db: int
    instead: tuple[Operation, ...] = ()  # what of it can be done all the same: a string that it overwrites is gone


class Act(NamedTuple):
    """What one command comes to."""

    operations: tuple[Operation, ...] = ()
    unknown: Unknown | None = None
    begins: bool = False  # MULTI
    ends: bool = False  # EXEC
    wants_ack: bool = False


NOTHING: Final = Act()


def shifted(at_ms: int) -> int:
    """Later, unless that is later than any time: what ends at the end of time does not end meanwhile."""
    return at_ms + SHIFT_MS if at_ms <= INT64_MAX - SHIFT_MS else at_ms


def deadline(stored_ms: int) -> int:
    """What a shifted expiry is, also of one that has been moved back; -1 and -2 of PEXPIRETIME stay."""
    return stored_ms - SHIFT_MS if stored_ms >= SHIFT_MS else stored_ms


@dataclass(slots=True)
class Meaning:
    """The interpreter of one stream. `db` follows its SELECTs; `now_ms`: when the commands were read."""

    db: int = 0
    now_ms: int = 0
    skip: bool = False  # unknown commands are left out, so a RENAME may find nothing
    counts: dict[str, int] = field(default_factory=dict)

    def of(self, words: Words) -> Act:
        name = words[0].upper()
        if name in _SAME:
            return Act(tuple(self._same(name, words)))
        if name in _TIMED:
            return _TIMED[name](self, words)
        if name == b"SELECT":
            self.db = int(words[1])
            return NOTHING
        if name in (b"MULTI", b"EXEC"):
            return Act(begins=name == b"MULTI", ends=name == b"EXEC")
        if name == b"REPLCONF":
            return Act(wants_ack=len(words) > 1 and words[1].upper() == b"GETACK")
        if name in _IGNORED:
            return NOTHING
        return Act(unknown=self._unknown(name, words))

    def _same(self, name: bytes, words: Words) -> list[Operation]:
        """As it is; in pieces if it is large."""
        plain = [Operation(self.db, words)]
        if name in (b"RENAME", b"COPY") and self.skip:
            return self._overwriting(name, words) + plain
        if name == b"SWAPDB":  # our own key is in one of them, and is written again behind this
            return [*plain, *(Operation(int(db), (b"DEL", MARK_KEY)) for db in words[1:3])]
        if sum(map(len, words)) <= PIECE_BYTES:
            return plain
        if name in (b"SETNX", b"GETSET"):
            return set_pieces(self.db, words[1], words[2], ())
        if name in (b"MSET", b"MSETNX"):
            pairs = zip(words[1::2], words[2::2], strict=True)
            return [one for key, value in pairs for one in set_pieces(self.db, key, value, ())]
        if name == b"APPEND":
            return [Operation(self.db, (b"APPEND", words[1], piece)) for piece in _cut(words[2])]
        if name == b"SETRANGE":
            start = int(words[2])
            return [
                Operation(self.db, (b"SETRANGE", words[1], b"%d" % (start + at * PIECE_BYTES), piece))
                for at, piece in enumerate(_cut(words[3]))
            ]
        return plain

    def _overwriting(self, name: bytes, words: Words) -> list[Operation]:
        """What it overwrites is gone, also when the source of it is of a type that was left out."""
        options = [word.upper() for word in words[3:]]
        if name == b"COPY" and b"REPLACE" not in options:
            return []
        db = int(words[3 + options.index(b"DB") + 1]) if b"DB" in options else self.db
        return [] if (db, words[2]) == (self.db, words[1]) else [Operation(db, (b"DEL", words[2]))]

    def _unknown(self, name: bytes, words: Words) -> Unknown:
        kind = "command " + printable(name, 40)
        place = _OVERWRITES.get(name, 0)
        if name == b"SORT" and b"STORE" in (upper := [word.upper() for word in words]):
            place = upper.index(b"STORE") + 1
        if name == b"PFADD" and len(words) > 1:
            place = 1
        instead = (Operation(self.db, (b"DEL", words[place])),) if 0 < place < len(words) else ()
        return Unknown(kind, words[place or 1] if len(words) > 1 else b"", self.db, instead)

    # Commands that hold a time.

    def _set(self, words: Words) -> Act:
        rest, at_ms = self._time_of(words[3:])
        keep = any(word.upper() == b"KEEPTTL" for word in rest)
        if len(words[2]) > PIECE_BYTES:
            return Act(tuple(set_pieces(self.db, words[1], words[2], _until(at_ms), in_place=keep)))
        return Act((Operation(self.db, (b"SET", words[1], words[2], *rest, *_until(at_ms))),))

    def _time_of(self, options: Words) -> tuple[Words, int | None]:
        """The options without EX, PX, EXAT and PXAT, and the end that these named."""
        rest: list[bytes] = []
        at_ms = None
        words = iter(options)
        for word in words:
            if (unit := _UNITS.get(word.upper())) is not None:
                at_ms = self._absolute(next(words), *unit)
            else:
                rest.append(word)
        return tuple(rest), at_ms

    def _absolute(self, raw: bytes, unit_ms: int, relative: bool) -> int:
        return int(raw) * unit_ms + (self.now_ms if relative else 0)

    def _setex(self, words: Words) -> Act:
        unit = _UNITS[b"PX" if words[0].upper() == b"PSETEX" else b"EX"]
        until = _until(self._absolute(words[2], *unit))
        return Act(tuple(set_pieces(self.db, words[1], words[3], until)))

    def _getex(self, words: Words) -> Act:
        rest, at_ms = self._time_of(words[2:])
        return Act((Operation(self.db, (b"GETEX", words[1], *rest, *_until(at_ms))),))

    def _expire(self, words: Words) -> Act:
        at_ms = self._absolute(words[2], *_EXPIRES[words[0].upper()])
        return Act((Operation(self.db, (b"PEXPIREAT", words[1], b"%d" % shifted(at_ms), *words[3:])),))

    def _restore(self, words: Words) -> Act:
        """Its payload holds any type; of a string the value is written."""
        options = [word.upper() for word in words[4:]]
        gone = (Operation(self.db, (b"DEL", words[1])),)
        if words[3][:1] != b"\0":
            return Act(unknown=Unknown("RESTORE of another type", words[1], self.db, gone))
        try:
            value = deserialize(words[3])
        except CommandError:
            return Act(unknown=Unknown("RESTORE that cannot be read", words[1], self.db, gone))
        at_ms = int(words[2]) or None
        if at_ms is not None and b"ABSTTL" not in options:
            at_ms += self.now_ms
        return Act(tuple(set_pieces(self.db, words[1], value, _until(at_ms))))


def set_pieces(db: int, key: bytes, value: bytes, options: Words, *, in_place: bool = False) -> list[Operation]:
    """SET, in pieces if the value is large: it grows under another name and appears at once, or grows `in_place`.

    With NX among `options` a key that is there stays. Not RESTORE: it takes the server a third longer (46 us a key
    against 36, 64-byte values), as it has to check and read a payload that we had to make.
    """
    if len(value) <= PIECE_BYTES:
        return [Operation(db, (b"SET", key, value, *options))]
    name = key if in_place else PART_KEY
    first, *others = _cut(value)
    keep = (b"KEEPTTL",) if in_place else tuple(word for word in options if word != b"NX")
    grown = [
        Operation(db, (b"SET", name, first, *keep)),
        *(Operation(db, (b"APPEND", name, piece)) for piece in others),
    ]
    if in_place:
        return grown
    if b"NX" in options:
        return [*grown, Operation(db, (b"RENAMENX", name, key)), Operation(db, (b"DEL", name))]
    return [*grown, Operation(db, (b"RENAME", name, key))]


def _cut(value: bytes) -> list[bytes]:
    return [value[at : at + PIECE_BYTES] for at in range(0, len(value), PIECE_BYTES)]


def _until(at_ms: int | None) -> Words:
    return () if at_ms is None else (b"PXAT", b"%d" % shifted(at_ms))


def too_large(words: Sequence[bytes]) -> bool:
    """Whether a word is longer than any value may be at the target."""
    return max(map(len, words)) > VALUE_BYTES_MAX


# How far a target is, beside the data: written in the transaction that it speaks of.
MARK_KEY: Final = b"{vaylix:import}"
OWN: Final = frozenset((MARK_KEY, PART_KEY))

_SAME: Final = frozenset(
    b"""
    APPEND BITFIELD BITOP COPY DECR DECRBY DEL FLUSHALL FLUSHDB GETDEL GETSET INCR INCRBY INCRBYFLOAT MOVE MSET MSETNX
    PERSIST RENAME RENAMENX SETBIT SETNX SETRANGE SWAPDB UNLINK
    """.split()
)
_IGNORED: Final = frozenset(b"PING PUBLISH SPUBLISH SCRIPT".split())  # nothing of it is data
_UNITS: Final = {b"EX": (1000, True), b"PX": (1, True), b"EXAT": (1000, False), b"PXAT": (1, False)}
_EXPIRES: Final = {
    b"EXPIRE": (1000, True), b"PEXPIRE": (1, True), b"EXPIREAT": (1000, False), b"PEXPIREAT": (1, False),
}  # fmt: skip
_TIMED: Final[dict[bytes, Callable[[Meaning, Words], Act]]] = {
    b"SET": Meaning._set,
    b"SETEX": Meaning._setex,
    b"PSETEX": Meaning._setex,
    b"GETEX": Meaning._getex,
    b"RESTORE": Meaning._restore,
    b"RESTORE-ASKING": Meaning._restore,
    **dict.fromkeys(_EXPIRES, Meaning._expire),
}
# Unknown commands that may overwrite a string, and where its name stands.
_OVERWRITES: Final = {
    **dict.fromkeys(b"SINTERSTORE SUNIONSTORE SDIFFSTORE ZINTERSTORE ZUNIONSTORE ZDIFFSTORE".split(), 1),
    **dict.fromkeys(b"ZRANGESTORE GEOSEARCHSTORE".split(), 1),
}
