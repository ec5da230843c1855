"""The keyring: the keys that wrap the data keys of files, themselves wrapped by the master key, in one JSON file.

    master key --HKDF--> wraps key 1, key 2, ... (32 random bytes each) --> each wraps the data keys of many files

Files name the key that wrapped theirs. One key is active; older ones are retired and stay until no file needs them.
Promise: a wrong master key is told from a damaged file; a single bit that differs from what was written is refused;
a change is durable before it is used, and what fails to become durable is not used; numbers of keys are never reused.
Threads: everything may be called from any thread.
Not here: which files need a key, and when one may go (`engine.keyring`); the master key's sources (`master_key`).
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from threading import Lock
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..errors import EX_CONFIG, EX_DATA, EX_IO, remedy
from .master_key import KEY_BYTES, Files, KeyringError, MasterKey

FORMAT_VERSION: Final = 1
DIRECTORY: Final = "keyring"
NAME: Final = "keyring.json"
ID_BYTES: Final = 16
NONCE_BYTES: Final = 12
WRAPPED_BYTES: Final = NONCE_BYTES + KEY_BYTES + 16
KEYS_MAX: Final = 256  # old ones go as soon as no file needs them, so more than a few mean that something is wrong
ALWAYS_CLEAR: Final = (1 << 64) - 1  # as `clear_until`: encryption is off, or sealing is just about to begin

_WRAP, _CHECK, _MAC = b"vaylix keyring 1 wrap", b"vaylix keyring 1 check", b"vaylix keyring 1 mac"
_LOST: Final = (
    "without this file the data cannot be read; to continue: put back a good copy of it (each backup has one, and its "
    "master key opens it), or restore from a backup"
)

Token = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One key as the file has it. `retired_ms` is None for the active one, the last of the list."""

    id: int
    created_ms: int
    retired_ms: int | None
    wrapped: str  # hex of nonce, sealed key and tag


@dataclass(frozen=True, slots=True)
class Content:
    """What the file says. `clear_until`: the last sequence at which a file in the clear is accepted."""

    keyring_id: str
    created_ms: int
    clear_until: int
    check: str  # tells whether a master key is the right one
    keys: tuple[KeyEntry, ...]


class _Locks:
    """What follows from a master key for one keyring."""

    __slots__ = ("check", "mac_key", "wrap")

    def __init__(self, master: bytes, keyring_id: str) -> None:
        salt = bytes.fromhex(keyring_id)
        self.wrap = AESGCM(_derive(master, salt, _WRAP))
        self.mac_key = _derive(master, salt, _MAC)
        self.check = _derive(master, salt, _CHECK).hex()


def _derive(master: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt, info).derive(master)


