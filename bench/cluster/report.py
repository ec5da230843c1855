"""The figures of `bench.cluster` as lines for a terminal, as a page and as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.cluster.catchup import Return
from bench.cluster.failover import P99_RUNS_MIN, SOCKET_TIMEOUT_S, Gaps
from bench.cluster.load import WAIT_MS
from bench.cluster.speed import FOLLOWER, LEADER, REDIS, STOCK, WHO, Row
from bench.report import GENERATOR_LIMIT_SHARE, human


@dataclass
class Results:
    machine: dict[str, str]
    settings: str
    rows: list[Row] = field(default_factory=list)
    gaps: list[Gaps] = field(default_factory=list)
    returns: list[Return] = field(default_factory=list)


def notes(row: Row) -> str:
    """What makes a row's figures worth less than they look."""
    found = ""
    shares = [one.generator_cpu_share or 0 for samples in row.samples.values() for one in samples]
    if max(shares) > GENERATOR_LIMIT_SHARE:
        found += "  (generator-bound)"
    if row.unconfirmed():
        found += f"  ({row.unconfirmed()} WAITs of {WAIT_MS} ms without an answer)"
    return found


def row_line(row: Row) -> str:
    redisraft = f"{row.redisraft():5.2f} x RedisRaft" if row.redisraft() else ""
    return (
        f"{row.point!s:14} redis {human(row.median(REDIS, 'rps')):>7}/s"
        f"  leader {human(row.median(LEADER, 'rps')):>7}/s ({row.ratio(LEADER):.2f})"
        f"  follower {human(row.median(FOLLOWER, 'rps')):>7}/s ({row.ratio(FOLLOWER):.2f})"
        f"  p99 {row.median(REDIS, 'p99_ms'):6.2f} / {row.median(LEADER, 'p99_ms'):6.2f} ms"
        f"  cpu {row.median(REDIS, 'cpu_us'):6.1f} / {row.median(LEADER, 'cpu_us'):6.1f} us"
        f"  redis-benchmark {human(row.median(STOCK, 'rps')):>7}/s {redisraft}{notes(row)}"
    )


def gaps_line(gaps: Gaps) -> str:
    worst = "p99" if len(gaps.seconds) >= P99_RUNS_MIN else "max"
    errors = ", ".join(f"{count} x {text}" for text, count in Counter(gaps.errors).most_common(3)) or "none"
    return (
        f"{gaps.fault:8} {gaps.client:17}  write gap: median {gaps.median * 1000:6.0f} ms"
        f"  {worst} {gaps.worst * 1000:6.0f} ms  of {len(gaps.seconds)};  the loop's errors: {errors}"
    )


def return_line(back: Return) -> str:
    return (
        f"{back.how:24} {back.megabytes_per_second:6.1f} MB/s"
        f"  ({back.bytes_missed / 1e6:.0f} MB in {back.seconds:.2f} s, of that {back.start_seconds:.2f} s start)"
    )


def speed_table(rows: list[Row]) -> str:
    text = (
        "| request | clients | pipeline | redis + WAIT 1 /s | our leader /s | ratio | our follower /s"
        " | redis p50 / p99 ms | leader p50 / p99 ms | redis CPU us | our CPU us | leader, redis-benchmark /s"
        " | x RedisRaft |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    )
    for row in rows:
        point = row.point
        text += (
            f"| {point.workload.upper()}{notes(row)} | {point.clients} | {point.pipeline}"
            f" | {human(row.median(REDIS, 'rps'))} | {human(row.median(LEADER, 'rps'))} | **{row.ratio(LEADER):.2f}**"
            f" | {human(row.median(FOLLOWER, 'rps'))}"
            f" | {row.median(REDIS, 'p50_ms'):.2f} / {row.median(REDIS, 'p99_ms'):.2f}"
            f" | {row.median(LEADER, 'p50_ms'):.2f} / {row.median(LEADER, 'p99_ms'):.2f}"
            f" | {row.median(REDIS, 'cpu_us'):.1f} | {row.median(LEADER, 'cpu_us'):.1f}"
            f" | {human(row.median(STOCK, 'rps'))} | {row.redisraft():.2f} |\n"
        )
    return text


def page(results: Results) -> str:
    """CLUSTER.md, whole."""
    where = "".join(f"* {name}: {value}\n" for name, value in results.machine.items())
    text = (
        "# Three nodes on one machine\n\nWritten by `python -m bench.cluster`; do not edit. Beside: redis-server with"
        " two replicas, `appendonly yes, appendfsync always` on each, and `WAIT 1` behind each batch of writes.\n\n"
        f"{where}* run: {results.settings}\n\n"
    )
    if results.rows:
        text += (
            "Ratios are medians over the rounds of us / redis within one round; CPU is that of all three servers per"
            " request. A GET at our follower is linearizable; a Redis replica's is not, so it is not asked."
            " RedisRaft's figures are of another day.\n\n" + speed_table(results.rows) + "\n"
        )
    if results.gaps:
        lines = "\n".join(gaps_line(gaps) for gaps in results.gaps)
        settings = f"redis-py, `socket_timeout` {SOCKET_TIMEOUT_S:.0f} s, `Retry(ExponentialBackoff(), 3)`"
        text += f"{settings}:\n\n```text\n{lines}\n```\n\n"
    if results.returns:
        lines = "\n".join(return_line(back) for back in results.returns)
        text += f"A node that was away:\n\n```text\n{lines}\n```\n"
    return text


def as_json(results: Results) -> dict[str, Any]:
    return {
        "machine": results.machine,
        "settings": results.settings,
        "points": [
            {
                **asdict(row.point),
                "ratio": {who: row.ratio(who) for who in WHO},
                "samples": {who: [asdict(one) for one in samples] for who, samples in row.samples.items()},
            }
            for row in results.rows
        ],
        "failover": [asdict(gaps) for gaps in results.gaps],
        "returns": [{**asdict(back), "megabytes_per_second": back.megabytes_per_second} for back in results.returns],
    }
