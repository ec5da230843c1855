"""Who `vaylix top` asks, and what it does when somebody does not answer. The screen: test_top_frame.py."""

from concurrent.futures import wait
from threading import Barrier, Event

import hiredis
import pytest

from vaylix_resp.tools import top
from vaylix_resp.tools.moving.channel import Denied
from vaylix_resp.tools.reach import Target
from vaylix_resp.tools.top import Group, Unanswered, as_data

MEMBERS = [
    {b"id": b"%d" % n, b"name": b"node-%d" % n, b"address": b"10.0.0.%d:6379" % n, b"state": b"unknown", b"lag": None}
    for n in (1, 2, 3)
]  # fmt: skip
CLIENTS = b"id=7 addr=10.0.0.9:5 name= db=0 cmd=get tot-mem=10\nid=8 addr=[::1]:5 name=a=b db=0 cmd=client|list tot-mem=5\n"


class Network:
    """Nodes by address, each with what it answers: replies, or a problem that is raised."""

    def __init__(self, **nodes):
        self.nodes = {f"10.0.0.{number[1:]}:6379": self.replies(int(number[1:])) for number in nodes}
        self.nodes |= {f"10.0.0.{number[1:]}:6379": found for number, found in nodes.items() if found is not True}
        self.requests = dict.fromkeys(self.nodes, 0)
        self.opened, self.closed = [], []
        self.hold = {}  # by address: called before a node answers

    @staticmethod
    def replies(number):
        status = {b"id": b"%d" % number, b"name": b"node-%d" % number, b"role": b"follower", b"members": MEMBERS}
        return [{b'vaylix_commands_total{command="get"}': 0, b"vaylix_keys": 5}, status, CLIENTS]

    def channel(self, address, wait_s):
        assert (address.user, address.password) == ("ops", "secret") and wait_s
        return Channel(self, address.target.where)


class Channel:
    def __init__(self, network, where):
        self.network, self.where = network, where
        found = network.nodes.get(where, ConnectionRefusedError(111, "Connection refused"))
        if isinstance(found, Exception):
            raise found
        network.opened.append(where)

    def ask(self, *words):
        assert words == (b"HELLO", b"3")

    def all(self, questions):
        self.network.hold.get(self.where, bool)()
        found = self.network.nodes.get(self.where, ConnectionResetError(104, "Connection reset by peer"))
        if isinstance(found, Exception):
            raise found
        if isinstance(found[0], hiredis.ReplyError):
            return found
        self.network.requests[self.where] += 100
        metrics = found[0] | {b'vaylix_commands_total{command="get"}': self.network.requests[self.where]}
        return [metrics, *found[1:]][: len(questions)]

    def close(self):
        self.network.closed.append(self.where)


@pytest.fixture
def looking(monkeypatch):
    def look(network, wait_s=10.0):
        monkeypatch.setattr(top, "Channel", network.channel)
        return Group(Target("10.0.0.1", 6379), "ops", "secret", wait_s)

    return look


def summary(nodes):
    return [(node.sample.name, node.sample.problem, node.figures is not None) for node in nodes]


def test_all_members_are_asked_and_rates_come_with_the_second_look(looking):
    network = Network(n1=True, n2=True, n3=True)
    with looking(network) as group:
        assert summary(group.look()) == [("node-1", "", False), ("node-2", "", False), ("node-3", "", False)]
        nodes = group.look()
    assert summary(nodes) == [("node-1", "", True), ("node-2", "", True), ("node-3", "", True)]
    assert all(node.figures.requests_s > 0 and node.figures.keys == 5 for node in nodes)
    assert network.opened == network.closed == ["10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"]  # once each
    assert [one["addr"] for one in nodes[0].sample.clients] == ["10.0.0.9:5", "[::1]:5"] and not nodes[1].sample.clients
    assert nodes[0].sample.clients[1]["name"] == "a=b"


def test_a_node_that_does_not_answer_is_named_and_asked_again(looking):
    network = Network(n1=True, n2=True)
    with looking(network) as group:
        assert summary(group.look())[2] == ("node-3", "Connection refused", False)
        network.nodes["10.0.0.3:6379"], network.requests["10.0.0.3:6379"] = network.replies(3), 0
        assert summary(group.look())[2] == ("node-3", "", False)
        assert summary(group.look())[2] == ("node-3", "", True)


def test_the_others_are_asked_at_the_same_time(looking):
    network, together = Network(n1=True, n2=True, n3=True), Barrier(2)
    network.hold = dict.fromkeys(("10.0.0.2:6379", "10.0.0.3:6379"), lambda: together.wait(10))
    with looking(network) as group:
        assert [problem for _, problem, _ in summary(group.look())] == ["", "", ""]


def test_a_node_that_is_silent_is_waited_for_once_and_shown_when_it_speaks(looking, monkeypatch):
    network, silent, speaks, waits = Network(n1=True, n2=True, n3=True), "10.0.0.3:6379", Event(), []
    network.hold[silent] = lambda: speaks.wait(60)

    def waited(answers, wait_s):
        """For as long as it takes, but for the silent one."""
        waits.append((len(answers), wait_s))
        wait([one for one in answers if one is not group._asking.get(silent) or speaks.is_set()], 10)

    monkeypatch.setattr(top, "wait", waited)
    with looking(network) as group:
        for _ in range(3):
            assert summary(group.look())[2] == ("node-3", "no answer so far", False)
        first, others = [(1, 10.0), (1, top.GRACE_S)], [(1, 10.0), (2, top.GRACE_S)]
        assert waits == [*first, (2, 10.0), (2, top.GRACE_S), *first, *others, *first, *others]
        speaks.set()
        assert summary(group.look())[2] == ("node-3", "", False)
        assert summary(group.look())[2] == ("node-3", "", True)


def test_when_the_first_is_gone_another_one_is_asked(looking):
    network = Network(n1=True, n2=True, n3=True)
    with looking(network) as group:
        group.look()
        del network.nodes["10.0.0.1:6379"]
        assert summary(group.look()) == [
            ("node-2", "", True), ("node-1", "Connection refused", False), ("node-3", "", True)]  # fmt: skip
        network.nodes.clear()
        with pytest.raises(Unanswered, match=r"10\.0\.0\.2:6379: Connection reset by peer"):
            group.look()


def test_another_node_at_the_address_of_a_member_is_none(looking):
    network = Network(n1=True, n2=Network.replies(9), n3=True)
    with looking(network) as group:
        assert summary(group.look())[1] == ("node-2", "another node is at its address here", False)


@pytest.mark.parametrize(
    "found, said",
    [(Denied("10.0.0.1:6379: WRONGPASS"), "WRONGPASS"), (TimeoutError("timed out"), "timed out"),
     ([hiredis.ReplyError("NOPERM no METRICS"), {}, b""], "NOPERM no METRICS")],
    ids=["denied", "timeout", "no rights"],
)  # fmt: skip
def test_the_first_has_to_answer(looking, found, said):
    with looking(Network(n1=found)) as group, pytest.raises(Unanswered, match=said) as raised:
        group.look()
    assert "secret" not in str(raised.value)


def test_as_data(looking):
    with looking(Network(n1=True, n2=True)) as group:
        group.look()
        data = as_data(group.look())
    assert [(one["name"], one["problem"]) for one in data["nodes"]] == [
        ("node-1", None), ("node-2", None), ("node-3", "Connection refused")]  # fmt: skip
    assert data["nodes"][0]["figures"]["keys"] == 5 and data["nodes"][2]["figures"] is None
    assert len(data["members"]) == 3 and len(data["clients"]) == 2
