"""How a node comes into a cluster that exists: it asks members until the leader has taken it in.

It visits every address that it was given, follows the word of those who know the leader better, and asks again what may
pass by itself. Who is asked twice takes it in once, so nothing is lost by asking.
Promise: it is done only when a leader says that the membership with this node in it is committed.
Units: seconds. Not here: the other side (`admission`), what the node does with the answer (`app_cluster`).
Source: Raft (Ongaro, 2014), 4.2.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from ...commands.cluster_view import Address
from ...config_cluster import host_and_port, split_address
from ...config_values import BadValue
from ...observability.logs import get_log
from ...peers.channel import Channel
from ...peers.codec import Message
from ...peers.dialer import Dialer, Target
from ...peers.hello import CLUSTER_BYTES, Purpose
from ...peers.messages import JoinReply, JoinRequest, Member

log = get_log("raft")

# Codes of a JoinReply; "" means: taken in.
LEADER, AGAIN, NO, TOO_OLD = "LEADER", "AGAIN", "NO", "TOO_OLD"
AGAIN_S: Final = 0.5
TARGETS_MAX: Final = 32  # of addresses that are visited, given or named by members

Visit = Callable[[Target, Purpose, str, Callable[[str], None]], Dialer]


@dataclass(frozen=True, slots=True)
class Joined:
    """This node is a learner of the cluster, and that is committed."""

    cluster: bytes
    members: tuple[Member, ...]


class NotJoined(Exception):
    """Why the node was not taken in."""


class Outdated(NotJoined):
    """Not with this software, however often it asks."""


class Joiner:
    """One attempt. With `patient` a refusal is reported and asked again, else it ends the attempt."""

    def __init__(self, request: JoinRequest, visit: Visit, *, patient: bool) -> None:
        self._request, self._visit, self._patient = request, visit, patient
        self._loop = asyncio.get_running_loop()
        self._dialers: dict[Address, Dialer] = {}
        self._timers: dict[Channel, asyncio.TimerHandle] = {}
        self._done: asyncio.Future[Joined] = self._loop.create_future()
        self._said = ""
        self.last = "nobody answers at the given addresses"  # why it is not done

    def add(self, addresses: Iterable[Address]) -> None:
        for address in addresses:
            if address not in self._dialers and len(self._dialers) < TARGETS_MAX:
                target = Target(address.host, address.port, host_and_port(address.host, address.port))
                self._dialers[address] = self._visit(target, Purpose.JOIN, "", self._failed)

    async def run(self, timeout_s: float | None = None) -> Joined:
        """Raises NotJoined."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._done
        except TimeoutError:
            raise NotJoined(self.last) from None
        finally:
            self.close()

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for dialer in self._dialers.values():
            dialer.close()

    def on_guest(self, guest: Channel, message: Message | None) -> None:
        if guest.purpose is not Purpose.JOIN or not guest.dialed or not self._ours(guest) or self._done.done():
            return
        if message is None:
            guest.send(self._request)
        elif isinstance(message, JoinReply):
            self._answered(guest, message)

    def _ours(self, guest: Channel) -> bool:
        return any(dialer.channel is guest for dialer in self._dialers.values())

    def _answered(self, guest: Channel, reply: JoinReply) -> None:
        if not reply.code and len(reply.cluster) == CLUSTER_BYTES:
            self._done.set_result(Joined(reply.cluster, reply.members))
            return
        if reply.code == TOO_OLD:
            self._done.set_exception(Outdated(reply.text))
            return
        if reply.code == LEADER:
            self._follow(reply.text)
        else:
            self._failed(reply.text or "an answer that names no cluster")
            if reply.code == NO and not self._patient:
                self._done.set_exception(NotJoined(reply.text))
                return
        self._timers[guest] = self._loop.call_later(AGAIN_S, self._ask_again, guest)

    def _follow(self, where: str) -> None:
        try:
            self.add([address_of(where)])
        except BadValue:
            self._failed(f"the address of the leader, {where}, makes no sense")

    def _ask_again(self, guest: Channel) -> None:
        self._timers.pop(guest, None)
        if guest.is_open and not self._done.done():
            guest.send(self._request)

    def _failed(self, why: str) -> None:
        self.last = why
        if self._patient and why != self._said:
            self._said = why
            log.warning(f"this node has not joined a cluster yet: {why}; it goes on trying")


def address_of(text: str) -> Address:
    """host:port. Raises BadValue."""
    return Address(*split_address(text))
