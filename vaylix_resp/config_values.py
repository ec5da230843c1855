"""Kinds of configuration values: from words to a value and back.

Each kind refuses with the text that Redis 7.0.15 answers after the dash of `CONFIG SET failed ... - `, so one text
serves CONFIG SET and the refusal at start. Values are immutable; they may be shared and compared.
Not here: which directives there are (`directives`), where their words come from (`config`).
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, TypeVar

T = TypeVar("T")

INT32_MAX = (1 << 31) - 1
INT64_MAX = (1 << 63) - 1
BIND_ADDRESSES_MAX = 16  # Redis's own limit; each is a listening socket
_DIGITS_MAX = 20  # more digits than any 64-bit number has: refused before int() reads them


class BadValue(ValueError):
    """A value that its directive cannot take; the text says what is wrong, in Redis's words."""


class Kind(ABC, Generic[T]):
    """How one kind of value is read and printed."""

    many: ClassVar[bool] = False  # takes several words; a single word is split at spaces, as in Redis

    @abstractmethod
    def parse(self, words: Sequence[str], base: T, again: bool) -> T:
        """The value of `words`, or BadValue.

        `base` is the value so far and `again` says that the same source already set it: a repeated `save` adds to
        the lines before it, and `client-output-buffer-limit` names one class and leaves the others.
        """

    @abstractmethod
    def render(self, value: T) -> str:
        """The value as CONFIG GET prints it."""

    @abstractmethod
    def describe(self) -> str:
        """What may be given, for people: completes "give ..."; empty when the error text already says it."""

    def lines(self, value: T) -> list[list[str]]:
        """The words after the name on each line that CONFIG REWRITE writes."""
        return [[self.render(value)]]


class Single(Kind[T]):
    """Exactly one word."""

    def parse(self, words: Sequence[str], base: T, again: bool) -> T:
        if len(words) != 1:
            raise BadValue("wrong number of arguments")
        return self.parse_word(words[0])

    @abstractmethod
    def parse_word(self, word: str) -> T: ...

    def render(self, value: T) -> str:
        return str(value)


def _integer(word: str) -> int:
    """Strict decimal: no `+1`, `1_0`, ` 1`, `01` or other digits that int() would take."""
    if len(word) > _DIGITS_MAX or not re.fullmatch(r"0|-?[1-9][0-9]*", word, re.ASCII):
        raise BadValue("argument couldn't be parsed into an integer")
    value = int(word)
    if not -INT64_MAX - 1 <= value <= INT64_MAX:
        raise BadValue("argument couldn't be parsed into an integer")
    return value


def _bytes(word: str) -> int:
    """`64mb` and its like; powers of 1024 with a b, powers of 1000 without, as in redis.conf."""
    match = re.fullmatch(r"([0-9]{1,20})(b|k|kb|m|mb|g|gb)?", word.lower(), re.ASCII)
    if not match:
        raise BadValue("argument must be a memory value")
    return int(match[1]) * _UNITS[match[2] or "b"]


_UNITS = {"b": 1, "k": 10**3, "kb": 1 << 10, "m": 10**6, "mb": 1 << 20, "g": 10**9, "gb": 1 << 30}


def size_text(count: int) -> str:
    """A size for people and files: `64mb` where that is exact, otherwise plain bytes."""
    for unit in ("gb", "mb", "kb"):
        if count and count % _UNITS[unit] == 0:
            return f"{count // _UNITS[unit]}{unit}"
    return str(count)


