"""Founding over real connections: visits every node of the list, tells and hears words, says what it waits for.

After the group is founded it goes on answering: a node that was not there at the last word, and one that comes later
with an empty directory, are told how things stand.
Not here: the rules (`founding`), what happens then (`engine`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..config_cluster import PeerAddress
from ..observability.logs import get_log
from .channel import Channel
from .codec import Message
from .dialer import Dialer, Target
from .founding import Founding
from .hello import Purpose
from .messages import Found, Founder

log = get_log("peers")

Visit = Callable[[Target, Purpose, str], Dialer]


class Foundry:
    """Of one node. The driver passes it every guest that comes for FOUND (`Events.on_guest`)."""

    def __init__(self, founding: Founding, peers: tuple[PeerAddress, ...], visit: Visit) -> None:
        self._founding, self._peers, self._visit = founding, peers, visit
        self._dialers: list[Dialer] = []
        self._guests: dict[Channel, None] = {}
        self._founded = asyncio.Event()
        self._told_faults: dict[str, str] = {}
        self._told_missing: list[str] = []

    async def run(self) -> None:
        """Until the group is founded. Cancel it to give up."""
        if self._founding.founded:
            return
        for one in self._peers:
            if one.name != self._founding.me.name:
                self._dialers.append(self._visit(Target(one.host, one.port, one.name), Purpose.FOUND, one.name))
        self._report()
        await self._founded.wait()
        log.notice("the cluster is founded", cluster=self._founding.cluster.hex())

    def close(self) -> None:
        """Visit nobody any more; not before the others have had time to hear that it is founded."""
        for dialer in self._dialers:
            dialer.close()
        self._dialers.clear()

    def on_guest(self, guest: Channel, message: Message | None) -> None:
        if guest.purpose is not Purpose.FOUND:
            return
        if message is None:
            self._guests = {one: None for one in self._guests if one.is_open}
            self._guests[guest] = None
            guest.send(self._founding.word())
            return
        peer = guest.peer
        if not isinstance(message, Found) or peer is None:
            return
        if self._founding.hear(Founder(peer.name, peer.node, peer.store), message):
            for one in self._guests:
                one.send(self._founding.word())
        self._report()
        if self._founding.founded:
            self._founded.set()

    def _report(self) -> None:
        founding = self._founding
        if founding.faults != self._told_faults:
            for name, fault in founding.faults.items():
                if self._told_faults.get(name) != fault:
                    log.warning(f"the cluster is not founded: {fault}")
            self._told_faults = dict(founding.faults)
        if founding.missing != self._told_missing:
            self._told_missing = founding.missing
            if self._told_missing:
                waiting = ", ".join(self._told_missing)
                log.notice("a new cluster waits for its nodes", stage=founding.kept.stage.name.lower(), nodes=waiting)
