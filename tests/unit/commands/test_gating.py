"""What needs a cluster version that is not in force is refused, and by whose fault is said."""

import pytest

from tests.unit.fake_admin import FakeAdmin
from tests.unit.fake_cluster import FakeView
from vaylix_resp.commands import gating
from vaylix_resp.commands.spec import DECLARED
from vaylix_resp.errors import CommandError
from vaylix_resp.state import versions


@pytest.fixture(autouse=True)
def later(monkeypatch):
    """GETDEL and @later need version 2, whatever the real table says."""
    monkeypatch.setattr(versions, "REQUIRED", {b"@later": 2, b"GETDEL": 2})
    monkeypatch.setattr(DECLARED["getdel"], "forbidden", None)


def server(view=None, in_force=1, understands=2):
    made = FakeAdmin()
    made.cluster = view
    made.machine.world.cluster_version, made.machine.world.understands = in_force, understands
    return made


@pytest.mark.parametrize(("facts", "why"), [
    ({}, "all nodes understand it, and it is on its way"),
    ({2: {"understands": 1}}, "node-2 understands versions up to 1"),
    ({1: {"understands": 1}, 3: {"understands": None}},
     "node-1 understands versions up to 1, node-3 has not said what it understands"),
])  # fmt: skip
def test_the_nodes_that_are_behind_are_named(facts, why):
    view = FakeView()
    for number, said in facts.items():
        view.change(number, **said)
    refused = gating.refusal(server(view), b"@later")
    assert refused.text == (
        f"ERR @later needs cluster version 2, and 1 is in force: {why}; nothing was written"
    )
    assert gating.refusal(server(view), b"@noop") is None
    assert gating.refusal(server(view, in_force=2), b"@later") is None


def test_alone_only_the_configuration_can_hold_it_back():
    assert "cluster-version-max holds it at 1" in gating.refusal(server(understands=1), b"@later").text


def test_a_command_that_needs_a_version_asks_for_it():
    gating.gate([DECLARED["getdel"], DECLARED["getex"]])
    client = server(FakeView()).connect()
    assert client.call("GETDEL", "k").startswith("ERR GETDEL needs cluster version 2")
    client.server.machine.world.cluster_version = 2
    assert DECLARED["getdel"].forbidden(client) is None
    assert DECLARED["getex"].forbidden is None


def test_what_else_forbids_it_is_still_asked(monkeypatch):
    monkeypatch.setattr(DECLARED["getdel"], "forbidden", lambda client: CommandError("ERR not now"))
    gating.gate([DECLARED["getdel"]])
    client = server(FakeView(), in_force=2).connect()
    assert client.call("GETDEL", "k") == "ERR not now"