class Keyring:
    """An open keyring. `create`, `open` or `load` makes one."""

    def __init__(
        self, content: Content, keys: dict[int, bytes], locks: _Locks, files: Files | None, path: str, source: str,
        token: Token,
    ) -> None:  # fmt: skip
        self.path, self.source = path, source
        self._content, self._keys, self._locks = content, keys, locks
        self._aeads = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._files, self._token = files, token
        self._changing = Lock()

    def __repr__(self) -> str:
        return f"Keyring({self.id}, active={self.active})"

    @property
    def id(self) -> str:
        return self._content.keyring_id

    @property
    def active(self) -> int:
        return self._content.keys[-1].id

    @property
    def clear_until(self) -> int:
        return self._content.clear_until

    @property
    def entries(self) -> tuple[KeyEntry, ...]:
        """Oldest first; the last one is active."""
        return self._content.keys

    @property
    def retired(self) -> tuple[int, ...]:
        return tuple(entry.id for entry in self._content.keys[:-1])

    def export(self) -> bytes:
        """The file as it is now: its keys are wrapped, so it may lie beside a backup."""
        return _encode(self._content, self._locks)

    # Data keys of files

    def wrap(self, data_key: bytes, bound: bytes) -> tuple[int, bytes]:
        """The active key's number, and the data key wrapped by it and tied to `bound`."""
        key_id = self.active
        nonce = self._token(NONCE_BYTES)
        return key_id, nonce + self._aeads[key_id].encrypt(nonce, data_key, self._bound(key_id, bound))

    def unwrap(self, key_id: int, wrapped: bytes, bound: bytes, path: str) -> bytes:
        """The data key of `path`. `wrapped` may have zeros behind it. Raises KeyringError."""
        aead = self._aeads.get(key_id)
        if aead is None:
            have = ", ".join(str(entry.id) for entry in self.entries)
            raise KeyringError(
                f"{path}: sealed with key {key_id}, the keyring {self.path} has {have}; to continue: put back the "
                "keyring that belongs to this file, or restore from a backup", EX_DATA,
            )  # fmt: skip
        nonce, sealed = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:WRAPPED_BYTES]
        try:
            if any(wrapped[WRAPPED_BYTES:]):
                raise InvalidTag
            data_key = aead.decrypt(nonce, sealed, self._bound(key_id, bound))
        except (InvalidTag, ValueError) as cause:
            raise KeyringError(
                f"{path}: byte 0: expected a data key that key {key_id} of keyring {self.id} wrapped for this file, "
                "this one is damaged or belongs to another; to continue: restore from a backup", EX_DATA,
            ) from cause  # fmt: skip
        return data_key

    def _bound(self, key_id: int, bound: bytes) -> bytes:
        return b"vaylix data key 1" + bytes.fromhex(self.id) + key_id.to_bytes(4, "big") + bound

    # Changes; each is durable when it returns

    def rotate(self, now_ms: int) -> int:
        """A new active key; its number. The one that was active is retired."""

        def add(content: Content) -> Content:
            if len(content.keys) >= KEYS_MAX:
                raise KeyringError(
                    f"{self.path}: there are {KEYS_MAX} keys, as many as there may be; to continue: wait until files "
                    "that need old ones have gone (KEYRING STATUS), or run 'vaylix storage rotate-key' while the "
                    "server is stopped", EX_CONFIG,
                )  # fmt: skip
            key_id = content.keys[-1].id + 1
            entry = KeyEntry(key_id, now_ms, None, _seal(self._locks, content.keyring_id, key_id, key, self._token))
            return replace(content, keys=(*content.keys[:-1], replace(content.keys[-1], retired_ms=now_ms), entry))

        key = self._token(KEY_BYTES)
        return self._change(add, new_key=key).keys[-1].id

    def destroy(self, key_ids: Iterable[int]) -> None:
        """Forget retired keys that no file needs."""
        gone = set(key_ids)
        assert self.active not in gone, gone
        content = self._change(lambda c: replace(c, keys=tuple(entry for entry in c.keys if entry.id not in gone)))
        self._know({entry.id: self._keys[entry.id] for entry in content.keys})

    def accept_clear(self, until: int) -> None:
        """Files in the clear are accepted up to this sequence from now on."""
        if until != self.clear_until:
            self._change(lambda content: replace(content, clear_until=until))

    def rewrap(self, master: MasterKey) -> None:
        """Put the keyring under another master key; the one before does not open this file any more."""
        locks = _Locks(master.key, self.id)

        def sealed_anew(content: Content) -> Content:
            keys = tuple(
                replace(entry, wrapped=_seal(locks, self.id, entry.id, self._keys[entry.id], self._token))
                for entry in content.keys
            )
            return replace(content, check=locks.check, keys=keys)

        self._change(sealed_anew, locks)
        self.source = master.source

    def _know(self, keys: dict[int, bytes]) -> None:
        self._aeads = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._keys = keys

    def _change(
        self, change: Callable[[Content], Content], locks: _Locks | None = None, new_key: bytes = b""
    ) -> Content:
        """Save, then use. One whose write failed may be on disk all the same: a file that another process seals with
        a new key from there is refused here, because the next change may take that key away again."""
        assert self._files is not None, "a copy of a keyring is only read"
        with self._changing:
            locks = locks or self._locks
            content = change(self._content)
            if content != self._content:
                _save(self._files, self.path, _encode(content, locks))
                if new_key:  # before it is the active one: other threads wrap meanwhile
                    self._know({**self._keys, content.keys[-1].id: new_key})
                self._content, self._locks = content, locks
        return content

    # Making

    @classmethod
    def create(
        cls, files: Files, root: str, master: MasterKey, *, now_ms: int, clear_until: int,
        token: Token = secrets.token_bytes,
    ) -> Keyring:  # fmt: skip
        """A new keyring with one key, durable. There must be none."""
        path = keyring_path(root)
        assert not files.exists(path), path
        keyring_id = token(ID_BYTES).hex()
        key, locks = token(KEY_BYTES), _Locks(master.key, keyring_id)
        entry = KeyEntry(1, now_ms, None, _seal(locks, keyring_id, 1, key, token))
        content = Content(keyring_id, now_ms, clear_until, locks.check, (entry,))
        try:
            files.mkdir(os.path.dirname(path))
        except OSError as cause:
            raise _io_failed(path, cause) from cause
        _save(files, path, _encode(content, locks))
        return cls(content, {1: key}, locks, files, path, master.source, token)

    @classmethod
    def open(cls, files: Files, root: str, master: MasterKey, *, token: Token = secrets.token_bytes) -> Keyring:
        """The keyring of a data directory. Raises KeyringError: wrong master key (78) or damage (65)."""
        path = keyring_path(root)
        return cls.load(read(files, path), master, path, files=files, token=token)

    @classmethod
    def load(
        cls, raw: bytes, master: MasterKey, path: str, *, files: Files | None = None,
        token: Token = secrets.token_bytes,
    ) -> Keyring:  # fmt: skip
        """The keyring in `raw`, which came from `path`. Without `files` it cannot be changed."""
        content = decode(raw, path)
        locks = _Locks(master.key, content.keyring_id)
        if not hmac.compare_digest(locks.check, content.check):
            raise KeyringError(
                f"{path}: the master key from {master.source} is not the one of this keyring ({content.keyring_id}); "
                "to continue: name the master key that this data was written with; nothing has been changed"
            )
        if not hmac.compare_digest(_encode(content, locks), raw):
            raise damaged(path, "a keyring that its master key has signed")
        keys = {entry.id: _open(locks, content.keyring_id, entry, path) for entry in content.keys}
        return cls(content, keys, locks, files, path, master.source, token)

    @classmethod
    def merge(cls, copies: Sequence[tuple[str, bytes]], master: MasterKey) -> Keyring:
        """One keyring to read with, from (path, content) of copies of it at different times (of an archive)."""
        assert copies, "at least one copy"
        loaded = sorted((cls.load(raw, master, path) for path, raw in copies), key=lambda keyring: keyring.active)
        newest = loaded[-1]
        for keyring in loaded:
            if keyring.id != newest.id:
                raise KeyringError(
                    f"{keyring.path}: a copy of keyring {keyring.id}, {newest.path} is one of {newest.id}; "
                    "to continue: keep the files of different stores apart", EX_DATA,
                )  # fmt: skip
        newest._know({key_id: key for keyring in loaded for key_id, key in keyring._keys.items()})
        return newest


