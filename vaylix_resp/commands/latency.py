"""LATENCY: what was late, and how long each command takes.

Samples come from `observability.latency`, the histograms from `observability.metrics`. The reports for people
(DOCTOR, GRAPH) are in our own words; everything that programs read is as in Redis.
"""

from __future__ import annotations

from typing import Final

from ..errors import CommandError, printable
from ..observability.latency import Analysis, LatencyMonitor, Series, analyse
from ..observability.metrics import CommandStats, cumulative
from ..resp.reply import Reply, Verbatim
from .arguments import help_reply
from .ports import Client
from .spec import Argv, Kind, command, container

container("LATENCY", group="server", since="2.8.13", summary="What was late, and how long commands take.")

_ADMIN: Final = "admin noscript loading stale"
_TIPS: Final = ("nondeterministic_output", "request_policy:all_nodes", "response_policy:special")
GRAPH_COLUMNS, GRAPH_LEVELS = 80, 4
ADVICE: Final = {
    "command": "SLOWLOG GET names the slow requests; KEYS, SORT and large MGETs are the usual ones. Use SCAN, and "
    "fewer keys at once.",
    "fast-command": "requests of constant cost do not get slow by themselves: the process had to wait for a processor "
    "or for swapped memory (vmstat 1), or a client sends thousands at once.",
    "fsync": "the disk was slow to sync. See what else writes to it (iostat -x 1), give `dir` a disk of its own, or "
    "lower snapshot-throttle if LATENCY HISTORY snapshot has the same times.",
    "commit": "from the log to a majority of the disks. If fsync was not late at that time, the other nodes or the "
    "network were: `vaylix cluster status` shows who lags.",
    "apply": "the requests of one batch took long together: SLOWLOG GET and COMMANDLOG GET 10 large-request name the "
    "slow and the large; a pipeline of thousands is another cause.",
    "snapshot": "how long one took; no request waits for it, but it shares disk and processor. If fsync or loop were "
    "late at the same time, lower snapshot-throttle.",
    "expire-cycle": "very many keys expired at the same moment: spread their expiries by a random part.",
    "eviction-cycle": "maxmemory is reached and room has to be made: raise it, or give keys an expiry.",
    "loop": "everybody waited, whatever they had asked for. Other events of the same second say for what; if there are "
    "none, the machine was busy, swapping or paused (vmstat 1, st for stolen time).",
}


@command("LATENCY|LATEST", arity=2, kind=Kind.SESSION, flags=_ADMIN, group="server", since="2.8.13", tips=_TIPS)
def latency_latest(client: Client, argv: Argv) -> Reply:
    """The last and the worst sample of each kind of event."""
    series_of = client.server.lateness.latency.series
    return [[kind, *series.samples[-1], series.max_ms] for kind, series in series_of.items()]


@command(
    "LATENCY|HISTORY", arity=3, kind=Kind.SESSION, flags=_ADMIN, group="server", since="2.8.13", tips=_TIPS,
    syntax="event",
)  # fmt: skip
def latency_history(client: Client, argv: Argv) -> Reply:
    """The samples of one kind of event: time and milliseconds."""
    series = client.server.lateness.latency.series.get(_text(argv[2]))
    return [] if series is None else [list(sample) for sample in series.samples]


@command(
    "LATENCY|RESET", arity=-2, kind=Kind.SESSION, flags=_ADMIN, group="server", since="2.8.13",
    syntax="[event [event ...]]", tips=("request_policy:all_nodes", "response_policy:all_succeeded"),
)  # fmt: skip
def latency_reset(client: Client, argv: Argv) -> Reply:
    """Forget the samples of some kinds of events, or all."""
    monitor: LatencyMonitor = client.server.lateness.latency
    return monitor.reset([_text(word) for word in argv[2:]] or None)


