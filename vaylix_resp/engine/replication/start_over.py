"""The log of an empty group of one that has joined another cluster: put aside before its first start there.

A node that is asked to join (CLUSTER JOIN) runs as a group of one by then, with a log of its own, of another cluster.
It writes into node.json what it joins and what that replaces, and starts again; this is what such a start does first.
Promises: nothing is deleted: what the log held stays in a directory beside it; whatever call a crash interrupts, the
next start ends where this one would have; a log that node.json does not name is never touched.
Not here: that it was empty (`app_joining`), what comes in its place (`storage.store`).
"""

from __future__ import annotations

from typing import Final

from ...storage.disk import Disk, join, parent
from ...storage.errors import Corrupt, IoFailed
from ...storage.listing import DIRECTORY as WAL
from ...storage.manifest import NAME as MANIFEST
from ...storage.manifest import read_manifest
from ...storage.snapshot import DIRECTORY as SNAPSHOTS
from . import node_file

ASIDE: Final = "before-join-"  # and the id of the cluster that it was of
_ADVICE: Final = "start it with an empty directory, and let it join as a new node; nothing has been changed"


def start_over(disk: Disk, root: str) -> bytes | None:
    """The id that the new store is to have, which is the old one's; None: there is nothing to put aside.

    Raises Corrupt and IoFailed. For whoever opens the store right afterwards.
    """
    file = node_file.read(disk, root)
    if file is None or file.joining is None or not file.joining.replaces[0]:
        return None
    cluster, store_id = file.joining.replaces
    manifest = read_manifest(disk, root)
    if manifest is not None and manifest.store_id != store_id:
        raise Corrupt(join(root, MANIFEST), 0, f"the store {store_id}, which this node gave up", advice=_ADVICE)
    if manifest is not None and manifest.cluster_id not in ("", cluster, file.joining.cluster.hex()):
        raise Corrupt(join(root, MANIFEST), 0, f"a log of the cluster {cluster}, which was given up", advice=_ADVICE)
    if manifest is None or manifest.cluster_id == cluster:  # else it has been done
        try:
            lock = disk.lock(join(root, "LOCK"))
            try:
                _put_aside(disk, root, join(root, ASIDE + cluster))
            finally:
                lock.release()
        except OSError as cause:
            raise IoFailed(root, cause) from cause
    return bytes.fromhex(store_id)


def _put_aside(disk: Disk, root: str, aside: str) -> None:
    """The manifest last: as long as it is there, everything is still to be done."""
    disk.mkdir(aside)
    for directory in (WAL, SNAPSHOTS):
        source, target = join(root, directory), join(aside, directory)
        disk.mkdir(target)
        if disk.exists(source):
            for name in disk.listdir(source):
                _move(disk, join(source, name), join(target, name))
    if disk.exists(join(root, MANIFEST)):
        _move(disk, join(root, MANIFEST), join(aside, MANIFEST))


def _move(disk: Disk, source: str, target: str) -> None:
    """It has its new name for good before it loses the old one."""
    if disk.exists(target):
        disk.fsync_dir(parent(target))  # of an earlier try, which may have died before that
    else:
        disk.link(source, target)
    disk.unlink(source)
