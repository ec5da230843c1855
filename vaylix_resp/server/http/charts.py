"""Small line charts as inline SVG: pure.

A chart is fifteen minutes wide whatever it knows; where nothing was measured there is no line.
Units: whatever the values are in; a `Unit` says how they are shown.
Not here: where values come from (`server.recent`), colours (status.html).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ...observability.figures import duration, number, per_second, size, size_per_second
from ..recent import PERIOD_S, WINDOW_S
from .markup import NOTHING, Markup, joined, tag

WIDTH: Final = int(WINDOW_S)  # of a drawing, in its own units: the page stretches it
HEIGHT: Final = 1000
GAP_S: Final = 3 * PERIOD_S  # longer without a value is a gap in the line

Series = Sequence[tuple[float, float | None]]  # (seconds ago, value), oldest first


@dataclass(frozen=True, slots=True)
class Unit:
    text: Callable[[float], str]
    step: int = 10  # scales end at 1, 2 or 5 times a power of it; of two: at the power itself

    def said(self, value: float | None) -> str:
        return "–" if value is None else self.text(value)

    def ceiling(self, value: float) -> float:
        """The end of a scale for values up to this one; it does not move with each of them."""
        end = 1.0
        while end < value:
            for factor in (2, 5, 10) if self.step == 10 else (2,):
                if end * factor >= value:
                    return end * factor
            end *= self.step
        return end


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    series: Series


def chart(title: str, about: str, unit: Unit, *lines: Line) -> Markup:
    """A figure: what it is, the newest value of each line, the drawing, and the value at its top."""
    values = [value for line in lines for _, value in line.series if value is not None]
    top = unit.ceiling(max(values, default=0.0))
    newest = [(line.name, line.series[-1][1] if line.series else None) for line in lines]
    words = ", ".join(f"{name} {unit.said(value)}" for name, value in newest)
    drawn = [_drawn(line.series, top, number) for number, line in enumerate(lines, 1)]
    legend = [
        tag("span", _key(number) if len(lines) > 1 else NOTHING, name, " ", tag("b", unit.said(value)))
        for number, (name, value) in enumerate(newest, 1)
    ]
    return tag(
        "figure",
        tag("figcaption", tag("h3", title, title=about), tag("p", *legend, class_="legend")),
        tag(
            "svg",
            *(tag("path", d=f"M0 {y}H{WIDTH}", class_="grid") for y in (0, HEIGHT // 2, HEIGHT)),
            *drawn,
            viewBox=f"0 -20 {WIDTH} {HEIGHT + 40}", preserveAspectRatio="none", role="img",
            aria_label=f"{title} over 15 minutes: {words}; the scale ends at {unit.text(top)}",
        ),
        tag("p", tag("span", "15 min ago"), tag("span", f"top {unit.text(top)}"), tag("span", "now"), class_="axis"),
        data_points=len(values),
    )  # fmt: skip


def _key(number: int) -> Markup:
    return tag("i", class_=f"key line{number}")


def _drawn(series: Series, top: float, number: int) -> Markup:
    pieces = [_way(piece, top) for piece in unbroken(series)]
    if not pieces:
        return NOTHING
    line = "".join(f"M{way}L{last} {way.rpartition(' ')[2]}" for _, last, way in pieces)  # a single point is a dot
    area = "".join(f"M{first} {HEIGHT}L{way}L{last} {HEIGHT}Z" for first, last, way in pieces)
    below = tag("path", d=area, class_=f"area line{number}") if number == 1 else NOTHING
    return joined(below, tag("path", d=line, class_=f"line line{number}"))


def _way(piece: Sequence[tuple[float, float]], top: float) -> tuple[int, int, str]:
    """Where it begins and ends, and all of it: whole numbers, because there are thousands of them on a page."""
    scale = HEIGHT / top
    way = "L".join([f"{x_of(ago)} {HEIGHT - int(value * scale)}" for ago, value in piece])
    return x_of(piece[0][0]), x_of(piece[-1][0]), way


def unbroken(series: Series) -> list[list[tuple[float, float]]]:
    """The pieces between gaps."""
    pieces: list[list[tuple[float, float]]] = []
    before = None
    for ago, value in series:
        if value is None or ago > WINDOW_S:
            continue
        if before is None or before - ago > GAP_S:
            pieces.append([])
        pieces[-1].append((ago, value))
        before = ago
    return pieces


def x_of(ago: float) -> int:
    """The right edge is now, the left one WINDOW_S ago."""
    return WIDTH - int(ago)


COUNT: Final = Unit(number)
PER_SECOND: Final = Unit(per_second)
DURATION: Final = Unit(duration)
SIZE: Final = Unit(size, step=2)
SIZE_PER_SECOND: Final = Unit(size_per_second, step=2)
