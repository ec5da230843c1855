"""Where the parts meet: the order of starting, running and stopping one server.

Start: lock, recovery, the term's first entry, sockets; PING is answered when all of that is done. Stop: no new
clients, the last batch, a running snapshot cancelled, the watermark of a clean stop, the lock. A log that has failed
is left as it is, for the next start to read. Not here: from a data directory to a node (`app_boot`), peers
(`app_cluster`), anything that only one part needs to know.
"""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Final, TypeVar

import uvloop

from . import app_posture as posture
from . import identity
from .app_boot import Boot
from .app_cluster import Cluster
from .app_notify import notifier, standing
from .app_pidfile import PidFile
from .clock import Clock, SystemClock
from .commands.ports import Later
from .config import Settings
from .directives_cluster_rules import raft_port
from .engine.audit.reading import Reading
from .engine.checkpoint import Checkpoint
from .engine.children import Children
from .engine.copies.archiver import Archiver
from .engine.copies.backups import Backups
from .engine.copies.online_backup import OnlineBackup
from .engine.group_commit import GroupCommit
from .engine.history.flashback import Flashback
from .engine.history.retention import Wanted
from .engine.keyring import KeyringKeeper
from .engine.maintenance import LogKeeper
from .engine.node import Engine
from .engine.password_pool import Threads
from .errors import EX_IO, EX_OK, CommandError, Halt
from .observability import logs
from .resp.reply import Reply
from .security.tls import Keeper, Options
from .server.audit import Trail
from .server.group_trail import GroupTrail
from .server.housekeeping import Housekeeping
from .server.http.door import HttpDoor
from .server.listener import Listener
from .server.shared import Shared
from .server.tls_door import Door
from .storage.errors import StorageError
from .storage.store import Store

T = TypeVar("T")
Job = Callable[[], Coroutine[Any, Any, None]]
log = logs.get_log("server")

REST_PERIOD_S: Final = 0.001  # between two looks at whether the log has come to rest
AGAIN: Final = -1  # in the place of an exit code: the same command line from its beginning


def serve(settings: Settings) -> int:
    """Run until a signal or SHUTDOWN; the exit code."""
    logs.configure(settings.loglevel, settings.logfile, settings.log_format, posture.syslog_of(settings))
    settings.subscribe("loglevel", logs.set_level)
    settings.subscribe("write-ack-mode", posture.warn_of_ack_mode)
    posture.announce(settings)
    for warning in settings.warnings:
        log.warning(warning)
    posture.raise_file_limit(settings)
    gc.disable()  # until recovery is through it would walk a growing state again and again; then see `App.run`
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            app = App(settings, SystemClock())
            code = runner.run(app.run())
    except Halt as halt:
        print(f"vaylix: {halt}", file=sys.stderr)
        return halt.exit_code
    if code == AGAIN:
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], app.environment)
    return code


