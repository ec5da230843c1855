"""Deliberate mistakes, each of which the stories have to catch: what the runner would find, it finds.

Each mistake replaces something of the product by what somebody might well have written. Not here: mistakes that only
cost time or room, which no story can tell from the right thing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from vaylix_resp.storage import active, damage, log_files, manifest, recovery, segment, snapshot, store, wal
from vaylix_resp.storage.disk import Disk, parent

Mutation = Callable[[], ExitStack]
MUTATIONS: dict[str, Mutation] = {}


def mutation(function: Callable[[ExitStack], None]) -> Callable[[ExitStack], None]:
    def injected() -> ExitStack:
        stack = ExitStack()
        function(stack)
        return stack

    MUTATIONS[function.__name__.replace("_", " ")] = injected
    return function


def replaced(stack: ExitStack, owner: object, name: str, new: object) -> Any:
    """Put `new` in the place of the attribute until the stack is closed; the attribute as it was."""
    old = getattr(owner, name)
    stack.enter_context(patch.object(owner, name, new))
    return old


@mutation
def acknowledged_before_the_fsync(stack: ExitStack) -> None:
    replaced(stack, wal.Wal, "_fsync", lambda self, fsync, path: None)


@mutation
def a_failed_fsync_is_tried_again(stack: ExitStack) -> None:
    def twice(self: wal.Wal, fsync: Callable[[], None], path: str) -> None:
        try:
            fsync()
        except OSError:
            fsync()

    replaced(stack, wal.Wal, "_fsync", twice)


@mutation
def writing_goes_on_after_a_failed_fsync(stack: ExitStack) -> None:
    def fail(self: wal.Wal, *arguments: Any) -> Any:
        failure = old(self, *arguments)
        self.failed = None
        return failure

    old = replaced(stack, wal.Wal, "_fail", fail)


@mutation
def a_rename_without_fsync_of_its_directory(stack: ExitStack) -> None:
    replaced(stack, Disk, "rename", lambda self, source, target: self._rename(source, target))


@mutation
def a_new_directory_without_fsync_of_its_parent(stack: ExitStack) -> None:
    def mkdir(self: Disk, path: str) -> None:
        if not self.exists(parent(path)):
            self.mkdir(parent(path))
        if not self.exists(path):
            self._mkdir(path)

    replaced(stack, Disk, "mkdir", mkdir)


@mutation
def a_file_is_renamed_before_its_content_is_synced(stack: ExitStack) -> None:
    def replace_file(self: Disk, path: str, data: bytes) -> None:
        file = self.create(path + ".tmp")
        file.pwrite(data, 0)
        file.close()
        self.rename(path + ".tmp", path)

    replaced(stack, Disk, "replace_file", replace_file)


@mutation
def the_manifest_is_written_in_place(stack: ExitStack) -> None:
    def replace_file(self: Disk, path: str, data: bytes) -> None:
        file = self.create(path)
        file.pwrite(data, 0)
        file.fsync()
        file.close()

    replaced(stack, Disk, "replace_file", replace_file)


@mutation
def the_old_manifest_is_deleted_first(stack: ExitStack) -> None:
    def replace_file(self: Disk, path: str, data: bytes) -> None:
        old(self, path + ".new", data)
        if self.exists(path):
            self.unlink(path)
        self.rename(path + ".new", path)

    old = replaced(stack, Disk, "replace_file", replace_file)


@mutation
def a_snapshot_is_not_synced(stack: ExitStack) -> None:
    def finish(self: snapshot.SnapshotWriter, *arguments: Any) -> Any:
        with patch.object(type(self._file), "fsync", lambda file: None):
            return old(self, *arguments)

    old = replaced(stack, snapshot.SnapshotWriter, "finish", finish)


@mutation
def the_log_is_pruned_before_the_manifest_is_written(stack: ExitStack) -> None:
    def publish(self: store.Store, info: manifest.SnapshotInfo, *more: Any) -> None:
        self.wal.prune(info.sequence)
        old(self, info, *more)

    old = replaced(stack, store.Store, "publish_snapshot", publish)


@mutation
def old_snapshots_go_before_the_manifest_is_written(stack: ExitStack) -> None:
    def write(disk: Disk, root: str, new: manifest.Manifest) -> None:
        snapshot.remove_unnamed(disk, root, new)
        old(disk, root, new)

    old = replaced(stack, snapshot, "write_manifest", write)


@mutation
def the_manifest_names_a_snapshot_before_it_has_its_name(stack: ExitStack) -> None:
    def publish(disk: Disk, root: str, current: manifest.Manifest, info: manifest.SnapshotInfo, *more: Any) -> Any:
        snapshot.write_manifest(disk, root, current.with_snapshot(info))
        return old(disk, root, current, info, *more)

    old = replaced(stack, snapshot, "publish_snapshot", publish)


@mutation
def the_newest_segments_are_pruned_first(stack: ExitStack) -> None:
    def prune(self: wal.Wal, up_to: int) -> int:
        gone = [one for one in self._sealed if one.last <= up_to]
        for one in reversed(gone):
            self._disk.unlink(one.path)
        self._sealed = self._sealed[len(gone) :]
        return len(gone)

    replaced(stack, wal.Wal, "prune", prune)


@mutation
def one_segment_too_many_is_pruned(stack: ExitStack) -> None:
    def prune(self: wal.Wal, up_to: int) -> int:
        behind = [one.last for one in self._sealed if one.last > up_to]
        return int(old(self, behind[0] if behind else up_to))

    old = replaced(stack, wal.Wal, "prune", prune)


@mutation
def a_segment_gets_its_name_before_its_header_is_synced(stack: ExitStack) -> None:
    def name_active(disk: Disk, directory: str, store_id: bytes, chain: Any, file: Any, *more: Any) -> Any:
        with patch.object(type(file), "fsync", lambda file: None):
            return old(disk, directory, store_id, chain, file, *more)

    old = replaced(stack, active, "name_active", name_active)
    replaced(stack, log_files, "name_active", name_active)


@mutation
def the_old_segment_is_not_synced_before_the_next_begins(stack: ExitStack) -> None:
    def rotate(self: wal.Wal, size: int) -> None:
        with patch.object(self, "_sync", lambda: None):
            old(self, size)

    old = replaced(stack, wal.Wal, "_rotate", rotate)


@mutation
def the_old_segment_gets_its_last_name_before_a_new_one_is_there(stack: ExitStack) -> None:
    def rotate(self: wal.Wal, size: int) -> None:
        if self.last >= self._first:
            self.sync()
            last_name = f"{self._directory}/{segment.sealed_name(self._first, self.last)}"
            try:
                self._disk.rename(self._file.path, last_name)
                self._disk.rename(last_name, self._file.path)
            except OSError as cause:
                raise self._fail("rename", self._file.path, cause) from cause
        old(self, size)

    old = replaced(stack, wal.Wal, "_rotate", rotate)


@mutation
def what_a_failed_write_left_is_not_cleared(stack: ExitStack) -> None:
    replaced(stack, wal.Wal, "_scrub", lambda self: setattr(self, "_dirty_end", 0))


@mutation
def a_refused_batch_stays_in_the_log(stack: ExitStack) -> None:
    """The rest of the batch is written all the same; the client has been told that it was not."""

    def append(self: wal.Wal, *arguments: Any) -> None:
        try:
            old(self, *arguments)
        except wal.DiskFull:
            with patch.object(self._disk, "faults", {}):
                self._dirty_end = 0
                old(self, *arguments)
            raise

    old = replaced(stack, wal.Wal, "append", append)


@mutation
def recovery_believes_the_page_cache(stack: ExitStack) -> None:
    def settle(disk: Disk, active: recovery.Active) -> None:
        file = disk.open(active.path, write=True)
        file.truncate(max(active.end, recovery.SEGMENT_HEADER_BYTES))
        file.close()

    replaced(stack, recovery, "_settle", settle)


@mutation
def recovery_syncs_but_does_not_write_again(stack: ExitStack) -> None:
    def settle(disk: Disk, active: recovery.Active) -> None:
        file = disk.open(active.path, write=True)
        file.truncate(max(active.end, recovery.SEGMENT_HEADER_BYTES))
        file.fsync()
        file.close()

    replaced(stack, recovery, "_settle", settle)


@mutation
def recovery_seals_the_old_segment_first(stack: ExitStack) -> None:
    """A crash in between leaves no active segment, which only a clean stop may."""

    def create_active(disk: Disk, directory: str, *more: Any) -> Any:
        for name in disk.listdir(directory):
            parsed = segment.parse_name(name)
            if parsed and parsed.last is None:
                hidden = f"{directory}/hidden.tmp"
                disk.rename(f"{directory}/{name}", hidden)
                disk.rename(hidden, f"{directory}/{name}")
        return old(disk, directory, *more)

    old = replaced(stack, recovery, "create_active", create_active)


@mutation
def recovery_cuts_whatever_is_bad_at_the_end(stack: ExitStack) -> None:
    def decide(facts: damage.Facts) -> damage.Do:
        decision = old(facts)
        return damage.Do.CUT if decision is damage.Do.REFUSE else decision

    old = replaced(stack, recovery, "decide", decide)


@mutation
def recovery_cuts_nothing_aside_and_stops_at_the_first_bad_batch(stack: ExitStack) -> None:
    replaced(stack, recovery.Replay, "_judge", lambda self, reader, offset, *more, **options: offset)


@mutation
def checksums_of_batches_are_not_looked_at(stack: ExitStack) -> None:
    def read_body(raw: bytes, header: Any, rest: bytes, *more: Any) -> bytes | None:
        body = old(raw, header, rest, *more)
        return rest[: header.body_bytes] if body is None else body

    old = replaced(stack, segment, "read_body", read_body)


@mutation
def the_watermark_of_a_clean_stop_is_not_cleared(stack: ExitStack) -> None:
    def recover(self: store.Store, *arguments: Any) -> Any:
        with patch.object(store, "write_manifest", lambda disk, root, new: None):
            return old(self, *arguments)

    old = replaced(stack, store.Store, "recover", recover)


@mutation
def the_watermark_is_cleared_before_a_segment_is_there(stack: ExitStack) -> None:
    def recover(self: store.Store, *arguments: Any) -> Any:
        with_stop = self.manifest
        store.write_manifest(self.disk, self.root, with_stop.with_clean_stop(None))
        return old(self, *arguments)

    old = replaced(stack, store.Store, "recover", recover)


@mutation
def the_log_is_sealed_before_the_watermark_is_written(stack: ExitStack) -> None:
    def clean_stop(self: store.Store, now_ms: int) -> Any:
        self.wal.settle()
        self.wal.seal_and_close()
        stop = store.CleanStop(self.wal.last, self.wal.tag.hex(), now_ms)
        store.write_manifest(self.disk, self.root, self.manifest.with_clean_stop(stop))
        self._lock.release()
        return stop

    replaced(stack, store.Store, "clean_stop", clean_stop)


@mutation
def a_first_start_writes_its_manifest_first(stack: ExitStack) -> None:
    def initialise(disk: Disk, root: str, store_id: bytes, now_ms: int, *more: Any) -> Any:
        disk.mkdir(root)
        store.write_manifest(disk, root, manifest.Manifest(store_id.hex(), now_ms))
        return old(disk, root, store_id, now_ms, *more)

    old = replaced(stack, store, "_initialise", initialise)


@mutation
def the_number_of_a_record_is_its_place(stack: ExitStack) -> None:
    """So a batch that is written where another one failed gets the number of that one."""
    place = property(lambda self: self._offset, lambda self, value: None)
    stack.enter_context(patch.object(wal.Wal, "_number", place, create=True))


@mutation
def a_failed_write_gives_its_number_back(stack: ExitStack) -> None:
    def append(self: wal.Wal, *arguments: Any) -> None:
        number = self._number
        try:
            old(self, *arguments)
        except wal.DiskFull:
            self._number = number
            raise

    old = replaced(stack, wal.Wal, "append", append)


@mutation
def recovery_goes_on_in_the_segment_that_was_active(stack: ExitStack) -> None:
    """With its key, of which nobody knows any more what has been sealed with it."""

    def create_active(
        disk: Disk, directory: str, store_id: bytes, chain: Any, size: int, keys: Any, *more: Any
    ) -> active.Opened:
        name = segment.parse_name(segment.active_name(chain.last + 1))
        assert name is not None
        path = f"{directory}/{name.name}"
        if not disk.exists(path):
            return old(disk, directory, store_id, chain, size, keys, *more)  # type: ignore[no-any-return]
        reader, _, cipher = segment.open_segment(disk, directory, name, store_id, keys)
        reader.file.close()
        file = disk.open(path, write=True)
        file.allocate(size)
        file.fsync()
        return active.Opened(file, size, cipher, segment.SEGMENT_HEADER_BYTES, 0, chain.tag)

    old = replaced(stack, recovery, "create_active", create_active)


@contextmanager
def injected(name: str) -> Iterator[None]:
    with MUTATIONS[name]():
        yield
