"""Who watches which keys (WATCH), and who has to be told that one has changed.

A watcher whose key changed is marked `dirty`, which makes its EXEC fail at once; the verdict itself is the log's
(`commands.transactions`: versions are compared again where the block is applied). Not here: when a client stops to
watch (`shared`, `commands.transactions`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..commands.ports import Client
from ..state.machine import World


class Watchers:
    """The places watched, each with its clients; false while there are none."""

    __slots__ = ("_of", "_world")

    def __init__(self, world: World) -> None:
        self._world = world
        self._of: dict[tuple[int, bytes], set[Client]] = {}

    def __bool__(self) -> bool:
        return bool(self._of)

    def __contains__(self, client: Client) -> bool:
        return any(client in group for group in self._of.values())

    def add(self, client: Client, db: int, key: bytes) -> None:
        self._of.setdefault((db, key), set()).add(client)

    def drop(self, client: Client) -> None:
        """Forget a client at every place that it says it watches."""
        for place in client.watched:
            watchers = self._of.get(place)
            if watchers is not None:
                watchers.discard(client)
                if not watchers:
                    del self._of[place]

    def mark(self, touched: Sequence[tuple[int, bytes | None]]) -> None:
        """`touched`: (database, key) of what the last entries changed; None for a whole database."""
        views = self._world.views
        times = Counter(touched)
        for place, count in times.items():
            db, key = place
            if key is not None and place in self._of:
                # Of a key that was not visible when it was watched, having expired, only the remains have gone
                # (if it is not that it was written and then flushed).
                remains = count == 1 and (db, None) not in times and not views[db].exists(key)
                for client in self._of[place]:
                    client.dirty |= not (remains and client.watched[place] == 0)
        # A whole database went or was exchanged: whoever watches a key in it that is another one now.
        whole = {db for db, key in times if key is None}
        if whole:
            for place, clients in self._of.items():
                if place[0] in whole:
                    version = views[place[0]].version(place[1])
                    for client in clients:
                        client.dirty |= client.watched[place] != version
