"""Admission: may this request run now? Pure but for ACL LOG, in Redis's order, so that the first error is the same one.

unknown name, arity -> what settings forbid -> log-in -> transactions -> ACL -> where the leader is -> memory -> audit
-> sizes -> the log's state -> subscriber mode.
Not here: waiting (a pause, a full batch), which `execution` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..commands import redirection
from ..commands.spec import CommandSpec, Kind
from ..errors import NO_AUTH, OUT_OF_MEMORY, CommandError, wrong_arity
from . import rights
from .monitor import refused_while_monitoring
from .pubsub import refused_in_subscriber_mode
from .session import Session
from .sizes import Sizes
from .table import Bound

# What MULTI does not queue. RESET and QUIT leave the transaction; WATCH answers an error of its own.
NOT_QUEUED: Final = frozenset({"exec", "discard", "multi", "watch", "quit", "reset"})


def refusal(
    session: Session, bound: Bound, argv: Sequence[bytes], log_refusal: CommandError | None
) -> CommandError | None:
    """The error for a request that must not run, or None. `log_refusal` is why writes are refused, if they are."""
    if not bound.low <= len(argv) <= bound.high:
        return wrong_arity(bound.name)
    spec = bound.spec
    if spec.forbidden is not None and (forbidden := spec.forbidden(session)) is not None:
        return forbidden
    if not session.authenticated and "no_auth" not in spec.flags:
        return CommandError(NO_AUTH)
    if session.multi is not None and "no_multi" in spec.flags:
        return CommandError("ERR Command not allowed inside a transaction")
    if session.limited and (denied := rights.refusal(session, bound, argv)) is not None:
        return denied
    if session.elsewhere and (told := redirection.refusal(session, spec, argv)) is not None:
        return told
    memory = session.server.memory
    if memory.refusal is not None and memory.denies(session, spec):
        full: CommandError = memory.refusal
        return full
    if bound.name in memory.stretching and memory.exceeds(session, spec, argv):
        return CommandError(OUT_OF_MEMORY)
    if bound.audit is not None:
        unheard: CommandError | None = session.server.audit.refusal(session, bound, argv)
        if unheard is not None:
            return unheard
    sizes: Sizes | None = session.server.sizes
    if sizes is not None and (too_large := sizes.refusal(session, bound, argv)) is not None:
        return too_large
    if log_refusal is not None and writes(session, spec):
        return log_refusal
    return refused_in_subscriber_mode(session, spec) or refused_while_monitoring(session, spec)


def writes(session: Session, spec: CommandSpec) -> bool:
    """Whether running this would put something into the log: a write, or EXEC of a block with one."""
    if spec.kind is Kind.WRITE:
        return True
    return spec.name == "exec" and session.multi is not None and session.multi.has_writes


def must_land_first(session: Session, bound: Bound) -> bool:
    """Whether the session's writes in flight have to be applied before this may run.

    EXEC among them if keys are watched: only then is it known whether the session's own writes touched them.
    """
    if bound.kind is not Kind.SESSION:
        return False
    return not bound.early or (bound.name == "exec" and bool(session.watched))


def queued(session: Session, spec: CommandSpec) -> bool:
    return session.multi is not None and spec.name not in NOT_QUEUED
