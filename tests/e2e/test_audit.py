"""The audit of real processes: SIGKILL at random moments, damage at rest, a flood of guesses, copies and restores.

AUDIT_KILLS sets how often (default 4), AUDIT_SEED the seed; a failure names both.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
import time
from pathlib import Path

import pytest
import redis

from bench.processes import Server, ask, us_program
from tests.e2e.tools import SERVER_IS_REDIS, vaylix
from vaylix_resp.cli import main
from vaylix_resp.engine.audit.reading import check_files, last_lines
from vaylix_resp.errors import EX_DATA
from vaylix_resp.storage.disk import RealDisk

pytestmark = pytest.mark.skipif(SERVER_IS_REDIS, reason="Redis has no audit")

KILLS = int(os.environ.get("AUDIT_KILLS", "4"))
SEED = int(os.environ.get("AUDIT_SEED", str(int(time.time()))))
READY_SECONDS_MAX = 20.0


def records(server: Server) -> list[dict]:
    return [json.loads(line) for line in last_lines(RealDisk(), str(server.data_directory), 100_000)]


def client_of(server: Server) -> redis.Redis:
    return redis.Redis(port=server.port, socket_timeout=20, protocol=2)


class Administrator:
    """Changes of security without a pause, in a thread; counts those that were answered with OK."""

    def __init__(self, server: Server, number: int) -> None:
        self.server, self.number = server, number
        self.acknowledged = {"acl|setuser": 0, "config|set": 0, "flushdb": 0}
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        try:
            with client_of(self.server) as client:
                while True:
                    client.execute_command("ACL", "SETUSER", f"user{self.number}", "on", "nopass")
                    self.acknowledged["acl|setuser"] += 1
                    client.config_set("hz", 10 + self.number)
                    self.acknowledged["config|set"] += 1
                    client.flushdb()
                    self.acknowledged["flushdb"] += 1
        except (redis.RedisError, OSError):
            return  # killed


def test_sigkill_at_random_moments_never_stops_a_start_and_loses_no_record_of_what_was_acknowledged() -> None:
    rng = random.Random(SEED)
    options = ("--audit-rotate-size", "64kb", "--audit-head-interval", "1")
    expected = dict.fromkeys(("acl|setuser", "config|set", "flushdb"), 0)
    with vaylix(*options) as server:
        for number in range(KILLS):
            where = f"seed {SEED}, kill {number + 1}"
            administrators = [Administrator(server, one) for one in range(3)]
            time.sleep(rng.uniform(0.05, 0.6))
            assert server.alive(), f"{where}: ended by itself\n{server.log_tail()}"
            server.kill()
            for one in administrators:
                one.join()
                for name, count in one.acknowledged.items():
                    expected[name] += count
            if rng.random() < 0.3:  # a start that is killed as well
                server.spawn()
                time.sleep(rng.uniform(0, 0.6))
                server.kill()
            server.start()
            report = check_files(RealDisk(), str(server.data_directory))
            assert report.whole, f"{where}: {report.faults[0]}"
            found = dict.fromkeys(expected, 0)
            for record in records(server):
                if record["command"] in found and record["outcome"] == "ok":
                    found[record["command"]] += 1
            missing = {name: (found[name], count) for name, count in expected.items() if found[name] < count}
            assert not missing, f"{where}: records and acknowledged requests: {missing}"
        assert server.stop() == 0
        assert main(["audit", "verify", "--data-dir", str(server.data_directory)]) == 0
    assert min(expected.values()) > KILLS, "hardly anything was changed: nothing was tested"
    print(f"seed {SEED}: {KILLS} kills, {sum(expected.values())} changes")


def stopped_with_an_audit(server: Server) -> Path:
    with client_of(server) as client:
        client.config_set("hz", 20)
        client.flushall()
    assert server.stop() == 0
    return server.data_directory / "audit" / "audit.jsonl"


def change_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b'"hz":"20"') + 6] ^= 1
    path.write_bytes(data)


def cut_the_end(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))


@pytest.mark.parametrize(
    "damage, text",
    [
        (change_a_byte, "record 5: its content does not match its own hash"),
        (cut_the_end, "the end is missing: the log has committed"),
        (lambda path: shutil.rmtree(path.parent), "the audit is missing"),
    ],
)
def test_a_start_refuses_an_audit_that_was_changed_and_alarm_goes_on(damage, text, capsys) -> None:
    with vaylix() as server:
        path = stopped_with_an_audit(server)
        damage(path)
        root = str(server.data_directory)
        assert main(["audit", "verify", "--data-dir", root]) == EX_DATA
        assert "FAULT audit/" in capsys.readouterr().out
        server.spawn()
        assert server.process is not None and server.process.wait(READY_SECONDS_MAX) == EX_DATA
        last = server.log_tail().strip().splitlines()[-1]
        assert last.startswith("vaylix: ") and text in last and "/audit" in last
        server.extra = ("--audit-on-break", "alarm")
        server.start()
        with client_of(server) as client:
            assert client.info("audit")["audit_broken"] == 1
            found = client.execute_command("AUDIT", "VERIFY")
            assert b"told to go on" in b" ".join(found[found.index(b"faults") + 1])
        assert server.stop() == 0
        server.extra = ()
        server.start()  # what was acknowledged stops nobody
        assert server.stop() == 0


def test_what_a_first_start_and_a_stop_by_command_leave() -> None:
    with vaylix() as server:
        with pytest.raises(ConnectionError):
            ask(server.port, "SHUTDOWN", "NOSAVE")
        assert server.process is not None and server.process.wait(READY_SECONDS_MAX) == 0
        events = [(record["event"], record["outcome"], record["details"].get("source")) for record in records(server)]
        founded = ("acl", "ok", "configuration")
        assert events[:4] == [("audit.begin", "ok", None), ("start", "ok", None), ("recovery", "ok", None), founded]
        assert events[4:] == [("shutdown", "asked", None), ("stop", "ok", None)], "nothing behind the stop"
        server.start()
        assert records(server)[-1]["event"] == "recovery", "the users were there"


def test_guessing_shows_in_the_audit_and_does_not_fill_the_disk() -> None:
    with vaylix("--login-user-limit", "5", "--login-address-limit", "0") as server, client_of(server) as admin:
        admin.execute_command("ACL", "SETUSER", "alice", "on", ">the-right-one", "+ping")
        for number in range(300):
            reply = ask(server.port, "AUTH", "alice", f"guess-{number}", timeout=20)
            assert reply.startswith((b"-WRONGPASS", b"-LOCKED")), reply

        def lines(event: str) -> list[dict]:
            found = [json.loads(line) for line in admin.execute_command("AUDIT", "TAIL", 1000)]
            return [line for line in found if line["event"] == event]

        until(lambda: sum(line["details"].get("count", 1) for line in lines("auth")) == 300)
        auth = lines("auth")
        assert len(auth) < 60 and {line["outcome"] for line in auth} == {"wrong", "locked"}
        assert {line["user"] for line in auth} == {"alice"}
        assert [line["details"]["target"] for line in lines("lockout")] == ["alice"]
        text = (server.data_directory / "audit" / "audit.jsonl").read_text()
        assert "guess-" not in text and "the-right-one" not in text


def test_a_copy_and_a_restore_start_with_an_audit_that_says_where_they_come_from(tmp_path: Path) -> None:
    with vaylix("--audit-head-interval", "1") as server:
        with client_of(server) as client:
            client.set("k", "v")
            client.config_set("hz", 20)
            until(lambda: client.info("audit")["audit_committed_sequence"] > 0)
            client.execute_command("BACKUP", "START")
            until(lambda: b"incrementing" in str(client.execute_command("BACKUP", "STATUS")).encode())
            client.execute_command("BACKUP", "SEAL")
        backup = server.data_directory / "backups" / "online"
        copy, restored, key = tmp_path / "copy", tmp_path / "restored", server.data_directory / "master.key"
        shutil.copytree(backup, copy)
        shutil.copy(key, copy / "master.key")
        words = ["pitr", "restore", "--source-dir", str(copy), "--target-dir", str(restored), "--to-time", "latest"]
        assert main(words) == 0
    for directory, word in ((copy, "continues"), (restored, "follows")):
        with Server(us_program(), (), directory) as again:
            again.start()
            begin = records(again)[0]
            assert begin["event"] == "audit.begin" and begin["details"][word]["sequence"] > 0, begin
            assert again.stop() == 0
            assert main(["audit", "verify", "--data-dir", str(directory)]) == 0


def until(condition) -> None:
    give_up = time.monotonic() + READY_SECONDS_MAX
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)
