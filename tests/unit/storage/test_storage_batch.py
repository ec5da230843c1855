"""The batch codec: what is encoded comes back, and no damaged byte does."""

from __future__ import annotations

import os
import time
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaylix_resp.storage import batch
from vaylix_resp.storage.batch import HEADER_BYTES, MASKED, SEALED, SECTOR, encode, frame_bytes, read_body, read_header
from vaylix_resp.storage.sealing import Cipher

SALT = batch.store_salt(b"s" * 16)
TAG = bytes(range(16))
CIPHER = Cipher(b"k" * 32)
CIPHERS = st.sampled_from([CIPHER, None])
BOTH = pytest.mark.parametrize("cipher", [CIPHER, None], ids=["sealed", "clear"])
U64 = st.integers(0, 2**64 - 1)
U32 = st.integers(1, 2**32 - 1)
NONZERO = st.integers(1, 255).map(lambda byte: bytes([byte]))
# Runs of one byte make zero sectors and sectors that a fixed mask would turn into zeros.
RUNS = st.lists(st.tuples(st.sampled_from([0, 0xA5, 1, 255]), st.integers(1, 1500)), max_size=4).map(
    lambda runs: b"".join(bytes([byte]) * size for byte, size in runs)
)
BODY = st.builds(lambda first, rest, runs: first + rest + runs, NONZERO, st.binary(max_size=1200), RUNS)


def decode(frame: bytes, cipher: Cipher | None, salt: int = SALT) -> tuple[batch.Header, bytes] | None:
    header = read_header(frame[:HEADER_BYTES], salt)
    if header is None or batch.unknown_format(header, cipher) or len(frame) != header.frame_bytes:
        return None
    body = read_body(frame[:HEADER_BYTES], header, frame[HEADER_BYTES:], cipher)
    return None if body is None else (header, body)


def frame_of(
    body: bytes, cipher: Cipher | None = None, *, number: int = 3, salt: int = SALT, prev_tag: bytes = TAG
) -> bytes:
    return encode(salt, prev_tag, 4, 5, 2, 1, 1, 0, 0, body, cipher, number if cipher else 0)[0]


@given(U64.filter(bool), U32, U64, U64, U64, U64, U64, st.binary(min_size=16, max_size=16), BODY, U64.filter(bool))
def test_what_is_encoded_comes_back(
    first, count, term, timestamp_ms, committed, seed, durable, prev_tag, body, number
) -> None:
    for cipher in (CIPHER, None):
        found = round_trip(first, count, term, timestamp_ms, committed, seed, durable, prev_tag, body, cipher, number)
        assert found.key_id == (CIPHER.fingerprint if cipher else 0) and found.number == (number if cipher else 0)


def round_trip(
    first, count, term, timestamp_ms, committed, seed, durable, prev_tag, body, cipher, number
) -> batch.Header:
    frame, tag = encode(
        SALT, prev_tag, durable, first, count, term, timestamp_ms, committed, seed, body, cipher, number
    )  # fmt: skip
    decoded = decode(frame, cipher)
    assert decoded is not None
    header, found = decoded
    assert found == body
    assert (header.first, header.entries, header.term, header.timestamp_ms) == (first, count, term, timestamp_ms)
    assert (header.committed, header.seed, header.durable) == (committed, seed, durable)
    assert (header.prev_tag, header.tag, header.last) == (prev_tag, tag, first + count - 1)
    return header


@given(BODY, CIPHERS)
def test_zeros_mean_never_written(body, cipher) -> None:
    frame = frame_of(body, cipher)
    assert len(frame) == frame_bytes(len(body)) and len(frame) % SECTOR == 0
    assert frame[-1].bit_count() >= 3
    assert all(any(frame[at : at + SECTOR]) for at in range(0, len(frame), SECTOR))
    assert not batch.has_zero_sector(frame)
    assert any(frame[HEADER_BYTES:SECTOR])


