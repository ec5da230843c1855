"""One data directory: lock, manifest, snapshots and log, in the order that keeps them consistent.

Promise: a directory is created with its manifest last, so one without a manifest never held an acknowledged write;
the watermark of a clean stop is cleared before the first new write; files are deleted only after the manifest
says that they are no longer needed.
Not here: what goes into the log or a snapshot, and when (`engine`).
"""

from __future__ import annotations

from collections.abc import Callable

from vaylix_resp.storage import snapshot as snapshots
from vaylix_resp.storage.batch import Batch
from vaylix_resp.storage.disk import Disk, Lock, join
from vaylix_resp.storage.errors import Corrupt, IoFailed, Unreadable
from vaylix_resp.storage.manifest import NAME as MANIFEST
from vaylix_resp.storage.manifest import CleanStop, Manifest, SnapshotInfo, read_manifest, write_manifest
from vaylix_resp.storage.recovery import DIRECTORY as WAL
from vaylix_resp.storage.recovery import QUARANTINE, Recovered, list_wal, recover
from vaylix_resp.storage.segment import SEGMENT_HEADER_BYTES, Chain
from vaylix_resp.storage.snapshot import DIRECTORY as SNAPSHOTS
from vaylix_resp.storage.snapshot import SnapshotReader
from vaylix_resp.storage.wal import Wal, WalConfig, create_active

DIRECTORIES = (WAL, SNAPSHOTS, QUARANTINE)


class Store:
    """open(), then snapshot() (load it), then recover(); then `wal` is there to write to."""

    def __init__(self, disk: Disk, root: str, lock: Lock, manifest: Manifest, config: WalConfig) -> None:
        self.disk, self.root, self.manifest, self.config = disk, root, manifest, config
        self._lock = lock
        self._wal: Wal | None = None

    @classmethod
    def open(
        cls, disk: Disk, root: str, *, new_store_id: bytes, now_ms: int, config: WalConfig | None = None
    ) -> Store:
        """Lock the directory; create what a first start needs. `new_store_id`: 16 random bytes, used only then."""
        config = config or WalConfig()
        try:
            if not disk.exists(join(root, MANIFEST)):  # with one, the name of the directory is durable already
                disk.mkdir(root)
            lock = disk.lock(join(root, "LOCK"))
        except OSError as cause:
            raise IoFailed(root, cause) from cause
        try:
            manifest = read_manifest(disk, root) or _initialise(disk, root, new_store_id, now_ms, config)
        except BaseException:
            lock.release()
            raise
        return cls(disk, root, lock, manifest, config)

    @property
    def wal(self) -> Wal:
        assert self._wal is not None, "recover() first"
        return self._wal

    def snapshot(self) -> SnapshotReader | None:
        """The newest snapshot, to be read to its end before recover(); None: the state begins empty."""
        info = self.manifest.newest
        return self._reader(info) if info else None

    def recover(self, sink: Callable[[Batch], None] | None = None) -> Recovered:
        """Check everything else, replay the log behind the snapshot into `sink`, and make the log writable."""
        self._check_names()
        self._sync_names()
        for info in self.manifest.snapshots[:-1]:
            reader = self._reader(info)
            reader.verify()
            reader.close()
        recovered = recover(self.disk, self.root, self.manifest, sink, self.config)
        self._wal = recovered.wal
        if self.manifest.clean_stop:
            # After the new (empty) active segment is there: recovery accepts it behind the watermark, but it would
            # not accept a directory with neither.
            self.manifest = self.manifest.with_clean_stop(None)
            write_manifest(self.disk, self.root, self.manifest)
        self._remove_leftovers()
        return recovered

    def publish_snapshot(self, info: SnapshotInfo, *, keep: int = 1) -> None:
        """Make the finished file of `snapshot.temporary_path` current. What it replaces stays until prune()."""
        self.manifest = snapshots.publish_snapshot(self.disk, self.root, self.manifest, info, keep=keep)

    def prune(self, up_to: int | None = None) -> int:
        """Delete the snapshots that are not current any more, and the segments that the oldest kept one makes
        unnecessary, or fewer of these (`up_to`); how many segments."""
        snapshots.remove_unnamed(self.disk, self.root, self.manifest)
        if not self.manifest.snapshots:
            return 0
        oldest = self.manifest.snapshots[0].sequence
        try:
            return self.wal.prune(oldest if up_to is None else min(up_to, oldest))
        except OSError as cause:
            raise IoFailed(join(self.root, WAL), cause) from cause

    def clean_stop(self, now_ms: int) -> CleanStop:
        """The last act: sync, put the watermark into the manifest, seal. The next start accepts exactly this."""
        self.wal.settle()
        stop = CleanStop(self.wal.last, self.wal.tag.hex(), now_ms)
        self.manifest = self.manifest.with_clean_stop(stop)
        write_manifest(self.disk, self.root, self.manifest)
        self.wal.seal_and_close()
        self._lock.release()
        return stop

    def abandon(self) -> None:
        """Let go of files and lock without writing: after a failure, or in tests as a kill would."""
        if self._wal:
            self._wal.abandon()
        self._lock.release()

    def _reader(self, info: SnapshotInfo) -> SnapshotReader:
        return SnapshotReader(
            self.disk, join(self.root, SNAPSHOTS, info.file), self.manifest.store_id_bytes, info
        )

    def _check_names(self) -> None:
        for name in self.disk.listdir(join(self.root, SNAPSHOTS)):
            if snapshots.parse_snapshot_name(name) is None and not name.endswith(".tmp"):
                path = join(self.root, SNAPSHOTS, name)
                raise Corrupt(path, 0, "only snapshots in this directory", advice="move this file elsewhere")

    def _sync_names(self) -> None:
        """Make durable the names we see: a process that was killed before its fsync leaves names that may still go.

        Otherwise we could delete a file that a manifest does not name, and a power cut bring the older manifest back.
        """
        try:
            for directory in (self.root, join(self.root, WAL), join(self.root, SNAPSHOTS)):
                self.disk.fsync_dir(directory)
        except OSError as cause:
            raise IoFailed(self.root, cause) from cause

    def _remove_leftovers(self) -> None:
        """What earlier crashes left half-made. Only now, after every check has passed."""
        snapshots.remove_unnamed(self.disk, self.root, self.manifest)
        try:
            for directory in (SNAPSHOTS, QUARANTINE, ""):
                if not self.disk.exists(join(self.root, directory)):
                    continue  # an operator may have moved quarantine/ away; it is made again when there is need
                for name in self.disk.listdir(join(self.root, directory)):
                    if name.endswith(".tmp"):
                        self.disk.unlink(join(self.root, directory, name))
        except OSError as cause:
            raise IoFailed(self.root, cause) from cause


