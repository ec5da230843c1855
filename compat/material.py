"""What random requests are made of: keys, values, numbers, times.

Few keys, so that requests meet each other's effects; values that every encoding and parser has trouble
with. Times to live are far apart from each other and from now: a comparison of two of them never hangs on
how fast a server was. Short ones come only with a pause (steps.Pause).
"""

from __future__ import annotations

import random

KEYS = tuple(b"k%d" % i for i in range(24)) + (
    b"",
    b"a key",
    b"k\x00\xff\r\n",
    b"{tag}1",
    b"k*[",
    b"\xc3\xa9",
)
BIG_KEYS = (b"big0", b"big1")  # long values live here only, away from LCS with its quadratic cost
DATABASES = (b"0", b"0", b"0", b"1", b"2", b"9", b"15")
SIGNED_64 = (b"9223372036854775807", b"-9223372036854775808", b"9223372036854775806", b"-9223372036854775807")

VALUES = (
    b"", b"0", b"1", b"-1", b"7", b"10", b"9999", b"10000", b"-0", b"+5", b"007", b" 12", b"12 ", b"1.5", b"-3.25",
    b"1e3", b"3.0e3", b"nan", b"inf", b"-inf", b"0x10", b"abc", b"ABC", b"hello world", b"ohmytext", b"mynewtext",
    b"\x00", b"\xff\xf0\x00", b"\x00\xff\xf0", b"\r\n", b"*1\r\n$4\r\nPING\r\n", b"9223372036854775808",
    b"127", b"128", b"-129", b"32768", b"2147483648", b"1234567890123456789", b"0.1", b"0.30000000000000004",
    *SIGNED_64,
)  # fmt: skip
ODD_NUMBERS = (
    b"-1", b"0", b"abc", b"", b"9223372036854775808", b"-9223372036854775809", b"1.5", b" 1", b"1 ", b"0x10",
    b"nan", b"1e5", b"999999999999999999999", b"-0", b"+1", b"--1", b"\x001", *SIGNED_64,
)  # fmt: skip
FLOATS = (
    b"0.1", b"-0.5", b"3", b"1e2", b"-1.5e-3", b"200.0", b"0", b"-0", b"10.5000", b"5.0e3", b"1e-17", b"123456.789",
    b"0.000001", b"99999999999", b"3.14159265358979",
)  # fmt: skip
ODD_FLOATS = (
    b"nan",
    b"inf",
    b"-inf",
    b"+inf",
    b"abc",
    b"",
    b" 1.5",
    b"1.5 ",
    b"1.5e",
    b"0x1p3",
    b"1e400",
    b"1,5",
)
PATTERNS = (
    b"*", b"k?", b"k1*", b"k[0-3]", b"k[^1]*", b"*\xff*", b"k\\*[*", b"", b"nothing", b"[", b"k[1-", b"**", b"\\",
    b"k[3-0]", b"[k]2", b"?", b"{*}*",
)  # fmt: skip
FAR_FUTURE_SECONDS = 4_102_444_800  # the year 2100
TTL_SECONDS_MIN = 1_000_000  # taken for milliseconds by a wrong unit it is still long
TTL_STEP_SECONDS = 60  # longer than a run: no two times to live ever come close
TTL_STEPS = 1_000_000


class Material:
    """Random pieces from one generator."""

    def __init__(self, rng: random.Random, payloads: tuple[bytes, ...]) -> None:
        self.rng = rng
        self.payloads = payloads  # what DUMP gave on redis-server for a row of values

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def pick(self, choices: tuple[bytes, ...]) -> bytes:
        return choices[int(self.rng.random() * len(choices))]

    def key(self) -> bytes:
        return self.pick(KEYS)

    def keys(self, at_most: int = 4) -> list[bytes]:
        return [self.key() for _ in range(self.rng.randint(1, at_most))]

    def value(self) -> bytes:
        kind = self.rng.random()
        if kind < 0.55:
            return self.pick(VALUES)
        if kind < 0.75:
            return b"%d" % self.rng.randint(-1000, 1000)
        if kind < 0.9:
            return self.rng.randbytes(self.rng.randint(1, 50))
        return self.pick((b"a", b"ab", b"\x00")) * self.rng.randint(20, 150)

    def big_value(self) -> bytes:
        return self.rng.randbytes(64) * self.rng.randint(20, 700)

    def integer(self) -> bytes:
        kind = self.rng.random()
        if kind < 0.8:
            return b"%d" % self.rng.randint(-200, 200)
        return self.pick(ODD_NUMBERS)

    def offset(self, most: int = 300) -> bytes:
        """A position that may lie before, in or behind a value."""
        if self.chance(0.06):
            return self.pick(ODD_NUMBERS)
        return b"%d" % self.rng.randint(-most // 4, most)

    def decimal(self) -> bytes:
        return self.pick(ODD_FLOATS) if self.chance(0.1) else self.pick(FLOATS)

    def seconds(self) -> bytes:
        if self.chance(0.05):
            return self.pick((b"0", b"-1", b"abc", b"9223372036854775807", b"9223372036854776", b"1.5"))
        return b"%d" % (TTL_SECONDS_MIN + TTL_STEP_SECONDS * self.rng.randrange(TTL_STEPS))

    def milliseconds(self) -> bytes:
        if self.chance(0.05):
            return self.pick((b"0", b"-1", b"abc", b"9223372036854775807", b"-9223372036854775808"))
        return b"%d" % (1000 * (TTL_SECONDS_MIN + TTL_STEP_SECONDS * self.rng.randrange(TTL_STEPS)))

    def at_seconds(self) -> bytes:
        """Absolute; sometimes long past."""
        if self.chance(0.1):
            return self.pick((b"1", b"0", b"-5", b"abc", b"9223372036854775807"))
        return b"%d" % (FAR_FUTURE_SECONDS + TTL_STEP_SECONDS * self.rng.randrange(TTL_STEPS))

    def at_milliseconds(self) -> bytes:
        if self.chance(0.1):
            return self.pick((b"1", b"0", b"-5", b"abc"))
        return b"%d" % (1000 * FAR_FUTURE_SECONDS + 60_000 * self.rng.randrange(TTL_STEPS))

    def database(self) -> bytes:
        if self.chance(0.03):
            return self.pick((b"16", b"-1", b"abc", b"99999999999", b""))
        return self.pick(DATABASES)

    def expiry_option(self) -> list[bytes]:
        kind = self.rng.randrange(4)
        if kind == 0:
            return [b"EX", self.seconds()]
        if kind == 1:
            return [b"PX", self.milliseconds()]
        if kind == 2:
            return [b"EXAT", self.at_seconds()]
        return [b"PXAT", self.at_milliseconds()]

    def some(self, *choices: list[bytes], share: float = 0.3) -> list[bytes]:
        """Each choice with this chance, in random order: options of a request."""
        taken = [choice for choice in choices if self.chance(share)]
        self.rng.shuffle(taken)
        return [word for choice in taken for word in choice]
