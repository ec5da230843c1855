"""Reading an exported file back: whatever differs from the state is found, also where the file is whole in itself."""

from __future__ import annotations

import pytest

from tests.sim.disk.simdisk import SimDisk
from vaylix_resp.engine.boot import new_machine
from vaylix_resp.engine.copies.rdb_file import Written, check, save
from vaylix_resp.interchange.rdb_reader import RdbError
from vaylix_resp.interchange.rdb_writer import RdbWriter
from vaylix_resp.state import image
from vaylix_resp.state.machine import StateMachine
from vaylix_resp.state.values import make_item

PATH = "./dump.rdb.1.tmp"
KEYS = {b"a": (b"1", None), b"b": (b"x" * 100, 5000), b"": (b"", None)}

Rows = dict[bytes, tuple[bytes, int | None]]


def machine() -> StateMachine:
    made = new_machine(2)
    names = list(KEYS)
    image.load(made, image.ITEMS, [1, names, [make_item(1, value) for value, _ in KEYS.values()]])
    image.load(made, image.EXPIRES, [1, [b"b"], [5000]])
    return made


def content(rows: Rows, db: int = 1) -> bytes:
    writer = RdbWriter()
    parts = [writer.begin({}), writer.select(db, 3, 1)]
    return b"".join([*parts, *(writer.key(name, *row) for name, row in rows.items()), writer.end()])


def checked(data: bytes) -> None:
    disk = SimDisk()
    disk.put(PATH, data)
    check(disk, PATH, machine(), Written(keys=len(KEYS)))


def test_what_is_saved_is_found_right() -> None:
    disk, state, said = SimDisk(), machine(), list[int]()
    written = save(disk, PATH, state, 4999, 10)
    check(disk, PATH, state, written, lambda done, _: said.append(done))
    assert (written.keys, written.expiring, written.expired, written.databases) == (3, 1, 0, {1: 3})
    checked(content(KEYS))


@pytest.mark.parametrize(
    "rows",
    [
        {name: row for name, row in KEYS.items() if name},
        KEYS | {b"a": (b"2", None)},
        KEYS | {b"a": (b"1", 9)},
        KEYS | {b"b": (b"x" * 100, None)},
        KEYS | {b"b": (b"x" * 100, 5001)},
        KEYS | {b"more": (b"1", None)},
    ],
)
def test_whatever_differs_is_found(rows: Rows) -> None:
    with pytest.raises(RdbError):
        checked(content(rows))


def test_another_database_or_no_checksum_is_found() -> None:
    with pytest.raises(RdbError):
        checked(content(KEYS, db=0))
    with pytest.raises(RdbError, match="and a checksum"):
        checked(content(KEYS)[:-8] + bytes(8))
