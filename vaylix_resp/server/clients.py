"""Who is connected: the registry behind CLIENT, its list format, and CLIENT PAUSE.

Promises: an id is given once; iterating survives clients that come and go meanwhile; the list has Redis 7.2's
fields in Redis's order (fields that name buffers we do not have are 0).
Not here: sockets, and obeying a pause (`dispatch` asks `holds`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from ..clock import Clock
from ..commands.ports import Client
from ..commands.spec import CommandSpec, Kind
from ..config import Settings

TOO_MANY: Final = "ERR max number of clients reached"
SESSION_BYTES: Final = 4096  # a session with its connection and empty buffers, roughly; part of tot-mem
TYPES: Final = ("normal", "master", "replica", "pubsub")

# Besides writes, what Redis holds back while only writes are paused: its effect would reach others.
_PAUSED_WITH_WRITES: Final = frozenset({"publish", "spublish"})


class Clients:
    """Every live session by id, in the order of connecting."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._live: dict[int, Client] = {}
        self._last_id = 0
        self.rejected = 0  # connections refused by `maxclients`
        self.paused_until = 0.0  # monotonic seconds; 0.0: no pause since the last UNPAUSE
        self._pause_kind = ""
        self.on_resume: list[Callable[[], None]] = []  # called when CLIENT UNPAUSE ends a pause early

    def new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def add(self, client: Client) -> None:
        self._live[client.id] = client

    def remove(self, client: Client) -> None:
        """Safe to call twice."""
        self._live.pop(client.id, None)

    def get(self, identity: int) -> Client | None:
        return self._live.get(identity)

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self._live.values()))

    def refuse(self) -> str | None:
        """The error for one connection too many, counted; None when there is room."""
        if len(self._live) < self._settings.maxclients:
            return None
        self.rejected += 1
        return TOO_MANY

    # Listing and choosing.

    def listing(self, chosen: list[Client]) -> bytes:
        """One line each, as CLIENT LIST prints them."""
        now = self._clock.now()
        return b"".join(describe(client, now) + b"\n" for client in chosen)

    def select(
        self,
        *,
        identity: int | None = None,
        kind: str | None = None,
        user: str | None = None,
        addr: str | None = None,
        laddr: str | None = None,
        min_age_s: int = 0,
        skip: Client | None = None,
    ) -> list[Client]:
        """Those that pass every filter given, the oldest connection first."""
        now = self._clock.now()
        wanted = (
            (identity, lambda c: c.id), (kind, type_of), (user, lambda c: c.user),
            (addr, lambda c: c.addr), (laddr, lambda c: c.laddr),
        )  # fmt: skip
        return [
            client
            for client in self
            if client is not skip
            and all(value is None or value == read(client) for value, read in wanted)
            and int(now - client.created) >= min_age_s
        ]

    def blocked(self) -> int:
        """Clients that wait for something to happen: INFO's blocked_clients."""
        return sum(is_blocked(client) for client in self._live.values())

    # CLIENT PAUSE.

    def pause(self, kind: str, milliseconds: int) -> None:
        """Pause `write` or `all`. While a pause runs, another can only widen and lengthen it, as in Redis."""
        now = self._clock.now()
        running = self.pause_kind(now)
        self._pause_kind = "all" if "all" in (kind, running) else "write"
        end = now + milliseconds / 1000
        self.paused_until = max(end, self.paused_until) if running else end

    def unpause(self) -> None:
        if not self.pause_kind(self._clock.now()):
            return
        self.paused_until = 0.0
        for resume in list(self.on_resume):
            resume()

    def pause_kind(self, now: float) -> str:
        """`all`, `write`, or "" when nothing is paused at `now` (monotonic seconds)."""
        return self._pause_kind if now < self.paused_until else ""

    def holds(self, now: float, spec: CommandSpec, writes_queued: bool = False) -> bool:
        """Must this request wait for the end of a pause? `writes_queued`: it is an EXEC that writes."""
        kind = self.pause_kind(now)
        if kind != "write":
            return kind == "all"
        if spec.name == "exec":
            return writes_queued
        return spec.kind is Kind.WRITE or spec.name in _PAUSED_WITH_WRITES


def type_of(client: Client) -> str:
    """The type that CLIENT LIST, CLIENT KILL and the output limits go by. Peers are not clients."""
    return "pubsub" if is_subscriber(client) else "normal"


def is_subscriber(client: Client) -> bool:
    return bool(client.channels or client.patterns or client.shard_channels)


def is_blocked(client: Client) -> bool:
    waiting = client.waiting
    return waiting is not None and waiting.blocking and not waiting.done


def flags_of(client: Client) -> str:
    """The letters of CLIENT LIST, in Redis's order."""
    tracking = client.tracking
    letters = (
        ("O", client.monitor),
        ("P", is_subscriber(client)),
        ("x", client.multi is not None),
        ("b", is_blocked(client)),
        ("t", tracking is not None),
        ("R", tracking is not None and tracking.broken),
        ("B", tracking is not None and tracking.bcast),
        ("d", client.dirty),
        ("U", client.addr.startswith("/")),
        ("e", client.no_evict),
        ("T", client.no_touch),
    )
    return "".join(letter for letter, on in letters if on) or "N"


def describe(client: Client, now: float) -> bytes:
    """One client as CLIENT LIST and CLIENT INFO print it; `now` in monotonic seconds."""
    queued, queued_bytes = (-1, 0) if client.multi is None else (len(client.multi), client.multi.bytes)
    waiting_out = client.output_bytes
    text = (
        f"id={client.id} addr={client.addr} laddr={client.laddr} fd={client.fd} name={_word(client.name)}"
        f" age={int(now - client.created)} idle={int(now - client.last_active)} flags={flags_of(client)}"
        f" db={client.db} sub={len(client.channels)} psub={len(client.patterns)}"
        f" ssub={len(client.shard_channels)} multi={queued} watch={len(client.watched)}"
        f" qbuf={client.input_bytes} qbuf-free=0 argv-mem={client.request_bytes}"
        f" multi-mem={queued_bytes} rbs=0 rbp=0 obl=0 oll={int(waiting_out > 0)} omem={waiting_out}"
        f" tot-mem={SESSION_BYTES + client.input_bytes + client.request_bytes + queued_bytes + waiting_out}"
        f" events={'rw' if waiting_out else 'r'} cmd={client.last_command} user={client.user}"
        f" redir={-1 if client.tracking is None else client.tracking.redirect} resp={client.proto}"
        f" lib-name={_word(client.lib_name)} lib-ver={_word(client.lib_ver)}"
    )
    return text.encode("utf-8", "surrogateescape")  # names of users may be any bytes


def _word(raw: bytes) -> str:
    return raw.decode("ascii")  # checked when it was set: printable ASCII without blanks
