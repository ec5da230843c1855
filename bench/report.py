"""The figures as text for a terminal, Markdown for RESULTS.md and the README, and JSON for machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bench.measure import Row
from bench.points import Point
from bench.scale import Scale

GENERATOR_LIMIT_SHARE = 0.9  # above this the Python generator was the limit, and the table says so
README_POINTS = tuple(
    Point(workload, clients, pipeline, 64)
    for workload in ("set", "get", "incr", "mix")
    for clients, pipeline in ((1, 1), (50, 1), (200, 1), (50, 16), (50, 64))
)
ARROW = {"rps": "higher is better", "p99_ms": "lower is better", "cpu_us": "lower is better"}


def human(figure: float) -> str:
    """1234567 -> 1.23 M, 61234 -> 61.2 k."""
    if figure >= 1e6:
        return f"{figure / 1e6:.2f} M"
    return f"{figure / 1e3:.1f} k" if figure >= 1e3 else f"{figure:.0f}"


def line(row: Row) -> str:
    """One row for the terminal."""
    return (
        f"{row.point!s:18} redis {human(row.median(0, 'rps')):>8}/s  us {human(row.median(1, 'rps')):>8}/s"
        f"  ratio {row.ratio('rps'):5.2f}"
        f"  p99 {row.median(0, 'p99_ms'):7.3f} / {row.median(1, 'p99_ms'):7.3f} ms"
        f"  cpu {row.median(0, 'cpu_us'):6.2f} / {row.median(1, 'cpu_us'):6.2f} us{limited(row)}"
    )


def limited(row: Row) -> str:
    shares = [s.generator_cpu_share for pair in row.pairs for s in pair if s.generator_cpu_share is not None]
    return "  (generator-bound)" if shares and max(shares) > GENERATOR_LIMIT_SHARE else ""


def markdown_rows(rows: list[Row]) -> str:
    head = (
        "| request | clients | pipeline | value | redis /s | us /s | ratio | redis p50 / p99 ms | us p50 / p99 ms"
        " | p99 ratio | redis CPU us | us CPU us |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    )
    return head + "".join(markdown_row(row) for row in rows)


def markdown_row(row: Row) -> str:
    point = row.point
    note = " *" if limited(row) else ""
    return (
        f"| {point.workload.upper()}{note} | {point.clients} | {point.pipeline} | {point.value_bytes} B"
        f" | {human(row.median(0, 'rps'))} | {human(row.median(1, 'rps'))} | **{row.ratio('rps'):.2f}**"
        f" | {row.median(0, 'p50_ms'):.2f} / {row.median(0, 'p99_ms'):.2f}"
        f" | {row.median(1, 'p50_ms'):.2f} / {row.median(1, 'p99_ms'):.2f} | {row.ratio('p99_ms'):.2f}"
        f" | {row.median(0, 'cpu_us'):.2f} | {row.median(1, 'cpu_us'):.2f} |\n"
    )


SCALE_FIGURES = (
    ("memory per key", "bytes_per_key", "{:.0f} B"),
    ("loading the keys, pipeline 1000", "load_seconds", "{:.2f} s"),
    ("start-up from the log alone", "start_log_seconds", "{:.2f} s"),
    ("start-up from a snapshot", "start_snapshot_seconds", "{:.2f} s"),
    ("snapshot under load takes", "snapshot_seconds", "{:.2f} s"),
    ("SET/s at 50 clients, quiet", "set_rps_quiet", "{:.0f}"),
    ("SET/s at 50 clients, during a snapshot", "set_rps_snapshot", "{:.0f}"),
    ("SET p99, quiet", "set_p99_quiet_ms", "{:.2f} ms"),
    ("SET p99, during a snapshot", "set_p99_snapshot_ms", "{:.2f} ms"),
    ("SET slowest, during a snapshot", "set_max_snapshot_ms", "{:.1f} ms"),
)


def scale_table(scales: tuple[Scale, Scale]) -> str:
    head = f"| with {scales[0].keys:,} keys (16-byte names, 64-byte values) | redis | us | us / redis |\n"
    body = ""
    for title, name, form in SCALE_FIGURES:
        redis, us = (getattr(scale, name) for scale in scales)
        body += f"| {title} | {form.format(redis)} | {form.format(us)} | {us / max(redis, 1e-9):.2f} |\n"
    return head + "|---|--:|--:|--:|\n" + body


def results_page(machine: dict[str, str], settings: str, rows: list[Row], scales: tuple[Scale, Scale] | None) -> str:
    """bench/RESULTS.md, whole."""
    where = "".join(f"* {name}: {value}\n" for name, value in machine.items())
    page = (
        "# Benchmark results\n\nWritten by `python -m bench`; do not edit. redis-server runs with"
        " `appendonly yes, appendfsync always`, so both answer a write only after it is on disk.\n\n"
        f"{where}* run: {settings}\n\n"
        "Each ratio is the median over the rounds of us / redis within one round. Latency is per batch of the"
        " pipeline; CPU is the server's user and system time per request."
        " `*`: our load generator (mix only) was the limit, the ratio understates the faster server.\n\n"
    )
    if rows:
        page += "![throughput](results.svg)\n\n" + markdown_rows(rows)
    if scales is not None:
        page += "\n" + scale_table(scales)
    return page


def readme_table(machine: dict[str, str], rows: list[Row], scales: tuple[Scale, Scale] | None) -> str:
    """The short table for the README: the points that people ask for first."""
    wanted = [row for row in rows if row.point in README_POINTS] or rows
    text = f"Measured {machine['date']} on {machine['cpu']}, {machine['memory']}, {machine['data directory']}.\n\n"
    text += "| 64-byte values | redis-server /s | Vaylix RESP /s | ratio | p99 ratio |\n|---|--:|--:|--:|--:|\n"
    for row in wanted:
        point = row.point
        depth = f", pipeline {point.pipeline}" if point.pipeline > 1 else ""
        clients = "client" if point.clients == 1 else "clients"
        text += (
            f"| {point.workload.upper()}, {point.clients} {clients}{depth} | {human(row.median(0, 'rps'))}"
            f" | {human(row.median(1, 'rps'))} | {row.ratio('rps'):.2f} | {row.ratio('p99_ms'):.2f} |\n"
        )
    return text + ("\n" + scale_table(scales) if scales is not None else "")


def as_json(
    machine: dict[str, str], settings: str, rows: list[Row], scales: tuple[Scale, Scale] | None
) -> dict[str, Any]:
    return {
        "machine": machine,
        "settings": settings,
        "points": [
            {
                **asdict(row.point),
                "ratio": {figure: row.ratio(figure) for figure in ARROW},
                "meaning": ARROW,
                "redis": [asdict(redis) for redis, _ in row.pairs],
                "us": [asdict(us) for _, us in row.pairs],
            }
            for row in rows
        ],
        "scale": None if scales is None else {"redis": asdict(scales[0]), "us": asdict(scales[1])},
    }
