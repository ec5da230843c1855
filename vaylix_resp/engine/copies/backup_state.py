"""A state to a logical backup, and a backup to a state: for the child of the server and for the offline tool.

Promises: a backup has its name only when it is whole and durable; what `load` returns has the digests that were taken
of the state when it was saved, so saving and loading lose nothing: versions, sequence, counters, users included.
Not here: the file (`storage.copies.backup_file`), the directory it is in (`storage.copies.backup_sidecar`), which
state (`restore`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from ... import identity
from ...limits import MIB
from ...security.keyring import Keyring, decode
from ...security.master_key import KeyringError, MasterKey
from ...state import image
from ...state.digest import digest_hex, keys_digest_hex
from ...state.machine import StateMachine
from ...state.values import make_item, value_of, version_of
from ...storage.copies.backup_file import STRING, BackupWriter, Head, Row
from ...storage.copies.backup_reader import ADVICE, BackupReader, open_backup
from ...storage.copies.backup_sidecar import Sidecar, check_content, make_sidecar, publish, read_sidecar, sidecar_path
from ...storage.disk import Disk
from ...storage.errors import Corrupt, KeyMissing, Unreadable
from ...storage.sealing import CLEAR, Keys
from ..boot import new_machine
from ..keys import SealedKeys
from .backup_parts import parts_of, take

READ_BYTES: Final = MIB
LOAD_KEYS: Final = 1000  # taken into the machine together

Say = Callable[[int, int], None]  # done, total


@dataclass(frozen=True, slots=True)
class Loaded:
    """A backup as a state, proved equal to the one that was saved."""

    machine: StateMachine
    sidecar: Sidecar


def save(
    disk: Disk, temporary: str, name: str, machine: StateMachine, *, term: int, store_id: str, keys: Keys,
    throttle: Callable[[int], None] | None = None, say: Say | None = None,
) -> Sidecar:  # fmt: skip
    """Write the state to `temporary` (from `backup_sidecar.prepare`) and publish it; with CLEAR in the clear.

    The machine is the caller's own: what is staged in it, of a restore that is not published, is thrown away.
    """
    world = machine.world
    world.staged.clear()
    keys_digest, state_digest = keys_digest_hex(world), digest_hex(machine)
    head = Head(
        store_id, machine.applied, term, machine.time_ms, world.top_version, world.deleted_version, len(world.databases)
    )
    writer = BackupWriter(disk, temporary, head, keys, throttle)
    total = sum(len(db.items) for db in world.databases)
    try:
        for part, value in parts_of(machine):
            writer.add_part(part, value)
        for done, row in enumerate(rows_of(machine), 1):
            writer.add(row)
            if say and not done % LOAD_KEYS:
                say(done, total)
        content = writer.finish(keys_digest, state_digest)
    except BaseException:
        writer.abort()
        raise
    keyring = keys.keyring.export() if content.sealed and isinstance(keys, SealedKeys) else None
    sidecar = make_sidecar(name, identity.VAYLIX_VERSION, content, keyring)
    publish(disk, temporary, sidecar)
    return sidecar


def rows_of(machine: StateMachine) -> Iterator[Row]:
    """Every key with all that belongs to it, also those whose time has come: reads hide them as they did before."""
    databases = machine.world.databases
    for kind, obj in image.dump(machine):
        if kind != image.ITEMS:
            continue
        number, keys, items = obj
        expires, flags = databases[number].expires, databases[number].flags
        for key, item in zip(keys, items, strict=True):
            yield Row(number, key, STRING, value_of(item), version_of(item), expires.get(key), flags.get(key, 0))


def keys_for(
    path: str, sidecar: Sidecar, own: Callable[[], Keys], master: Callable[[], MasterKey | None]
) -> Keys:  # fmt: skip
    """What opens the backup file at `path`: the sidecar's copy of its keyring, or `own`, the keyring of this store.

    The copy has the keys of that time, also those that have been destroyed since; the store's own is the right one
    after the master key has been changed. Raises KeyringError, KeyMissing.
    """
    if not sidecar.sealed:
        return CLEAR
    secret = master()
    if sidecar.keyring is None or secret is None:
        raise KeyMissing(path, 0)
    copy, beside = sidecar.keyring.encode("ascii"), f"{sidecar_path(path)} (its copy of the keyring)"
    try:
        return SealedKeys(Keyring.load(copy, secret, beside))
    except KeyringError:
        content, store = decode(copy, beside), own()
        wrapped_by = content.keys[-1].id  # it was the active one when the backup was made
        known = store.keyring.entries if isinstance(store, SealedKeys) and store.id == content.keyring_id else ()
        if any(entry.id == wrapped_by for entry in known):
            return store
        raise


def check_file(disk: Disk, path: str, sidecar: Sidecar) -> None:
    """Size and SHA-256 of the file, quicker than reading what is in it. Raises Corrupt, Unreadable."""
    digest, at = sha256(), 0
    file = open_backup(disk, path)
    try:
        while data := file.pread(READ_BYTES, at):
            digest.update(data)
            at += len(data)
    except OSError as cause:
        raise Unreadable(path, at, cause, advice=ADVICE) from cause
    finally:
        file.close()
    if at != sidecar.bytes:
        raise Corrupt(path, min(at, sidecar.bytes), f"{sidecar.bytes} bytes as its sidecar says", advice=ADVICE)
    if digest.hexdigest() != sidecar.sha256:
        raise Corrupt(path, 0, f"SHA-256 {sidecar.sha256} as its sidecar says", advice=ADVICE)


def load(
    disk: Disk, path: str, own: Callable[[], Keys], master: Callable[[], MasterKey | None], say: Say | None = None
) -> Loaded:  # fmt: skip
    """Read a backup into a machine of its own. Raises Refused unless all of it is as it was written."""
    sidecar = read_sidecar(disk, path)
    reader = BackupReader(disk, path, keys_for(path, sidecar, own, master))
    try:
        head = reader.head
        machine = new_machine(head.databases)
        loader = _Loader(machine, path)
        for row in reader.rows():
            if loader.add(row) and say:
                say(reader.position, reader.size)
        loader.end()
        assert reader.content is not None
        check_content(sidecar, reader.content, path)
        take(machine, reader.parts, path)
    finally:
        reader.close()
    world = machine.world
    world.top_version, world.deleted_version = head.top_version, head.deleted_version
    machine.seek(head.sequence, head.time_ms)
    found = keys_digest_hex(world), digest_hex(machine)
    if found != (sidecar.keys_digest, sidecar.state_digest):
        expected = f"a state with digest {sidecar.state_digest}, these keys have {found[1]}"
        raise Corrupt(path, 0, expected, sequence=head.sequence, advice=ADVICE)
    return Loaded(machine, sidecar)


class _Loader:
    """Takes rows into an empty machine, many at once."""

    def __init__(self, machine: StateMachine, path: str) -> None:
        self._machine, self._path = machine, path
        self._tables: dict[int, list[list[Any]]] = {}  # database -> keys, items, keys that expire, when, flagged, flags
        self._count = 0

    def add(self, row: Row) -> bool:
        """Whether what has been gathered was taken in."""
        table = self._tables.get(row.db)
        if table is None:
            table = self._tables[row.db] = [[], [], [], [], [], []]
        table[0].append(row.key)
        table[1].append(make_item(row.version, row.value))
        if row.expire_at_ms is not None:
            table[2].append(row.key)
            table[3].append(row.expire_at_ms)
        if row.flags:
            table[4].append(row.key)
            table[5].append(row.flags)
        self._count += 1
        if self._count < LOAD_KEYS:
            return False
        self.end()
        return True

    def end(self) -> None:
        for number, (keys, items, expiring, at_ms, flagged, flags) in self._tables.items():
            known = self._machine.world.databases[number].items.keys()
            if len(set(keys)) != len(keys) or not known.isdisjoint(keys):
                raise Corrupt(self._path, 0, f"each key of database {number} once, one comes twice", advice=ADVICE)
            image.load(self._machine, image.ITEMS, [number, keys, items])
            image.load(self._machine, image.EXPIRES, [number, expiring, at_ms])
            image.load(self._machine, image.FLAGS, [number, flagged, flags])
        self._tables, self._count = {}, 0
