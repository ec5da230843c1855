"""Sealed files: AES-256-GCM under a data key of the file's own, and the port through which storage gets such keys.

A file header names the keyring's key and holds the data key wrapped by it; what is in front of that in the header is
bound to it, so that a header cannot be moved to another file. Each record of the file (a batch, a chunk) is sealed
under the data key with a number of its own as nonce. The key may be wrapped anew without touching the records.
Promise: no nonce is used twice under one key. A data key is made for one file by one process, is never used for
writing after a restart (recovery always begins a new segment), and its numbers only grow, also after a failed write.
Not here: where keys are kept (`security.keyring`); what a record is (`batch`, `snapshot`).
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from struct import Struct
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaylix_resp.storage.errors import KeyMissing

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
WRAPPED_BYTES_MAX = 128  # room for a wrapped data key in every file header; what is not used is zero
NO_KEY = bytes(WRAPPED_BYTES_MAX)
KEY_ROOM = Struct("<I128s")  # in a file header, behind what is bound: the keyring's key (0: in the clear), wrapped key


class Cipher:
    """Seals and opens the records of one file."""

    __slots__ = ("_aead", "fingerprint")

    def __init__(self, key: bytes) -> None:
        assert len(key) == KEY_BYTES, len(key)
        self._aead = AESGCM(key)
        # Names the data key in each record, never 0: a record of another file is told from a damaged one.
        self.fingerprint = int.from_bytes(sha256(b"vaylix data key" + key).digest()[:4], "little") | 1

    def seal(self, number: int, data: bytes, bound: bytes) -> bytes:
        """The sealed bytes (as many as came) and the tag (16) behind them. `number` must never come again."""
        return self._aead.encrypt(number.to_bytes(NONCE_BYTES, "little"), data, bound)

    def open(self, number: int, sealed: bytes, bound: bytes) -> bytes | None:
        """What `seal` got, or None if a bit of the sealed bytes, the tag or `bound` is another one."""
        try:
            return self._aead.decrypt(number.to_bytes(NONCE_BYTES, "little"), sealed, bound)
        except InvalidTag:
            return None


@dataclass(frozen=True, slots=True)
class FileKey:
    """A new data key: `wrapped` goes into the file's header with the number of the key that wrapped it."""

    key_id: int  # of the keyring's key, from 1
    wrapped: bytes
    cipher: Cipher


class Keys(Protocol):
    """Where the keys of files come from. `bound` is the part of the file's header that the key belongs to."""

    @property
    def id(self) -> str:
        """Of the keyring, for the manifest; "" when there is none."""
        ...

    def new(self, bound: bytes) -> FileKey | None:
        """A random data key for a file that is about to be written; None: it is written in the clear."""
        ...

    def open(self, key_id: int, wrapped: bytes, bound: bytes, path: str) -> Cipher:
        """The key of a file that exists. Raises Refused: a key that is missing or wrong, a header that is damaged."""
        ...

    def check_clear(self, path: str, sequence: int) -> None:
        """A file in the clear that begins with (a log) or stands for (a snapshot) `sequence`. Raises Refused if the
        store was already sealed then: somebody may have put it there."""
        ...

    def sealed_from(self, sequence: int) -> None:
        """The log goes on sealed behind `sequence`, durably: from now on refuse files in the clear that lie behind."""
        ...


class Clear:
    """`encryption no` on a store that has never been sealed."""

    @property
    def id(self) -> str:
        return ""

    def new(self, bound: bytes) -> FileKey | None:
        return None

    def open(self, key_id: int, wrapped: bytes, bound: bytes, path: str) -> Cipher:
        raise KeyMissing(path, key_id)

    def check_clear(self, path: str, sequence: int) -> None:
        return

    def sealed_from(self, sequence: int) -> None:
        return


CLEAR: Keys = Clear()


def open_cipher(keys: Keys, key_id: int, wrapped: bytes, bound: bytes, path: str, sequence: int) -> Cipher | None:
    """What a file header says about its key; None: the file is in the clear, and may be. Raises Refused."""
    if key_id:
        return keys.open(key_id, wrapped, bound, path)
    keys.check_clear(path, sequence)
    return None
