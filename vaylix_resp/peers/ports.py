"""What the connections to other nodes are given, and whom they tell: trust, times, the driver's ears.

Units: seconds. Not here: the connections (`link`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..config_cluster import is_loopback
from ..errors import EX_CONFIG, Refused
from .channel import Channel
from .codec import Message
from .messages import Member
from .stats import PeerStats
from .tls import ClusterTls


class Untrusted(Refused):
    """The port would be open to everybody."""

    exit_code = EX_CONFIG


@dataclass(frozen=True, slots=True)
class Trust:
    """What keeps strangers out: the key of a secret (`hello.secret_key`; b"": none), TLS, or nothing at all."""

    key: bytes = field(default=b"", repr=False)
    tls: ClusterTls | None = None
    insecure: bool = False

    def check(self, host: str) -> None:
        if not (self.key or self.tls or self.insecure or is_loopback(host)):
            raise Untrusted(f"raft-bind {host}: set cluster-secret or tls-cluster, or cluster-insecure yes")


@dataclass(frozen=True, slots=True)
class Timing:
    heartbeat_s: float = 0.1  # between two Pings
    silence_s: float = 2.0  # of twenty of them: the connection is dead, and a new one gets through sooner
    handshake_s: float = 5.0
    attempt_s: float = 2.0


class Events(Protocol):
    """What the driver hears. None of these may raise."""

    def on_message(self, node: int, message: Message) -> None:
        """From a member; in order within a connection."""

    def on_connected(self, node: int) -> None:
        """There is a way to it, or a new one: `send` has a chance, and what went the old way may be lost."""

    def on_unreachable(self, node: int) -> None:
        """Messages of Raft to it were lost, or may have been."""

    def on_gone(self, node: int) -> None:
        """No connection with it is left, and it takes no new one: its process has most likely ended."""

    def on_guest(self, guest: Channel, message: Message | None) -> None:
        """From a node that is no member; None: it has come in, or we have reached it."""


class Network(Protocol):
    """What a driver needs of its connections; `link.Peers` is one, and so is a simulated network."""

    def send(self, node: int, message: Message) -> bool:
        """False: it is certain that it will never arrive."""

    def set_members(self, members: Iterable[Member], retired: Iterable[int] = ()) -> None: ...

    def is_connected(self, node: int) -> bool: ...

    def queue_bytes(self, node: int, *, large: bool = False) -> int: ...

    def status(self) -> Mapping[int, PeerStats]: ...
