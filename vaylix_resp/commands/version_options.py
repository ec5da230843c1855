"""The option words of TairString's EX* family, which differ from SET's in grammar and in error texts.

A word with an operand may stand once, one without may be repeated; what is wrong with an operand is mostly a
syntax error. ABS is refused: it could lower a version. Not here: what the commands do (`versioned`).
"""

from __future__ import annotations

from typing import Final

from ..errors import SYNTAX, CommandError
from ..state.values import Item, version_of
from ..state.views import WriteTx
from .arguments import INT64_MAX, parse_int
from .conditional import TIMES, deadline
from .spec import Argv

STALE: Final = "ERR update version is stale"
ABS_REFUSED: Final = "ERR ABS is not supported: versions only grow, so that a stale one never passes; use VER"
FLAGS_MAX: Final = (1 << 32) - 1

# word -> (the group in which it excludes the others, operands that follow it)
_WORDS: Final = {
    b"NX": ("condition", 0),
    b"XX": ("condition", 0),
    b"EX": ("expiry", 1),
    b"PX": ("expiry", 1),
    b"EXAT": ("expiry", 1),
    b"PXAT": ("expiry", 1),
    b"KEEPTTL": ("expiry", 0),
    b"VER": ("version", 1),
    b"ABS": ("version", 1),
    b"FLAGS": ("flags", 1),
    b"DEF": ("default", 1),
    b"MIN": ("min", 1),
    b"MAX": ("max", 1),
    b"NONEGATIVE": ("nonegative", 0),
    b"WITHVERSION": ("withversion", 0),
}

class VersionOptions:
    """The option words of one request, checked as far as no state is needed."""

    def __init__(self, argv: Argv, at: int, allowed: frozenset[bytes], name: str) -> None:
        self.name = name
        self.said: dict[str, tuple[bytes, bytes]] = {}  # group -> word, operand
        while at < len(argv):
            word = argv[at].upper()
            group, operands = _WORDS[word] if word in allowed else ("", len(argv))
            before = self.said.get(group)
            if at + operands >= len(argv) or (before is not None and (operands or before[0] != word)):
                raise CommandError(SYNTAX)
            self.said[group] = word, argv[at + operands]
            at += operands + 1
        self.time = self._number("expiry", 1, INT64_MAX) if self._word("expiry") in TIMES else None
        self.version = self._number("version", 0, INT64_MAX)
        self.flags = self._number("flags", 0, FLAGS_MAX)
        if self._word("version") == b"ABS":
            raise CommandError(ABS_REFUSED)
        self.at_ms(0)

    def _word(self, group: str) -> bytes:
        return self.said[group][0] if group in self.said else b""

    def _number(self, group: str, low: int, high: int) -> int | None:
        if group not in self.said:
            return None
        number = parse_int(self.said[group][1])
        if number is None or not low <= number <= high:
            raise CommandError(SYNTAX)
        return number

    def has(self, group: str) -> bool:
        return group in self.said

    def operand(self, group: str) -> bytes | None:
        return self.said[group][1] if group in self.said else None

    def at_ms(self, now_ms: int) -> int | None:
        if self.time is None:
            return None
        return deadline(self._word("expiry"), b"%d" % self.time, now_ms, self.name)

    def excluded(self, item: Item | None) -> bool:
        """NX or XX says no."""
        return self._word("condition") == (b"XX" if item is None else b"NX")

    def ensure_fresh(self, item: Item | None) -> None:
        """VER names the version there is; 0 names any, and so does every one of a key that is not there."""
        if item is not None and self.version and self.version != version_of(item):
            raise CommandError(STALE)

    def write(self, tx: WriteTx, key: bytes, value: bytes, at_ms: int | None, event: str) -> int:
        """Store with the expiry and flags asked for; the new version. The caller has looked at the key."""
        tx.update(key, value)
        version = tx.version(key)  # before an expiry in the past hides the key
        if self.flags is not None:
            tx.set_flags(key, self.flags)
        if at_ms is not None:
            tx.set_expiry(key, at_ms, moves_version=False)
        elif self._word("expiry") != b"KEEPTTL" and tx.expiry(key) is not None:
            tx.set_expiry(key, None, moves_version=False)
        tx.event("$", event, key)
        if at_ms is not None:
            tx.event("g", "expire", key)
        return version
