"""A point in the history as people write it: a sequence or a time.

    1234            a sequence; with 13 digits or more: milliseconds since the epoch
    seq:1234        a sequence, however long
    ms:1700000000000
    -10s            ago: ms, s, m, h or d
    2026-11-22T10:15:00.250Z    ISO 8601; UTC where no zone is given; the time of day or its seconds may be left out

Promise: what is not one of these is None; nothing is guessed. Not here: whether the point can be reached
(`storage.history`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MS_DIGITS: Final = 13  # milliseconds have as many since 2001, and a sequence will not for a long time
_NUMBER_MAX: Final = (1 << 63) - 1
_UNITS_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_NUMBER: Final = re.compile(r"(seq:|ms:)?([0-9]{1,19})", re.IGNORECASE)
_AGO: Final = re.compile(r"-([0-9]{1,12})(ms|s|m|h|d)", re.IGNORECASE)
_ISO: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?\s?(Z|[+-][0-9]{2}:?[0-9]{2})?)?",
    re.IGNORECASE,
)
_DAYS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class Point:
    """One of the two is set. A time means the state after the last batch that is stamped with it or earlier."""

    sequence: int | None = None
    timestamp_ms: int | None = None

    def __str__(self) -> str:
        return f"sequence {self.sequence}" if self.timestamp_ms is None else f"time {iso(self.timestamp_ms)}"


def parse_point(text: str, now_ms: int) -> Point | None:
    """`now_ms`: from when "ago" counts."""
    if match := _NUMBER.fullmatch(text):
        prefix, digits = (match[1] or "").lower(), match[2]
        number = int(digits)
        if number > _NUMBER_MAX:
            return None
        if prefix == "ms:" or (not prefix and len(digits) >= MS_DIGITS):
            return Point(timestamp_ms=number)
        return Point(sequence=number)
    if match := _AGO.fullmatch(text):
        ago = int(match[1]) * _UNITS_MS[match[2].lower()]
        return Point(timestamp_ms=now_ms - ago) if ago <= now_ms else None
    at_ms = parse_iso(text)
    return None if at_ms is None else Point(timestamp_ms=at_ms)


def parse_iso(text: str) -> int | None:
    """Milliseconds since the epoch; what is finer is cut off."""
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    year, month, day = int(match[1]), int(match[2]), int(match[3])
    hour, minute, second = (int(match[group] or 0) for group in (4, 5, 6))
    if not (year >= 1970 and 1 <= month <= 12 and 1 <= day <= _days_of(year, month)):
        return None
    if hour > 23 or minute > 59 or second > 59:
        return None
    ms = int((match[7] or "").ljust(3, "0")[:3])
    zone_minutes = 0
    if match[8] and match[8] not in "Zz":
        hours, minutes = int(match[8][1:3]), int(match[8][-2:])
        if hours > 23 or minutes > 59:
            return None
        zone_minutes = (hours * 60 + minutes) * (-1 if match[8][0] == "-" else 1)
    seconds = ((days_since_epoch(year, month, day) * 24 + hour) * 60 + minute - zone_minutes) * 60 + second
    return seconds * 1000 + ms if seconds >= 0 else None


def iso(ms: int) -> str:
    """UTC, as `parse_iso` reads it."""
    days, rest = divmod(ms, 86_400_000)
    seconds, ms = divmod(rest, 1000)
    # The civil calendar in years that begin in March (Hinnant, "chrono-compatible low-level date algorithms").
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    day, month = day_of_year - (153 * shifted + 2) // 5 + 1, shifted + 3 if shifted < 10 else shifted - 9
    year = year_of_era + era * 400 + (month <= 2)
    hour, minute, second = seconds // 3600, seconds // 60 % 60, seconds % 60
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}.{ms:03d}Z"


def days_since_epoch(year: int, month: int, day: int) -> int:
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719_468


def _days_of(year: int, month: int) -> int:
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return _DAYS[month - 1] + (leap and month == 2)
