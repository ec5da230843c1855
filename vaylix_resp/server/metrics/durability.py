"""Metrics of the way to the disk and of what is there: stages of batches, log, snapshots, restore window, copies."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from ...observability.exposition import counts_of, seconds_of
from ...observability.histogram import Histogram
from ...observability.process import Space
from .table import Metric, Read, Scrape, counter, gauge, histogram

MS: Final = 1000


def _stage(read: Callable[[Any], Histogram]) -> Read:
    return lambda at: seconds_of(read(at.server.node.stages))


def _age_s(at: Scrape, since_ms: int) -> float | None:
    """None: there is none yet."""
    return max(0, at.now_ms - since_ms) / MS if since_ms else None


def _sequences(at: Scrape) -> dict[str, int]:
    node = at.server.node
    done = {"committed": node.committed, "applied": node.applied}
    return {"written": node.last_sequence, "durable": node.wal.durable, **done}


def _disk(read: Callable[[Space], int]) -> Read:
    def value(at: Scrape) -> int | None:
        space = at.process.space(os.path.abspath(at.server.settings.dir))
        return None if space is None else read(space)

    return value


def _newest_bytes(at: Scrape) -> int:
    snapshots = at.retention.snapshots
    return snapshots[-1].bytes if snapshots else 0


def _running(at: Scrape) -> dict[str, int]:
    server = at.server
    return {
        "snapshot": int(server.checkpoint.running), "logical": int(bool(server.backups.running)),
        "online": int(server.online_backup.in_progress), "flashback": int(server.history.running),
    }  # fmt: skip


STAGES: Final[tuple[Metric, ...]] = (
    histogram("fsync_duration_seconds", "Time that an fsync of the log took.", _stage(lambda stages: stages.fsync)),
    histogram("queue_duration_seconds", "From the first request of a batch to its hand-over to the log or the group.",
              _stage(lambda stages: stages.queue)),
    histogram("commit_duration_seconds", "From the hand-over of a batch to its commit, fsync and majority included.",
              _stage(lambda stages: stages.commit)),
    histogram("apply_duration_seconds", "From the commit of a batch to its last answer.",
              _stage(lambda stages: stages.apply)),
    histogram("batch_entries", "Writes that shared one fsync.",
              lambda at: counts_of(at.server.node.stages.batch_entries)),
    histogram("batch_size_bytes", "Their size.", lambda at: counts_of(at.server.node.stages.batch_bytes)),
    gauge("batch_open_bytes", "Writes that gather for the next batch.", lambda at: at.server.node.open.size),
    gauge("batch_open_runs", "Reads from sockets, and other sources, whose writes gather for the next batch.",
          lambda at: len(at.server.node.open.runs)),
    gauge("batches_in_flight", "Batches handed over and not answered.", lambda at: at.server.node.in_flight),
)  # fmt: skip

LOG: Final[tuple[Metric, ...]] = (
    gauge("log_failed", "1: the log has failed, and no write is taken until a restart.",
          lambda at: int(at.server.node.failure is not None)),
    gauge("disk_full", "1: the disk is full, and writes are refused until there is room.",
          lambda at: int(at.server.node.full)),
    gauge("disk_free_bytes", "Room for us on the disk of the data directory.", _disk(lambda space: space.free)),
    gauge("disk_size_bytes", "Size of that disk.", _disk(lambda space: space.size)),
    gauge("log_sequence", "How far the log is at each step.", _sequences, ("step",),
          "written, durable, committed, applied"),
    gauge("apply_lag_entries", "Writes that are committed and not applied here.",
          lambda at: max(0, at.server.node.committed - at.server.node.applied)),
    counter("log_written_bytes_total", "Bytes written to the log.", lambda at: at.server.node.wal.appended_bytes),
    gauge("log_size_bytes", "Size of the log on disk.", lambda at: at.server.node.wal.total_bytes),
    gauge("log_segments", "Files of the log.", lambda at: len(at.server.node.wal.segments())),
    gauge("log_age_seconds", "Since the newest batch in the log was made.",
          lambda at: _age_s(at, at.server.node.wal.timestamp_ms)),
)  # fmt: skip

COPIES: Final[tuple[Metric, ...]] = (
    gauge("snapshot_age_seconds", "Since the newest snapshot; before the first, since the data directory was made.",
          lambda at: _age_s(at, at.server.checkpoint.last_save_unix * MS)),
    gauge("snapshot_size_bytes", "Size of the newest snapshot.", _newest_bytes),
    gauge("snapshots_kept", "Snapshots on disk.", lambda at: len(at.retention.snapshots)),
    gauge("snapshots_size_bytes", "Their size.", lambda at: sum(one.bytes for one in at.retention.snapshots)),
    gauge("snapshot_ok", "1: the last snapshot worked, or there was none since the start.",
          lambda at: int(at.server.checkpoint.last_ok)),
    gauge("snapshot_duration_seconds", "What the last one took.", lambda at: at.server.checkpoint.last_duration_s),
    counter("snapshots_total", "Snapshots made since the start.", lambda at: at.server.checkpoint.count),
    gauge("changes_since_snapshot", "Writes behind the newest snapshot: what a start has to replay.",
          lambda at: at.server.checkpoint.changes_since),
    gauge("log_since_snapshot_bytes", "About their size in the log.", lambda at: at.server.checkpoint.log_bytes_since),
    gauge("restore_window_seconds", "How far back any moment can be restored.",
          lambda at: at.retention.window_ms(at.now_ms) / MS),
    gauge("restore_window_wanted_seconds", "The directive pitr-window.",
          lambda at: at.server.checkpoint.wanted.window_ms / MS),
    gauge("restore_window_shortened", "1: pitr-size-max makes it shorter than wanted.",
          lambda at: int(at.retention.shortened)),
    gauge("restore_window_size_bytes", "What is kept on disk for it alone.", lambda at: at.retention.extra_bytes),
    gauge("job_running", "1: it is under way.", _running, ("job",), "snapshot, logical, online, flashback"),
    gauge("archive_enabled", "1: archive-command is set.", lambda at: int(at.server.archive.enabled)),
    counter("archive_files_total", "Files that archive-command has taken.",
            lambda at: at.server.archive.archived_count),
    counter("archive_failures_total", "Times that it has failed.", lambda at: at.server.archive.failed_count),
    gauge("archive_pending_files", "Files that it has not taken yet.", lambda at: len(at.archive_pending)),
    gauge("archive_pending_bytes", "Their size.", lambda at: sum(item.size for item in at.archive_pending)),
)  # fmt: skip

DURABILITY: Final = STAGES + LOG + COPIES
