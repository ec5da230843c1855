"""What was seen of others' lives, on its way into node.json.

A life that has been seen is written down at once. Where that fails (a full disk, above all) the other node is heard all
the same: to refuse it would help nobody, and the log itself says how its disk is. It is known here meanwhile, and
written again and again until it is on disk.
Units: seconds. Not here: which lives are welcome (`peers.roster`), the file (`node_file`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ...observability.logs import get_log
from ...peers.roster import Life
from ...storage.errors import IoFailed
from .node_file import NodeFile

log = get_log("raft")

AGAIN_S: Final = 1.0


class Lives:
    """`file` is what node.json has, `keep` writes another one, durably, or raises IoFailed."""

    def __init__(
        self, file: Callable[[], NodeFile], keep: Callable[[NodeFile], None], call_later: Callable[..., object]
    ) -> None:
        self._file, self._keep, self._call_later = file, keep, call_later
        self._owed: dict[int, Life] = {}  # seen, and not on disk

    def seen(self, node: int, life: Life) -> None:
        """A member has been let in that is not the one that is known, or not in the same life."""
        waits = bool(self._owed)
        self._owed[node] = life
        if not waits:
            self._write(first=True)

    def _write(self, *, first: bool = False) -> None:
        file = self._file()
        for node, life in self._owed.items():
            file = file.with_life(node, life)
        try:
            self._keep(file)
        except IoFailed as failure:
            if first:
                log.warning(f"which start of the other nodes was seen is not on disk: {failure}; it is tried again")
            self._call_later(AGAIN_S, self._write)
        else:
            self._owed.clear()
