"""Requests become records: a whole server without sockets, its audit on the same simulated disk and driven by hand."""

from __future__ import annotations

import json

import pytest

from tests.sim.disk.simdisk import Fault
from tests.unit.server.front import ROOT, Stage
from vaylix_resp.engine.audit.log import AuditLog
from vaylix_resp.engine.audit.reading import check_files, last_lines
from vaylix_resp.engine.audit.recovery import Opening
from vaylix_resp.server import audit as module
from vaylix_resp.server.audit import SILENT, Trail
from vaylix_resp.server.table import Route


class Audited(Stage):
    def __init__(self, **settings):
        super().__init__(**settings)
        opened = Opening(self.disk, ROOT, "ab" * 16, self.clock, None).open(alarm=False)
        self.audit = AuditLog(opened.files, self.clock, lambda back, *args: back(*args))
        self.trail = self.shared.audit = Trail(self.shared, self.audit, reading=None)

    def write(self):
        """What the audit's thread does."""
        while self.audit._pending and self.audit.step():
            pass

    def records(self):
        self.write()
        return [json.loads(line) for line in last_lines(self.disk, ROOT, 10_000)]

    def found(self, event):
        return [record for record in self.records() if record["event"] == event]


@pytest.fixture
def stage():
    return Audited()


def short(record):
    return record["event"], record["outcome"], record["user"], record["command"], record["code"]


def test_without_an_audit_no_command_pays_for_it():
    stage = Stage()
    assert stage.shared.audit is SILENT
    assert all(bound.audit is None for bound in stage.shared.table.by_name.values())
    assert stage.connect().ask("AUDIT HEAD", "AUDIT TAIL", "AUDIT VERIFY") == ["-ERR the audit is switched off (audit no)"] * 3


def test_a_command_that_is_not_recorded_keeps_its_way(stage):
    get, flush = stage.shared.table.by_name[b"GET"], stage.shared.table.by_name[b"FLUSHALL"]
    assert (get.audit, get.route) == (None, Route.READ)
    assert flush.audit is not None and flush.route is Route.SINGLE
    client = stage.connect()
    client.ask("SET k v", "GET k")
    assert stage.records() == []


def test_a_change_of_security_is_on_disk_before_its_reply(stage):
    client = stage.connect()
    client.send("CONFIG SET maxclients 77", "PING")
    stage.commit()
    assert client.heard() == [], "the PING waits behind it"
    stage.write()
    assert client.heard() == ["+OK", "+PONG"]
    (record,) = stage.found("config")
    assert short(record) == ("config", "ok", "default", "config|set", None)
    assert record["details"] == {"set": {"maxclients": "77"}} and record["connection"] == client.session.id
    assert record["address"].startswith("127.0.0.1:") and record["latency_us"] >= 0 and record["keys"] == 0


@pytest.mark.parametrize(
    "lines, replies",
    [
        (["SET a 1", "FLUSHALL", "GET a", "PING"], ["+OK", "+OK", "_", "+PONG"]),
        (["SELECT 2", "SET a 1", "FLUSHDB", "SET b 2", "GET b"], ["+OK", "+OK", "+OK", "+OK", "2"]),
        (["MULTI", "SET a 1", "FLUSHALL", "EXEC", "GET a"], ["+OK", "+QUEUED", "+QUEUED", "[+OK +OK]", "_"]),
        (["MULTI", "CONFIG SET hz 11", "EXEC", "PING"], ["+OK", "+QUEUED", "[+OK]", "+PONG"]),
        (["FLUSHALL", "FLUSHALL", "PING"], ["+OK", "+OK", "+PONG"]),
        (["CLIENT REPLY SKIP", "FLUSHALL", "PING"], ["+PONG"]),
        (["CLIENT REPLY OFF", "FLUSHALL", "CLIENT REPLY ON", "PING"], ["+OK", "+PONG"]),
    ],
)
def test_writes_and_blocks_wait_for_their_record_in_order(stage, lines, replies):
    client = stage.connect()
    client.send(*lines)
    heard = []
    for _ in range(6):
        stage.commit()
        heard += client.heard()
        stage.write()
        heard += client.heard()
    assert heard == replies
    assert stage.bugs == [] and stage.records()
    assert client.ask("PING") == ["+PONG"]
    stage.close()


