"""A life that was seen is on disk, or will be."""

from __future__ import annotations

import errno
from collections.abc import Callable

from vaylix_resp.engine.replication.lives import AGAIN_S, Lives
from vaylix_resp.engine.replication.node_file import NodeFile
from vaylix_resp.peers.roster import Life
from vaylix_resp.storage.errors import IoFailed


class Desk:
    """node.json on a disk that may be full."""

    def __init__(self) -> None:
        self.file, self.full, self.tries = NodeFile(1, 2), False, 0
        self.due: list[Callable[[], None]] = []
        self.lives = Lives(lambda: self.file, self.keep, self.call_later)

    def keep(self, file: NodeFile) -> None:
        self.tries += 1
        if self.full:
            raise IoFailed("node.json", OSError(errno.ENOSPC, "no space"))
        self.file = file

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        assert seconds == AGAIN_S
        self.due.append(call)

    def later(self) -> None:
        due, self.due = self.due, []
        for call in due:
            call()


def test_it_is_written_at_once() -> None:
    desk = Desk()
    desk.lives.seen(7, Life(9, 1, 5))
    assert dict(desk.file.lives) == {7: Life(9, 1, 5)} and not desk.due


def test_what_a_full_disk_does_not_take_is_written_when_it_does() -> None:
    desk = Desk()
    desk.full = True
    desk.lives.seen(7, Life(9, 1, 5))
    desk.lives.seen(8, Life(3, 4, 6))
    desk.lives.seen(7, Life(9, 2, 55))
    assert desk.tries == 1 and len(desk.due) == 1, "once a second, however many come"
    desk.later()
    assert desk.file.lives == () and desk.tries == 2 and len(desk.due) == 1
    desk.full = False
    desk.file = desk.file.started(77)  # whatever else changes in it meanwhile stays
    desk.later()
    assert dict(desk.file.lives) == {7: Life(9, 2, 55), 8: Life(3, 4, 6)} and desk.file.boots == (77,)
    assert not desk.due
    desk.lives.seen(8, Life(3, 5, 66))
    assert dict(desk.file.lives)[8] == Life(3, 5, 66)