def keyring_path(root: str) -> str:
    return os.path.join(root, DIRECTORY, NAME)


def damaged(path: str, expected: str) -> KeyringError:
    return KeyringError(f"{path}: byte 0: expected {expected}; {_LOST}", EX_DATA)


def read(files: Files, path: str) -> bytes:
    try:
        return files.read_file(path)
    except FileNotFoundError as cause:
        raise KeyringError(f"{path}: the keyring is not there; {_LOST}", EX_DATA) from cause
    except OSError as cause:
        raise _io_failed(path, cause) from cause


def decode(raw: bytes, path: str) -> Content:
    """What can be known without the master key: whole, of our version, in our own spelling."""
    try:
        body: dict[str, Any] = json.loads(raw.decode("ascii"))
        checksum, version = body.pop("checksum"), body["format"]
        whole = checksum == _checksum(body)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as cause:
        raise damaged(path, "a keyring in JSON with a checksum") from cause
    if not whole:
        raise damaged(path, "a keyring with a right checksum")
    if version != FORMAT_VERSION:
        raise KeyringError(
            f"{path}: byte 0: expected keyring format version {FORMAT_VERSION}, this one is {version!r:.40}; "
            "to continue: start the version of vaylix that wrote it", EX_DATA,
        )  # fmt: skip
    try:
        del body["format"]
        mac = body.pop("mac")
        content = Content(**{**body, "keys": tuple(KeyEntry(**entry) for entry in body["keys"])})
        good = _is_ours(content) and _render(content, mac) == raw  # JSON has many spellings of one value
    except (KeyError, TypeError, ValueError) as cause:
        raise damaged(path, f"the fields of a keyring ({cause})") from cause
    if not good:
        raise damaged(path, "a keyring as this program writes it")
    return content