def _initialise(disk: Disk, root: str, store_id: bytes, now_ms: int, config: WalConfig) -> Manifest:
    """First start: directories, an empty log, and the manifest last. An earlier try that died half-way is completed."""
    assert len(store_id) == 16, len(store_id)
    _refuse_data(disk, root)
    manifest = Manifest(store_id.hex(), now_ms)
    try:
        for name in DIRECTORIES:
            disk.mkdir(join(root, name))
        file, _ = create_active(disk, join(root, WAL), store_id, Chain(), config.first_segment_bytes)
        file.close()
    except OSError as cause:
        raise IoFailed(root, cause) from cause
    write_manifest(disk, root, manifest)
    return manifest


def _refuse_data(disk: Disk, root: str) -> None:
    """Without a manifest there must be nothing that could be somebody's data."""
    missing = Corrupt(
        join(root, MANIFEST), 0, "a manifest in a directory that holds data",
        advice="put manifest.json back, restore from a backup, or choose an empty directory",
    )  # fmt: skip
    snapshot_directory, wal_directory = join(root, SNAPSHOTS), join(root, WAL)
    if disk.exists(snapshot_directory) and any(
        not name.endswith(".tmp") for name in disk.listdir(snapshot_directory)
    ):
        raise missing
    if not disk.exists(wal_directory):
        return
    listing = list_wal(disk, root)
    if listing.sealed or any(name.first != 1 for name in listing.active):
        raise missing
    for name in listing.active:
        path = join(wal_directory, name.name)
        try:
            written = disk.read_file(path)[SEGMENT_HEADER_BYTES:]
        except OSError as cause:
            raise Unreadable(path, 0, cause) from cause
        if any(written):
            raise missing
