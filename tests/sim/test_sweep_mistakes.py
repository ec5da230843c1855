"""The sweeps find what is wrong: deliberate mistakes in the verbs, each of which its sweep has to catch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from tests.sim import test_sweeps, test_sweeps_offline
from tests.sim.disk.mutations import replaced
from vaylix_resp.engine.copies import backup_state
from vaylix_resp.engine.history import new_store
from vaylix_resp.errors import Refused
from vaylix_resp.storage.copies import backup_sidecar, data_copy
from vaylix_resp.storage.disk import Disk
from vaylix_resp.storage.manifest import Manifest, write_manifest
from vaylix_resp.storage.upkeep import migrate, repair, rewrap


def files_are_rewritten_in_place(stack: ExitStack) -> None:
    def replace(disk: Disk, old: Any, path: str, header: bytes) -> None:
        file = disk.open(path, write=True)
        file.pwrite(header[:200], 0)
        file.pwrite(header[200:], 200)
        file.fsync()
        file.close()

    replaced(stack, rewrap, "_replace", replace)


def a_copy_gets_its_manifest_before_its_keyring(stack: ExitStack) -> None:
    def seal(self: data_copy.DataCopy, manifest: Manifest, keyring: bytes | None, note: data_copy.Note) -> None:
        write_manifest(self.disk, self.directory, manifest)
        old(self, manifest, keyring, note)

    old = replaced(stack, data_copy.DataCopy, "seal", seal)


def a_new_directory_gets_its_manifest_first(stack: ExitStack) -> None:
    def create_active(disk: Disk, directory: str, store_id: bytes, *more: Any) -> Any:
        keys = more[-1]
        write_manifest(disk, directory.rpartition("/")[0], Manifest(store_id.hex(), 1, keyring_id=keys.id))
        return old(disk, directory, store_id, *more)

    old = replaced(stack, new_store, "create_active", create_active)


def a_repair_keeps_nothing(stack: ExitStack) -> None:
    replaced(stack, repair.Repair, "_keep", lambda self, plan: None)


def a_rename_is_not_synced(stack: ExitStack) -> None:
    replaced(stack, Disk, "rename", lambda self, source, target: self._rename(source, target))


def a_migration_keeps_nothing(stack: ExitStack) -> None:
    replaced(stack, migrate, "keep", lambda disk, root: None)


def a_backup_gets_its_sidecar_first(stack: ExitStack) -> None:
    def publish(disk: Disk, temporary: str, sidecar: Any) -> str:
        path = temporary.removesuffix(backup_sidecar.TEMPORARY)
        disk.replace_file(backup_sidecar.sidecar_path(path), backup_sidecar.encode_sidecar(sidecar))
        disk.rename(temporary, path)
        return path

    replaced(stack, backup_state, "publish", publish)


MISTAKES: list[tuple[Callable[[ExitStack], None], Callable[[], None]]] = [
    (files_are_rewritten_in_place, lambda: test_sweeps_offline.test_rotate_key_offline(False)),
    (a_rename_is_not_synced, lambda: test_sweeps_offline.test_rotate_key_offline(False)),
    (a_rename_is_not_synced, lambda: test_sweeps.test_backup_restore("replace")),
    (a_copy_gets_its_manifest_before_its_keyring, test_sweeps.test_online_backup_seal),
    (a_new_directory_gets_its_manifest_first, lambda: test_sweeps_offline.test_a_new_directory_is_written(True)),
    (a_repair_keeps_nothing, lambda: test_sweeps_offline.test_repair(False)),
    (a_migration_keeps_nothing, test_sweeps_offline.test_migrate),
    (a_backup_gets_its_sidecar_first, test_sweeps.test_backup_to),
]


@pytest.mark.parametrize("mistake, caught_by", MISTAKES, ids=[one.__name__ for one, _ in MISTAKES])
def test_a_mistake_in_a_verb_is_found(mistake: Callable[[ExitStack], None], caught_by: Callable[[], None]) -> None:
    with ExitStack() as stack:
        mistake(stack)
        with pytest.raises((AssertionError, Refused)):
            caught_by()
