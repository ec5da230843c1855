"""Small backups for tests: rows, and a backup written in one go."""

from __future__ import annotations

from vaylix_resp.storage.copies.backup_file import BackupWriter, Content, Head, Row
from vaylix_resp.storage.copies.backup_sidecar import Sidecar, make_sidecar, publish
from vaylix_resp.storage.disk import Disk
from vaylix_resp.storage.sealing import Keys

HEAD = Head("0f" * 16, 42, 3, 1_700_000_000_000, 40, 7, 4)
ROWS = [
    Row(0, b"a", "string", b"1", 5, None, 0),
    Row(0, b"\x00\xff\n", "string", bytes(range(256)), 6, 1_800_000_000_000, 9),
    Row(3, b"", "string", b"", 42, None, 0),
]


def write(disk: Disk, path: str, keys: Keys, rows: list[Row] = ROWS, head: Head = HEAD) -> Content:
    writer = BackupWriter(disk, path, head, keys)
    for row in rows:
        writer.add(row)
    return writer.finish("00" * 20, "11" * 20)


def make(disk: Disk, directory: str, name: str, keys: Keys, rows: list[Row] = ROWS) -> Sidecar:
    """A whole backup with its sidecar."""
    temporary = f"{directory}/{name}.vxb.tmp"
    sidecar = make_sidecar(name, "0", write(disk, temporary, keys, rows), b'{"a": "keyring"}\n')
    publish(disk, temporary, sidecar)
    return sidecar
