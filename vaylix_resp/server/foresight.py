"""What requests that are under way will make of memory, where a few bytes make many.

SETRANGE makes 64 MiB of forty bytes, so the size of a batch says little: what it will make is counted here, batch by
batch, until it is applied. With something under way a request waits unless there is ample room for all of them; with
nothing under way it goes, if what it makes fits. EXEC is a request like any other, and makes what its parts make.
Promise: who waits goes first as soon as nothing is under way, so nobody waits for ever.
Not here: by how much a command makes the data grow (`commands.growth`); the room there is (`memory`); plain writes,
which make little more than their own bytes: the size of a batch bounds them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from ..commands.growth import STRETCH, Forecast, Outlook
from ..commands.spec import CommandSpec
from ..engine.node import Batch
from ..errors import CommandError
from ..limits import VALUE_BYTES_MAX

if TYPE_CHECKING:
    from .session import Session
    from .shared import Shared

NAMES: Final[Collection[str]] = STRETCH.keys() | {"exec"}


class Foresight:
    """`active`: something is under way, or somebody waits for it."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._under_way: list[tuple[Batch, Forecast]] = []  # in the order of the log; none is empty of runs for long
        self._somebody_waits = False
        self.active = False

    def too_much(self, session: Session, spec: CommandSpec, argv: Sequence[bytes], room: int) -> bool:
        """Whether this request makes more than there is room for, as far as that can be known now."""
        if self._under_way or (spec.name != "exec" and room >= VALUE_BYTES_MAX):
            return False
        return self._forecast(session, spec, argv).grows > max(room, 0)

    def crowds(self, session: Session, spec: CommandSpec, argv: Sequence[bytes], ample: int) -> bool:
        """Whether this request has to wait for what is under way; if not, it is from now on."""
        made = self._forecast(session, spec, argv)
        if made.plain:
            return False
        before = sum(one.grows for _, one in self._under_way)
        if self._somebody_waits or (self._under_way and made.grows and before + made.grows > ample):
            self._somebody_waits = True
            return True
        batch = self._shared.node.open
        if self._under_way and self._under_way[-1][0] is batch:
            self._under_way[-1][1].add(made)
        else:
            self._under_way.append((batch, made))
        self.active = True
        return False

    def changed(self) -> None:
        """Batches have been applied, or have failed: those have no runs any more."""
        self._under_way = [one for one in self._under_way if one[0].runs]
        if self._under_way:
            return
        self.active = False
        if self._somebody_waits:
            self._somebody_waits = False
            self._shared.release_parked()

    def _forecast(self, session: Session, spec: CommandSpec, argv: Sequence[bytes]) -> Forecast:
        shared, block = self._shared, session.multi
        fresh = shared.node.gathered_bytes + (block.bytes if block is not None else 0)
        ahead = Outlook(shared.machine.world.views, [one for _, one in self._under_way], fresh)
        for part, words, db in [(spec, argv, session.db)] if block is None else block.requests:
            stretch = STRETCH.get(part.name)
            if stretch is not None:
                try:
                    stretch(ahead, db, words)
                except CommandError:  # its words are wrong: the command itself says so
                    continue
        return ahead.made
