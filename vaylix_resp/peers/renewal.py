"""The nodes' certificates while the server runs: taken over when asked, and when the files have changed.

Promises: certificate, key and CA are taken together or not at all; connections that are open keep theirs; the log has a
line 30, 7 and 1 days before the end.
Units: seconds. Not here: reading them (`tls`), those that clients see (`server.tls_door`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from ..observability.logs import get_log
from ..security.tls import stamp_of
from .tls import ClusterTls

log = get_log("peers")

WATCH_S: Final = 1.0  # how often the job looks at the clock


class Renewal:
    """Of one node. `reload` is told why, and says whether the files could be used (`link.Peers.reload_tls`)."""

    def __init__(self, tls: ClusterTls, reload: Callable[[str], bool], interval_s: Callable[[], int]) -> None:
        self._tls, self._reload, self._interval_s = tls, reload, interval_s
        self.on_reload: Callable[[str, bool], None] = _nobody  # told why, and whether the files could be used

    def now(self, why: str) -> bool:
        taken = self._reload(why)
        self.on_reload(why, taken)
        return taken

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        last, settled = loop.time(), stamp_of(self._tls.options)
        while True:
            await asyncio.sleep(WATCH_S)
            warning = self._tls.warning()
            if warning:
                log.warning(f"between nodes: {warning}")
            if 0 < self._interval_s() <= loop.time() - last:
                last, settled = loop.time(), await self.look(settled)

    async def look(self, settled: Any) -> Any:
        """Reload what has changed, once it is the same in two looks: files come one by one."""
        stamp = await asyncio.get_running_loop().run_in_executor(None, stamp_of, self._tls.options)
        if stamp == settled and self._tls.changed:
            self.now("the files have changed")
        return stamp


def _nobody(why: str, taken: bool) -> None:
    """Until there is an audit."""