def _is_ours(content: Content) -> bool:
    """Whether every field is of its kind, and keys are in order with the active one last."""
    ids = [entry.id for entry in content.keys]
    times = [content.created_ms, content.clear_until]
    for entry in content.keys:
        times += [entry.created_ms, entry.retired_ms if entry.retired_ms is not None else 0]
    return (
        all(type(number) is int and 0 <= number <= ALWAYS_CLEAR for number in [*ids, *times])
        and ids == sorted(set(ids))
        and all(0 < key_id < 1 << 32 for key_id in ids)
        and [entry.retired_ms is None for entry in content.keys] == [False] * (len(ids) - 1) + [True]
        and len(bytes.fromhex(content.keyring_id)) == ID_BYTES
        and len(bytes.fromhex(content.check)) == KEY_BYTES
        and all(len(bytes.fromhex(entry.wrapped)) == WRAPPED_BYTES for entry in content.keys)
    )


def _encode(content: Content, locks: _Locks) -> bytes:
    body = _canonical({"format": FORMAT_VERSION, **asdict(content)})
    return _render(content, hmac.new(locks.mac_key, body, sha256).hexdigest())


def _render(content: Content, mac: str) -> bytes:
    body = {"mac": mac, "format": FORMAT_VERSION, **asdict(content)}
    return json.dumps({"checksum": _checksum(body), **body}, indent=2).encode() + b"\n"


def _checksum(body: dict[str, Any]) -> str:
    return sha256(_canonical(body)).hexdigest()


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def _seal(locks: _Locks, keyring_id: str, key_id: int, key: bytes, token: Token) -> str:
    nonce = token(NONCE_BYTES)
    return (nonce + locks.wrap.encrypt(nonce, key, _entry_bound(keyring_id, key_id))).hex()


def _open(locks: _Locks, keyring_id: str, entry: KeyEntry, path: str) -> bytes:
    try:
        raw = bytes.fromhex(entry.wrapped)
        return locks.wrap.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _entry_bound(keyring_id, entry.id))
    except (InvalidTag, ValueError) as cause:
        raise damaged(path, f"key {entry.id} as its master key has wrapped it") from cause


def _entry_bound(keyring_id: str, key_id: int) -> bytes:
    return b"vaylix keyring 1 key" + bytes.fromhex(keyring_id) + key_id.to_bytes(4, "big")


def _save(files: Files, path: str, raw: bytes) -> None:
    try:
        files.replace_file(path, raw)
    except OSError as cause:
        raise _io_failed(path, cause) from cause


def _io_failed(path: str, cause: OSError) -> KeyringError:
    text = f"{path}: the disk refused: {cause.strerror or cause}; to continue: {remedy(cause)}"
    return KeyringError(text, EX_IO)