def test_nobody_hears_ok_before_the_record_is_durable(stage):
    client = stage.connect()
    client.send("SET a 1", "FLUSHALL")
    stage.commit()
    assert client.heard() == ["+OK"]
    stage.write()
    assert client.heard() == ["+OK"]
    client.send("MULTI", "FLUSHALL", "EXEC")
    stage.commit()
    assert client.heard() == ["+OK", "+QUEUED"]
    stage.write()
    assert client.heard() == ["[+OK]"]


@pytest.mark.parametrize("setting, waits", [("no", False), ("all", True)])
def test_audit_durable(setting, waits):
    stage = Audited(audit_durable=setting, audit_log_categories=("write", "read"))
    client = stage.connect()
    client.send("SET a 1", "GET a")
    stage.commit()
    assert client.heard() == ([] if waits else ["+OK", "1"])
    if waits:
        for _ in range(2):
            stage.write()
            stage.commit()
        assert client.heard() == ["+OK", "1"]
    assert [short(record)[3] for record in stage.found("command")] == ["set", "get"]
    stage.close()


def test_by_category_with_keys_and_without():
    stage = Audited(audit_log_categories=("read",))
    client = stage.connect()
    client.ask("SET a 1", "MGET a b", "GET a")
    assert [(record["command"], record["keys"], "key_names" in record) for record in stage.found("command")] == [
        ("mget", 2, False), ("get", 1, False)
    ]  # fmt: skip
    client.ask("CONFIG SET audit-log-keys yes audit-log-categories write")
    stage.write()
    client.ask("SET secret-value-of x", "GET a")
    (record,) = stage.found("command")[2:]
    assert (record["command"], record["key_names"]) == ("set", ["secret-value-of"])
    client.ask("CONFIG SET audit-log-categories ''")
    assert stage.shared.table.by_name[b"SET"].route is Route.SINGLE, "a wrong value changes nothing"
    stage.write()


def test_categories_change_at_run_time(stage):
    client = stage.connect()
    for categories, route in (("all", Route.SINGLE), ("", Route.WRITE)):
        client.ask(("CONFIG", "SET", "audit-log-categories", categories))
        stage.write()
        client.heard()
        assert stage.shared.table.by_name[b"SET"].route is route


def test_secrets_stay_out(stage):
    client = stage.connect()
    word = "correct-horse-battery"
    for line in (
        f"ACL SETUSER bob on >{word} #{'ab' * 32} +get ~{word}", f"ACL SETUSER bob {word}", f"AUTH bob {word}x", f"AUTH {word} {word}",
        f"CONFIG SET requirepass {word}", f"HELLO 3 AUTH {word} {word}", f"ACL SETPASS {word} {word}2", f"ACL DELUSER {word}",
        f"CONFIG SET {word} {word}", f"MAINTENANCE ON {word}", f"BACKUP TO {word}/x", f"DEBUG {word}", f"CLIENT KILL USER {word}",
        f"ACL UNLOCK USER {word}", f"FLASHBACK GET {word} {word}",
    ):  # fmt: skip
        client.send(line)
        for _ in range(3):
            stage.commit()
            stage.write()
        client.heard()
    stage.clock.ms += 5000
    stage.trail.tick(stage.clock.now())
    records = stage.records()
    assert len(records) > 10
    assert word not in json.dumps(records)


def test_log_ins_failures_and_locks():
    stage = Audited(protected_mode=False)
    admin = stage.connect()
    admin.send("ACL SETUSER bob on >right +get", "CONFIG SET login-user-limit 3 login-address-limit 0")
    stage.commit(), stage.write(), stage.commit(), stage.write()
    guesser = stage.connect(peer=("10.0.0.9", 999))
    for _ in range(5):
        guesser.ask("AUTH bob wrong")
    guesser.ask("AUTH nobody wrong")
    stage.clock.ms += 2000
    stage.trail.tick(stage.clock.now())
    auth = [(record["outcome"], record["user"], record["code"], record["details"]) for record in stage.found("auth")]
    assert auth == [
        ("wrong", "bob", "WRONGPASS", {}),
        ("locked", "bob", "LOCKED", {}),
        ("wrong", None, "WRONGPASS", {"known": False}),
        ("wrong", "bob", "WRONGPASS", {"count": 2}),
        ("locked", "bob", "LOCKED", {"count": 1}),
    ]
    (lock,) = stage.found("lockout")
    assert (lock["user"], lock["details"]["kind"], lock["details"]["target"]) == ("bob", "user", "bob")
    assert lock["address"].startswith("10.0.0.9:") and lock["details"]["seconds"] == 30
    admin.send("ACL UNLOCK USER bob")
    stage.write()
    assert stage.found("unlock")[0]["details"] == {"kind": "USER", "target": "bob"}
    guesser.ask("AUTH bob right")
    assert stage.found("auth")[-1]["outcome"] == "ok"