class App:
    """One server in one process."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self._stop: asyncio.Future[int] | None = None
        self._boot = Boot(settings, clock)
        self._door: Door | None = None  # with tls-port, from the moment it is open
        self._ticking: asyncio.Task[None] | None = None  # with a raft port
        self._trail: Trail | None = None
        self._audit_reading: Reading | None = None
        self._notify = notifier(settings.supervised, os.environ, os.getpid(), clock)
        self._pidfile = PidFile(settings.pidfile, os.getpid())
        self._http = HttpDoor(settings)

    @property
    def environment(self) -> dict[str, str]:
        """As this process was started with."""
        return self._boot.environment

    async def run(self) -> int:
        """Until a stop is asked for; the exit code. Who asks over HTTP is told from the first moment how it stands."""
        try:
            self._http.open()
            return await self._run()
        finally:
            self._pidfile.remove()
            self._http.close()

    async def _run(self) -> int:
        loop = asyncio.get_running_loop()
        self._stop = stop = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._request_stop, EX_OK)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        self._notify.status("starting: recovery, then the group if there is one")
        certificates = Keeper(Options.of(self.settings), self.clock) if self.settings.tls_port else None
        boot = self._boot
        store, node = await self._or_stop(boot.member()) if raft_port(self.settings) else boot.alone()
        cluster = boot.cluster
        commit = GroupCommit(node, loop, self._halt)
        shared = await self._assemble(store, node, commit)
        checkpoint, keeper = shared.checkpoint, LogKeeper(node, loop)
        listener = Listener(shared, certificates)
        await self._http.serve(shared, "starting: waiting for the cluster" if cluster is not None else "starting")
        if cluster is not None:
            await self._or_stop(self._open_cluster(cluster, shared, commit))
        await listener.open()
        self._door = listener.door
        tasks = [loop.create_task(job()) for job in self._jobs(shared, keeper)]
        for task in tasks:
            task.add_done_callback(self._task_ended)
        self.settings.user = self.settings.role = ()  # they may hold passwords, and have served
        posture.ready(
            self.settings, root=store.root, term=node.term, open_to_all=shared.accounts.open,
            master_key=str(boot.keys.source),
        )  # fmt: skip
        self._http.site.phase = ""
        self._pidfile.write()
        self._notify.ready(standing(shared))
        # What exists now lives as long as the process: the collector need not look at it. What comes later is
        # collected by housekeeping, young objects only, so that no pause grows with the number of keys.
        gc.collect()
        gc.freeze()
        try:
            code = await stop
        finally:
            self._http.site.phase = "stopping"
            await listener.close()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        keeper.hurry()
        if cluster is not None:
            await cluster.hand_over()
        return await self._finish(code, shared, store, node, commit, checkpoint)

    async def _assemble(self, store: Store, node: Engine[Any], commit: GroupCommit) -> Shared:
        """What clients share, with its services; from here on the audit writes."""
        boot = self._boot
        children = Children(boot.keys.secret)
        checkpoint = Checkpoint(store, node, commit, self.clock, self.settings.databases, children)
        checkpoint.throttle_bytes = self.settings.snapshot_throttle
        self.settings.subscribe("snapshot-throttle", lambda rate: setattr(checkpoint, "throttle_bytes", rate))
        self._want_history(checkpoint)
        threads = Threads(asyncio.get_running_loop().call_soon_threadsafe)
        shared = Shared(self.settings, self.clock, node, secrets.token_hex(20), threads)
        shared.checkpoint = checkpoint
        shared.keyring = KeyringKeeper(store.keys, boot.keys.source, store, checkpoint, self.clock)
        shared.history = Flashback(store.root, checkpoint, children, self.clock, shared.publications)
        shared.backups = Backups(
            store.disk, store.root, self.settings, checkpoint, children, self.clock, node.machine, store.keys,
            shared.publications,
        )  # fmt: skip
        self._wire_copies(shared, store, checkpoint)
        await self._wire_audit(shared, store, children)
        shared.on_shutdown = self._shutdown_command(checkpoint)
        node.on_failure = self._log_failed
        return shared

    def _jobs(self, shared: Shared, keeper: LogKeeper) -> Iterable[Job]:
        """What goes on in the background while clients are served."""
        cluster = self._boot.cluster
        if cluster is not None and cluster.renewal is not None:
            cluster.renewal.on_reload = partial(_certificates_reloaded, shared, whose="nodes")
            yield cluster.renewal.run
        yield keeper.run
        yield Housekeeping(shared, shared.checkpoint).run
        yield shared.keyring.run
        yield shared.online_backup.run
        yield shared.archive.run
        if self._notify.active:
            shared.process.supervised = "systemd"
            yield partial(self._notify.run, partial(standing, shared))
        if self._trail is not None:
            yield self._trail.run
        if self._door is not None:
            self._door.on_reload = partial(_certificates_reloaded, shared)
            yield self._door.run

    async def _come_to_rest(self, commit: GroupCommit) -> None:
        """Everybody who waits has been answered, and nothing new comes in."""
        await self._settled(commit)
        cluster = self._boot.cluster
        if cluster is not None and self._ticking is not None:
            cluster.close()
            self._ticking.cancel()
            await asyncio.wait([self._ticking])
            await self._settled(commit)  # what peers had sent by then

    async def _settled(self, commit: GroupCommit) -> None:
        while not commit.idle:
            await asyncio.sleep(REST_PERIOD_S)

    def _wire_copies(self, shared: Shared, store: Store, checkpoint: Checkpoint) -> None:
        """What leaves the data directory for good; log and keys stay as long as it lacks them."""
        keeper, settings = shared.keyring, self.settings

        def keyring() -> tuple[str, bytes] | None:
            return (keeper.keyring.id, keeper.keyring.export()) if keeper.keyring is not None else None

        backup = OnlineBackup(store, shared.node, checkpoint, self.clock, settings, keeper.export)
        archive = Archiver(store, self.clock, settings, checkpoint.rotate_log, lambda: shared.node.applied, keyring)
        checkpoint.needed_from += [backup.needed_from, archive.needed_from]
        keeper.in_use = lambda: backup.in_progress
        shared.online_backup, shared.archive = backup, archive

    async def _wire_audit(self, shared: Shared, store: Store, children: Children) -> None:
        """From here on it writes; what the start has to say is on disk before anybody can connect."""
        audit, node = self._boot.audit, shared.node
        if audit is None:
            return
        audit.on_halt = self._halt
        self._audit_reading = Reading(store.disk, store.root, children)
        self._trail = shared.audit = Trail(shared, audit, self._audit_reading)
        audit.start()
        audit.record("start", version=identity.VAYLIX_VERSION, pid=os.getpid(), run_id=shared.run_id)
        audit.record("recovery", recovered=self._boot.recovered, sequence=node.applied, term=node.term)
        if self._boot.founded:
            self._note_founding(shared)
        done = asyncio.get_running_loop().create_future()
        audit.flush().listen(done.set_result)
        await done

    def _note_founding(self, shared: Shared) -> None:
        if self._trail is not None:
            self._trail.log.record("acl", source="configuration", users=len(shared.accounts.users))

    async def _or_stop(self, work: Coroutine[Any, Any, T]) -> T:
        """Whatever waits for other nodes must not outlast a stop."""
        assert self._stop is not None
        task = asyncio.get_running_loop().create_task(work)
        await asyncio.wait((task, self._stop), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        raise Halt(self._stop.result(), "stopped while it waited for the other nodes")

    async def _open_cluster(self, cluster: Cluster, shared: Shared, commit: GroupCommit) -> None:
        """Let the replica take part; then see to it that nobody gets in before the users are there."""
        job = cluster.start(commit, shared.checkpoint)
        cluster.replica.on_failure = cluster.failed(self._log_failed, self._halt)
        cluster.view.rising.on_outdated = self._halt
        shared.cluster, shared.node_tls = cluster.view, cluster.tls
        cluster.on_members = GroupTrail(shared, cluster.view).members_changed
        cluster.replica.applier.on_foreign = shared.others_wrote
        self._ticking = asyncio.get_running_loop().create_task(job())
        self._ticking.add_done_callback(self._task_ended)
        cluster.entry.on_restart = lambda: self._request_stop(AGAIN)
        cluster.carry(shared.pubsub)
        if await cluster.found_users(shared, self._boot.first_users):
            self._note_founding(shared)

    def _want_history(self, checkpoint: Checkpoint) -> None:
        """What the directives say is kept for restores, now and after each CONFIG SET."""

        def changed(_: int = 0) -> None:
            checkpoint.wanted = Wanted(self.settings.pitr_window * 1000, self.settings.pitr_size_max)

        changed()
        for name in ("pitr-window", "pitr-size-max"):
            self.settings.subscribe(name, changed)

    def _hang_up(self) -> None:
        """SIGHUP, also from a terminal that closes, which is no reason to stop."""
        cluster = self._boot.cluster
        between = cluster.renewal if cluster is not None else None
        self._notify.reloading()
        if self._door is not None:
            self._door.reload("SIGHUP")
        if between is not None:
            between.now("SIGHUP")
        if self._door is None and between is None:
            log.notice("SIGHUP is ignored: there are no certificates that it could reload (tls-port, tls-cluster)")
        self._notify.reloaded()

    # Stopping.

    def _request_stop(self, code: int) -> None:
        if self._stop is not None and not self._stop.done():
            self._notify.stopping(again=code == AGAIN)
            self._stop.set_result(code)

    def _halt(self, halt: Halt) -> None:
        if self._stop is not None and not self._stop.done():
            self._notify.stopping()
            self._stop.set_exception(halt)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """A background job that ends by itself is a bug; stop rather than go on without it."""
        if not task.cancelled() and (problem := task.exception()) is not None:
            if isinstance(problem, Halt):
                self._halt(problem)
                return
            log.failure("a background job has failed", problem)
            self._halt(Halt(EX_IO, f"a background job has failed: {problem!r}"))

    def _log_failed(self, reason: str) -> None:
        log.warning(
            f"THE LOG HAS FAILED: {reason}. No write is taken any more; reads go on. Replace or repair the disk, then "
            "restart: what was acknowledged is on it, the last writes answered with -INDETERMINATE may be"
        )

    def _shutdown_command(self, checkpoint: Checkpoint) -> Callable[[bool | None, bool, bool], Reply]:
        def shutdown(save: bool | None, now: bool, force: bool) -> Reply:
            """Never answered when all goes well: the connection closes, as in Redis."""
            reply = Later()
            started = checkpoint.start() if save else None
            if isinstance(started, CommandError):
                return started
            if started is None:
                self._request_stop(EX_OK)
                return reply

            def saved(outcome: Reply) -> None:
                if isinstance(outcome, CommandError) and not force:
                    reply.resolve(CommandError("ERR Errors trying to SHUTDOWN. Check logs."))
                else:
                    self._request_stop(EX_OK)

            started.listen(saved)
            return reply

        return shutdown

    async def _finish(
        self, code: int, shared: Shared, store: Store, node: Engine[Any], commit: GroupCommit, checkpoint: Checkpoint
    ) -> int:
        """Everything that has been executed is on disk and answered before clients are let go."""
        log.notice("stopping")
        for client in shared.clients:  # first of all: busy clients would never let the log come to rest
            client.close_after_reply()
        await shared.keyring.close()
        await shared.online_backup.close()
        await checkpoint.cancel()
        await shared.history.cancel()
        await shared.backups.close()
        if self._audit_reading is not None:
            await self._audit_reading.close()
        if self._trail is not None:
            await self._settled(commit)
            await self._trail.finish(exit_code=code)
        await self._come_to_rest(commit)
        commit.close()
        shared.entrance.close()
        for client in shared.clients:
            if client.waiting is not None:  # for something that will not happen any more, or for this stop
                client.kill()
        await asyncio.get_running_loop().shutdown_default_executor()  # a spare segment may still be in the making
        await asyncio.sleep(0)
        if self._boot.audit is not None:
            self._boot.audit.close()
        if node.failure is not None:
            store.abandon()
            log.warning("stopped with a failed log: it is left as it is, the next start checks it")
            return EX_IO
        try:
            store.clean_stop(self.clock.wall_ms(), node.applied)
        except StorageError as failure:
            store.abandon()
            raise Halt(EX_IO, f"the log could not be closed cleanly: {failure}") from failure
        log.notice(f"stopped cleanly at sequence {node.applied}")
        return code


def _certificates_reloaded(shared: Shared, why: str, taken: bool, *, whose: str = "server") -> None:
    shared.audit.event("config", "ok" if taken else "error", certificates=why, whose=whose)