@command(
    "LATENCY|GRAPH", arity=3, kind=Kind.SESSION, flags=_ADMIN, group="server", since="2.8.13", tips=_TIPS,
    syntax="event",
)  # fmt: skip
def latency_graph(client: Client, argv: Argv) -> Reply:
    """The samples of one kind of event as a drawing."""
    kind = _text(argv[2])
    series = client.server.lateness.latency.series.get(kind)
    if series is None:
        raise CommandError(f"ERR No samples available for event '{printable(argv[2])}'")
    return Verbatim(graph(kind, series, client.server.clock.wall_ms() // 1000).encode())


def graph(kind: str, series: Series, now_s: int) -> str:
    """One column per sample, newest right: a bar of up to four cells, and its age read downwards."""
    samples = series.samples[-GRAPH_COLUMNS:]
    values = [ms for _, ms in samples]
    low, high = min(values), max(values)
    # 1 to 4 times 2: each cell has a lower half `_` and an upper half `|`; the worst gets a `#`.
    heights = [1 + (ms - low) * (2 * GRAPH_LEVELS - 1) // max(high - low, 1) for ms in values]
    lines = [
        f"{kind} - high {high} ms, low {low} ms (all time high {series.max_ms} ms)",
        "-" * GRAPH_COLUMNS,
    ]
    for level in range(GRAPH_LEVELS - 1, -1, -1):
        cells = [_cell(height - 2 * level, ms == high) for height, ms in zip(heights, values, strict=True)]
        lines.append("".join(cells).rstrip())
    lines.append("")
    ages = [_age(now_s - at) for at, _ in samples]
    for row in range(max(map(len, ages))):
        lines.append("".join(age[row] if row < len(age) else " " for age in ages).rstrip())
    return "\n".join(lines) + "\n"


def _cell(halves: int, worst: bool) -> str:
    if halves <= 0:
        return " "
    if halves == 1:
        return "_"
    return "#" if worst and halves == 2 else "|"


def _age(seconds: int) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{max(seconds, 0)}s"


@command("LATENCY|DOCTOR", arity=2, kind=Kind.SESSION, flags=_ADMIN, group="server", since="2.8.13", tips=_TIPS)
def latency_doctor(client: Client, argv: Argv) -> Reply:
    """A report for people on what was late and what may help."""
    server = client.server
    monitor: LatencyMonitor = server.lateness.latency
    if not monitor.enabled and not monitor.series:
        return Verbatim(
            b"Latency monitoring is off: latency-monitor-threshold is 0. To record what takes longer than 100 ms:\n"
            b"CONFIG SET latency-monitor-threshold 100\n"
        )
    if not monitor.series:
        return Verbatim(b"Nothing was late since the monitor was switched on or reset.\n")
    now_s = server.clock.wall_ms() // 1000
    lines = [_finding(at, kind, analyse(series, now_s)) for at, (kind, series) in enumerate(monitor.series.items(), 1)]
    advice = [f"- {kind}: {ADVICE[kind]}" for kind in monitor.series if kind in ADVICE]
    text = "\n".join(["Late events since the start or the last LATENCY RESET:", "", *lines, "", *advice, ""])
    return Verbatim(text.encode())


def _finding(number: int, kind: str, found: Analysis) -> str:
    return (
        f"{number}. {kind}: {found.count} latency spikes (average {found.mean_ms}ms, mean deviation "
        f"{found.deviation_ms}ms, period {found.period_s:.2f} sec). Worst all time event {found.worst_ms}ms."
    )


@command(
    "LATENCY|HISTOGRAM", arity=-2, kind=Kind.SESSION, flags=_ADMIN, group="server", since="7.0.0", tips=_TIPS,
    syntax="[command [command ...]]",
    complexity="O(N) where N is the number of commands with latency information being retrieved.",
)  # fmt: skip
def latency_histogram(client: Client, argv: Argv) -> Reply:
    """How many calls of each command took up to 1, 2, 4, ... microseconds."""
    server = client.server
    if len(argv) == 2:
        wanted = [stats for stats in server.stats.used() if stats.calls]
    else:
        wanted = _named(client, argv[2:])
    return {stats.name: {"calls": stats.calls, "histogram_usec": cumulative(stats)} for stats in wanted}


def _named(client: Client, names: Argv) -> list[CommandStats]:
    """Statistics of the commands named; of a container those of its subcommands. Unknown ones are passed over."""
    found: dict[str, CommandStats] = {}
    for name in names:
        parent, _, child = _text(name).lower().partition("|")
        spec = client.server.commands.get(parent)
        if spec is None:
            continue
        chosen = [spec, *spec.subcommands.values()] if not child else [spec.subcommands.get(child)]
        for one in chosen:
            stats = client.server.stats.commands.get(one.name) if one else None
            if stats is not None and stats.calls:
                found[stats.name] = stats
    return list(found.values())


def _text(word: bytes) -> str:
    return word.decode("utf-8", "replace")


@command("LATENCY|HELP", arity=2, kind=Kind.SESSION, flags="loading stale early", group="server", since="2.8.13")
def latency_help(client: Client, argv: Argv) -> Reply:
    """The forms of LATENCY."""
    return help_reply(
        "LATENCY",
        "DOCTOR",
        "    Return a human readable latency analysis report.",
        "GRAPH <event>",
        "    Return an ASCII latency graph for the <event> class.",
        "HISTORY <event>",
        "    Return time-latency samples for the <event> class.",
        "LATEST",
        "    Return the latest latency samples for all events.",
        "RESET [<event> ...]",
        "    Reset latency data of one or more <event> classes.",
        "    (default: reset all data for all event classes)",
        "HISTOGRAM [COMMAND ...]",
        "    Return a cumulative distribution of latencies in the format of a histogram for the specified "
        "command names.",
        "    If no commands are specified then all histograms are replied.",
    )
