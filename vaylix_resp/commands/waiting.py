"""WAIT and WAITAOF: on how many nodes this client's writes are.

A reply to a write in a cluster already means that a majority has it on disk, so so many are counted at once; to see
more, the leader is asked what each follower has acknowledged, for as long as it leads: then those who wait hear
-UNBLOCKED. Alone, a server has no replicas, and says so.
Promise: a number that is answered is never more than what is so.
Units: milliseconds in requests, seconds inside; sequences.
Not here: how acknowledgements are counted (`engine.replication`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..errors import CommandError, error
from ..resp.reply import Reply
from .arguments import INT64_MAX, bounded, integer
from .cluster_facts import facts_for, leads, show
from .cluster_view import ClusterView
from .ports import Client, Later
from .spec import Argv, Kind, command

DURABLE_POLL_S: Final = 0.01  # how often WAITAOF looks; with everysec the log is synced once a second
ASK_THE_LEADER: Final = "ERR this node knows of a majority only; to wait for more nodes, ask the leader"


def _timeout_ms(raw: bytes) -> int:
    timeout = integer(raw, "ERR timeout is not an integer or out of range")
    if timeout < 0:
        raise error("timeout is negative")
    return timeout


@command(
    "WAIT", arity=3, kind=Kind.SESSION, flags="noscript", group="generic", since="3.0.0",
    categories="connection -keyspace", syntax="numreplicas timeout",
    tips=("request_policy:all_shards", "response_policy:agg_min"),
)  # fmt: skip
def wait(client: Client, argv: Argv) -> Reply:
    """How many other nodes have this client's writes on disk, when that is enough or the time is over."""
    wanted, timeout_ms = integer(argv[1]), _timeout_ms(argv[2])
    view = client.server.cluster
    if view is not None:
        return _replicas(client, view, wanted, timeout_ms, lambda count: count)
    return 0 if wanted <= 0 else _wait_in_vain(client, timeout_ms, 0)


@command(
    "WAITAOF", arity=4, kind=Kind.SESSION, flags="noscript", group="generic", since="7.2.0",
    categories="connection -keyspace", syntax="numlocal numreplicas timeout",
    tips=("request_policy:all_shards", "response_policy:agg_min"),
)  # fmt: skip
def waitaof(client: Client, argv: Argv) -> Reply:
    """Whether this client's writes are on disk: here (1 or 0), and on how many other nodes."""
    local = bounded(argv[1], 0, 1, "ERR value is out of range, value must between 0 and 1")
    replicas = bounded(argv[2], 0, INT64_MAX, "ERR value is out of range, must be positive")
    timeout_ms = _timeout_ms(argv[3])
    sequence = client.server.node.applied  # this runs behind the session's own writes, so they are in it
    view = client.server.cluster
    if view is not None:  # of a cluster's log, nothing is applied here that is not on this disk
        return _replicas(client, view, replicas, timeout_ms, lambda count: [_durable(client, sequence), count])
    if replicas == 0 and (not local or _durable(client, sequence)):
        return [_durable(client, sequence), 0]
    deadline = client.server.clock.now() + timeout_ms / 1000 if timeout_ms else None
    return _DiskWait(client, sequence, deadline, enough=replicas == 0).later


def _replicas(client: Client, view: ClusterView, wanted: int, timeout_ms: int, reply: Callable[[int], Reply]) -> Reply:
    """`reply` of how many other nodes have what is applied here."""
    sequence = view.applied
    certain = _certain(client)

    def known() -> int:
        return max(certain, view.acknowledged(sequence))

    if known() >= wanted:
        return reply(known())
    if not leads(client.server):
        leader = view.leader
        where = f" at {show(leader.client)}" if leader is not None and leader.client is not None else ""
        raise CommandError(ASK_THE_LEADER + where)
    counted = view.wait_acknowledged(sequence, wanted, timeout_ms / 1000)
    later = Later(on_cancel=counted.cancel, blocking=True, timeout_reply=reply(known()))
    counted.listen(
        lambda count: later.resolve(count if isinstance(count, CommandError) else reply(max(certain, count)))
    )
    return later


def _certain(client: Client) -> int:
    """How many other nodes are sure to have what is applied here, whoever leads.

    A majority but for one; but what was applied last may have been committed by the membership before the present one,
    which had a voter more or less, and the one that it had more may be gone. So this is the least of the three.
    """
    return max(0, facts_for(client).voters - 1) // 2


def _wait_in_vain(client: Client, timeout_ms: int, reply: Reply) -> Reply:
    """`reply` after the time the client is willing to wait; for ever with 0. (A transaction does not wait.)"""
    later = Later(blocking=True, timeout_reply=reply)
    if timeout_ms:
        timer = client.server.call_later(timeout_ms / 1000, lambda: later.resolve(reply))
        later.on_cancel = timer.cancel
    return later


def _durable(client: Client, sequence: int) -> int:
    return int(client.server.node.wal.durable >= sequence)


class _DiskWait:
    """Looks every DURABLE_POLL_S whether `sequence` is on disk; answers [1, 0] then, if that is `enough`.

    Otherwise, or when `deadline` (monotonic seconds) comes first, the answer is what holds at that moment.
    """

    def __init__(self, client: Client, sequence: int, deadline: float | None, *, enough: bool) -> None:
        self._client, self._sequence, self._deadline, self._enough = client, sequence, deadline, enough
        self.later = Later(on_cancel=self._stop, blocking=True)
        self._look()

    def _look(self) -> None:
        server = self._client.server
        local = _durable(self._client, self._sequence)
        self.later.timeout_reply = [local, 0]
        if (local and self._enough) or (self._deadline is not None and server.clock.now() >= self._deadline):
            self.later.resolve([local, 0])
        elif not self.later.done:
            self._timer = server.call_later(DURABLE_POLL_S, self._look)

    def _stop(self) -> None:
        self._timer.cancel()
