"""A small file is the old one or the new one, whatever happens."""

import stat
from random import Random

import pytest

from tests.sim.disk.simdisk import Fault, PowerCut, SimDisk
from vaylix_resp.storage import small_file
from vaylix_resp.storage.disk import RealDisk
from vaylix_resp.storage.errors import IoFailed

PATH = "data/a.json"


def disk_with(content: bytes) -> SimDisk:
    disk = SimDisk()
    disk.mkdir("data")
    small_file.replace(disk, PATH, content)
    return disk


def test_what_is_not_there_is_none() -> None:
    disk = SimDisk()
    disk.mkdir("data")
    assert small_file.read(disk, PATH) is None


def test_whatever_call_a_power_cut_comes_at() -> None:
    seen = set()
    for call in range(1, 50):
        disk = disk_with(b"old")
        disk.faults[disk.calls + call] = Fault("crash")
        try:
            small_file.replace(disk, PATH, b"new")
        except PowerCut:
            seen.add(small_file.read(disk.crash(Random(call)), PATH))
        else:
            assert small_file.read(disk.crash(Random(call)), PATH) == b"new", "what has returned is durable"
            assert seen >= {b"old"} and seen <= {b"old", b"new"}
            return
    pytest.fail("it never came to its end")


def test_what_the_disk_refuses_is_said() -> None:
    disk = disk_with(b"old")
    disk.faults[disk.calls + 1] = Fault("eio")
    with pytest.raises(IoFailed, match="a.json"):
        small_file.replace(disk, PATH, b"new")


@pytest.mark.parametrize(("private", "others"), [(True, 0), (False, stat.S_IRGRP)])
def test_who_may_read_it(tmp_path, private: bool, others: int) -> None:
    path = tmp_path / "a.json"
    small_file.replace(RealDisk(), str(path), b"x", private=private)
    assert path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH) & stat.S_IRGRP == others
