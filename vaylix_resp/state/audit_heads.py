"""Up to where the audit of each node has been committed, as a part of the state: sequence and hash of a record.

A node is named by the id of its data directory; the state of a restored directory still knows the head of the one it
came from, and has none of its own yet.
Promise: bounded; `dump` and `digest_input` are empty while there is none. Not here: the audit itself (`engine.audit`).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

NODES_MAX: Final = 64  # the one that has been silent longest goes first


class AuditHead(NamedTuple):
    """`at_ms`: by the time of the entry."""

    sequence: int
    hash: bytes
    at_ms: int


class AuditHeads:
    """By the id of the data directory; changed by entries only."""

    __slots__ = ("nodes",)

    def __init__(self) -> None:
        self.nodes: dict[bytes, AuditHead] = {}  # the newest last

    def note(self, node: bytes, sequence: int, digest: bytes, now_ms: int) -> None:
        self.nodes.pop(node, None)
        self.nodes[node] = AuditHead(sequence, digest, now_ms)
        if len(self.nodes) > NODES_MAX:
            del self.nodes[next(iter(self.nodes))]

    def dump(self) -> list[Any]:
        return [[node, *head] for node, head in self.nodes.items()]

    def load(self, dumped: list[Any]) -> None:
        self.nodes = {node: AuditHead(sequence, digest, at_ms) for node, sequence, digest, at_ms in dumped}

    def digest_input(self) -> bytes:
        """What a digest of the state has to cover."""
        return b"".join(
            b"audit%d:%b%d:%b%d;" % (len(node), node, head.sequence, head.hash, head.at_ms)
            for node, head in self.nodes.items()
        )
