"""The whole visible state of a server, for comparing two of them at the end of a stream."""

from __future__ import annotations

from dataclasses import dataclass

from compat.frames import Value, Wire, encode, read_value

DATABASES = 16
EXPIRY_TOLERANCE_MS = 2000  # differences.py: time-left


@dataclass(frozen=True, slots=True)
class Entry:
    """One key: what TYPE, GET and PEXPIRETIME say."""

    kind: bytes
    value: bytes | None
    expires_ms: int  # -1: never


State = dict[tuple[int, bytes], Entry]


def read_state(port: int) -> State:
    """Every key of every database, over a connection of its own, in pipelines."""
    wire = Wire(port)
    try:
        state: State = {}
        for database in range(DATABASES):
            wire.ask(b"SELECT", b"%d" % database)
            keys = [item.items for item in read_value(wire.ask(b"KEYS", b"*")).items]
            for key in keys:
                wire.send(b"".join(encode((verb, key)) for verb in (b"TYPE", b"GET", b"PEXPIRETIME")))
            for key in keys:
                kind, value, expires = (read_value(frame) for frame in wire.frames(3))
                state[database, key] = Entry(kind.items, text_of(value), int(expires.items))
        return state
    finally:
        wire.close()


def text_of(value: Value) -> bytes | None:
    return value.kind.encode() + value.items if value.items is not None else None


def state_differences(redis: State, us: State) -> list[str]:
    """One line for each key that differs; expiry within the tolerance counts as the same."""
    lines = []
    for place in sorted(redis.keys() | us.keys()):
        left, right = redis.get(place), us.get(place)
        if left is None or right is None or not entries_agree(left, right):
            lines.append(f"db {place[0]} key {place[1]!r}: redis {left}, us {right}")
    return lines


def entries_agree(left: Entry, right: Entry) -> bool:
    if left.kind != right.kind or left.value != right.value:
        return False
    if min(left.expires_ms, right.expires_ms) < 0:
        return left.expires_ms == right.expires_ms
    return abs(left.expires_ms - right.expires_ms) <= EXPIRY_TOLERANCE_MS
