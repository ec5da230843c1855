"""From a keyring to the keys of files, and which keyring a data directory gets: `storage.sealing.Keys` for everybody.

    server     open_keys = ServerKeys(...); Store.open(..., open_keys=open_keys)
    child      keys = child_keys(disk, root, sys.stdin.buffer.read())
    tool       keys = reading_keys(disk, root, source)        # `tools.keys.open_keys` takes the source from options
    new store  keys = new_keys(disk, target, source, now_ms)  # a keyring of its own, before anything is sealed
    backup     keys = SealedKeys(Keyring.load(raw, source.read(disk), path))

Promise: nothing is created or changed before the master key has been found right, and nothing is sealed before its
keyring, and the master key if it was made here, are durable. Not here: rotation and destruction (`keyring`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

from ..errors import EX_DATA, Refused
from ..security import master_key
from ..security.keyring import ALWAYS_CLEAR, Keyring, Token, keyring_path
from ..security.master_key import OWN, KeyringError, MasterKey, Source
from ..storage.disk import Disk
from ..storage.manifest import Manifest
from ..storage.sealing import CLEAR, Cipher, FileKey, Keys

SECRET_BYTES_MAX: Final = 4096  # of a child's standard input


class SealedKeys:
    """The keys of a store with a keyring. With `seals` False new files are written in the clear."""

    def __init__(self, keyring: Keyring, *, seals: bool = True, token: Token = secrets.token_bytes) -> None:
        self.keyring = keyring
        self.seals = seals
        self._token = token

    @property
    def id(self) -> str:
        return self.keyring.id

    def new(self, bound: bytes) -> FileKey | None:
        if not self.seals:
            return None
        data_key = self._token(master_key.KEY_BYTES)
        key_id, wrapped = self.keyring.wrap(data_key, bound)
        return FileKey(key_id, wrapped, Cipher(data_key))

    def open(self, key_id: int, wrapped: bytes, bound: bytes, path: str) -> Cipher:
        return Cipher(self.keyring.unwrap(key_id, wrapped, bound, path))

    def check_clear(self, path: str, sequence: int) -> None:
        """Somebody who can write files but has no key could otherwise replace sealed ones."""
        if sequence > self.keyring.clear_until:
            raise KeyringError(
                f"{path}: byte 0: sequence {sequence}: expected a sealed file, as all behind sequence "
                f"{self.keyring.clear_until} are, this one is in the clear; to continue: put the right file back, or "
                "restore from a backup", EX_DATA,
            )  # fmt: skip

    def sealed_from(self, sequence: int) -> None:
        """The log is sealed behind `sequence`: from now on nothing in the clear is taken for its continuation."""
        if self.seals and self.keyring.clear_until == ALWAYS_CLEAR:
            self.keyring.accept_clear(sequence)


class ReadersKeys(SealedKeys):
    """Of a process beside the server, which may rotate the keyring while files are being read."""

    def __init__(self, disk: Disk, root: str, master: MasterKey) -> None:
        keyring = Keyring.open(disk, root, master)
        super().__init__(keyring, seals=keyring.clear_until != ALWAYS_CLEAR)
        self._disk, self._root, self._master = disk, root, master

    def open(self, key_id: int, wrapped: bytes, bound: bytes, path: str) -> Cipher:
        if key_id > self.keyring.active:
            self.keyring = Keyring.open(self._disk, self._root, self._master)
        return super().open(key_id, wrapped, bound, path)


class ServerKeys:
    """Called by Store.open with the manifest, under the lock: opens or makes what `encryption` asks for."""

    def __init__(
        self, disk: Disk, root: str, source: Source, *, encryption: bool, now_ms: int,
        token: Token = secrets.token_bytes,
    ) -> None:  # fmt: skip
        self._disk, self._root, self.source = disk, root, source
        self._encryption, self._now_ms, self._token = encryption, now_ms, token
        self.keys: Keys = CLEAR
        self.master: MasterKey | None = None  # None: the store is in the clear and stays so
        self.notices: list[str] = []
        self.warnings: list[str] = []

    def __call__(self, manifest: Manifest | None) -> Keys:
        disk, root = self._disk, self._root
        path = keyring_path(root)
        if disk.exists(path):
            self.keys = self._open()
        elif manifest is not None and manifest.keyring_id:
            raise KeyringError(
                f"{path}: the keyring of this data is not there; nothing has been changed, and without it the data "
                "cannot be read; to continue: put the directory keyring/ back", EX_DATA,
            )  # fmt: skip
        elif self._encryption:
            self.keys = self._create(first_start=manifest is None)
        if self.master is not None:
            self._look_at_source()
        return self.keys

    def secret(self) -> bytes:
        """What a child reads from its standard input."""
        return self.master.hex() if self.master else b""

    def _open(self) -> SealedKeys:
        self.master = self.source.read(self._disk)
        keyring = Keyring.open(self._disk, self._root, self.master, token=self._token)
        if not self._encryption and keyring.clear_until != ALWAYS_CLEAR:
            keyring.accept_clear(ALWAYS_CLEAR)
            self.warnings.append(
                "encryption is off: what is written from now on is in the clear; what was sealed stays sealed and "
                "readable as long as its keys are there"
            )
        return SealedKeys(keyring, seals=self._encryption, token=self._token)

    def _create(self, *, first_start: bool) -> SealedKeys:
        disk, source = self._disk, self.source
        if source.kind == OWN and not disk.exists(source.place):
            self.master = master_key.generate(disk, source.place, self._token)
            self.warnings.append(master_key.GENERATED.format(path=source.place))
        else:
            self.master = source.read(disk)
        until = 0 if first_start else ALWAYS_CLEAR  # a store in the clear: until its log goes on sealed
        keyring = Keyring.create(
            disk, self._root, self.master, now_ms=self._now_ms, clear_until=until, token=self._token
        )
        return SealedKeys(keyring, token=self._token)

    def _look_at_source(self) -> None:
        source, own = self.source, Source(OWN, master_key.own_path(self._root))
        if source.kind == OWN and not self.warnings:
            self.notices.append(f"the master key lies beside the data ({source.place}); see master-key-file")
        if source.kind in (OWN, master_key.FILE) and (warning := master_key.mode_warning(self._disk, source.place)):
            self.warnings.append(warning)
        if source.kind != OWN and source.place != own.place and self._disk.exists(own.place):
            self.warnings.append(f"{own.place} is not used, the master key comes from {source}: remove it if it is old")


def child_keys(disk: Disk, root: str, secret: bytes) -> Keys:
    """For a child of the server: the first line of its standard input is the master key, or empty. (What it is asked
    to do may follow.) New files are sealed as the server's are."""
    if not disk.exists(keyring_path(root)):
        return CLEAR
    secret = secret.partition(b"\n")[0]
    if not secret:
        raise KeyringError(f"{keyring_path(root)}: no master key came with this process; start it through the server")
    master = master_key.parse(secret[:SECRET_BYTES_MAX].decode("ascii", "replace"), "standard input")
    return ReadersKeys(disk, root, master)


def reading_keys(disk: Disk, root: str, source: Source) -> Keys:
    """For a tool that reads a data directory; CLEAR when it has no keyring (its files tell then if one is missing)."""
    if not disk.exists(keyring_path(root)):
        return CLEAR
    return ReadersKeys(disk, root, source.read(disk))


def new_keys(
    disk: Disk, root: str, source: Source, now_ms: int, warn: Callable[[str], None], *,
    token: Token = secrets.token_bytes,
) -> SealedKeys:  # fmt: skip
    """A keyring for a new data directory, durable when this returns; makes its master key if the source is its own."""
    keys = ServerKeys(disk, root, source, encryption=True, now_ms=now_ms, token=token)
    if disk.exists(keyring_path(root)):
        raise Refused(f"{keyring_path(root)}: there is a keyring already; to continue: choose an empty directory")
    made = keys(None)
    assert isinstance(made, SealedKeys)
    for warning in keys.warnings:
        warn(warning)
    return made