def _check_range(value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise BadValue(f"argument must be between {low} and {high} inclusive")
    return value


@dataclass(frozen=True, slots=True)
class Integer(Single[int]):
    """A whole number from `low` to `high`, both included."""

    low: int = 0
    high: int = INT32_MAX
    clamp: bool = False  # hz: out of range means the nearest bound, as in Redis

    def parse_word(self, word: str) -> int:
        value = _integer(word)
        if self.clamp:
            return min(max(value, self.low), self.high)
        return _check_range(value, self.low, self.high)

    def describe(self) -> str:
        return f"a whole number from {self.low} to {self.high}"


@dataclass(frozen=True, slots=True)
class Memory(Single[int]):
    """A size in bytes from `low` to `high`; `zero` additionally allows 0, which switches something off."""

    low: int = 0
    high: int = INT64_MAX
    zero: bool = False

    def parse_word(self, word: str) -> int:
        value = _bytes(word)
        return value if self.zero and value == 0 else _check_range(value, self.low, self.high)

    def lines(self, value: int) -> list[list[str]]:
        return [[size_text(value)]]

    def describe(self) -> str:
        low = f" from {size_text(self.low)}" if self.low else ""
        high = "" if self.high == INT64_MAX else f" to {size_text(self.high)}"
        return f"{'0 or ' if self.zero else ''}a size{low}{high}, such as 64mb"


@dataclass(frozen=True, slots=True)
class Permissions(Single[int]):
    """The octal mode of a file; 0 leaves it to the umask."""

    def parse_word(self, word: str) -> int:
        if not re.fullmatch(r"[0-7]{1,4}", word, re.ASCII):
            raise BadValue("argument couldn't be parsed into an integer")
        return _check_range(int(word, 8), 0, 0o777)

    def render(self, value: int) -> str:
        return f"{value:o}"

    def describe(self) -> str:
        return "an octal file mode such as 700"


@dataclass(frozen=True, slots=True)
class YesNo(Single[bool]):
    def parse_word(self, word: str) -> bool:
        match word.lower():
            case "yes":
                return True
            case "no":
                return False
        raise BadValue("argument must be 'yes' or 'no'")

    def render(self, value: bool) -> str:
        return "yes" if value else "no"

    def describe(self) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class OneOf(Single[str]):
    """One of a few names; `names` stand in the order in which Redis lists them."""

    names: tuple[str, ...]

    def parse_word(self, word: str) -> str:
        for name in self.names:
            if name.lower() == word.lower():
                return name
        raise BadValue("argument(s) must be one of the following: " + ", ".join(self.names))

    def describe(self) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class Text(Single[str]):
    """Any text. A NUL byte cannot be part of a file name and is refused everywhere."""

    what: str = "a text"

    def parse_word(self, word: str) -> str:
        if "\0" in word:
            raise BadValue("argument must not contain a NUL byte")
        return word

    def describe(self) -> str:
        return self.what


@dataclass(frozen=True, slots=True)
class Directory(Text):
    """A directory, not empty; CONFIG GET answers its absolute path, a rewritten file keeps what was given."""

    what: str = "the path of a directory"

    def parse_word(self, word: str) -> str:
        if not word:
            raise BadValue("argument must name a directory")
        return Text.parse_word(self, word)

    def render(self, value: str) -> str:
        return os.path.abspath(value)

    def lines(self, value: str) -> list[list[str]]:
        return [[value]]


@dataclass(frozen=True, slots=True)
class PlainName(Text):
    """The name of one file or directory, which cannot lead anywhere else."""

    what: str = "a name"

    def parse_word(self, word: str) -> str:
        if not word or "/" in word or word in (".", ".."):
            raise BadValue("argument can't be a path, just a name")
        return Text.parse_word(self, word)


@dataclass(frozen=True, slots=True)
class FileCommand(Text):
    """A shell command in which %p and %f stand for a file and %% for a percent sign."""

    what: str = "a command"

    def parse_word(self, word: str) -> str:
        for found in re.finditer(r"%(.?)", word, re.DOTALL):
            if found[1] not in ("p", "f", "%"):
                raise BadValue(f"argument must not contain {found[0]}: only %p, %f and %% have a meaning")
        return Text.parse_word(self, word)


class Words(Kind[T]):
    """Several words on one line."""

    many: ClassVar[bool] = True


def _no_empty(words: Sequence[str]) -> list[str]:
    """`name ""` means an empty list."""
    return [] if list(words) == [""] else list(words)


@dataclass(frozen=True, slots=True)
class Addresses(Words[tuple[str, ...]]):
    """Addresses to listen on; a leading `-` means that it may be missing, `*` means all of IPv4."""

    def parse(self, words: Sequence[str], base: tuple[str, ...], again: bool) -> tuple[str, ...]:
        given = tuple(_no_empty(words))
        if len(given) > BIND_ADDRESSES_MAX:
            raise BadValue("Too many bind addresses specified.")
        if any(not re.fullmatch(r"-?[0-9A-Za-z.:%*_-]+", word, re.ASCII) for word in given):
            raise BadValue("Failed to bind to specified addresses.")
        return given

    def render(self, value: tuple[str, ...]) -> str:
        return " ".join(value)

    def lines(self, value: tuple[str, ...]) -> list[list[str]]:
        return [list(value) or [""]]

    def describe(self) -> str:
        return f"up to {BIND_ADDRESSES_MAX} addresses, separated by spaces"


@dataclass(frozen=True, slots=True)
class Percentiles(Words[tuple[float, ...]]):
    """Percentiles of latency, each from 0 to 100."""

    def parse(self, words: Sequence[str], base: tuple[float, ...], again: bool) -> tuple[float, ...]:
        given = []
        for word in _no_empty(words):
            if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,10})?", word, re.ASCII) or float(word) > 100:
                raise BadValue("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]")
            given.append(float(word))
        return tuple(given)

    def render(self, value: tuple[float, ...]) -> str:
        return " ".join(f"{percentile:.10f}".rstrip("0").rstrip(".") for percentile in value)

    def lines(self, value: tuple[float, ...]) -> list[list[str]]:
        return [self.render(value).split() or [""]]

    def describe(self) -> str:
        return "numbers from 0 to 100, separated by spaces"


