"""What this server records in its audit: the one place where requests, log-ins and refusals become records.

Each command knows at its `Bound` what the audit does with it (None: nothing, which is all that the others pay), so that
nothing here is called for a request that is not recorded. A command that the audit wants takes the way of single
requests; its reply waits for its record where that has to be durable.
Promise: what a record says of a request is made by `audit_events`; the same failure again and again is counted.
Not here: writing (`engine.audit`), which commands (`commands.audit_events`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from math import inf
from time import perf_counter  # durations only
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..commands.audit import OFF as SWITCHED_OFF
from ..commands.audit_events import ALWAYS, UNKNOWN, Action, action_of
from ..commands.catalog import keys_of
from ..commands.ports import Client, Later
from ..commands.spec import CommandSpec
from ..engine.audit.log import AuditLog
from ..engine.audit.reading import Reading
from ..engine.audit.repeats import Repeats
from ..engine.log_in import RIGHT, Result
from ..errors import CommandError, printable
from ..resp.reply import OK, Reply
from ..security.access import Denied
from ..security.acl import text_of
from ..security.lockout import USER, address_of
from .table import Bound, Route

if TYPE_CHECKING:
    from .shared import Shared

PERIOD_S: Final = 0.25
SLOW_US_MIN: Final = 1000  # below this every request would have to be timed by itself
BLOCK_RECORDS_MAX: Final = 10_000  # of one transaction; what it does beyond that could not be recorded
GUARD: Final = Action("")  # of EXEC while no record can be written: a block may hold what has to be refused
Argv = Sequence[bytes]


class Who(NamedTuple):
    """A session as it was when it asked: it may be somebody else's when the answer comes."""

    id: int
    addr: str
    user: str


class Silent:
    """With `audit no`: nothing is recorded. Also what every server begins with."""

    slow_s = inf
    crowded = False

    def info(self) -> dict[str, Any]:
        return {"audit_enabled": 0}

    def login(self, session: Client, user: str, known: bool, asked_by: bytes, result: Result) -> None: ...
    def certificate(self, session: Client, user: str | None) -> None: ...
    def denied(self, session: Client, spec: CommandSpec, denied: Denied) -> None: ...
    def slow(self, session: Client, argv: Argv, seconds: float) -> None: ...
    def event(self, event: str, outcome: str = "ok", **details: Any) -> None: ...

    def begin(self, session: Client, bound: Bound, argv: Argv) -> Watch | None:
        return None

    def refusal(self, session: Client, bound: Bound, argv: Argv) -> CommandError | None:
        return None

    def refused(self, session: Client, bound: Bound, refused: CommandError) -> None: ...

    def holds(self, requests: Sequence[Any]) -> bool:
        return False

    def waits(self, action: Action) -> bool:
        return False

    def block(self, session: Client, user: str, requests: Sequence[Any], replies: Sequence[Reply]) -> Later | None:
        return None

    def head(self) -> Reply:
        raise CommandError(SWITCHED_OFF)

    def tail(self, count: int) -> Reply:
        raise CommandError(SWITCHED_OFF)

    def verify(self) -> Reply:
        raise CommandError(SWITCHED_OFF)


SILENT: Final = Silent()


