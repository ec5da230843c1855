"""Metric families and their samples as text for Prometheus, and flat for RESP.

    DENIED = Family("acl_denied_total", COUNTER, "Requests refused by ACL.", labels=("reason",), bound="reasons")
    page([(DENIED, {"key": 3})])          vaylix_acl_denied_total{reason="key"} 3

A name is `vaylix_`, what is measured, its unit (`seconds`, `bytes`) where it has one, and `_total` for a counter.
Promise: names are checked when they are declared; whatever a label holds, a page can be parsed.
Pure. Units: seconds and bytes, never parts of them. Not here: which families there are (`server.metrics`).
Source: Prometheus, "Exposition formats" (text format 0.0.4) and "Metric and label naming".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from .histogram import Histogram

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PREFIX: Final = "vaylix_"
COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
UNITS: Final = ("seconds", "bytes")
NS_PER_S: Final = 1_000_000_000
NAMES_MAX: Final = 8192  # that are remembered
_WORDS: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_PARTS: Final = re.compile(r"(milli|micro|nano|kilo|mega|giga).*|[mun]s|[kmg]b|(minute|hour|day|percent)s?")
_LABEL: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})


@dataclass(frozen=True, slots=True)
class Distribution:
    """The value of a histogram: how many values were up to each bound, and their sum."""

    bounds: tuple[float, ...]
    counts: Sequence[int]  # one more than bounds: the last is of all values
    sum: float

    @property
    def count(self) -> int:
        return self.counts[-1]


Value = int | float | Distribution
# A family with labels has a value for each word, or words in the order in which it names its labels. None: it does not
# apply here, and is left out.
Values = Value | Mapping[str, Value] | Mapping[tuple[str, ...], Value] | None


@dataclass(frozen=True, slots=True)
class Family:
    """What all samples of one name have in common. `name` is given without the prefix."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    bound: str = ""  # what keeps the number of label values small; every family with labels says so

    def __post_init__(self) -> None:
        words = self.name.split("_")
        assert _WORDS.fullmatch(self.name), f"{self.name}: words in lower case"
        assert (self.kind == COUNTER) == (words[-1] == "total"), f"{self.name}: counters, and only they, end in _total"
        assert not any(map(_PARTS.fullmatch, words)), f"{self.name}: base units only"
        assert not set(UNITS) & set(words[: -2 if self.kind == COUNTER else -1]), f"{self.name}: the unit comes last"
        assert self.help.endswith("."), f"{self.name}: help is a sentence"
        assert bool(self.labels) == bool(self.bound), f"{self.name}: what bounds its labels?"

    @property
    def full_name(self) -> str:
        return PREFIX + self.name

    @property
    def unit(self) -> str:
        words = self.name.removesuffix("_total").split("_")
        return words[-1] if words[-1] in UNITS else ""

    @property
    def series(self) -> tuple[str, ...]:
        """The names of its samples."""
        suffixes = ("_bucket", "_sum", "_count") if self.kind == HISTOGRAM else ("",)
        return tuple(self.full_name + suffix for suffix in suffixes)


Measured = tuple[Family, Values]
Words = str | tuple[str, ...]  # values of labels


def seconds_of(histogram: Histogram) -> Distribution:
    """Of one that counts nanoseconds."""
    return _distribution(histogram, NS_PER_S)


def counts_of(histogram: Histogram) -> Distribution:
    """Of one that counts entries or bytes."""
    return _distribution(histogram, 1)


def _distribution(histogram: Histogram, unit: int) -> Distribution:
    found = histogram.cumulative()
    bounds = tuple([top if unit == 1 else top / unit for top, _ in found if top is not None])
    return Distribution(bounds, [count for _, count in found], histogram.total / unit if unit > 1 else histogram.total)


def page(measured: Iterable[Measured]) -> bytes:
    """The text of /metrics. A family without a sample is left out."""
    lines: list[str] = []
    for family, values in measured:
        samples = [f"{name} {value!r}" for name, value in _samples(family, values)]
        if samples:
            lines.append(f"# HELP {family.full_name} {family.help.translate(_HELP)}")
            lines.append(f"# TYPE {family.full_name} {family.kind}")
            lines += samples
    lines.append("")
    return "\n".join(lines).encode("utf-8", "backslashreplace")


def flat(measured: Iterable[Measured]) -> dict[str, int | float]:
    """Each sample by the name that it has on the page, labels included."""
    return {name: value for family, values in measured for name, value in _samples(family, values)}


def _samples(family: Family, values: Values) -> Iterable[tuple[str, int | float]]:
    if values is None:
        return ()
    found: list[tuple[str, int | float]] = []
    for words, value in values.items() if isinstance(values, Mapping) else (((), values),):
        if isinstance(value, Distribution):
            found += zip(_names(family, words, value.bounds), (*value.counts, value.sum, value.count), strict=True)
        else:
            found.append((_name(family, words), value + 0))  # True is 1
    return found


# Whoever scrapes asks for the same names each time, and there are few: labels are bounded.


@lru_cache(maxsize=NAMES_MAX)
def _name(family: Family, words: Words) -> str:
    labels = _labels(family, words)
    return f"{family.full_name}{{{labels}}}" if labels else family.full_name


@lru_cache(maxsize=NAMES_MAX)
def _names(family: Family, words: Words, bounds: tuple[float, ...]) -> tuple[str, ...]:
    """Of a histogram's samples."""
    name, labels = family.full_name, _labels(family, words)
    shown, before = f"{{{labels}}}" if labels else "", f"{labels}," if labels else ""
    buckets = [f'{name}_bucket{{{before}le="{bound}"}}' for bound in (*map(repr, bounds), "+Inf")]
    return (*buckets, f"{name}_sum{shown}", f"{name}_count{shown}")


def _labels(family: Family, words: Words) -> str:
    pairs = zip(family.labels, (words,) if isinstance(words, str) else words, strict=True)
    return ",".join([f'{name}="{word.translate(_LABEL)}"' for name, word in pairs])
