"""Client-side caching: which client may hold which key in its own cache, and telling it when that is stale.

Promises: a client that was told a key's value is told when the key changes, unless it asked not to be; memory
is bounded by `tracking-table-max-keys` and by bytes: beyond, the oldest keys are given up by invalidating.
As in Redis, keys are tracked by name alone, whatever the database.
The caller's part: `after` a command only when its reply has been written; `invalidate` after the writer's
reply, and after `remember` for the reads inside the same transaction.
Not here: the grammar of CLIENT TRACKING (`commands.tracking`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ..commands.ports import Client
from ..commands.spec import Argv, CommandSpec
from ..config import Settings
from ..errors import CommandError
from ..limits import TRACKING_KEYS_BYTES_MAX, TRACKING_PREFIXES_MAX
from ..resp.reply import Push
from ..resp.writer import encode
from .clients import Clients, is_subscriber

INVALIDATE: Final = b"invalidate"
INVALIDATE_CHANNEL: Final = b"__redis__:invalidate"  # where a RESP2 connection gets what it was redirected to
KEY_OVERHEAD_BYTES: Final = 150  # what a tracked key costs besides its name
RELEASE_PER_READ: Final = 100  # keys: so that memory comes back even if nobody calls `release`
STALE_IDS_SPARED: Final = 16  # ids of clients that are gone, kept per key before it is worth looking for them

Touched = tuple[int, bytes | None]  # database, key; None: all keys

SWITCH_BCAST: Final = (
    "ERR You can't switch BCAST mode on/off before disabling tracking for this client, "
    "and then re-enabling it with a different mode."
)
SWITCH_OPT: Final = (
    "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, "
    "and then re-enabling it with a different mode."
)


class Tracking:
    """How one client wants to be told; `client.tracking` while tracking is on."""

    __slots__ = ("bcast", "broken", "caching", "noloop", "optin", "optout", "prefixes", "redirect")

    def __init__(
        self,
        *,
        redirect: int = 0,
        bcast: bool = False,
        optin: bool = False,
        optout: bool = False,
        noloop: bool = False,
        prefixes: Iterable[bytes] = (),
    ) -> None:
        self.redirect = redirect  # id of the client that gets the invalidations; 0: this one
        self.bcast, self.optin, self.optout, self.noloop = bcast, optin, optout, noloop
        self.prefixes = sorted(prefixes)
        self.caching = False  # CLIENT CACHING was said for the command that follows
        self.broken = False  # the client redirected to is gone

    def flags(self) -> list[str]:
        """As CLIENT TRACKINGINFO lists them."""
        facts = (
            ("bcast", self.bcast), ("optin", self.optin), ("caching-yes", self.optin and self.caching),
            ("optout", self.optout), ("caching-no", self.optout and self.caching), ("noloop", self.noloop),
            ("broken_redirect", self.broken),
        )  # fmt: skip
        return ["on", *(name for name, true in facts if true)]


class TrackingTable:
    """Which clients were told which keys. Ids of gone clients stay until their key is touched or purged."""

    def __init__(self, clients: Clients, settings: Settings) -> None:
        self._clients = clients
        self._settings = settings
        self._tracking: dict[int, Client] = {}  # all clients with tracking on
        self._holders: dict[bytes, int | set[int]] = {}  # key -> client ids, the longest tracked key first
        self._holders_bytes = 0
        self._items = 0  # pairs of key and client in `_holders`
        self._trash: list[dict[bytes, int | set[int]]] = []  # forgotten; memory is given back in steps
        self._prefixes: dict[bytes, dict[Client, None]] = {}  # of clients in broadcasting mode
        self._prefix_lengths: list[int] = []

    @property
    def active(self) -> bool:
        """Whether anyone tracks: only then need changed keys be collected."""
        return bool(self._tracking)

    def counts(self) -> dict[str, int]:
        """INFO's tracking fields."""
        return {
            "tracking_clients": len(self._tracking),
            "tracking_total_keys": len(self._holders),
            "tracking_total_items": self._items,
            "tracking_total_prefixes": len(self._prefixes),
        }

    # CLIENT TRACKING.

    def enable(
        self,
        client: Client,
        *,
        redirect: int = 0,
        bcast: bool = False,
        optin: bool = False,
        optout: bool = False,
        noloop: bool = False,
        prefixes: Sequence[bytes] = (),
    ) -> None:
        """Turn tracking on, or change how; CommandError when that does not fit what is on already."""
        old: Tracking | None = client.tracking
        if old is not None and old.bcast != bcast:
            raise CommandError(SWITCH_BCAST)
        if old is not None and ((optin and old.optout) or (optout and old.optin)):
            raise CommandError(SWITCH_OPT)
        kept = old.prefixes if old is not None and bcast else []
        _check_prefixes(prefixes, kept)
        wanted = [*kept, *(prefixes or (b"",))] if bcast else []
        client.tracking = Tracking(
            redirect=redirect, bcast=bcast, optin=optin, optout=optout, noloop=noloop,
            prefixes=dict.fromkeys(wanted),
        )  # fmt: skip
        self._tracking[client.id] = client
        for prefix in client.tracking.prefixes:
            self._prefixes.setdefault(prefix, {})[client] = None
        self._prefix_lengths = sorted({len(prefix) for prefix in self._prefixes})

    def drop(self, client: Client) -> None:
        """Turn tracking off; also for a client that goes, and safe to call twice."""
        tracking: Tracking | None = client.tracking
        if tracking is None:
            return
        client.tracking = None
        del self._tracking[client.id]
        for prefix in tracking.prefixes:
            listeners = self._prefixes[prefix]
            del listeners[client]
            if not listeners:
                del self._prefixes[prefix]
        self._prefix_lengths = sorted({len(prefix) for prefix in self._prefixes})
        if not self._tracking:
            self._forget_all()

    # Reads.

    def after(self, client: Client, spec: CommandSpec, argv: Argv) -> None:
        """A command of a client with tracking has been executed and answered: take note of the keys it read.

        CLIENT CACHING holds for one command; for a whole transaction when that command is MULTI.
        """
        tracking: Tracking | None = client.tracking
        if tracking is None:
            return
        self.remember(client, spec, argv)
        if tracking.caching and client.multi is None and not spec.name.startswith("client|"):
            tracking.caching = False

    def remember(self, client: Client, spec: CommandSpec, argv: Argv, caching: bool | None = None) -> None:
        """Take note of the keys read by one command, which may be one of a transaction.

        `caching`: whether CLIENT CACHING was said for it; None: as it is at the moment.
        """
        tracking: Tracking | None = client.tracking
        if tracking is None or tracking.bcast or "readonly" not in spec.flags:
            return
        if caching is None:
            caching = tracking.caching
        if (tracking.optin and not caching) or (tracking.optout and caching):
            return
        try:
            keys = [key for key, flags in spec.keys_of(argv) if "not_key" not in flags]
        except CommandError:
            return  # the request was refused for the same reason: it has read nothing
        for key in keys:
            self._hold(client.id, key)
        self._bound()
        if self._trash:
            self.release(RELEASE_PER_READ)

    def _hold(self, identity: int, key: bytes) -> None:
        ids = self._holders.get(key)
        if ids is None:
            self._holders[key] = identity
            self._holders_bytes += len(key) + KEY_OVERHEAD_BYTES
            self._items += 1
        elif isinstance(ids, int):
            if ids != identity:
                self._holders[key] = {ids, identity}
                self._items += 1
        elif identity not in ids:
            self._items -= len(ids)
            ids.add(identity)
            if len(ids) > 2 * len(self._tracking) + STALE_IDS_SPARED:
                ids.intersection_update(self._tracking)
            self._items += len(ids)

    def _bound(self) -> None:
        """Give up the oldest keys beyond the limits: a client told too much loses speed, not truth."""
        most = self._settings.tracking_table_max_keys or len(self._holders)
        while len(self._holders) > most or self._holders_bytes > TRACKING_KEYS_BYTES_MAX:
            self._invalidate_key(next(iter(self._holders)), None)

    # Writes.

    def invalidate(self, touched: Sequence[Touched], writer: Client | None, *, block: bool = False) -> None:
        """Tell everybody concerned that these keys have changed; `writer` is the client that did it.

        `block`: in a transaction, where it may have read them before its writes or after.
        """
        if not self._tracking:
            return
        flushed = False
        changed: dict[bytes, dict[bytes, None]] = {}  # prefix -> keys
        for _, key in touched:
            if key is None:
                flushed = True
                continue
            self._invalidate_key(key, writer, block=block)
            for length in self._prefix_lengths:
                if length <= len(key) and key[:length] in self._prefixes:
                    changed.setdefault(key[:length], {})[key] = None
        for prefix in sorted(changed):
            self._broadcast(prefix, sorted(changed[prefix]), writer)
        if flushed:
            self._forget_all()
            wires = _Wires(None)
            for client in list(self._tracking.values()):
                self._send(client, wires)

    def _invalidate_key(self, key: bytes, writer: Client | None, *, block: bool = False) -> None:
        ids = self._holders.pop(key, None)
        if ids is None:
            return
        self._holders_bytes -= len(key) + KEY_OVERHEAD_BYTES
        self._items -= 1 if isinstance(ids, int) else len(ids)
        wires = _Wires([key])
        for identity in (ids,) if isinstance(ids, int) else sorted(ids):
            client = self._tracking.get(identity)
            if client is None or client.tracking.bcast:
                continue
            if not (client.tracking.noloop and client is writer):
                self._send(client, wires)
            elif block:  # what it read last it may still hold
                self._hold(identity, key)

    def _broadcast(self, prefix: bytes, keys: list[bytes], writer: Client | None) -> None:
        wires = _Wires(keys)
        for client in list(self._prefixes.get(prefix, ())):
            if client.tracking is not None and not (client.tracking.noloop and client is writer):
                self._send(client, wires)

    def _send(self, client: Client, wires: _Wires) -> None:
        tracking: Tracking | None = client.tracking
        if tracking is None:
            return  # closed by an earlier push of the same round
        target: Client | None = client
        if tracking.redirect:
            target = self._clients.get(tracking.redirect)
            if target is None:
                tracking.broken = True
                if client.proto == 3:
                    client.push(Push([b"tracking-redir-broken", tracking.redirect]))
                return
        assert target is not None
        if target.proto == 3:
            target.push_wire(wires.resp3())
        elif tracking.redirect and is_subscriber(target):
            target.push_wire(wires.resp2())
        # Otherwise it is a RESP2 connection by itself, on which Redis, too, has no way to say it.

    def _forget_all(self) -> None:
        if self._holders:
            self._trash.append(self._holders)
        self._holders = {}
        self._holders_bytes = self._items = 0

    def release(self, limit: int) -> bool:
        """Give back the memory of some forgotten keys, at most `limit`; True when nothing is left to give."""
        while self._trash and limit > 0:
            table = self._trash[-1]
            for _ in range(min(limit, len(table))):
                table.popitem()
                limit -= 1
            if not table:
                self._trash.pop()
        return not self._trash