class Trail(Silent):
    """Of one server."""

    def __init__(self, shared: Shared, log: AuditLog, reading: Reading) -> None:
        self.log = log
        self._shared, self._reading = shared, reading
        self._repeats = Repeats()
        log.on_room = shared.release_parked
        log.on_refusal = self._attach
        log.propose = shared.propose
        settings = shared.settings
        for name in ("audit-log-categories", "audit-slower-than"):
            settings.subscribe(name, lambda _: self._attach())
        for name in ("audit-durable", "audit-on-failure", "audit-rotate-size", "audit-rotate-age", "audit-retain",
                     "audit-head-interval"):  # fmt: skip
            settings.subscribe(name, lambda _: self._follow())
        self._follow()
        self._attach()

    def _follow(self) -> None:
        settings, log = self._shared.settings, self.log
        log.durable, log.on_failure = settings.audit_durable, settings.audit_on_failure
        log.head_interval_s = settings.audit_head_interval
        files = log.files
        files.rotate_bytes, files.rotate_age_s = settings.audit_rotate_size, settings.audit_rotate_age
        files.retain = settings.audit_retain

    def _attach(self) -> None:
        """Tell each command what the audit does with it."""
        settings = self._shared.settings
        for bound in self._shared.table.by_name.values():
            self._set(bound)
            for sub in bound.subcommands.values():
                self._set(sub)
        slower = settings.audit_slower_than
        self.slow_s = inf if slower < 0 else slower / 1e6
        self._shared.refresh()

    def _set(self, bound: Bound) -> None:
        bound.audit = action_of(bound.name, bound.spec.categories, self._shared.settings.audit_log_categories)
        if bound.name == "exec" and bound.audit is None and self.log.refusal is not None:
            bound.audit = GUARD
        bound.route = Route.SINGLE if bound.audit is not None else bound.plain_route

    @property
    def crowded(self) -> bool:  # type: ignore[override]
        return self.log.crowded

    # Requests.

    def refusal(self, session: Client, bound: Bound, argv: Argv) -> CommandError | None:
        """Why this request, which the audit wants, must not run now."""
        refused = self.log.refusal
        if refused is None or bound.audit is None or bound.audit.asks(argv):
            return None
        if bound.audit.security:
            return refused
        if bound.name == "exec" and session.multi is not None:
            actions = (self._shared.table.find(argv).audit for _, argv, _ in session.multi.requests)
            return refused if any(action is not None and action.security for action in actions) else None
        return None

    def refused(self, session: Client, bound: Bound, refused: CommandError) -> None:
        """The gate has said no. NOPERM is noted where it is decided; of other commands only their runs are recorded."""
        code = refused.code
        if bound.audit is None or code == "NOPERM" or bound.name not in ALWAYS:
            return
        what = {"user": session.user if session.authenticated else None, "command": bound.name, "code": code}
        self._repeated(bound.audit.event, "refused", session, (bound.name, code), what)

    def begin(self, session: Client, bound: Bound, argv: Argv) -> Watch | None:
        """Before the request runs; the reply goes through `Watch.end`."""
        action = bound.audit
        if action is None or action is GUARD or action.asks(argv):
            return None
        return Watch(self, session, bound, action, argv)

    def holds(self, requests: Sequence[Any]) -> bool:
        """Whether EXEC of these requests may have to wait for their records; CommandError if those are too many."""
        found = [self._shared.table.find(argv).audit for _, argv, _ in requests]
        actions = [action for action in found if action is not None and action is not GUARD]
        if len(actions) > BLOCK_RECORDS_MAX:
            raise CommandError(TOO_MANY)
        return any(map(self.waits, actions))

    def waits(self, action: Action) -> bool:
        """Whether the reply to such a request waits for its record."""
        durable = self.log.durable
        return durable == "all" or (action.security and durable == "security")

    def block(self, session: Client, user: str, requests: Sequence[Any], replies: Sequence[Reply]) -> Later | None:
        """A transaction has run: what it holds is recorded as if it stood alone. A Later if EXEC has to wait for it.

        `user` asked for it; a log-in inside has made the session somebody else's by now.
        """
        waits, who = None, Who(session.id, session.addr, user)
        for (_, argv, db), reply in zip(requests, replies, strict=True):
            bound = self._shared.table.find(argv)
            if bound.audit is None or bound.audit is GUARD:
                continue
            watch = Watch(self, session, bound, bound.audit, argv, in_block=who)
            waits = watch.record(reply, transaction=True, database=db) or waits
        return waits

    def key_names(self, spec: CommandSpec, argv: Argv) -> tuple[int, list[str]]:
        keys = keys_of(spec, argv)
        if not self._shared.settings.audit_log_keys:
            return len(keys), []
        return len(keys), [printable(key.name) for key in keys[:32]]

    def slow(self, session: Client, argv: Argv, seconds: float) -> None:
        try:
            spec = self._shared.table.find(argv).spec
        except CommandError:
            return
        count, names = self.key_names(spec, argv)
        self.log.record(
            "slow", client=session, command=spec.name, keys=count, key_names=names, latency_us=round(seconds * 1e6)
        )

    # Log-ins and refusals.

    def login(self, session: Client, user: str, known: bool, asked_by: bytes, result: Result) -> None:
        """`known`: the user exists. A name that is nobody's is not written: it may be a password."""
        command = text_of(asked_by.lower())
        name = user if known else None
        code = result.refusal.code if result.refusal is not None else None
        what: dict[str, Any] = {"user": name, "command": command, "code": code}
        if not known:
            what["known"] = False
        outcome = "ok" if result.outcome == RIGHT else result.outcome
        self._repeated("auth", outcome, session, (name or UNKNOWN, command), what)
        for lock in result.locks:
            details: dict[str, Any] = {"kind": lock.kind, "strikes": lock.strikes}
            details["seconds"] = max(0, round(lock.until - self._shared.clock.now()))
            if lock.kind == USER and not known:
                details["known"] = False
            else:
                details["target"] = lock.name
            self.log.record("lockout", "locked", client=session, user=name, **details)

    def certificate(self, session: Client, user: str | None) -> None:
        what = {"user": user, "command": None, "code": None, "how": "certificate"}
        self._repeated("auth", "ok" if user is not None else "wrong", session, (user or UNKNOWN, "certificate"), what)

    def denied(self, session: Client, spec: CommandSpec, denied: Denied) -> None:
        what = {"user": session.user, "command": spec.name, "code": "NOPERM", "reason": denied.reason}
        self._repeated("denied", "refused", session, (session.user, spec.name, denied.reason), what)

    def event(self, event: str, outcome: str = "ok", **details: Any) -> None:
        """Of the server itself."""
        self.log.record(event, outcome, **details)

    def _repeated(
        self, event: str, outcome: str, session: Client, kind: tuple[str, ...], what: dict[str, Any]
    ) -> None:
        who = Who(session.id, session.addr, session.user)
        key = (event, outcome, address_of(session.addr), *kind)
        if self._repeats.first(key, (outcome, who, what), self._shared.clock.now()):
            self._write(event, outcome, who, what)

    def _write(self, event: str, outcome: str, who: Who, what: dict[str, Any], **more: Any) -> None:
        user = what.get("user")
        client = who._replace(user=user) if user is not None else None
        rest = {name: value for name, value in what.items() if name not in ("user", "command", "code")}
        fields = self.log.files.fields(
            event, outcome, connection=who.id, address=who.addr, user=client.user if client is not None else None,
            command=what.get("command"), code=what.get("code"), details=rest | more,
        )  # fmt: skip
        self.log.add(fields, wait=False)

    # By the clock.

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            self.tick(self._shared.clock.now())

    def tick(self, now: float) -> None:
        for repeated in self._repeats.due(now):
            if repeated.what is None:
                self.log.record(repeated.event, "several", count=repeated.times)
            else:
                outcome, who, what = repeated.what
                self._write(repeated.event, outcome, who, what, count=repeated.times)
        self.log.tick()

    async def finish(self, **details: Any) -> None:
        """The last record, and its head in the data's log, while that still takes entries."""
        self.tick(inf)
        self.log.record("stop", **details)
        await _settled(self.log.flush())
        committed = self.log.commit_head()
        if committed is not None:
            await _settled(committed)

    # AUDIT.

    def info(self) -> dict[str, Any]:
        return self.log.info()

    def head(self) -> Reply:
        log = self.log
        return {
            b"sequence": log.head.sequence, b"hash": log.head.hash.encode(),
            b"committed-sequence": log.committed.sequence, b"committed-hash": log.committed.hash.encode(),
            b"broken": log.alarm.encode("utf-8", "surrogateescape") or None,
            b"failed": log.failure.encode("utf-8", "surrogateescape") or None,
        }  # fmt: skip

    def tail(self, count: int) -> Reply:
        return self._after_flush(lambda: self._reading.tail(count))

    def verify(self) -> Reply:
        return self._after_flush(lambda: self._reading.verify(self.log.head, self.log.committed))

    def _after_flush(self, begin: Callable[[], Later]) -> Later:
        """What was recorded before the question is part of the answer."""
        answer = Later()
        self.log.flush().listen(lambda _: begin().listen(answer.resolve))
        return answer


