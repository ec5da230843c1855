"""What the operating system says, read from text that stands for it."""

import os
import resource
import shutil
import time

import pytest

from vaylix_resp.observability.process import Process, started_unix

STATUS = """Name:\tvaylix
VmPeak:\t  900 kB
VmHWM:\t  500 kB
VmRSS:\t  400 kB
RssAnon:\t  300 kB
VmSwap:\t   50 kB
"""


def test_memory_is_what_the_system_says():
    memory = Process(lambda: STATUS).memory()
    assert (memory.used, memory.resident, memory.peak) == (350 * 1024, 400 * 1024, 500 * 1024)


def test_the_peak_is_never_below_what_is_used():
    memory = Process(lambda: STATUS.replace("  50 kB", " 600 kB")).memory()
    assert memory.used == memory.peak == 900 * 1024


def test_without_procfs_the_resident_size_stands_in():
    memory = Process(lambda: "").memory()
    assert memory.used == memory.resident == memory.peak > 1 << 20


def test_start_up_was_measured_when_the_program_was_loaded():
    process = Process()
    assert process.startup > 1 << 20
    assert Process(startup=5).startup == 5


def test_the_rest_is_there():
    process = Process()
    assert process.cpu().user > 0
    assert process.system_memory() > 1 << 20
    assert process.system.count(" ") >= 2
    assert process.bits in (32, 64)
    assert "allocated blocks" in process.describe_allocator()
    assert process.allocator.startswith("pymalloc")
    assert process.cpu_main_thread().user <= process.cpu().user + 1


AFTER_THE_NAME = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 250 20"  # field 22 of the line: 250 ticks


@pytest.mark.parametrize(
    "process, system, expected",
    [
        ("4711 (vaylix)" + AFTER_THE_NAME, "cpu  1 2\nbtime 1000\nprocesses 5\n", 1002.5),
        ("4711 (a) b (c))" + AFTER_THE_NAME, "btime 1000\n", 1002.5),
        ("4711 (vaylix) S 1 2", "btime 1000\n", 0.0),
        ("4711 (vaylix)" + AFTER_THE_NAME, "cpu  1 2\n", 0.0),
        ("", "", 0.0),
    ],
)
def test_when_the_process_started(process, system, expected):
    assert started_unix(process, system, 100) == expected


def test_when_this_process_started():
    assert 0 <= time.time() - Process().started_unix < 100_000


def test_open_files_are_counted(tmp_path):
    process = Process()
    before = process.open_files()
    with open(tmp_path / "one", "w"), open(tmp_path / "two", "w"):
        assert process.open_files() == before + 2
    assert process.files_max == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_room_on_a_disk(tmp_path):
    space, usual = Process().space(str(tmp_path)), shutil.disk_usage(tmp_path)
    assert space is not None and space.size == usual.total and 0 <= space.free <= space.size
    assert Process().space(os.path.join(tmp_path, "absent")) is None
