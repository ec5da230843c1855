"""Maintenance mode at the door: who is refused, and when exactly it closes and opens."""

import pytest

from vaylix_resp.engine.node import Node
from vaylix_resp.server.shared import Shared

AFTERWARDS = "Reads go on; write again when maintenance is over"
USUAL = f"-MAINTENANCE Writes are refused: the server is in maintenance mode. {AFTERWARDS}"


def test_writes_are_refused_and_the_rest_goes_on(stage):
    client, admin = stage.connect("SET a 1"), stage.connect("MAINTENANCE ON")
    assert client.ask("SET a 2", "GET a", "DEL a", "PUBLISH c m") == [USUAL, "1", USUAL, ":0"]
    assert client.ask("SET a 2", "SET b 2", "SET c 2") == [USUAL] * 3, "as a row"
    assert admin.ask("CONFIG SET hz 11", "ACL SETUSER x", "MAINTENANCE STATUS") == [
        "+OK", "+OK", f"[mode on since-ms :{stage.clock.ms} message ]"
    ]  # fmt: skip
    assert admin.ask("MAINTENANCE OFF") == ["+OK"]
    assert client.ask("SET a 2", "GET a") == ["+OK", "2"]


def test_a_message_takes_the_place_of_the_usual_text(stage):
    client = stage.connect()
    assert client.ask(("MAINTENANCE", "ON", "new disk until 14:00"), "SET a 1") == [
        "+OK",
        f"-MAINTENANCE Writes are refused: new disk until 14:00. {AFTERWARDS}",
    ]


def test_transactions(stage):
    begun, client = stage.connect("MULTI", "SET a 1"), stage.connect("MAINTENANCE ON")
    aborted = "-EXECABORT Transaction discarded because of previous errors."
    assert begun.ask("EXEC") == [f"-EXECABORT Transaction discarded because of: {USUAL[1:]}"]
    assert client.ask("MULTI", "SET a 1", "EXEC") == ["+OK", USUAL, aborted]
    assert client.ask("MULTI", "GET a", "EXEC") == ["+OK", "+QUEUED", "[_]"]
    assert client.ask("MULTI", "MAINTENANCE OFF", "DISCARD")[1] == "-ERR Command not allowed inside a transaction"


def test_no_write_is_behind_on_in_the_log(stage):
    first, admin, second = stage.connect(), stage.connect(), stage.connect()
    first.send("SET a 1")
    admin.send("MAINTENANCE ON")
    first.send("SET a 2")
    second.send("SET b 1")
    assert [entry[0] for entry in stage.logged()] == [b"SET", b"@maintenance"]
    stage.commit()
    assert (first.heard(), admin.heard(), second.heard()) == (["+OK", USUAL], ["+OK"], [USUAL])


def test_off_opens_when_it_is_applied(stage):
    admin, client = stage.connect("MAINTENANCE ON"), stage.connect()
    admin.send("MAINTENANCE OFF")
    client.send("SET a 1")
    stage.commit()
    assert (admin.heard(), client.heard()) == (["+OK"], [USUAL])
    assert client.ask("SET a 1") == ["+OK"]


def test_off_does_not_open_while_an_on_is_on_its_way(stage):
    admin, other, client = stage.connect("MAINTENANCE ON"), stage.connect(), stage.connect()
    admin.send("MAINTENANCE OFF")
    batch = stage.seal()
    other.send("MAINTENANCE ON")
    stage.land(batch)
    assert admin.heard() == ["+OK"]
    assert client.ask("SET a 1") == [USUAL] and other.heard() == ["+OK"]
    assert admin.ask("MAINTENANCE OFF") == ["+OK"] and client.ask("SET a 1") == ["+OK"]


@pytest.mark.parametrize("gone", [False, True])
def test_on_that_cannot_be_logged(stage, gone):
    """The disk is full: writes are refused for that, and taken when there is room again; whether or not who asked waits."""
    admin, client = stage.connect(), stage.connect()
    stage.node.out_of_space()
    full = f"-{stage.node.refusal.text}"
    admin.send("MAINTENANCE ON")
    if gone:
        admin.vanish()
    else:
        assert admin.heard() == [full]
    assert client.ask("SET a 1") == [full]
    stage.node.space_is_back()
    assert client.ask("SET a 1") == ["+OK"]


def test_who_asked_may_go(stage):
    admin, client = stage.connect(), stage.connect()
    admin.send("MAINTENANCE ON")
    admin.vanish()
    assert client.ask("SET a 1", "MAINTENANCE OFF") == [USUAL, "+OK"]
    assert client.ask("SET a 1") == ["+OK"]


def test_keys_expire_all_the_same(stage):
    client = stage.connect("SET a 1 PX 1000", "MAINTENANCE ON")
    stage.wait(3)
    stage.shared.expirer.run(lambda: None)
    stage.commit()
    assert client.ask("DBSIZE") == [":0"]


def test_it_is_on_after_a_restart(stage):
    stage.connect("SET a 1", "MAINTENANCE ON")
    node: Node = stage._start(stage.disk.copy())[1]
    again = Shared(stage.settings, stage.clock, node, "1" * 40, stage.shared.entrance._workers)
    assert again.maintenance.refusal is not None and again.maintenance.refusal.text == USUAL[1:]
