"""How a cluster takes in a new node: the leader answers its request when it is a learner, and that is committed.

A request that comes to another member is answered with the leader's address. A member may also go and invite a node
(`invite`); that one then asks, as any other does.
Promises: an id that was a member once is never let in again; the same request twice changes nothing the second time; a
node is let in only while its name is free.
Not here: the new node's side (`joining`), when a learner becomes a voter (`changes`), who may connect (`peers.roster`).
Source: Raft (Ongaro, 2014), 4.2.1; issues 2 (ids used again) and 265 (an answer before the commit) of RedisRaft.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ...commands.cluster_view import Address
from ...commands.ports import Later
from ...config_cluster import host_and_port, is_loopback
from ...errors import CommandError
from ...observability.logs import get_log
from ...peers.channel import Channel
from ...peers.codec import Message
from ...peers.dialer import Dialer, Target
from ...peers.hello import Identity, Purpose
from ...peers.messages import JoinInvite, JoinReply, JoinRequest
from ...raft.types import Change, ChangeKind
from ...resp.reply import OK, Reply
from ...state.nodes import NodeInfo, Nodes
from .changes import PASSING, Changes
from .joining import AGAIN, LEADER, NO, TOO_OLD, Visit, address_of
from .members import places_of
from .replica import Replica

log = get_log("raft")

INVITE_S: Final = 30.0
REMOVED: Final = "this node was removed from the cluster before; start it with an empty directory, as a new one"
TAKEN: Final = "a node called {name} is in the cluster already: remove that one first, or give this one another node-id"
OUTDATED: Final = (
    "cluster version {in_force} is in force, and {name} understands versions up to {up_to}: start it with newer "
    "software"
)
HIDDEN: Final = (
    "{name} is known at {place}, where no other machine finds it: set its advertise-addr, or raft-bind, to an address "
    "that the others reach, "
)
START_AGAIN: Final = "and start it again; then let the new node join"
COME_ANEW: Final = "remove it, and let it join as a new node"
NO_ANSWER: Final = "ERR the node at {address} has not joined in time: {why}"


class Admission:
    """Of one member."""

    def __init__(self, replica: Replica, changes: Changes, visit: Visit, call_later: Callable[..., object]) -> None:
        self._replica, self._changes, self._visit, self._call_later = replica, changes, visit, call_later
        self._invited: dict[Dialer, Later] = {}

    # What a guest says.

    def on_guest(self, guest: Channel, message: Message | None) -> None:
        if guest.purpose is not Purpose.JOIN:
            return
        if isinstance(message, JoinRequest):
            self._requested(guest, message)
        elif guest.dialed and (dialer := self._dialer_of(guest)) is not None:
            if message is None:
                guest.send(JoinInvite(places_of(self._nodes)))
            elif isinstance(message, JoinReply):
                self._end(dialer, CommandError(f"ERR {message.text}") if message.code else OK)

    def _requested(self, guest: Channel, request: JoinRequest) -> None:
        peer, status = guest.peer, self._replica.core.status
        assert peer is not None
        if not self._replica.leads:
            leader = next((one for one in places_of(self._nodes) if one.node == status.leader), None)
            where = host_and_port(leader.host, leader.port) if leader is not None and status.quorum_fresh else ""
            self._answer(guest, LEADER if where else AGAIN, where or "no leader is known")
            return
        refusal, in_force = self._fault(peer, _host_of(guest, request)), self._replica.machine.world.cluster_version
        if peer.understands < in_force:
            self._answer(guest, TOO_OLD, OUTDATED.format(name=peer.name, in_force=in_force, up_to=peer.understands))
        elif refusal:
            self._answer(guest, NO, refusal)
        elif self._nodes.member(peer.node) is not None:
            self._answer(guest, "", "")
        else:
            self._take_in(guest, peer, request)

    def _fault(self, peer: Identity, host: str) -> str:
        if peer.node in self._nodes.retired:
            return REMOVED
        same = [info for info in self._nodes.members if info.name.lower() == peer.name.lower()]
        if same and same[0].id != peer.node:
            return TAKEN.format(name=peer.name)
        return "" if same else self._apart(peer.name, host)

    def _apart(self, name: str, host: str) -> str:
        """Why the members and a node at `host` would not find each other: one is known by an address of its machine's
        own, which means another machine elsewhere."""
        others = self._nodes.members
        hidden = next((info for info in others if is_loopback(info.host)), None)
        if hidden is not None and not is_loopback(host):
            place = host_and_port(hidden.host, hidden.port)
            return HIDDEN.format(name=hidden.name, place=place) + (START_AGAIN if len(others) == 1 else COME_ANEW)
        if hidden is None and is_loopback(host):
            return HIDDEN.format(name=name, place=host) + START_AGAIN
        return ""

    def _take_in(self, guest: Channel, peer: Identity, request: JoinRequest) -> None:
        info = NodeInfo(peer.node, peer.name, _host_of(guest, request), request.port, voter=False)

        def committed(reply: Reply) -> None:
            if not isinstance(reply, CommandError):
                log.notice("a node has joined, without a vote so far", node=peer.name, id=f"{peer.node:016x}")
                self._answer(guest, "", "")
                return
            passing = reply.text in PASSING or reply.code in ("NOREPLICAS", "INDETERMINATE")
            self._answer(guest, AGAIN if passing else NO, reply.text)

        self._changes.propose(Change(ChangeKind.ADD_LEARNER, peer.node), info).listen(committed)

    def _answer(self, guest: Channel, code: str, text: str) -> None:
        if guest.is_open:
            guest.send(JoinReply(code, text, self._nodes.cluster_id, () if code else places_of(self._nodes)))

    @property
    def _nodes(self) -> Nodes:
        return self._replica.machine.world.nodes

    # Inviting.

    def invite(self, address: Address) -> Later:
        """OK when the node at this address is a member."""
        later, last = Later(), ["nobody answers there"]
        if not is_loopback(address.host) and (apart := self._apart("", address.host)):
            later.resolve(CommandError(f"ERR {apart}"))
            return later

        def failed(why: str) -> None:
            last[0] = why

        target = Target(address.host, address.port, host_and_port(address.host, address.port))
        dialer = self._visit(target, Purpose.JOIN, "", failed)
        self._invited[dialer] = later

        def give_up() -> None:
            if dialer in self._invited:
                self._end(dialer, CommandError(NO_ANSWER.format(address=target.address, why=last[0])))

        self._call_later(INVITE_S, give_up)
        return later

    def _dialer_of(self, guest: Channel) -> Dialer | None:
        return next((dialer for dialer in self._invited if dialer.channel is guest), None)

    def _end(self, dialer: Dialer, reply: Reply) -> None:
        later = self._invited.pop(dialer)
        dialer.close()
        later.resolve(reply)

    def close(self) -> None:
        for dialer in self._invited:
            dialer.close()


def _host_of(guest: Channel, request: JoinRequest) -> str:
    """Where the node is found: where it says, else where it comes from."""
    return request.host or address_of(guest.addr).host
