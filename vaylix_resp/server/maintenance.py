"""Keeping clients' writes out while maintenance mode is on.

Promise: the door closes when ON is proposed, not when it is applied, so that no write is behind it in the log; it opens
when OFF is applied, or when ON could not be logged. Not here: the mode itself (`state.maintenance`), the door (`gate`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..commands.maintenance import turn_off, turn_on
from ..commands.ports import Later
from ..errors import MAINTENANCE, MAINTENANCE_USUAL, CommandError, printable
from ..observability.logs import get_log
from ..resp.reply import OK, Reply

if TYPE_CHECKING:
    from .shared import Shared

log = get_log("server")


class MaintenanceMode:
    """`refusal` is the answer to every write of a client, or None."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._state = shared.machine.world.maintenance
        self._closing = 0  # ONs that are proposed and not applied yet
        self.refusal: CommandError | None = None
        self._message = b""  # of the refusal
        self._follow(None)
        if self._state.on:
            log.warning("maintenance mode is on: writes of clients are refused until MAINTENANCE OFF")

    def turn_on(self, message: bytes) -> Later:
        self._closing += 1
        self.refusal = _refusal(message)
        return self._proposed(turn_on(message), self._closed)

    def turn_off(self) -> Later:
        return self._proposed(turn_off(), self._follow)

    def changed(self) -> None:
        """Entries of others have been applied, and may have moved the mode."""
        if self._state.on != (self.refusal is not None) or self._state.message != self._message:
            self._follow(OK)

    def _proposed(self, entry: tuple[bytes, ...], landed: Any) -> Later:
        """Who asked may go away: the change goes on."""
        later = self._shared.propose(entry)
        answer = Later()

        def done(reply: Reply) -> None:
            landed(reply)
            answer.resolve(reply)

        later.listen(done)
        return answer

    def _closed(self, reply: Reply) -> None:
        self._closing -= 1
        self._follow(reply)

    def _follow(self, reply: Reply) -> None:
        """Be as the state is, but for an ON that is on its way."""
        if not self._closing:
            self._message = self._state.message
            was, self.refusal = self.refusal, _refusal(self._state.message) if self._state.on else None
            if reply is not None and not isinstance(reply, CommandError) and (was or self.refusal):
                log.warning(f"maintenance mode is {'on' if self.refusal else 'off'}")


def _refusal(message: bytes) -> CommandError:
    return CommandError(MAINTENANCE.format(message=printable(message, len(message)) if message else MAINTENANCE_USUAL))
