"""What the log needs besides batches: spare segments ahead of need, the fsync of every second, space coming back.

Runs blocking file calls on threads, never on the loop. Promise: a disk that is filling up is noticed while the log
still has room, and writes are refused and taken again without anybody's help.
Not here: group commit, snapshots.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from ..config import Settings
from ..storage.errors import DiskFull, WalFailed
from .node import Node

PERIOD_S: Final = 0.1
SYNC_PERIODS: Final = 10  # appendfsync everysec
PROBE_PERIODS: Final = 10  # how often a full disk is asked whether it is still full
SPARE_PAUSE_S: Final = 0.002  # between pieces of a spare segment: its writes must not queue before a batch's


class LogKeeper:
    """One background job per node."""

    def __init__(self, node: Node, loop: asyncio.AbstractEventLoop, settings: Settings) -> None:
        self._node = node
        self._loop = loop
        self._settings = settings
        self._turn = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            self._turn += 1
            node = self._node
            if node.failure is not None:
                continue
            try:
                if node.appendfsync == "everysec" and self._turn % SYNC_PERIODS == 0:
                    await self._loop.run_in_executor(None, node.sync)
                if not node.full:
                    await self._prepare()
                elif self._turn % PROBE_PERIODS == 0:
                    await self._probe()
            except WalFailed as failure:
                node.log_failed(str(failure))
                node.halt_if_asked()

    async def _prepare(self) -> None:
        """One more spare if there is need of one. With the last spare gone and no room for another, writes stop."""
        wal = self._node.wal
        try:
            await self._loop.run_in_executor(None, wal.prepare_spare, _pause)
        except DiskFull:
            if not wal.spares_ready:
                self._node.out_of_space()

    async def _probe(self) -> None:
        if await self._loop.run_in_executor(None, self._node.wal.probe_space):
            self._node.space_is_back()


def _pause() -> None:
    time.sleep(SPARE_PAUSE_S)


