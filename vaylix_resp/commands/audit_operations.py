"""The entry that commits the head of a node's audit.

    @audit head node sequence hash      node: id of its data directory; hash: of that record, both in hex

Promise: a head that the state has is that of a record which was durable before the entry was proposed.
Not here: when it is proposed (`engine.audit.log`), what a start makes of it (`engine.audit.recovery`).
"""

from __future__ import annotations

from typing import Any, Final

from ..resp.reply import OK
from ..state.views import WriteTx
from .spec import Argv

AUDIT: Final = b"@audit"


def head_entry(node: str, sequence: int, digest: str) -> tuple[bytes, ...]:
    return (AUDIT, b"head", node.encode(), b"%d" % sequence, digest.encode())


def apply(tx: WriteTx, argv: Argv) -> Any:
    """The handler of `@audit`."""
    assert argv[1] == b"head", argv[1]
    world = tx.world
    world.audit_heads.note(bytes(argv[2]), int(argv[3]), bytes(argv[4]), world.now_ms)
    return OK


OPERATIONS: Final = {AUDIT: apply}
