"""A small file that is read and replaced as a whole: manifest.json, node.json.

Promise: after a crash it is the old one or the new one; what `replace` returned for survives a power cut.
Not here: what is in it, and how damage is noticed (`manifest`, `engine.replication.node_file`).
"""

from __future__ import annotations

from vaylix_resp.storage.disk import Disk
from vaylix_resp.storage.errors import IoFailed, Unreadable


def read(disk: Disk, path: str) -> bytes | None:
    """None: there is none. Raises Unreadable."""
    if not disk.exists(path):
        return None
    try:
        return disk.read_file(path)
    except OSError as cause:
        raise Unreadable(path, 0, cause) from cause


def replace(disk: Disk, path: str, content: bytes, *, private: bool = False) -> None:
    """Raises IoFailed. `private`: nobody but its owner may read it."""
    try:
        (disk.replace_private_file if private else disk.replace_file)(path, content)
    except OSError as cause:
        raise IoFailed(path, cause) from cause
