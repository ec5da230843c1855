"""All connections with one other node.

Messages to it go over the connection that we have dialed; while there is none, over one that it has dialed. So a node
that has been away for so long that it does not know the new leader can answer it, and so can one that cannot reach the
others by itself (NAT, a firewall that works one way).
Not here: when to dial, what to send (`link`).
"""

from __future__ import annotations

from dataclasses import dataclass

from .channel import Channel
from .dialer import Dialer
from .hello import Purpose
from .messages import Member
from .stats import PeerStats


@dataclass(slots=True)
class Wanted:
    """Who a dialed connection should lead to."""

    name: str
    host: str
    node: int = 0  # 0: whoever bears the name
    dialer: Dialer | None = None


class Party:
    """`member` None: it has proven to be of our cluster, but the log has not told us of it yet."""

    __slots__ = ("behind", "dialers", "incoming", "member", "name", "stats")

    def __init__(self) -> None:
        self.member: Member | None = None
        self.name = "?"
        self.stats = PeerStats()
        self.dialers: dict[Purpose, Dialer] = {}
        self.incoming: dict[Purpose, Channel] = {}
        self.behind = 0  # the Ping whose Pong says that the last large append has arrived; 0: none is under way

    def channel(self, purpose: Purpose) -> Channel | None:
        """To send on; None: there is no way."""
        dialer = self.dialers.get(purpose)
        if dialer is not None and dialer.channel is not None and dialer.channel.is_open:
            return dialer.channel
        return self.incoming.get(purpose)

    def channels(self) -> list[Channel]:
        dialed = [dialer.channel for dialer in self.dialers.values() if dialer.channel is not None]
        return [*dialed, *self.incoming.values()]
