"""Figures for people: three or four digits and a unit, the same on /status and in the tools.

Pure. Not here: what INFO shows beside its bytes (`server.info.human`), which is Redis's way.
"""

from __future__ import annotations


def number(value: float) -> str:
    """1,234 or 12.3k."""
    if value < 1e4:
        return f"{value:,.0f}" if value >= 10 else _short(value)
    return next(f"{_short(value / size)}{word}" for size, word in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if value >= size)


def per_second(value: float) -> str:
    return f"{number(value)}/s"


def size(value: float) -> str:
    """1.5 MiB."""
    for word in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1000 or word == "TiB":
            break
        value /= 1024
    return f"{_short(value)} {word}"


def size_per_second(value: float) -> str:
    return f"{size(value)}/s"


def duration(us: float) -> str:
    """From microseconds: 850 µs, 1.2 ms, 3.4 s."""
    for word, length in (("s", 1e6), ("ms", 1e3)):
        if us >= length:
            return f"{_short(us / length)} {word}"
    return f"{us:.0f} µs"


def _short(value: float) -> str:
    """One digit behind the point, where it says something."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}".removesuffix(".0")


def span(seconds: float) -> str:
    """The two largest parts of a long time: 3 d 4 h, 12 min 5 s."""
    left, parts = int(seconds), list[str]()
    for word, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= length or (word == "s" and not parts):
            parts.append(f"{left // length} {word}")
            left %= length
        elif parts:
            break
    return " ".join(parts[:2])
