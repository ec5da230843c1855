"""What commands outside the log may ask of the server: protocols, so that `commands` knows no socket.

`Client` is one connection's session (`server.session.Session` is the only implementation outside tests); it is
the first argument of every SESSION handler. `client.server` leads to the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..clock import Clock
from ..config import Settings
from ..errors import CommandError
from ..observability.metrics import Stats
from ..observability.process import Process
from ..resp.reply import Reply
from ..security.access import Grants
from ..security.acl_log import AclLog
from ..security.limits import Limiter, Meter
from ..security.lockout import Lockout
from ..state.accounts import Accounts
from ..state.machine import StateMachine
from ..state.views import ReadView
from .catalog import Catalog
from .spec import CommandSpec

if TYPE_CHECKING:
    from .cluster_view import ClusterView
    from .transactions import Queue


class Later:
    """A reply that comes later; the client's next requests wait behind it.

    A handler returns one and keeps it; whoever has the answer calls `resolve` (once; further calls are ignored).
    `on_cancel` is called when the client goes away or is unblocked first; `blocking` marks what CLIENT UNBLOCK
    may end (it resolves with `timeout_reply`).
    """

    __slots__ = ("_done", "_listener", "blocking", "on_cancel", "reply", "timeout_reply")

    def __init__(
        self,
        *,
        on_cancel: Callable[[], None] | None = None,
        blocking: bool = False,
        timeout_reply: Reply = None,
    ) -> None:
        self.on_cancel = on_cancel
        self.blocking = blocking
        self.timeout_reply = timeout_reply
        self.reply: Reply = None
        self._done = False
        self._listener: Callable[[Reply], None] | None = None

    @property
    def done(self) -> bool:
        return self._done

    def resolve(self, reply: Reply) -> None:
        if self._done:
            return
        self._done = True
        self.reply = reply
        listener = self._listener
        self._let_go()
        if listener is not None:
            listener(reply)

    def _let_go(self) -> None:
        """Who waits and who answers refer to each other, and the collector is off."""
        self.on_cancel = self._listener = None

    def listen(self, listener: Callable[[Reply], None]) -> None:
        """The dispatcher's side: be told the reply, at once if it is there already."""
        if self._done:
            listener(self.reply)
        else:
            self._listener = listener

    def unblock(self, reply: Reply) -> None:
        """End the wait from outside (CLIENT UNBLOCK): whoever would have answered is told to forget it."""
        if not self._done:
            if self.on_cancel is not None:
                self.on_cancel()
            self.resolve(reply)

    def cancel(self) -> None:
        """The client is gone: nobody wants the reply."""
        if not self._done:
            self._done = True
            if self.on_cancel is not None:
                self.on_cancel()
            self._let_go()


def then(first: Later, step: Callable[[Any], Reply]) -> Later:
    """What `step` makes of the reply; an error ends it. A step may return a Later of its own."""
    result = Later(on_cancel=first.cancel)

    def arrived(reply: Reply) -> None:
        try:
            following = reply if isinstance(reply, CommandError) else step(reply)
        except CommandError as refused:
            following = refused.with_traceback(None)
        if isinstance(following, Later):
            if not result.done:
                result.on_cancel = following.cancel
            following.listen(result.resolve)
        else:
            result.resolve(following)

    first.listen(arrived)
    return result


