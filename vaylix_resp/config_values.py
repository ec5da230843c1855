"""Kinds of configuration values that are one word: from the word to a value and back.

Each kind refuses with the text that Redis 7.0.15 answers after the dash of `CONFIG SET failed ... - `, so one text
serves CONFIG SET and the refusal at start. Values are immutable; they may be shared and compared.
Not here: kinds of several words (`config_words`, `config_rates`, `config_lines`), which directives there are
(`directives`), where their words come from (`config`).
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

T = TypeVar("T")

INT32_MAX = (1 << 31) - 1
INT64_MAX = (1 << 63) - 1
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


def whole_number(word: str) -> int:
    """Strict decimal: no `+1`, `1_0`, ` 1`, `01` or other digits that int() would take."""
    if len(word) > _DIGITS_MAX or not re.fullmatch(r"0|-?[1-9][0-9]*", word, re.ASCII):
        raise BadValue("argument couldn't be parsed into an integer")
    value = int(word)
    if not -INT64_MAX - 1 <= value <= INT64_MAX:
        raise BadValue("argument couldn't be parsed into an integer")
    return value


def byte_count(word: str) -> int:
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


def in_range(value: int, low: int, high: int) -> int:
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
        value = whole_number(word)
        if self.clamp:
            return min(max(value, self.low), self.high)
        return in_range(value, self.low, self.high)

    def describe(self) -> str:
        return f"a whole number from {self.low} to {self.high}"


@dataclass(frozen=True, slots=True)
class Memory(Single[int]):
    """A size in bytes from `low` to `high`; `zero` additionally allows 0, which switches something off."""

    low: int = 0
    high: int = INT64_MAX
    zero: bool = False

    def parse_word(self, word: str) -> int:
        value = byte_count(word)
        return value if self.zero and value == 0 else in_range(value, self.low, self.high)

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
        return in_range(int(word, 8), 0, 0o777)

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
