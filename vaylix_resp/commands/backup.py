"""BACKUP: copies of the data that a restore can start from.

Logical: TO, VERIFY, CHECK, RESTORE write and read one file per name in `backup-dir`; a process of its own does the
work, the client waits, the others are served. Physical: START, STATUS, SEAL, ABORT, CLEANUP with Redis 8.10's
meanings. LIST serves both: every file that is there for good, which is what whoever copies them away wants to know.
All but STATUS and HELP wait for disks, or begin what SEAL and ABORT wait for; a transaction cannot wait, so unlike in
Redis it takes none of them.
Not here: the work (`engine.copies.backups`, `engine.copies.online_backup`).
"""

from __future__ import annotations

from ..errors import SYNTAX, CommandError
from ..resp.reply import Reply
from .arguments import help_reply, matches
from .ports import Client
from .spec import Argv, Kind, command, container

_READING = "O(N) where N is the size of the backup, in a process of its own"

container(
    "BACKUP", group="server", since="8.10.0", summary="A container for commands that make, check and restore backups.",
)  # fmt: skip


@command(
    "BACKUP|TO", arity=-3, kind=Kind.SESSION, flags="admin noscript no_multi", group="server", since="1.0.0",
    syntax="name [PLAIN]", complexity="O(N) where N is the size of the data, in a process of its own",
)  # fmt: skip
def to(client: Client, argv: Argv) -> Reply:
    """Write all databases, as they are at one sequence, to a new backup in backup-dir."""
    return client.server.backups.to(_name(argv), plain=_plain(argv))


@command(
    "BACKUP|VERIFY", arity=3, kind=Kind.SESSION, flags="admin noscript no_multi", group="server", since="1.0.0",
    syntax="name", complexity=_READING,
)  # fmt: skip
def verify(client: Client, argv: Argv) -> Reply:
    """Read every byte of a backup and compare its checksums, counts and digests."""
    return client.server.backups.verify(_name(argv))


@command(
    "BACKUP|CHECK", arity=3, kind=Kind.SESSION, flags="admin noscript no_multi", group="server", since="1.0.0",
    syntax="name", complexity=_READING,
)  # fmt: skip
def check(client: Client, argv: Argv) -> Reply:
    """Verify a backup, and say whether a restore would fit and what it would change; nothing is changed."""
    return client.server.backups.check(_name(argv))


@command(
    "BACKUP|RESTORE", arity=-3, kind=Kind.SESSION, flags="admin noscript no_multi denyoom", group="server",
    since="1.0.0", categories="write keyspace", syntax="name [PLAIN]", complexity=_READING,
)  # fmt: skip
def restore(client: Client, argv: Argv) -> Reply:
    """Replace all databases by what a backup holds, at once and as a whole, or change nothing."""
    plain = _plain(argv)
    refusal = client.server.node.refusal
    if refusal is not None:
        raise refusal
    return client.server.backups.restore(_name(argv), plain=plain)


@command(
    "BACKUP|LIST", arity=-2, kind=Kind.SESSION, flags="admin noscript no_multi", group="server", since="8.10.0",
    syntax="[NAMES]", complexity="O(N) where N is the number of backups",
)  # fmt: skip
def list_(client: Client, argv: Argv) -> Reply:
    """Return the paths of all files of backups that will not change any more, or what the logical ones are."""
    if len(argv) > 3 or (len(argv) == 3 and not matches(argv[2], b"NAMES")):
        raise CommandError(SYNTAX)
    backups = client.server.backups
    if len(argv) == 3:
        return backups.names()
    return backups.files(client.server.online_backup.list())


@command("BACKUP|START", arity=2, kind=Kind.SESSION, flags="admin noscript no_multi", group="server", since="8.10.0")
def start(client: Client, argv: Argv) -> Reply:
    """Begin an online backup in backupdirname: a fresh snapshot, and from then on the log."""
    return client.server.online_backup.start()


@command("BACKUP|STATUS", arity=2, kind=Kind.SESSION, flags="admin noscript", group="server", since="8.10.0")
def status(client: Client, argv: Argv) -> Reply:
    """Return the state of the online backup."""
    return client.server.online_backup.status()


@command("BACKUP|SEAL", arity=2, kind=Kind.SESSION, flags="admin noscript no_multi", group="server", since="8.10.0")
def seal(client: Client, argv: Argv) -> Reply:
    """Complete the online backup with everything that has been acknowledged."""
    return client.server.online_backup.seal()


@command("BACKUP|ABORT", arity=2, kind=Kind.SESSION, flags="admin noscript no_multi", group="server", since="8.10.0")
def abort(client: Client, argv: Argv) -> Reply:
    """Give up the online backup that is in progress."""
    return client.server.online_backup.abort()


@command("BACKUP|CLEANUP", arity=2, kind=Kind.SESSION, flags="admin noscript no_multi", group="server", since="8.10.0")
def cleanup(client: Client, argv: Argv) -> Reply:
    """Delete the files of an online backup that is sealed or has failed."""
    return client.server.online_backup.cleanup()


@command("BACKUP|HELP", arity=2, kind=Kind.SESSION, flags="loading stale early", group="server", since="8.10.0")
def backup_help(client: Client, argv: Argv) -> Reply:
    """The forms of BACKUP."""
    return help_reply(
        "BACKUP",
        "TO <name> [PLAIN]",
        "    Write a logical backup of all databases; with PLAIN in the clear.",
        "VERIFY <name>",
        "    Read every byte of a logical backup and compare checksums and digests.",
        "CHECK <name>",
        "    Verify a logical backup, and say whether and how restoring it would change the data.",
        "RESTORE <name> [PLAIN]",
        "    Replace all databases by what a logical backup holds.",
        "LIST [NAMES]",
        "    Return the paths of all files of backups that will not change any more;",
        "    with NAMES what the logical backups are.",
        "START",
        "    Start an online backup into backupdirname.",
        "STATUS",
        "    Return the state of the online backup.",
        "SEAL",
        "    Complete the online backup.",
        "ABORT",
        "    Abort the online backup that is in progress.",
        "CLEANUP",
        "    Remove the files of a sealed or failed online backup.",
    )


def _name(argv: Argv) -> str:
    return argv[2].decode("utf-8", "surrogateescape")


def _plain(argv: Argv) -> bool:
    if len(argv) > 4 or (len(argv) == 4 and not matches(argv[3], b"PLAIN")):
        raise CommandError(SYNTAX)
    return len(argv) == 4
