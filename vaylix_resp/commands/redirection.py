"""Sending clients to the leader: who prefers that to being served here, and what they are told.

With `cluster-enabled emulate`, a cluster client gets -MOVED for whatever names a key; a client that has said READONLY
only for writes. Which clients those are shows in what they ask for (`follows_moved`: CLUSTER SLOTS, SHARDS, NODES,
READONLY, READWRITE, ASKING); with `follower-writes redirect` as well it is all of them. A client that has said CLIENT
CAPA redirect gets Valkey's -REDIRECT, if `follower-writes redirect`. Everybody else is served by any node.
Promise: what is refused here has not happened; nobody is sent to a leader that no majority has confirmed lately.
Not here: when this is asked (`server.gate`), what a node does with the requests it takes (`engine.replication`).
Source: the Redis Cluster specification, MOVED redirection; Valkey's CLIENT CAPA.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Iterable
from typing import Final

from ..errors import CommandError
from .cluster_facts import NO_LEADER, emulates, show
from .ports import Client
from .spec import Argv, CommandSpec, Kind

SLOTS: Final = 16384
CODES: Final = frozenset({"MOVED", "REDIRECT", "CLUSTERDOWN"})  # of the errors that `refusal` gives


def slot_of(key: bytes) -> int:
    """CRC-16 (XMODEM) of the key, or of what stands in its first braces when that is not empty."""
    opening = key.find(b"{")
    if opening >= 0:
        closing = key.find(b"}", opening + 1)
        if closing > opening + 1:
            key = key[opening + 1 : closing]
    return crc_hqx(key, 0) % SLOTS


def prefers(client: Client) -> bool:
    """Whether this client is to be sent to the leader when that is another node."""
    settings = client.server.settings
    redirects = settings.follower_writes == "redirect"
    if client.capa_redirect and redirects:
        return True
    return emulates(settings) and (redirects or client.follows_moved)


def refusal(client: Client, spec: CommandSpec, argv: Argv) -> CommandError | None:
    """What a client that `prefers` it is told instead of being served; None: it is served all the same."""
    requests = _requests(client, spec, argv)
    writes = any(one.kind is Kind.WRITE for one, _ in requests)
    if not (writes or (requests and not client.readonly)):
        return None
    view = client.server.cluster
    if view is None:
        return None
    leader = view.leader
    if leader is not None and (leader.id == view.id or leader.client is None):
        return None
    if client.capa_redirect and client.server.settings.follower_writes == "redirect":
        return CommandError(f"REDIRECT {show(leader.client)}") if leader is not None else None
    slot = _first_slot(requests)
    if slot is None:
        return None  # nothing in it says where it belongs
    if leader is None:
        return CommandError(NO_LEADER)
    return CommandError(f"MOVED {slot} {show(leader.client)}")


def _requests(client: Client, spec: CommandSpec, argv: Argv) -> list[tuple[CommandSpec, Argv]]:
    """What of a request has to do with data: itself, or what it executes. WATCH belongs to the EXEC that follows."""
    if spec.name == "exec":
        block = [] if client.multi is None else client.multi.requests
        return [(queued, words) for queued, words, _ in block if queued.kind is not Kind.SESSION]
    return [(spec, argv)] if spec.kind is not Kind.SESSION or spec.name == "watch" else []


def _first_slot(requests: Iterable[tuple[CommandSpec, Argv]]) -> int | None:
    for spec, argv in requests:
        try:
            keys = spec.keys_of(argv)
        except CommandError:
            continue  # the command itself says what is wrong with it
        if keys:
            return slot_of(keys[0][0])
    return None
