"""What the operating system says, read from text that stands for it."""

from vaylix_resp.observability.process import Process

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
