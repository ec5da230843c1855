"""Sealing one record, and what stands in for a keyring where there is none."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from vaylix_resp.errors import EX_CONFIG
from vaylix_resp.storage.errors import KeyMissing
from vaylix_resp.storage.sealing import CLEAR, KEY_ROOM, NO_KEY, TAG_BYTES, Cipher, open_cipher

CIPHER = Cipher(bytes(range(32)))
NUMBERS = st.integers(0, 2**64 - 1)


@given(NUMBERS, st.binary(max_size=300), st.binary(max_size=40))
def test_what_is_sealed_opens_again_and_it_is_plain_aes_gcm(number: int, data: bytes, bound: bytes) -> None:
    sealed = CIPHER.seal(number, data, bound)
    assert len(sealed) == len(data) + TAG_BYTES
    assert CIPHER.open(number, sealed, bound) == data
    assert AESGCM(bytes(range(32))).decrypt(number.to_bytes(12, "little"), sealed, bound) == data


def test_every_flip_and_every_exchange_is_noticed() -> None:
    sealed = CIPHER.seal(7, b"a value", b"bound")
    for bit in range(len(sealed) * 8):
        raw = bytearray(sealed)
        raw[bit // 8] ^= 1 << (bit % 8)
        assert CIPHER.open(7, bytes(raw), b"bound") is None
    assert CIPHER.open(8, sealed, b"bound") is None
    assert CIPHER.open(7, sealed, b"bount") is None
    assert CIPHER.open(7, sealed[:-1], b"bound") is None
    assert CIPHER.open(7, b"", b"bound") is None
    assert Cipher(b"o" * 32).open(7, sealed, b"bound") is None


@given(st.binary(min_size=32, max_size=32))
def test_a_fingerprint_names_a_key_and_is_never_0(key: bytes) -> None:
    assert 0 < Cipher(key).fingerprint < 1 << 32
    other = bytes([key[0] ^ 1]) + key[1:]
    assert Cipher(key).fingerprint == Cipher(key).fingerprint != Cipher(other).fingerprint


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_of_another_size_is_our_own_mistake(size: int) -> None:
    with pytest.raises(AssertionError):
        Cipher(bytes(size))


def test_the_key_is_not_shown() -> None:
    assert bytes(range(32)).hex() not in repr(CIPHER) and "\\x01\\x02" not in repr(CIPHER)


def test_without_a_keyring() -> None:
    assert CLEAR.id == "" and CLEAR.new(b"bound") is None
    assert open_cipher(CLEAR, 0, NO_KEY, b"bound", "a/path", 5) is None
    with pytest.raises(KeyMissing, match="a/path: sealed with key 3 of a keyring that is not there") as missing:
        open_cipher(CLEAR, 3, b"w" * 128, b"bound", "a/path", 5)
    assert missing.value.exit_code == EX_CONFIG and "\n" not in str(missing.value)


def test_the_room_for_a_key_is_filled_up_with_zeros() -> None:
    assert KEY_ROOM.unpack(KEY_ROOM.pack(5, b"wrapped")) == (5, b"wrapped" + bytes(121))
    assert KEY_ROOM.unpack(KEY_ROOM.pack(0, NO_KEY)) == (0, NO_KEY)
