"""Issue 4, shown by 7: users, roles and maintenance mode after kill -9, at a moment before and after a change, from a backup.

One server, two moments. Between them a password is replaced, a role loses a right, a user goes, another one comes and
maintenance mode begins; a directory restored to either moment lets in whom that moment let in, and nobody else.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from bench.processes import Server, us_program
from compat.clients import patient
from tests.e2e.tools import SERVER_IS_REDIS

pytestmark = pytest.mark.skipif(SERVER_IS_REDIS, reason="Redis keeps users in a file beside its data")

ADMIN = ("root", "Rook-1")
OPTIONS = ("--password-hash-memory", "128kb", "--password-hash-iterations", "1", "--pitr-window", "3600",
           "--login-user-limit", "0", "--login-address-limit", "0")  # fmt: skip


@dataclass(frozen=True)
class Moment:
    """Who may come in with what, who may write, and what ACL LIST said then."""

    welcome: tuple[tuple[str, str], ...]
    refused: tuple[tuple[str, str], ...]
    may_write: bool  # alice, to a key of her role
    maintenance: int
    lines: tuple[str, ...] = ()
    sequence: int = 0


BEFORE = Moment((ADMIN, ("alice", "Queen-1"), ("bob", "Pawn-1")), (("alice", "King-1"), ("carol", "Bishop-1")), True, 0)
AFTER = Moment((ADMIN, ("alice", "King-1"), ("carol", "Bishop-1")), (("alice", "Queen-1"), ("bob", "Pawn-1")), False, 1)
FIRST = (
    "ACL SETROLE team ~t:* +get +set",
    "ACL SETUSER root on >Rook-1 ~* &* +@all",
    "ACL SETUSER alice on >Queen-1 role=team",
    "ACL SETUSER bob on >Pawn-1 +@read ~*",
    "ACL SETUSER default off",
)
THEN = (
    "ACL SETUSER alice <Queen-1 >King-1",
    "ACL SETROLE team -set",
    "ACL DELUSER bob",
    "ACL SETUSER carol on >Bishop-1 (+get ~c:*) expireat 4102444800",
    "MAINTENANCE ON moving",
)


def client(server: Server, user: tuple[str, str] = ADMIN) -> redis.Redis:
    once = Retry(NoBackoff(), 0)  # a wrong password would be tried again and again, with pauses
    return patient(port=server.port, username=user[0], password=user[1], decode_responses=True, retry=once)


def reached(server: Server, moment: Moment) -> Moment:
    admin = client(server)
    sequence = admin.info("persistence")["log_applied_sequence"]
    return Moment(
        moment.welcome, moment.refused, moment.may_write, moment.maintenance, tuple(admin.acl_list()), sequence
    )  # fmt: skip


def check(server: Server, moment: Moment) -> None:
    for user in moment.welcome:
        assert client(server, user).execute_command("AUTH", *user)
    for user in moment.refused:
        with pytest.raises(redis.AuthenticationError):
            client(server, user).ping()
    admin = client(server)
    assert tuple(admin.acl_list()) == moment.lines
    assert admin.info("server")["maintenance_mode"] == moment.maintenance
    _, alice = moment.welcome[1], client(server, moment.welcome[1])
    if moment.may_write:
        assert alice.set("t:1", "x")
    else:
        with pytest.raises(redis.exceptions.NoPermissionError, match="'set' command"):
            alice.set("t:1", "x")
        with pytest.raises(redis.ResponseError, match="MAINTENANCE Writes are refused: moving"):
            admin.set("t:1", "x")


@contextmanager
def started(directory: Path) -> Iterator[Server]:
    with Server(us_program(), OPTIONS, directory) as server:
        server.start()
        yield server


def tool(*words: object) -> None:
    argv = [sys.executable, "-m", "vaylix_resp", *map(str, words), "--json"]
    done = subprocess.run(argv, check=False, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)


def test_both_moments_come_back_every_way(tmp_path: Path) -> None:
    data, backup = tmp_path / "data", tmp_path / "away" / "b.vxb"
    backup.parent.mkdir()
    with started(data) as server:
        first = patient(port=server.port)
        for line in FIRST:
            first.execute_command(*line.split())
        before = reached(server, BEFORE)
        check(server, before)
        admin = client(server)
        for line in THEN:
            admin.execute_command(*line.split())
        after = reached(server, AFTER)
        server.kill()
        server.start()
        check(server, after)
        assert client(server).save()  # from here on a snapshot has them
        server.kill()
        server.start()
        check(server, after)
        tool("backup", "create", "--data-dir", data, "--to", backup)
        assert server.stop() == 0
    key = ("--master-key-file", data / "master.key")
    ways = {
        "before": (before, ("pitr", "restore", "--source-dir", data, "--to-sequence", before.sequence)),
        "after": (after, ("pitr", "restore", "--source-dir", data, "--to-sequence", after.sequence)),
        "latest": (after, ("pitr", "restore", "--source-dir", data, "--to-time", "latest")),
        "backup": (after, ("backup", "restore", backup, *key)),
    }
    for name, (moment, words) in ways.items():
        tool(*words, "--target-dir", tmp_path / name)
        with started(tmp_path / name) as server:
            check(server, moment)


def test_a_restore_into_a_running_server_leaves_its_users_alone(tmp_path: Path) -> None:
    with started(tmp_path / "data") as server:
        first = patient(port=server.port, decode_responses=True)
        for line in FIRST:
            first.execute_command(*line.split())
        admin = client(server)
        assert admin.set("k", "v") and admin.execute_command("BACKUP", "TO", "b")
        for line in THEN[:-1]:
            admin.execute_command(*line.split())
        admin.delete("k")
        after = reached(server, AFTER)
        assert admin.execute_command("BACKUP", "RESTORE", "b")
        assert admin.get("k") == "v" and tuple(admin.acl_list()) == after.lines
        admin.execute_command("MAINTENANCE", "ON", "moving")
        check(server, after)
