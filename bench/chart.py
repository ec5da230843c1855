"""A bar chart of requests per second, redis-server beside us, as SVG written by hand.

Bars are scaled within their own group, since one client without a pipeline and fifty with sixty-four
differ by a factor of a hundred; what the eye compares is the pair, and its ratio is written beside it.
"""

from __future__ import annotations

from html import escape

from bench.measure import Row
from bench.report import human

WIDTH, LEFT, RIGHT = 860, 190, 190
BAR, GAP, TOP = 11, 12, 64
REDIS_COLOUR, US_COLOUR, INK, LOW_INK = "#b8bec9", "#2d6cdf", "#1c2330", "#a33a2a"
STYLE = f"text{{font:12px sans-serif;fill:{INK}}}.h{{font-size:15px;font-weight:bold}}.low{{fill:{LOW_INK}}}"


def label(row: Row) -> str:
    point = row.point
    size = f" {point.value_bytes}B" if point.workload != "incr" else ""
    return f"{point.workload.upper()}{size}, {point.clients} cl., pipe {point.pipeline}"


def bars(row: Row, y: int) -> list[str]:
    """Two bars, their figures and the ratio, in one group."""
    redis, us, ratio = row.median(0, "rps"), row.median(1, "rps"), row.ratio("rps")
    scale = (WIDTH - LEFT - RIGHT) / max(redis, us, 1.0)
    parts = [f'<text x="{LEFT - 8}" y="{y + BAR + 4}" text-anchor="end">{escape(label(row))}</text>']
    for index, (value, colour) in enumerate(((redis, REDIS_COLOUR), (us, US_COLOUR))):
        top, width = y + index * BAR, max(value * scale, 1)
        parts.append(f'<rect x="{LEFT}" y="{top}" width="{width:.1f}" height="{BAR - 1}" fill="{colour}"/>')
    low = ' class="low"' if ratio < 1 else ""
    figures = f"{human(redis)}/s, {human(us)}/s"
    parts.append(f'<text x="{WIDTH - RIGHT + 8}" y="{y + BAR + 4}"{low}>{ratio:.2f} ({figures})</text>')
    return parts


def svg_chart(rows: list[Row], subtitle: str) -> str:
    """The whole picture; rows in the order given."""
    step = 2 * BAR + GAP
    height = TOP + step * len(rows) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">',
        f"<title>Requests per second: redis-server and Vaylix RESP</title><style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        '<text class="h" x="16" y="24">Requests per second, every write on disk before its answer</text>',
        f'<text x="16" y="44">{escape(subtitle)}</text>',
        f'<rect x="{WIDTH - 330}" y="14" width="10" height="10" fill="{REDIS_COLOUR}"/>',
        f'<text x="{WIDTH - 315}" y="24">redis-server, fsync always</text>',
        f'<rect x="{WIDTH - 140}" y="14" width="10" height="10" fill="{US_COLOUR}"/>',
        f'<text x="{WIDTH - 125}" y="24">Vaylix RESP</text>',
    ]
    for index, row in enumerate(rows):
        parts += bars(row, TOP + index * step)
    return "\n".join([*parts, "</svg>", ""])
