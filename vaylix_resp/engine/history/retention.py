"""What stays for time travel: which snapshots, and up to where the log may go. A pure function of what is there.

Promises: any moment in the window can be restored (a snapshot at or before its start, and all of the log behind that),
unless `size_max` forbids it, and then the plan says so; the newest snapshot and the log behind it always stay; what
others still need stays, whatever it costs.
Units: milliseconds since the epoch, bytes. Sequence 0 is the empty state, a base as good as a snapshot if the log
begins with sequence 1.
Not here: deleting (`storage.store`), the moments to do it (`checkpoint`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...storage.active import Segment
from ...storage.manifest import SnapshotInfo


@dataclass(frozen=True, slots=True)
class Wanted:
    """The policy. `size_max` counts what is kept for the window alone, on top of what a start needs; 0: no limit."""

    window_ms: int = 0
    size_max: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """`base` is the oldest sequence that can be restored, `base_ms` the oldest time."""

    snapshots: tuple[SnapshotInfo, ...]
    prune_to: int  # sealed segments that hold nothing behind it may go
    base: int
    base_ms: int
    extra_bytes: int  # what is kept for the window alone
    shortened: bool  # the window asked for does not fit into `size_max`

    def window_ms(self, now_ms: int) -> int:
        """How far back any moment can be restored."""
        return max(0, now_ms - self.base_ms)


def plan(
    snapshots: Sequence[SnapshotInfo], segments: Sequence[Segment], wanted: Wanted, now_ms: int, created_ms: int,
    needed_from: Iterable[int | None] = (),
) -> Plan:  # fmt: skip
    """`snapshots` oldest first, as the manifest has them; `segments` in order; `created_ms`: when the store began.

    `needed_from`: the first sequence of the log that each of some others still needs, None for none.
    """
    begins = segments[0].first if segments else 1
    floor = min([sequence - 1 for sequence in needed_from if sequence is not None], default=None)
    bases = [info for info in snapshots if info.sequence >= begins - 1]  # behind the others the log has gone
    if not bases:
        return Plan(tuple(snapshots), 0, 0, created_ms, 0, False)
    start_ms = now_ms - wanted.window_ms
    asked = max([at for at, info in enumerate(bases) if info.timestamp_ms <= start_ms], default=-1)
    if not wanted.window_ms:
        asked = len(bases) - 1  # also after the clock was set back: nobody wants more
    elif asked < 0 and begins > 1:
        asked = 0  # the window is longer than the store's memory: all there is stays
    for first in range(asked, len(bases)):
        found = _from(bases, first, segments, created_ms, shortened=first > asked)
        if not wanted.size_max or found.extra_bytes <= wanted.size_max:
            break
    if floor is None or floor >= found.prune_to:
        return found
    return Plan(found.snapshots, floor, found.base, found.base_ms, found.extra_bytes, found.shortened)


def _from(
    bases: Sequence[SnapshotInfo], first: int, segments: Sequence[Segment], created_ms: int, *, shortened: bool
) -> Plan:  # fmt: skip
    """The plan whose window begins at this base; -1: at sequence 0."""
    base, base_ms = (bases[first].sequence, bases[first].timestamp_ms) if first >= 0 else (0, created_ms)
    kept, newest = _thinned(bases[max(first, 0) :], base, segments), bases[-1]
    extra = sum(info.bytes for info in kept if info is not newest)
    extra += sum(segment.size for segment in segments if base < segment.last <= newest.sequence)
    return Plan(kept, base, base, base_ms, extra, shortened)


def _thinned(bases: Sequence[SnapshotInfo], base: int, segments: Sequence[Segment]) -> tuple[SnapshotInfo, ...]:
    """The base, the newest, and those in between that are worth their room.

    One in between makes a restore quicker and lets the window's start move on in smaller steps; it is worth it when it
    spares the replay of at least as much log as it is long itself. So all of them together take no more room than the
    log of the window, however often snapshots are made (a BGSAVE a minute would otherwise fill the disk).
    """
    kept: list[SnapshotInfo] = []
    behind = base
    for info in bases[:-1]:
        if info.sequence == base or _log_bytes(segments, behind, info.sequence) >= info.bytes:
            kept.append(info)
            behind = info.sequence
    return (*kept, bases[-1])


def _log_bytes(segments: Sequence[Segment], after: int, up_to: int) -> int:
    """A snapshot is taken where a segment ends, so whole segments are counted."""
    return sum(segment.size for segment in segments if after < segment.last <= up_to)
