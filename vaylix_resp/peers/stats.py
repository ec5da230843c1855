"""What is counted of the connections to one other node, for INFO raft and `cluster status`.

Units: bytes; seconds on the loop's clock. Not here: who counts (`channel`, `link`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class PeerStats:
    """Of one peer, since this process began; all its connections together."""

    connected: bool = False  # our connection for messages is open: what is sent has a chance
    heard_at: float = -1.0  # any byte from it; -1: never
    bytes_in: int = 0
    bytes_out: int = 0
    frames_in: int = 0
    frames_out: int = 0
    dropped: int = 0  # messages that found no room or no connection
    connects: int = 0  # of our connection for messages; all but the first are reconnects
    queue_bytes: int = 0  # waiting for it
    rtt_s: float = -1.0  # of the last Ping; -1: none so far
    failure: str = ""  # why the last attempt or connection ended; "" while connected
    version: int = 0  # of the protocol that is spoken with it

    def silence_s(self, now: float) -> float:
        """How long nothing was heard; -1: never heard of."""
        return now - self.heard_at if self.heard_at >= 0 else -1.0