class Client(Protocol):
    """One connection. Attributes may be set where the comment says so; everything else is read only."""

    id: int
    name: bytes  # set by CLIENT SETNAME, HELLO
    lib_name: bytes  # set by CLIENT SETINFO
    lib_ver: bytes
    addr: str  # "ip:port" of the peer
    laddr: str
    fd: int
    db: int  # set by SELECT
    proto: int  # 2 or 3; set by HELLO, RESET
    user: str  # bytes that are no UTF-8 as surrogates; changed by `become`
    born: int  # of the user: one of the same name that came later is another
    grants: Grants  # what the user may do
    limited: bool  # it may not do everything
    meter: Meter | None  # of the user that it is counted as; managed by `server.quotas`, as is the next
    limiter: Limiter | None  # what its requests are held against; None: nothing limits their rate
    authenticated: bool  # set by AUTH, HELLO, RESET
    created: float  # monotonic seconds
    last_active: float
    last_command: str  # full name, lower case, as CLIENT LIST prints it
    multi: Queue | None  # while in MULTI
    in_block: bool  # EXEC is executing a session command of the block: `run_queued`
    watched: dict[tuple[int, bytes], int]  # (db, key) -> version seen
    watched_bytes: int  # what they cost
    watched_since: float  # monotonic seconds, of the first of them
    overdue: CommandError | None  # why EXEC will fail: MULTI or WATCH is too long ago
    dirty: bool  # a watched key has changed here
    channels: dict[bytes, None]  # subscriptions, in the order made; managed by the pub/sub hub
    patterns: dict[bytes, None]
    shard_channels: dict[bytes, None]
    reply_mode: str  # "on", "off", "skip" (the next reply), set by CLIENT REPLY
    monitor: bool
    no_evict: bool
    no_touch: bool
    tracking: Any  # server.tracking.Tracking or None
    capa_redirect: bool
    readonly: bool  # set by READONLY, READWRITE: it takes reads that are a little old
    follows_moved: bool  # set by what only cluster clients ask for
    sentinel: bool  # came in by `sentinel-port`
    waiting: Later | None  # the reply it waits for
    server: Server

    @property
    def input_bytes(self) -> int:
        """Of an unfinished request: qbuf in CLIENT LIST."""

    @property
    def request_bytes(self) -> int:
        """Of requests that wait for their turn or their batch, about: argv-mem in CLIENT LIST."""

    @property
    def output_bytes(self) -> int:
        """Not yet taken by the system: omem in CLIENT LIST."""

    def become(self, user: str) -> None:
        """Act as this user, who exists, with the rights it has now."""

    def log_in(self, user: str) -> CommandError | None:
        """`become`, for good; an error, and nothing has changed, if the user has too many connections."""

    def recheck(self, requests: Sequence[tuple[CommandSpec, Sequence[bytes], int]]) -> dict[int, CommandError]:
        """Requests of a transaction (with their databases) that its user may not make any more, by their place."""

    def recheck_reads(self) -> None:
        """The user's rights have changed: reads that wait are answered by those that it has now."""

    def push(self, message: Reply) -> None:
        """Send out of band, now: pub/sub messages, invalidations, MONITOR lines. Never blocks."""

    def push_wire(self, wire: bytes) -> None:
        """As `push`, already encoded for this client's protocol: one message to thousands is encoded once."""

    def fresh(self) -> None:
        """What RESET leaves: the state of a new connection. Subscriptions, tracking and MONITOR are left first."""

    def refresh(self) -> None:
        """Log-in, subscriptions or anything else that decides how requests are executed has changed."""

    def submit(
        self, operation: Sequence[bytes] | None, finish: Callable[[Any], Reply], *, barrier: bool
    ) -> Reply:
        """Answer with `finish(result)` in this request's turn: when `operation` has been applied (result: its
        reply), or, for None, when the session's earlier writes have been (result: None). Returns NO_REPLY.

        `barrier`: `finish` changes the session (a SELECT inside the block), so later requests wait for it."""

    def run_queued(self, spec: CommandSpec, argv: Sequence[bytes], db: int) -> Reply:
        """Execute one request of a transaction that needs no entry, at once; errors come back as replies."""

    def close_after_reply(self) -> None:
        """QUIT, a fatal protocol error, the end of the server: send what is due, execute nothing more, close."""

    def kill(self) -> None:
        """Close now."""

    def check_limits(self, now: float) -> None:
        """Close the client if it has been idle or slow for too long; `now` in monotonic seconds."""


