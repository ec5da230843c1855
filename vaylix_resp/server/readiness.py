"""Is this node fit to serve clients, and if not, why? One table of reasons, for /readyz, metrics and whoever asks.

Promise: "not ready" means that clients are better served by another node, or have to wait; each reason says what is
wrong in words that name what to look at. Not here: whether the process lives (`http.probes`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import printable

if TYPE_CHECKING:
    from .shared import Shared

SYNC_S: Final = 5.0  # an fsync that takes longer is a disk that does not answer; a busy one needs a second at most
CAUGHT_UP_S: Final = 10.0  # how old what a follower has applied may be; a healthy one is below a second


class Check(NamedTuple):
    name: str
    ok: bool
    detail: str = ""  # what is wrong; "" if nothing is


def _log(server: Shared) -> str:
    failure = server.node.failure
    return f"the log has failed ({failure}): no write is taken until a restart on a healthy disk" if failure else ""


def _disk(server: Shared) -> str:
    return "the disk is full: writes are refused until there is room" if server.node.full else ""


def _sync(server: Shared) -> str:
    since = server.node.syncing_since
    took_s = server.clock.now() - since if since is not None else 0.0
    return f"an fsync has been under way for {took_s:.0f} s: writes wait for the disk" if took_s > SYNC_S else ""


def _membership(server: Shared) -> str:
    view = server.cluster
    if view is None or any(member.id == view.id for member in view.members):
        return ""
    if view.removed:
        return "this node is no member of its cluster any more"
    return "this node has joined a cluster, and still lacks what was written there before"


def _leader(server: Shared) -> str:
    view = server.cluster
    known = view is None or view.leader is not None
    return "" if known else "no leader is known: a majority of the nodes has not been heard lately"


def _data(server: Shared) -> str:
    view = server.cluster
    stopped = view.stopped if view is not None else None
    return f"this node serves nobody: {stopped.text}" if stopped is not None else ""


def _caught_up(server: Shared) -> str:
    view = server.cluster
    if view is None:
        return ""
    age_s = view.staleness_s
    if age_s is None:
        return "it is not known yet how far this node is behind its leader"
    return "" if age_s <= CAUGHT_UP_S else f"what is applied here is up to {age_s:.0f} s old"


def _maintenance(server: Shared) -> str:
    mode = server.machine.world.maintenance
    if not mode.on:
        return ""
    said = printable(mode.message, len(mode.message)) if mode.message else "no message"
    return f"maintenance mode is on ({said}): writes are refused until MAINTENANCE OFF"


CHECKS: Final[dict[str, Callable[[Shared], str]]] = {
    "log": _log,
    "disk": _disk,
    "sync": _sync,
    "membership": _membership,
    "leader": _leader,
    "data": _data,
    "caught-up": _caught_up,
    "maintenance": _maintenance,
}


def checks_of(server: Shared) -> Iterable[Check]:
    """Every row of the table, in its order."""
    for name, check in CHECKS.items():
        wrong = check(server)
        yield Check(name, not wrong, wrong)
