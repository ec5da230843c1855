"""Metrics of commands: how often, how long, how many refused and failed, by command or by family of commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from ...error_codes import CODES
from ...observability.exposition import Distribution, seconds_of
from ...observability.histogram import NS_SHIFT, Histogram
from ...observability.metrics import BUCKETS, OTHER_ERRORS
from .table import Metric, Read, Scrape, counter, gauge, histogram

KNOWN: Final = frozenset(one.code for one in CODES)
TABLE: Final = "commands that have been used; the table of commands is fixed"


def _each(read: Callable[[Any], int | float]) -> Read:
    return lambda at: {one.name: read(one) for one in at.server.stats.used()}


def _durations(at: Scrape) -> dict[str, Distribution]:
    """The histograms of all commands of a family, added up."""
    commands = at.server.commands
    merged: dict[str, Histogram] = {}
    for one in at.server.stats.used():
        name = one.name.partition("|")[0]
        family = commands[name].group if name in commands else "other"
        if family not in merged:
            merged[family] = Histogram(BUCKETS, NS_SHIFT)
        merged[family].include(one)
    return {family: seconds_of(one) for family, one in merged.items()}


def _errors(at: Scrape) -> dict[str, int]:
    """By known code; DEBUG ERROR can invent others."""
    found: Counter[str] = Counter()
    for code, count in at.server.stats.errors.items():
        found[code if code in KNOWN else OTHER_ERRORS] += count
    return found


COMMANDS: Final[tuple[Metric, ...]] = (
    counter("commands_total", "Requests executed.", _each(lambda one: one.calls), ("command",), TABLE),
    counter("commands_duration_seconds_total", "Time that executing them took, without waiting for the log.",
            _each(lambda one: one.total / 1e9), ("command",), TABLE),
    counter("commands_rejected_total", "Requests refused before they were executed: arity, rights, MISCONF, limits.",
            _each(lambda one: one.rejected_calls), ("command",), TABLE),
    counter("commands_failed_total", "Requests that were executed and answered with an error.",
            _each(lambda one: one.failed_calls), ("command",), TABLE),
    histogram("command_duration_seconds", "Time that executing a request took, without waiting for the log.",
              _durations, ("family",), "groups of COMMAND DOCS"),
    counter("errors_total", "Error replies by their first word.", _errors, ("code",), "codes of ERRORS.md, and OTHER"),
    counter("unexpected_errors_total", "Requests that met a bug of the server.",
            lambda at: at.server.stats.unexpected_error_replies),
    histogram("loop_delay_seconds", "How late the event loop turned, ten times a second: any request may wait so long.",
              lambda at: seconds_of(at.server.lateness.loop)),
    gauge("slowlog_entries", "Entries in SLOWLOG.", lambda at: len(at.server.lateness.slowlog)),
)  # fmt: skip
