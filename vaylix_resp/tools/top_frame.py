"""One screen of `vaylix top`: nodes, figures and tables into lines. Pure; tested by transcripts.

    frame(nodes, width=80, height=24)      at most `height` rows of at most `width` characters

Where there is less room than there is to say, tables give up their last rows, clients first.
Not here: colours and keys (`top`), what figures mean (`top_figures`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ..observability.figures import duration, number, size, span
from .top_figures import Command, Figures, Sample

NOTHING: Final = "-"
Kind = Literal["", "head", "bad", "soft"]

# What `s` goes through: how commands are put in order, largest first.
SORTS: Final[dict[str, Callable[[Command], float]]] = {
    "time": lambda one: one.share,
    "calls": lambda one: one.calls_s,
    "mean": lambda one: one.mean_us or 0.0,
    "failed": lambda one: one.failed_s,
}


@dataclass(frozen=True, slots=True)
class Row:
    text: str
    kind: Kind = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A node as it is now, and what it did since the look before; None: there was none."""

    sample: Sample
    figures: Figures | None


@dataclass(frozen=True, slots=True)
class View:
    """How it is shown."""

    width: int
    height: int
    sort: str = "time"
    paused: bool = False
    period_s: float = 2.0
    clock: str = ""  # the time of day
    problem: str = ""  # why there is nothing newer


def frame(nodes: Sequence[Node], view: View) -> list[Row]:
    """The first node is the one that was asked; it answered."""
    first = nodes[0]
    head = [_title(first, view), *_summary(first.figures), Row(view.problem, "bad" if view.problem else "")]
    foot = [Row(_keys(view), "soft")]
    tables = [_nodes(nodes), _commands(first.figures, view.sort), _clients(first.sample.clients)]
    rows = head + _fitted([table for table in tables if table], view.height - len(head) - len(foot)) + foot
    return [Row(clean(row.text)[: view.width].rstrip(), row.kind) for row in rows][: view.height]


