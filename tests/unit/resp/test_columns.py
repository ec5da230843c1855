"""Reading by columns gives what the word-by-word reader gives, or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaylix_resp.resp.columns import read_columns
from vaylix_resp.resp.reader import ProtocolError, RequestReader

GET = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
WORD = st.sampled_from([b"", b"GET", b"k", b"\r\n", b"$1", b"*2", b"a\r\n$1\r\nb", b"x" * 1024, b"\r\n$3\r\n", b"\r"])


def encode(request: Any) -> bytes:
    return b"*%d\r\n" % len(request) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in request)


def word_by_word(data: bytes) -> list[list[bytes]] | None:
    """The strict reader, fed so that no fast way is taken."""
    reader = RequestReader(1 << 20, 1 << 20, trusted=True)
    found: list[Any] = []
    try:
        for at in range(0, len(data), 3):
            found += reader.read(data[at : at + 3])
    except ProtocolError:
        return None
    return None if reader.buffered else [list(request) for request in found]


@given(st.lists(st.lists(WORD, min_size=1, max_size=4), min_size=1, max_size=5))
def test_a_pipeline_comes_out_as_it_went_in(requests: list[list[bytes]]) -> None:
    found = read_columns(b"".join(map(encode, requests)))
    assert found is None or [list(request) for request in found] == requests


@pytest.mark.parametrize("request_", [(b"PING",), (b"GET", b"k"), (b"SET", b"k", b"v" * 1024)])
@pytest.mark.parametrize("count", [1, 2, 17])
def test_equal_requests_are_read_this_way(request_: tuple[bytes, ...], count: int) -> None:
    assert read_columns(encode(request_) * count) == [request_] * count


PIECE = st.sampled_from([
    GET, b"*2\r\n", b"$3\r\n", b"GET\r\n", b"$1\r\nk\r\n", b"+OK\r\n", b":1\r\n", b"*0\r\n", b"*1\r\n", b"\r\n",
    b"$01\r\nk\r\n", b"k", b"*9999999\r\n",
])  # fmt: skip


@given(st.lists(PIECE, max_size=9))
def test_what_it_reads_is_what_the_strict_reader_reads(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    found = read_columns(data)
    if found is not None:
        assert [list(request) for request in found] == word_by_word(data)


@pytest.mark.parametrize("wire", [
    b"", b"\r\n", GET[:-1], GET + b"*", GET + b"*1\r\n$4\r\nPING\r\n", b"*2\r\n$3\r\nGET\r\n:1\r\n",
    b"*1\r\n$4\r\nPIN\r\n", encode([b"SET", b"k", b"a\r\nb"]), encode([b"x" * 1025]), b"*10\r\n" + b"$1\r\na\r\n" * 10,
])  # fmt: skip
def test_anything_else_is_left_to_others(wire: bytes) -> None:
    assert read_columns(wire) is None
