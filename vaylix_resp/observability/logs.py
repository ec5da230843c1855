"""Log lines: one line per event, for people or as JSON, with Redis's four levels.

Promise: what a client or a file put into a message cannot forge a line or move a terminal's cursor; control
characters are escaped. Callers never pass secrets; nothing here could recognise one.
A file is opened again when something else was renamed into its place, so logrotate needs no signal.
A system log that is slow or away is not waited for: it loses messages (and is told how many), the other log has them
all. That one is waited for: a pipe at standard error that nobody reads stops the server when it is full.
Not here: SLOWLOG and LATENCY, which clients ask for; the audit trail.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import sys
import time
from logging.handlers import SysLogHandler, WatchedFileHandler
from typing import Any, NamedTuple

DEBUG, VERBOSE, NOTICE, WARNING = 10, 15, 25, 30
LEVELS = {"debug": DEBUG, "verbose": VERBOSE, "notice": NOTICE, "warning": WARNING}
MESSAGE_CHARS_MAX = 16 * 1024  # a line stays readable, and one event cannot fill a disk

ROOT = "vaylix"
_FOREIGN = ("asyncio", "py.warnings")  # libraries whose messages belong into the same place
_FAILURES_SHOWN = 3  # complaints about a log that cannot be written; more help nobody

# C0, DEL, C1, and the separators at which some tools end a line.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_CONTROLS |= {10: "\\n", 13: "\\r", 9: "\\t", 0x2028: "\\u2028", 0x2029: "\\u2029"}
_CONTROLS |= {code: f"\\u{code:04x}" for code in range(0xD800, 0xE000)}  # not encodable, hence not printable


def neutralise(text: str) -> str:
    """`text` on one line without control characters, at most MESSAGE_CHARS_MAX long."""
    if len(text) > MESSAGE_CHARS_MAX:
        text = text[:MESSAGE_CHARS_MAX] + f"... ({len(text) - MESSAGE_CHARS_MAX} more)"
    return text.translate(_CONTROLS)


class Log:
    """Where a module reports events: a constant message, and fields for what varies."""

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(f"{ROOT}.{name}")

    def debug(self, message: str, /, **fields: object) -> None:
        """For whoever looks for a fault in us."""
        self._log(DEBUG, message, fields)

    def verbose(self, message: str, /, **fields: object) -> None:
        """For whoever follows single clients."""
        self._log(VERBOSE, message, fields)

    def notice(self, message: str, /, **fields: object) -> None:
        """What an operator wants to have seen in production."""
        self._log(NOTICE, message, fields)

    def warning(self, message: str, /, **fields: object) -> None:
        """What an operator has to act on."""
        self._log(WARNING, message, fields)

    def failure(self, message: str, error: BaseException, /, **fields: object) -> None:
        """A warning with the place in our code: only for what we did not foresee."""
        self._logger.warning(message, exc_info=error, extra={"fields": fields})

    def enabled(self, level: int) -> bool:
        """Whether a message of `level` goes anywhere; to spare the work of composing one."""
        return self._logger.isEnabledFor(level)

    def _log(self, level: int, message: str, fields: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, message, extra={"fields": fields})


def get_log(name: str) -> Log:
    """The log of one part of the server, such as `wal`."""
    return Log(name)


class Syslog(NamedTuple):
    """Where the system's log is, and how it is to file what we send."""

    ident: str
    facility: str  # user, local0 to local7
    address: str = "/dev/log"


def configure(
    level: str = "notice", path: str = "", style: str = "plain", syslog: Syslog | None = None
) -> None:
    """Send messages of `level` and above to `path`, or to standard error; `style` is plain or json. `syslog`: there,
    too.

    Replaces what an earlier call set up. Raises OSError when the file cannot be opened, ValueError for a wrong name.
    """
    if level not in LEVELS or style not in ("plain", "json"):
        raise ValueError(f"no such level or style: {level}, {style}")
    handler: logging.Handler = _File(path, encoding="utf-8") if path else _Stream(sys.stderr)
    handler.setFormatter(_Json() if style == "json" else _Plain())
    handlers = [handler] if syslog is None else [handler, _System(syslog)]
    for name in (ROOT, *_FOREIGN):
        logger = logging.getLogger(name)
        for old in logger.handlers[:]:
            logger.removeHandler(old)
            old.close()
        for handler in handlers:
            logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(LEVELS[level] if name == ROOT else max(LEVELS[level], NOTICE))


def set_level(level: str) -> None:
    """Change the least level shown while running. Raises KeyError for a wrong name."""
    for name in (ROOT, *_FOREIGN):
        logging.getLogger(name).setLevel(LEVELS[level] if name == ROOT else max(LEVELS[level], NOTICE))


