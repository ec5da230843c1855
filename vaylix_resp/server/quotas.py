"""Rates and numbers of connections, put into force: which session is counted on whose meter.

A session is on the meter of the user that it acts as; one that has not logged in is on none. What the directives or
somebody's roles change counts from the next read of each session on; connections beyond a new, lower number stay.
Not here: counting and texts (`security.limits`), where requests are held against a limit (`connection`).
"""

from __future__ import annotations

from typing import Final

from ..commands.ports import Client, Server
from ..config_rates import Rates
from ..errors import CommandError
from ..security.limits import Limits
from ..state.accounts import DEFAULT

DIRECTIVES: Final = (
    "client-requests-per-second", "client-requests-burst", "client-bytes-per-second", "user-limit",
)  # fmt: skip


class Quotas:
    """Of one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.limits = Limits()
        self.changed()
        for name in DIRECTIVES:
            server.settings.subscribe(name, lambda _: self.changed())

    def admit(self, session: Client) -> CommandError | None:
        """A connection that begins: as the default user if nobody has to log in, on no meter otherwise."""
        if session.meter is None and session.authenticated:
            return self.enter(session, DEFAULT)
        self._renew(session)
        return None

    def enter(self, session: Client, user: str) -> CommandError | None:
        """The session will act as this user, who exists; an error, and nothing has changed, if it has too many."""
        limits, now, former = self.limits, self._server.clock.now(), session.meter
        if former is None or former.user != user:
            meter = limits.enter(user, self._server.accounts.users[user].roles, now)
            if isinstance(meter, CommandError):
                return meter
            if former is not None:
                limits.leave(former, now)
            session.meter = meter
        self._renew(session)
        return None

    def reset(self, session: Client) -> CommandError | None:
        """It acts as the default user again, or as nobody; an error if that user has too many connections."""
        if session.authenticated:
            return self.enter(session, DEFAULT)
        self.leave(session)
        return None

    def leave(self, session: Client) -> None:
        """It has gone, or acts as nobody any more. Safe to call twice."""
        if session.meter is not None:
            self.limits.leave(session.meter, self._server.clock.now())
            session.meter = None
        self._renew(session)

    def changed(self) -> None:
        """The directives, users or roles are others now."""
        settings, server = self._server.settings, self._server
        rates = Rates(
            settings.client_requests_per_second, settings.client_requests_burst, settings.client_bytes_per_second
        )
        roles = {name: account.roles for name, account in server.accounts.users.items()} if settings.user_limit else {}
        self.limits.configure(rates, settings.user_limit, roles, server.clock.now())
        for session in server.clients:
            self._renew(session)

    def _renew(self, session: Client) -> None:
        session.limiter = self.limits.limiter(session.meter, self._server.clock.now(), session.limiter)
