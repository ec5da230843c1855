"""Entries of the log in words: which command, which keys, how large; values only when asked for.

Promise: what is printed is bounded and free of control characters, and a value appears only with `values`.
Not here: reading the log (`storage.upkeep.inspect`), what an entry does (`commands.operations`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..commands.operations import EVICT, EXEC, EXPIRE, IN, STAGE
from ..commands.registry import find
from ..engine import entries
from ..errors import CommandError
from ..storage.batch import Batch

WORD_CHARS_MAX = 64  # of one key or value, as printed
KEYS_MAX = 8  # of one entry, as printed
WORDS_MAX = 16  # of one request, as printed with its values

STAGE_HEAD, STAGE_STEP = 3, 4  # words before the first key; words of each key
Key = tuple[int, bytes]  # database, key


@dataclass(frozen=True, slots=True)
class Entry:
    """`keys` are all of them, `words` the whole operation."""

    sequence: int
    database: int
    name: str
    keys: tuple[Key, ...]
    words: tuple[bytes, ...]

    @property
    def bytes(self) -> int:
        return sum(map(len, self.words))

    def line(self, *, values: bool) -> str:
        shown = [shown_word(key) for _, key in self.keys[:KEYS_MAX]]
        if len(self.keys) > KEYS_MAX:
            shown.append(f"and {len(self.keys) - KEYS_MAX} more")
        text = f"{self.sequence:>12}  db {self.database}  {self.name:<10} {' '.join(shown)}  ({self.bytes} bytes)"
        if values:
            words = [shown_word(word) for word in self.words[:WORDS_MAX]]
            more = f" and {len(self.words) - WORDS_MAX} more" if len(self.words) > WORDS_MAX else ""
            text += f"\n{'':>14}{' '.join(words)}{more}"
        return text

    def as_dict(self, *, values: bool) -> dict[str, object]:
        found: dict[str, object] = {
            "sequence": self.sequence, "database": self.database, "name": self.name,
            "keys": [shown_word(key) for _, key in self.keys[:KEYS_MAX]], "key_count": len(self.keys),
            "bytes": self.bytes, "word_bytes": [len(word) for word in self.words[:WORDS_MAX]],
        }  # fmt: skip
        if values:
            found["words"] = [shown_word(word) for word in self.words[:WORDS_MAX]]
        return found


def entries_of(batch: Batch) -> Iterator[Entry]:
    """The entries of a batch with their sequences."""
    for sequence, operation in enumerate(entries.decode(batch.body), batch.first):
        yield entry_of(sequence, operation)


def entry_of(sequence: int, operation: Sequence[bytes]) -> Entry:
    words = tuple(operation)
    name, database = words[0], 0
    if name == IN:
        database, request = int(words[1]), words[2:]
        return Entry(sequence, database, _name(request), _keys(database, request), words)
    if name == EXEC:
        requests = list(_requests(words))
        keys = [key for database, request in requests for key in _keys(database, request)]
        text = "MULTI " + ",".join(dict.fromkeys(_name(request) for _, request in requests))
        return Entry(sequence, requests[0][0] if requests else 0, text, tuple(dict.fromkeys(keys)), words)
    if name == EXPIRE:
        database = int(words[1])
        return Entry(sequence, database, "(expired)", tuple((database, key) for key in words[2:]), words)
    if name == EVICT:
        database = int(words[1])
        return Entry(sequence, database, "(evicted)", tuple((database, key) for key in words[2::2]), words)
    if name == STAGE:
        database = int(words[2])
        keys = [(database, key) for key in words[STAGE_HEAD::STAGE_STEP]]
        return Entry(sequence, database, _name(words), tuple(keys), words)
    return Entry(sequence, database, _name(words), _keys(database, words), words)


def _requests(words: Sequence[bytes]) -> Iterator[tuple[int, Sequence[bytes]]]:
    """Those of a transaction: behind what it watched, each as database, number of words, words."""
    at = 2 + 3 * int(words[1])
    while at < len(words):
        size = int(words[at + 1])
        yield int(words[at]), words[at + 2 : at + 2 + size]
        at += 2 + size


def _name(request: Sequence[bytes]) -> str:
    name = shown_word(request[0])
    return f"({name[1:]})" if name.startswith("@") else name.upper()


def _keys(database: int, request: Sequence[bytes]) -> tuple[Key, ...]:
    """What the declaration of the command says; nothing for one that this version does not know."""
    spec = find(request[0].decode("ascii", "replace"))
    if spec is not None and spec.handler is None and len(request) > 1:
        spec = spec.subcommands.get(request[1].decode("ascii", "replace").lower())
    if spec is None:
        return ()
    try:
        return tuple((database, key) for key, _ in spec.keys_of(request))
    except CommandError:
        return ()  # its execution was refused as well


def shown_word(word: bytes) -> str:
    """Printable, bounded, and unmistakable: other bytes as in Python's notation."""
    text = "".join(chr(byte) if 32 < byte < 127 and byte != 92 else f"\\x{byte:02x}" for byte in word[:WORD_CHARS_MAX])
    more = f"...({len(word)} bytes)" if len(word) > WORD_CHARS_MAX else ""
    return (text or '""') + more
