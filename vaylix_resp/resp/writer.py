"""Replies to bytes, for RESP2 and RESP3.

`encode` is general; the executor writes the two commonest replies (a bulk string, OK) itself and leaves
the rest to the tables here, so that a reply costs one dictionary look-up by type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from ..errors import CommandError
from .reply import NULL_ARRAY, Push, Reply, SetOf, Simple, Verbatim, Wire, _Marker

CRLF = b"\r\n"
BULK_HEADS = [b"$%d\r\n" % n for n in range(1025)]  # a look-up is a quarter of the price of formatting
INTEGERS = [b":%d\r\n" % n for n in range(1025)]
NULL2, NULL3 = b"$-1\r\n", b"_\r\n"
EXACT_INTEGER_MAX = 2**62  # a double that is a whole number up to here is printed as one

Emit = Callable[[bytes], None]


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def format_double(value: float) -> bytes:
    """As Redis 7.2 prints a double (`d2string`, `fpconv_dtoa`): the shortest digits that read back as the same."""
    if value != value:
        return b"nan"
    if value in (float("inf"), float("-inf")):
        return b"inf" if value > 0 else b"-inf"
    if value == 0:
        return b"-0" if str(value)[0] == "-" else b"0"
    if abs(value) <= EXACT_INTEGER_MAX and value == int(value):
        return b"%d" % int(value)
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits)).rstrip("0")
    exponent += len(digits) - len(text)
    return (b"-" if sign else b"") + _layout(text, exponent, bool(sign)).encode()


def _layout(digits: str, exponent: int, negative: bool) -> str:
    """`digits` times ten to `exponent`: plain as long as that is short, else scientific."""
    count, scientific = len(digits), len(digits) + exponent - 1
    if exponent >= 0 and abs(scientific) < count + 7 - negative:
        return digits + "0" * exponent
    if exponent < 0 and (exponent > -7 or abs(scientific) < 4):
        point = count + exponent
        return f"{digits[:point]}.{digits[point:]}" if point > 0 else f"0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if count > 1 else ""
    return f"{digits[0]}{fraction}e{'-' if scientific < 0 else '+'}{abs(scientific)}"


def _bytes(emit: Emit, v: bytes, proto: int) -> None:
    emit(BULK_HEADS[len(v)] if len(v) <= 1024 else b"$%d\r\n" % len(v))
    emit(v)
    emit(CRLF)


def emit_bulks(emit: Emit, values: Sequence[bytes]) -> int:
    """Several bulk strings; where they are equally long, as in most pipelines, at the price of one join.

    The bytes of all of them, if they may be large.
    """
    sizes = {*map(len, values)}
    size = sizes.pop()
    if sizes or size > 1024:
        for value in values:
            _bytes(emit, value, 2)
        return sum(map(len, values))
    head = BULK_HEADS[size]
    emit(head + (CRLF + head).join(values) + CRLF)
    return 0


def _int(emit: Emit, v: int, proto: int) -> None:
    emit(INTEGERS[v] if 0 <= v <= 1024 else b":%d\r\n" % v)


def _none(emit: Emit, v: None, proto: int) -> None:
    emit(NULL3 if proto == 3 else NULL2)


def _bool(emit: Emit, v: bool, proto: int) -> None:
    emit((b"#t\r\n" if v else b"#f\r\n") if proto == 3 else b":%d\r\n" % v)


def _float(emit: Emit, v: float, proto: int) -> None:
    text = format_double(v)
    emit(b",%b\r\n" % text if proto == 3 else bulk(text))


def _simple(emit: Emit, v: Simple, proto: int) -> None:
    emit(v.wire)


def _error(emit: Emit, v: CommandError, proto: int) -> None:
    emit(error_line(v.text))


def _array(emit: Emit, v: list[Any] | tuple[Any, ...], proto: int) -> None:
    emit(b"*%d\r\n" % len(v))
    _each(emit, v, proto)


def _set(emit: Emit, v: SetOf, proto: int) -> None:
    emit((b"~%d\r\n" if proto == 3 else b"*%d\r\n") % len(v))
    _each(emit, v, proto)


def _push(emit: Emit, v: Push, proto: int) -> None:
    emit((b">%d\r\n" if proto == 3 else b"*%d\r\n") % len(v))
    _each(emit, v, proto)


def _map(emit: Emit, v: dict[Any, Any], proto: int) -> None:
    emit(b"%%%d\r\n" % len(v) if proto == 3 else b"*%d\r\n" % (2 * len(v)))
    for key, item in v.items():
        ENCODERS[type(key)](emit, key, proto)
        ENCODERS[type(item)](emit, item, proto)


def _verbatim(emit: Emit, v: Verbatim, proto: int) -> None:
    if proto == 3:
        emit(b"=%d\r\n%b:%b\r\n" % (len(v.text) + 4, v.kind.encode(), v.text))
    else:
        emit(bulk(v.text))


def _wire(emit: Emit, v: Wire, proto: int) -> None:
    emit(v.resp3 if proto == 3 else v.resp2)


def _marker(emit: Emit, v: _Marker, proto: int) -> None:
    if v is NULL_ARRAY:
        emit(NULL3 if proto == 3 else b"*-1\r\n")


def _text(emit: Emit, v: str, proto: int) -> None:
    _bytes(emit, v.encode(), proto)


def _each(emit: Emit, items: list[Any] | tuple[Any, ...], proto: int) -> None:
    for item in items:
        ENCODERS[type(item)](emit, item, proto)


ENCODERS: dict[type, Callable[[Emit, Any, int], None]] = {
    bytes: _bytes,
    str: _text,  # names and other text of our own; encoded as a bulk string
    int: _int,
    type(None): _none,
    bool: _bool,
    float: _float,
    Simple: _simple,
    CommandError: _error,
    list: _array,
    tuple: _array,
    SetOf: _set,
    Push: _push,
    dict: _map,
    Verbatim: _verbatim,
    Wire: _wire,
    _Marker: _marker,
}


def encode(reply: Reply, proto: int = 2) -> bytes:
    """One reply on the wire. `proto` is 2 or 3; a type outside `resp.reply` is a KeyError, hence our bug."""
    out: list[bytes] = []
    ENCODERS[type(reply)](out.append, reply, proto)
    return b"".join(out)


def error_line(text: str) -> bytes:
    """An error reply; CR and LF, which would end it early, become spaces."""
    return b"-" + text.replace("\r", " ").replace("\n", " ").encode("utf-8", "backslashreplace") + CRLF
