"""Connections of `sentinel-port`: for clients that look for Sentinels where Sentinels are, and expect nothing else.

Promise: no request that comes in here reads or writes data; names that a Sentinel does not know are unknown.
Not here: SENTINEL itself, which every port answers (`commands.sentinel`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .connection import Connection
from .table import CommandTable

if TYPE_CHECKING:
    from .shared import Shared

# As redis-server in Sentinel mode, without SHUTDOWN and PUBLISH, which would reach further than this door; with RESET
# and QUIT, which client libraries send to any connection of theirs.
SERVED: Final = frozenset(
    """
    acl auth client command hello info ping psubscribe punsubscribe quit reset role sentinel subscribe unsubscribe
    """.split()
)


class SentinelConnection(Connection):
    """As any connection, with fewer commands."""

    __slots__ = ()
    sentinel = True

    def __init__(self, shared: Shared, table: CommandTable) -> None:
        """`table`: that of the server, with SERVED only."""
        super().__init__(shared)
        self.table = table

    def refresh(self) -> None:
        """Never in rows: those look commands up in the whole table."""
        super().refresh()
        self.plain = False
