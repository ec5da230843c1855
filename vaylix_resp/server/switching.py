"""What a change of leader means to clients: who is sent elsewhere from now on, and +switch-master for subscribers.

Promise: subscribers hear of each leader that this node knows of, once, in order; never of one that no majority
confirmed, as `ClusterView.leader` names none then. That none is known is no event to them: a node that is cut off
cannot say that the leader is down, so there is no +sdown or +odown.
Not here: what clients that are sent elsewhere are told (`commands.redirection`); elections (`raft`).
Source: Redis's Sentinel client specification (+switch-master, `name old-ip old-port new-ip new-port`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..commands.cluster_view import Address, ClusterView, Member
from ..commands.redirection import prefers
from ..observability.logs import get_log

if TYPE_CHECKING:
    from .session import Session
    from .shared import Shared

log = get_log("raft")
SWITCH_MASTER: Final = b"+switch-master"


class Switching:
    """Of one server; does nothing until it is given a view of a cluster."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._elsewhere = False  # another node leads, as far as is known
        self._view: ClusterView | None = None
        self._announced: Address | None = None  # the last leader whose address was known
        shared.settings.subscribe("follower-writes", lambda _: self._refresh())

    def follow(self, view: ClusterView) -> None:
        self._view = view
        view.on_leader.append(self._changed)
        self._changed(None, view.leader)

    def sends_away(self, client: Session) -> bool:
        """Whether requests of this client may have to be answered with where the leader is."""
        return self._elsewhere and prefers(client)

    def _changed(self, before: Member | None, now: Member | None) -> None:
        assert self._view is not None
        elsewhere = now is None or now.id != self._view.id
        if elsewhere != self._elsewhere:
            self._elsewhere = elsewhere
            self._refresh()
        if now is None or now.client is None or now.client == self._announced:
            return
        old, self._announced = self._announced, now.client
        log.notice(f"the leader is {now.name or now.hex_id} at {now.client.host}:{now.client.port}")
        if old is not None:
            name = self._shared.settings.sentinel_master_name
            text = f"{name} {old.host} {old.port} {now.client.host} {now.client.port}"
            self._shared.pubsub.publish(SWITCH_MASTER, text.encode("utf-8", "surrogateescape"))

    def _refresh(self) -> None:
        for client in self._shared.clients:
            client.refresh()
