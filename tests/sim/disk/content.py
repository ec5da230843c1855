"""One file's content: what a process sees, what the disk holds, and what a power cut makes of the difference.

Units: offsets and sizes in bytes; SECTOR is what a disk writes whole, PAGE what a kernel writes back at once.
Not here: names, and when a fault comes (`simdisk`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

SECTOR = 512
PAGE = 4096

# What a power cut leaves of the changes that no fsync covers:
#   lose      nothing
#   keep      everything
#   prefix    the first of them, in order, the last of these up to any byte
#   sectors   any sectors of them, in any order: what came later may be there and what came first not
#   pages     the same by pages, as a kernel writes them back
#   lengths   the file is as long as it was made, but its new sectors may be missing: a file system that journals the
#             length and not the content; with all of them missing this is the empty or zero file behind a rename
MODES = ("lose", "keep", "prefix", "sectors", "pages", "lengths")

Change = tuple[str, int, bytes]  # ("write", offset, data) or ("size", size, b"")


@dataclass(eq=False)
class Inode:
    """One file: what is visible, what is durable, and the changes between the two, in order."""

    shown: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    pending: list[Change] = field(default_factory=list)

    def apply(self, change: Change) -> None:
        self.shown = _changed(self.shown, change)
        self.pending.append(change)

    def sync(self) -> None:
        if self.pending:
            self.synced = bytes(_replayed(self.synced, self.pending))
            self.pending = []

    def fail_sync(self, part: float, *, reverts: bool) -> None:
        """What a failed fsync does: `part` of the changes had reached the disk, nobody will write the others any more.

        They stay visible as long as their pages stay in memory; with `reverts` they have left it already.
        """
        reached = self.pending[: int(len(self.pending) * part)]
        self.synced = bytes(_replayed(self.synced, reached))
        self.pending = []
        if reverts:
            self.shown = bytearray(self.synced)

    def after_power_cut(self, rng: Random, mode: str) -> bytes:
        if mode == "lose" or not self.pending:
            return self.synced
        if mode == "keep":
            return bytes(_replayed(self.synced, self.pending))
        if mode == "prefix":
            kept = self.pending[: rng.randrange(len(self.pending)) + 1]
            kind, offset, data = kept[-1]
            if kind == "write":
                kept[-1] = (kind, offset, data[: rng.randrange(len(data) + 1)])
            return bytes(_replayed(self.synced, kept))
        unit = PAGE if mode == "pages" else SECTOR
        pieces = [piece for change in self.pending for piece in _pieces(change, unit)]
        if mode == "lengths":
            some = rng.choice((0.0, 0.5, 0.9))
            grown = _changed(bytearray(self.synced), ("size", len(self.shown), b""))
            written = [piece for piece in pieces if piece[0] == "write" and rng.random() < some]
            return bytes(_replayed(bytes(grown), written))[: len(self.shown)]
        assert mode in ("sectors", "pages"), mode
        return bytes(_replayed(self.synced, [piece for piece in pieces if rng.random() < 0.5]))


def _changed(content: bytearray, change: Change) -> bytearray:
    kind, at, data = change
    if kind == "size":
        if at < len(content):
            del content[at:]
        content.extend(bytes(at - len(content)))
    else:
        content.extend(bytes(max(0, at - len(content))))
        content[at : at + len(data)] = data
    return content


def _replayed(synced: bytes, changes: list[Change]) -> bytearray:
    content = bytearray(synced)
    for change in changes:
        content = _changed(content, change)
    return content


def _pieces(change: Change, unit: int) -> list[Change]:
    kind, at, data = change
    if kind == "size":
        return [change]
    pieces, offset = [], at
    while offset < at + len(data):
        end = min(offset // unit * unit + unit, at + len(data))
        pieces.append((kind, offset, data[offset - at : end - at]))
        offset = end
    return pieces
