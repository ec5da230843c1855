"""Requests and protocol errors as tables; then any bytes in any pieces against the slow twin."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.resp.twin import LARGE, cut, pack, quick_read, slow_read, slow_split
from vaylix_resp import limits
from vaylix_resp.resp import reader as module
from vaylix_resp.resp.reader import QUERY_TOO_LARGE, ProtocolError, RequestReader, split_words

LINE_MAX = limits.INLINE_BYTES_MAX

# wire -> requests
WHOLE = [
    (b"*1\r\n$4\r\nPING\r\n", [[b"PING"]]),
    (b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", [[b"GET", b"k"]]),
    (b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n", [[b"SET", b"k", b""]]),
    (b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\r\n\r\n", [[b"SET", b"k", b"\r\n"]]),
    (pack(b"SET", b"k", bytes(range(256))), [[b"SET", b"k", bytes(range(256))]]),
    (pack(b"SET", b"k", b"x" * 1025), [[b"SET", b"k", b"x" * 1025]]),
    (pack(b"SET", b"k", b"x" * 1024) + pack(b"SET", b"k", b"x" * 2000), [[b"SET", b"k", b"x" * 1024],
                                                                        [b"SET", b"k", b"x" * 2000]]),
    (pack(*[b"w"] * 2_345) * 2, [[b"w"] * 2_345] * 2),
    (pack(*[b"w"] * 12_345), [[b"w"] * 12_345]),
    (pack(b"SET", b"k", b"\r\n*99999\r\n") * 2, [[b"SET", b"k", b"\r\n*99999\r\n"]] * 2),
    (pack(b"SET", b"k", b"a=1") * 2, [[b"SET", b"k", b"a=1"]] * 2),
    (pack(b"SET", b"k", b"|2\r\n~3\r\n>4\r\n%5") * 2, [[b"SET", b"k", b"|2\r\n~3\r\n>4\r\n%5"]] * 2),
    (pack(b"PING") * 3, [[b"PING"]] * 3),
    (b"PING\r\n", [[b"PING"]]),
    (b"PING\n", [[b"PING"]]),
    (b"\r\n", []),
    (b"\n \t\r\n", []),
    (b"  SET  k\tv \r\n", [[b"SET", b"k", b"v"]]),
    (b'SET k "a b\\x41\\n\\"" \'c\\\'d\\n\'\r\n', [[b"SET", b"k", b'a bA\n"', b"c'd\\n"]]),
    (b'""\r\n', [[b""]]),
    (b"a\0b '\0'\r\n", [[b"a", b"b", b"\0"]]),
    (b"a\vb \f c\r\n", [[b"a\vb", b"c"]]),
    (b"*0\r\n", []),
    (b"*-1\r\n", []),
    (b"*-9223372036854775808\r\n", []),
    (b"*-77\r\n*1\r\n$4\r\nPING\r\n", [[b"PING"]]),
    (b"*0\r\n" * 3 + b"PING\r\n*1\r\n$4\r\nPING\r\n", [[b"PING"]] * 2),
    (b"*1\r\n$4\r\nPINGXX*1\r\n$4\r\nPINGYY", [[b"PING"]] * 2),  # Redis does not look at them either
    (b"a" * LINE_MAX + b"\n", [[b"a" * LINE_MAX]]),
]  # fmt: skip

# wire -> the text behind `Protocol error: `
ERRORS = [
    (b"*x\r\n", "invalid multibulk length"),
    (b"*\r\n", "invalid multibulk length"),
    (b"* 1\r\n", "invalid multibulk length"),
    (b"*+1\r\n", "invalid multibulk length"),
    (b"*01\r\n", "invalid multibulk length"),
    (b"*1_0\r\n", "invalid multibulk length"),
    (b"*0x1\r\n", "invalid multibulk length"),
    (b"*-0\r\n", "invalid multibulk length"),
    (b"*-\r\n", "invalid multibulk length"),
    (b"*1.0\r\n", "invalid multibulk length"),
    (b"*2147483648\r\n", "invalid multibulk length"),
    (b"*99999999999999999999999\r\n", "invalid multibulk length"),
    (b"*-9223372036854775809\r\n", "invalid multibulk length"),
    (b"*\xd9\xa1\r\n", "invalid multibulk length"),  # ARABIC-INDIC DIGIT ONE
    (b"*1\r\n+PING\r\n", "expected '$', got '+'"),
    (b"*1\r\n:1\r\n", "expected '$', got ':'"),
    (b"*1\r\n*1\r\n$4\r\nPING\r\n", "expected '$', got '*'"),
    (b"*1\r\nPING\r\n", "expected '$', got 'P'"),
    (b"*1\r\n\r\n", "expected '$', got ' '"),
    (b"*1\r\n%1\r\n", "expected '$', got '%'"),
    (b"*2\r\n$4\r\nECHO\r\n=5\r\ntxt:a\r\n", "expected '$', got '='"),
    (b"*2\r\n$4\r\nECHO\r\n$-1\r\n", "invalid bulk length"),
    (b"*1\r\n$x\r\n", "invalid bulk length"),
    (b"*1\r\n$\r\n", "invalid bulk length"),
    (b"*1\r\n$ 1\r\n", "invalid bulk length"),
    (b"*1\r\n$+1\r\n", "invalid bulk length"),
    (b"*1\r\n$04\r\nPING\r\n", "invalid bulk length"),
    (b"*1\r\n$-0\r\n\r\n", "invalid bulk length"),
    (b"*1\r\n$99999999999\r\n", "invalid bulk length"),
    (b"*1\r\n$?\r\n", "invalid bulk length"),
    (b"*" + b"1" * (LINE_MAX + 1), "too big mbulk count string"),
    (b"*1\r\n$" + b"1" * (LINE_MAX + 1), "too big bulk count string"),
    (b"a" * (LINE_MAX + 1), "too big inline request"),
    (b'SET k "a\r\n', "unbalanced quotes in request"),
    (b"SET k 'a\r\n", "unbalanced quotes in request"),
    (b'SET k "a"b\r\n', "unbalanced quotes in request"),
    (b"SET k 'a'b\r\n", "unbalanced quotes in request"),
    (b"SET k 'a\\'\r\n", "unbalanced quotes in request"),
    (b'SET k "a\\"\r\n', "unbalanced quotes in request"),
]

UNAUTHENTICATED = [
    (b"*11\r\n", "unauthenticated multibulk length"),
    (b"*1\r\n$16385\r\n", "unauthenticated bulk length"),
]

# Bytes behind a bulk string that are no line end, which hiredis does not notice, and then something that it takes for a
# word, a request or a place to allocate. Behind the first `PING` it is not ours to accept as anything but a request.
SMUGGLED = [
    b"*2\r\n$3\r\nGETXX+foo\r\n",
    b"*2\r\n$3\r\nGETXX(123\r\n",
    b"*2\r\n$3\r\nGETXX:123\r\n",
    b"*2\r\n$3\r\nGETXX$-1\r\n",
    b"*2\r\n$3\r\nGETXX*0\r\n",
    b"*2\r\n$3\r\nGETXX#t\r\n",
    b"*2\r\n$3\r\nGETXX,1.5\r\n",
    b"*2\r\n$3\r\nGETXX_\r\n",
    b"*2\r\n$3\r\nGETXX-ERR\r\n",
    b"*2\r\n$3\r\nGETXX=5\r\n\r\nX:a\r\n",
    b"*2\r\n$3\r\nGETXX=6\r\ntxt:ab\r\n",
    b"*2\r\n$3\r\nGETXX|1\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n",
    b"*2\r\n$3\r\nGE\r\nX+foo\r\n*1\r\n$1\r\na\n\n",
    b"*1\r\n$4\r\nPINGXX%1\r\n$1\r\na\r\n$1\r\nb\r\n",
    b"*1\r\n$4\r\nPINGXX~1\r\n$1\r\na\r\n",
    b"*1\r\n$4\r\nPINGXX>1\r\n$1\r\na\r\n",
    b"*1\r\n$4\r\nPINGXX|1\r\n$1\r\na\r\n$1\r\nb\r\n",
    b"*1\r\n$4\r\nPINGXX+foo\r\n",
    b"*1\r\n$4\r\nPINGXX*-1\r\n",
    b"*1\r\n$4\r\nPING\r\n>1\r\n$1\r\na\r\n",
    b"*1\r\n$4\r\nPING\r\n~1\r\n$1\r\na\r\n",
    b"*1\r\n$4\r\nPING\r\n%1\r\n$1\r\na\r\n$1\r\nb\r\n",
    b"*1\r\n$4\r\nPING\r\n|1\r\n$1\r\na\r\n$1\r\nb\r\n",
    b"*1\r\n*1\r\n$4\r\nPING\r\n",
    b"*1\r\n$4\r\nPINGXX*1\r\n*1\r\n$1\r\na\r\n",
    # A status is three bytes too short; others, or the beginning of a request, are as many too long.
    b"*2\r\n$3\r\nGE\r\nX+foo\r\n*1\n",
    b"*2\r\n$3\r\nGE\r\nX+foo\r\n*2\r\n*2\r\n*2\r\n$4\r\n\r\n",
    b"*2\r\n$3\r\nGETXX+fo\r\n*2\r\n$3\r\nGETXX=7\r\ntxt:foo\r\n",
]


@pytest.mark.parametrize("wire, requests", WHOLE, ids=lambda value: repr(value)[:30])
def test_requests_however_the_bytes_arrive(wire: bytes, requests: list[list[bytes]]) -> None:
    assert slow_read(wire) == (requests, None)
    assert quick_read([wire]) == (requests, None)
    assert quick_read([wire, wire]) == (requests * 2, None)
    for size in (1, 2, 3, 7):
        if len(wire) < 5000:
            assert quick_read(wire[i : i + size] for i in range(0, len(wire), size)) == (requests, None)
    for at in range(1, min(len(wire), 100 if len(wire) < 5000 else 8)):
        assert quick_read([wire[:at], wire[at:]]) == (requests, None)
        assert quick_read([wire[:-at], wire[-at:] + wire]) == (requests * 2, None)


@pytest.mark.parametrize("wire, text", ERRORS, ids=lambda value: repr(value)[:30])
@pytest.mark.parametrize("before", [b"", pack(b"PING"), b"PING\r\n"])
def test_protocol_errors(wire: bytes, text: str, before: bytes) -> None:
    """What came whole before the error is not lost with it."""
    expected = ([[b"PING"]] if before else [], text)
    assert slow_read(before + wire) == expected
    for trusted in (True, False):
        assert quick_read([before + wire], trusted=trusted) == expected
        assert quick_read([before, wire], trusted=trusted) == expected
    if len(wire) < 100:
        assert quick_read((before + wire)[i : i + 1] for i in range(len(before + wire))) == expected


@pytest.mark.parametrize("wire, text", UNAUTHENTICATED)
def test_less_is_allowed_before_the_log_in(wire: bytes, text: str) -> None:
    assert quick_read([wire], trusted=False) == ([], text)
    assert quick_read([wire], trusted=True) == ([], None)


def test_before_the_log_in_requests_come_one_by_one() -> None:
    """The first may be the AUTH that lifts the bounds for the second."""
    reader = RequestReader(LARGE, LARGE, trusted=False)
    large = pack(*[b"w"] * 11)
    assert reader.read(pack(b"AUTH", b"secret") + large) == [[b"AUTH", b"secret"]]
    assert reader.buffered and not reader.waits
    reader.trusted = True
    assert reader.read(b"") == [[b"w"] * 11]
    assert not reader.buffered


@pytest.mark.parametrize("wire", SMUGGLED)
def test_hiredis_is_not_believed(wire: bytes) -> None:
    expected = slow_read(wire)
    assert quick_read([wire]) == expected
    assert quick_read([pack(b"PING") + wire + pack(b"PING")]) == slow_read(pack(b"PING") + wire + pack(b"PING"))
    assert quick_read([wire[:5], wire[5:]]) == expected


# Any bytes in any pieces.

VALUES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", b"\r", b"\n", b"\r\n", b"\r\n*", b"\r\n*1\r\n", b"*99999", b"$-1\r\n", b"a=1", b"x\r", b"+OK",
                     b"x" * 1024, b"y" * 1025, b"=5", b"|1", b"%2", b"~3\r\n", b">4\r\n"]),
)  # fmt: skip
REQUESTS = st.lists(VALUES, min_size=1, max_size=5).map(lambda words: pack(*words))
INLINE = st.text(alphabet=" \t\v\f\0\"'\\abxn0F*$\r", max_size=20).map(lambda text: text.encode() + b"\n")
GARBAGE = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([b"*1\r\n", b"*2\r\n$1\r\na\r\n", b"$1\r\na\r\n", b"*0\r\n", b"*-1\r\n", b"\r\n",
                     b"*1\r\n$4\r\nPINGXX", b"+OK\r\n", b"%1\r\n", b"=6\r\ntxt:ab\r\n", b"*00001\r\n", b"*x\r\n"]),
)  # fmt: skip
STREAMS = st.lists(st.one_of(REQUESTS, REQUESTS, INLINE, GARBAGE), max_size=6).map(b"".join)
TAME = st.lists(st.one_of(REQUESTS, INLINE), max_size=8).map(b"".join)
PLACES = st.lists(st.integers(min_value=0, max_value=5000), max_size=8)


@given(STREAMS, PLACES, st.booleans())
@settings(max_examples=600)
@example(b'*1\r\n$4\r\nPING\r\n"\n', [3], True)
def test_the_quick_reader_and_its_slow_twin(data: bytes, places: list[int], trusted: bool) -> None:
    expected = slow_read(data, trusted=trusted)
    assert quick_read([data], trusted=trusted) == expected
    assert quick_read(cut(data, places), trusted=trusted) == expected


@given(TAME)
@settings(max_examples=100)
def test_byte_by_byte(data: bytes) -> None:
    assert quick_read(data[i : i + 1] for i in range(len(data))) == slow_read(data)


@given(st.binary(max_size=200), PLACES, st.booleans())
@settings(max_examples=300)
def test_noise_is_refused_or_waited_for(data: bytes, places: list[int], trusted: bool) -> None:
    assert quick_read(cut(data, places), trusted=trusted) == slow_read(data, trusted=trusted)


@given(st.text(alphabet=" \t\v\f\r\0\"'\\abxn0F", max_size=30).map(str.encode))
@settings(max_examples=500)
def test_quoting(line: bytes) -> None:
    assert split_words(line) == slow_split(line)


# Bounds.

HUGE = [
    b"*1000000000\r\n",
    b"*1048576\r\n",
    b"*1\r\n$1000000000\r\n",
    b"*1\r\n$67108864\r\n",
    b"*1\r\n$4\r\nPINGXX*1000000000\r\n$1\r\na\r\n",
    b"*1\r\n$4\r\nPINGXX~1000000000\r\n$1\r\na\r\n",
    b"*1\r\n$4\r\nPINGXX>1000000000\r\n$1\r\na\r\n",
    b"*1\r\n$4\r\nPINGXX|1000000000\r\n$1\r\na\r\n",
    b"*1\r\n$4\r\nPINGXX%1000000000\r\n$1\r\na\r\n",
    b"*1\r\n$4\r\nPINGXX=1000000000\r\n$1\r\na\r\n",
    b"*1\r\n" + b"*9999\r\n" * 200,
    b"*1\r\n" + b"*99\r\n" * 500,
    b"*1\r\n" + b"*9999\r\n$1\r\na\r\n" * 200,
    b"*1\r\n$4\r\nPINGXX" + b"*9999\r\n" * 200,
    b"*999999999\r\n" * 2 + b"$1\r\na\r\n",
]


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.parametrize("wire", HUGE, ids=lambda wire: repr(wire)[:40])
def test_a_header_allocates_nothing(wire: bytes, traced: None) -> None:
    quick_read([wire])  # whatever has to be made once is made
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    quick_read([wire])
    _, peak = tracemalloc.get_traced_memory()
    assert peak - before < 1_000_000


def test_a_word_is_looked_at_once_however_small_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a slow sender of a long request would cost its square."""
    looked: list[int] = []
    inner = RequestReader._bulk_length

    def counting(self: RequestReader, raw: bytes, taken: int) -> int:
        looked.append(1)
        return inner(self, raw, taken)

    monkeypatch.setattr(RequestReader, "_bulk_length", counting)
    wire = pack(*[b"w"] * 3000)
    assert quick_read(wire[i : i + 1] for i in range(len(wire))) == ([[b"w"] * 3000], None)
    assert len(looked) <= 2 * 3000, "once when the header is there, once when the word is"


