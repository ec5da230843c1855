"""How a server comes to be in a group: founding one, joining one that exists, or going on alone; and who comes to it.

    cluster-peers         founded by all of the list together
    cluster-join          asks those members at its first start; nobody is served before it is in
    raft-port alone       a group of one at once, which has what the directory had; others may join it. While it is
                          empty, CLUSTER JOIN makes it a member of another cluster: it starts again for that

Promises: a node gives up its own log only when that is empty, alone, and a cluster has taken it in; whatever a crash
interrupts, the same request again leads to the same end.
Units: seconds. Not here: what members say to each other about it (`engine.replication`: `admission`, `joining`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from .commands.cluster_facts import advertised
from .commands.cluster_view import Address
from .commands.ports import Later
from .config import Settings
from .config_cluster import host_and_port, is_loopback, split_address
from .directives_cluster_rules import own_peer, raft_hosts, raft_port
from .engine.replication.admission import Admission
from .engine.replication.formation import begin
from .engine.replication.joining import AGAIN, NO, Joined, Joiner, NotJoined, Outdated
from .engine.replication.node_file import Joining, NodeFile
from .engine.replication.view import View
from .errors import EX_CONFIG, CommandError, Halt
from .identity import VAYLIX_VERSION
from .observability import logs
from .peers.channel import Channel
from .peers.codec import Message
from .peers.founder import Foundry
from .peers.founding import Founding, Kept
from .peers.hello import Purpose
from .peers.link import Peers
from .peers.messages import Founder, JoinInvite, JoinReply, JoinRequest, Member, Stage
from .resp.reply import OK, Reply
from .state.machine import StateMachine
from .state.nodes import NodeInfo
from .storage import hard_state
from .storage.errors import IoFailed
from .storage.recovery import Recovered
from .storage.store import Store

log = logs.get_log("raft")

JOIN_S: Final = 20.0  # a client waits so long for CLUSTER JOIN
RESTART_S: Final = 0.2  # for the answer to reach it, before this server starts again as a member
FOUNDED_S: Final = 30.0  # after the founding nobody is visited for it any more: whoever has not heard asks
ASK_S: Final = 1.0  # between two times that a learner asks for its vote
LOOK_S: Final = 0.02
EVERYWHERE: Final = ("*", "0.0.0.0", "::", "::*")  # noqa: S104 - compared, not bound
JOINING: Final = "BUSY this node is joining a cluster: nothing was written; try again"
MEMBER_ALREADY: Final = "this node is a member of a cluster already"
HAS_DATA: Final = "this node has data of its own: only an empty one can join; start one with an empty directory"
OWN_PLACE: Final = "this node has not joined: that is its own raft port; give it the address of a member"
NOT_EMPTY: Final = (
    "this data directory has data, and {directive}: start the node without it (raft-port and node-id are enough), then "
    "let empty nodes join it (CLUSTER JOIN)"
)


class Entry:
    """Of one server. `file` is what node.json has; `keep` writes it, durably."""

    def __init__(
        self, settings: Settings, store: Store, peers: Peers, client: Address, name: str, file: Callable[[], NodeFile],
        keep: Callable[[NodeFile], None],
    ) -> None:  # fmt: skip
        self._settings, self._store, self._peers = settings, store, peers
        self._client, self._name, self._file, self._keep = client, name, file, keep
        self._loop = asyncio.get_running_loop()
        self._foundry: Foundry | None = None
        self._joiner: Joiner | None = None
        self._admission: Admission | None = None
        self._view: View | None = None
        self._inviting: list[Channel] = []  # who is told when this node, which starts, has joined
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked_s = 0.0
        self.introduced: tuple[Member, ...] = ()  # by whoever has let us in; until the log says who is there
        self.on_restart: Callable[[], None] = _unwired

    # At the start.

    async def belong(self, machine: StateMachine, recovered: Recovered) -> Recovered:
        """Until there is a group that this node belongs to, however long that takes; the log as it is then."""
        if self._file().joining is None and self._is_to_join(machine, recovered):
            await self._join_at_start()
        if self._file().joining is not None:
            self._become_member(machine, recovered)
            return recovered
        store = self._store
        identity = store.manifest.identity  # it was founded, and then the process died
        cluster_id, members = await self._found(machine, identity.cluster_id if identity is not None else b"")
        who = identity or hard_state.Identity(cluster_id, self._file().node, store.manifest.incarnation)
        return begin(store, machine, recovered, who, members)

    def answer_founders(self) -> None:
        """Somebody may not have heard that the group is founded."""
        if self._settings.cluster_peers and self._file().kept.stage is Stage.FOUNDED:
            self._make_foundry()

    def _is_to_join(self, machine: StateMachine, recovered: Recovered) -> bool:
        wanted = bool(self._settings.cluster_join) and self._file().kept.stage is Stage.GATHERING
        if not wanted or self._store.manifest.identity is not None:
            return False
        if machine.applied or recovered.tail:
            raise Halt(EX_CONFIG, NOT_EMPTY.format(directive="cluster-join is for empty nodes"))
        return True

    async def _join_at_start(self) -> None:
        addresses = [Address(*split_address(word)) for word in self._settings.cluster_join]
        log.notice("this node asks to be let into a cluster", members=" ".join(self._settings.cluster_join))
        try:
            joined = await self._ask(addresses, None, patient=True)
        except Outdated as why:
            raise Halt(EX_CONFIG, f"this node has not joined: {why}") from why
        self._keep(self._file().joins(Joining(joined.cluster)))
        for guest in self._inviting:
            guest.send(JoinReply("", "", joined.cluster, joined.members))

    async def _ask(self, addresses: Iterable[Address], timeout_s: float | None, *, patient: bool) -> Joined:
        host, port = own_place(self._settings)
        client = host_and_port(self._client.host, self._client.port)
        request = JoinRequest(self._name, host, port, client, VAYLIX_VERSION)
        self._joiner = Joiner(request, self._peers.visit, patient=patient)
        try:
            self._joiner.add(addresses)
            joined = await self._joiner.run(timeout_s)
        finally:
            self._joiner = None
        self.introduced = joined.members
        log.notice("this node has been let into a cluster", cluster=joined.cluster.hex(), nodes=len(joined.members))
        return joined

    def _become_member(self, machine: StateMachine, recovered: Recovered) -> None:
        """Its log comes from the others; nothing is left of what it may have been."""
        joining, store = self._file().joining, self._store
        assert joining is not None
        if store.manifest.identity is None:
            if machine.applied or recovered.tail:
                raise Halt(EX_CONFIG, NOT_EMPTY.format(directive="node.json says that it has joined a cluster"))
            store.join(hard_state.Identity(joining.cluster, self._file().node, store.manifest.incarnation))
        if joining.replaces[0]:
            self._keep(self._file().joins(replace(joining, replaces=("", ""))))

    async def _found(self, machine: StateMachine, cluster: bytes) -> tuple[bytes, list[NodeInfo]]:
        settings, node = self._settings, self._file().node
        if len(settings.cluster_peers) <= 1:
            host, port = own_place(settings)
            alone = NodeInfo(node, self._name, host or "127.0.0.1", port, voter=True)
            return cluster or secrets.token_bytes(16), [alone]
        if machine.applied and not cluster:
            raise Halt(EX_CONFIG, NOT_EMPTY.format(directive="cluster-peers is for new clusters"))
        founding, foundry = self._make_foundry()
        await foundry.run()
        self._loop.call_later(FOUNDED_S, foundry.close)
        return founding.cluster, [
            NodeInfo(one.node, one.name, one.host, one.port, voter=True) for one in founding.members
        ]

    def _make_foundry(self) -> tuple[Founding, Foundry]:
        settings, file = self._settings, self._file()
        own = Founder(self._name, file.node, file.store)

        def persist(kept: Kept) -> None:
            self._keep(replace(self._file(), kept=kept))

        founding = Founding(own, settings.cluster_peers, file.kept, persist)
        self._foundry = Foundry(founding, settings.cluster_peers, self._peers.visit)
        return founding, self._foundry

    # While it runs.

    def wire(self, view: View) -> None:
        """There is a replica now, and clients may ask."""
        self._view = view
        self._admission = Admission(view.replica, view.changes, self._peers.visit, self._loop.call_later)
        view.admit, view.enter = self._admission.invite, self.enter

    def on_guest(self, guest: Channel, message: Message | None) -> None:
        if guest.purpose is Purpose.FOUND:
            if self._foundry is not None:
                self._foundry.on_guest(guest, message)
            return
        if self._joiner is not None:
            self._joiner.on_guest(guest, message)
        if isinstance(message, JoinInvite) and not guest.dialed:
            self._invited(guest, message)
        elif self._admission is not None:
            self._admission.on_guest(guest, message)
        elif isinstance(message, JoinRequest):
            guest.send(JoinReply(AGAIN, f"{self._name} belongs to no cluster so far", b"", ()))

    def _invited(self, guest: Channel, invite: JoinInvite) -> None:
        addresses = [Address(one.host, one.port) for one in invite.members]
        if self._view is None:
            if self._joiner is not None:
                self._joiner.add(addresses)
            self._inviting.append(guest)
            return
        nodes, peer = self._view.replica.machine.world.nodes, guest.peer
        if peer is not None and peer.cluster == nodes.cluster_id:
            guest.send(JoinReply("", "", nodes.cluster_id, ()))
            return

        def answer(reply: Reply) -> None:
            text = reply.text.removeprefix("ERR ") if isinstance(reply, CommandError) else ""
            guest.send(JoinReply(NO if text else "", text, b"", ()))

        self.enter(addresses).listen(answer)

    def enter(self, addresses: list[Address]) -> Later:
        """This node, if it is an empty group of one, becomes a member of another: OK when that has taken it in."""
        later = Later()
        refusal = MEMBER_ALREADY if self._joiner is not None else self._unfit()
        if Address(*own_place(self._settings)) in addresses:
            refusal = refusal or OWN_PLACE
        if refusal:
            later.resolve(CommandError(f"ERR {refusal}"))
        else:
            task = self._loop.create_task(self._enter(addresses, later))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return later

    def _unfit(self) -> str:
        assert self._view is not None
        world = self._view.replica.machine.world
        if [info.id for info in world.nodes.members] != [self._file().node] or self._file().joining is not None:
            return MEMBER_ALREADY
        return HAS_DATA if any(len(db.items) for db in world.databases) else ""

    async def _enter(self, addresses: list[Address], later: Later) -> None:
        assert self._view is not None
        replica = self._view.replica
        replica.close_for(CommandError(JOINING))
        try:
            joined = await self._ask(addresses, JOIN_S, patient=False)
            while replica.busy or replica.applied < replica.last_sequence:  # what had come in before
                await asyncio.sleep(LOOK_S)
            if refusal := self._unfit():
                raise NotJoined(refusal)
            own = (replica.machine.world.nodes.cluster_id.hex(), self._store.manifest.store_id)
            self._keep(self._file().joins(Joining(joined.cluster, replaces=own)))
        except (NotJoined, IoFailed) as why:
            replica.close_for(None)
            later.resolve(CommandError(f"ERR this node has not joined: {why}"))
            return
        log.notice("this node starts again as a member of the cluster that it has joined", cluster=joined.cluster.hex())
        later.resolve(OK)
        self._loop.call_later(RESTART_S, self.on_restart)

    def look(self) -> None:
        """With each tick: a node that came to be a voter says so until it is one."""
        joining, view = self._file().joining, self._view
        if joining is None or not joining.asks or joining.replaces[0] or view is None:
            return  # (with `replaces`, this process is still what it was before it joined)
        if self._loop.time() - self._asked_s < ASK_S:
            return
        self._asked_s = self._loop.time()
        membership = view.replica.core.membership
        if self._file().node in membership.voters:
            self._keep(self._file().joins(replace(joining, asks=False)))
        elif self._file().node in membership.learners:
            view.changes.ask_for_a_vote()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._admission is not None:
            self._admission.close()


def own_place(settings: Settings) -> tuple[str, int]:
    """Where other nodes find this one; an empty host: at the address that they see."""
    mine, port = own_peer(settings), raft_port(settings)
    if mine is not None:
        return mine.host, mine.port
    hosts = [host.lstrip("-") for host in raft_hosts(settings)]
    known = [host for host in hosts if host not in EVERYWHERE]
    far = next((host for host in known if not is_loopback(host)), "")
    if far or len(known) == len(hosts):
        return far or known[0], port
    given = advertised(settings)
    return given.host if given is not None else "", port


def client_address(settings: Settings) -> Address:
    """Where clients find this node: what is advertised, else the first address that it listens on."""
    given = advertised(settings)
    if given is not None:
        return given
    port = settings.port or settings.tls_port
    hosts = [host.lstrip("-") for host in settings.bind]
    named = next((host for host in hosts if host not in EVERYWHERE), "")
    if named:
        return Address(named, port)
    mine = own_peer(settings)
    return Address(mine.host if mine is not None else "127.0.0.1", port)


def _unwired() -> None:
    raise AssertionError("nobody is there who could start the server again")
