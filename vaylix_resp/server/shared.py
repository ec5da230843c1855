"""What all clients of one server share; implements `commands.ports.Server`.

Not here: sockets (`listener`, `connection`), the order of starting and stopping (`app`).
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..clock import Clock
from ..commands.cluster_view import ClusterView
from ..commands.ports import Client, Later
from ..commands.registry import CATALOG, COMMANDS
from ..commands.spec import CommandSpec
from ..config import Settings
from ..engine.boot import refuse_unknown
from ..engine.checkpoint import Checkpoint
from ..engine.copies.archiver import Archiver
from ..engine.copies.backups import Backups
from ..engine.copies.online_backup import OnlineBackup
from ..engine.history.flashback import Flashback
from ..engine.keyring import KeyringKeeper
from ..engine.node import Engine
from ..engine.password_pool import PasswordPool, Workers
from ..engine.publication import Publications, abandoned, name_of
from ..errors import CommandError
from ..observability.logs import get_log
from ..observability.metrics import Stats
from ..observability.process import Process
from ..resp.reply import OK, Reply
from ..security.acl import bytes_of
from ..security.lockout import Lockout
from ..state.accounts import Accounts
from ..state.machine import StateMachine
from ..state.views import ReadView
from ..storage.disk import RealDisk
from . import gate, info, sizes
from .audit import SILENT, SLOW_US_MIN, Silent
from .clients import Clients
from .entrance import Entrance
from .lateness import Lateness
from .maintenance import MaintenanceMode
from .memory import MemoryLimit
from .metrics import everything
from .monitor import Monitors
from .proposals import Expirer, propose
from .pubsub import Hub
from .quotas import Quotas
from .recent import Recent
from .session import Session
from .switching import Switching
from .table import Bound, CommandTable
from .tracing import Tracer
from .tracking import TrackingTable
from .watchers import Watchers

if TYPE_CHECKING:
    from ..peers.tls import ClusterTls
    from .connection import Connection
    from .execution import Execution
    from .tls_door import Door

log = get_log("server")

HTTP: Final = (b"post", b"host:")  # first words of an HTTP request: somebody's browser is being used against us


class Shared:
    """One per process. `app` gives it `on_shutdown` and the services from `checkpoint` to `archive`."""

    checkpoint: Checkpoint
    keyring: KeyringKeeper
    history: Flashback
    backups: Backups
    online_backup: OnlineBackup
    archive: Archiver
    # What tables of functions read (`metrics`): these are checked before the types of `__init__` are known.
    settings: Settings
    node: Engine[Any]
    machine: StateMachine
    accounts: Accounts
    stats: Stats
    clients: Clients
    tracking: TrackingTable
    lateness: Lateness
    passwords: PasswordPool
    lockout: Lockout
    memory: MemoryLimit

    def __init__(self, settings: Settings, clock: Clock, node: Engine[Any], run_id: str, workers: Workers) -> None:
        self.settings = settings
        self.clock = clock
        self.node = node
        self.machine = node.machine
        self.commands: dict[str, CommandSpec] = COMMANDS
        self.catalog = CATALOG
        self.accounts = node.machine.world.accounts
        self.stats = Stats()
        self.table = CommandTable(COMMANDS, self.stats)
        self.clients = Clients(settings, clock)
        self.pubsub = Hub(self.clients)
        self.tracking = TrackingTable(self.clients, settings)
        self.monitors = Monitors()
        self.lateness = Lateness(self)
        self.tracer: Tracer | None = None  # while trace-sample is 0
        Tracer(self)
        self.run_id = run_id
        self.started = self.now = clock.now()  # `now` is as of the last tick: good enough for idle times
        self.entrance = Entrance(self, self.accounts, workers)
        self.acl_log, self.acl_file = self.entrance.acl_log, self.entrance.file
        self.passwords, self.lockout = self.entrance.passwords, self.entrance.lockout
        self.maintenance = MaintenanceMode(self)
        self.audit: Silent = SILENT  # server.audit.Trail, given by `app`
        self.quotas = Quotas(self)
        self.sizes = sizes.of_settings(settings)
        for name in sizes.DIRECTIVES:
            settings.subscribe(name, self._limit_sizes)
        self.process = Process()
        self.config_file = settings.config_file
        self.expirer = Expirer(self)
        self.rng: random.Random = random.Random()
        leftovers = () if node.clustered else list(self.machine.world.staged)  # they may be another node's, at work
        self.publications = Publications(self.propose, self._new_publication, leftovers)
        if node.clustered:
            self.publications.abandoned = self._abandoned
        self.observed = False  # every request takes the long way: somebody watches, or a pause is on
        self.parked: dict[Execution, None] = {}  # whose backlog waits for `release_parked`, longest first
        self.on_shutdown: Callable[[bool | None, bool, bool], Reply] = _not_running
        self._cluster: ClusterView | None = None  # a single node without raft-port has none
        self.switching = Switching(self)
        self.tls: Door | None = None  # given by the listener when there is a tls-port
        self.node_tls: ClusterTls | None = None  # with tls-cluster
        self.buffering: set[Connection] = set()  # clients that do not read as fast as they ask
        self.watchers = Watchers(self.machine.world)
        self.machine.on_bug = self._apply_bug
        node.on_open = self.release_parked
        self.clients.on_resume.append(self.release_parked)
        settings.subscribe("notify-keyspace-events", lambda _: self.refresh())
        settings.subscribe("slowlog-log-slower-than", lambda _: self.refresh())
        self.memory = MemoryLimit(self)
        self.refresh()
        self.recent = Recent(self)

    def view(self, db: int) -> ReadView:
        self.machine.read_at(self.clock.wall_ms())
        return self.machine.world.views[db]

    @property
    def cluster(self) -> ClusterView | None:
        return self._cluster

    @cluster.setter
    def cluster(self, view: ClusterView | None) -> None:
        self._cluster = view
        if view is not None:
            self.switching.follow(view)

    @property
    def active_expire(self) -> bool:
        return self.expirer.active

    @active_expire.setter
    def active_expire(self, on: bool) -> None:
        self.expirer.active = on

    def info(self, sections: Sequence[str]) -> str:
        return info.render(self, sections)

    def metrics(self) -> dict[str, int | float]:
        return everything.samples(self)

    def metrics_text(self) -> bytes:
        return everything.text(self)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, callback)

    def propose(self, entry: tuple[bytes, ...]) -> Later:
        return propose(self, entry)

    def verify(self, client: Client, user: bytes, password: bytes, asked_by: bytes) -> Later:
        return self.entrance.verify(client, user, password, asked_by)

    def prove(self, client: Client, password: bytes) -> Later:
        return self.entrance.verify(client, bytes_of(client.user), password, b"acl|setpass")

    def unsettled(self) -> Later | None:
        return self.entrance.change_password()

    def random_bytes(self, count: int) -> bytes:
        return secrets.token_bytes(count)

    def rewrite_config(self) -> Reply:
        text = self.settings.rewrite()
        assert self.config_file is not None, "rewrite() refuses without a file"
        path, disk = os.path.abspath(self.config_file), RealDisk()
        try:
            mode = disk.mode(path)
            disk.replace_private_file(path, text.encode("utf-8", "surrogateescape"))  # it may hold passwords
            os.chmod(path, mode)
        except OSError as problem:
            raise CommandError(f"ERR Rewriting config file: {problem.strerror or problem}") from problem
        return OK

    def shutdown(self, *, save: bool | None, now: bool, force: bool) -> Reply:
        return self.on_shutdown(save, now, force)

    def refresh(self) -> None:
        """Work out who has to be told of what; called when settings, monitors, watchers or trackers change."""
        settings, world = self.settings, self.machine.world
        self.observed = bool(
            self.monitors.active
            or self.lateness.each
            or self.audit.slow_s * 1e6 < SLOW_US_MIN
            or self.clients.pause_kind(self.clock.now())
            or "m" in settings.notify_keyspace_events  # reads have events, too
        )
        self.pubsub.configure_events(settings.notify_keyspace_events)
        if not self.pubsub.wants_events:
            world.events = None
        elif world.events is None:
            world.events = []
        if not (self.watchers or self.tracking.active):
            world.touched = None
        elif world.touched is None:
            world.touched = []

    def _limit_sizes(self, _: int) -> None:
        self.sizes = sizes.of_settings(self.settings)

    def user_of_certificate(self, names: Sequence[bytes]) -> str | None:
        """The first of the names in a client's certificate that is a user who may log in."""
        return self.entrance.user_of_certificate(names)

    # What a change of data means to others.

    def observe_changes(self, writer: Client | None, *, block: bool = False) -> None:
        """Tell watchers, trackers and subscribers of keyspace events what the last entries did.

        `block`: it was a transaction of `writer`.
        """
        world = self.machine.world
        if world.touched:
            touched, world.touched = world.touched, []
            if self.watchers:
                self.watchers.mark(touched)
            if self.tracking.active:
                self.tracking.invalidate(touched, writer, block=block)
        if world.events:
            events, world.events = world.events, []
            for kind, name, key, db in events:
                self.pubsub.publish_event(kind, name, key, db)

    def watch(self, client: Client, db: int, key: bytes) -> None:
        self.watchers.add(client, db, key)
        if self.machine.world.touched is None:
            self.refresh()

    def unwatch(self, client: Client) -> None:
        self.watchers.drop(client)
        if client.watched:
            self.refresh()

    def others_wrote(self) -> None:
        """Entries of others have been applied here."""
        self.entrance.changed()
        self.maintenance.changed()
        self.memory.changed()
        world = self.machine.world
        if world.touched or world.events:
            self.observe_changes(None)

    def fresh_enough(self) -> bool:
        """Whether a client that takes old data (READONLY) may be shown what is applied here."""
        view = self._cluster
        if view is None or not self.settings.replica_max_staleness:
            return False
        age_s = view.staleness_s
        return age_s is not None and age_s * 1000 <= self.settings.replica_max_staleness

    # What execution asks of it.

    def holds_back(self, client: Session, bound: Bound, argv: Sequence[bytes]) -> bool:
        """Whether a pause, a full batch, a full audit or keys that have to make room let this request wait.

        The client is woken when that ends."""
        if (bound.audit is not None or bound.name == "exec") and self.audit.crowded:
            client.park()
            return True
        memory = self.memory
        if memory.waits and memory.denies(client, bound.spec):
            client.park()
            return True
        if not (self.node.crowded and (self.node.clustered or gate.writes(client, bound.spec))):
            writes_queued = client.multi is not None and client.multi.has_writes
            if not (self.observed and self.clients.holds(self.clock.now(), bound.spec, writes_queued)) and not (
                bound.name in memory.stretching and memory.crowds(client, bound.spec, argv)
            ):  # asked last: what does not crowd is counted as under way
                return False
        client.park()
        return True

    def release_parked(self) -> None:
        """Let sessions go on that waited for room in a batch, for the end of a pause, or for their reader."""
        parked, self.parked = self.parked, {}
        while parked:
            if self.node.crowded:  # the others keep their place, or the same few would fill every batch
                self.parked = parked | self.parked
                return
            session = next(iter(parked))
            del parked[session]
            session.resume()

    def forget(self, client: Client) -> None:
        """Whatever a client that is gone had asked to be told of. Safe to call twice."""
        self.unwatch(client)
        self.pubsub.drop(client)
        self.tracking.drop(client)
        self.monitors.drop(client)
        self.refresh()

    def feed_monitors(self, client: Client, spec: CommandSpec, argv: Sequence[bytes]) -> None:
        """Show a request that is being executed; of an EXEC first what it executes."""
        if not self.monitors.active:
            return
        now_us = self.clock.wall_us()
        block = client.multi if spec.name == "exec" and not client.dirty else None
        if block is not None and not block.aborted:
            for queued, words, db in block.requests:
                self.monitors.feed(queued, words, db, client.addr, now_us)
        self.monitors.feed(spec, argv, client.db, client.addr, now_us)

    def look_for_http(self, client: Client, argv: Sequence[bytes]) -> bool:
        """Whether an unknown command is the beginning of an HTTP request; then the client is closed, unanswered."""
        if argv[0].lower() not in HTTP:
            return False
        log.warning(
            "an HTTP request was closed: somebody's browser may be used against this server; find out who sends it, "
            "and set a password", addr=client.addr,
        )  # fmt: skip
        client.kill()
        return True

    def report_bug(self, name: str, bug: BaseException) -> None:
        self.stats.unexpected_error_replies += 1
        log.failure(f"a bug in {name}: please report it", bug)

    def _apply_bug(self, name: bytes, bug: Exception) -> None:
        refuse_unknown(self.machine, name, bug)
        self.report_bug(name.decode("ascii", "replace"), bug)

    # Housekeeping.

    def _new_publication(self) -> bytes:
        return name_of(self.node.origin, secrets.token_hex(8).encode())

    def _abandoned(self) -> list[bytes]:
        world = self.machine.world
        members = [member.id for member in world.nodes.members] if self.node.leads else None
        return abandoned(world.staged, self.node.origin, members)

    def tick(self) -> None:
        """About ten times a second: rates and ends of pauses."""
        self.now = now = self.clock.now()
        self.stats.tick(now)
        self.memory.tick()
        if not self.clients.pause_kind(now):
            if self.observed:
                self.refresh()
            if self.parked:
                self.release_parked()

    def collect(self) -> bool:
        """Free another slice of what was flushed, index another one of what was published; True while there is more."""
        world = self.machine.world
        trash = world.trash
        if trash and trash[0].release(RELEASE_KEYS):
            trash.pop(0)
        return not world.settle(SETTLE_KEYS) or bool(trash)


RELEASE_KEYS: Final = 2000  # freed in one go: about half a millisecond
SETTLE_KEYS: Final = 500  # indexed in one go: about as long


def _not_running(save: bool | None, now: bool, force: bool) -> Any:
    return Later()