@given(BODY, CIPHERS, st.data())
def test_no_flip_goes_unnoticed(body, cipher, data) -> None:
    frame = frame_of(body, cipher)
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    damaged = bytearray(frame)
    damaged[bit // 8] ^= 1 << (bit % 8)
    assert decode(bytes(damaged), cipher) is None


@BOTH
def test_every_single_flip_of_a_frame(cipher: Cipher | None) -> None:
    frame = frame_of(b"*1\r\n$4\r\nPING\r\n", cipher)
    for bit in range(len(frame) * 8):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << (bit % 8)
        assert decode(bytes(damaged), cipher) is None, bit


@given(st.binary(max_size=4 * SECTOR).map(lambda raw: raw + bytes(-len(raw) % SECTOR)), RUNS)
def test_has_zero_sector_against_the_obvious_one(raw, runs) -> None:
    frame = runs + raw
    frame += bytes([7]) * (-len(frame) % SECTOR)
    obvious = any(not any(frame[at : at + SECTOR]) for at in range(0, len(frame), SECTOR))
    assert batch.has_zero_sector(frame) is obvious


@BOTH
def test_another_store_has_other_frames(cipher: Cipher | None) -> None:
    assert decode(frame_of(b"*x", cipher), cipher)
    assert decode(frame_of(b"*x", cipher), cipher, batch.store_salt(b"t" * 16)) is None


def test_a_sealed_body_is_seen_by_nobody_without_the_key() -> None:
    body = b"*3\r\n" + b"secret" * 200
    frame = frame_of(body, CIPHER)
    assert b"secret" not in frame and b"*3" not in frame[HEADER_BYTES:]
    for other in (Cipher(b"o" * 32), None):
        assert decode(frame, other) is None
    header = read_header(frame[:HEADER_BYTES], SALT)
    assert header and batch.unknown_format(header, None) == "a batch in the clear, as this segment is"
    assert batch.unknown_format(header, Cipher(b"o" * 32)) == "a batch sealed with the key of this segment"
    assert read_body(frame[:HEADER_BYTES], header, frame[HEADER_BYTES:], Cipher(b"o" * 32)) is None


@pytest.mark.parametrize(
    "at, size",
    [(8, 8), (16, 4), (24, 8), (32, 8), (40, 8), (48, 8), (56, 8), (64, 8), (76, 8), (84, 8), (92, 16), (108, 16)],
)
def test_a_sealed_frame_that_was_changed_by_somebody_without_the_key(at: int, size: int) -> None:
    """He can make every checksum right, but not the tag: it covers all of the header, and the batch before."""
    raw = bytearray(frame_of(b"*x" * 50, CIPHER))
    raw[at : at + size] = bytes(byte ^ 1 for byte in raw[at : at + size])
    raw[124:128] = crc32(bytes(raw[:124]), SALT).to_bytes(4, "little")
    header = read_header(bytes(raw[:HEADER_BYTES]), SALT)
    assert header and batch.unknown_format(header, CIPHER) is None
    assert read_body(bytes(raw[:HEADER_BYTES]), header, bytes(raw[HEADER_BYTES:]), CIPHER) is None


def test_two_frames_of_one_batch_have_nothing_in_common() -> None:
    one, two = (frame_of(b"*" + bytes(600), CIPHER, number=number)[HEADER_BYTES : HEADER_BYTES + 601]
                for number in (1, 2))  # fmt: skip
    assert sum(left == right for left, right in zip(one, two, strict=True)) < 20
    assert one.count(0) < 20


def test_masking_is_rare_and_survives_a_body_made_of_masks() -> None:
    plain, masked = frame_of(b"*" + bytes(511)), frame_of(b"*" + bytes(512))
    flags = [read_header(frame[:HEADER_BYTES], SALT).flags for frame in (plain, masked)]  # type: ignore[union-attr]
    assert flags == [0, MASKED]
    every_run = b"*" + b"".join(bytes([byte]) * 1024 for byte in range(256))
    for cipher in (CIPHER, None):
        frame = frame_of(every_run, cipher)
        decoded = decode(frame, cipher)
        assert decoded and decoded[1] == every_run and not batch.has_zero_sector(frame)
        assert decoded[0].flags == (SEALED if cipher else MASKED)


@BOTH
@pytest.mark.parametrize("size", [1, 383, 384, 385, 895, 896, 97 << 20])
def test_sizes(size: int, cipher: Cipher | None) -> None:
    body = b"*" * size
    frame = frame_of(body, cipher)
    decoded = decode(frame, cipher)
    assert decoded and decoded[1] == body and len(frame) - HEADER_BYTES - size in range(1, 513)


@pytest.mark.parametrize("body", [b"", b"\0x", b"*" * ((97 << 20) + 1)])
def test_our_own_mistakes_are_assertions(body: bytes) -> None:
    with pytest.raises(AssertionError):
        frame_of(body)
    with pytest.raises(AssertionError):
        frame_of(b"*x", CIPHER, number=0)


def _header(cipher: Cipher | None, **changes) -> batch.Header:
    header = read_header(frame_of(b"*x", cipher)[:HEADER_BYTES], SALT)
    assert header
    return header._replace(**changes)


@BOTH
@pytest.mark.parametrize(
    "changes",
    [
        {"version": 1}, {"version": 3}, {"kind": 2}, {"flags": 4}, {"flags": 128}, {"flags": 3}, {"key_id": 1},
        {"body_bytes": 0}, {"body_bytes": 1 << 30}, {"entries": 0}, {"first": 0},
    ],
)  # fmt: skip
def test_what_does_not_belong_here_is_recognised(changes, cipher: Cipher | None) -> None:
    assert batch.unknown_format(_header(cipher), cipher) is None
    assert batch.unknown_format(_header(cipher, **changes), cipher)


@pytest.mark.parametrize("cipher, changes", [(CIPHER, {"flags": 0}), (CIPHER, {"number": 0}), (CIPHER, {"flags": 1}),
                                             (None, {"flags": 2}), (None, {"number": 1})])  # fmt: skip
def test_sealed_and_clear_batches_do_not_mix(changes, cipher: Cipher | None) -> None:
    assert batch.unknown_format(_header(cipher, **changes), cipher)


@BOTH
def test_encoding_is_cheap(cipher: Cipher | None) -> None:
    """Below 10 us for 6 KiB; the bound is loose, because a test machine may be busy."""
    body = (b"*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000001\r\n$64\r\n" + os.urandom(32).hex().encode() + b"\r\n") * 57
    best = min(_timed(body, cipher) for _ in range(5))
    assert best < 100e-6, best


def _timed(body: bytes, cipher: Cipher | None) -> float:
    started = time.perf_counter()
    for number in range(200):
        encode(SALT, TAG, 0, 1, 1, 1, 1, 0, 0, body, cipher, number + 1)
    return (time.perf_counter() - started) / 200
