"""What of the machine an operator should know before it costs data or time: each finding says what to do.

Pure: functions of the text of files below /proc and /sys, which the caller reads; "" stands for a file that is not
there (another system, a container) and finds nothing.
Not here: reading them and telling (`app_posture`).
Source: proc(5), Documentation/admin-guide/mm/transhuge.rst and Documentation/admin-guide/sysctl/vm.rst of Linux.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

# Where fsync returns when a server elsewhere has answered, or has not, and two machines may take the lock at once.
NETWORK: Final = frozenset(
    """
    nfs nfs4 cifs smb3 smbfs 9p afs ceph glusterfs lustre beegfs gpfs ocfs2 gfs2 orangefs virtiofs fuse.sshfs
    fuse.glusterfs fuse.s3fs fuse.goofys fuse.gcsfuse fuse.rclone fuse.ceph fuse.juicefs fuse.mfs davfs fuse.davfs
    """.split()
)
MEMORY: Final = frozenset({"tmpfs", "ramfs"})
LAYERS: Final = frozenset({"overlay", "aufs", "fuse.fuse-overlayfs"})

_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    point: str
    kind: str  # of file system
    source: str


def huge_pages(enabled: str) -> Iterator[str]:
    """`enabled`: /sys/kernel/mm/transparent_hugepage/enabled."""
    if "[always]" in enabled:
        yield (
            "transparent huge pages are on (always): memory is used up sooner, and now and then a request waits while "
            "the kernel puts pages together; do: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled (as root, "
            "at each boot)"
        )


def overcommit(policy: str) -> Iterator[str]:
    """`policy`: /proc/sys/vm/overcommit_memory."""
    match policy.strip():
        case "0":
            yield (
                "vm.overcommit_memory is 0: when memory is short the kernel may refuse the process that makes a "
                "snapshot; nothing is lost then, but the log grows until one succeeds; do: sysctl "
                "vm.overcommit_memory=1"
            )
        case "2":
            yield (
                "vm.overcommit_memory is 2: the process that makes a snapshot needs about as much memory as the keys, "
                "and what the kernel refuses ends it, or this server; leave that much room below CommitLimit, or do: "
                "sysctl vm.overcommit_memory=1"
            )


def backlog(somaxconn: str, wanted: int) -> Iterator[str]:
    """`somaxconn`: /proc/sys/net/core/somaxconn; `wanted`: tcp-backlog."""
    allowed = somaxconn.strip()
    if allowed.isdecimal() and int(allowed) < wanted:
        yield (
            f"net.core.somaxconn is {allowed}, less than tcp-backlog {wanted}: when many clients connect at once some "
            f"are turned away; do: sysctl net.core.somaxconn={wanted}, or lower tcp-backlog"
        )


def mount_of(path: str, mountinfo: str) -> Mount | None:
    """Where an absolute path without links lives, by /proc/self/mountinfo; the last mount on a place covers others."""
    found: Mount | None = None
    for line in mountinfo.splitlines():
        head, separator, tail = line.partition(" - ")
        fields, rest = head.split(" "), tail.split(" ")
        if not separator or len(fields) < 5 or len(rest) < 2:
            continue
        point = _ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and (found is None or len(point) >= len(found.point)):
            found = Mount(point, rest[0], _ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), rest[1]))
    return found


def file_system(path: str, mountinfo: str) -> Iterator[str]:
    """Of the data directory."""
    mount = mount_of(path, mountinfo)
    if mount is None:
        return
    where = f"{path} is on {mount.kind} ({mount.source}, mounted at {mount.point})"
    if mount.kind in NETWORK:
        yield (
            f"{where}, a network file system: whether fsync reaches a disk is up to another machine, and so is the "
            "lock that keeps a second server out of the data; put `dir` on a local disk, and copies there by "
            "archive-command"
        )
    elif mount.kind in MEMORY:
        yield f"{where}: that is memory, and all data is gone with the next boot; put `dir` on a disk"
    elif mount.kind in LAYERS:
        yield f"{where}: that is a container's own layer, and all data goes with it; mount a volume at `dir`"
