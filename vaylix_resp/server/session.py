"""One client's state; pure. Reading, writing and execution order are `connection`'s.

Promise: RESET brings back exactly what a new connection has, but for its id, addresses and counters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from ..commands.ports import Later, Server
from ..commands.spec import CommandSpec
from ..errors import CommandError
from ..resp.reply import Reply
from ..security.access import Grants
from ..security.limits import Limiter, Meter
from ..state.accounts import DEFAULT
from . import rights


class Session(ABC):
    """Implements `commands.ports.Client`, which says what each attribute and verb means."""

    __slots__ = (
        "addr", "authenticated", "born", "capa_redirect", "channels", "created", "db", "dirty", "elsewhere", "fd",
        "follows_moved", "grants", "id", "in_block", "laddr", "last_active", "last_command", "lib_name", "lib_ver",
        "limited", "limiter", "meter", "monitor", "multi", "name", "no_evict", "no_touch", "overdue", "patterns",
        "proto", "readonly", "reply_mode", "server", "shard_channels", "stranger_since", "tracking", "user", "waiting",
        "watched", "watched_bytes", "watched_since",
    )  # fmt: skip

    sentinel = False  # came in by `sentinel-port`

    def __init__(self, server: Server, identity: int, addr: str, laddr: str, fd: int) -> None:
        self.server = server
        self.id = identity
        self.addr, self.laddr, self.fd = addr, laddr, fd
        self.created = self.last_active = server.clock.now()
        self.last_command = "NULL"
        self.waiting: Later | None = None
        self.channels: dict[bytes, None] = {}
        self.patterns: dict[bytes, None] = {}
        self.shard_channels: dict[bytes, None] = {}
        self.tracking: Any = None
        self.meter: Meter | None = None
        self.limiter: Limiter | None = None
        self.monitor = self.in_block = self.authenticated = False
        self.stranger_since = self.created
        self.fresh()

    def fresh(self) -> None:
        """The state of a new connection; subscriptions, tracking and MONITOR are left by their owners."""
        self.name = self.lib_name = self.lib_ver = b""
        self.db = 0
        self.proto = 2
        self.become(DEFAULT)
        if self.authenticated:  # else RESET would give who does not log in ever more time
            self.stranger_since = self.server.clock.now()
        self.authenticated = self.server.accounts.open
        self.multi: Any = None
        self.watched: dict[tuple[int, bytes], int] = {}
        self.watched_bytes = 0
        self.watched_since = 0.0
        self.overdue: CommandError | None = None
        self.dirty = False
        self.reply_mode = "on"
        self.no_evict = self.no_touch = self.capa_redirect = self.readonly = self.follows_moved = False
        self.elsewhere = False  # requests may have to be answered with where the leader is; see `switching`

    def become(self, user: str) -> None:
        """Act as this user, who exists, with the rights it has now."""
        server = self.server
        self.user = user
        self.born = server.accounts.users[user].born
        grants = server.accounts.grants(user)
        assert grants is not None, user
        self.grants: Grants = grants
        self.limited = grants.free != server.catalog.everything

    def log_in(self, user: str) -> CommandError | None:
        """`become`, for good; an error, and nothing has changed, if the user has too many connections."""
        refused: CommandError | None = self.server.quotas.enter(self, user)
        if refused is None:
            self.become(user)
            self.authenticated = True
            self.refresh()
        return refused

    def recheck(self, requests: Sequence[tuple[CommandSpec, Sequence[bytes], int]]) -> dict[int, CommandError]:
        return rights.recheck(self, requests) if self.limited else {}

    @abstractmethod
    def recheck_reads(self) -> None:
        """The user's rights have changed: reads that wait are answered by those that it has now."""

    @property
    def subscriptions(self) -> int:
        """Channels and patterns: what makes a RESP2 client a subscriber (shard channels count too)."""
        return len(self.channels) + len(self.patterns) + len(self.shard_channels)

    @property
    @abstractmethod
    def input_bytes(self) -> int: ...

    @property
    @abstractmethod
    def request_bytes(self) -> int: ...

    @property
    @abstractmethod
    def output_bytes(self) -> int: ...

    @abstractmethod
    def refresh(self) -> None: ...

    @abstractmethod
    def push(self, message: Reply) -> None: ...

    @abstractmethod
    def push_wire(self, wire: bytes) -> None: ...

    @abstractmethod
    def submit(
        self, operation: Sequence[bytes] | None, finish: Callable[[Any], Reply], *, barrier: bool
    ) -> Reply: ...

    @abstractmethod
    def run_queued(self, spec: CommandSpec, argv: Sequence[bytes], db: int) -> Reply: ...

    @abstractmethod
    def close_after_reply(self) -> None: ...

    @abstractmethod
    def kill(self) -> None: ...

    @abstractmethod
    def check_limits(self, now: float) -> None: ...

    @abstractmethod
    def park(self) -> None:
        """Leave waiting requests alone until `Shared.release_parked`."""
