"""An RDB file, of Redis 1 to 8.4 or of Valkey to 9, read in pieces: bytes in, records out.

    reader = RdbReader("dump.rdb")
    while chunk := file.read(CHUNK):
        for record in reader.feed(chunk):      # Header, Aux, Select, Resize, Key, Unsupported, End
            ...
    reader.close(alone=True)                   # RdbError if the end was not there, or more than the file

`feed` takes the chunk at once and gives the records one by one; those that nobody has asked for come with the next
`feed`. How the bytes are cut makes no difference. After End nothing is read: `done` is True, `rest` has what was fed
behind it (in an append only file the commands, from a primary its stream).
Promises: no more is held than one value of at most `value_bytes_max`, its compressed form, and what is fed; longer
strings and values of other types are stepped over, however large, and reported. Whatever is damaged gives RdbError
with its offset; what the file's checksum covers is certain only with End, as the checksum stands there.
Units: sizes and offsets in bytes; ends of keys in ms since the epoch.
Not here: reading files and sockets, whether a key has expired, the bounds of databases and keys of a target.
Source: `rdbLoadRio` of Redis 7.4, src/rdb.c; for `VALKEY080` that of Valkey 9.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import anycrc

from ..errors import EX_DATA, Refused
from ..limits import VALUE_BYTES_MAX
from . import rdb_shapes as shapes
from .rdb_shapes import STRING_TYPE, Shape, Step, Type, Walk, walk
from .rdb_strings import Malformed, Short, TooLong, read_length, read_string

REDIS_VERSION_MAX: Final = 12  # of Redis 7.4 to 8.4
VALKEY_VERSION: Final = 80  # of Valkey 9
CHECKSUM_SINCE: Final = 5
CHECKSUM_BYTES: Final = 8
HEAD_BYTES: Final = 9
MARKS_MAX: Final = 3  # in front of a key: when it ends, how old it is, how often it is used
NAME_BYTES_MAX: Final = VALUE_BYTES_MAX  # a longer one fits no request

EOF, SELECT_DB, EXPIRE_S, EXPIRE_MS, RESIZE_DB, AUX = 255, 254, 253, 252, 251, 250
FREQ, IDLE, MODULE_AUX, FUNCTION_PRE_GA, FUNCTION, SLOT_INFO, SLOT_IMPORT = 249, 248, 247, 246, 245, 244, 243
_HEAD: Final = re.compile(rb"REDIS(\d{4})|VALKEY(\d{3})")
_KNOWN: Final = {"redis": range(1, REDIS_VERSION_MAX + 1), "valkey": (VALKEY_VERSION,)}
_EXPIRE_BYTES: Final = {EXPIRE_S: 4, EXPIRE_MS: 8}

crc64: Final[Callable[..., int]] = anycrc.Model("CRC64-REDIS").calc


class RdbError(Refused):
    """Damage, or a version or a type that is not known. One line: source, offset, what was expected there."""

    exit_code = EX_DATA

    def __init__(self, source: str, offset: int, expected: str) -> None:
        super().__init__(f"{source}: offset {offset}: expected {expected}")
        self.source, self.offset, self.expected = source, offset, expected


@dataclass(frozen=True, slots=True)
class Header:
    """The first record. `origin` is "redis" or "valkey"."""

    version: int
    origin: str


@dataclass(frozen=True, slots=True)
class Aux:
    """A fact about the file: redis-ver, ctime, used-mem, repl-id, aof-base, ... None: longer than a value may be."""

    name: bytes
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Select:
    """The keys that follow are of this database."""

    db: int


@dataclass(frozen=True, slots=True)
class Resize:
    """How many keys follow in this database, and how many of them expire; a hint."""

    keys: int
    expiring: int


class Key(NamedTuple):
    """A string. `expire_at_ms` may be in the past: whoever saves a file keeps keys that nobody has removed yet."""

    db: int
    name: bytes
    value: bytes
    expire_at_ms: int | None
    idle_s: int | None
    frequency: int | None


@dataclass(frozen=True, slots=True)
class Unsupported:
    """What this server cannot keep, stepped over: `kind` is the type as TYPE says it, or what else there is in files.

    list, set, zset, hash, stream, module NAME: a key. string: a key whose value, of `size` bytes, is too long.
    function, module data NAME, slot import: no key, `name` is None.
    """

    db: int
    kind: str
    name: bytes | None
    expire_at_ms: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class End:
    """The last record. `checked`: there was a checksum, and it is right."""

    checked: bool


Record = Header | Aux | Select | Resize | Key | Unsupported | End


class RdbReader:
    """See above. `source` begins the texts of errors."""

    def __init__(self, source: str, value_bytes_max: int = VALUE_BYTES_MAX) -> None:
        self.done = False
        self._source, self._limit = source, value_bytes_max
        self._data = b""  # what is being read; it began at `_base` of the file, `_at` of it has been read
        self._base = self._at = 0
        self._owed = 0  # bytes that are to come, and to be stepped over
        self._waiting: list[bytes] = []  # what has come since; joined with `_data` when there is enough of it
        self._waiting_bytes = 0
        self._needed = 0  # bytes that `_data` has to have before it is worth looking at
        self._crc = 0  # of all before `_base`
        self._db = 0
        self._version = 0
        self._types: dict[int, Type] = shapes.TYPES
        self._next: Callable[[], Record | None] = self._header
        self._walk: Walk | None = None
        self._step: Step | None = None
        self._found: Unsupported | None = None  # what is being stepped over

    @property
    def position(self) -> int:
        """How much of the file the records so far were."""
        return self._base + self._at

    @property
    def rest(self) -> bytes:
        """What was fed behind the end of the file; b"" before it is done."""
        return b"".join([self._data[self._at :], *self._waiting]) if self.done else b""

    def feed(self, chunk: bytes) -> Iterator[Record]:
        """Take the next bytes, and give the records that are complete by them."""
        if self._owed:
            self._cut()
            paid = min(self._owed, len(chunk))
            self._crc = crc64(memoryview(chunk)[:paid], self._crc)
            self._base += paid
            self._owed -= paid
            self._needed = 1 if self._owed else 0  # with nothing owed, what was stepped over can be reported
            chunk = chunk[paid:]
        if chunk:
            self._waiting.append(chunk)
            self._waiting_bytes += len(chunk)
        return self._records()

    def close(self, *, alone: bool = False) -> None:
        """There is no more. Raises RdbError if there should have been; or if there is, of what should be `alone`."""
        if not self.done:
            end = self._base + len(self._data) + self._waiting_bytes
            raise RdbError(self._source, end, "more: the file is cut short")
        if alone and self.rest:
            raise RdbError(self._source, self.position, "the end of the file, there is more")

    def _records(self) -> Iterator[Record]:
        while not self.done and self._gather():
            try:
                record = self._next()
            except Short as short:
                self._needed = short.needed
            except Malformed as wrong:
                raise RdbError(self._source, self._base + wrong.at, wrong.expected) from None
            else:
                if record is not None:
                    yield record

    def _gather(self) -> bool:
        """Whether there is enough to go on."""
        if len(self._data) + self._waiting_bytes < self._needed:
            return False
        if self._waiting:
            self._cut()
            self._data = b"".join([self._data, *self._waiting])
            self._waiting, self._waiting_bytes = [], 0
        return True

    def _cut(self) -> None:
        """Let go of what has been read."""
        at, self._at = self._at, 0
        self._crc = crc64(memoryview(self._data)[:at], self._crc)
        self._data = self._data[at:]
        self._base += at
        self._needed -= at

    def _go(self, end: int) -> None:
        """All before `end` has been read; that may lie behind what there is."""
        self._owed = max(0, end - len(self._data))
        self._at = end - self._owed
        self._needed = self._at + 1

    # What may come next. Each of these reads one thing whole or raises Short and has changed nothing.

    def _header(self) -> Record:
        head = self._take(0, HEAD_BYTES)
        match = _HEAD.fullmatch(head)
        if match is None:
            raise Malformed(0, "REDIS and a version: this is no RDB file")
        origin, version = ("redis", int(match[1])) if match[1] else ("valkey", int(match[2]))
        if version not in _KNOWN[origin]:
            raise Malformed(
                0, f"version 1 to {REDIS_VERSION_MAX} of Redis or {VALKEY_VERSION} of Valkey, not {version} of {origin}"
            )
        if origin == "valkey":
            self._types = shapes.VALKEY_TYPES
        self._version = version
        self._go(HEAD_BYTES)
        self._next = self._record
        return Header(version, origin)

    def _record(self) -> Record | None:
        """A key with what stands in front of it, or anything else there is between keys."""
        data, at = self._data, self._at
        expire_at_ms = idle_s = frequency = None
        for _ in range(MARKS_MAX + 1):
            opcode, at = self._take(at, 1)[0], at + 1
            if opcode == STRING_TYPE:
                name, at = self._name(at)
                try:
                    value, at = read_string(data, at, self._limit)
                except TooLong as long:
                    self._pass(long.end, (), Unsupported(self._db, "string", name, expire_at_ms, long.size))
                    return None
                self._go(at)
                return Key(self._db, name, value, expire_at_ms, idle_s, frequency)
            if opcode in _EXPIRE_BYTES:
                raw = self._take(at, _EXPIRE_BYTES[opcode])
                at += len(raw)
                expire_at_ms = int.from_bytes(raw, "little", signed=True) * (1 if opcode == EXPIRE_MS else 1000)
            elif opcode == IDLE:
                idle_s, at = read_length(data, at)
            elif opcode == FREQ:
                frequency, at = self._take(at, 1)[0], at + 1
            else:
                break
        else:  # any number of them would have to be held, and read again with every chunk
            raise Malformed(self._at, f"a key behind at most {MARKS_MAX} expiries and ages")
        if opcode in self._types:
            self._other_type(at, self._types[opcode], expire_at_ms)
            return None
        if expire_at_ms is not None or idle_s is not None or frequency is not None:
            raise Malformed(at - 1, f"a key behind its expiry or age, not the opcode {opcode}")
        return self._between_keys(opcode, at)

    def _other_type(self, at: int, known: Type, expire_at_ms: int | None) -> None:
        name, at = self._name(at)
        kind = known.kind
        if known is shapes.MODULE:
            number, at = read_length(self._data, at)
            kind = f"module {shapes.module_name(number)}"
        self._pass(at, known.shape, Unsupported(self._db, kind, name, expire_at_ms))

    def _between_keys(self, opcode: int, at: int) -> Record | None:
        record: Record
        if opcode == SELECT_DB:
            self._db, at = read_length(self._data, at)
            record = Select(self._db)
        elif opcode == RESIZE_DB:
            keys, at = read_length(self._data, at)
            expiring, at = read_length(self._data, at)
            record = Resize(keys, expiring)
        elif opcode == AUX:
            record, at = self._aux(at)
        elif opcode == EOF:
            return self._eof(at)
        else:
            self._apart(opcode, at)
            return None
        self._go(at)
        return record

    def _apart(self, opcode: int, at: int) -> None:
        """What belongs to no key."""
        if opcode == MODULE_AUX:
            number, at = read_length(self._data, at)
            found = Unsupported(self._db, f"module data {shapes.module_name(number)}", None)
            self._pass(at, shapes.MODULE_AUX, found)
        elif opcode == FUNCTION:
            self._pass(at, shapes.FUNCTION, Unsupported(self._db, "function", None))
        elif opcode == SLOT_INFO:
            self._pass(at, shapes.SLOT_INFO, None)
        elif opcode == SLOT_IMPORT and self._version == VALKEY_VERSION:
            self._pass(at, shapes.SLOT_IMPORT, Unsupported(self._db, "slot import", None))
        else:
            raise Malformed(at - 1, f"a type or an opcode of version {self._version}, not {opcode}")

    def _aux(self, at: int) -> tuple[Aux, int]:
        name, at = self._name(at)
        try:
            value, at = read_string(self._data, at, self._limit)
        except TooLong as long:
            return Aux(name, None), long.end
        return Aux(name, value), at

    def _eof(self, at: int) -> Record | None:
        self._go(at)
        self._cut()
        if self._version < CHECKSUM_SINCE:
            self.done = True
            return End(False)
        self._next = self._checksum
        return None

    def _checksum(self) -> Record:
        stored = int.from_bytes(self._take(0, CHECKSUM_BYTES), "little")
        if stored and stored != self._crc:
            raise Malformed(0, f"the checksum {self._crc:016x} of all before it, not {stored:016x}")
        self._go(CHECKSUM_BYTES)
        self.done = True
        return End(stored != 0)

    def _pass(self, at: int, shape: Shape, found: Unsupported | None) -> None:
        """Step over what begins at `at`, then report it."""
        self._go(at)
        self._needed = self._at  # not a byte more, if there is nothing in it or all of it is here
        self._walk, self._found = walk(shape), found
        self._step = next(self._walk, None)
        self._next = self._stepping

    def _stepping(self) -> Record | None:
        """As many steps as there are bytes for."""
        assert self._walk is not None
        while self._step is not None and not self._owed:
            number, end = self._step(self._data, self._at)
            self._go(end)
            try:
                self._step = self._walk.send(number)
            except StopIteration:
                self._step = None
        if self._owed:
            raise Short(len(self._data) + 1)
        self._next = self._record
        return self._found

    def _name(self, at: int) -> tuple[bytes, int]:
        try:
            return read_string(self._data, at, NAME_BYTES_MAX)
        except TooLong as long:
            raise Malformed(at, f"a name of at most {NAME_BYTES_MAX} bytes, not {long.size}") from None

    def _take(self, at: int, size: int) -> bytes:
        if at + size > len(self._data):
            raise Short(at + size)
        return self._data[at : at + size]
