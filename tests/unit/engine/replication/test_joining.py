"""A node comes into a cluster: what it and the members say to each other, without a network between them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from tests.unit.engine.replication.test_changes import Town
from vaylix_resp.commands.cluster_view import Address
from vaylix_resp.engine.replication.admission import REMOVED, Admission
from vaylix_resp.engine.replication.joining import (
    AGAIN,
    LEADER,
    NO,
    TOO_OLD,
    Joined,
    Joiner,
    NotJoined,
    Outdated,
    Visit,
)
from vaylix_resp.errors import CommandError
from vaylix_resp.peers.channel import Channel
from vaylix_resp.peers.codec import Message
from vaylix_resp.peers.dialer import Target
from vaylix_resp.peers.hello import NO_CLUSTER, Identity, Purpose
from vaylix_resp.peers.messages import JoinInvite, JoinReply, JoinRequest, Member
from vaylix_resp.raft.types import Change, ChangeKind
from vaylix_resp.resp.reply import OK
from vaylix_resp.state.nodes import NodeInfo

CLUSTER = bytes(range(16))
ASK = JoinRequest("n9", "", 7009, "", "1")
IN = JoinReply("", "", CLUSTER, (Member(1, "n1", "h1", 7001),))


class Guest:
    """Both ends of a connection, as far as these modules see one."""

    def __init__(self, dialed: bool, node: int = 9, name: str = "n9", addr: str = "10.0.0.9:5555") -> None:
        self.dialed, self.addr, self.purpose, self.is_open = dialed, addr, Purpose.JOIN, True
        self.peer = Identity(NO_CLUSTER, node, name, 1, 1, 1)
        self.sent: list[Any] = []

    def send(self, message: Message) -> bool:
        self.sent.append(message)
        return True

    @property
    def channel(self) -> Channel:
        return cast(Channel, self)


class Visits:
    """Dialers that connect when the test says so."""

    def __init__(self) -> None:
        self.dialers: dict[str, Any] = {}
        self.failed: dict[str, Callable[[str], None]] = {}

    def __call__(self, target: Target, purpose: Purpose, name: str, failed: Callable[[str], None]) -> Any:
        dialer = type("Dialer", (), {"channel": None, "closed": False})()
        dialer.close = lambda: setattr(dialer, "closed", True)
        self.dialers[target.address], self.failed[target.address] = dialer, failed
        return dialer

    def connect(self, where: str) -> Guest:
        guest = Guest(dialed=True)
        self.dialers[where].channel = guest
        return guest

    @property
    def visit(self) -> Visit:
        return cast(Visit, self)


def played(story: Callable[[Visits, Callable[..., Joiner]], Any]) -> Any:
    async def play() -> Any:
        visits = Visits()
        return await story(visits, lambda **options: Joiner(ASK, visits.visit, **options))

    return asyncio.run(play())


def test_it_follows_the_word_of_a_follower_to_the_leader() -> None:
    async def story(visits: Visits, make: Callable[..., Joiner]) -> tuple[Joined, Guest, Guest]:
        joiner = make(patient=False)
        joiner.add([Address("a", 1)])
        task = asyncio.ensure_future(joiner.run(20.0))
        first = visits.connect("a:1")
        joiner.on_guest(first.channel, None)
        joiner.on_guest(first.channel, JoinReply(LEADER, "b:2", b"", ()))
        second = visits.connect("b:2")
        joiner.on_guest(second.channel, None)
        joiner.on_guest(second.channel, IN)
        joined = await task
        assert all(dialer.closed for dialer in visits.dialers.values())
        return joined, first, second

    joined, first, second = played(story)
    assert joined == Joined(CLUSTER, IN.members) and first.sent == second.sent == [ASK]


@pytest.mark.parametrize(
    "reply, why",
    [
        (JoinReply(NO, "a node called n9 is in the cluster", b"", ()), "a node called n9"),
        (JoinReply(AGAIN, "no leader is known", b"", ()), "no leader is known"),
        (JoinReply("", "", b"short", ()), "names no cluster"),
        (JoinReply(LEADER, "nonsense", b"", ()), "makes no sense"),
        (None, "connection refused"),
    ],
)
def test_why_it_has_not_joined(reply: JoinReply | None, why: str) -> None:
    async def story(visits: Visits, make: Callable[..., Joiner]) -> None:
        joiner = make(patient=False)
        joiner.add([Address("a", 1)])
        task = asyncio.ensure_future(joiner.run(0.05))
        await asyncio.sleep(0)
        guest = visits.connect("a:1")
        if reply is None:
            visits.failed["a:1"]("connection refused")
        else:
            joiner.on_guest(guest.channel, reply)
        with pytest.raises(NotJoined, match=why):
            await task

    played(story)


def test_a_patient_one_asks_again_after_a_refusal() -> None:
    async def story(visits: Visits, make: Callable[..., Joiner]) -> list[Message]:
        joiner = make(patient=True)
        joiner.add([Address("a", 1)])
        task = asyncio.ensure_future(joiner.run())
        guest = visits.connect("a:1")
        joiner.on_guest(guest.channel, None)
        joiner.on_guest(guest.channel, JoinReply(NO, "the name is taken", b"", ()))
        while len(guest.sent) < 2:
            await asyncio.sleep(0.01)
        joiner.on_guest(guest.channel, IN)
        await task
        return guest.sent

    assert played(story) == [ASK, ASK]


def test_not_even_a_patient_one_asks_again_with_software_that_is_too_old() -> None:
    async def story(visits: Visits, make: Callable[..., Joiner]) -> None:
        joiner = make(patient=True)
        joiner.add([Address("a", 1)])
        task = asyncio.ensure_future(joiner.run())
        joiner.on_guest(visits.connect("a:1").channel, JoinReply(TOO_OLD, "version 2 is in force", b"", ()))
        with pytest.raises(Outdated, match="version 2 is in force"):
            await task

    played(story)


def test_a_stranger_cannot_let_it_in() -> None:
    """Only who was visited is believed."""

    async def story(visits: Visits, make: Callable[..., Joiner]) -> None:
        joiner = make(patient=False)
        joiner.add([Address("a", 1)])
        task = asyncio.ensure_future(joiner.run(0.05))
        for guest in (Guest(dialed=False), Guest(dialed=True)):
            joiner.on_guest(guest.channel, IN)
        with pytest.raises(NotJoined, match="nobody answers"):
            await task

    played(story)


# The members' side.


class Hall(Town):
    def __init__(self) -> None:
        super().__init__()
        self.visits = Visits()
        self.timers: list[Callable[[], None]] = []

    def admission(self, follower: bool = False) -> Admission:
        node = self.followers[0] if follower else self.leader
        assert node.replica is not None
        return Admission(
            node.replica, self.changes[node.id], self.visits.visit, lambda seconds, call: self.timers.append(call)
        )

    def asked(self, guest: Guest, *, follower: bool = False) -> JoinReply:  # type: ignore[override]
        self.admission(follower).on_guest(guest.channel, ASK)
        self.world.run_until(self.world.now + 2.0, lambda: bool(guest.sent))
        (reply,) = guest.sent
        return cast(JoinReply, reply)


def test_the_answer_comes_when_it_is_committed() -> None:
    hall = Hall()
    guest = Guest(dialed=False)
    hall.admission().on_guest(guest.channel, ASK)
    assert guest.sent == [], "it has only been proposed"
    hall.world.run_until(hall.world.now + 2.0, lambda: bool(guest.sent))
    (reply,) = guest.sent
    assert reply.code == "" and reply.cluster == CLUSTER and {one.node for one in reply.members} == {1, 2, 3, 9}
    assert next(one for one in reply.members if one.node == 9) == Member(9, "n9", "10.0.0.9", 7009)
    assert hall.leader.replica is not None
    last = hall.leader.replica.last_sequence
    again = Guest(dialed=False)
    assert hall.asked(again).code == "" and hall.leader.replica.last_sequence == last, "it was in already"


def test_a_follower_names_the_leader() -> None:
    hall = Hall()
    reply = hall.asked(Guest(dialed=False), follower=True)
    assert (reply.code, reply.text) == (LEADER, f"h{hall.leader.id}:{7000 + hall.leader.id}")


def test_without_a_leader_it_is_to_ask_again() -> None:
    hall = Hall()
    hall.cut_off(hall.followers[0])
    hall.world.run_until(hall.world.now + 5.0)
    assert hall.asked(Guest(dialed=False), follower=True).code == AGAIN


def test_a_name_that_is_taken_and_an_id_that_is_spent() -> None:
    hall = Hall()
    assert hall.asked(Guest(dialed=False, name="N1")).code == NO
    gone = hall.followers[0].id
    later = hall.changes[hall.leader.id].request(Change(ChangeKind.REMOVE, gone))
    hall.world.run_until(hall.world.now + 2.0, lambda: later.done)
    reply = hall.asked(Guest(dialed=False, node=gone, name="n9"))
    assert (reply.code, reply.text) == (NO, REMOVED)


PLACES = [  # of the members, of whoever asks; the word of the refusal
    (["10.0.0.1", "10.0.0.2"], "10.0.0.9", None),
    (["127.0.0.1", "127.0.0.1"], "127.0.0.1", None),  # all on one machine
    (["::1"], "127.0.0.1", None),
    (["n1.example.org"], "10.0.0.9", None),  # a name may mean anything
    (["127.0.0.1"], "10.0.0.9", "n1 is known at 127.0.0.1:7001, .* and start it again"),
    (["localhost"], "n9.example.org", "n1 is known at localhost:7001"),
    (["10.0.0.1", "127.0.0.1"], "10.0.0.9", "n2 is known at 127.0.0.1:7002, .* remove it"),
    (["10.0.0.1"], "127.0.0.1", "n9 is known at 127.0.0.1, .* and start it again"),
]


@pytest.mark.parametrize(("members", "host", "refusal"), PLACES)
@pytest.mark.parametrize("said", [True, False])
def test_who_would_not_find_each_other_are_not_joined(members: list[str], host: str, refusal: str, said: bool) -> None:
    """A group of one that listens everywhere is known by the address of its own machine until it is told another."""
    hall = Hall()
    assert hall.leader.replica is not None
    nodes = hall.leader.replica.machine.world.nodes
    infos = [NodeInfo(node, f"n{node}", where, 7000 + node, voter=True) for node, where in enumerate(members, 1)]
    nodes.replace(CLUSTER, infos, ())
    admission = hall.admission()
    guest = Guest(dialed=False, addr=f"{host}:5555")
    assert re.search(refusal or "^$", admission._fault(guest.peer, host))
    if said and refusal:
        admission.on_guest(guest.channel, replace(ASK, host=host))
        assert guest.sent[0].code == NO and re.search(refusal, guest.sent[0].text)
        if "n9" not in refusal:  # and nobody goes to fetch it
            assert re.search(refusal, str(admission.invite(Address(host, 7009)).reply))


@pytest.mark.parametrize(("understands", "code"), [(1, TOO_OLD), (2, "")])
def test_who_does_not_understand_what_is_in_force_stays_outside(understands: int, code: str) -> None:
    hall = Hall()
    assert hall.leader.replica is not None
    hall.leader.replica.machine.world.cluster_version = 2
    guest = Guest(dialed=False)
    guest.peer = replace(guest.peer, understands=understands)
    reply = hall.asked(guest)
    assert reply.code == code and ("n9 understands versions up to 1" in reply.text) is bool(code)


@pytest.mark.parametrize("reply", [IN, JoinReply(NO, "this node has data of its own", b"", ())])
def test_a_node_is_invited_and_says_whether_it_has_come(reply: JoinReply) -> None:
    hall = Hall()
    admission = hall.admission()
    later = admission.invite(Address("new", 7009))
    guest = hall.visits.connect("new:7009")
    admission.on_guest(guest.channel, None)
    (invite,) = guest.sent
    assert isinstance(invite, JoinInvite) and {one.node for one in invite.members} == {1, 2, 3} and not later.done
    admission.on_guest(guest.channel, reply)
    assert later.reply is OK if not reply.code else str(later.reply) == f"ERR {reply.text}"
    assert hall.visits.dialers["new:7009"].closed


def test_an_invited_node_that_says_nothing() -> None:
    hall = Hall()
    later = hall.admission().invite(Address("new", 7009))
    hall.visits.failed["new:7009"]("connection refused")
    hall.timers[0]()
    assert isinstance(later.reply, CommandError) and "connection refused" in later.reply.text