def clean(text: str) -> str:
    """Names come from clients and peers: nothing in them moves the cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)


# The first lines.


def _title(node: Node, view: View) -> Row:
    sample = node.sample
    role = sample.status.get("role", "")
    words = [sample.address if sample.name in ("", sample.address) else f"{sample.name} at {sample.address}"]
    if len(sample.status.get("members", ())) > 1:
        leader = sample.status.get("leader")
        words.append(role)
        if role != "leader":
            words.append(f"led by {leader}" if leader else "NO LEADER IS KNOWN")
    if node.figures is not None and node.figures.uptime_s is not None:
        words.append(f"up {span(node.figures.uptime_s)}")
    right = f"  {view.clock}  every {view.period_s:g} s" + ("  PAUSED" if view.paused else "")
    room = max(view.width - len(right), 1)  # that it stands still has to be seen, whatever the names
    return Row(f"{', '.join(words)[:room]:<{room}}{right}", "head")


def _summary(figures: Figures | None) -> list[Row]:
    if figures is None:
        return [Row("measuring ...", "soft")]
    one = figures
    limit = f" of {size(one.memory_limit)}" if one.memory_limit else ""
    lines = {
        "requests": (f"{_rate(one.requests_s)}", f"errors {_rate(one.errors_s)}", f"hit rate {_share(one.hit_rate)}",
                     f"cpu {_share(one.cpu)}"),
        "latency": (f"p50 {_time(one.executed_p50_us)}", f"p99 {_time(one.executed_p99_us)}", "of execution alone"),
        "writes": (f"fsync p50 {_time(one.fsync_p50_us)}", f"p99 {_time(one.fsync_p99_us)}",
                   f"commit p99 {_time(one.commit_p99_us)}"),
        "batches": (_rate(one.batches_s), f"{_count(one.writes_per_batch)} writes each"),
        "network": (f"in {_size(one.received_s)}/s", f"out {_size(one.sent_s)}/s", f"clients {_count(one.clients)}",
                    f"blocked {_count(one.blocked)}"),
        "memory": (f"{_size(one.memory)}{limit}", f"keys {_count(one.keys)}", f"expired {_rate(one.expired_s)}",
                   *((f"evicted {_rate(one.evicted_s)}",) if limit else ())),
        "disk": (f"log {_size(one.log_size)}", f"free {_size(one.disk_free)}",
                 f"snapshot {_ago(one.snapshot_age_s)} ago", f"restore {_ago(one.restore_s)}"),
    }  # fmt: skip
    return [Row(f"{name:<10}" + "   ".join(parts)) for name, parts in lines.items()]


def _known(say: Callable[[float], str]) -> Callable[[float | None], str]:
    return lambda value: NOTHING if value is None else say(value)


_count, _size, _time, _ago = _known(number), _known(size), _known(duration), _known(span)
_rate = _known(lambda value: f"{number(value)}/s")
_share = _known(lambda value: f"{100 * value:.0f} %")


def _keys(view: View) -> str:
    return f"q quit   space {'go on' if view.paused else 'pause'}   s sort commands (by {view.sort})"


# Tables: a head and rows.

Table = list[Row]


def _fitted(tables: Sequence[Table], room: int) -> list[Row]:
    """As much of each as fits, a blank line behind each; rows are taken from the longest, but not from the first."""
    sizes = [len(table) for table in tables]
    while sum(sizes) + len(sizes) > room and max(sizes, default=0) > 2:
        largest = max(sizes[1:] or sizes)
        at = max(index for index, length in enumerate(sizes) if length == largest or not sizes[1:])
        if sizes[at] <= 2:
            break
        sizes[at] -= 1
    shown: list[Row] = []
    for table, length in zip(tables, sizes, strict=True):
        if len(shown) + min(length, 2) + 1 > room:
            break
        shown += [*table[:length], Row("")]
    return shown


def _lined_up(head: Sequence[str], rows: Iterable[tuple[Sequence[str], Kind]], left: frozenset[int]) -> Table:
    found = list(rows)
    widths = [max(len(row[at]) for row in (head, *(cells for cells, _ in found))) for at in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(
            cell.ljust(width) if at in left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )

    return [Row(line(head), "head"), *(Row(line(cells), kind) for cells, kind in found)]


def _nodes(nodes: Sequence[Node]) -> Table:
    """Only where there are several. Times are 99th percentiles."""
    if len(nodes) < 2:
        return []
    head = ("NODE", "ROLE", "LAG", "REQUESTS", "P99", "FSYNC", "COMMIT", "MEMORY", "STATE")
    members = _leaders_members(nodes)
    return _lined_up(head, [_node(node, members) for node in nodes], frozenset({0, 1, 8}))


def _leaders_members(nodes: Sequence[Node]) -> dict[str, Mapping[str, Any]]:
    """Of all nodes by id: as the leader sees them, who knows most, else as the first does."""
    statuses = [node.sample.status for node in nodes if node.sample.status]
    best = next((one for one in statuses if one.get("leader-id") == one.get("id")), statuses[0] if statuses else {})
    return {member["id"]: member for member in best.get("members", ())}


def _node(node: Node, members: Mapping[str, Mapping[str, Any]]) -> tuple[Sequence[str], Kind]:
    sample, one = node.sample, node.figures
    if sample.problem:
        return (sample.name, *([NOTHING] * 7), sample.problem), "bad"
    member = members.get(str(sample.status.get("id", "")), {})
    lag = member.get("lag")
    state = str(member.get("state", "")).replace("unknown", "")
    wrong = sample.status.get("log", "ok") != "ok" or sample.status.get("data", "ok") != "ok"
    if wrong:
        state = f"log {sample.status.get('log')}, data {sample.status.get('data')}"
    figures = [NOTHING] * 5
    if one is not None:
        figures = [_rate(one.requests_s), _time(one.executed_p99_us), _time(one.fsync_p99_us),
                   _time(one.commit_p99_us), _size(one.memory)]  # fmt: skip
    cells = (sample.name, str(sample.status.get("role", "")), NOTHING if lag is None else number(lag), *figures, state)
    return cells, "bad" if wrong else ""


def _commands(figures: Figures | None, sort: str) -> Table:
    if figures is None:
        return []
    head = ("COMMAND", "CALLS", "TIME", "MEAN", "FAILED")
    ranked = sorted(figures.commands, key=SORTS[sort], reverse=True)
    return _lined_up(
        head,
        [((one.name, _rate(one.calls_s), f"{100 * one.share:.1f} %", _time(one.mean_us), _rate(one.failed_s)), "")
         for one in ranked],
        frozenset({0}),
    )  # fmt: skip


def _clients(clients: Sequence[Mapping[str, str]]) -> Table:
    """Those that the server holds most memory for; among equals, whoever asked last."""
    head = ("CLIENT", "LAST", "IDLE", "MEMORY", "INPUT", "OUTPUT", "AGE", "DB", "USER", "NAME")
    ranked = sorted(clients, key=lambda one: (-_figure(one, "tot-mem"), _figure(one, "idle"), _figure(one, "id")))
    rows: list[tuple[Sequence[str], Kind]] = []
    for one in ranked:
        memory = [size(_figure(one, name)) for name in ("tot-mem", "qbuf", "omem")]
        idle, age = (span(_figure(one, name)) for name in ("idle", "age"))
        address, last, db, user, name = (one.get(word, "") for word in ("addr", "cmd", "db", "user", "name"))
        rows.append(((address, last, idle, *memory, age, db, user, name), ""))
    return _lined_up(head, rows, frozenset({0, 1, 8, 9})) if rows else []


def _figure(client: Mapping[str, str], name: str) -> int:
    text = client.get(name, "0")
    return int(text) if text.isdigit() else 0
