"""Keys without a keyring: for tests, the same ones in every process, and with an eye on what they are used for.

Any object with the same seed opens what another one has sealed, as after a restart; data keys are new each time, as
random ones are. Its watch: no number is ever used twice with one data key, nor a smaller one after a larger; that holds
over all lives, disks and copies of disks in one run of the tests, because every file has to get a key of its own.
`check_clear` and `sealed_from` are those of `engine.keys.SealedKeys`, without a file.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import count

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaylix_resp.errors import EX_DATA, Refused
from vaylix_resp.storage.sealing import Cipher, FileKey

ALWAYS_CLEAR = (1 << 64) - 1
KEY_ID = 7
_WRAPPED_BYTES = 12 + 32 + 16

_serial = count(1)
_last_number: dict[bytes, int] = {}  # data key -> the last number that something was sealed with


class WrongKey(Refused):
    """A file that these keys did not seal, or one in the clear where there must be none."""

    exit_code = EX_DATA


class WatchedCipher(Cipher):
    """Says so at once when a nonce comes again."""

    __slots__ = ("key",)

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self.key = key

    def seal(self, number: int, data: bytes, bound: bytes) -> bytes:
        last = _last_number.get(self.key, -1)
        assert number > last, f"number {number} again: {last} has been used with this key"
        _last_number[self.key] = number
        return super().seal(number, data, bound)


class MemoryKeys:
    """`seals=False`: what is there can be read, new files are written in the clear."""

    def __init__(self, seed: int = 1, *, seals: bool = True, clear_until: int = 0) -> None:
        self.id = f"{seed:032x}"
        self.seals, self.clear_until = seals, clear_until
        self.told: list[int] = []  # what sealed_from has been told
        self._wrapping = AESGCM(sha256(b"wrapping key %d" % seed).digest())

    def new(self, bound: bytes) -> FileKey | None:
        if not self.seals:
            return None
        number = next(_serial)
        key, nonce = sha256(b"data key %d" % number).digest(), number.to_bytes(12, "big")
        return FileKey(KEY_ID, nonce + self._wrapping.encrypt(nonce, key, bound), WatchedCipher(key))

    def open(self, key_id: int, wrapped: bytes, bound: bytes, path: str) -> Cipher:
        try:
            if key_id != KEY_ID or any(wrapped[_WRAPPED_BYTES:]):
                raise InvalidTag
            key = self._wrapping.decrypt(wrapped[:12], wrapped[12:_WRAPPED_BYTES], bound)
        except InvalidTag as cause:
            raise WrongKey(f"{path}: byte 0: expected a data key that these keys have wrapped; to continue: -") from cause
        return WatchedCipher(key)

    def check_clear(self, path: str, sequence: int) -> None:
        if sequence > self.clear_until:
            raise WrongKey(f"{path}: byte 0: expected a sealed file behind sequence {self.clear_until}; to continue: -")

    def sealed_from(self, sequence: int) -> None:
        self.told.append(sequence)
        if self.seals and self.clear_until == ALWAYS_CLEAR:
            self.clear_until = sequence
