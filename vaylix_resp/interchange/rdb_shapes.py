"""The types of values in an RDB file, and how the bytes of each are laid out: enough to step over them exactly.

A shape is a row of steps. A step is given a buffer and a place and returns a number (a count, an opcode) and where it
ends, which may lie behind the end of the buffer: what is between is nobody's business. `walk` goes through a shape.
Not here: strings, which are read (`rdb_strings`), what is inside a list pack or a zip list: to us, a string.
Source: `rdbLoadObject` of Redis 7.4, src/rdb.c; for `HASH_2` that of Valkey 9.0.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final

from .rdb_strings import Malformed, Short, read_length, string_extent

STRING_TYPE: Final = 0

Step = Callable[[bytes, int], tuple[int, int]]
Walk = Generator[Step, int, None]  # yields steps, is sent their numbers


@dataclass(frozen=True, slots=True)
class Repeat:
    """A count, and so many times the steps."""

    steps: Shape


@dataclass(frozen=True, slots=True)
class Parts:
    """What a module wrote: parts that tell their kind, until one that says it was the last."""


Shape = tuple[Step | Repeat | Parts, ...]


def walk(shape: Shape) -> Walk:
    """The steps of a shape, one after the other."""
    for part in shape:
        if isinstance(part, Repeat):
            count = yield read_length
            for _ in range(count):
                yield from walk(part.steps)
        elif isinstance(part, Parts):
            while opcode := (yield _module_opcode):
                yield _MODULE_PARTS[opcode]
        else:
            yield part


def _string(data: bytes, at: int) -> tuple[int, int]:
    return 0, string_extent(data, at)[1]


def _text_double(data: bytes, at: int) -> tuple[int, int]:
    """A score before Redis 5: its length and text, or one of three marks for what is no number."""
    if at >= len(data):
        raise Short(at + 1)
    return 0, at + 1 + (data[at] if data[at] < 253 else 0)


def _fixed(size: int) -> Step:
    def step(data: bytes, at: int) -> tuple[int, int]:
        return 0, at + size

    return step


_FOUR, _EIGHT, _SIXTEEN = _fixed(4), _fixed(8), _fixed(16)
_MODULE_PARTS: Final[dict[int, Step]] = {1: read_length, 2: read_length, 3: _FOUR, 4: _EIGHT, 5: _string}


def _module_opcode(data: bytes, at: int) -> tuple[int, int]:
    opcode, end = read_length(data, at)
    if opcode and opcode not in _MODULE_PARTS:
        raise Malformed(at, f"a part of a module's value, not {opcode}")
    return opcode, end


def _stream(version: int) -> Shape:
    """Nodes; length, last id; first id, largest deleted id, entries added; groups: their pending, their consumers."""
    length, second, third = read_length, version >= 2, version >= 3
    facts: Shape = (length,) * (8 if second else 3)
    pending = Repeat((_SIXTEEN, _EIGHT, length))
    consumer: Shape = (_string, *(_EIGHT,) * (2 if third else 1), Repeat((_SIXTEEN,)))
    group: Shape = (_string, *(length,) * (3 if second else 2), pending, Repeat(consumer))
    return (Repeat((_string, _string)), *facts, Repeat(group))


@dataclass(frozen=True, slots=True)
class Type:
    """What people call it, and its shape."""

    kind: str
    shape: Shape


_FIELD_WITH_END = Repeat((read_length, _string, _string))
MODULE: Final = Type("module", (Parts(),))  # behind its id
TYPES: Final = {
    1: Type("list", (Repeat((_string,)),)),
    2: Type("set", (Repeat((_string,)),)),
    3: Type("zset", (Repeat((_string, _text_double)),)),
    4: Type("hash", (Repeat((_string, _string)),)),
    5: Type("zset", (Repeat((_string, _EIGHT)),)),
    7: MODULE,
    9: Type("hash", (_string,)),  # zip map
    10: Type("list", (_string,)),  # zip list
    11: Type("set", (_string,)),  # set of integers
    12: Type("zset", (_string,)),  # zip list
    13: Type("hash", (_string,)),  # zip list
    14: Type("list", (Repeat((_string,)),)),  # quick list of zip lists
    15: Type("stream", _stream(1)),
    16: Type("hash", (_string,)),  # list pack
    17: Type("zset", (_string,)),  # list pack
    18: Type("list", (Repeat((read_length, _string)),)),  # quick list of list packs and plain nodes
    19: Type("stream", _stream(2)),
    20: Type("set", (_string,)),  # list pack
    21: Type("stream", _stream(3)),
    22: Type("hash", (_FIELD_WITH_END,)),  # of a release candidate of Redis 7.4
    23: Type("hash", (_string,)),  # the same, list pack
    24: Type("hash", (_EIGHT, _FIELD_WITH_END)),  # with ends of fields, the first of them in front
    25: Type("hash", (_EIGHT, _string)),  # the same, list pack
}  # fmt: skip
# Valkey gave numbers of its own to what it has added since it parted from Redis.
VALKEY_TYPES: Final = {number: known for number, known in TYPES.items() if number <= 21} | {
    22: Type("hash", (Repeat((_string, _string, _EIGHT)),)),
}
FUNCTION: Final[Shape] = (_string,)
MODULE_AUX: Final[Shape] = (read_length, read_length, Parts())  # behind the module's id
SLOT_INFO: Final[Shape] = (read_length,) * 3
SLOT_IMPORT: Final[Shape] = (_string, Repeat((read_length, read_length)))

_MODULE_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def module_name(number: int) -> str:
    """Nine letters of six bits each stand above ten bits of a version."""
    return "".join(_MODULE_ALPHABET[number >> shift & 0x3F] for shift in range(58, 4, -6))
