"""`vaylix bench`: in about a minute, what this disk can promise and what this server makes of it.

First fdatasync of small appends, the way the log is written, in a file of --dir: no durable write can be faster. Then
SET and GET as clients see them, alone, many, and pipelined. What stands in the way of a fair figure is said below it.
Promises: no key is touched but those under `vaylix-bench:`, which were not there before and are gone afterwards, also
when it is interrupted or told to end; a server that others use is loaded only when somebody has agreed to that.
Units: seconds, bytes. Not here: the clients (`bench_load`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

import hiredis
import uvloop

from ..config import load as load_settings
from ..errors import EX_CONFIG, EX_OK, EX_USAGE, Refused
from ..limits import MIB
from ..observability.figures import duration
from . import bench_load, reach
from .bench_load import KEYS, PREFIX, Done, Work
from .cluster import PASSWORD
from .moving.channel import Address, Channel, info, packed, sizes
from .output import confirm, print_json, table
from .reach import Target, target_of
from .terminal import ENDINGS

APPEND: Final = os.urandom(4096)  # what a compressing disk cannot make smaller
FILE_BYTES: Final = 64 * MIB  # as a segment of the log; behind its end it begins again
APPENDS_MAX: Final = 200_000  # of a disk that is no disk
DISK_SHARE: Final = 0.1  # of the time
SECONDS: Final = 60.0
SECONDS_MIN: Final = 2.0
BUSY_CLIENT: Final = 0.9  # of a core: then the client is what is measured
KEYS_AT_ONCE: Final = 500
WORKS: Final = tuple(
    Work(verb, clients, pipeline)
    for verb in ("SET", "GET")
    for clients, pipeline in ((1, 1), (50, 1), (200, 1), (50, 16))
)
SHOWN: Final = {50: "p50", 99: "p99", 100: "max"}  # of latencies
MEANS: Final = {
    "always": "SET is answered when it is on disk: these are durable writes",
    "everysec": "appendfsync everysec: SET is answered before it is on disk, a power cut loses about a second of them",
    "no": "appendfsync no: SET is answered before it is on disk, a power cut loses what the kernel has not written",
}


class NotNow(Refused):
    exit_code = EX_CONFIG


@dataclass(frozen=True, slots=True)
class Disk:
    directory: str
    appends: int
    median_us: float
    p99_us: float
    worst_us: float


@dataclass(frozen=True, slots=True)
class Result:
    work: Work
    done: Done
    fsyncs: int | None  # while it ran; None: the server does not say


def options(parser: argparse.ArgumentParser) -> None:
    reach.options(parser)
    parser.add_argument("--user", default="", help=f"user name; the password comes from {PASSWORD} or requirepass")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help=f"how long all of it takes (default: {SECONDS:g})"
    )
    parser.add_argument(
        "--dir", default=".", metavar="DIRECTORY", help="measure the disk under this directory (default: where you are)"
    )
    parser.add_argument("--disk-only", action="store_true", help="do not ask a server at all")
    parser.add_argument("--yes", action="store_true", help="load a server that has data or clients, too")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.seconds < SECONDS_MIN:
        raise _usage(f"--seconds: {SECONDS_MIN:g} at least")
    if arguments.disk_only:
        _say(arguments, {"disk": _disk_data(disk := measure_disk(arguments.dir, arguments.seconds))}, disk_line(disk))
        return EX_OK
    settings = load_settings(arguments.file, (), os.environ)
    password = os.environ.get(PASSWORD, "") or settings.requirepass
    target = target_of(arguments, settings)
    with _reached(Address(target, arguments.user, password, None), arguments.wait) as channel:
        server = about(channel)
        if not confirm(busy(server, target, arguments.seconds), arguments.yes or not server.busy):
            return EX_USAGE
        disk = measure_disk(arguments.dir, arguments.seconds * DISK_SHARE)
        if not arguments.json:
            print(f"{disk_line(disk)}\n\n{server_line(server, target)}", flush=True)
        login = packed([_login(arguments.user, password)]) if password else b""
        each_s = arguments.seconds * (1 - DISK_SHARE) / len(WORKS)
        with borrowed_keys(channel):
            results = [_measured(channel, target, login, work, each_s) for work in WORKS]
    noted = notes(server, target, disk, results)
    shown = "\n".join(["", results_table(results), "", *(f"* {note}" for note in noted)])
    _say(arguments, as_data(server, target, disk, results, noted), shown)
    return EX_OK


def _reached(address: Address, wait_s: float) -> Channel:
    """Raises Denied, and Refused with the place in it where nobody answers."""
    try:
        return Channel(address, wait_s)
    except OSError as problem:
        raise Refused(f"{address.where}: {reach.told(problem)}") from problem


def _say(arguments: argparse.Namespace, data: Mapping[str, Any], text: str) -> None:
    if arguments.json:
        print_json(data)
    else:
        print(text)


def _usage(text: str) -> Refused:
    refused = Refused(text)
    refused.exit_code = EX_USAGE
    return refused


def _login(user: str, password: str) -> tuple[bytes, ...]:
    return (b"AUTH", *((user.encode(),) if user else ()), password.encode("utf-8", "surrogateescape"))


# The disk.


def measure_disk(directory: str, seconds: float) -> Disk:
    """Appends of 4 KiB, each with its fdatasync, to a file that nobody else sees. Raises OSError."""
    took: list[float] = []
    with tempfile.TemporaryFile(dir=directory, prefix=".vaylix-bench-") as file:
        number = file.fileno()
        # Room and size beforehand, as the log does it: else each fdatasync writes the file's size as well.
        os.posix_fallocate(number, 0, FILE_BYTES)
        os.fsync(number)
        until = time.perf_counter() + seconds
        while len(took) < APPENDS_MAX and (not took or time.perf_counter() < until):
            os.pwrite(number, APPEND, len(APPEND) * len(took) % FILE_BYTES)
            began = time.perf_counter()
            os.fdatasync(number)
            took.append(time.perf_counter() - began)
    took.sort()
    return Disk(
        os.path.abspath(directory), len(took), 1e6 * took[len(took) // 2], 1e6 * took[int(len(took) * 0.99)],
        1e6 * took[-1],
    )  # fmt: skip


def disk_line(disk: Disk) -> str:
    return (
        f"the disk under {disk.directory}: {disk.appends:,} appends of 4 KiB with fdatasync, "
        f"median {duration(disk.median_us)}, p99 {duration(disk.p99_us)}, worst {duration(disk.worst_us)}"
    )


# The server.


@dataclass(frozen=True, slots=True)
class About:
    """What it says of itself; "" and 0 where it does not."""

    version: str
    role: str
    nodes: int  # 0: no cluster
    appendfsync: str
    directory: str
    keys: int
    clients: int  # others

    @property
    def busy(self) -> bool:
        return bool(self.keys or self.clients)


def about(channel: Channel) -> About:
    """Raises Denied, OSError, NotNow."""
    fields = info(channel, b"everything")
    name = "vaylix" if "vaylix_version" in fields else "redis"
    kept = _directive(channel, b"appendonly") != "no"
    return About(
        f"{name} {fields.get('vaylix_version', fields.get('redis_version', ''))}",
        fields.get("raft_role", fields.get("role", "")),
        int(fields["raft_num_nodes"]) if "raft_cluster_id" in fields else 0,
        _directive(channel, b"appendfsync") if kept else "no",
        _directive(channel, b"dir"),
        sum(sizes(fields).values()),
        max(int(fields.get("connected_clients", "1")) - 1, 0),
    )


def _granted(reply: Any) -> Any:
    if isinstance(reply, hiredis.ReplyError):
        raise NotNow(f"the server answers: {reply}")
    return reply


def _directive(channel: Channel, name: bytes) -> str:
    """Of CONFIG GET, which this user may not be allowed."""
    reply: Any = channel.ask(b"CONFIG", b"GET", name)
    known = isinstance(reply, list) and len(reply) == 2
    return reply[1].decode("utf-8", "replace") if known else ""


def busy(server: About, target: Target, seconds: float) -> str:
    """The question before somebody else's server is loaded."""
    return (
        f"{target.where} has {server.keys:,} keys and {server.clients:,} other clients; for {seconds:g} seconds it "
        "will be asked as much as it can answer, and its log will grow."
    )