class Server(Protocol):
    """What all clients share."""

    settings: Settings
    clock: Clock
    machine: StateMachine
    commands: dict[str, CommandSpec]
    catalog: Catalog  # the same for access control
    accounts: Accounts  # users and roles: part of the state
    acl_log: AclLog
    acl_file: Any  # server.entrance.AccountFile
    passwords: Any  # engine.password_pool.PasswordPool
    lockout: Lockout
    quotas: Any  # server.quotas.Quotas
    sizes: Any  # server.sizes.Sizes; None while nothing limits sizes
    clients: Any  # server.clients.Clients
    tls: Any  # server.tls_door.Door; None without tls-port
    node_tls: Any  # peers.tls.ClusterTls; None without tls-cluster
    parked: Any  # sessions that are held back
    buffering: Any  # sessions that have not read all that was sent to them
    maintenance: Any  # server.maintenance.MaintenanceMode
    memory: Any  # server.memory.MemoryLimit
    audit: Any  # server.audit.Trail or Silent
    pubsub: Any  # server.pubsub.Hub
    tracking: Any  # server.tracking.TrackingTable
    monitors: Any  # server.monitor.Monitors
    stats: Stats
    lateness: Any  # server.lateness.Lateness: who is told that something was slow, with SLOWLOG and LATENCY
    process: Process
    node: Any  # engine.node.Engine: the log, failure state
    checkpoint: Any  # engine.checkpoint.Checkpoint: snapshots
    keyring: Any  # engine.keyring.KeyringKeeper: keys of the data at rest
    history: Any  # engine.history.flashback.Flashback: what keys were
    backups: Any  # engine.copies.backups.Backups: logical backups
    online_backup: Any  # engine.copies.online_backup.OnlineBackup: the physical one
    archive: Any  # engine.copies.archiver.Archiver: archive-command
    cluster: ClusterView | None  # None: a single node without raft-port
    run_id: str  # 40 hex digits, new at each start
    started: float  # monotonic seconds
    config_file: str | None
    active_expire: bool  # expired keys are removed in the background; set by DEBUG SET-ACTIVE-EXPIRE

    def view(self, db: int) -> ReadView:
        """Applied state as of now."""

    def info(self, sections: Sequence[str]) -> str:
        """INFO's text for these sections in lower case, none meaning the default (`server.info.render`)."""

    def metrics(self) -> dict[str, int | float]:
        """Every sample of every metric, by its name and labels (`server.metrics`)."""

    def metrics_text(self) -> bytes:
        """The same as text for Prometheus."""

    def refresh(self) -> None:
        """Monitors, trackers or a pause have changed: work out again who has to be told of what."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        """Call back once, on the event loop; the result has `cancel()`."""

    def propose(self, entry: tuple[bytes, ...]) -> Later:
        """Log an entry of the server's own; resolves with the reply of its apply, or the error that kept it out."""

    def verify(self, client: Client, user: bytes, password: bytes, asked_by: bytes) -> Later:
        """Is this the password of that user, who need not exist? Resolves, perhaps at once, with OK or the error.

        A failure counts towards a lock, and is in ACL LOG with `asked_by` as its object.
        """

    def prove(self, client: Client, password: bytes) -> Later:
        """`verify` for the client's own user."""

    def unsettled(self) -> Later | None:
        """What a change of settings has begun and is not done yet; asked once."""

    def random_bytes(self, count: int) -> bytes:
        """Nobody can guess them."""

    def rewrite_config(self) -> Reply:
        """CONFIG REWRITE: put the settings in force into the file they came from; OK, or raises CommandError."""

    def watch(self, client: Client, db: int, key: bytes) -> None:
        """Set `client.dirty` when this key is touched from now on."""

    def unwatch(self, client: Client) -> None:
        """Forget all keys that the client watches."""

    def shutdown(self, *, save: bool | None, now: bool, force: bool) -> Reply:
        """Begin an orderly stop; a Later, or an error reply when it cannot."""
