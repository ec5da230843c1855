"""From a data directory to a node that takes requests: keys, lock, recovery, audit, and for a member its group.

Promise: what cannot be trusted raises StorageError with its exit code, and nothing has been changed by then.
Not here: what is wired around the node (`app`), peers (`app_cluster`), how a log becomes a state (`engine.boot`).
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from typing import Any, Final

from .app_cluster import Cluster
from .clock import Clock
from .config import Settings
from .engine import boot
from .engine.audit.log import AuditLog
from .engine.audit.start import open_log
from .engine.founding import Steps, commit_all, sources_of, steps
from .engine.keys import ServerKeys
from .engine.node import Engine, Node
from .engine.replication.start_over import start_over
from .errors import EX_CONFIG, EX_IO, Halt
from .observability import logs
from .security.master_key import VARIABLE, of_settings
from .server.entrance import cost_of, policy_of, read_file
from .state.accounts import Accounts
from .state.machine import StateMachine
from .state.versions import allowed
from .storage.disk import RealDisk
from .storage.errors import DiskFull, WalFailed
from .storage.log_files import WalConfig
from .storage.store import Store

log = logs.get_log("server")

# Alone it would write what no other member has, and could never be one again; what it has and the others have not
# agreed on would become true.
MEMBER: Final = (
    "{root}: the data is that of a member (node {node:016x}) of the cluster {cluster}: start it with `raft-port` or "
    "`cluster-peers`; for a server of its own, restore a copy of it ('vaylix pitr restore')"
)


class Boot:
    """One start. `keys` are there once the store is open, `cluster` with a raft port, `audit` unless it is off."""

    keys: ServerKeys
    environment: dict[str, str]  # as this process was started with; for itself, if it starts again

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings, self.clock = settings, clock
        self.recovered: dict[str, int] = {}  # for the audit, as the next
        self.founded = False  # this start has brought users or a password into the log
        self.audit: AuditLog | None = None
        self.cluster: Cluster | None = None

    def alone(self) -> tuple[Store, Engine[Any]]:
        """A group of one that no peer can reach: it leads at once, and its users are in the log."""
        settings, began = self.settings, self.clock.now()
        store = self._open_store()
        if (who := store.manifest.identity) is not None:
            raise Halt(EX_CONFIG, MEMBER.format(root=store.root, node=who.node_id, cluster=who.cluster_id.hex()))
        machine = self._new_machine()
        warnings = boot.recover(store, machine)
        for warning in warnings:
            log.warning(warning)
        self._open_audit(store, machine)
        node = Node(
            store.wal, machine, self.clock, random.Random(secrets.randbits(64)),
            exit_on_io_error=settings.on_io_error == "exit",
        )  # fmt: skip
        node.appendfsync = settings.appendfsync
        settings.subscribe("appendfsync", lambda mode: setattr(node, "appendfsync", mode))
        try:
            boot.open_term(node)
            boot.raise_version(node)
            before = machine.world.accounts.version
            notice = commit_all(node, self.first_users(machine.world.accounts))
            self.founded = machine.world.accounts.version != before
        except (DiskFull, WalFailed) as failure:
            raise Halt(EX_IO, f"the log cannot be written: {failure}") from failure
        if notice:
            log.notice(notice)
        keys = sum(len(db.items) for db in machine.world.databases)
        self.recovered = {"keys": keys, "warnings": len(warnings)}
        took_s = self.clock.now() - began
        log.notice(f"recovered {keys} keys up to sequence {machine.applied} in {took_s:.3f} s", dir=store.root)
        return store, node

    async def member(self) -> tuple[Store, Engine[Any]]:
        """As `alone`, and then until there is a group that this node belongs to; its users come through the group."""
        settings, began = self.settings, self.clock.now()
        store = self._open_store(start_over(RealDisk(), os.path.abspath(settings.dir)))
        machine = self._new_machine()
        recovered, warnings = boot.recover_log(store, machine)
        for warning in warnings:
            log.warning(warning)
        log.notice(f"recovered up to sequence {machine.applied} in {self.clock.now() - began:.3f} s", dir=store.root)
        self._open_audit(store, machine)
        self.recovered = {"warnings": len(warnings)}
        self.cluster = cluster = Cluster(settings, self.clock, store)
        try:
            return store, await cluster.boot(machine, recovered, settings.on_io_error == "exit")
        except (DiskFull, WalFailed) as failure:
            raise Halt(EX_IO, f"the log cannot be written: {failure}") from failure

    def first_users(self, accounts: Accounts) -> Steps:
        """Entries for users of the configuration, where the data directory has none yet."""
        settings = self.settings
        sources = sources_of(settings, read_file)
        return steps(accounts, sources, settings.requirepass, policy=policy_of(settings), cost=cost_of(settings))

    def _new_machine(self) -> StateMachine:
        """Refuses what is beyond `cluster-version-max`; by CONFIG SET that can only be let go further."""
        machine, settings = boot.new_machine(self.settings.databases), self.settings
        world = machine.world
        world.understands = allowed(settings.cluster_version_max)

        def changed(most: int) -> None:
            world.understands = max(allowed(most), world.cluster_version)

        settings.subscribe("cluster-version-max", changed)
        return machine

    def _open_store(self, store_id: bytes | None = None) -> Store:
        settings, now_ms = self.settings, self.clock.wall_ms()
        disk, root = RealDisk(), os.path.abspath(settings.dir)
        source = of_settings(settings, root)
        # Nobody else needs the key: not CONFIG GET, and not the programs that this one starts.
        settings.master_key = ""
        self.environment = dict(os.environ)
        os.environ.pop(VARIABLE, None)
        self.keys = opened = ServerKeys(disk, root, source, encryption=settings.encryption, now_ms=now_ms)
        store = Store.open(
            disk, root, new_store_id=store_id or secrets.token_bytes(16), now_ms=now_ms, open_keys=opened,
            config=WalConfig(segment_bytes=settings.wal_segment_size),
        )  # fmt: skip
        for notice in opened.notices:
            log.notice(notice)
        for warning in opened.warnings:
            log.warning(warning)
        return store

    def _open_audit(self, store: Store, machine: StateMachine) -> None:
        """What the log has committed of it is as far as `machine` is: what it misses is looked for."""
        if self.settings.audit:
            self.audit = open_log(
                self.settings, store.disk, store.root, store.manifest.store_id, machine.world, self.clock,
                asyncio.get_running_loop().call_soon_threadsafe,
            )  # fmt: skip
