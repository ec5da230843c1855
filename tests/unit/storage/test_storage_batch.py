"""The batch codec: what is encoded comes back, and no damaged byte does."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaylix_resp.storage import batch
from vaylix_resp.storage.batch import HEADER_BYTES, MASKED, SECTOR, encode, frame_bytes, read_body, read_header

SALT = batch.store_salt(b"s" * 16)
TAG = bytes(range(16))
U64 = st.integers(0, 2**64 - 1)
U32 = st.integers(1, 2**32 - 1)
NONZERO = st.integers(1, 255).map(lambda byte: bytes([byte]))
# Runs of one byte make zero sectors and sectors that a fixed mask would turn into zeros.
RUNS = st.lists(st.tuples(st.sampled_from([0, 0xA5, 1, 255]), st.integers(1, 1500)), max_size=4).map(
    lambda runs: b"".join(bytes([byte]) * size for byte, size in runs)
)
BODY = st.builds(lambda first, rest, runs: first + rest + runs, NONZERO, st.binary(max_size=1200), RUNS)


def decode(frame: bytes, salt: int = SALT) -> tuple[batch.Header, bytes] | None:
    header = read_header(frame[:HEADER_BYTES], salt)
    if header is None or batch.unknown_format(header) or len(frame) != header.frame_bytes:
        return None
    body = read_body(frame[:HEADER_BYTES], header, frame[HEADER_BYTES:])
    return None if body is None else (header, body)


@given(U64.filter(bool), U32, U64, U64, U64, U64, U64, st.binary(min_size=16, max_size=16), BODY)
def test_what_is_encoded_comes_back(first, count, term, timestamp_ms, committed, seed, durable, prev_tag, body) -> None:
    frame, tag = encode(SALT, prev_tag, durable, first, count, term, timestamp_ms, committed, seed, body)
    decoded = decode(frame)
    assert decoded is not None
    header, found = decoded
    assert found == body
    assert (header.first, header.entries, header.term, header.timestamp_ms) == (first, count, term, timestamp_ms)
    assert (header.committed, header.seed, header.durable) == (committed, seed, durable)
    assert (header.prev_tag, header.tag, header.last) == (prev_tag, tag, first + count - 1)


@given(BODY)
def test_zeros_mean_never_written(body) -> None:
    frame, _ = encode(SALT, TAG, 0, 1, 1, 1, 1, 0, 0, body)
    assert len(frame) == frame_bytes(len(body)) and len(frame) % SECTOR == 0
    assert frame[-1].bit_count() >= 3
    assert all(any(frame[at : at + SECTOR]) for at in range(0, len(frame), SECTOR))
    assert not batch.has_zero_sector(frame)
    assert frame[HEADER_BYTES]


@given(BODY, st.data())
def test_no_flip_goes_unnoticed(body, data) -> None:
    frame, _ = encode(SALT, TAG, 4, 5, 2, 1, 1, 0, 0, body)
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    damaged = bytearray(frame)
    damaged[bit // 8] ^= 1 << (bit % 8)
    assert decode(bytes(damaged)) is None


def test_every_single_flip_of_a_frame() -> None:
    frame, _ = encode(SALT, TAG, 4, 5, 2, 1, 1, 0, 0, b"*1\r\n$4\r\nPING\r\n")
    for bit in range(len(frame) * 8):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << (bit % 8)
        assert decode(bytes(damaged)) is None, bit


@given(st.binary(max_size=4 * SECTOR).map(lambda raw: raw + bytes(-len(raw) % SECTOR)), RUNS)
def test_has_zero_sector_against_the_obvious_one(raw, runs) -> None:
    frame = runs + raw
    frame += bytes([7]) * (-len(frame) % SECTOR)
    obvious = any(not any(frame[at : at + SECTOR]) for at in range(0, len(frame), SECTOR))
    assert batch.has_zero_sector(frame) is obvious


def test_another_store_has_other_frames() -> None:
    frame, _ = encode(SALT, TAG, 0, 1, 1, 1, 1, 0, 0, b"*x")
    assert decode(frame, batch.store_salt(b"t" * 16)) is None


def test_masking_is_rare_and_survives_a_body_made_of_masks() -> None:
    plain, _ = encode(SALT, TAG, 0, 1, 1, 1, 1, 0, 0, b"*" + bytes(511))
    masked, _ = encode(SALT, TAG, 0, 1, 1, 1, 1, 0, 0, b"*" + bytes(512))
    flags = [read_header(frame[:HEADER_BYTES], SALT).flags for frame in (plain, masked)]  # type: ignore[union-attr]
    assert flags == [0, MASKED]
    every_run = b"*" + b"".join(bytes([byte]) * 1024 for byte in range(256))
    frame, _ = encode(SALT, TAG, 0, 1, 1, 1, 1, 0, 0, every_run)
    decoded = decode(frame)
    assert decoded and decoded[1] == every_run and not batch.has_zero_sector(frame)


@pytest.mark.parametrize("size", [1, 383, 384, 385, 895, 896, 97 << 20])
def test_sizes(size: int) -> None:
    body = b"*" * size
    frame, _ = encode(SALT, TAG, 0, 1, 1, 1, 1, 0, 0, body)
    decoded = decode(frame)
    assert decoded and decoded[1] == body and len(frame) - HEADER_BYTES - size in range(1, 513)


@pytest.mark.parametrize("body", [b"", b"\0x", b"*" * ((97 << 20) + 1)])
def test_our_own_mistakes_are_assertions(body: bytes) -> None:
    with pytest.raises(AssertionError):
        encode(SALT, TAG, 0, 1, 1, 1, 1, 0, 0, body)


def _header(**changes) -> batch.Header:
    frame, _ = encode(SALT, TAG, 0, 1, 1, 1, 1, 0, 0, b"*x")
    header = read_header(frame[:HEADER_BYTES], SALT)
    assert header
    return header._replace(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2}, {"kind": 2}, {"flags": 2}, {"flags": 128}, {"key_id": 1}, {"nonce": b"n" * 16},
        {"body_bytes": 0}, {"body_bytes": 1 << 30}, {"entries": 0}, {"first": 0},
    ],
)  # fmt: skip
def test_what_a_later_version_may_write_is_recognised_as_unknown(changes) -> None:
    assert batch.unknown_format(_header()) is None
    assert batch.unknown_format(_header(**changes))


def test_encoding_is_cheap() -> None:
    """Below 5 us for 6 KiB; the bound is loose, because a test machine may be busy."""
    body = (b"*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000001\r\n$64\r\n" + os.urandom(32).hex().encode() + b"\r\n") * 57
    best = min(_timed(body) for _ in range(5))
    assert best < 50e-6, best


def _timed(body: bytes) -> float:
    started = time.perf_counter()
    for _ in range(200):
        encode(SALT, TAG, 0, 1, 1, 1, 1, 0, 0, body)
    return (time.perf_counter() - started) / 200
