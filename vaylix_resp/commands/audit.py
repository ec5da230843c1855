"""AUDIT: the head of the audit's chain, its newest records, and whether all of it is whole. Ours; Redis has none.

Not here: what is recorded (`audit_events`), reading and checking the files (`engine.audit`).
"""

from __future__ import annotations

from typing import Final

from ..errors import CommandError
from ..resp.reply import Reply
from .arguments import bounded, help_reply
from .ports import Client
from .spec import Argv, Kind, command, container

TAIL: Final = 10  # records of a plain AUDIT TAIL
TAIL_MAX: Final = 1000
OFF: Final = "ERR the audit is switched off (audit no)"

container("AUDIT", group="server", since="1.0.0", summary="The record of who did what.")


@command(
    "AUDIT|HEAD", arity=2, kind=Kind.SESSION, flags="admin noscript loading stale", group="server",
    tips=("nondeterministic_output",),
)  # fmt: skip
def audit_head(client: Client, argv: Argv) -> Reply:
    """Sequence and hash of the newest durable record, and of the one that the data's log has committed."""
    reply: Reply = client.server.audit.head()
    return reply


@command(
    "AUDIT|TAIL", arity=-2, kind=Kind.SESSION, flags="admin noscript loading stale no_multi", group="server",
    syntax="[count]", complexity="O(N) where N is the number of records", tips=("nondeterministic_output",),
)  # fmt: skip
def audit_tail(client: Client, argv: Argv) -> Reply:
    """The newest durable records, oldest first, as they stand in the file."""
    if len(argv) > 3:
        raise CommandError("ERR wrong number of arguments for 'audit|tail' command")
    count = bounded(argv[2], 1, TAIL_MAX) if len(argv) == 3 else TAIL
    reply: Reply = client.server.audit.tail(count)
    return reply


@command(
    "AUDIT|VERIFY", arity=2, kind=Kind.SESSION, flags="admin noscript loading stale no_multi", group="server",
    complexity="O(N) where N is the size of the audit, in a process of its own", tips=("nondeterministic_output",),
)  # fmt: skip
def audit_verify(client: Client, argv: Argv) -> Reply:
    """Check all files up to what is durable now: hashes, chain, signatures, and the head that the log has committed."""
    reply: Reply = client.server.audit.verify()
    return reply


@command("AUDIT|HELP", arity=2, kind=Kind.SESSION, flags="loading stale early", group="server")
def audit_help(client: Client, argv: Argv) -> Reply:
    """The forms of AUDIT."""
    return help_reply(
        "AUDIT",
        "HEAD",
        "    Return sequence and hash of the newest durable record, and what the log has committed.",
        "TAIL [<count>]",
        "    Return the newest records (10 by default) as lines of JSON.",
        "VERIFY",
        "    Check all files of the audit; the first fault of each is named.",
    )