def test_a_flood_of_failures_stays_small():
    stage = Audited(protected_mode=False, login_address_limit=0, login_user_limit=0)
    guessers = [stage.connect(peer=(f"10.0.{number}.1", 1)) for number in range(10)]
    for _ in range(4):
        for guesser in guessers:
            for _ in range(15):
                guesser.send("AUTH nobody wrong")
        stage.clock.ms += 1000
        stage.trail.tick(stage.clock.now())
    assert len(stage.records()) <= 10 * 4 * 2
    assert sum(record["details"].get("count", 1) for record in stage.found("auth")) > 500


def test_refusals_by_right_and_at_the_gate(stage):
    admin = stage.connect()
    admin.send("ACL SETUSER eve on nopass +auth +config +set ~a*")
    stage.commit(), stage.write()
    eve = stage.connect()
    eve.ask("AUTH eve x", "FLUSHALL", "FLUSHALL", "SET b 1", "CONFIG SET maxclients")
    eve.ask("CONFIG SET hz 12")
    stage.write()
    denied = [(record["command"], record["details"]) for record in stage.found("denied")]
    assert denied == [("flushall", {"reason": "command"}), ("set", {"reason": "key"})]
    (wrong,) = [record for record in stage.found("config") if record["outcome"] == "refused"]
    assert short(wrong) == ("config", "refused", "eve", "config|set", "ERR")
    assert stage.found("flush") == []


def test_an_error_of_the_handler_is_its_outcome(stage):
    client = stage.connect()
    client.send("CONFIG SET maxclients nonsense", "ACL DELUSER default", "SWAPDB 0 99999")
    for _ in range(4):
        stage.commit()
        stage.write()
    assert len(client.heard()) == 3
    assert [(short(record)[3], record["outcome"], record["code"]) for record in stage.records()] == [
        ("config|set", "error", "ERR"), ("acl|deluser", "error", "ERR"), ("swapdb", "error", "ERR")
    ]  # fmt: skip


def test_a_change_goes_on_when_its_client_leaves_and_is_recorded(stage):
    client, other = stage.connect(), stage.connect()
    client.send("ACL SETUSER bob on nopass")
    client.vanish()
    stage.commit()
    stage.write()
    (record,) = stage.found("acl")
    assert (record["outcome"], record["details"]["target"]) == ("ok", "bob")
    assert "bob" in other.ask("ACL USERS")[0]


def test_shutdown_is_recorded_when_it_is_asked_for(stage):
    stage.connect().send("SHUTDOWN NOSAVE")
    (record,) = stage.found("shutdown")
    assert (record["outcome"], record["details"]) == ("asked", {"words": ["NOSAVE"]})


def test_slow_commands(stage):
    stage.settings.audit_slower_than = 2000
    stage.trail._attach()
    client = stage.connect()
    client.ask("SET a 1")
    for seconds in (0.001, 0.5):
        stage.shared.lateness.request_took(client.session, (b"GET", b"a"), seconds)
    (record,) = stage.found("slow")
    assert (record["command"], record["keys"], record["latency_us"]) == ("get", 1, 500_000)
    assert not stage.shared.observed
    stage.settings.audit_slower_than = 10
    stage.trail._attach()
    assert stage.shared.observed, "each request is timed by itself"


def test_while_no_record_can_be_written_changes_of_security_are_refused_and_the_rest_goes_on(stage):
    client = stage.connect()
    stage.disk.faults[stage.disk.calls + 1] = Fault("eio")
    client.send("CONFIG SET hz 12")
    stage.write()
    assert client.heard()[0].startswith("-INDETERMINATE the request was executed, but its audit record could not be written")
    assert client.ask("CONFIG GET hz") == ["[hz 12]"]
    refused = client.ask("CONFIG SET hz 13", "FLUSHALL", "ACL SETUSER x on", "SET a 1", "GET a")
    assert [text[:8] for text in refused[:3]] == ["-MISCONF"] * 3 and "audit-on-failure" in refused[0]
    assert refused[3:] == ["+OK", "1"]
    assert client.ask("MULTI", "FLUSHALL", "EXEC")[2].startswith("-EXECABORT")
    assert stage.shared.info(["audit"]).count("audit_failed:1") == 1


