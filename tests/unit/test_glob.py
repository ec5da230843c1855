"""The matcher against a slow twin that follows Redis's loop byte by byte, and rows taken from redis-server 7.0."""

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from vaylix_resp import glob
from vaylix_resp.errors import CommandError

BYTES = st.sampled_from(
    [b"a", b"b", b"A", b"B", b"z", b"-", b"]", b"[", b"[^", b"\\", b"^", b"*", b"?", b"\xff", b"\x80", b"\n", b"\0"]
)
PATTERNS = st.lists(BYTES, max_size=9).map(b"".join)
SUBJECTS = st.lists(BYTES, max_size=7).map(b"".join)


def signed(byte):
    return byte - 256 if byte > 127 else byte


def lower(byte):
    return byte + 32 if 65 <= byte <= 90 else byte


def twin(p, s, nocase=False):
    """One step of the pattern at a time, trying every place for a star."""
    while p and s:
        if p[0] == ord("*"):
            p = p.lstrip(b"*")
            return not p or any(twin(p, s[i:], nocase) for i in range(len(s)))
        if p[0] == ord("["):
            matched, p = twin_class(p[1:], s[0], nocase)
            if not matched:
                return False
        elif p[0] != ord("?"):
            if p[0] == ord("\\") and len(p) >= 2:
                p = p[1:]
            if p[0] != s[0] and not (nocase and lower(p[0]) == lower(s[0])):
                return False
        p, s = p[1:], s[1:]
        if not s:
            p = p.lstrip(b"*")
    return not p and not s


def twin_class(p, c, nocase):
    """Does the class match, and the pattern from its last byte on."""
    negated = p[:1] == b"^"
    p = p[negated:]
    matched = False
    while True:
        if len(p) >= 2 and p[0] == ord("\\"):
            p = p[1:]
            matched |= p[0] == c
        elif not p:
            return matched != negated, b"]"
        elif p[0] == ord("]"):
            return matched != negated, p
        elif len(p) >= 3 and p[1] == ord("-"):
            low, high, at = signed(p[0]), signed(p[2]), signed(c)
            if low > high:
                low, high = high, low
            if nocase:
                low, high, at = (lower(n) if n >= 0 else n for n in (low, high, at))
            p = p[2:]
            matched |= low <= at <= high
        else:
            matched |= p[0] == c or (nocase and lower(p[0]) == lower(c))
        p = p[1:]


@settings(max_examples=3000)
@given(pattern=PATTERNS, subject=SUBJECTS, nocase=st.booleans())
@example(pattern=b"**", subject=b"", nocase=False)
@example(pattern=b"*a", subject=b"ba", nocase=False)
@example(pattern=b"a*a", subject=b"a", nocase=False)
@example(pattern=b"[a-]", subject=b"^", nocase=False)
@example(pattern=b"[Z-a]", subject=b"z", nocase=True)
def test_like_the_twin(pattern, subject, nocase):
    assert glob.matches(pattern, subject, nocase=nocase) == twin(pattern, subject, nocase)


@settings(max_examples=500)
@given(subject=SUBJECTS, cuts=st.sets(st.integers(0, 7)))
def test_a_subject_with_stars_in_it_matches_itself(subject, cuts):
    pattern = b"".join(b"*" * (n in cuts) + b"\\%c" % byte for n, byte in enumerate(subject))
    assert glob.matches(pattern, subject)
    assert subject == b"" or glob.matches(pattern + b"*", subject + b"tail")


