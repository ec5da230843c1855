"""A server that has peers: from the configuration to a founded group, its connections and its replica; and the stop.

Start: recovery, node.json, the raft port, the founding (or what was founded), the core; then clients are let in.
Stop: hand over what this node leads, then as any server.
Promise: nobody is told anything by a life of this node that is not durable in node.json.
Not here: what only one part needs to know (`engine.replication`, `peers`).
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Final

from .app_ears import Ears
from .app_joining import Entry, client_address, own_place
from .clock import Clock
from .config import Settings
from .config_cluster import host_and_port
from .directives_cluster_rules import raft_hosts, raft_port
from .engine.checkpoint import Checkpoint
from .engine.founding import Steps, bad_users
from .engine.group_commit import GroupCommit
from .engine.replication import node_file
from .engine.replication.catch_up import log_source
from .engine.replication.driver import Driver
from .engine.replication.follower_log import FollowerLog
from .engine.replication.formation import forget_others, known_name, move, new_core
from .engine.replication.lives import Lives
from .engine.replication.members import places_of
from .engine.replication.node_file import NodeFile
from .engine.replication.replica import Replica
from .engine.replication.stall import StallWatch
from .engine.replication.stream_pace import Limits
from .engine.replication.streams import Receiver, Sender
from .engine.replication.view import View
from .errors import EX_CONFIG, EX_IO, CommandError, Halt
from .observability import logs
from .peers.codec import Message
from .peers.hello import NO_CLUSTER, Identity, secret_key
from .peers.link import Peers
from .peers.messages import (
    Digest,
    DigestAsk,
    Everywhere,
    MembersReply,
    MembersRequest,
    Publish,
    PublishKind,
    SnapshotChunk,
    SnapshotDone,
    SnapshotOffer,
    SnapshotWant,
)
from .peers.ports import Timing, Trust
from .peers.renewal import Renewal
from .peers.roster import Roster
from .peers.tls import ClusterTls, options_of
from .raft.ready import Config
from .raft.types import SnapshotMeta
from .resp.reply import Reply
from .server.pubsub import Hub
from .server.shared import Shared
from .state.accounts import Accounts
from .state.machine import StateMachine
from .state.nodes import Nodes
from .storage.recovery import Recovered
from .storage.store import Store

log = logs.get_log("raft")

TICKS_PER_HEARTBEAT: Final = 2
USERS_PERIOD_S: Final = 0.05  # between two looks at whether there are users
TRY_AGAIN: Final = ("NOREPLICAS", "INDETERMINATE", "BUSY", "CLUSTERDOWN")
FAILED_S: Final = 0.1  # for a hand-over, before a node with a failed log is gone
PART_S: Final = 1.0  # who is removed hears of it so long
REMOVED: Final = (
    "this node was removed from its cluster, and its data is not kept up to date any more; to bring it back, start it "
    "with an empty directory and let it join as a new node"
)
RENAMED: Final = (
    "{root}: the data is that of a node which its cluster knows as {known}, and a name never changes: set node-id "
    "{known} instead of {name}, or give {name} a directory of its own"
)
HAND_OVER_S: Final = 5.0  # a stop waits so long for somebody else to lead


class Cluster:
    """The part of one server that has to do with others. `replica` and `view` are there after `boot`."""

    replica: Replica
    view: View
    driver: Driver
    entry: Entry

    def __init__(self, settings: Settings, clock: Clock, store: Store) -> None:
        self.settings, self.clock, self.store = settings, clock, store
        self.loop = asyncio.get_running_loop()
        self.boot_number = secrets.randbits(63) + 1
        self._ears = Ears()
        self._installed = asyncio.Event()
        self._stall = StallWatch()
        self._hub: Hub | None = None
        self.renewal: Renewal | None = None  # with tls-cluster, from `boot` on
        self.tls: ClusterTls | None = None  # as well
        self._parting: asyncio.TimerHandle | None = None
        self.on_members: Callable[[], None] = _nobody  # the membership is another one
        self.file = self._load()
        self._tick_s = settings.heartbeat_interval / 1000 / TICKS_PER_HEARTBEAT

    def _load(self) -> NodeFile:
        """Who this directory is; a new life of it, durable."""
        store = self.store
        found = node_file.read(store.disk, store.root)
        identity = store.manifest.identity
        node_file.refuse_others(found, identity.node_id if identity is not None else None, store.root)
        self._keep((found or NodeFile.new(secrets.randbits)).started(self.boot_number))
        return self.file

    def _keep(self, file: NodeFile) -> None:
        node_file.write(self.store.disk, self.store.root, file)
        self.file = file

    @property
    def name(self) -> str:
        return self.settings.node_id or f"node-{self.file.node:016x}"

    async def boot(self, machine: StateMachine, recovered: Recovered, on_io_error_exit: bool) -> Replica:
        """Until there is a group that this node belongs to, however long the others take to appear."""
        settings, store = self.settings, self.store
        forget_others(store, machine)
        if self.file.node in machine.world.nodes.retired:
            raise Halt(EX_CONFIG, f"{store.root}: {REMOVED}")
        known = known_name(self.file.node, machine.world.nodes, self.file.kept.table)
        if known not in ("", self.name):
            raise Halt(EX_CONFIG, RENAMED.format(root=store.root, known=known, name=self.name))
        self.peers = self._open_peers(machine)
        self.entry = self._ears.entry = Entry(
            settings, store, self.peers, client_address(settings), self.name, lambda: self.file, self._keep
        )
        for host in raft_hosts(settings):
            await self._listen(host, raft_port(settings))
        self.entry.answer_founders()
        if machine.world.nodes.members:
            recovered = move(store, machine, recovered, self.file.node, *own_place(settings))
        else:
            recovered = await self.entry.belong(machine, recovered)
        self._enter(machine)
        rng = random.Random(secrets.randbits(64))
        core = new_core(store, machine, recovered, self._config(), rng)
        self.replica = replica = Replica(
            store.wal, machine, self.clock, rng, core, self.peers, boot=self.boot_number,
            exit_on_io_error=on_io_error_exit,
        )  # fmt: skip
        self._follow_settings(replica)
        replica.on_members = lambda: self._enter(machine)
        return replica

    def start(self, commit: GroupCommit, checkpoint: Checkpoint) -> Callable[[], Coroutine[Any, Any, None]]:
        """Connect the replica to what drives it; the job that gives it its ticks."""
        replica, loop = self.replica, self.loop
        client = client_address(self.settings)
        replica.on_work = commit.wake
        self.driver = driver = Driver(
            replica, loop, commit.guarded, tick_s=self._tick_s, client_addr=host_and_port(client.host, client.port),
            read=log_source(self.store),
        )  # fmt: skip
        driver.network = self.peers
        self._stream_snapshots(driver, checkpoint)
        self.view = view = View(replica, driver, loop, client)
        view.rising.on_raised = self._introduce
        settings = self.settings
        view.digesting.interval_s = settings.digest_interval / 1000
        settings.subscribe("digest-interval", lambda ms: setattr(view.digesting, "interval_s", ms / 1000))
        self.peers.roster.on_newer = view.rising.meet
        self.entry.wire(self.view)
        driver.on_tick = self._look
        self._ears.driver = driver
        for node in replica.core.membership.members:
            if self.peers.is_connected(node):
                driver.on_connected(node)
        return driver.run

    async def found_users(self, shared: Shared, first_users: Callable[[Accounts], Steps]) -> bool:
        """Before a client may come in: the users that this start asks for are in the log. Whether it put them there."""
        accounts: Accounts = shared.accounts
        if self.view.stopped is not None:
            return False  # its users may be what differs, and it may not change them
        while accounts.version == 0 and not self.replica.leads:
            await asyncio.sleep(USERS_PERIOD_S)
        steps, founded = first_users(accounts), False
        while (entry := next(steps, None)) is not None:
            applied: asyncio.Future[Reply] = self.loop.create_future()
            shared.propose(entry).listen(applied.set_result)
            if isinstance(reply := await applied, CommandError):
                if reply.code not in TRY_AGAIN:
                    raise bad_users(reply)
                await asyncio.sleep(USERS_PERIOD_S)
                steps = first_users(accounts)
            else:
                founded = True
        return founded

    def _stream_snapshots(self, driver: Driver, checkpoint: Checkpoint) -> None:
        replica, loop, databases = self.replica, self.loop, self.settings.databases

        def sent(node: int, snapshot: SnapshotMeta | None) -> None:
            replica.core.snapshot_sent(node, snapshot)
            replica.on_work()

        settings = self.settings
        limits = Limits(lambda: settings.snapshot_throttle, lambda: settings.follower_log_max)
        self._follower_log = kept = FollowerLog(replica, driver.infos, limits.log_bytes)
        checkpoint.needed_from.append(kept.needed_from)
        self._sender = sender = Sender(
            self.store, self.peers, loop, checkpoint.holding, sent, kept.needs_snapshot, limits
        )
        self._receiver = receiver = Receiver(self.store, self.peers, loop, databases, limits)
        driver.on_other = self._other
        driver.jobs.begin(receiver.run())
        replica.on_stream = sender.begin
        replica.install = receiver.install
        replica.before_install = lambda: driver.jobs.begin(self._install(checkpoint))
        replica.on_installed = lambda _: self._installed.set()

    def carry(self, hub: Hub) -> None:
        """Messages that clients publish here reach the subscribers of every node that can be reached now."""
        replica = self.replica

        def publish(shard: bool, channel: bytes, payload: bytes) -> None:
            message = Publish(PublishKind.SHARD if shard else PublishKind.CHANNEL, channel, payload)
            for node in replica.core.membership.members - {replica.id}:
                self.peers.send(node, message)

        self._hub, hub.on_publish = hub, publish

    def _other(self, node: int, message: Message) -> None:
        if isinstance(message, SnapshotOffer | SnapshotChunk):
            self._receiver.hear(node, message)
        elif isinstance(message, SnapshotWant | SnapshotDone):
            self._sender.hear(node, message)
        elif isinstance(message, MembersRequest | MembersReply):
            self.view.changes.hear(node, message)
        elif isinstance(message, Digest | DigestAsk):
            self.view.digesting.hear(node, message)
        elif isinstance(message, Everywhere):
            self.replica.is_everywhere(message.sequence)
        elif isinstance(message, Publish) and self._hub is not None:
            deliver = self._hub.publish_shard if message.kind is PublishKind.SHARD else self._hub.publish
            deliver(message.channel, message.payload)

    async def _install(self, checkpoint: Checkpoint) -> None:
        """The files belong to the snapshot that is coming until it is in place."""
        async with checkpoint.alone():
            self._installed.clear()
            self.replica.go_on()
            await self._installed.wait()

    def _look(self) -> None:
        """With each tick."""
        self.view.look()
        self.entry.look()
        self._follower_log.look()
        replica = self.replica
        self._receiver.look(replica.applied)
        stalled = self._stall.look(self.loop.time(), replica.fsync.count, replica.fsync.slow, replica.syncing_since)
        if stalled and replica.leads and len(replica.core.membership.voters) > 1:
            log.warning(
                "the disk stalls: fsync has been slow for ten seconds; leadership is handed over; see what else uses "
                "the disk (iostat -x 1), and whether it is failing (dmesg)"
            )
            self.view.transfer(None)

    def failed(self, tell: Callable[[str], None], halt: Callable[[Halt], None]) -> Callable[[str], None]:
        """What to do when the log has failed: let another node lead at once, and go; the next start reads the disk."""

        def gone(reason: str) -> None:
            tell(reason)
            if self.replica.leads:
                self.view.transfer(None)
            text = f"the log failed: {reason}; the other nodes go on, start this one again on a healthy disk"
            self.loop.call_later(FAILED_S, halt, Halt(EX_IO, text))

        return gone

    async def hand_over(self) -> None:
        """Before a stop: somebody else should lead, so that clients have a leader the moment we are gone."""
        replica = self.replica
        others = replica.core.membership.voters - {replica.id}
        if not replica.leads or not others or replica.failure is not None:
            return
        done = asyncio.Event()
        self.view.transfer(None, HAND_OVER_S).listen(lambda _: done.set())
        try:
            await asyncio.wait_for(done.wait(), HAND_OVER_S)
        except TimeoutError:
            log.warning("nobody has taken over in time: the others will elect a leader when this node is gone")

    def close(self) -> None:
        """Nothing is heard or said any more."""
        self._sender.close()
        self.entry.close()
        if self._parting is not None:
            self._parting.cancel()
        self.driver.jobs.close()
        self.peers.close()

    # Parts.

    def _config(self) -> Config:
        settings = self.settings
        ticks = max(5 * TICKS_PER_HEARTBEAT, round(settings.election_timeout / 1000 / self._tick_s))
        return Config(
            self.file.node, election_ticks=ticks, heartbeat_ticks=TICKS_PER_HEARTBEAT,
            lease_reads=settings.read_mode == "lease", eager_commits=False,
        )  # fmt: skip

    def _follow_settings(self, replica: Replica) -> None:
        settings = self.settings

        def changed(_: int = 0) -> None:
            replica.commit_timeout_s = settings.commit_timeout / 1000
            replica.no_leader_timeout_s = settings.no_leader_timeout / 1000

        def acknowledge(mode: str) -> None:
            replica.ack_all = mode == "all"
            replica.on_work()

        changed()
        replica.ack_all = settings.write_ack_mode == "all"
        settings.subscribe("write-ack-mode", acknowledge)
        settings.subscribe("cluster-version-max", self._introduce)
        for name in ("commit-timeout", "no-leader-timeout"):
            settings.subscribe(name, changed)

    def _open_peers(self, machine: StateMachine) -> Peers:
        settings = self.settings
        self.tls = tls = ClusterTls(options_of(settings), self.clock) if settings.tls_cluster else None
        trust = Trust(secret_key(settings.cluster_secret), tls, settings.cluster_insecure)
        lives = Lives(lambda: self.file, self._keep, self.loop.call_later)
        roster = Roster(self._identity(machine), dict(self.file.lives), lives.seen)
        timing = Timing(
            heartbeat_s=settings.heartbeat_interval / 1000, silence_s=max(2.0, 2 * settings.election_timeout / 1000)
        )
        places = {peer.name: (peer.host, peer.port) for peer in settings.cluster_peers}
        peers = Peers(roster, trust, self._ears, random.Random(secrets.randbits(64)), timing=timing, places=places)
        if tls is not None:
            self.renewal = Renewal(tls, peers.reload_tls, lambda: settings.tls_auto_reload_interval)
        return peers

    def _identity(self, machine: StateMachine) -> Identity:
        file = self.file
        joined = file.joining.cluster if file.joining is not None else NO_CLUSTER
        world = machine.world
        cluster = world.nodes.cluster_id or joined
        more = world.understands, world.cluster_version, self.settings.databases, file.boots[1:]
        return Identity(cluster, file.node, self.name, file.store, file.starts, self.boot_number, *more)

    def _introduce(self, _: int = 0) -> None:
        """What this node says of itself has changed."""
        self.peers.roster.me = self._identity(self.replica.machine)

    def _enter(self, machine: StateMachine) -> None:
        """The membership as the state has it now."""
        nodes, known = machine.world.nodes, self.peers.roster.members
        self.peers.roster.me = self._identity(machine)
        # Who has just been removed hears of it, and whoever has asked of its answer; then it is let go.
        leaving = [one for one in known.values() if one.node in nodes.retired]
        gone = {one.node for one in leaving}
        self.peers.set_members([*(places_of(nodes) or self.entry.introduced), *leaving], nodes.retired - gone)
        if leaving:
            self._parting = self.loop.call_later(PART_S, self._part, nodes)
        self.on_members()
        if self.file.node in nodes.retired:
            log.warning(f"this node is no member any more: {REMOVED}")
            self.replica.part(CommandError(f"CLUSTERDOWN {REMOVED}"))

    def _part(self, nodes: Nodes) -> None:
        self.peers.set_members(() if self.file.node in nodes.retired else places_of(nodes), nodes.retired)

    async def _listen(self, host: str, port: int) -> None:
        optional, host = host.startswith("-"), host.lstrip("-")
        try:
            await self.peers.listen("" if host == "*" else host, port)
        except OSError as problem:
            if not optional:
                text = f"cannot listen on {host_and_port(host, port)} for other nodes: {problem.strerror or problem}"
                raise Halt(EX_CONFIG, f"{text}; choose another `raft-bind` or `raft-port`") from problem


def _nobody() -> None:
    """Before there is an audit to tell."""
