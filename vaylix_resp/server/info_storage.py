"""INFO's sections about what is on disk: Persistence and Encryption.

Redis's `rdb_*` fields speak of snapshots and its `aof_*` fields of the log, because that is what they ask: may I lose
something, is one being written, did the last one work. `log_*` and `snapshot_*` say the same in our own words.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .shared import Shared

Field = tuple[str, Any]


def _status(ok: bool) -> str:
    return "ok" if ok else "err"


def _seconds(value: float | None) -> int:
    return -1 if value is None else int(value)


def persistence(server: Shared) -> Iterable[Field]:
    node, checkpoint, now = server.node, server.checkpoint, server.clock.now()
    running_s = now - checkpoint.started_s if checkpoint.running and checkpoint.started_s is not None else None
    taken = node.failure is None and not node.full
    yield "loading", 0
    yield "async_loading", 0
    for name in ("current_cow_peak", "current_cow_size", "current_cow_size_age"):
        yield name, 0
    yield "current_fork_perc", f"{100 * checkpoint.progress if checkpoint.running else 0:.2f}"
    yield "current_save_keys_processed", 0
    yield "current_save_keys_total", 0
    yield "rdb_changes_since_last_save", checkpoint.changes_since
    yield "rdb_bgsave_in_progress", int(checkpoint.running)
    yield "rdb_last_save_time", int(checkpoint.last_save_unix)
    yield "rdb_last_bgsave_status", _status(checkpoint.last_ok)
    yield "rdb_last_bgsave_time_sec", _seconds(checkpoint.last_duration_s)
    yield "rdb_current_bgsave_time_sec", _seconds(running_s)
    yield "rdb_saves", checkpoint.count
    yield "rdb_last_cow_size", 0
    yield "aof_enabled", 1
    yield "aof_rewrite_in_progress", int(checkpoint.running)
    yield "aof_rewrite_scheduled", 0
    yield "aof_last_rewrite_time_sec", _seconds(checkpoint.last_duration_s)
    yield "aof_current_rewrite_time_sec", _seconds(running_s)
    yield "aof_last_bgrewrite_status", _status(checkpoint.last_ok)
    yield "aof_rewrites", checkpoint.count
    yield "aof_last_write_status", _status(taken)
    yield "aof_last_cow_size", 0
    yield "module_fork_in_progress", 0
    yield "module_fork_last_cow_size", 0
    yield "aof_current_size", node.wal.total_bytes
    yield "aof_base_size", max(node.wal.total_bytes - checkpoint.log_bytes_since, 0)
    yield "aof_pending_rewrite", 0
    yield "aof_buffer_length", node.open.size
    yield "aof_pending_bio_fsync", 0
    yield "aof_delayed_fsync", 0
    yield from _log(server)
    yield "snapshot_count", checkpoint.count
    yield "snapshot_sequence", checkpoint.sequence
    yield "snapshot_in_progress", int(checkpoint.running)
    yield "snapshot_progress", f"{checkpoint.progress if checkpoint.running else 0:.2f}"
    yield "snapshot_last_error", checkpoint.last_error
    yield from _time_travel(server)
    yield from _copies(server)


def _time_travel(server: Shared) -> Iterable[Field]:
    """How far back FLASHBACK and `vaylix pitr restore` reach, and what that costs in bytes."""
    checkpoint, history = server.checkpoint, server.history
    found, now_ms = checkpoint.retention(), server.clock.wall_ms()
    yield "pitr_window_seconds", checkpoint.wanted.window_ms // 1000
    yield "pitr_window_effective_seconds", found.window_ms(now_ms) // 1000
    yield "pitr_window_shortened", int(found.shortened)
    yield "pitr_oldest_sequence", found.base
    yield "pitr_oldest_timestamp_ms", found.base_ms
    yield "pitr_snapshots", len(found.snapshots)
    yield "pitr_extra_bytes", found.extra_bytes
    yield "flashback_in_progress", int(history.running)
    yield "flashback_count", history.count
    yield "flashback_last_error", history.last_error


def _copies(server: Shared) -> Iterable[Field]:
    """The online backup, and how far archive-command has come."""
    archive = server.archive
    pending = archive.pending()
    yield "backup_in_progress", int(server.online_backup.in_progress)
    yield "logical_backup_in_progress", int(bool(server.backups.running))
    yield "logical_backup_progress", f"{server.backups.progress if server.backups.running else 0:.2f}"
    yield "logical_backup_last_error", server.backups.last_error
    yield "logical_backups", server.backups.count
    yield "archive_enabled", int(archive.enabled)
    yield "archive_sequence", archive.sequence
    yield "archived_count", archive.archived_count
    yield "archive_failed_count", archive.failed_count
    yield "archive_last_ok_time", archive.last_ok_time
    yield "archive_last_failed_time", archive.last_failed_time
    yield "archive_last_file", archive.last_file
    yield "archive_pending_files", len(pending)
    yield "archive_pending_bytes", sum(item.size for item in pending)
    yield "archive_last_error", archive.last_error


def _log(server: Shared) -> Iterable[Field]:
    """The log, and what its fsyncs cost in microseconds."""
    node, fsync = server.node, server.node.fsync
    yield "log_status", "failed" if node.failure is not None else "full" if node.full else "ok"
    yield "log_failure", node.failure or ""
    yield "log_appendfsync", node.appendfsync
    yield "log_last_sequence", node.last_sequence
    yield "log_applied_sequence", node.applied
    yield "log_durable_sequence", node.wal.durable
    yield "log_time_ahead_ms", max(0, server.machine.time_ms - server.clock.wall_ms())
    yield "log_size", node.wal.total_bytes
    yield "log_segments", len(node.wal.segments())
    yield "log_fsync_count", fsync.count
    yield "log_fsync_usec_total", fsync.total_us
    yield "log_fsync_usec_avg", fsync.total_us // max(fsync.count, 1)
    yield "log_fsync_usec_max", fsync.max_us
    yield "log_fsync_usec_last", fsync.last_us


def encryption(server: Shared) -> Iterable[Field]:
    """Whether what is written is sealed, and the state of the keyring; never a key."""
    yield from server.keyring.info()
