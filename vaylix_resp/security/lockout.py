"""Who may not try to log in for a while, because too many tries failed.

Failures are counted for the user named, for the address they came from, and for the two together. Too many within a
window lock that one; each further lock lasts twice as long, until it has been quiet for a while. A refused try costs
nothing and is no failure, so a lock ends when it said it would.

An address from which a user has logged in before is trusted for this user: there only failures of this pair count. So
neither a flood on the user from elsewhere, nor somebody else behind the same address, locks out who is known; and
guessing from a trusted address still gets no more than the limit. Credentials that were verified before (a new machine
with the old password) also pass a locked user, from an address that has neither failed nor been refused within the
window: that leaves a flood one guess per address and window. A success takes no failure back: otherwise whoever has
any account could reset the count between guesses.
Users that do not exist are counted and locked the same way, so a lock tells nobody who exists.

Promise: memory is bounded: each table forgets what was used longest ago, and made-up names never push out real users.
Pure: the caller gives the time. Units: seconds on any clock that never goes back; an IPv6 address counts as its /64.
Not here: sessions that are logged in (nothing here touches them), verifying (`engine.password_pool`). All of it is of
this process: nothing is written to disk or to other nodes, and a restart forgets it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Set
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from math import ceil, inf
from typing import Final, Generic, NamedTuple, TypeVar

from ..errors import CommandError

RECORDS_MAX: Final = 10_000  # of each table; about 300 bytes each
LIMIT_MAX: Final = 100  # failures that a record can hold
LOCAL: Final = "unix"  # the address of everybody who comes by a Unix socket

USER, ADDRESS, PAIR = "user", "address", "pair"

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Rule:
    """`limit` failures within `window_s` lock for `lock_s`, then twice that, up to `lock_s_max`.

    A limit of 0 neither locks nor keeps an earlier lock in force.
    """

    limit: int
    window_s: float
    lock_s: float
    lock_s_max: float

    def __post_init__(self) -> None:
        assert 0 <= self.limit <= LIMIT_MAX and min(self.window_s, self.lock_s, self.lock_s_max) > 0, self


# A user's lock stays short, because everybody can cause it; an address's may grow long.
USER_RULE: Final = Rule(limit=10, window_s=60, lock_s=30, lock_s_max=300)
ADDRESS_RULE: Final = Rule(limit=20, window_s=60, lock_s=30, lock_s_max=3600)


class Lock(NamedTuple):
    """A lock that is in force, or has just been set: for the audit, INFO and ACL."""

    kind: str  # USER, ADDRESS or PAIR
    name: str  # "alice", "192.0.2.7", "alice 192.0.2.7"
    until: float
    strikes: int  # how many locks without quiet between them


class _Record:
    """Failures of one key within the window, and its lock."""

    __slots__ = ("failures", "last", "strikes", "until")

    def __init__(self) -> None:
        self.failures: list[float] = []  # oldest first, at most `limit`
        self.last = -inf  # when a try failed or was refused
        self.until = 0.0
        self.strikes = 0

    def failed(self, rule: Rule, now: float) -> bool:
        """Whether this failure locks. Tries that were under way when the lock was set do not count towards the next."""
        self.last = now
        if now < self.until:
            return False
        if self.strikes and now - self.until >= rule.lock_s_max:
            self.strikes = 0
        self.failures = [at for at in self.failures if now - at < rule.window_s]
        self.failures.append(now)
        if not rule.limit or len(self.failures) < rule.limit:
            del self.failures[: -max(rule.limit, 1)]
            return False
        self.failures = []
        self.until = now + min(rule.lock_s * 2.0 ** min(self.strikes, 60), rule.lock_s_max)
        self.strikes += 1
        return True


class _Table(Generic[K]):
    """Records by key; forgets the one used longest ago."""

    __slots__ = ("forgotten", "records")

    def __init__(self) -> None:
        self.records: OrderedDict[K, _Record] = OrderedDict()
        self.forgotten = 0

    def find(self, key: K) -> _Record | None:
        record = self.records.get(key)
        if record is not None:
            self.records.move_to_end(key)
        return record

    def make(self, key: K) -> _Record:
        record = self.find(key)
        if record is None:
            record = self.records[key] = _Record()
            if len(self.records) > RECORDS_MAX:
                self.records.popitem(last=False)
                self.forgotten += 1
        return record

    def locked(self, now: float) -> Iterator[tuple[K, _Record]]:
        return ((key, record) for key, record in self.records.items() if now < record.until)


class Try(NamedTuple):
    """One attempt to log in."""

    user: str
    exists: bool
    address: str  # of `address_of`


class Lockout:
    """The counts of one process."""

    def __init__(self, user_rule: Rule = USER_RULE, address_rule: Rule = ADDRESS_RULE) -> None:
        self.user_rule, self.address_rule = user_rule, address_rule  # may be replaced at any time
        self.failures = 0  # tries that failed
        self.refused = dict.fromkeys((USER, ADDRESS, PAIR), 0)  # tries that were not even looked at
        self.locks = dict.fromkeys((USER, ADDRESS, PAIR), 0)  # locks set
        self._users: _Table[str] = _Table()
        self._strangers: _Table[str] = _Table()  # names of no user
        self._addresses: _Table[str] = _Table()
        self._pairs: _Table[tuple[str, str]] = _Table()  # only pairs that are trusted have a record

    def refusal(self, one: Try, now: float, *, verified: bool = False) -> CommandError | None:
        """Why this try is not looked at, or None. `verified`: these very credentials were right not long ago."""
        pair = self._pairs.find((one.user, one.address)) if one.exists else None
        if pair is not None:
            return self._refused(PAIR, pair, self.user_rule, now)
        address = self._addresses.find(one.address)
        if address is not None and (refused := self._refused(ADDRESS, address, self.address_rule, now)) is not None:
            return refused
        user = self._table_of(one).find(one.user)
        if user is None or (verified and (address is None or now - address.last >= self.address_rule.window_s)):
            return None
        refused = self._refused(USER, user, self.user_rule, now)
        if refused is not None:
            self._addresses.make(one.address).last = now  # what is refused without a look must not be free to repeat
        return refused

    def _refused(self, kind: str, record: _Record, rule: Rule, now: float) -> CommandError | None:
        if now >= record.until or not rule.limit:
            return None
        self.refused[kind] += 1
        return CommandError(REFUSED[kind].format(seconds=ceil(record.until - now)))

    def failed(self, one: Try, now: float) -> list[Lock]:
        """A try was wrong; the locks that this sets."""
        self.failures += 1
        pair = self._pairs.find((one.user, one.address)) if one.exists else None
        touched = [(ADDRESS, one.address, self._addresses.make(one.address), self.address_rule)]
        if pair is not None:
            touched.append((PAIR, f"{one.user} {one.address}", pair, self.user_rule))
        else:
            touched.append((USER, one.user, self._table_of(one).make(one.user), self.user_rule))
        set_now = []
        for kind, name, record, rule in touched:
            if record.failed(rule, now):
                self.locks[kind] += 1
                set_now.append(Lock(kind, name, record.until, record.strikes))
        return set_now

    def passed(self, one: Try) -> None:
        """A try was right: from now on the address is trusted for this user."""
        self._pairs.make((one.user, one.address))

    def unlock_user(self, user: str, now: float) -> bool:
        """ACL UNLOCK: forget the failures and locks of a user, at trusted addresses too; whether any was in force.

        The addresses stay trusted.
        """
        records = [self._users.records.get(user), self._strangers.records.get(user)]
        records += [record for pair, record in self._pairs.records.items() if pair[0] == user]
        return _clear(records, now)

    def unlock_address(self, address: str, now: float) -> bool:
        """The same for an address, and for the users who are trusted there."""
        records = [self._addresses.records.get(address)]
        records += [record for pair, record in self._pairs.records.items() if pair[1] == address]
        return _clear(records, now)

    def unlock_all(self, now: float) -> int:
        """The same for everybody; how many locks were in force."""
        held = len(self.locked(now))
        for table in (self._users, self._strangers, self._addresses, self._pairs):
            _clear(table.records.values(), now)
        return held

    def forget_users(self, users: Set[str]) -> None:
        """They have been deleted: who gets one of the names later has nothing to do with them."""
        for user in users:
            self._users.records.pop(user, None)
        for pair in [pair for pair in self._pairs.records if pair[0] in users]:
            del self._pairs.records[pair]

    def locked(self, now: float) -> list[Lock]:
        """All locks in force."""
        return [
            *(_lock(USER, name, one) for table in (self._users, self._strangers) for name, one in table.locked(now)),
            *(_lock(ADDRESS, name, one) for name, one in self._addresses.locked(now)),
            *(_lock(PAIR, " ".join(name), one) for name, one in self._pairs.locked(now)),
        ]

    def info(self, now: float) -> dict[str, int]:
        """Lines for INFO."""
        held = [lock.kind for lock in self.locked(now)]
        tables = (self._users, self._strangers, self._addresses, self._pairs)
        return {
            "login_failures": self.failures,
            **{f"login_refused_{kind}_locked": count for kind, count in self.refused.items()},
            **{f"login_locks_{kind}": count for kind, count in self.locks.items()},
            **{f"login_locked_{kind}_now": held.count(kind) for kind in (USER, ADDRESS, PAIR)},
            "login_records": sum(len(table.records) for table in tables),
            "login_records_forgotten": sum(table.forgotten for table in tables),
        }

    def _table_of(self, one: Try) -> _Table[str]:
        return self._users if one.exists else self._strangers


REFUSED: Final = {
    USER: "LOCKED Too many failed log-ins for this user (login-user-limit). Try again in {seconds} s, "
    "or have an administrator run ACL UNLOCK",
    ADDRESS: "LOCKED Too many failed log-ins from this address (login-address-limit). Try again in {seconds} s, "
    "or have an administrator run ACL UNLOCK",
    PAIR: "LOCKED Too many failed log-ins for this user from this address (login-user-limit). Try again in {seconds} "
    "s, or have an administrator run ACL UNLOCK",
}


def address_of(endpoint: str) -> str:
    """The address that counts, of a client's `addr`: without the port, an IPv6 network of 64 bits, LOCAL for a path.

    Whoever has one IPv6 address usually has 2^64 of them.
    """
    if endpoint.startswith("/"):
        return LOCAL
    host = endpoint.rpartition(":")[0].strip("[]").partition("%")[0] if _has_port(endpoint) else endpoint
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address.is_loopback:
        return str(address)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


def _has_port(endpoint: str) -> bool:
    return endpoint.startswith("[") or endpoint.count(":") == 1


def _clear(records: Iterable[_Record | None], now: float) -> bool:
    was_locked = False
    for record in records:
        if record is not None:
            was_locked |= now < record.until
            record.failures, record.last, record.until, record.strikes = [], -inf, 0.0, 0
    return was_locked


def _lock(kind: str, name: str, record: _Record) -> Lock:
    return Lock(kind, name, record.until, record.strikes)
