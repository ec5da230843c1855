"""Working off a run: what is applied and answered when its batch is committed, or when it has failed."""

import pytest

from vaylix_resp.errors import INDETERMINATE
from vaylix_resp.limits import MIB
from vaylix_resp.server.execution import ITEM_REQUESTS_MAX, ITEM_VALUES_MAX


@pytest.mark.parametrize("request_, piece, replies", [
    ("SET a 1", ITEM_REQUESTS_MAX, ["+OK"] * 192), ("INCR n", ITEM_VALUES_MAX, [f":{n}" for n in range(1, 193)]),
    ("SET a 1 GET", ITEM_VALUES_MAX, ["_"] + ["1"] * 191), ("GETEX a", ITEM_VALUES_MAX, ["_"] * 192),
])  # fmt: skip
def test_many_writes_are_applied_in_pieces(stage, request_, piece, replies):
    """Short ones where each may be answered with a large value."""
    client = stage.connect()
    client.send(*[request_] * 192)
    (run,) = stage.node.open.runs
    assert [len(item.requests) for item in run.items] == [piece] * (192 // piece)
    stage.commit()
    assert client.heard() == replies


# A log that fails.


def test_a_failed_batch_answers_its_reads_truthfully(stage):
    client, other = stage.connect("SET a 1", "SET b 1"), stage.connect()
    client.send("SET a 2", "GET a", "PING", "MULTI", "GET a", "EXEC", "MULTI", "SET b 2", "PING", "EXEC", "SELECT 1",
                "GET a", "SELECT 0", "INCR a")  # fmt: skip
    stage.break_disk()
    stage.commit()
    indeterminate = f"-{INDETERMINATE}"
    assert client.heard() == [indeterminate, "1", "+PONG", "+OK", "+QUEUED", "[1]", "+OK", "+QUEUED", "+QUEUED",
                              indeterminate, "+OK", "_", "+OK", f"-{stage.node.refusal.text}"]  # fmt: skip
    assert stage.node.refusal.text.startswith("MISCONF Writes are refused: the log failed")
    assert client.ask("SET a 3", "GET a") == [f"-{stage.node.refusal.text}", "1"]
    assert other.ask("GET a", "PING") == ["1", "+PONG"]


def test_those_who_gathered_while_the_disk_failed_are_refused(stage):
    first, second = stage.connect("SET a 1"), stage.connect()
    first.send("SET a 2")
    batch = stage.seal()
    second.send("SET a 3", "GET a", "PUBLISH c m", "SET b 1", "GET b")
    first.send("INCR a")
    stage.break_disk()
    stage.land(batch)
    assert first.heard() == [f"-{INDETERMINATE}"]
    stage.commit()
    misconf = stage.node.refusal.text
    assert first.heard() == [f"-{misconf}"]
    assert second.heard() == [f"-{misconf}", "1", ":0", f"-{misconf}", "_"]


def test_a_session_goes_on_after_a_failed_batch(stage):
    """What waited behind it is executed, and the barrier of a block that was never applied is lifted."""
    client = stage.connect()
    client.send("MULTI", "SET a 1", "SELECT 3", "EXEC", "GET a", "CLIENT LIST ID 99", "PING")
    stage.break_disk()
    stage.commit()
    assert client.heard() == ["+OK", "+QUEUED", "+QUEUED", f"-{INDETERMINATE}", "_", "", "+PONG"]
    assert client.ask("CLIENT TRACKINGINFO")[0].startswith("[flags")
    assert client.session.db == 0


def test_a_full_disk_refuses_and_writes_come_back(stage):
    client = stage.connect("SET a 1")
    stage.node.out_of_space()
    refused = client.ask("SET a 2", "INCR a", "GET a")
    assert [text[:8] for text in refused] == ["-MISCONF", "-MISCONF", "1"]
    stage.node.space_is_back()
    assert client.ask("INCR a") == [":2"]


# Clients that go.


def test_the_writes_of_a_client_that_vanished_stay(stage):
    client, other = stage.connect(), stage.connect("SUBSCRIBE c")
    client.send("SET a 1", "GET a", "MULTI", "INCR n", "PUBLISH c m", "SUBSCRIBE c", "CLIENT TRACKING ON", "EXEC",
                "WATCH a", "SET a 2")  # fmt: skip
    client.vanish()
    stage.commit()
    assert other.heard() == ["[message c m]"]
    assert stage.connect().ask("GET a", "GET n", "PUBSUB NUMSUB c", "INFO clients")[:3] == ["1", "1", "[c :1]"]
    assert not stage.shared.tracking.active and not stage.shared.watchers
    assert len(stage.shared.clients) == 2


def test_nothing_is_read_for_nobody(stage):
    client = stage.connect()
    client.send("SET a 1", *["GET a"] * 100)
    client.vanish()
    stage.commit()
    assert stage.shared.stats.commands["get"].calls == 0


def test_a_bug_in_a_handler_is_an_error_to_its_client_alone(stage, monkeypatch):
    client, other = stage.connect(), stage.connect()
    table = stage.shared.table.by_name

    def broken(view, argv):
        raise ZeroDivisionError("a test's own")

    for name in (b"STRLEN", b"GETRANGE"):
        monkeypatch.setattr(table[name], "handler", broken)
    client.send("STRLEN a", "SET a 1", "STRLEN a", "GETRANGE a 0 1", "GET a")
    other.send("SET b 1", "GET b")
    stage.commit()
    bug = "-ERR internal error while executing the request; see the server's log"
    assert client.heard() == [bug, "+OK", bug, bug, "1"] and other.heard() == ["+OK", "1"]
    assert len(stage.bugs) == 3
    stage.bugs.clear()


@pytest.mark.parametrize("lines", [["STRLEN a"], ["SET a 1", "STRLEN a"], ["GETDEL a"]])
def test_a_reply_that_cannot_be_encoded_costs_one_connection(stage, monkeypatch, lines):
    client, other = stage.connect("SET a 1"), stage.connect()
    monkeypatch.setattr(stage.shared.table.by_name[b"STRLEN"], "handler", lambda view, argv: {1, 2})
    getdel = stage.node.machine.table[b"GETDEL"]
    monkeypatch.setitem(stage.node.machine.table, b"GETDEL", lambda tx, argv: [getdel(tx, argv), object()])
    client.send(*lines, "SET b 2")
    other.send("SET c 3", "GET c")
    stage.commit()
    assert other.heard() == ["+OK", "3"] and client.closed
    assert len(stage.bugs) == 1
    stage.bugs.clear()


# Replies that are large.


def test_many_large_values_behind_a_write_leave_one_by_one(stage):
    """Their replies together would be a thousand times what was asked for."""
    stage.settings.set_many([("client-output-buffer-limit", "normal 8mb 0 0")])
    client, other = stage.connect(), stage.connect()
    other.ask(("SET", "big", "x" * MIB))
    client.wire.slow = True
    client.send("SET a 1", *["GET big"] * 100, "INCR n")
    other.send("INCR n")
    stage.commit()
    assert client.closed, "it did not read, and the limit was passed"
    assert stage.shared.stats.commands["get"].calls < 20, "and nobody went on to read for it"
    assert other.heard()[-1:] == [":2"], "its writes have been applied all the same"


def test_many_large_values_of_writes_leave_in_pieces(stage):
    client = stage.connect(("SET", "big", "x" * MIB))
    count = 3 * ITEM_VALUES_MAX
    client.send(*["GETEX big"] * count)
    held = []
    client.wire.on_write = lambda data: held.append(len(data))
    stage.commit()
    assert max(held) < (ITEM_VALUES_MAX + 2) * MIB and len(held) >= 3
    assert len(client.heard()) == count
