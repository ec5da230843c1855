"""What the log needs besides batches: the fsync of every second, spare segments ahead of need, space coming back.

Runs blocking file calls on threads, never on the loop. Promise: a disk that is filling up is noticed while the log
still has room, and writes are refused and taken again without anybody's help.
Not here: group commit, snapshots.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ..observability.logs import get_log
from ..storage.errors import DiskFull, WalFailed
from .node import Engine

log = get_log("server")

SYNC_PERIOD_S: Final = 1.0  # appendfsync everysec; also how often a full disk is asked whether it is still full
SPARE_PERIOD_S: Final = 0.1
SPARE_PAUSE_S: Final = 0.002  # between pieces of a spare segment: its writes must not queue before a batch's
FULL: Final = (
    "THE DISK IS FULL: this node writes nothing down, neither for clients nor for other nodes, until there is room on "
    "the file system of its data directory; nothing is lost, and a server that stands alone goes on with reads"
)


class LogKeeper:
    """One background job per node. `run` ends only when it is cancelled."""

    def __init__(self, node: Engine[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._node = node
        self._loop = loop
        self._hurry = threading.Event()
        self._known_full = False  # as the log of messages has it

    def hurry(self) -> None:
        """The server is stopping: a spare that is being made is finished without pauses."""
        self._hurry.set()

    async def run(self) -> None:
        # Not a TaskGroup: a Halt has to come out as it is, for its exit code and its one line.
        await asyncio.gather(
            self._repeat(SYNC_PERIOD_S, self.sync),
            self._repeat(SPARE_PERIOD_S, self.prepare),
            self._repeat(SYNC_PERIOD_S, self.probe),
        )

    async def _repeat(self, period_s: float, job: Callable[[], Awaitable[None]]) -> None:
        node = self._node
        while True:
            await asyncio.sleep(period_s)
            if node.failure is None:
                try:
                    await job()
                except WalFailed as failure:
                    node.log_failed(str(failure))
                    node.halt_if_asked()

    async def sync(self) -> None:
        """With appendfsync everysec, make durable what was written; a job of its own, because others take long."""
        if self._node.appendfsync == "everysec":
            await self._loop.run_in_executor(None, self._node.sync)
            self._node.stages.look_at_sync()

    async def prepare(self) -> None:
        """One more spare if there is need of one. With the last spare gone and no room for another, writes stop."""
        node, wal = self._node, self._node.wal
        if node.full or not wal.wants_spare:
            return
        try:
            await self._loop.run_in_executor(None, wal.prepare_spare, self._pause)
        except DiskFull:
            if not wal.spares_ready:
                node.out_of_space()

    async def probe(self) -> None:
        """While the disk is full: is there room again?

        It is not said before writes have been taken for a while: there may be room for a probe, and none for them."""
        node = self._node
        if node.full != self._known_full:
            self._known_full = node.full
            if node.full:
                log.warning(FULL)
            else:
                log.notice("the disk has room again: writes are taken")
        if node.full and await self._loop.run_in_executor(None, node.wal.probe_space):
            node.space_is_back()

    def _pause(self) -> None:
        self._hurry.wait(SPARE_PAUSE_S)
