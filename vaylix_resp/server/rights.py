"""What a session may do: refusals by ACL, and what a change of users and roles means to the sessions there are.

A session holds the grants of its user and is given new ones as soon as an entry that changes users has been applied,
before anything else is executed. Sessions that may do everything (`limited` is False) never come here.
Promise: every refusal is counted and noted in ACL LOG.
Not here: deciding (`security.access`), what a request needs (`commands.catalog`), passwords (`entrance`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ..commands.catalog import made_up_keys
from ..commands.ports import Client
from ..commands.spec import Argv, CommandSpec
from ..errors import CommandError, printable
from ..security.access import CHANNEL, COMMAND, DATABASE, KEY, Denied, Grants, Request, refusal_text
from ..security.acl import bytes_of
from ..security.acl_log import MULTI, TOP_LEVEL
from ..security.passwords import expired
from ..state.accounts import DEFAULT
from .clients import describe

if TYPE_CHECKING:
    from .table import Bound

REFUSAL_BYTES_MAX: Final = 4096
COUNTERS: Final = {
    COMMAND: "acl_access_denied_cmd",
    KEY: "acl_access_denied_key",
    CHANNEL: "acl_access_denied_channel",
    DATABASE: "acl_access_denied_db",
}
# Of a request in a transaction that EXEC may not run any more, in Redis's words.
CHANGED: Final = (
    "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is "
    "no longer allowed for the following reason: "
)
CHANGED_REASONS: Final = {
    COMMAND: "no permission to execute the command or subcommand",
    KEY: "no permission to touch the specified keys",
    CHANNEL: "no permission to access one of the channels used as arguments to the command",
    DATABASE: "no permission to access the database",
}


def refusal(session: Client, bound: Bound, argv: Argv, db: int | None = None) -> CommandError | None:
    """The error for a request that the session's user may not make, or None. `db`: not in the session's own."""
    grants, bit = session.grants, bound.bit
    if bit & grants.free:
        return None
    if bound.one_key is not None and len(argv) > 1 and grants.allows_one_key(bit, argv[1], bound.one_key):
        return None
    spec = bound.spec
    catalog = session.server.catalog
    if db is None:
        db = session.db if session.multi is None else session.multi.db
    request = catalog.request(spec, argv, db)
    denied = grants.check(request)
    if denied is None:
        return _option_refusal(grants, spec, argv, request)
    _note(session, spec, denied, MULTI if session.multi is not None else TOP_LEVEL)
    text = refusal_text(session.user, spec.name, denied, named=False)
    return CommandError("NOPERM " + printable(bytes_of(text), REFUSAL_BYTES_MAX))


def _option_refusal(grants: Grants, spec: CommandSpec, argv: Argv, request: Request) -> CommandError | None:
    option = made_up_keys(spec, argv)
    if option and not grants.roams(request):
        return CommandError(f"ERR {option} option of SORT denied due to insufficient ACL permissions.")
    return None


def covers(session: Client, bound: Bound, row: Sequence[Argv]) -> bool:
    """Whether the user may make all requests of this row, as far as can be told quickly."""
    grants, bit, rights = session.grants, bound.bit, bound.one_key
    if bit & grants.free:
        return True
    return rights is not None and all(len(argv) > 1 and grants.allows_one_key(bit, argv[1], rights) for argv in row)


def recheck(session: Client, requests: Sequence[tuple[CommandSpec, Argv, int]]) -> dict[int, CommandError]:
    """The requests of a transaction that may not run any more, by their place: rights may have changed since."""
    found: dict[int, CommandError] = {}
    for at, (spec, argv, db) in enumerate(requests):
        request = session.server.catalog.request(spec, argv, db)
        denied = session.grants.check(request)
        if denied is not None:
            _note(session, spec, denied, MULTI)
            found[at] = CommandError(CHANGED + CHANGED_REASONS[denied.reason])
        elif (refused := _option_refusal(session.grants, spec, argv, request)) is not None:
            found[at] = refused
    return found


def _note(session: Client, spec: CommandSpec, denied: Denied, context: str) -> None:
    stats, counter = session.server.stats, COUNTERS[denied.reason]
    setattr(stats, counter, getattr(stats, counter) + 1)
    what = spec.name.encode() if denied.reason == COMMAND else denied.object
    note(session, denied.reason, what, bytes_of(session.user), context)
    session.server.audit.denied(session, spec, denied)


def note(session: Client, reason: str, what: bytes, user: bytes, context: str) -> None:
    """An entry of ACL LOG."""
    server = session.server
    who = describe(session, server.clock.now())
    server.acl_log.note(
        reason, what, user, who, server.clock.wall_ms(), context=context, limit=server.settings.acllog_max_len
    )


def renew(session: Client) -> None:
    """Users or roles have changed: other grants, or the end of the session."""
    accounts = session.server.accounts
    account = accounts.users.get(session.user)
    if account is None or account.born != session.born:
        end(session)
        return
    session.become(session.user)
    session.recheck_reads()
    kept = session.grants.keeps([*session.channels, *session.shard_channels], session.patterns)
    if not kept or (session.monitor and _may_not_monitor(session)):
        end(session)
        return
    if not session.authenticated and accounts.open:
        session.authenticated = session.server.quotas.enter(session, DEFAULT) is None
    session.refresh()


def _may_not_monitor(session: Client) -> bool:
    """Unlike in Redis MONITOR ends with the right to it: it shows every key and value."""
    return session.grants.check(session.server.catalog.probe("monitor")) is not None


def end(session: Client) -> None:
    """Close it; one that waits for a reply, which may be that to the very change, is told first."""
    if session.waiting is not None and not session.waiting.blocking:
        session.close_after_reply()
    else:
        session.kill()


def has_expired(session: Client, now_ms: int) -> bool:
    """Whether the session's user has come to its end (`expireat`)."""
    account = session.server.accounts.users.get(session.user)
    return session.authenticated and account is not None and expired(account.expires_at_s, now_ms)
