"""The server's own entries: removal of expired keys, and what commands outside the data path put into the log.

Promise: keys leave by an entry, never by a clock alone, so every replica removes the same keys at the same place.
Not here: entries of clients (`execution`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from ..commands.gating import refusal
from ..commands.operations import expiry
from ..commands.ports import Later
from ..engine.node import Run
from ..errors import CommandError
from ..limits import MIB

if TYPE_CHECKING:
    from .shared import Shared

EXPIRE_KEYS_MAX: Final = 500  # in one entry: about a millisecond of apply
EXPIRE_BYTES_MAX: Final = MIB  # of their names


class Proposal:
    """One entry; `later` gets the reply of its apply, or the error that kept it out of the log."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self.later = Later()

    def complete(self, run: Run) -> None:
        replies = self._shared.machine.apply_all(run.items)
        self._shared.entrance.changed()  # before anybody who waits for this goes on
        for reply in replies:
            self.later.resolve(reply)
        self._shared.observe_changes(None)

    def fail(self, run: Run, refusal: CommandError) -> None:
        self.later.resolve(refusal)


def propose(shared: Shared, entry: tuple[bytes, ...]) -> Later:
    """Log an entry of the server's own."""
    proposal = Proposal(shared)
    node = shared.node
    refused = node.refusal or refusal(shared, entry[0])
    if refused is not None:
        proposal.later.resolve(refused)
    else:
        node.propose(proposal, entry)
    return proposal.later


class Expirer:
    """Proposes the removal of keys whose time has come; one entry per database in flight."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._in_flight = 0
        self.active = True  # DEBUG SET-ACTIVE-EXPIRE

    def run(self, again: Callable[[], None]) -> None:
        """Propose what is due now; `again` is called if there was more than fits an entry."""
        shared = self._shared
        if not self.active or self._in_flight or shared.node.refusal is not None or not shared.node.leads:
            return
        if shared.clients.pause_kind(shared.clock.now()):  # as in Redis: nothing changes during a pause
            return
        now = shared.clock.wall_ms()
        for number, db in enumerate(shared.machine.world.databases):
            if shared.node.crowded:
                return
            if not db.expires:
                continue
            due = db.due(now, EXPIRE_KEYS_MAX)
            keys = _fitting(due)
            if keys:
                self._in_flight += 1
                more = again if len(due) >= EXPIRE_KEYS_MAX or len(keys) < len(due) else _enough
                propose(shared, expiry(number, keys)).listen(self._landed(more))

    def _landed(self, more: Callable[[], None]) -> Callable[[object], None]:
        def landed(reply: object) -> None:
            self._in_flight -= 1
            more()

        return landed


def _fitting(keys: Sequence[bytes]) -> Sequence[bytes]:
    """As many keys as fit an entry of moderate size, at least one: a name may be as long as a value."""
    size = 0
    for count, key in enumerate(keys):
        size += len(key)
        if size > EXPIRE_BYTES_MAX:
            return keys[: max(1, count)]
    return keys


def _enough() -> None:
    """The next tick looks again."""
