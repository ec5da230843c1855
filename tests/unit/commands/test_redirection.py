"""Who is sent to the leader, and in which words."""

import pytest

from tests.unit.fake_admin import FakeAdmin
from tests.unit.fake_cluster import FakeView
from vaylix_resp.commands.cluster_view import Address
from vaylix_resp.commands.redirection import CODES, prefers, refusal
from vaylix_resp.commands.registry import find
from vaylix_resp.server.table import CommandTable

MOVED = "MOVED 15495 10.0.0.1:6379"  # the slot of `a`
REDIRECT = "REDIRECT 10.0.0.1:6379"


def connect(view, writes="forward", mode="no", **marks):
    server = FakeAdmin(follower_writes=writes, cluster_enabled=mode)
    server.cluster = view
    client = server.connect()
    for name, value in marks.items():
        setattr(client, name, value)
    return client


CAPA, FOLLOWS = {"capa_redirect": True}, {"follows_moved": True}


@pytest.mark.parametrize(
    "writes, mode, marks, preferred",
    [
        ("forward", "no", {}, False),
        ("forward", "no", CAPA, False),
        ("forward", "no", FOLLOWS, False),
        ("forward", "emulate", {}, False),
        ("forward", "emulate", CAPA, False),
        ("forward", "emulate", FOLLOWS, True),
        ("redirect", "no", {}, False),
        ("redirect", "no", CAPA, True),
        ("redirect", "emulate", {}, True),
        ("redirect", "emulate", FOLLOWS, True),
    ],
)
def test_who_prefers_to_be_told(writes, mode, marks, preferred):
    assert prefers(connect(FakeView(me=2), writes, mode, **marks)) == preferred


def told(client, line):
    argv = line.encode().split()
    bound = CommandTable(client.server.commands, client.server.stats).find(argv)
    found = refusal(client, bound.spec, argv)
    return None if found is None else found.text


@pytest.mark.parametrize(
    "line, moved, redirected",
    [
        ("SET a 1", MOVED, REDIRECT),
        ("GET a", MOVED, REDIRECT),
        ("MGET a b", MOVED, REDIRECT),
        ("WATCH a b", MOVED, REDIRECT),
        ("GET x{a}", MOVED, REDIRECT),
        ("FLUSHALL", None, REDIRECT),
        ("DBSIZE", None, REDIRECT),
        ("MSETEX x a 1", None, REDIRECT),  # its keys cannot be found: the command itself says why
        ("PING", None, None),
        ("PUBLISH a b", None, None),
        ("SUBSCRIBE a", None, None),
        ("EXEC", None, None),
        ("CONFIG GET port", None, None),
    ],
)
def test_what_is_answered_with_the_leaders_address(line, moved, redirected):
    view = FakeView(me=2)
    assert told(connect(view, "redirect", "emulate"), line) == moved
    assert told(connect(view, "redirect", "no", **CAPA), line) == redirected


@pytest.mark.parametrize("line, answer", [("SET a 1", MOVED), ("GET a", None), ("WATCH a", None)])
def test_who_takes_old_data_reads_here(line, answer):
    assert told(connect(FakeView(me=2), "redirect", "emulate", readonly=True), line) == answer


def test_redirect_is_preferred_by_who_knows_it():
    assert told(connect(FakeView(me=2), "redirect", "emulate", **CAPA), "SET a 1") == REDIRECT


@pytest.mark.parametrize(
    "block, answer", [(["GET a"], MOVED), (["DBSIZE", "SET a 1"], MOVED), (["PING"], None), ([], None)]
)
def test_exec_goes_where_its_block_belongs(block, answer):
    client = connect(FakeView(me=2), "redirect", "emulate")
    assert client.server.commands["multi"].handler(client, [b"MULTI"]) is not None
    for line in block:
        argv = line.encode().split()
        client.multi.add(find(argv[0].decode()), argv)
    assert told(client, "EXEC") == answer


@pytest.mark.parametrize("line", ["SET a 1", "GET a"])
def test_the_leader_serves(line):
    assert told(connect(FakeView(), "redirect", "emulate"), line) is None


def test_a_server_alone_serves():
    assert told(connect(None, "redirect", "emulate"), "SET a 1") is None


def test_nobody_is_sent_to_a_leader_that_nobody_knows():
    view = FakeView(me=2)
    view.lead(None)
    assert told(connect(view, "redirect", "emulate"), "SET a 1").startswith("CLUSTERDOWN No raft leader")
    assert told(connect(view, "redirect", "no", **CAPA), "SET a 1") is None, (
        "this node waits for one, as for all clients"
    )


def test_nor_to_an_address_that_is_not_known():
    view = FakeView(me=2)
    view.change(1, client=None)
    assert told(connect(view, "redirect", "emulate"), "SET a 1") is None


def test_an_ipv6_address_stands_in_brackets():
    view = FakeView(me=2)
    view.change(1, client=Address("fd00::1", 7))
    assert told(connect(view, "redirect", "no", **CAPA), "SET a 1") == "REDIRECT [fd00::1]:7"


def test_all_its_codes_are_named():
    """EXEC passes these on as they are; see `transactions.discarded`."""
    view = FakeView(me=2)
    found = {told(connect(view, "redirect", mode, **CAPA), "SET a 1").split()[0] for mode in ("no", "emulate")}
    found.add(told(connect(view, "redirect", "emulate"), "SET a 1").split()[0])
    view.lead(None)
    found.add(told(connect(view, "redirect", "emulate"), "SET a 1").split()[0])
    assert found == CODES
