"""What a handler may return, and nothing else.

    bytes          bulk string              int      integer
    None           null                     float    double (RESP2: bulk string)
    list, tuple    array                    dict     map (RESP2: flat array)
    Simple, OK     simple string            CommandError   error
    NULL_ARRAY     `*-1` (RESP3: null)      Push     out-of-band message (RESP2: array)
    SetOf          set (RESP2: array)       Verbatim text with a format (RESP2: bulk string)
    bool           boolean (RESP2: 1 or 0)  NO_REPLY nothing at all (the handler pushed, or stays silent)

Source: the RESP3 specification and Redis's own down-conversion to RESP2.
"""

from __future__ import annotations

from typing import Any, Final


class Simple:
    """A status line such as `+OK`; holds no CR or LF."""

    __slots__ = ("text", "wire")

    def __init__(self, text: str) -> None:
        self.text = text
        self.wire = b"+" + text.encode() + b"\r\n"

    def __repr__(self) -> str:
        return f"+{self.text}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Simple) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


class Push(list[Any]):
    """Sent between replies: pub/sub messages, invalidations."""


class SetOf(list[Any]):
    """Unordered, without repetition; a list because encoding needs some order."""


class Verbatim:
    """Text for people; `kind` is three letters (`txt`, `mkd`)."""

    __slots__ = ("kind", "text")

    def __init__(self, text: bytes, kind: str = "txt") -> None:
        self.text, self.kind = text, kind


class Wire:
    """Bytes for each protocol as they go out: kinds of RESP3 that no command but DEBUG PROTOCOL answers with."""

    __slots__ = ("resp2", "resp3")

    def __init__(self, resp2: bytes, resp3: bytes) -> None:
        self.resp2, self.resp3 = resp2, resp3


class _Marker:
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


OK: Final = Simple("OK")
PONG: Final = Simple("PONG")
QUEUED: Final = Simple("QUEUED")
RESET: Final = Simple("RESET")
NULL_ARRAY: Final = _Marker("NULL_ARRAY")
NO_REPLY: Final = _Marker("NO_REPLY")

Reply = Any  # one of the above; a union would have to be recursive, and handlers are checked by the encoder's tests
