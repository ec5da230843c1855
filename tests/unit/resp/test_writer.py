"""Every reply as bytes, and back through hiredis as a client would read it."""

from __future__ import annotations

import math
from typing import Any

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaylix_resp.errors import CommandError
from vaylix_resp.resp.reply import NO_REPLY, NULL_ARRAY, OK, Push, SetOf, Simple, Verbatim, Wire
from vaylix_resp.resp.writer import ENCODERS, encode, error_line, format_double

# reply -> wire in RESP2, in RESP3
WIRE: list[tuple[Any, bytes, bytes]] = [
    (b"", b"$0\r\n\r\n", b"$0\r\n\r\n"),
    (b"a\r\nb", b"$4\r\na\r\nb\r\n", b"$4\r\na\r\nb\r\n"),
    (b"x" * 1024, b"$1024\r\n" + b"x" * 1024 + b"\r\n", b"$1024\r\n" + b"x" * 1024 + b"\r\n"),
    (b"x" * 1025, b"$1025\r\n" + b"x" * 1025 + b"\r\n", b"$1025\r\n" + b"x" * 1025 + b"\r\n"),
    ("größe", "$7\r\ngröße\r\n".encode(), "$7\r\ngröße\r\n".encode()),
    (0, b":0\r\n", b":0\r\n"),
    (-1, b":-1\r\n", b":-1\r\n"),
    (1024, b":1024\r\n", b":1024\r\n"),
    (1025, b":1025\r\n", b":1025\r\n"),
    (2**63 - 1, b":9223372036854775807\r\n", b":9223372036854775807\r\n"),
    (-(2**63), b":-9223372036854775808\r\n", b":-9223372036854775808\r\n"),
    (None, b"$-1\r\n", b"_\r\n"),
    (NULL_ARRAY, b"*-1\r\n", b"_\r\n"),
    (NO_REPLY, b"", b""),
    (True, b":1\r\n", b"#t\r\n"),
    (False, b":0\r\n", b"#f\r\n"),
    (1.5, b"$3\r\n1.5\r\n", b",1.5\r\n"),
    (OK, b"+OK\r\n", b"+OK\r\n"),
    (Simple("Background saving started"), b"+Background saving started\r\n", b"+Background saving started\r\n"),
    (CommandError("ERR no"), b"-ERR no\r\n", b"-ERR no\r\n"),
    ([], b"*0\r\n", b"*0\r\n"),
    ((), b"*0\r\n", b"*0\r\n"),
    ([b"a", 1, None], b"*3\r\n$1\r\na\r\n:1\r\n$-1\r\n", b"*3\r\n$1\r\na\r\n:1\r\n_\r\n"),
    ((b"a", [b"b"]), b"*2\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n", b"*2\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n"),
    (SetOf([b"a", b"b"]), b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", b"~2\r\n$1\r\na\r\n$1\r\nb\r\n"),
    (Push([b"message", b"c", b"m"]), b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n",
     b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n"),
    ({}, b"*0\r\n", b"%0\r\n"),
    ({"a": 1, b"b": {b"c": None}}, b"*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n*2\r\n$1\r\nc\r\n$-1\r\n",
     b"%2\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n%1\r\n$1\r\nc\r\n_\r\n"),
    (Verbatim(b"a\nb"), b"$3\r\na\nb\r\n", b"=7\r\ntxt:a\nb\r\n"),
    (Verbatim(b"# t", "mkd"), b"$3\r\n# t\r\n", b"=7\r\nmkd:# t\r\n"),
    (Wire(b"+two\r\n", b"(3\r\n"), b"+two\r\n", b"(3\r\n"),
    ([CommandError("WRONGTYPE no"), OK], b"*2\r\n-WRONGTYPE no\r\n+OK\r\n", b"*2\r\n-WRONGTYPE no\r\n+OK\r\n"),
]  # fmt: skip


@pytest.mark.parametrize("reply, resp2, resp3", WIRE, ids=lambda value: repr(value)[:30])
def test_on_the_wire(reply: Any, resp2: bytes, resp3: bytes) -> None:
    assert encode(reply) == encode(reply, 2) == resp2
    assert encode(reply, 3) == resp3


def test_the_table_has_every_kind_of_reply() -> None:
    assert {type(reply) for reply, _, _ in WIRE} == set(ENCODERS)


def test_what_is_no_reply_is_our_mistake() -> None:
    with pytest.raises(KeyError):
        encode({1, 2})
    with pytest.raises(KeyError):
        encode([b"a", bytearray(b"b")])


def read_back(wire: bytes) -> Any:
    parser = hiredis.Reader(notEnoughData=None)
    parser.feed(wire)
    reply = parser.gets()
    assert not parser.has_data()
    return reply


def seen(reply: Any, proto: int) -> Any:
    """What a client of `proto` sees of a reply."""
    match reply:
        case None:
            return None
        case bool():
            return reply if proto == 3 else int(reply)
        case float():
            return reply if proto == 3 else format_double(reply)
        case int() | bytes():
            return reply
        case str():
            return reply.encode()
        case dict() if proto == 3:
            return {seen(key, proto): seen(value, proto) for key, value in reply.items()}
        case dict():
            return [seen(part, proto) for pair in reply.items() for part in pair]
        case Verbatim():
            return reply.text
        case Simple():
            return reply.text.encode()
        case _:
            return [seen(item, proto) for item in reply]


LEAVES = st.one_of(
    st.binary(max_size=20),
    st.text(max_size=10),
    st.integers(min_value=-(2**63), max_value=2**63 - 1),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.binary(max_size=20).map(Verbatim),
    st.just(OK),
)
REPLIES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.lists(inner, max_size=4).map(SetOf),
        st.dictionaries(st.one_of(st.binary(max_size=8), st.integers(0, 9)), inner, max_size=4),
    ),
    max_leaves=12,
)