class Watch:
    """One request on its way, from before it runs to its reply."""

    __slots__ = ("_action", "_argv", "_began", "_bound", "_details", "_in_block", "_session", "_trail", "_who")

    def __init__(
        self, trail: Trail, session: Client, bound: Bound, action: Action, argv: Argv, in_block: Who | None = None
    ) -> None:
        self._trail, self._session, self._bound, self._action, self._argv = trail, session, bound, action, argv
        self._who = in_block or Who(session.id, session.addr, session.user)
        self._in_block = in_block is not None
        self._details = {} if action.late else action.details(session, argv, True)
        self._began = perf_counter()
        if action.silent:
            trail.log.record(action.event, "asked", client=self._who, command=bound.name, **self._details)

    def end(self, reply: Reply) -> Reply:
        """What takes the place of the reply: itself, or a Later that resolves when its record is as it should be."""
        if not isinstance(reply, Later):
            held = self.record(reply) if not (self._action.silent and reply is OK) else None
            if held is None:
                return reply
            answer = Later()
            held.listen(lambda durable: answer.resolve(durable if isinstance(durable, CommandError) else reply))
            return answer if not answer.done else answer.reply
        outer = Later(blocking=reply.blocking, timeout_reply=reply.timeout_reply)
        if not (self._action.keeps or self._action.silent):  # a stop takes its own client with it
            outer.on_cancel = lambda: self._left(reply)
        reply.listen(lambda value: self._settle(value, outer))
        return outer

    def _settle(self, reply: Reply, outer: Later) -> None:
        held = self.record(reply)
        if held is None:
            outer.resolve(reply)
        else:
            held.listen(lambda durable: outer.resolve(durable if isinstance(durable, CommandError) else reply))

    def _left(self, reply: Later) -> None:
        """The client does not wait any more; what becomes of the request is not known here."""
        reply.cancel()
        self._write("cancelled", None, self._details)

    def record(self, reply: Reply, **more: Any) -> Later | None:
        failed = isinstance(reply, CommandError)
        details = self._action.details(self._session, self._argv, not failed) if self._action.late else self._details
        return self._write("error" if failed else "ok", reply.code if isinstance(reply, CommandError) else None,
                           {**details, **more})  # fmt: skip

    def _write(self, outcome: str, code: str | None, details: Any) -> Later | None:
        trail = self._trail
        count, names = trail.key_names(self._bound.spec, self._argv)
        return trail.log.record(
            self._action.event, outcome, client=self._who, command=self._bound.name, keys=count, key_names=names,
            code=code, latency_us=round((perf_counter() - self._began) * 1e6), security=self._action.security,
            in_block=self._in_block, **details,
        )  # fmt: skip


TOO_MANY: Final = (
    f"EXECABORT Transaction discarded because of: LIMIT more than {BLOCK_RECORDS_MAX} requests in a transaction that "
    "the audit has to record (audit-log-categories)"
)


async def _settled(later: Later) -> Reply:
    future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    later.listen(lambda reply: future.set_result(reply) if not future.done() else None)
    return await future
