"""One data directory: lock, manifest, snapshots and log, in the order that keeps them consistent.

Promise: a directory is created with its manifest last, so one without a manifest never held an acknowledged write;
the watermark of a clean stop is cleared before the first new write; files are deleted only after the manifest
says that they are no longer needed. A keyring is durable before the first file that needs it, and the manifest names
it before that; once the log goes on sealed, the keyring is told, so that nothing in the clear can take its place.
A snapshot from another node takes the place of log and snapshots in one step: the manifest that names it.
A start reads what the state needs; of older snapshots it only sees to it that they are there.
Threads: whatever changes the manifest or deletes files takes its turn; an install may come between a snapshot that a
child has begun and its publishing, which then is refused.
Not here: what goes into the log or a snapshot, and when (`engine`); keys (`sealing`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from threading import Lock

from vaylix_resp.storage import snapshot as snapshots
from vaylix_resp.storage import unfinished
from vaylix_resp.storage.active import create_active
from vaylix_resp.storage.batch import Batch
from vaylix_resp.storage.disk import Disk, join
from vaylix_resp.storage.disk import Lock as DirectoryLock
from vaylix_resp.storage.errors import Corrupt, DiskFull, IoFailed, StorageError, Unreadable
from vaylix_resp.storage.hard_state import Identity, TermAndVote
from vaylix_resp.storage.listing import DIRECTORY as WAL
from vaylix_resp.storage.listing import QUARANTINE, list_wal
from vaylix_resp.storage.log_files import WalConfig
from vaylix_resp.storage.log_reader import LogReader
from vaylix_resp.storage.manifest import NAME as MANIFEST
from vaylix_resp.storage.manifest import CleanStop, Keep, Manifest, SnapshotInfo, read_manifest, write_manifest
from vaylix_resp.storage.recovery import Recovered, check, repair
from vaylix_resp.storage.sealing import Keys
from vaylix_resp.storage.segment import SEGMENT_HEADER_BYTES, Chain
from vaylix_resp.storage.snapshot import DIRECTORY as SNAPSHOTS
from vaylix_resp.storage.snapshot import SnapshotReader
from vaylix_resp.storage.transfer import Received
from vaylix_resp.storage.wal import Wal

DIRECTORIES = (WAL, SNAPSHOTS, QUARANTINE)

OpenKeys = Callable[[Manifest | None], Keys]


class Superseded(StorageError):
    """A snapshot that was made in vain: what it leads up to is in another one already."""


class Store:
    """open(), then snapshot() (load it), then recover(); then `wal` is there to write to."""

    def __init__(
        self, disk: Disk, root: str, lock: DirectoryLock, manifest: Manifest, keys: Keys, config: WalConfig
    ) -> None:
        self.disk, self.root, self.manifest, self.keys, self.config = disk, root, manifest, keys, config
        self._lock = lock
        self._files = Lock()  # held by whoever changes the manifest or deletes files
        self._wal: Wal | None = None

    @classmethod
    def open(
        cls, disk: Disk, root: str, *, new_store_id: bytes, now_ms: int, open_keys: OpenKeys,
        config: WalConfig | None = None,
    ) -> Store:  # fmt: skip
        """Lock the directory; create what a first start needs. `new_store_id`: 16 random bytes, used only then.

        `open_keys` is called under the lock with the manifest (None: first start). It opens the keyring or makes one,
        durably, and raises Refused if it cannot.
        """
        config = config or WalConfig()
        try:
            if not disk.exists(join(root, MANIFEST)):  # with one, the name of the directory is durable already
                disk.mkdir(root)
            lock = disk.lock(join(root, "LOCK"))
        except OSError as cause:
            raise IoFailed(root, cause) from cause
        try:
            unfinished.refuse(disk, root)
            manifest = read_manifest(disk, root)
            if manifest is None:
                _refuse_data(disk, root)
            keys = open_keys(manifest)
            if manifest is None:
                manifest = _initialise(disk, root, new_store_id, now_ms, config, keys)
            elif manifest.keyring_id not in ("", keys.id):
                raise _wrong_keyring(root, manifest, keys)
        except BaseException:
            lock.release()
            raise
        return cls(disk, root, lock, manifest, keys, config)

    @property
    def wal(self) -> Wal:
        assert self._wal is not None, "recover() first"
        return self._wal

    def log_reader(self) -> LogReader:
        """Reads back what `wal` has written, on whatever thread."""
        directory, store_id = join(self.root, WAL), self.manifest.store_id_bytes
        return LogReader(self.disk, directory, store_id, self.keys, self.wal)

    def snapshot(self) -> SnapshotReader | None:
        """The newest snapshot, to be read to its end before recover(); None: the state begins empty."""
        info = self.manifest.newest
        return self._reader(info) if info else None

    def recover(self, sink: Callable[[Batch], None] | None = None) -> Recovered:
        """Check everything else, replay the log behind the snapshot into `sink`, and make the log writable.

        The sink gets what is committed: everything, or, if the manifest names a cluster, what is known to be.
        """
        check_names(self.disk, self.root, self.manifest)
        self._sync_names()
        replay = check(self.disk, self.root, self.manifest, self.keys, sink)
        self._remove_leftovers()
        if self.keys.id and not self.manifest.keyring_id:
            # Before the first sealed file: without its keyring this directory is refused from now on.
            self._switch(self.manifest.with_keyring(self.keys.id))
        recovered = repair(replay, self.config)
        self._wal = recovered.wal
        self.keys.sealed_from(recovered.wal.last)
        if self.manifest.clean_stop:
            # After the new (empty) active segment is there: recovery accepts it behind the watermark, but it would
            # not accept a directory with neither.
            self._switch(self.manifest.with_clean_stop(None))
        return recovered

    def _switch(self, manifest: Manifest) -> None:
        write_manifest(self.disk, self.root, manifest)
        self.manifest = manifest

    def join(self, identity: Identity) -> None:
        """From now on this is a member of a cluster: only that may save term and vote.

        Then save() the first hard state, with all that is applied as committed: a start after a crash before that takes
        the last batch for uncommitted, and waits for the cluster to say so.
        """
        with self._files:
            self._switch(self.manifest.with_identity(identity))
        self.wal.identity = identity

    def install(self, received: Received, hard_state: TermAndVote | None = None) -> None:
        """Put a snapshot from another node in the place of the whole log and of all snapshots. Between batches.

        DiskFull and IoFailed: nothing has changed, unless the log has stopped (`wal.failed`): then only the next start
        can tell. Whoever has loaded the state of the snapshot goes on behind it.
        """
        with self._files:
            self._install(received, hard_state)

    def _install(self, received: Received, hard_state: TermAndVote | None) -> None:
        info, wal = received.info, self.wal
        assert info.sequence > max(wal.committed, self.manifest.newest.sequence if self.manifest.newest else 0), info
        path = snapshots.snapshot_path(self.root, info.sequence)
        reader = SnapshotReader(self.disk, received.path, self.manifest.store_id_bytes, self.keys, info)
        reader.close()
        chain = Chain(info.sequence, bytes.fromhex(info.tag), info.term, info.timestamp_ms)
        wal.prepare_fresh(chain, hard_state)
        try:
            self.disk.rename(received.path, path)
        except OSError as cause:
            wal.drop_fresh()
            raise IoFailed(path, cause) from cause
        try:
            self._switch(self.manifest.with_snapshot(info))
        except IoFailed as failure:
            wal.stop(f"{failure}; nobody can say whether the snapshot of sequence {info.sequence} has taken its place")
            raise
        wal.begin_fresh()
        with suppress(IoFailed):  # done is done; the next prune() tries again
            snapshots.remove_unnamed(self.disk, self.root, self.manifest)

    def publish_snapshot(self, info: SnapshotInfo, keep: Keep | None = None) -> None:
        """Make the finished file of `snapshot.temporary_path` current. `keep` says which others stay current (None: no
        others); the rest goes with the next prune(). Raises Superseded if one at that place or behind it is current."""
        with self._files:
            newest = self.manifest.newest
            if newest and newest.sequence >= info.sequence:
                raise Superseded(f"{self.root}: the snapshot of sequence {newest.sequence} has taken its place")
            self.manifest = snapshots.publish_snapshot(self.disk, self.root, self.manifest, info, self.keys, keep)

    def retain(self, keep: Keep) -> None:
        """Apply a new `keep` without a new snapshot."""
        with self._files:
            manifest = self.manifest.keeping(keep)
            if manifest != self.manifest:
                self._switch(manifest)

    def prune(self, up_to: int | None = None) -> int:
        """Delete the snapshots that are not current any more, and the segments that the oldest kept one makes
        unnecessary, or fewer of these (`up_to`); how many segments."""
        with self._files:
            return self._prune(up_to)

    def _prune(self, up_to: int | None) -> int:
        snapshots.remove_unnamed(self.disk, self.root, self.manifest)
        if not self.manifest.snapshots:
            return 0
        oldest = self.manifest.snapshots[0].sequence
        try:
            return self.wal.prune(oldest if up_to is None else min(up_to, oldest))
        except OSError as cause:
            raise IoFailed(join(self.root, WAL), cause) from cause

    def clean_stop(self, now_ms: int, committed: int = 0) -> CleanStop:
        """The last act: sync, put the watermark into the manifest, seal. The next start accepts exactly this.

        `committed`: what a member knows to be; only a full disk keeps it from being said.
        """
        with suppress(DiskFull):
            self.wal.conclude(committed)
        self.wal.settle()
        hard_state = self.wal.hard_state
        term, vote = (hard_state.term, hard_state.vote) if hard_state else (0, 0)
        stop = CleanStop(self.wal.last, self.wal.tag.hex(), now_ms, term, vote)
        with self._files:
            self._switch(self.manifest.with_clean_stop(stop))
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
            self.disk, join(self.root, SNAPSHOTS, info.file), self.manifest.store_id_bytes, self.keys, info
        )

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
        """What earlier crashes left half-made. Only after every check has passed, and before anything new is made: on a
        full disk it may be this that holds the room."""
        snapshots.remove_unnamed(self.disk, self.root, self.manifest)
        try:
            for directory in (SNAPSHOTS, QUARANTINE, "keyring", ""):
                if not self.disk.exists(join(self.root, directory)):
                    continue  # an operator may have moved quarantine/ away; it is made again when there is need
                for name in self.disk.listdir(join(self.root, directory)):
                    if name.endswith(".tmp"):
                        with suppress(IsADirectoryError):  # not ours
                            self.disk.unlink(join(self.root, directory, name))
        except OSError as cause:
            raise IoFailed(self.root, cause) from cause


def check_names(disk: Disk, root: str, manifest: Manifest) -> None:
    """Both directories and the snapshots that the manifest names are there, and no file that is no snapshot."""
    for directory in (WAL, SNAPSHOTS):
        if not disk.exists(join(root, directory)):
            raise Corrupt(join(root, directory), 0, "a directory of this name, it is missing")
    names = snapshots.list_directory(disk, join(root, SNAPSHOTS))
    for info in manifest.snapshots:
        if info.file not in names:
            path = join(root, SNAPSHOTS, info.file)
            raise Corrupt(path, 0, "a snapshot that the manifest names, the file is missing")
    for name in names:
        if snapshots.parse_snapshot_name(name) is None and not name.endswith(".tmp"):
            raise Corrupt(
                join(root, SNAPSHOTS, name), 0, "only snapshots in this directory", advice="move this file elsewhere"
            )


def _wrong_keyring(root: str, manifest: Manifest, keys: Keys) -> Corrupt:
    found = f"the one in keyring/ is {keys.id}" if keys.id else "there is none"
    advice = "put the directory keyring/ back that this data was written with; nothing has been changed"
    return Corrupt(join(root, MANIFEST), 0, f"keyring {manifest.keyring_id}, {found}", advice=advice)


def _initialise(
    disk: Disk, root: str, store_id: bytes, now_ms: int, config: WalConfig, keys: Keys
) -> Manifest:
    """First start: directories, an empty log, and the manifest last. An earlier try that died half-way is completed."""
    assert len(store_id) == 16, len(store_id)
    manifest = Manifest(store_id.hex(), now_ms, keyring_id=keys.id)
    try:
        for name in DIRECTORIES:
            disk.mkdir(join(root, name))
        create_active(disk, join(root, WAL), store_id, Chain(), config.first_segment_bytes, keys).file.close()
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
        not name.endswith(".tmp") for name in snapshots.list_directory(disk, snapshot_directory)
    ):
        raise missing
    if not disk.exists(wal_directory):
        return
    listing = list_wal(disk, root, 0)
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
