"""How much one connection, and all connections of one user, may ask for: token buckets.

Requests per second with a burst, bytes received per second, connections of a user. What is too much is refused at once
with a text that names the limit and its directive; nothing is delayed, so no queue grows and no other client waits.
A user's rates come from the first of: its own row, the rows of its roles (the largest of each, as rights add up), the
row `*`; all of its connections share one meter. The meter of a connection is new with each connection, so a row for
users is what bounds somebody who reconnects.
A session holds one Limiter, or None when nothing limits it: unused limits cost one test of an attribute for each read
of the socket, used ones one call for each read.
Pure: the caller gives the time. Units: seconds on a clock that never goes back; bytes as they came from the socket.
Not here: sizes of requests, transactions, buffers (`commands`, `server.connection`); failed log-ins (`lockout`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ..config_rates import Rates, Row
from ..errors import LIMIT_CONNECTIONS, LIMIT_RATE, CommandError, printable

EVERYBODY: Final = "*"
ROLE: Final = "role:"
ONE: Final = 1_000_000
METERS_MAX: Final = 1024  # kept for users who are not connected, so that reconnecting does not refill a bucket
CONNECTION_REQUESTS: Final = "client-requests-per-second"
CONNECTION_BYTES: Final = "client-bytes-per-second"
USER: Final = "user-limit"


class _Bucket:
    """Fills at `rate` a second up to `size`. May be overdrawn by what had to be taken as a whole.

    Whole microseconds and millionths: `1 s / 3` three times is a second, and a client that waits as told may go on.
    """

    __slots__ = ("_at_us", "_level", "_size", "rate")

    def __init__(self, rate: int, size: int, now: float) -> None:
        self.rate = rate
        self._size = self._level = size * ONE
        self._at_us = round(now * ONE)

    def fill(self, now: float) -> int:
        """How much may be taken now."""
        now_us = round(now * ONE)
        if now_us > self._at_us:
            self._level = min(self._level + (now_us - self._at_us) * self.rate, self._size)
            self._at_us = now_us
        return self._level // ONE

    def take(self, count: int) -> None:
        self._level -= count * ONE

    @property
    def empty(self) -> bool:
        return self._level < ONE

    def full(self, now: float) -> bool:
        self.fill(now)
        return self._level >= self._size

    def wait_ms(self) -> int:
        """Until there is something to take again."""
        return max(1, -((self._level - ONE) // (self.rate * 1000)))


class Meter:
    """What one subject has used. `connections` counts those that share it."""

    __slots__ = ("connections", "directives", "rates", "requests", "size", "subject", "user")

    def __init__(self, user: str, subject: str, directives: tuple[str, str], rates: Rates, now: float) -> None:
        self.user = user  # empty for that of a single connection
        self.subject = subject  # for texts
        self.directives = directives  # for requests, for bytes
        self.connections = 0
        self.requests: _Bucket | None = None
        self.size: _Bucket | None = None
        self.configure(rates, now)

    def configure(self, rates: Rates, now: float) -> None:
        """New rates begin with full buckets."""
        self.rates = rates
        self.requests = _Bucket(rates.requests, rates.burst or rates.requests, now) if rates.requests else None
        self.size = _Bucket(rates.bytes, rates.bytes, now) if rates.bytes else None

    def room(self, count: int, now: float) -> int:
        """How many of `count` requests may run. Bytes are there or not: what has been read came as a whole."""
        if self.size is not None and self.size.fill(now) < 1:
            return 0
        if self.requests is not None:
            return min(count, max(0, self.requests.fill(now)))
        return count

    def take(self, count: int, size: int) -> None:
        if self.requests is not None:
            self.requests.take(count)
        if self.size is not None:
            self.size.take(size)

    def refusal(self) -> CommandError:
        """Why the next request may not run; `room` has been asked just now."""
        if self.size is not None and self.size.empty:
            rate, what, directive, bucket = self.rates.bytes, "bytes", self.directives[1], self.size
        else:
            assert self.requests is not None
            rate, what, directive, bucket = self.rates.requests, "requests", self.directives[0], self.requests
        return CommandError(
            LIMIT_RATE.format(
                rate=rate, what=what, subject=self.subject, directive=directive, wait_ms=bucket.wait_ms()
            )
        )

    def full(self, now: float) -> bool:
        """A new meter would be no fuller."""
        return all(bucket is None or bucket.full(now) for bucket in (self.requests, self.size))


class Limiter:
    """What a session asks once for each read of its socket."""

    __slots__ = ("_begun", "_limits", "_meters", "own", "refused")

    def __init__(self, limits: Limits, own: Meter | None, meters: Sequence[Meter]) -> None:
        self._limits = limits
        self.own = own  # the connection's meter, which stays when another user's takes the place of the other one
        self._meters = tuple(meters)
        self._begun = 0  # bytes of a request that is not complete yet
        self.refused: CommandError | None = None  # for all requests behind those that `admit` let through

    def admit(self, count: int, size: int, now: float) -> int:
        """How many of `count` requests, which came with `size` bytes, may run; `refused` is the reply to the others.

        A request that takes several reads is charged when it is complete, so that one larger than a second's bytes
        can pass; the next has to wait until that is paid for. Refused requests are not charged, so a client at twice
        its rate gets half of its requests, not none.
        """
        size += self._begun
        if not count:
            self._begun = size
            return 0
        self._begun = 0
        room, tightest = count, None
        for meter in self._meters:
            found = meter.room(count, now)
            if found < room:
                room, tightest = found, meter
        if room:
            for meter in self._meters:
                meter.take(room, size)
        self.refused = None
        if tightest is not None:
            self._limits.refused += count - room
            self.refused = tightest.refusal()
        return room


class Limits:
    """The limits of one process and the meters of its users."""

    def __init__(self, connection: Rates = Rates(), rows: Iterable[Row] = ()) -> None:  # noqa: B008 - immutable
        self.refused = 0  # requests
        self.refused_connections = 0
        self._meters: dict[str, Meter] = {}  # by user; those connected, and those in `_idle`
        self._idle: dict[str, None] = {}  # not connected, buckets not full when last seen; longest ago first
        self._connection = connection
        self._rows: Mapping[str, Rates] = {row.subject: row.rates for row in rows}

    def configure(self, connection: Rates, rows: Iterable[Row], roles: Mapping[str, Sequence[str]], now: float) -> None:
        """The directives or somebody's roles have changed; `roles` by user. Sessions then need a new `limiter`.

        Whose rates stay the same keeps its buckets as they are: a change of somebody else's roles refills nothing.
        """
        self._connection = connection
        self._rows = {row.subject: row.rates for row in rows}
        for user, meter in self._meters.items():
            rates = self.rates_of(user, roles.get(user, ()))
            if rates != meter.rates:
                meter.configure(rates, now)

    def rates_of(self, user: str, roles: Iterable[str]) -> Rates:
        rows = self._rows
        if not rows:
            return NO_RATES
        if (own := rows.get(user)) is not None and user != EVERYBODY and not user.startswith(ROLE):
            return own
        found: Rates | None = None
        for role in roles:
            if (rates := rows.get(ROLE + role)) is not None:
                found = rates if found is None else found | rates
        return found if found is not None else rows.get(EVERYBODY, NO_RATES)

    def enter(self, user: str, roles: Iterable[str], now: float) -> Meter | CommandError:
        """A connection becomes this user's; `leave` takes the meter back. An error if the user has too many."""
        meter = self._meters.get(user)
        if meter is None:
            subject = f"user '{printable(user.encode('utf-8', 'surrogateescape'))}'"
            meter = self._meters[user] = Meter(user, subject, (USER, USER), self.rates_of(user, roles), now)
        if 0 < meter.rates.connections <= meter.connections:
            self.refused_connections += 1
            text = LIMIT_CONNECTIONS.format(subject=meter.subject, count=meter.rates.connections, directive=USER)
            return CommandError(text)
        meter.connections += 1
        self._idle.pop(user, None)
        return meter

    def leave(self, meter: Meter, now: float) -> None:
        """The connection has gone, or is another user's."""
        assert meter.connections > 0, meter.subject
        meter.connections -= 1
        user = meter.user
        if meter.connections or self._meters.get(user) is not meter:
            return
        if meter.full(now):
            del self._meters[user]
            return
        self._idle[user] = None
        if len(self._idle) > METERS_MAX:
            longest_ago = next(iter(self._idle))
            del self._idle[longest_ago], self._meters[longest_ago]

    def limiter(self, meter: Meter | None, now: float, former: Limiter | None = None) -> Limiter | None:
        """For a session of this user (None: not logged in yet); None if nothing limits its requests.

        `former` is what the session had until now: logging in does not refill what the connection may send.
        """
        meters, own = [], None
        if self._connection.requests or self._connection.bytes:
            own = former.own if former is not None else None
            if own is None or own.rates != self._connection:
                directives = CONNECTION_REQUESTS, CONNECTION_BYTES
                own = Meter("", "this connection", directives, self._connection, now)
            meters.append(own)
        if meter is not None and (meter.rates.requests or meter.rates.bytes):
            meters.append(meter)
        return Limiter(self, own, meters) if meters else None


NO_RATES: Final = Rates()
