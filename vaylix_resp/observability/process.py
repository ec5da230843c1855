"""What the operating system says of this process: memory, processor time, system.

Promise: every figure is measured when it is asked for, or is 0 where the system does not tell. Used memory is the
anonymous memory: Python, every buffer, every key. An interpreter's heap cannot be told apart by owner, so
nothing here claims to know what one part of it holds.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

_STATUS = "/proc/self/status"
_FDS = "/proc/self/fd"
_KIB = 1024


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""  # not Linux: getrusage alone has to do


def _read_status() -> str:
    return _read(_STATUS)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes."""

    used: int  # anonymous: resident or swapped out
    resident: int
    peak: int  # highest resident size of the process's life


@dataclass(frozen=True, slots=True)
class Space:
    """Of a file system, in bytes. `free` is what a process without privileges may use."""

    free: int
    size: int


@dataclass(frozen=True, slots=True)
class CpuSeconds:
    system: float
    user: float


class Process:
    """This process; `startup` is what it used before any data was loaded, in bytes."""

    def __init__(self, read_status: Callable[[], str] = _read_status, startup: int | None = None) -> None:
        self._read_status = read_status
        self.startup = _AT_IMPORT if startup is None else startup
        self.supervised = "no"  # "systemd" while a supervisor is told how it goes; `app` knows

    def memory(self) -> Memory:
        sizes = dict.fromkeys(("VmRSS", "VmHWM", "RssAnon", "VmSwap"), 0)
        for line in self._read_status().splitlines():
            name, _, rest = line.partition(":")
            if name in sizes:
                sizes[name] = int(rest.split()[0]) * _KIB
        peak = sizes["VmHWM"] or _max_rss()
        resident = sizes["VmRSS"] or peak
        used = sizes["RssAnon"] + sizes["VmSwap"] if sizes["RssAnon"] else resident
        return Memory(used, resident, max(peak, resident, used))

    def cpu(self, who: int = resource.RUSAGE_SELF) -> CpuSeconds:
        usage = resource.getrusage(who)
        return CpuSeconds(usage.ru_stime, usage.ru_utime)

    def cpu_children(self) -> CpuSeconds:
        return self.cpu(resource.RUSAGE_CHILDREN)

    def cpu_main_thread(self) -> CpuSeconds:
        """Of the calling thread, which is the one that serves clients."""
        return self.cpu(getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF))

    def system_memory(self) -> int:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    def open_files(self) -> int:
        """Descriptors that are open now; 0 where the system does not tell."""
        try:
            # Newer kernels count them here; reading the directory takes milliseconds with ten thousand clients.
            return os.stat(_FDS).st_size or len(os.listdir(_FDS))
        except OSError:
            return 0

    @property
    def files_max(self) -> int:
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    @cached_property
    def started_unix(self) -> float:
        """Seconds since the epoch; 0.0 where the system does not tell."""
        return started_unix(_read("/proc/self/stat"), _read("/proc/stat"), os.sysconf("SC_CLK_TCK"))

    def space(self, path: str) -> Space | None:
        """Of the file system that holds `path`."""
        try:
            found = os.statvfs(path)
        except OSError:
            return None
        return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)

    def describe_allocator(self) -> str:
        """MEMORY MALLOC-STATS: what Python's and the C library's allocators tell."""
        generations = [f"{row['collections']} runs, {row['collected']} objects" for row in gc.get_stats()]
        collections = ", ".join(f"generation {n}: {text}" for n, text in enumerate(generations))
        memory = self.memory()
        return (
            f"python {platform.python_version()}, allocated blocks: {sys.getallocatedblocks()}\n"
            f"garbage collector {'on' if gc.isenabled() else 'off'}, tracked {gc.get_count()}, "
            f"frozen {gc.get_freeze_count()}; {collections}\n"
            f"resident {memory.resident} bytes, anonymous {memory.used}, peak {memory.peak}\n"
        )

    def give_back(self) -> bool:
        """MEMORY PURGE: ask the C library to return free pages; False where it cannot."""
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is None:
            return False
        trim(0)
        return True

    @property
    def pid(self) -> int:
        return os.getpid()

    @property
    def system(self) -> str:
        name = os.uname()
        return f"{name.sysname} {name.release} {name.machine}"

    @property
    def bits(self) -> int:
        return 64 if sys.maxsize > 1 << 32 else 32

    @property
    def executable(self) -> str:
        return sys.executable

    @property
    def runtime(self) -> str:
        return f"{platform.python_implementation()} {platform.python_version()}"

    @cached_property
    def allocator(self) -> str:
        library, version = platform.libc_ver()  # reads the executable, hence once
        return f"pymalloc+{library}-{version}" if library else "pymalloc"


def started_unix(process: str, system: str, ticks_per_s: int) -> float:
    """From /proc/PID/stat (field 22: ticks after the boot) and /proc/stat (btime: when that was)."""
    fields = process.rpartition(")")[2].split()  # the name before it may hold anything
    boot = next((line.split()[1] for line in system.splitlines() if line.startswith("btime ")), "")
    return int(boot) + int(fields[19]) / ticks_per_s if boot and len(fields) > 19 else 0.0


def _max_rss() -> int:
    """Peak resident size in bytes; macOS counts in bytes, Linux in KiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * _KIB


# Taken when the program is loaded, because whoever makes a Process may do so after recovery has filled the memory.
_AT_IMPORT = Process(startup=0).memory().used
