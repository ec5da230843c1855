"""Glob patterns exactly as Redis matches them, at the speed of `re`.

A pattern becomes one regular expression in which every `*` is an atomic group around a lazy match: once the part
behind a star has been found its place is never reconsidered, so a match costs at most pattern times subject and no
pattern can blow up. Taking the first place is right because each part between stars has a fixed length.
Oddities kept, as keys and ACL rules in the field rely on them: a class may lack its bracket, ranges may run
backwards and compare signed bytes, and a pattern of stars only does not match the empty string.
Not here: which commands treat a lone `*` as "everything" (KEYS, SCAN).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from operator import methodcaller
from typing import Final

from .errors import CommandError

PATTERN_BYTES_MAX: Final = 4096  # compiling costs up to 25 us a byte (classes) and is not interrupted
CACHED_PATTERNS: Final = 512
CACHED_BYTES_MAX: Final = 512  # longer patterns are compiled each time: the cache stays below a few MiB
TOO_LONG: Final = f"ERR the pattern is longer than {PATTERN_BYTES_MAX} bytes"
TOGETHER_BYTES_MAX: Final = 1024  # of patterns that are held against a few hundred names: 50 us a byte, all in all
TOGETHER_EACH: Final = 8  # bytes that a pattern counts for by itself
TOO_LONG_TOGETHER: Final = f"ERR the patterns of one request are longer than {TOGETHER_BYTES_MAX} bytes"

Matcher = Callable[[bytes], object]  # its answer is true or false
_Atom = frozenset[int]  # the bytes that one place may hold
_ANY: Final[_Atom] = frozenset(range(256))
_SPECIAL: Final = re.compile(rb"[*?\[\\]")


def matcher(pattern: bytes, *, nocase: bool = False) -> Matcher:
    """A test for whole strings; CommandError when the pattern is too long to be one."""
    if len(pattern) <= CACHED_BYTES_MAX:
        return _cached(pattern, nocase)
    if not nocase and not _SPECIAL.search(pattern):
        return pattern.__eq__
    if len(pattern) > PATTERN_BYTES_MAX:
        raise CommandError(TOO_LONG)
    return _compiled(pattern, nocase)


def matches(pattern: bytes, subject: bytes, *, nocase: bool = False) -> bool:
    return bool(matcher(pattern, nocase=nocase)(subject))


def any_of(patterns: Iterable[bytes], *, nocase: bool = False) -> Matcher:
    """A test for strings that one of them matches. CommandError when they, plain names apart, would take too long."""
    plain, tests, size = set(), [], 0
    for pattern in patterns:
        if _SPECIAL.search(pattern):
            size += len(pattern) + TOGETHER_EACH
            if size > TOGETHER_BYTES_MAX:
                raise CommandError(TOO_LONG_TOGETHER)
            tests.append(matcher(pattern, nocase=nocase))
        else:
            plain.add(pattern.lower() if nocase else pattern)
    if nocase:
        return lambda subject: subject.lower() in plain or any(fits(subject) for fits in tests)
    return lambda subject: subject in plain or any(fits(subject) for fits in tests)


@lru_cache(CACHED_PATTERNS)
def _cached(pattern: bytes, nocase: bool) -> Matcher:
    return _compiled(pattern, nocase)


def _compiled(pattern: bytes, nocase: bool) -> Matcher:
    if not nocase:
        special = _SPECIAL.search(pattern)
        if special is None:
            return pattern.__eq__
        if 0 < special.start() == len(pattern) - 1 and pattern.endswith(b"*"):
            return methodcaller("startswith", pattern[:-1])  # what most ACL rules are; an expression takes 0.1 ms
    parts: list[list[_Atom]] = [[]]  # what stands between the stars
    at = 0
    while at < len(pattern):
        if pattern[at] == 42:  # *
            parts.append([])
            at += 1
            continue
        atom, at = _atom(pattern, at, nocase)
        parts[-1].append(atom)
    return re.compile(_expression(parts), re.DOTALL).match


def _atom(pattern: bytes, at: int, nocase: bool) -> tuple[_Atom, int]:
    """What the place at `at` may hold, and where the next place begins."""
    char = pattern[at]
    if char == 63:  # ?
        return _ANY, at + 1
    if char == 91:  # [
        return _class(pattern, at + 1, nocase)
    if char == 92 and at + 1 < len(pattern):  # backslash; the last one of a pattern stands for itself
        at += 1
    return _either_case(pattern[at]) if nocase else frozenset((pattern[at],)), at + 1


def _class(pattern: bytes, at: int, nocase: bool) -> tuple[_Atom, int]:
    """A class from behind its bracket; without a closing one it ends with the pattern."""
    negated = pattern[at : at + 1] == b"^"
    at += negated
    found: set[int] = set()
    while at < len(pattern) and pattern[at] != 93:  # ]
        left = len(pattern) - at
        if pattern[at] == 92 and left >= 2:
            found.add(pattern[at + 1])
            at += 2
        elif left >= 3 and pattern[at + 1] == 45:  # -
            found |= _range(pattern[at], pattern[at + 2], nocase)
            at += 3
        else:
            found |= _either_case(pattern[at]) if nocase else {pattern[at]}
            at += 1
    return frozenset(_ANY - found if negated else found), at + 1


@lru_cache(CACHED_PATTERNS)
def _range(first: int, last: int, nocase: bool) -> _Atom:
    """Both ends included; bytes are compared as C's signed char, and the ends change places before the case goes."""
    low, high = sorted((_signed(first), _signed(last)))
    if not nocase:
        return frozenset(byte for byte in _ANY if low <= _signed(byte) <= high)
    low, high = _lower(low), _lower(high)
    return frozenset(byte for byte in _ANY if low <= _lower(_signed(byte)) <= high)


def _signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


def _lower(char: int) -> int:
    return char + 32 if 65 <= char <= 90 else char


@lru_cache(256)
def _either_case(byte: int) -> _Atom:
    return frozenset(other for other in _ANY if _lower(other) == _lower(byte))


def _expression(parts: list[list[_Atom]]) -> bytes:
    first, *rest = map(_sequence, parts)
    if not rest:
        return first + rb"\Z"
    *middle, last = rest
    found = b"".join(rb"(?>.*?%b)" % part for part in middle if part)
    if not (first or found or last):
        return rb"."  # stars only: anything but the empty string
    return first + found + (rb".*%b\Z" % last if last else b"")


def _sequence(atoms: list[_Atom]) -> bytes:
    """Atoms side by side; equal neighbours as a count, which compiles faster."""
    words: list[bytes] = []
    at = 0
    while at < len(atoms):
        end = at + 1
        while end < len(atoms) and atoms[end] == atoms[at]:
            end += 1
        words.append(_one(atoms[at]) + (b"{%d}" % (end - at) if end - at > 1 else b""))
        at = end
    return b"".join(words)


@lru_cache(CACHED_PATTERNS)
def _one(atom: _Atom) -> bytes:
    if atom == _ANY:
        return b"."
    if len(atom) == 1:
        return rb"\x%02x" % next(iter(atom))
    if not atom:
        return rb"(?!)"
    if len(atom) > 128:
        return b"[^" + b"".join(rb"\x%02x" % byte for byte in sorted(_ANY - atom)) + b"]"
    return b"[" + b"".join(rb"\x%02x" % byte for byte in sorted(atom)) + b"]"
