"""Issue 4: users, roles and passwords with real clients against a real process, through kill -9 and a rotten start.

Shown by 7 (users and roles are there after kill -9) and by 5 for this part: no password is in any file.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from bench.processes import Server, us_program
from tests.e2e.tools import require

SECRETS = ("Wonderland-7", "Looking-Glass-8", "Cheshire-9")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    require("redis-cli")
    with Server(us_program(), ("--acllog-max-len", "50"), tmp_path / "data") as server:
        server.start()
        yield server


def as_user(server: Server, name: str, password: str) -> redis.Redis:
    return redis.Redis(port=server.port, username=name, password=password, decode_responses=True)


def cli(server: Server, *words: str) -> str:
    done = subprocess.run(
        ["redis-cli", "-p", str(server.port), "--no-auth-warning", *words], check=False, capture_output=True, text=True,
        timeout=20,
    )  # fmt: skip
    return (done.stdout + done.stderr).strip()


def test_users_and_roles_survive_a_kill(server: Server) -> None:
    admin = redis.Redis(port=server.port, decode_responses=True)
    admin.execute_command("ACL", "SETROLE", "cats", "~cat:*", "+get", "+set")
    admin.acl_setuser("alice", enabled=True, passwords=["+" + SECRETS[0]], keys=["a:*"], commands=["+get", "+set"])
    admin.execute_command("ACL", "SETUSER", "alice", "role=cats,read-only")
    admin.execute_command("CONFIG", "SET", "requirepass", SECRETS[1])
    lines = admin.acl_list()
    server.kill()
    server.start()
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=server.port).ping()
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


def test_a_restore_brings_the_users_of_that_moment_back(server: Server, tmp_path: Path) -> None:
    admin = redis.Redis(port=server.port, decode_responses=True)
    admin.execute_command("ACL", "SETUSER", "alice", "on", ">" + SECRETS[0], "~*", "+@all")
    lines, sequence = admin.acl_list(), admin.info("persistence")["log_applied_sequence"]
    admin.execute_command("ACL", "DELUSER", "alice")
    admin.execute_command("ACL", "SETROLE", "late", "+get")
    source, target = str(server.data_directory), tmp_path / "restored"
    done = subprocess.run(
        [sys.executable, "-m", "vaylix_resp", "pitr", "restore", "--source-dir", source, "--target-dir", str(target),
         "--to-sequence", str(sequence)], check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with Server(us_program(), (), target) as restored:
        restored.start()
        assert as_user(restored, "alice", SECRETS[0]).acl_list() == lines


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


def test_no_password_is_in_any_file(server: Server, tmp_path: Path) -> None:
    admin = redis.Redis(port=server.port)
    admin.execute_command("CONFIG", "SET", "slowlog-log-slower-than", "0")
    admin.execute_command("ACL", "SETUSER", "alice", "on", ">" + SECRETS[0], "+@all", "~*")
    alice = as_user(server, "alice", SECRETS[0])
    alice.execute_command("ACL", "SETPASS", SECRETS[0], SECRETS[1])
    assert as_user(server, "alice", SECRETS[1]).ping()
    with pytest.raises(redis.ResponseError) as refused:
        admin.execute_command("ACL", "SETUSER", "alice", ">" + SECRETS[2], "+nosuch")
    assert SECRETS[2] not in str(refused.value)
    shown = repr(
        (admin.slowlog_get(128), admin.acl_list(), admin.info("all"), admin.execute_command("ACL", "LOG"))
    ).encode()  # fmt: skip
    server.stop()
    files = [path for path in (*tmp_path.rglob("*"), *server.scratch.rglob("*")) if path.is_file()]
    assert len(files) > 2
    for content in (shown, *(path.read_bytes() for path in files)):
        for secret in SECRETS:
            assert secret.encode() not in content


def test_guessing_delays_nobody(server: Server) -> None:
    """Ten connections guess; another client's requests stay quick, and in the end the user is locked for them."""
    admin = redis.Redis(port=server.port)
    admin.execute_command("ACL", "SETUSER", "alice", "on", ">" + SECRETS[0], "+@all", "~*")
    alice = as_user(server, "alice", SECRETS[0])
    assert alice.ping()
    stop = threading.Event()
    answers: set[str] = set()

    def guess() -> None:
        while not stop.is_set():
            try:
                as_user(server, "alice", "wrong").ping()
            except redis.RedisError as refused:
                answers.add(str(refused).split(" ", 1)[0])
            stop.wait(0.1)

    threads = [threading.Thread(target=guess) for _ in range(10)]
    for thread in threads:
        thread.start()
    waits = []
    for _ in range(200):
        began = time.perf_counter()
        admin.ping()
        waits.append(time.perf_counter() - began)
        time.sleep(0.01)
    stop.set()
    for thread in threads:
        thread.join()
    assert sorted(waits)[len(waits) // 2] < 0.02, "half of the requests are answered at once"
    assert alice.ping(), "a session that is in stays in"
    stats = admin.info("stats")
    assert stats["login_failures"] > 0
    assert sum(stats[f"login_locks_{kind}"] for kind in ("user", "pair", "address")) > 0
    assert stats["acl_access_denied_auth"] >= stats["login_failures"]
    assert admin.execute_command("ACL", "UNLOCK", "ALL") >= 1
    assert as_user(server, "alice", SECRETS[0]).ping()


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
