"""Issue 4: users, roles and passwords with real clients against a real process, through kill -9.

What a restore brings back is in test_users_restored, where passwords may not be in test_no_password.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from bench.processes import Server, us_program
from compat.clients import patient
from tests.e2e.tools import require

SECRETS = ("Wonderland-7", "Looking-Glass-8", "Cheshire-9")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    require("redis-cli")
    with Server(us_program(), ("--acllog-max-len", "50"), tmp_path / "data") as server:
        server.start()
        yield server


def as_user(server: Server, name: str, password: str) -> redis.Redis:
    return patient(port=server.port, username=name, password=password, decode_responses=True)


def cli(server: Server, *words: str) -> str:
    done = subprocess.run(
        ["redis-cli", "-p", str(server.port), "--no-auth-warning", *words], check=False, capture_output=True, text=True,
        timeout=20,
    )  # fmt: skip
    return (done.stdout + done.stderr).strip()


def test_users_and_roles_survive_a_kill(server: Server) -> None:
    admin = patient(port=server.port, decode_responses=True)
    admin.execute_command("ACL", "SETROLE", "cats", "~cat:*", "+get", "+set")
    admin.acl_setuser("alice", enabled=True, passwords=["+" + SECRETS[0]], keys=["a:*"], commands=["+get", "+set"])
    admin.execute_command("ACL", "SETUSER", "alice", "role=cats,read-only")
    admin.execute_command("CONFIG", "SET", "requirepass", SECRETS[1])
    lines = admin.acl_list()
    server.kill()
    server.start()
    with pytest.raises(redis.AuthenticationError):
        patient(port=server.port).ping()
    again = as_user(server, "default", SECRETS[1])
    assert again.acl_list() == lines and again.acl_getuser("alice")["enabled"]
    alice = as_user(server, "alice", SECRETS[0])
    assert alice.set("a:1", "x") and alice.set("cat:1", "y") and alice.get("other") is None
    with pytest.raises(redis.exceptions.NoPermissionError, match="No permissions to access a key"):
        alice.set("other", "z")
    again.bgsave()
    wait_for(lambda: again.info("persistence")["rdb_bgsave_in_progress"] == 0)
    server.kill()
    server.start()
    assert as_user(server, "default", SECRETS[1]).acl_list() == lines


def test_redis_cli_logs_in_and_is_refused_in_redis_s_words(server: Server) -> None:
    assert cli(server, "ACL", "SETUSER", "bob", "on", ">" + SECRETS[0], "~b:*", "&b:*", "+@all", "-@dangerous") == "OK"
    bob = ("--user", "bob", "--pass", SECRETS[0])
    assert cli(server, *bob, "SET", "b:1", "x") == "OK"
    assert cli(server, *bob, "-3", "GET", "b:1") == "x"
    assert cli(server, *bob, "SET", "a:1", "x") == "NOPERM No permissions to access a key"
    assert cli(server, *bob, "FLUSHALL") == "NOPERM User bob has no permissions to run the 'flushall' command"
    assert "WRONGPASS" in cli(server, "--user", "bob", "--pass", "wrong", "GET", "b:1")
    assert cli(server, "ACL", "DRYRUN", "bob", "SET", "b:1", "x") == "OK"
    assert "username" in cli(server, "ACL", "LOG")


def test_the_acl_file_is_read_once_loaded_and_saved(tmp_path: Path) -> None:
    file = tmp_path / "users.acl"
    file.write_text(f"user alice on >{SECRETS[0]} ~a:* +@all\nuser default off\n")
    with Server(us_program(), ("--aclfile", str(file)), tmp_path / "data") as server:
        server.start()
        alice = as_user(server, "alice", SECRETS[0])
        assert alice.acl_whoami() == "alice"
        assert alice.execute_command("ACL", "SETUSER", "bob", "on", "nopass", "+ping") == "OK"
        assert alice.execute_command("ACL", "SAVE") == "OK"
        saved = file.read_text()
        assert "user bob on nopass" in saved and SECRETS[0] not in saved
        file.write_text(saved.replace("user bob on", "user bobby on"))
        assert alice.execute_command("ACL", "LOAD") == "OK"
        assert "bobby" in alice.acl_users() and "bob" not in alice.acl_users()
        file.write_text("user broken +nosuch\n")
        with pytest.raises(redis.ResponseError, match="no change to the previously active ACL rules"):
            alice.execute_command("ACL", "LOAD")


def wait_for(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)
