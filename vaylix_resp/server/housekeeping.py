"""What happens by the clock: rates, expiry, idle clients, freed memory, snapshots by size, age and `save`.

Promise: no single turn takes longer than about a millisecond, however many keys or clients there are; what is more
waits for the next turn. Not here: the log's own upkeep (`engine.maintenance`).
"""

from __future__ import annotations

import asyncio
import gc
from typing import Final

from ..engine.checkpoint import TRIED_AGAIN, Checkpoint
from ..errors import CommandError, Refused
from ..limits import HOUSEKEEPING_HZ
from ..observability.logs import get_log
from .clock_watch import ClockWatch
from .recent import PERIOD_S as POINT_S
from .shared import Shared

log = get_log("server")

PERIOD_S: Final = 1 / HOUSEKEEPING_HZ
SECOND: Final = HOUSEKEEPING_HZ  # turns
POINT: Final = round(POINT_S * SECOND)
COLLECT: Final = 100  # turns between collections of cyclic garbage among young objects
TIDY: Final = 60 * SECOND  # the window of pitr-window moves on without new snapshots, too
CLIENTS_PER_TURN: Final = 1000
RELEASES_PER_TURN: Final = 20


class Housekeeping:
    """One background job per server."""

    def __init__(self, shared: Shared, checkpoint: Checkpoint) -> None:
        self._shared = shared
        self._checkpoint = checkpoint
        self._expirer = shared.expirer
        self._clock_watch = ClockWatch(shared.clock.wall_ms(), shared.clock.now())
        self._turn = 0
        self._to_check: list[int] = []

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            lay_down = self._shared.clock.now()
            await asyncio.sleep(PERIOD_S)
            self._shared.lateness.turned(self._shared.clock.now() - lay_down - PERIOD_S)
            self._turn += 1
            self._shared.tick()
            self._expire()
            self._check_clients()
            await self._free()
            if self._turn % SECOND == 0:
                self._limit_output()
                self._watch_clock()
                self._snapshot_if_due()
                self._shared.publications.tidy()
            if self._turn % POINT == 0:
                self._shared.recent.take()
            if self._turn % TIDY == 0:
                await self._tidy()
            if self._turn % COLLECT == 0:
                gc.collect(1)

    def _expire(self) -> None:
        began = self._shared.clock.now()
        self._expirer.run(self._expire_more)
        self._shared.lateness.event("expire-cycle", self._shared.clock.now() - began)

    def _expire_more(self) -> None:
        asyncio.get_running_loop().call_soon(self._expire)

    async def _free(self) -> None:
        for _ in range(RELEASES_PER_TURN):
            if not self._shared.collect():
                return
            await asyncio.sleep(0)

    def _check_clients(self) -> None:
        """Each client about once a second, some of them each turn."""
        shared, now = self._shared, self._shared.clock.now()
        if not self._to_check and self._turn % SECOND == 0:
            self._to_check = [client.id for client in shared.clients]
        some, self._to_check = self._to_check[:CLIENTS_PER_TURN], self._to_check[CLIENTS_PER_TURN:]
        for identity in some:
            client = shared.clients.get(identity)
            if client is not None:
                client.check_limits(now)

    def _limit_output(self) -> None:
        """`maxmemory-clients`: the output of all slow readers together; the largest is closed first."""
        limit = self._shared.settings.maxmemory_clients
        buffering = self._shared.buffering
        total = sum(client.output_bytes for client in buffering)
        slow = sorted((c for c in buffering if not c.no_evict), key=lambda client: client.output_bytes)
        while slow and 0 < limit < total:
            client = slow.pop()
            total -= client.output_bytes
            log.warning(
                "a slow client was closed: maxmemory-clients is reached; find out why it does not read, or raise it",
                client=client.id, addr=client.addr,
            )  # fmt: skip
            self._shared.stats.evicted_clients += 1
            client.kill()

    def _watch_clock(self) -> None:
        clock = self._shared.clock
        for line in self._clock_watch.look(clock.wall_ms(), clock.now(), self._shared.machine.time_ms):
            log.warning(line)

    def _snapshot_if_due(self) -> None:
        """By the size of the log since the last one, by its age, or by `save <seconds> <changes>`."""
        checkpoint, settings, node = self._checkpoint, self._shared.settings, self._shared.node
        if checkpoint.running or node.failure is not None or not checkpoint.changes_since:
            return
        age_s = self._shared.clock.wall_ms() // 1000 - checkpoint.last_save_unix
        if not (
            0 < settings.snapshot_log_size <= checkpoint.log_bytes_since
            or 0 < settings.snapshot_interval <= age_s
            or any(
                age_s >= point.seconds and checkpoint.changes_since >= point.changes for point in settings.save
            )
        ):
            return
        if not checkpoint.last_ok and self._turn % (60 * SECOND):  # after a failure not more than once a minute
            return
        started = checkpoint.start()
        if isinstance(started, CommandError):
            log.warning(f"no snapshot: {started.text}; it is tried again when that is over")

    async def _tidy(self) -> None:
        try:
            await self._checkpoint.tidy()
        except Refused as failure:  # the files stay for now: no harm but to the room on the disk
            log.warning(f"old snapshots and segments could not be deleted: {failure}; {TRIED_AGAIN}")
