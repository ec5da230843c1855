"""The note that an offline command leaves in a directory while that is between two states.

Promise: while it is there, no server starts on the directory, and the refusal says which command finishes the work.
Not here: what the commands do (`repair`, `migrate`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from vaylix_resp.storage.disk import Disk, join
from vaylix_resp.storage.errors import Corrupt, Unreadable

NAME = "unfinished.json"


@dataclass(frozen=True, slots=True)
class Note:
    """`what` was interrupted; `advice` says how to go on. The rest is for the command itself."""

    what: str
    advice: str
    sequence: int = 0
    kept: str = ""


def leave(disk: Disk, root: str, note: Note) -> None:
    disk.replace_file(join(root, NAME), json.dumps({"format": 1, **asdict(note)}, indent=2).encode() + b"\n")


def remove(disk: Disk, root: str) -> None:
    disk.unlink(join(root, NAME))


def read(disk: Disk, root: str) -> Note | None:
    path = join(root, NAME)
    if not disk.exists(path):
        return None
    try:
        body = json.loads(disk.read_file(path))
        if body.pop("format") == 1:
            return Note(**body)
    except OSError as cause:
        raise Unreadable(path, 0, cause) from cause
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        raise Corrupt(path, 0, f"the note of an unfinished command ({cause})") from cause
    raise Corrupt(path, 0, "the note of an unfinished command of format 1")


def refuse(disk: Disk, root: str) -> None:
    """Raises Corrupt if there is one."""
    if (note := read(disk, root)) is not None:
        raise Corrupt(join(root, NAME), 0, f"a finished directory; {note.what} was interrupted", advice=note.advice)
