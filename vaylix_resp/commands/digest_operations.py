"""Entries by which nodes compare what they hold: a place in the log to do it at, and what came of it.

    @digest mark number                        each node digests the slice that it was told of under that number
    @digest differ sequence subject node-id*   these nodes' slice was not that of the others

`mark` changes nothing. `differ` holds for good, as a part of the state: who is named serves no client any more, now and
after every start, until it has been removed.
Not here: who is told of slices and who compares them (`engine.replication.digesting`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from ..resp.reply import OK
from ..state.nodes import Difference
from ..state.views import WriteTx
from .spec import Argv

DIGEST: Final = b"@digest"
MARK: Final = b"mark"
DIFFER: Final = b"differ"


def mark(number: int) -> tuple[bytes, ...]:
    return DIGEST, MARK, b"%d" % number


def differ(sequence: int, subject: str, nodes: Iterable[int]) -> tuple[bytes, ...]:
    return DIGEST, DIFFER, b"%d" % sequence, subject.encode(), *(b"%d" % node for node in sorted(nodes))


def _digest(tx: WriteTx, argv: Argv) -> Any:
    if argv[1] == MARK:
        tx.world.on_mark(int(argv[2]))
    else:
        assert argv[1] == DIFFER, argv[1]
        difference = Difference(int(argv[2]), bytes(argv[3]))
        tx.world.nodes.differs([int(node) for node in argv[4:]], difference)
    return OK


OPERATIONS: Final = {DIGEST: _digest}