@dataclass(frozen=True, slots=True)
class SavePoint:
    """A snapshot is due once `changes` keys changed and `seconds` have passed since the last one."""

    seconds: int
    changes: int


@dataclass(frozen=True, slots=True)
class SavePoints(Words[tuple[SavePoint, ...]]):
    """Pairs of seconds and changes; `""` means none."""

    def parse(self, words: Sequence[str], base: tuple[SavePoint, ...], again: bool) -> tuple[SavePoint, ...]:
        given = _no_empty(words)
        if not given:
            return ()
        try:
            numbers = [_integer(word) for word in given]
        except BadValue:
            numbers = []
        if not numbers or len(numbers) % 2 or min(numbers[::2]) < 1 or min(numbers[1::2]) < 0:
            raise BadValue("Invalid save parameters")
        points = tuple(SavePoint(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True))
        return base + points if again else points

    def render(self, value: tuple[SavePoint, ...]) -> str:
        return " ".join(f"{point.seconds} {point.changes}" for point in value)

    def lines(self, value: tuple[SavePoint, ...]) -> list[list[str]]:
        return [[str(point.seconds), str(point.changes)] for point in value] or [[""]]

    def describe(self) -> str:
        return 'pairs of seconds and changes such as "900 1 300 10", or "" for none'


@dataclass(frozen=True, slots=True)
class OutputLimit:
    """What may wait for one client: at once closed above `hard_bytes`, or above `soft_bytes` for `soft_seconds`.

    0 means no such limit.
    """

    hard_bytes: int
    soft_bytes: int
    soft_seconds: int


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """The limits of the three classes of clients."""

    normal: OutputLimit
    replica: OutputLimit
    pubsub: OutputLimit


@dataclass(frozen=True, slots=True)
class OutputLimitsKind(Words[OutputLimits]):
    """`<class> <hard> <soft> <seconds>`, once or several times; classes not named keep theirs."""

    classes: tuple[str, ...] = field(default=("normal", "replica", "pubsub"))

    def parse(self, words: Sequence[str], base: OutputLimits, again: bool) -> OutputLimits:
        if not words or len(words) % 4:
            raise BadValue("Wrong number of arguments in buffer limit configuration.")
        changes: dict[str, Any] = {}
        for start in range(0, len(words), 4):
            name = words[start].lower()
            name = "replica" if name == "slave" else name
            if name not in self.classes:
                raise BadValue("Invalid client class specified in buffer limit configuration.")
            try:
                sizes = _bytes(words[start + 1]), _bytes(words[start + 2])
                seconds = _check_range(_integer(words[start + 3]), 0, INT32_MAX)
            except BadValue as bad:
                raise BadValue("Error in hard, soft or soft_seconds setting in buffer limit configuration.") from bad
            changes[name] = OutputLimit(*sizes, seconds)
        return replace(base, **changes)

    def lines(self, value: OutputLimits) -> list[list[str]]:
        return [
            [name, size_text(limit.hard_bytes), size_text(limit.soft_bytes), str(limit.soft_seconds)]
            for name, limit in self._rows(value)
        ]

    def render(self, value: OutputLimits) -> str:
        return " ".join(
            f"{name} {limit.hard_bytes} {limit.soft_bytes} {limit.soft_seconds}" for name, limit in self._rows(value)
        )

    @staticmethod
    def _rows(value: OutputLimits) -> tuple[tuple[str, OutputLimit], ...]:
        # `slave` is what every Redis prints, and what monitoring tools look for.
        return ("normal", value.normal), ("slave", value.replica), ("pubsub", value.pubsub)

    def describe(self) -> str:
        return '"<normal|replica|pubsub> <hard limit> <soft limit> <soft seconds>", such as "normal 32mb 16mb 5"'


EVENTS_ALL = "g$lshzxetd"  # what A stands for; key misses (m) and new keys (n) must be asked for by name


@dataclass(frozen=True, slots=True)
class KeyspaceEvents(Single[str]):
    """Which keyspace events are published, as a set of letters in Redis's order."""

    def parse_word(self, word: str) -> str:
        if set(word) - set("AKEmn" + EVENTS_ALL):
            raise BadValue("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
        every = "A" in word or set(EVENTS_ALL) <= set(word)
        classes = "A" if every else "".join(c for c in EVENTS_ALL if c in word)
        # Redis 7.0 forgets to print the n beside an A; printing it keeps CONFIG REWRITE from losing it.
        return classes + "".join(c for c in "nKEm" if c in word)

    def describe(self) -> str:
        return "letters out of Ag$lshzxeKEtmdn; K or E (or both) is needed to publish anything"
