"""What a stream consists of: single requests, and steps that need more than sending bytes and comparing
replies."""

from __future__ import annotations

from dataclasses import dataclass

Argv = tuple[bytes, ...]

CONNECTIONS = 4
WRITERS = (0, 1)  # carry the random requests, transactions and WATCH
HELPER = 2  # never inside MULTI; runs the steps that need a sequence of their own
LISTENER = 3  # subscribes


@dataclass(frozen=True, slots=True)
class Request:
    """One request on one connection; most have one reply."""

    connection: int
    argv: Argv
    replies: int = 1

    def __str__(self) -> str:
        return f"[{self.connection}] " + " ".join(show_word(word) for word in self.argv)


@dataclass(frozen=True, slots=True)
class Pause:
    """Let short times to live pass; the keys concerned are not touched meanwhile."""

    milliseconds: int

    def __str__(self) -> str:
        return f"pause {self.milliseconds} ms"


@dataclass(frozen=True, slots=True)
class ScanAll:
    """Follow a SCAN's cursor to its end on each server; the sets of keys must agree."""

    options: Argv

    def __str__(self) -> str:
        return "scan to the end " + " ".join(show_word(word) for word in self.options)


@dataclass(frozen=True, slots=True)
class RandomKey:
    """RANDOMKEY, then EXISTS of what each server named."""

    def __str__(self) -> str:
        return "randomkey names an existing key"


@dataclass(frozen=True, slots=True)
class DumpRestore:
    """DUMP a key on each server, compare the payloads, RESTORE either on both."""

    source: bytes
    target: bytes
    options: Argv

    def __str__(self) -> str:
        options = " ".join(show_word(word) for word in self.options)
        return f"dump {show_word(self.source)}, restore {show_word(self.target)} {options}"


@dataclass(frozen=True, slots=True)
class Reconnect:
    """QUIT must be answered and followed by the end of the connection."""

    connection: int

    def __str__(self) -> str:
        return f"[{self.connection}] quit and reconnect"


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes on a fresh connection, everything compared until the server closes; they end in QUIT or a bad frame."""

    data: bytes

    def __str__(self) -> str:
        return f"raw {self.data!r}"


@dataclass(frozen=True, slots=True)
class Notifications:
    """The keyspace events that these requests cause, in order."""

    requests: tuple[Argv, ...]

    def __str__(self) -> str:
        return "events of: " + "; ".join(" ".join(show_word(w) for w in argv) for argv in self.requests)


@dataclass(frozen=True, slots=True)
class Listening:
    """Requests of the listener and of the helper, and all messages the listener gets after each."""

    requests: tuple[Request, ...]

    def __str__(self) -> str:
        return "listening: " + "; ".join(str(request) for request in self.requests)


@dataclass(frozen=True, slots=True)
class Tracking:
    """What a RESP3 client that tracks is told: it reads, it and another write, and the invalidated keys must agree."""

    options: Argv
    reads: tuple[Argv, ...]
    writes: tuple[Request, ...]

    def __str__(self) -> str:
        words = [b"TRACKING", *self.options]
        reads = "; ".join(" ".join(show_word(w) for w in argv) for argv in self.reads)
        return " ".join(show_word(w) for w in words) + f": {reads} | " + "; ".join(map(str, self.writes))


Step = Request | Pause | ScanAll | RandomKey | DumpRestore | Reconnect | Raw | Notifications | Listening | Tracking


def show_word(word: bytes) -> str:
    """A word as redis-cli would take it."""
    if word and all(33 <= byte < 127 and byte not in b"\"'\\" for byte in word):
        return word.decode()
    text = "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word[:200])
    return f'"{text}"' + (f"...({len(word)} bytes)" if len(word) > 200 else "")