class _Wires:
    """One invalidation, encoded when first needed; None as the keys says: all of them."""

    __slots__ = ("_keys", "_resp2", "_resp3")

    def __init__(self, keys: list[bytes] | None) -> None:
        self._keys = keys
        self._resp2 = self._resp3 = b""

    def resp3(self) -> bytes:
        if not self._resp3:
            self._resp3 = encode(Push([INVALIDATE, self._keys]), 3)
        return self._resp3

    def resp2(self) -> bytes:
        if not self._resp2:
            self._resp2 = encode([b"message", INVALIDATE_CHANNEL, self._keys], 2)
        return self._resp2


def _check_prefixes(new: Sequence[bytes], old: Sequence[bytes]) -> None:
    """A key must match one prefix of a client at most, or it would be told twice."""
    if len(new) + len(old) > TRACKING_PREFIXES_MAX:
        raise CommandError(f"ERR A client can track at most {TRACKING_PREFIXES_MAX} prefixes")
    for at, prefix in enumerate(new):
        for kind, others in (("an existing prefix", old), ("another provided prefix", new[at + 1 :])):
            for other in others:
                if prefix.startswith(other) or other.startswith(prefix):
                    raise CommandError(
                        f"ERR Prefix '{_text(prefix)}' overlaps with {kind} '{_text(other)}'. "
                        "Prefixes for a single client must not overlap."
                    )


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
