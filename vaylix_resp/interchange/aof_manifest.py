"""The manifest of an `appendonlydir`, as Redis 7 writes it: which files make the data, in which order.

Promise: what could be read in two ways is refused.
Not here: the files themselves (`rdb_reader`, `command_stream`), where they are.
Source: `aofLoadManifestFromFile` of Redis 7.0.
"""

from __future__ import annotations

import re
import shlex
from typing import Final, NamedTuple

from ..errors import EX_DATA, Refused

LINE_CHARS_MAX: Final = 1024
_NAME: Final = re.compile(r"[^/\0\r\n]{1,255}")


class ManifestError(Refused):
    """One line: source, line, what is wrong."""

    exit_code = EX_DATA


class Piece(NamedTuple):
    name: str
    sequence: int
    kind: str  # b: base, i: what came after it, h: history, to be deleted


def read_manifest(source: str, text: str) -> list[str]:
    """The names of the files to read, in order: the base if there is one, then what came after it."""
    pieces = [_piece(f"{source}: line {number}", line) for number, line in enumerate(text.split("\n"), 1) if line
              and not line.startswith("#")]  # fmt: skip
    bases = [piece for piece in pieces if piece.kind == "b"]
    later = [piece for piece in pieces if piece.kind == "i"]
    if len(bases) > 1:
        raise ManifestError(f"{source}: two base files: {bases[0].name}, {bases[1].name}")
    if not bases and not later:
        raise ManifestError(f"{source}: it names no file")
    if any(one.sequence >= next_.sequence for one, next_ in zip(later, later[1:], strict=False)):
        raise ManifestError(f"{source}: the files of type i are not in order")
    return [piece.name for piece in bases + later]


def _piece(place: str, line: str) -> Piece:
    try:
        words = shlex.split(line) if len(line) <= LINE_CHARS_MAX else []
    except ValueError:
        words = []
    facts = dict(zip(words[::2], words[1::2], strict=False))
    name, sequence, kind = facts.get("file", ""), facts.get("seq", ""), facts.get("type", "")
    if len(words) % 2 or not _NAME.fullmatch(name) or name in (".", ".."):
        raise ManifestError(f"{place}: expected 'file NAME seq NUMBER type b|i|h'")
    if not sequence.isascii() or not sequence.isdigit() or kind not in ("b", "i", "h"):
        raise ManifestError(f"{place}: expected 'file NAME seq NUMBER type b|i|h'")
    return Piece(name, int(sequence), kind)
