"""A directory that somebody has named: that it is not there is a slip of the pen, and no damage.

Promise: exit code 78, nothing is made. Not here: what has to be in it (`storage`, `past`).
"""

from __future__ import annotations

import os

from ..errors import EX_CONFIG, Refused
from ..storage.disk import Disk


class NotThere(Refused):
    exit_code = EX_CONFIG


def named(path: str, disk: Disk, *, what: str = "the data directory of a server") -> str:
    """Its absolute path. Raises NotThere."""
    root = os.path.abspath(path)
    if not disk.exists(root):
        raise NotThere(f"{root}: no such directory; to continue: name {what}")
    return root
