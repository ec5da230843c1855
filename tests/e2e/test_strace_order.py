"""The order of system calls, watched from outside: no reply before its fdatasync, no file without its directory.

The server runs under strace from its first call to its last. Clients send INCR over counters of their own, so the
n-th number on a connection answers its n-th request; a request is covered by an fdatasync that began after it was
read and had returned before its answer was sent.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.processes import Server, ask, info_field, wait_until
from tests.e2e.tools import SERVER_IS_REDIS, ours, require, strace_prefix, vaylix
from tests.e2e.trace import Call, read_trace

CLIENTS = 8
BATCHES = 30
PIPELINE = 5
READS = {"read", "recvfrom", "recvmsg", "readv"}
SENDS = {"write", "sendto", "sendmsg", "writev", "send"}
SYNCS = {"fdatasync", "fsync"}
COUNTER = b"*2\r\n$4\r\nINCR\r\n$6\r\nord:%02d\r\n"


@dataclass(frozen=True)
class Traced:
    calls: list[Call]
    data_directory: Path


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    """One traced life of a server: writers, three snapshots in between, a clean stop."""
    require("strace")
    log = tmp_path_factory.mktemp("trace") / "strace.log"
    prefix = strace_prefix("-yy", "-s", "4096", "-e", "trace=network,desc,file", "-o", str(log))
    with vaylix(*ours("--wal-segment-size", "64kb"), prefix=prefix) as server:
        for _ in range(3):
            write_from_many_clients(server)
            snapshot_to_its_end(server)
        assert server.stop() == 0, server.log_tail()
        directory = server.data_directory
        wait_until(lambda: log_is_whole(log), 30, "strace to write its log")
        return Traced(read_trace(log), directory)


def log_is_whole(log: Path) -> bool:
    return "+++ exited with" in log.read_text(errors="replace")[-300:]


def write_from_many_clients(server: Server) -> None:
    problems: list[BaseException] = []

    def client(number: int) -> None:
        try:
            write_batches(server.port, number)
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems


def write_batches(port: int, number: int) -> None:
    """Pipelines of INCR, some large values between them so that segments fill."""
    filler = b"*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$3000\r\n%b\r\n" % os.urandom(1500).hex().encode()
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        replies = connection.makefile("rb")
        for batch in range(BATCHES):
            pipeline = 1 if batch % 2 else PIPELINE
            connection.sendall(COUNTER % number * pipeline)
            for _ in range(pipeline):
                assert replies.readline().startswith(b":")
            if number == 0:
                connection.sendall(filler)
                assert replies.readline() == b"+OK\r\n"


def snapshot_to_its_end(server: Server) -> None:
    assert ask(server.port, "BGSAVE", timeout=30).startswith(b"+")
    wait_until(lambda: info_field(server.port, "persistence", "rdb_bgsave_in_progress") == "0", 60, "BGSAVE")


def connections(calls: list[Call]) -> dict[tuple[int, int], list[Call]]:
    """Traffic of each client connection, in order, by descriptor and how often that was closed before.

    Not by the name that strace shows: it remembers names by inode, and the kernel reuses inodes.
    """
    traffic: dict[tuple[int, int], list[Call]] = defaultdict(list)
    closes: dict[int, int] = defaultdict(int)
    talkers = {call.pid for call in calls if call.is_tcp and call.name in SENDS}  # threads, but no snapshot child
    for call in calls:
        if call.is_tcp and call.result > 0 and (call.name in READS or call.name in SENDS):
            traffic[call.fd_number, closes[call.fd_number]].append(call)
        elif call.name == "close" and call.pid in talkers:
            closes[call.fd_number] += 1
    return traffic


def test_every_reply_to_a_write_comes_after_the_fdatasync_that_covers_it(traced: Traced) -> None:
    inside = str(traced.data_directory)
    syncs = [c for c in traced.calls if c.name in SYNCS and c.result == 0 and c.fd_name.startswith(inside)]
    writes = [
        c for c in traced.calls
        if c.name in SENDS | {"pwrite64", "pwritev"} and c.result > 0 and c.fd_name.startswith(inside)
    ]  # fmt: skip
    answered = 0
    for name, traffic in connections(traced.calls).items():
        for asked, reply in requests_and_replies(traffic):
            answered += 1
            assert is_covered(asked, reply, writes, syncs), (
                f"{name}: line {reply.began + 1} of the trace answers what line {asked.ended + 1} read,"
                " and no write and fdatasync of the log lie between"
            )
    assert answered == 3 * CLIENTS * (BATCHES // 2) * (1 + PIPELINE)


def requests_and_replies(traffic: list[Call]) -> Iterator[tuple[Call, Call]]:
    """(the call that read the last byte of the n-th INCR, the call that sent the first byte of the n-th number)."""
    asked: list[Call] = []
    replied: list[Call] = []
    pending = ""
    for call in traffic:
        if call.name in READS:
            pending += call.data
            whole = re.findall(r"INCR\r\n\$6\r\nord:\d\d\r\n", pending)
            asked += [call] * len(whole)
            if whole:
                pending = pending[pending.rindex("ord:") + 8 :]
        else:
            replied += [call] * len(re.findall(r":\d+\r\n", call.data))
    if asked:
        assert len(asked) == len(replied), (len(asked), len(replied))
        yield from zip(asked, replied, strict=True)


def is_covered(asked: Call, reply: Call, writes: list[Call], syncs: list[Call]) -> bool:
    """Some write began after the request was read, and some fdatasync after that write returned before the reply."""
    first_write = next((w for w in writes if w.began > asked.ended), None)
    if first_write is None:
        return False
    return any(first_write.ended < sync.began and sync.ended < reply.began for sync in syncs)


# What must be in the directory before something else may rely on it.


@dataclass(frozen=True)
class Change:
    """A name that appeared in, moved within or left the data directory."""

    kind: str
    path: str
    call: Call

    @property
    def directory(self) -> str:
        return str(Path(self.path).parent)


def directory_changes(traced: Traced) -> list[Change]:
    inside = str(traced.data_directory)
    known: set[str] = set()
    changes = []
    for call in traced.calls:
        if call.result < 0 or not call.quoted:
            continue
        if call.name in ("openat", "open", "creat"):
            path = returned_path(call)
            if path.startswith(inside + "/") and "O_CREAT" in call.arguments and path not in known:
                changes.append(Change("create", path, call))
            if path.startswith(inside + "/"):
                known.add(path)
        elif call.name.startswith(("rename", "mkdir", "unlink")):
            paths = [absolute(call, text) for text in call.quoted]
            if paths[-1].startswith(inside + "/"):
                changes.append(Change(call.name, paths[-1], call))
                known = (known - {paths[0]}) | ({paths[-1]} if call.name.startswith("rename") else set())
    return changes


def returned_path(call: Call) -> str:
    """The path that -y shows behind the descriptor which openat returned."""
    found = re.search(r"<([^<>]*)>$", call.arguments)
    return found[1].removesuffix(" (deleted)") if found else ""


def absolute(call: Call, path: str) -> str:
    """Relative to the directory descriptor before the path, as renameat and unlinkat take it."""
    if path.startswith("/"):
        return path
    found = re.match(r"[^<]*<([^<>]*)>", call.arguments)
    return os.path.normpath(os.path.join(found[1], path)) if found else path


def synced_between(traced: Traced, directory: str, after: int, before: float) -> bool:
    return any(
        c.name in SYNCS and c.result == 0 and c.fd_name == directory and c.began > after and c.ended < before
        for c in traced.calls
    )


@pytest.mark.skipif(SERVER_IS_REDIS, reason="a rule of ours; redis-server has another")
def test_every_create_and_rename_is_followed_by_an_fsync_of_its_directory(traced: Traced) -> None:
    changes = directory_changes(traced)
    assert sum(change.kind == "create" for change in changes) >= 4, "hardly any file was made: nothing was tested"
    assert any(change.kind.startswith("rename") for change in changes)
    for change in changes:
        assert synced_between(traced, change.directory, change.call.ended, float("inf")), (
            f"no fsync of {change.directory} after {change.kind} of {change.path},"
            f" line {change.call.ended + 1} of the trace"
        )


@pytest.mark.skipif(SERVER_IS_REDIS, reason="a rule of ours; redis-server has another")
def test_no_reply_relies_on_a_file_whose_name_is_not_yet_durable(traced: Traced) -> None:
    """A reply after the first write to a new log file needs that file's directory entry."""
    replies = [
        c for c in traced.calls if c.is_tcp and c.name in SENDS and re.fullmatch(r"(:\d+\r\n|\+OK\r\n)+", c.data)
    ]
    relied_upon = 0
    for change in directory_changes(traced):
        if change.kind != "create" and not change.kind.startswith("rename"):
            continue
        if "/wal/" not in change.path:
            continue
        end = change.call.ended
        written = next(
            (c for c in traced.calls if c.began > end and c.name in SYNCS and c.fd_name == change.path), None
        )
        reply = next((c for c in replies if written is not None and c.began > written.ended), None)
        if reply is not None:
            relied_upon += 1
            assert synced_between(traced, change.directory, end, reply.began), (
                f"line {reply.began + 1} of the trace answers a write in {change.path}, made in line {end + 1},"
                " without an fsync of the directory between"
            )
    assert relied_upon >= 3, "no segment was made between replies: nothing was tested"


@pytest.mark.skipif(SERVER_IS_REDIS, reason="a rule of ours; redis-server has another")
def test_nothing_is_deleted_before_what_replaces_it_is_durable(traced: Traced) -> None:
    changes = directory_changes(traced)
    deletions = [change for change in changes if change.kind.startswith("unlink") and "/wal/" in change.path]
    for deletion in deletions:
        for change in changes:
            if change.kind.startswith("rename") and change.call.ended < deletion.call.began:
                assert synced_between(traced, change.directory, change.call.ended, deletion.call.began), (
                    f"{deletion.path} is deleted in line {deletion.call.began + 1} of the trace, and the rename to"
                    f" {change.path} in line {change.call.ended + 1} is not yet durable"
                )
