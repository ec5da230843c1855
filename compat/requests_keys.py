"""Random requests on keys of any type: existence, names, time to live, order, and whole databases."""

from __future__ import annotations

from compat.material import ODD_NUMBERS, PATTERNS, SIGNED_64, Material
from compat.requests_strings import Builder, Words


def count_keys(m: Material) -> Words:
    return [m.pick((b"DEL", b"UNLINK", b"EXISTS", b"EXISTS", b"TOUCH")), *m.keys(4)]


def about_key(m: Material) -> Words:
    return [m.pick((b"TYPE", b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME", b"PERSIST", b"DUMP")), m.key()]


def expire(m: Material) -> Words:
    verb, time = m.rng.choice(
        (
            (b"EXPIRE", m.seconds()), (b"PEXPIRE", m.milliseconds()),
            (b"EXPIREAT", m.at_seconds()), (b"PEXPIREAT", m.at_milliseconds()),
        )
    )  # fmt: skip
    condition = m.some([b"NX"], [b"XX"], [b"GT"], [b"LT"], share=0.15)
    return [verb, m.key(), time, *condition]


def rename(m: Material) -> Words:
    return [b"RENAME" if m.chance(0.6) else b"RENAMENX", m.key(), m.key()]


def copy(m: Material) -> Words:
    return [b"COPY", m.key(), m.key(), *m.some([b"DB", m.database()], [b"REPLACE"])]


def move(m: Material) -> Words:
    return [b"MOVE", m.key(), m.database()]


def keys_pattern(m: Material) -> Words:
    return [b"KEYS", m.pick(PATTERNS)]


def scan(m: Material) -> Words:
    """From the start with room for all: the whole set in one reply, on both servers."""
    if m.chance(0.1):
        return [b"SCAN", m.pick((b"abc", b"-1", b"", b"99999999999999999999")), *scan_options(m)]
    return [b"SCAN", b"0", b"COUNT", b"100000", *scan_options(m)]


def scan_options(m: Material) -> Words:
    match = [b"MATCH", m.pick(PATTERNS)]
    kind = [b"TYPE", m.pick((b"string", b"STRING", b"list", b"zset", b"nothing"))]
    return m.some(match, kind, share=0.4)


def object_(m: Material) -> Words:
    return [b"OBJECT", m.pick((b"ENCODING", b"REFCOUNT", b"IDLETIME", b"FREQ", b"encoding")), m.key()]


def sort(m: Material) -> Words:
    """On missing keys and strings: what SORT does with the types of part 1."""
    verb = b"SORT" if m.chance(0.7) else b"SORT_RO"
    pattern = m.pick((b"k*", b"#", b"nosort", b"k*->f"))
    options = m.some(
        [b"ALPHA"], [b"DESC"], [b"ASC"], [b"LIMIT", m.integer(), m.integer()], [b"BY", pattern],
        [b"GET", pattern], [b"STORE", m.key()], share=0.2,
    )  # fmt: skip
    return [verb, m.key(), *options]


def restore(m: Material) -> Words:
    payload = m.pick(m.payloads)
    if m.chance(0.1):
        payload = payload[:-1] + bytes([payload[-1] ^ 1])
    time = m.pick((b"0", b"0", b"-1", b"abc")) if m.chance(0.6) else m.milliseconds()
    if time in SIGNED_64:  # differences.py: restore-overflow
        time = b"0"
    options = m.some([b"REPLACE"], [b"IDLETIME", m.pick((b"5", b"-1", b"x"))], [b"FREQ", m.pick((b"5", b"300"))])
    if m.chance(0.2):
        return [b"RESTORE", m.key(), m.at_milliseconds(), payload, b"ABSTTL", *options]
    return [b"RESTORE", m.key(), time, payload, *options]


def select(m: Material) -> Words:
    return [b"SELECT", m.database()]


def swapdb(m: Material) -> Words:
    return [b"SWAPDB", m.database(), m.database()]


def flush(m: Material) -> Words:
    mode = m.some([m.pick((b"SYNC", b"ASYNC", b"async", b"NOW"))], share=0.5)
    return [b"FLUSHDB" if m.chance(0.7) else b"FLUSHALL", *mode]


def dbsize(_m: Material) -> Words:
    return [b"DBSIZE"]


def odd_numbers(m: Material) -> Words:
    """A place for a number, and something that is none."""
    odd = m.pick(ODD_NUMBERS)
    shapes: tuple[Words, ...] = (
        [b"SCAN", b"0", b"COUNT", odd], [b"SELECT", odd], [b"MOVE", m.key(), odd], [b"SWAPDB", odd, b"0"],
        [b"LCS", m.key(), m.key(), b"MINMATCHLEN", odd], [b"WAIT", odd, b"0"], [b"SORT", m.key(), b"LIMIT", odd, b"1"],
        [b"COPY", m.key(), m.key(), b"DB", odd],
    )  # fmt: skip
    words = m.rng.choice(shapes)
    # A wait for one replica without a bound never ends, and a small COUNT gives a part of the keys.
    if words[0] == b"WAIT" and odd not in (b"-1", b"0", b"abc", b"", b"1.5"):
        return [b"WAIT", b"0", odd] if odd == b"0" else [b"WAIT", b"0", b"0"]
    if words[0] == b"SCAN" and odd in (b"1", b"+1"):
        return [b"SCAN", b"0", b"COUNT", b"0"]
    return words


KEYS_REQUESTS: tuple[tuple[int, Builder], ...] = (
    (8, count_keys), (8, about_key), (6, expire), (3, rename), (3, copy), (2, move), (2, keys_pattern), (2, scan),
    (3, object_), (2, sort), (3, restore), (2, select), (1, swapdb), (2, dbsize), (2, odd_numbers),
)  # fmt: skip
RARE: tuple[tuple[int, Builder], ...] = ((1, flush),)