def server_line(server: About, target: Target) -> str:
    if server.nodes:
        return f"{server.version} at {target.where}, {server.role} in a cluster of {server.nodes}"
    return f"{server.version} at {target.where}, a single node, appendfsync {server.appendfsync or 'unknown'}"


@contextlib.contextmanager
def borrowed_keys(channel: Channel) -> Iterator[None]:
    """The keys that are written: none of them may be there, and none is afterwards. Raises NotNow."""
    names = [bench_load.key(number) for number in range(KEYS)]
    found = _granted(channel.ask(b"EXISTS", *names))
    if found:
        raise NotNow(
            f"{found:,} keys that begin with {PREFIX.decode()} are there already, perhaps from a run that was killed; "
            f"this tool overwrites nothing. Remove them: redis-cli --scan --pattern '{PREFIX.decode()}*' | "
            "xargs redis-cli UNLINK"
        )
    parts = [names[at : at + KEYS_AT_ONCE] for at in range(0, KEYS, KEYS_AT_ONCE)]
    before = {number: signal.signal(number, _as_interrupt) for number in ENDINGS}
    try:
        for part in parts:
            _granted(channel.ask(b"MSET", *(word for name in part for word in (name, bench_load.VALUE))))
        yield
    finally:
        for part in parts:
            channel.ask(b"UNLINK", *part)
        for number, handler in before.items():
            signal.signal(number, handler)


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    """An end of another kind, as Ctrl-C: the keys are to go."""
    signal.raise_signal(signal.SIGINT)


