"""What can go wrong, and what each kind asks of whoever meets it.

Promise: an error reply means "it did not happen", unless its code is INDETERMINATE.
Not here: damage on disk (`storage.errors`), which is for the operator and never for a client.
"""

from __future__ import annotations

import errno
import os

EX_OK = 0
EX_USAGE = 64  # what was asked for cannot be done as asked
EX_DATA = 65  # damaged data: the server refuses to start and names the place
EX_BROKEN = 70  # one of our own invariants failed: stop before it spreads
EX_IO = 74  # the disk failed under us
EX_CONFIG = 78  # the configuration cannot be used


class CommandError(Exception):
    """The request is wrong, the same on every replica; `text` is the reply with its code in front.

    Raised by a handler before it has written anything, so nothing is left behind.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    @property
    def code(self) -> str:
        """The first word: what client libraries map to an exception class."""
        return self.text.split(" ", 1)[0]


class Refused(Exception):
    """What an operator has to look at: damage, a missing key, a wrong option. str() is one line, fit to be printed."""

    exit_code = EX_IO


class WrongUsage(Refused):
    """What was asked for on the command line cannot be done as asked."""

    exit_code = EX_USAGE


def told(failure: Exception) -> str:
    """For people: what was foreseen says itself what it is."""
    return str(failure) if isinstance(failure, Refused | OSError) else repr(failure)


_NOT_ALLOWED = (errno.EACCES, errno.EPERM)


def not_allowed(cause: OSError) -> bool:
    """Whether it is about rights, and says nothing about the disk."""
    return cause.errno in _NOT_ALLOWED


def remedy(cause: OSError) -> str:
    """What helps when the system refuses a file of ours, to go behind "to continue: "."""
    if not_allowed(cause):
        return f"give it to the user that this runs as (id {os.geteuid()}), or run it as the user that owns it"
    if cause.errno == errno.EROFS:
        return "mount the file system for writing, or choose another place"
    if cause.errno == errno.ENOTDIR:
        return "choose a directory"
    return "free or replace the disk"


class Halt(BaseException):
    """Only this process is wrong (disk, memory, a bug): stop it before it diverges.

    `exit_code` is one of the EX_ constants; the text is one line for the operator.
    """

    def __init__(self, exit_code: int, text: str) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def error(message: str) -> CommandError:
    """A plain `ERR`."""
    return CommandError("ERR " + message)


# Texts that several commands share; each is Redis 7.2's own, because clients compare them.
SYNTAX = "ERR syntax error"
NOT_AN_INTEGER = "ERR value is not an integer or out of range"
NOT_A_FLOAT = "ERR value is not a valid float"
WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
NO_SUCH_KEY = "ERR no such key"
NO_AUTH = "NOAUTH Authentication required."
WRONG_PASS = "WRONGPASS invalid username-password pair or user is disabled."  # noqa: S105 - a reply, not a secret
EXEC_ABORT = "EXECABORT Transaction discarded because of previous errors."
OUT_OF_MEMORY = "OOM command not allowed when used memory > 'maxmemory'."
LIMIT_RATE = "LIMIT more than {rate} {what} per second for {subject} ({directive}); wait {wait_ms} ms"
LIMIT_CONNECTIONS = "LIMIT {subject} already has {count} connections ({directive})"
LIMIT_SIZE = "LIMIT a {what} of {size} bytes: at most {most} are allowed ({directive})"
LIMIT_KEYS = "LIMIT {count} keys in one command: at most {most} are allowed ({directive})"
LIMIT_TRANSACTION = "LIMIT more than {most} {what} in a transaction ({directive})"
LIMIT_WATCHED = "LIMIT more than {most} bytes of watched keys ({directive})"
LIMIT_OPEN = "LIMIT {what} for more than {most} seconds ({directive}): begin again"
MAINTENANCE = "MAINTENANCE Writes are refused: {message}. Reads go on; write again when maintenance is over"
MAINTENANCE_USUAL = "the server is in maintenance mode"
INDETERMINATE = (
    "INDETERMINATE the log could not be synced: this write may or may not survive a restart; "
    "read it back after the server has been restarted"
)
MISCONF_LOG = "MISCONF Writes are refused: the log failed ({reason}). Reads go on; restart on a healthy disk"
AUDIT_FAILED = "MISCONF Changes of security are refused: the audit cannot be written ({reason}); see audit-on-failure"
AUDIT_LOST = (
    "INDETERMINATE the request was executed, but its audit record could not be written: look before you repeat it"
)
MISCONF_FULL = "MISCONF Writes are refused: the disk of the data directory is full. Writes resume when space is back"


def wrong_arity(name: str) -> CommandError:
    """`name` in lower case, a subcommand as `client|kill`."""
    return CommandError(f"ERR wrong number of arguments for '{name}' command")


def printable(raw: bytes, limit: int = 128) -> str:
    """Client bytes made safe for an error line: bounded, no CR, LF or other controls."""
    text = raw[:limit].decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else " " for c in text)
