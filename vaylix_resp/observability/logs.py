"""Log lines: one line per event, for people or as JSON, with Redis's four levels.

Promise: what a client or a file put into a message cannot forge a line or move a terminal's cursor; control
characters are escaped. Callers never pass secrets; nothing here could recognise one.
A file is opened again when something else was renamed into its place, so logrotate needs no signal.
Not here: SLOWLOG and LATENCY, which clients ask for; the audit trail.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from logging.handlers import WatchedFileHandler
from typing import Any

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


def configure(level: str = "notice", path: str = "", style: str = "plain") -> None:
    """Send messages of `level` and above to `path`, or to standard error; `style` is plain or json.

    Replaces what an earlier call set up. Raises OSError when the file cannot be opened, ValueError for a wrong name.
    """
    if level not in LEVELS or style not in ("plain", "json"):
        raise ValueError(f"no such level or style: {level}, {style}")
    handler: logging.Handler = _File(path, encoding="utf-8") if path else _Stream(sys.stderr)
    handler.setFormatter(_Json() if style == "json" else _Plain())
    for name in (ROOT, *_FOREIGN):
        logger = logging.getLogger(name)
        for old in logger.handlers[:]:
            logger.removeHandler(old)
            old.close()
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

    def handleError(self, record: logging.LogRecord) -> None:
        self.failures += 1
        if self.failures > _FAILURES_SHOWN:
            return
        try:
            sys.stderr.write(f"vaylix: cannot write the log: {sys.exc_info()[1]}\n")
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
        fields: dict[str, object] = getattr(record, "fields", {})
        text = " ".join([record.getMessage(), *(f"{name}={_bare(value)}" for name, value in fields.items())])
        head = f"{_stamp(record.created)} {_level_name(record.levelno)} [{_part(record)}] "
        if record.exc_info:
            rows = self.formatException(record.exc_info).split("\n")
            return "\n".join([head + neutralise(text), *("    | " + neutralise(row) for row in rows)])
        return head + neutralise(text)


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
