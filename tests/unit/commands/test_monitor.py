"""MONITOR itself; its lines are tested with `server.monitor`."""

from tests.unit.fake_server import FakeServer
from vaylix_resp.resp.reply import NO_REPLY, OK


def test_monitor_once():
    server = FakeServer()
    client = server.connect()
    assert client.call("MONITOR") is OK
    assert client.monitor and server.refreshed == 1
    assert client.call("MONITOR") is NO_REPLY, "Redis does not answer the second time"
    assert len(server.monitors) == 1


def test_not_inside_a_transaction():
    server = FakeServer()
    client = server.connect()
    client.in_block = True
    assert client.call("MONITOR") == "ERR MONITOR isn't allowed for DENY BLOCKING client"
    assert not client.monitor and not server.monitors.active
