"""Names and directories: which of them a power cut cannot take away, and the changes since.

Not here: what the files hold (`content`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from tests.sim.disk.content import Inode
from vaylix_resp.storage.disk import parent


@dataclass(eq=False)
class NameChange:
    """A change of one directory that is not synced yet; kept or lost as a whole."""

    directory: str
    removed: str | None
    added: tuple[str, Inode | None] | None  # None for a new directory


@dataclass
class Durable:
    """The names that a power cut cannot take away, and the changes since."""

    names: dict[str, Inode] = field(default_factory=dict)
    directories: set[str] = field(default_factory=lambda: {".", "/"})
    changes: list[NameChange] = field(default_factory=list)

    def sync(self, directory: str) -> None:
        for change in self.changes:
            if os.path.normpath(change.directory) == directory:
                change_names(self.names, self.directories, change)
        self.changes = [change for change in self.changes if os.path.normpath(change.directory) != directory]


def change_names(names: dict[str, Inode], directories: set[str], change: NameChange) -> None:
    if change.removed:
        names.pop(change.removed, None)
        directories.discard(change.removed)
    if change.added:
        path, inode = change.added
        if inode is None:
            directories.add(path)
        else:
            names[path] = inode


def directories_above(path: str) -> list[str]:
    found = []
    while path not in (".", "/"):
        path = parent(path)
        found.append(path)
    return found


def is_reachable(path: str, directories: set[str]) -> bool:
    return all(above in directories for above in directories_above(path))