def test_a_long_word_is_looked_for_when_it_can_be_there() -> None:
    reader = RequestReader(LARGE, LARGE, trusted=True)
    word = b"x" * 1_000_000
    wire = pack(word)
    for at in range(0, len(wire), 1000):
        assert not reader.waits or at
        requests = reader.read(wire[at : at + 1000])
        assert reader.waits == (at + 1000 < len(wire))
    assert requests == [[word]]


@pytest.mark.parametrize("words", [[limits.VALUE_BYTES_MAX] * 2, [limits.VALUE_BYTES_MAX, limits.MIB], [1000] * 70_000])
def test_a_request_is_no_larger_than_an_entry_may_be(words: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused at the header of the word that would be too much, before that word has come."""
    monkeypatch.setattr(limits, "REQUEST_BYTES_MAX", limits.REQUEST_BYTES_MAX // 1024)
    reader = RequestReader(LARGE, LARGE, trusted=True)
    reader.read(b"*%d\r\n" % len(words))
    sent = 0
    with pytest.raises(ProtocolError, match="too big request, more than") as refused:
        for size in words:
            size //= 1024 if size > 1000 else 1
            reader.read(b"$%d\r\n" % size)
            reader.read(b"x" * size + b"\r\n")
            sent += size
    assert refused.value.requests == []
    assert sent <= limits.REQUEST_BYTES_MAX


def test_the_bulk_limit_is_the_configured_one() -> None:
    assert quick_read([b"*1\r\n$101\r\n"], bulk_max=100) == ([], None)  # up to 1024 bytes are always allowed
    assert quick_read([b"*1\r\n$2000\r\n"], bulk_max=1999) == ([], "invalid bulk length")
    assert quick_read([b"*1\r\n$1999\r\n"], bulk_max=1999) == ([], None)


@pytest.mark.parametrize("unfinished", [b"*2\r\n$600\r\n" + b"x" * 600 + b"\r\n$600\r\n" + b"x" * 397, b"x" * 1001])
def test_what_is_buffered_is_bounded(unfinished: bytes) -> None:
    reader = RequestReader(LARGE, 1000, trusted=True)
    with pytest.raises(ProtocolError, match=QUERY_TOO_LARGE) as refused:
        reader.read(pack(b"PING"))
        for at in range(0, len(unfinished), 10):
            reader.read(unfinished[at : at + 10])
    assert refused.value.requests == []
    assert 1000 < reader.buffered <= 1010


def test_buffered_counts_the_words_that_are_there() -> None:
    reader = RequestReader(LARGE, LARGE, trusted=True)
    wire = pack(b"SET", b"key", b"value")
    header = len(b"*3\r\n")
    for at in range(1, len(wire)):
        reader.read(wire[at - 1 : at])
        assert at - header <= reader.buffered <= at
    assert reader.read(wire[-1:]) == [[b"SET", b"key", b"value"]]
    assert reader.buffered == 0


# One parser serves all connections.


def test_bytes_of_one_connection_never_reach_another() -> None:
    for wire in [*SMUGGLED, *HUGE[4:], *(wire for wire, _ in ERRORS), b"*2\r\n$3\r\nGET\r\n", b"*1\r\n$4\r\nPI\r\n"]:
        quick_read([wire])
        quick_read([pack(b"PING") + wire])
        assert quick_read([pack(b"ECHO", b"mine")]) == ([[b"ECHO", b"mine"]], None)


def test_nor_when_memory_runs_out_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    class Exhausted:
        def feed(self, data: bytes) -> None:
            return None

        def gets(self) -> object:
            raise MemoryError

        def has_data(self) -> bool:
            return True

    monkeypatch.setattr(RequestReader, "_parser", Exhausted())
    with pytest.raises(MemoryError):
        module._read_whole(pack(b"SECRET"))
    assert not isinstance(RequestReader._parser, Exhausted), "what it still holds must not be read by somebody else"
    assert quick_read([pack(b"ECHO", b"mine")]) == ([[b"ECHO", b"mine"]], None)