@given(REPLIES)
@settings(max_examples=400)
@pytest.mark.parametrize("proto", [2, 3])
def test_a_client_reads_what_was_meant(proto: int, reply: Any) -> None:
    assert read_back(encode(reply, proto)) == seen(reply, proto)


def test_a_push_is_told_from_a_reply() -> None:
    message = read_back(encode(Push([b"invalidate", [b"k"]]), 3))
    assert isinstance(message, hiredis.PushNotification) and message == [b"invalidate", [b"k"]]


@pytest.mark.parametrize(
    "text, wire",
    [
        ("ERR a\r\nb", b"-ERR a  b\r\n"),
        ("ERR a\n+OK", b"-ERR a +OK\r\n"),
        ("ERR größe", "-ERR größe\r\n".encode()),
        ("ERR \udcff", b"-ERR \\udcff\r\n"),
    ],
)
def test_an_error_is_one_line_whatever_is_in_it(text: str, wire: bytes) -> None:
    assert error_line(text) == encode(CommandError(text)) == wire
    assert isinstance(read_back(wire), hiredis.ReplyError)


# As Redis 7.2 prints them (fpconv, not printf).
DOUBLES = [
    (0.0, b"0"), (-0.0, b"-0"), (1.0, b"1"), (-17.0, b"-17"), (0.1, b"0.1"), (3.141, b"3.141"), (-2.5, b"-2.5"),
    (1 / 3, b"0.3333333333333333"), (123456.789, b"123456.789"), (1e15, b"1000000000000000"),
    (1e18, b"1000000000000000000"), (2.0**62, b"4611686018427387904"), (2.0**63, b"9223372036854776000"),
    (1e19, b"1e+19"), (1.5e300, b"1.5e+300"), (-1e25, b"-1e+25"), (1e-5, b"0.00001"), (1e-7, b"1e-7"),
    (1.234e-6, b"1.234e-6"), (-1.5e-9, b"-1.5e-9"), (5e-324, b"5e-324"),
    (1.7976931348623157e308, b"1.7976931348623157e+308"),
    (math.inf, b"inf"), (-math.inf, b"-inf"), (math.nan, b"nan"),
]  # fmt: skip


@pytest.mark.parametrize("value, text", DOUBLES)
def test_doubles(value: float, text: bytes) -> None:
    assert format_double(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=1000)
def test_a_double_survives(value: float) -> None:
    text = format_double(value)
    assert float(text) == value
    assert math.copysign(1, float(text)) == math.copysign(1, value)
    assert len(text) <= 25
