"""What a server hears from other nodes, from the moment its raft port is open: to its driver, or before there is one to
whoever founds or joins. Promise: nothing is kept; what nobody can take yet comes again.
Not here: the connections (`peers.link`), what is made of it (`engine.replication.driver`, `app_joining`).
"""

from __future__ import annotations

from .app_joining import Entry
from .engine.replication.driver import Driver
from .peers.channel import Channel
from .peers.codec import Message


class Ears:
    """`peers.ports.Events` from before there is a driver."""

    def __init__(self) -> None:
        self.driver: Driver | None = None
        self.entry: Entry | None = None

    def on_message(self, node: int, message: Message) -> None:
        if self.driver is not None:
            self.driver.on_message(node, message)

    def on_connected(self, node: int) -> None:
        if self.driver is not None:
            self.driver.on_connected(node)

    def on_unreachable(self, node: int) -> None:
        if self.driver is not None:
            self.driver.on_unreachable(node)

    def on_gone(self, node: int) -> None:
        if self.driver is not None:
            self.driver.on_gone(node)

    def on_guest(self, guest: Channel, message: Message | None) -> None:
        if self.entry is not None:
            self.entry.on_guest(guest, message)
