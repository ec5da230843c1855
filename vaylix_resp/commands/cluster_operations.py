"""Entries about the group: where a follower's forwarded batch begins, who the members are, what all of them understand.

    @from origin boot term number count      the next `count` operations were forwarded by that node, under that number
    @members cluster-id n (id name host port voter)*n retired-id*      the whole membership from here on
    @version n                               entries that need cluster version n may follow (`state.versions`)

Each takes a sequence, like every operation, and `@from` changes nothing. A node that does not understand version n
stops at `@version n`, so that it never comes to what follows.
Not here: who waits for a forwarded batch (`engine.replication`), how a membership is agreed on (`raft.leader`).
"""

from __future__ import annotations

from typing import Any, Final

from ..resp.reply import OK
from ..state import versions
from ..state.nodes import Nodes
from ..state.views import WriteTx
from .spec import Argv

FROM: Final = b"@from"
MEMBERS: Final = b"@members"
VERSION: Final = b"@version"


def forwarded(origin: int, boot: int, term: int, number: int, count: int) -> tuple[bytes, ...]:
    return FROM, b"%d" % origin, b"%d" % boot, b"%d" % term, b"%d" % number, b"%d" % count


def members(nodes: Nodes) -> tuple[bytes, ...]:
    return MEMBERS, *nodes.words()


def version(number: int) -> tuple[bytes, ...]:
    return VERSION, b"%d" % number


def _from(tx: WriteTx, argv: Argv) -> Any:
    return OK


def _members(tx: WriteTx, argv: Argv) -> Any:
    tx.world.nodes.load(argv[1:])
    return OK


def _version(tx: WriteTx, argv: Argv) -> Any:
    versions.raise_to(tx.world, int(argv[1]))
    return OK


OPERATIONS: Final = {FROM: _from, MEMBERS: _members, VERSION: _version}