@pytest.mark.parametrize(
    "pattern, matching, others",
    [
        (b"h?llo", [b"hello", b"h\nllo"], [b"hllo", b"heello"]),
        (b"h*llo", [b"hllo", b"heeeello"], [b"hell"]),
        (b"h[ae]llo", [b"hello", b"hallo"], [b"hillo"]),
        (b"h[^e]llo", [b"hallo"], [b"hello", b"hllo"]),
        (b"h[a-b]llo", [b"hallo", b"hbllo"], [b"hcllo"]),
        (b"h[b-a]llo", [b"hallo", b"hbllo"], [b"hcllo"]),
        (b"h\\*llo", [b"h*llo"], [b"hello", b"h\\*llo"]),
        (b"[\\]-]x", [b"]x", b"-x"], [b"\\x"]),
        (b"", [b""], [b"a"]),
        (b"*", [b"a", b"\n"], [b""]),  # KEYS and SCAN ask no matcher for a lone star
        (b"**", [b"a"], [b""]),
        (b"[", [], [b"[", b""]),
        (b"[^", [b"[", b"a"], [b"", b"aa"]),
        (b"[]", [], [b"]", b""]),
        (b"[^]", [b"]", b"x"], [b""]),
        (b"[a", [b"a"], [b"[a"]),
        (b"a\\", [b"a\\"], [b"a"]),
        (b"[a-\xff]", [b"a", b"\xff", b"\x00", b"Z"], [b"b", b"\x80"]),  # signed bytes: from -1 to 97
        (b"\xc3\xa9*", [b"\xc3\xa9", b"\xc3\xa9t\xc3\xa9"], [b"\xc3"]),
        (b"a.c", [b"a.c"], [b"abc"]),
        (b"(a|b)+$", [b"(a|b)+$"], [b"a"]),
    ],
)
def test_rows_from_redis(pattern, matching, others):
    for subject in matching:
        assert glob.matches(pattern, subject), subject
    for subject in others:
        assert not glob.matches(pattern, subject), subject


def test_nocase():
    assert glob.matches(b"MAX[a-m]*", b"maxMemory", nocase=True)
    assert not glob.matches(b"MAX*", b"maxmemory")
    assert not glob.matches(b"[\\A]", b"a", nocase=True)  # Redis compares an escaped byte as it is
    assert not glob.matches(b"\xc4", b"\xe4", nocase=True)


def test_what_cannot_blow_up():
    """Patterns on which backtracking takes ages; here the time is the pattern's times the subject's length."""
    subject = b"a" * 10_000
    assert not glob.matches(b"*a" * 30 + b"b", subject)
    assert not glob.matches(b"a*" * 30 + b"b", subject)
    assert glob.matches(b"*a" * 1000, subject)
    assert not glob.matches(b"*?" * 1000 + b"b", subject)


def test_long_patterns():
    literal = b"k" * (glob.PATTERN_BYTES_MAX + 1)
    assert glob.matches(literal, literal)
    assert glob.matches(b"k" * (glob.PATTERN_BYTES_MAX - 1) + b"*", literal)
    with pytest.raises(CommandError, match="longer than 4096 bytes"):
        glob.matcher(literal + b"*")
    with pytest.raises(CommandError):
        glob.matcher(literal, nocase=True)


def test_only_short_patterns_are_kept():
    before = glob._cached.cache_info().currsize
    glob.matcher(b"?" * (glob.CACHED_BYTES_MAX + 1))
    assert glob._cached.cache_info().currsize == before
    assert glob.matcher(b"kept:*") is glob.matcher(b"kept:*")


@pytest.mark.parametrize("nocase", [False, True])
@pytest.mark.parametrize("patterns", [[], [b"plain", b"Other"], [b"p*n", b"other", b"x?"], [b"*"], [b"\\plain", b"[o]ther"]])
def test_one_of_several_fits(patterns, nocase):
    fits = glob.any_of(patterns, nocase=nocase)
    for subject in (b"plain", b"PLAIN", b"other", b"Other", b"xy", b"", b"none"):
        assert bool(fits(subject)) == any(glob.matches(pattern, subject, nocase=nocase) for pattern in patterns)


def test_several_that_would_take_long_are_refused():
    most, each = glob.TOGETHER_BYTES_MAX, glob.TOGETHER_EACH
    glob.any_of([b"*" * (most - each), *[b"plain name %d" % n for n in range(1000)]])
    for patterns in ([b"*" * (most - each + 1)], [b"*" * (most // 2 - each), b"*" * (most // 2 - each + 1)]):
        with pytest.raises(CommandError) as refused:
            glob.any_of(patterns)
        assert refused.value.text == glob.TOO_LONG_TOGETHER
