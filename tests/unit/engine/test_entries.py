"""Operations to a batch's body and back."""

from __future__ import annotations

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.engine.lab import words
from tests.unit.resp.twin import pack
from vaylix_resp.engine import entries
from vaylix_resp.limits import MIB, READ_CHUNK_BYTES

OPERATIONS = st.lists(st.lists(st.binary(max_size=30), min_size=1, max_size=5), max_size=8)


def test_a_body_is_requests_as_they_come_over_the_wire() -> None:
    assert entries.encode([(b"SET", b"k", b"\r\n"), [b"DEL", b"k"]]) == pack(b"SET", b"k", b"\r\n") + pack(b"DEL", b"k")
    assert entries.encode([]) == b""


@given(OPERATIONS)
@settings(max_examples=200)
def test_what_goes_in_comes_out(operations: list[list[bytes]]) -> None:
    assert list(entries.decode(entries.encode(operations))) == operations


@pytest.mark.parametrize("size", [READ_CHUNK_BYTES - 30, READ_CHUNK_BYTES, READ_CHUNK_BYTES * 3 + 1])
def test_an_operation_that_is_longer_than_what_is_read_at_once(size: int) -> None:
    operations = [[b"SET", b"k", b"x" * size], [b"GET", b"k"], [b"SET", b"k", b"\r\n*1\r\n$" * (size // 8)]]
    assert list(entries.decode(entries.encode(operations))) == operations


def test_the_largest_entry_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Feeding hiredis all of it at once would be quadratic; and here each byte is given to it once."""
    fed: list[int] = []
    real = hiredis.Reader

    class Counting:
        def __init__(self, notEnoughData: object) -> None:
            self._reader = real(notEnoughData=notEnoughData)
            self.gets = self._reader.gets

        def feed(self, body: bytes, at: int, size: int) -> None:
            fed.append(size)
            self._reader.feed(body, at, size)

    monkeypatch.setattr(hiredis, "Reader", Counting)
    operation = (b"SET", b"k", b"x" * (70 * MIB))
    body = entries.encode([operation, (b"DEL", b"k")])
    assert list(entries.decode(body)) == words([operation, (b"DEL", b"k")])
    assert sum(fed) == len(body) and max(fed) <= READ_CHUNK_BYTES


def test_operations_come_one_by_one() -> None:
    """Applying the first does not wait for the last to be read."""
    body = entries.encode([(b"SET", b"k", b"x" * 1000)] * 1000)
    decoding = entries.decode(body + b"!")
    assert next(decoding) == [b"SET", b"k", b"x" * 1000]
    with pytest.raises(hiredis.ProtocolError):
        list(decoding)
