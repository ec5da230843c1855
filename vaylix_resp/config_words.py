"""Kinds of configuration values that are several words: lists, pairs, rows.

Refusals have Redis's texts, as those of single words. Values are immutable; they may be shared and compared.
Not here: single words (`config_values`), `user-limit` (`config_rates`), `user` and `role` (`config_lines`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from vaylix_resp.config_values import INT32_MAX, BadValue, Kind, T, byte_count, in_range, size_text, whole_number

BIND_ADDRESSES_MAX = 16  # Redis's own limit; each is a listening socket


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
            numbers = [whole_number(word) for word in given]
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
                sizes = byte_count(words[start + 1]), byte_count(words[start + 2])
                seconds = in_range(whole_number(words[start + 3]), 0, INT32_MAX)
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