class _Quiet(logging.Handler):
    """A log that cannot be written (full disk, closed terminal) never stops the server nor floods standard error."""

    failures = 0
    what = "write the log"

    def handleError(self, record: logging.LogRecord) -> None:
        self.failures += 1
        if self.failures > _FAILURES_SHOWN:
            return
        try:
            sys.stderr.write(f"vaylix: cannot {self.what}: {sys.exc_info()[1]}\n")
        except (OSError, ValueError):
            self.failures = _FAILURES_SHOWN  # nobody can be told


class _Stream(_Quiet, logging.StreamHandler[Any]):
    pass


class _File(_Quiet, WatchedFileHandler):
    def close(self) -> None:
        """Closing writes what is buffered, which a full disk refuses as well."""
        try:
            super().close()
        except OSError:
            self.handleError(logging.LogRecord(ROOT, WARNING, "", 0, "close", (), None))


class _System(_Quiet):
    """Datagrams to the system's log: `<priority>ident[pid]: [part] message`. A lost connection is made again."""

    what = "write to the system's log; start its daemon, or set syslog-enabled no"
    BYTES_MAX = 8 * 1024  # what the usual daemons take in one go
    SEVERITIES = {"debug": "debug", "verbose": "info", "notice": "notice", "warning": "warning"}

    def __init__(self, syslog: Syslog) -> None:
        super().__init__()
        self._syslog = syslog
        self._facility = SysLogHandler.facility_names[syslog.facility]
        self._socket: socket.socket | None = None
        self.lost = 0  # because it was not taken at once

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self.lost and self._send(logging.WARNING, f"{self.lost} messages did not get here in time"):
                self.lost = 0
            if not self._send(record.levelno, _Plain.body(record)):
                self.lost += 1
        except OSError:
            self._disconnect()
            self.handleError(record)

    def _send(self, levelno: int, text: str) -> bool:
        """Whether it was taken. Raises OSError when nobody is there."""
        severity = SysLogHandler.priority_names[self.SEVERITIES[_level_name(levelno)]]
        head = f"<{self._facility << 3 | severity}>{self._syslog.ident}[{os.getpid()}]: "
        data = (head + text).encode("utf-8", "backslashreplace")[: self.BYTES_MAX]
        for again in (True, False):
            try:
                self._connected().send(data)
                return True
            except OSError as problem:
                if problem.errno in (errno.EAGAIN, errno.ENOBUFS):
                    return False
                self._disconnect()  # the daemon was restarted: its socket is another one now
                if not again:
                    raise
        return False

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            self._socket.connect(self._syslog.address)
        return self._socket

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def close(self) -> None:
        self._disconnect()
        super().close()


def _level_name(levelno: int) -> str:
    """Redis knows nothing above warning and nothing between its levels."""
    return next((name for name, floor in reversed(LEVELS.items()) if levelno >= floor), "debug")


def _stamp(created: float) -> str:
    whole, ms = divmod(int(created * 1000), 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{ms:03d}Z"


def _part(record: logging.LogRecord) -> str:
    return record.name.removeprefix(ROOT + ".")


class _Plain(logging.Formatter):
    """`2026-11-22T13:27:49.910Z notice [wal] sealed a segment first=1 last=4711`."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_stamp(record.created)} {_level_name(record.levelno)} {self.body(record)}"
        if record.exc_info:
            rows = self.formatException(record.exc_info).split("\n")
            return "\n".join([line, *("    | " + neutralise(row) for row in rows)])
        return line

    @staticmethod
    def body(record: logging.LogRecord) -> str:
        """What is said, and by whom; without the place in our code, if there is one."""
        fields: dict[str, object] = getattr(record, "fields", {})
        text = " ".join([record.getMessage(), *(f"{name}={_bare(value)}" for name, value in fields.items())])
        return f"[{_part(record)}] {neutralise(text)}"


def _bare(value: object) -> str:
    """A field's value; quoted when it holds spaces, so that it cannot pass for two fields."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(c in text for c in ' ="') else text


class _Json(logging.Formatter):
    """One object per line: time, level, part, message, and the fields under their own names."""

    def format(self, record: logging.LogRecord) -> str:
        row: dict[str, object] = {
            "time": _stamp(record.created),
            "level": _level_name(record.levelno),
            "part": _part(record),
            "message": record.getMessage()[:MESSAGE_CHARS_MAX],
        }
        for name, value in getattr(record, "fields", {}).items():
            row[f"{name}_" if name in row else name] = _plain_json(value)
        if record.exc_info:
            row["traceback"] = self.formatException(record.exc_info)
        return json.dumps(row, ensure_ascii=True, allow_nan=False)


def _plain_json(value: object) -> object:
    if isinstance(value, (bool, int)) or value is None:
        return value
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return text[:MESSAGE_CHARS_MAX]
