"""A disk that fails under a running server: what is answered then, and what is there after a restart.

A failing fdatasync comes from strace (inject), a full disk from a small tmpfs in a mount namespace of the server's
own, which goes away with it. -INDETERMINATE means: may or may not be there; every other error: is not there.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.processes import Server
from compat.frames import Wire
from tests.e2e.tools import SERVER_IS_REDIS, missing, require, strace_prefix, vaylix

pytestmark = pytest.mark.skipif(SERVER_IS_REDIS, reason="the errors are ours; redis-server exits instead")

GOOD_SYNCS = 60  # per thread of the server, start-up included
# Small segments: making a spare ahead of need takes a few fsyncs, so that the one that fails is a batch's.
SMALL_SEGMENTS = ("--wal-segment-size", "64kb")
WRITES_MAX = 5000
DISK_MIB = 48
SEGMENT_KIB = 512
RESUME_SECONDS_MAX = 15.0


def inject(fault: str, calls: str) -> tuple[str, ...]:
    # Nothing but the failing call is traced, so the server runs at nearly its own speed.
    return strace_prefix(
        "-qq", "-e", "signal=none", "-e", f"trace={calls}", "-e", f"inject={calls}:{fault}", "-o", "/dev/null"
    )


def set_until_error(
    wire: Wire, prefix: str, most: int = WRITES_MAX, size: int = 10
) -> tuple[list[bytes], bytes, bytes]:
    """SET one key after another; returns (acknowledged keys, the key that failed, the error)."""
    done: list[bytes] = []
    for number in range(most):
        key = f"{prefix}:{number}".encode()
        reply = wire.ask(b"SET", key, key.ljust(size, b"."))
        if reply != b"+OK\r\n":
            return done, key, reply
        done.append(key)
    raise AssertionError(f"{most} writes and no error: the fault never came")


def assert_all_there(wire: Wire, keys: list[bytes]) -> None:
    absent = [key for key in keys if wire.ask(b"EXISTS", key) != b":1\r\n"]
    assert not absent, f"{len(absent)} acknowledged writes are gone, first {absent[:3]}"


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_a_failed_fsync_is_final(error: str) -> None:
    prefix = inject(f"error={error}:when={GOOD_SYNCS}+", "fdatasync,fsync")
    with vaylix(*SMALL_SEGMENTS, prefix=prefix) as server:
        wire = Wire(server.port)
        done, unsure, reply = set_until_error(wire, "a")
        assert reply.startswith(b"-INDETERMINATE "), reply
        # From here on the log is closed: every write is refused, and refused means not done.
        for verb in ((b"SET", b"later", b"1"), (b"DEL", done[0]), (b"INCR", b"counter"), (b"FLUSHALL",)):
            refused = wire.ask(*verb)
            assert refused.startswith(b"-MISCONF "), (verb, refused)
        assert_all_there(wire, done)
        assert wire.ask(b"GET", done[0]).startswith(b"$")
        assert Wire(server.port).ask(b"PING") == b"+PONG\r\n"
        server.kill()
        restart_without_tracer(server)
        wire = Wire(server.port)
        assert_all_there(wire, done)
        assert wire.ask(b"EXISTS", b"later", b"counter") == b":0\r\n"
        assert wire.ask(b"EXISTS", unsure) in (b":0\r\n", b":1\r\n")
        assert wire.ask(b"SET", b"again", b"1") == b"+OK\r\n"


def restart_without_tracer(server: Server) -> None:
    server.prefix = ()
    server.start()


def test_every_writer_of_the_failed_batch_gets_indeterminate() -> None:
    """Many connections in one batch: none of them may be told OK, none a plain error."""
    with vaylix(*SMALL_SEGMENTS, prefix=inject(f"error=EIO:when={GOOD_SYNCS}+", "fdatasync,fsync")) as server:
        wires = [Wire(server.port) for _ in range(20)]
        acknowledged: list[bytes] = []
        for number in range(WRITES_MAX):
            for i, wire in enumerate(wires):
                wire.send(b"SET b:%d:%d x\r\n" % (i, number))
            replies = [wire.frames(1)[0] for wire in wires]
            acknowledged += [b"b:%d:%d" % (i, number) for i, reply in enumerate(replies) if reply == b"+OK\r\n"]
            failed = [reply for reply in replies if reply != b"+OK\r\n"]
            if failed:
                break
        else:
            raise AssertionError("the fault never came")
        assert any(reply.startswith(b"-INDETERMINATE ") for reply in failed)
        assert all(reply.startswith((b"-INDETERMINATE ", b"-MISCONF ")) for reply in failed), failed
        server.kill()
        restart_without_tracer(server)
        assert_all_there(Wire(server.port), acknowledged)


def test_a_transaction_meets_a_failed_fsync_as_a_whole() -> None:
    with vaylix(*SMALL_SEGMENTS, prefix=inject(f"error=EIO:when={GOOD_SYNCS}+", "fdatasync,fsync")) as server:
        wire = Wire(server.port)
        reply, number = b"*", 0
        while reply.startswith(b"*"):
            number += 1
            assert number < WRITES_MAX, "the fault never came"
            for verb in ((b"MULTI",), (b"SET", b"l", b"%d" % number), (b"SET", b"r", b"%d" % number)):
                wire.ask(*verb)
            reply = wire.ask(b"EXEC")
        assert reply.startswith(b"-INDETERMINATE "), reply
        server.kill()
        restart_without_tracer(server)
        wire = Wire(server.port)
        left, right = wire.ask(b"GET", b"l"), wire.ask(b"GET", b"r")
        assert left == right
        assert int(left.split(b"\r\n")[1]) in (number - 1, number)


# A full disk.


@contextmanager
def on_small_disk(mount_point: Path) -> Iterator[Server]:
    """A server whose data directory is a tmpfs that only it sees; we reach it through /proc/<pid>/root."""
    require("unshare", "mount")
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    script = f'mount -t tmpfs -o size={DISK_MIB}m tmpfs "$0" && exec "$@"'
    if os.spawnvp(os.P_WAIT, unshare[0], [*unshare, "sh", "-c", script, str(mount_point), "true"]) != 0:
        missing("permission to mount a tmpfs in a namespace of our own")
    prefix = (*unshare, "sh", "-c", script, str(mount_point))
    options = ("--wal-segment-size", f"{SEGMENT_KIB}kb", "--snapshot-log-size", "0")
    with vaylix(*options, prefix=prefix, directory=mount_point) as server:
        yield server


def fill_disk(directory: Path, leave_bytes: int = 0) -> Path:
    ballast = directory / "ballast"
    free = os.statvfs(directory).f_bavail * os.statvfs(directory).f_frsize
    with ballast.open("wb") as file:
        left = free - leave_bytes
        try:
            while left > 0:
                left -= file.write(b"\0" * min(left, 1 << 16))
            file.flush()
        except OSError:
            pass  # full a little earlier than the count said
    return ballast


def test_a_full_disk_refuses_writes_and_recovers_by_itself(tmp_path: Path) -> None:
    with on_small_disk(tmp_path) as server:
        inside = Path(f"/proc/{server.pid}/root{tmp_path}")
        wire = Wire(server.port)
        assert wire.ask(b"SET", b"before", b"1") == b"+OK\r\n"
        ballast = fill_disk(inside)
        done, refused, reply = set_until_error(wire, "full", size=4000)
        assert reply.startswith(b"-MISCONF "), reply
        for _ in range(20):
            assert wire.ask(b"GET", b"before") == b"$1\r\n1\r\n"
            assert wire.ask(b"SET", b"refused", b"x" * 4000).startswith(b"-MISCONF ")
        assert_all_there(wire, done)
        ballast.unlink()
        waited = wait_for_writes(wire)
        after = [b"after:%d" % i for i in range(200)]
        assert all(wire.ask(b"SET", key, b"y" * 4000) == b"+OK\r\n" for key in after)
        for _ in range(2):  # what the disk said no to must not come back, however the server went down
            assert wire.ask(b"EXISTS", refused, b"refused") == b":0\r\n", f"after {waited:.1f} s"
            assert_all_there(wire, [b"before", *done, *after])
            wire = restart_in_namespace(server, tmp_path, wire)


def wait_for_writes(wire: Wire) -> float:
    began = time.monotonic()
    while (reply := wire.ask(b"SET", b"probe", b"1")) != b"+OK\r\n":
        assert re.match(rb"-MISCONF ", reply), reply
        assert time.monotonic() - began < RESUME_SECONDS_MAX, "writes did not resume when there was space again"
        time.sleep(0.1)
    return time.monotonic() - began


def restart_in_namespace(server: Server, mount_point: Path, wire: Wire) -> Wire:
    """The tmpfs dies with its last process, so the data move to a plain directory on the way."""
    inside = Path(f"/proc/{server.pid}/root{mount_point}")
    if server.prefix:
        os.kill(server.pid, 19)  # SIGSTOP: a copy of files that nobody writes, as a power cut would leave them
        copy = mount_point.with_name("copied")
        assert os.spawnvp(os.P_WAIT, "cp", ["cp", "-a", str(inside), str(copy)]) == 0
        server.kill()
        server.prefix, server.directory = (), copy
    else:
        server.kill()
    wire.close()
    server.start()
    return Wire(server.port)