def _measured(channel: Channel, target: Target, login: bytes, work: Work, seconds: float) -> Result:
    before = _fsyncs(channel)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        done = runner.run(bench_load.load(target, login, work, seconds))
    after = _fsyncs(channel)
    return Result(work, done, None if before is None or after is None else after - before)


def _fsyncs(channel: Channel) -> int | None:
    count = info(channel, b"persistence").get("log_fsync_count")
    return None if count is None else int(count)


# What comes of it.


def results_table(results: Sequence[Result]) -> str:
    head = ("requests", "a second", *(name.rjust(8) for name in SHOWN.values()), "writes per fsync")
    rows = []
    for one in results:
        latencies = [duration(one.done.percentile_us(percent)).rjust(8) for percent in SHOWN]
        rows.append((one.work.name, f"{one.done.rate:,.0f}".rjust(8), *latencies, per_fsync(one)))
    return table(rows, head)


def per_fsync(one: Result) -> str:
    """How many writes shared one: what group commit is for."""
    if one.work.verb != "SET" or not one.fsyncs:
        return "-"
    return f"{one.done.answered / one.fsyncs:.1f}"


def notes(server: About, target: Target, disk: Disk, results: Sequence[Result]) -> list[str]:
    """What makes these figures other than they look."""
    found = [MEANS.get(server.appendfsync, "what a SET that was answered survives is not known: CONFIG GET is refused")]
    if server.nodes:  # whose nodes sync whatever appendfsync says
        majority = f"a majority of {server.nodes} nodes"
        found = [f"SET is answered when it is on the disks of {majority}: these are durable writes"]
        if server.role != "leader":
            found.append(f"this node is a {server.role}: it passes writes on to the leader, and is slower than that")
    if is_local(target):
        found.append(
            f"client and server share the {os.cpu_count()} processors of this machine: where the server has them for "
            "itself, it answers more"
        )
        if not same_disk(disk.directory, server.directory):
            where = f"of its data ({server.directory})" if server.directory else "of its data"
            found.append(f"the disk above may not be that {where}: give --dir")
    else:
        found.append("latency includes the network; the disk above is that of this machine, not of the server")
    busy_ones = [one.work.name for one in results if one.done.client_cpu > BUSY_CLIENT]
    if busy_ones:
        found.append(f"this client was as busy as it can be, and the limit, in: {'; '.join(busy_ones)}")
    return found


def is_local(target: Target) -> bool:
    """On this machine, as far as its address tells."""
    if not target.port:
        return True
    try:
        found = socket.getaddrinfo(target.address, None)
    except OSError:
        return False
    return all(ipaddress.ip_address(str(one[4][0]).partition("%")[0]).is_loopback for one in found)


def same_disk(one: str, other: str) -> bool:
    try:
        return bool(other) and os.stat(one).st_dev == os.stat(other).st_dev
    except OSError:
        return False


def _disk_data(disk: Disk) -> dict[str, Any]:
    return {
        "directory": disk.directory, "append_bytes": len(APPEND), "appends": disk.appends,
        "fdatasync_us": {"p50": round(disk.median_us, 1), "p99": round(disk.p99_us, 1), "max": round(disk.worst_us, 1)},
    }  # fmt: skip


def as_data(
    server: About, target: Target, disk: Disk, results: Sequence[Result], noted: Sequence[str]
) -> dict[str, Any]:
    return {
        "disk": _disk_data(disk),
        "server": {
            "address": target.where, "version": server.version, "role": server.role, "nodes": server.nodes,
            "appendfsync": server.appendfsync or None,
        },
        "results": [
            {
                "command": one.work.verb, "clients": one.work.clients, "pipeline": one.work.pipeline,
                "value_bytes": len(bench_load.VALUE) if one.work.verb == "SET" else None,
                "requests": one.done.requests, "seconds": round(one.done.seconds, 3),
                "requests_per_second": round(one.done.rate, 1),
                "latency_us": {name: round(one.done.percentile_us(percent), 1) for percent, name in SHOWN.items()},
                "fsyncs": one.fsyncs, "client_cpu": round(one.done.client_cpu, 3),
            }
            for one in results
        ],
        "notes": list(noted),
    }  # fmt: skip