def test_a_block_that_was_queued_before_the_failure_is_refused_as_a_whole(stage):
    client, other = stage.connect(), stage.connect()
    client.ask("SET a 1", "MULTI", "FLUSHALL")
    stage.disk.faults[stage.disk.calls + 1] = Fault("eio")
    other.send("CONFIG SET hz 12")
    stage.write()
    assert client.ask("EXEC")[0].startswith("-EXECABORT Transaction discarded because of: MISCONF")
    assert client.ask("GET a") == ["1"]
    client.ask("MULTI", "SET b 2")
    assert client.ask("EXEC") == ["[+OK]"]


def test_a_full_memory_of_records_makes_audited_commands_wait_and_no_others(stage, monkeypatch):
    client, other = stage.connect(), stage.connect()
    stage.audit.crowded = True
    client.send("CONFIG SET hz 12")
    assert client.heard() == [] and other.ask("SET a 1", "GET a") == ["+OK", "1"]
    client.send("MULTI")
    other.ask("MULTI", "SET a 2")
    assert other.ask("EXEC") == [], "its block may hold any number of them"
    assert stage.audit._pending == []
    stage.audit.crowded = False
    stage.audit.on_room()
    stage.write(), stage.commit()
    assert client.heard() == ["+OK", "+OK"] and other.heard() == ["[+OK]"]


def test_the_chain_that_all_of_this_makes_is_whole(stage):
    client = stage.connect()
    for line in ("CONFIG SET hz 12", "FLUSHALL", "AUTH a b", "ACL SETUSER x on"):
        client.send(line)
        stage.commit(), stage.write()
    assert check_files(stage.disk, ROOT, committed=stage.audit.head).whole
    assert stage.audit.head.sequence == len(stage.records()) == 4
    stage.close()


def test_head(stage):
    client = stage.connect()
    client.send("CONFIG SET hz 12")
    stage.write()
    client.heard()
    assert f"sequence :1 hash {stage.audit.head.hash} committed-sequence :0" in client.ask("AUDIT HEAD")[0]
    stage.audit.commit_head()
    stage.commit()
    assert "committed-sequence :1" in client.ask("AUDIT HEAD")[0]
    assert stage.shared.machine.world.audit_heads.nodes[b"ab" * 16].sequence == 1
    stage.close()


def test_the_smallest_threshold_is_that_of_the_slow_log():
    from vaylix_resp.server.lateness import SLOW_EACH_US

    assert module.SLOW_US_MIN == SLOW_EACH_US


def test_who_logs_in_inside_a_transaction_does_not_answer_for_what_came_before(stage):
    admin = stage.connect()
    admin.send("ACL SETUSER bob on nopass ~* +@all")
    stage.commit(), stage.write()
    client = stage.connect("AUTH bob x")
    client.send("MULTI", "SELECT 3", "FLUSHDB", "AUTH default x", "SELECT 0", "EXEC")
    stage.commit(), stage.write()
    assert client.heard()[-1] == "[+OK +OK +OK +OK]" and client.session.user == "default"
    (record,) = stage.found("flush")
    assert short(record) == ("flush", "ok", "bob", "flushdb", None)
    assert record["details"] == {"database": 3, "transaction": True}
    stage.close()


def test_a_block_that_failed_with_its_batch_is_recorded(stage):
    client = stage.connect()
    client.send("MULTI", "FLUSHALL", "EXEC")
    batch = stage.seal()
    stage.disk.faults[stage.disk.calls + 2] = Fault("eio")  # the fsync: the disk may have it
    stage.land(batch)
    stage.write()
    assert client.heard()[-1].startswith("-INDETERMINATE")
    (record,) = stage.found("flush")
    assert short(record) == ("flush", "error", "default", "flushall", "INDETERMINATE")


def test_a_long_transaction_cannot_crowd_its_records_out():
    stage = Audited(audit_log_categories=("connection",))
    client = stage.connect()
    long = ["PING"] * (module.BLOCK_RECORDS_MAX - 1)
    client.ask("MULTI", *long, "FLUSHALL", "EXEC")
    stage.write()
    assert stage.audit.lost == 0 and len(stage.found("flush")) == 1
    client.heard()
    assert client.ask("MULTI", *long, "ECHO a", "FLUSHALL", "EXEC")[-1] == "-" + module.TOO_MANY
