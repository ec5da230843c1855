"""Random requests on strings and bits. Each builder takes the material and returns the words of one
request."""

from __future__ import annotations

from collections.abc import Callable

from compat.material import Material

Words = list[bytes]
Builder = Callable[[Material], Words]


def set_(m: Material) -> Words:
    expiry = m.expiry_option() if m.chance(0.3) else []
    if expiry and expiry[1] == b"1":  # long past: Redis keeps such a key until it happens to look at it
        expiry = []
    options = m.some([b"NX"], [b"XX"], [b"GET"], [b"KEEPTTL"], expiry, share=0.2)
    return [b"SET", m.key(), m.value(), *options]


def set_big(m: Material) -> Words:
    key = m.rng.choice((b"big0", b"big1"))
    verbs: tuple[Words, ...] = (
        [b"SET", key, m.big_value()], [b"GET", key], [b"STRLEN", key], [b"APPEND", key, m.big_value()],
        [b"GETRANGE", key, m.offset(3000), m.offset(50_000)], [b"SETRANGE", key, m.offset(60_000), m.value()],
        [b"BITCOUNT", key, m.offset(), m.offset(20_000)], [b"SETBIT", key, m.offset(400_000), b"1"],
        [b"BITPOS", key, b"1", m.offset(30_000)], [b"DEL", key],
    )  # fmt: skip
    return m.rng.choice(verbs)


def getex(m: Material) -> Words:
    return [b"GETEX", m.key(), *(m.expiry_option() if m.chance(0.5) else m.some([b"PERSIST"], share=0.5))]


def setex(m: Material) -> Words:
    if m.chance(0.5):
        return [b"SETEX", m.key(), m.seconds(), m.value()]
    return [b"PSETEX", m.key(), m.milliseconds(), m.value()]


def mget(m: Material) -> Words:
    return [b"MGET", *m.keys(5)]


def mset(m: Material) -> Words:
    verb = b"MSET" if m.chance(0.6) else b"MSETNX"
    return [verb, *(word for key in m.keys(3) for word in (key, m.value()))]


def substring(m: Material) -> Words:
    return [b"GETRANGE" if m.chance(0.8) else b"SUBSTR", m.key(), m.offset(60), m.offset(60)]


def setrange(m: Material) -> Words:
    offset = m.offset() if m.chance(0.97) else m.pick((b"536870912", b"536870911", b"4294967296"))
    if offset == b"536870911":  # fails only with something to write; without, it must not allocate 512 MiB
        return [b"SETRANGE", m.key(), offset, b"too long"]
    return [b"SETRANGE", m.key(), offset, m.value()]


def incr(m: Material) -> Words:
    kind = m.rng.randrange(5)
    if kind == 0:
        return [b"INCR", m.key()]
    if kind == 1:
        return [b"DECR", m.key()]
    if kind == 2:
        return [b"INCRBYFLOAT", m.key(), m.decimal()]
    return [b"INCRBY" if kind == 3 else b"DECRBY", m.key(), m.integer()]


def lcs(m: Material) -> Words:
    minimum = [b"MINMATCHLEN", m.integer()]
    return [b"LCS", m.key(), m.key(), *m.some([b"LEN"], [b"IDX"], minimum, [b"WITHMATCHLEN"])]


def setbit(m: Material) -> Words:
    offset = m.offset(2000) if m.chance(0.95) else m.pick((b"4294967296", b"4294967295000", b"-1"))
    return [b"SETBIT", m.key(), offset, m.pick((b"0", b"1", b"1", b"0", b"2", b"x"))]


def getbit(m: Material) -> Words:
    return [b"GETBIT", m.key(), m.offset(2500)]


def unit(m: Material) -> Words:
    return m.some([m.pick((b"BIT", b"BYTE", b"bit", b"NIBBLE"))], share=0.4)


def bitcount(m: Material) -> Words:
    return [b"BITCOUNT", m.key(), *([m.offset(200), m.offset(200), *unit(m)] if m.chance(0.7) else [])]


def bitpos(m: Material) -> Words:
    words = [b"BITPOS", m.key(), m.pick((b"0", b"1", b"1", b"2", b"x"))]
    if m.chance(0.7):
        words.append(m.offset(200))
        if m.chance(0.7):
            words += [m.offset(200), *unit(m)]
    return words


def bitop(m: Material) -> Words:
    verb = m.pick((b"AND", b"OR", b"XOR", b"NOT", b"and", b"NAND"))
    sources = [m.key()] if verb == b"NOT" and m.chance(0.8) else m.keys(3)
    return [b"BITOP", verb, m.key(), *sources]


def field_type(m: Material) -> bytes:
    if m.chance(0.05):
        return m.pick((b"u64", b"i65", b"x8", b"u0", b"i", b"", b"u-1"))
    return b"i%d" % m.rng.randint(1, 64) if m.chance(0.5) else b"u%d" % m.rng.randint(1, 63)


def field_offset(m: Material) -> bytes:
    if m.chance(0.05):
        return m.pick((b"-1", b"#-1", b"#", b"abc", b"4294967296", b"#4294967296"))
    return (b"#%d" % m.rng.randint(0, 20)) if m.chance(0.5) else b"%d" % m.rng.randint(0, 400)


def bitfield(m: Material) -> Words:
    """With FAIL behind a change beyond every other field, because of differences.py: bitfield-growth."""
    words = bitfield_steps(m)
    if b"FAIL" in words or b"fail" in words:
        words[2:2] = [b"INCRBY", b"u8", b"2000", b"1"]
    return words


def bitfield_steps(m: Material) -> Words:
    words = [b"BITFIELD", m.key()]
    for _ in range(m.rng.randint(0, 4)):
        kind = m.rng.randrange(4)
        if kind == 0:
            words += [b"OVERFLOW", m.pick((b"WRAP", b"SAT", b"FAIL", b"fail", b"CLIP"))]
        elif kind == 1:
            words += [b"GET", field_type(m), field_offset(m)]
        else:
            words += [b"SET" if kind == 2 else b"INCRBY", field_type(m), field_offset(m), m.integer()]
    return words


def bitfield_ro(m: Material) -> Words:
    words = [b"BITFIELD_RO", m.key()]
    for _ in range(m.rng.randint(0, 3)):
        words += [b"GET", field_type(m), field_offset(m)]
    return words if m.chance(0.95) else [*words, b"SET", b"u8", b"0", b"1"]


def get_and_change(m: Material) -> Words:
    kind = m.rng.randrange(3)
    return [[b"GETSET", m.key(), m.value()], [b"GETDEL", m.key()], [b"SETNX", m.key(), m.value()]][kind]


def get(m: Material) -> Words:
    return [b"GET" if m.chance(0.8) else b"STRLEN", m.key()]


def append(m: Material) -> Words:
    return [b"APPEND", m.key(), m.value()]


STRINGS: tuple[tuple[int, Builder], ...] = (
    (10, set_), (8, get), (5, incr), (3, getex), (3, setex), (3, mget), (3, mset), (3, substring), (3, setrange),
    (3, append), (3, get_and_change), (2, set_big), (2, lcs), (3, setbit), (2, getbit), (3, bitcount), (3, bitpos),
    (3, bitop), (4, bitfield), (2, bitfield_ro),
)  # fmt: skip
