"""What /status says, section by section: the facts of INFO in the words of a person.

Promise: a sentence says what is so, not what is configured, and a warning is one that somebody should act on.
Not here: the skeleton and the header of the page (`status`), drawings (`charts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from ...commands.cluster_facts import members_of
from ...commands.cluster_view import ClusterView, Member
from ...config_cluster import host_and_port
from ...errors import CommandError, printable
from ...observability.figures import duration, number, size, span
from ...observability.metrics import CommandStats
from ...observability.slowlog import Entry
from ..recent import Point
from .charts import COUNT, DURATION, PER_SECOND, SIZE, SIZE_PER_SECOND, Line, chart
from .markup import NOTHING, Markup, joined, tag

if TYPE_CHECKING:
    from ..shared import Shared

ROWS_MAX: Final = 10  # of commands, of slow requests
WORDS_MAX: Final = 160  # characters of a slow request; SLOWLOG GET has more
NEVER: Final = "none yet"

# What a reply means on a server alone. A node of a cluster syncs whatever appendfsync says: it must forget no promise.
REPLY_MEANS: Final = {
    "always": "on this disk before it is answered: a power cut loses nothing",
    "everysec": "answered before it is on disk: a power cut loses about a second",
    "no": "answered before it is on disk: a power cut loses what the kernel has not written",
}
REPLY_OF_CLUSTER: Final = "on a majority of the nodes' disks before it is answered"
REPLY_OF_ALL: Final = "on the disks of all nodes with a vote before it is answered"

# Of a member, as the leader sees it; what is not here says enough by itself.
STATES: Final = {"leader": "leads", "unknown": "–", "replicate": "follows", "probe": "is looked for"}


# Header and tiles.


def name_of(server: Shared) -> str:
    view, settings = server.cluster, server.settings
    if view is not None and view.name:
        return view.name
    host = settings.bind[0].lstrip("-") if settings.bind else ""
    port = settings.port or settings.tls_port
    return host_and_port(host, port) if port else settings.unixsocket


def role_of(server: Shared) -> str:
    view = server.cluster
    if view is None:
        return "single node"
    return view.role if view.leader is not None else f"{view.role} without a leader"


def tiles(server: Shared) -> Markup:
    world, stats = server.machine.world, server.stats
    keys = sum(len(db.items) for db in world.databases)
    asked = world.hits + world.misses
    limit = server.settings.maxmemory
    found = (
        ("Requests", f"{number(max(stats.ops_rate.value, 0.0))}/s"),
        ("Clients", number(len(server.clients))),
        ("Keys", number(keys)),
        ("Hit rate", f"{100 * world.hits / asked:.1f} %" if asked else "–"),
        ("Memory" + (f" of {size(limit)}" if limit else ""), size(server.process.memory().used)),
        ("Log on disk", size(server.node.wal.total_bytes)),
    )
    return tag("section", *(tag("div", tag("b", value), tag("span", name), class_="card") for name, value in found),
               class_="tiles")  # fmt: skip


# Charts.


def charts(server: Shared) -> Markup:
    points, now = list(server.recent.points), server.clock.now()

    def line(name: str, value: Callable[[Point], float | None]) -> Line:
        return Line(name, [(now - point.at, value(point)) for point in points])

    return joined(
        chart("Requests", "executed, all commands", PER_SECOND, line("", lambda one: one.requests_s)),
        chart("Requests, p99", "execution alone, without waiting for the disk", DURATION,
              line("", lambda one: one.executed_p99_us)),
        chart("Writes, p99", "its fsync; from the log to committed, which is durable on a majority", DURATION,
              line("commit", lambda one: one.commit_p99_us), line("fsync", lambda one: one.fsync_p99_us)),
        chart("Bytes", "over all connections of clients", SIZE_PER_SECOND,
              line("in", lambda one: one.received_s), line("out", lambda one: one.sent_s)),
        chart("Clients", "connected", COUNT, line("", lambda one: one.connections)),
        chart("Memory", "of the process", SIZE, line("", lambda one: one.memory)),
    )  # fmt: skip


# Durability.


def durability(server: Shared) -> Markup:
    rows = [_reply(server), _log(server), _fsync(server), _snapshot(server), _window(server), _copies(server),
            _encryption(server)]  # fmt: skip
    return tag("dl", *(part for name, line, *notes in rows for part in (tag("dt", name), _entry(line, notes))))


def _entry(line: object, notes: Iterable[object]) -> Markup:
    return tag("dd", line, *(tag("small", note) for note in notes if note))


def _level(text: str, level: str) -> Markup:
    return tag("span", text, class_=level)


def _reply(server: Shared) -> Sequence[object]:
    if server.cluster is not None:
        mode = server.settings.write_ack_mode
        return "A write is", REPLY_OF_ALL if mode == "all" else REPLY_OF_CLUSTER, f"write-ack-mode {mode}"
    means = REPLY_MEANS[server.node.appendfsync]
    line = f"appendfsync {server.node.appendfsync}"
    return "A write is", means if server.node.appendfsync == "always" else _level(means, "warn"), line


def _log(server: Shared) -> Sequence[object]:
    node = server.node
    if node.failure is not None:
        line = _level(f"failed: {node.failure}", "bad")
    elif node.full:
        line = _level("the disk is full, writes are refused", "bad")
    else:
        line = _level("healthy", "good")
    place = f"{size(node.wal.total_bytes)} in {_some(len(node.wal.segments()), 'segment')}"
    return "Log", line, f"{place}, up to {node.last_sequence:,}"


def _fsync(server: Shared) -> Sequence[object]:
    fsync, worst = server.node.stages.fsync, server.node.fsync.max_us
    if not fsync.count:
        return "fsync", NEVER
    median, high = (duration(fsync.percentile(share) / 1000) for share in (50, 99))
    return "fsync", f"median {median}, p99 {high}", f"{fsync.count:,} since the start, the slowest {duration(worst)}"


def _snapshot(server: Shared) -> Sequence[object]:
    checkpoint = server.checkpoint
    ago = span(server.clock.wall_ms() // 1000 - checkpoint.last_save_unix)
    line: object = f"{ago} ago, at {checkpoint.sequence:,}" if checkpoint.sequence else NEVER
    if not checkpoint.last_ok:
        line = _level(f"the last one failed: {checkpoint.last_error}", "bad")
    running = f"one is being written, {100 * checkpoint.progress:.0f} % done" if checkpoint.running else ""
    return "Last snapshot", line, f"{number(checkpoint.changes_since)} writes since", running


def _window(server: Shared) -> Sequence[object]:
    found = server.checkpoint.retention()
    reach, wanted = found.window_ms(server.clock.wall_ms()) / 1000, server.checkpoint.wanted.window_ms / 1000
    line = f"any moment of the last {span(min(reach, wanted) if wanted else reach)}"
    if found.shortened:
        return "Restore", _level(line, "warn"), f"pitr-size-max does not hold the {span(wanted)} of pitr-window"
    return "Restore", line, f"pitr-window {span(wanted)}, {size(found.extra_bytes)} kept for it alone"


def _copies(server: Shared) -> Sequence[object]:
    archive, backups = server.archive, server.backups
    made = f"{_some(backups.count, 'backup')} since the start"
    if backups.last_error:
        made += f", the last one failed: {backups.last_error}"
    if not archive.enabled:
        return "Copies", "no archive-command", made
    pending = archive.pending()
    line: object = f"archived up to {archive.sequence:,}"
    if archive.last_error:
        line = _level(f"archive-command fails: {archive.last_error}", "bad")
    waiting = f"{_some(len(pending), 'file')} to go, {size(sum(item.size for item in pending))}"
    return "Copies", line, waiting, made


def _encryption(server: Shared) -> Sequence[object]:
    found = dict(server.keyring.info())
    if found["encryption"] != "on":
        return "Encryption", _level("off: whoever has the files has the data", "warn")
    return "Encryption", f"AES-256-GCM, key {found['keyring_active_key']}"


# Cluster.


def cluster(server: Shared) -> Markup:
    view = server.cluster
    if view is None:
        return tag("p", "This server stands alone (no raft-port): no other node has its data.", class_="soft")
    members, leader = members_of(server), view.leader
    led = f"led by {leader.name or leader.hex_id}" if leader is not None else "no leader is known"
    about = f"{led} · term {view.term} · committed {view.committed:,} · applied {view.applied:,}"
    rows = [_member(view, leader, one) for one in members]
    note = NOTHING
    if leader is None or leader.id != view.id:
        note = tag("p", "How far the others are is known to the leader.", class_="soft")
    head = (("node", ""), ("address", ""), ("role", ""), ("behind", "n"), ("heard", "n"), ("state", ""))
    return joined(
        tag("p", about, class_="soft" if leader is not None else "bad"), _table(head, rows, "members"), note
    )  # fmt: skip


def _member(view: ClusterView, leader: Member | None, one: Member) -> Sequence[object]:
    where = host_and_port(one.client.host, one.client.port) if one.client is not None else "–"
    leads = leader is not None and one.id == leader.id
    role = "leader" if leads else "voter" if one.voter else "learner"
    heard = "–" if one.last_contact_s is None else duration(one.last_contact_s * 1e6)
    if one.id == view.id:
        heard = "this one"
    state = STATES.get(one.state, one.state)
    return one.name or one.hex_id, where, role, _or_dash(one.lag), heard, _level(state, "bad") if one.down else state


def _or_dash(value: int | None) -> str:
    return "–" if value is None else number(value)


# Commands and slow requests.


def commands(server: Shared) -> Markup:
    used = sorted(server.stats.used(), key=lambda one: one.total, reverse=True)[:ROWS_MAX]
    if not used:
        return tag("p", NEVER, class_="soft")
    whole = max(sum(one.total for one in server.stats.used()), 1)
    head = (("command", ""), ("calls", "n"), ("mean", "n"), ("p99", "n"), ("failed", "n"), ("share", "n"))
    return _table(head, [_command(one, whole) for one in used], "top")


def _command(one: CommandStats, whole: int) -> Sequence[object]:
    calls = max(one.calls, 1)
    failed = one.failed_calls + one.rejected_calls
    share = f"{60 * one.total / whole:.1f}"
    drawn = tag("svg", tag("rect", width=share, height=8), class_="share", viewBox="0 0 60 8", role="img",
                aria_label=f"{100 * one.total / whole:.0f} %")  # fmt: skip
    mean, high = duration(one.total / calls / 1000), duration(one.percentile(99) / 1000)
    return one.name, number(one.calls), mean, high, number(failed), drawn


def slow(server: Shared) -> Markup:
    """Names alone, unless the configuration wants the arguments on the page: keys and values are in them."""
    entries = server.lateness.slowlog.newest(ROWS_MAX)
    threshold = server.settings.slowlog_log_slower_than
    limit = f"slower than {duration(threshold)}" if threshold >= 0 else "slowlog-log-slower-than is off"
    if not entries:
        return tag("p", f"None, {limit}.", class_="soft")
    open_ = server.settings.http_status_slowlog
    head = (("ago", "n"), ("took", "n"), ("request", ""), *((("client", "one"),) if open_ else ()))
    rows = [_slow(server, one, open_) for one in entries]
    note = f"{len(server.lateness.slowlog)} {limit}; SLOWLOG GET has them all"
    return joined(
        _table(head, rows, "slowlog"), tag("p", note if open_ else f"{note}, with their arguments", class_="soft")
    )


def _slow(server: Shared, one: Entry, open_: bool) -> Sequence[object]:
    ago = span(max(server.clock.wall_ms() // 1000 - one.unix_s, 0))
    if not open_:
        return ago, duration(one.value), _command_of(server, one.argv)
    words = " ".join(printable(word, WORDS_MAX) for word in one.argv)
    shown = words if len(words) <= WORDS_MAX else f"{words[:WORDS_MAX]} …"
    client = f"{printable(one.name, len(one.name))} {one.addr}".strip()
    return ago, duration(one.value), shown, client


def _command_of(server: Shared, argv: Sequence[bytes]) -> str:
    """As we spell it, never as the client did, and how much came with it."""
    try:
        name = server.table.find(argv).spec.name
    except CommandError:
        name = "?"
    return f"{name.replace('|', ' ').upper()}, {_some(len(argv) - 1 - ('|' in name), 'argument')}"


def _some(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _table(head: Sequence[tuple[str, str]], rows: Sequence[Sequence[object]], identity: str) -> Markup:
    """The first column names the row; class `n` is for figures."""
    kinds = [kind or None for _, kind in head]
    top = tag("tr", *(tag("th", name, class_=kind) for (name, _), kind in zip(head, kinds, strict=True)))
    body = [
        tag("tr", *(tag("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True))) for row in rows
    ]
    return tag("div", tag("table", tag("thead", top), tag("tbody", *body), id=identity), class_="wide")
