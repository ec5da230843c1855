"""What stays for time travel: the table of the policy, and its promises over random stores."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaylix_resp.engine.history.retention import Plan, Wanted, plan
from vaylix_resp.storage.active import Segment
from vaylix_resp.storage.manifest import SnapshotInfo

CREATED, NOW = 1000, 100_000


def snapshot(sequence: int, at_ms: int, size: int = 10) -> SnapshotInfo:
    return SnapshotInfo(sequence, f"s{sequence}", "", "", 1, at_ms, size)


def log(*ends: int, first: int = 1, size: int = 100) -> list[Segment]:
    """Sealed segments that end at these sequences, and an empty active one."""
    found = []
    for end in ends:
        found.append(Segment(f"{first}-{end}", first, end, size))
        first = end + 1
    return [*found, Segment("active", first, first - 1, 0)]


def kept(found: Plan) -> list[int]:
    return [info.sequence for info in found.snapshots]


@dataclass
class Case:
    says: str
    snapshots: list[SnapshotInfo]
    segments: list[Segment]
    wanted: Wanted
    keeps: list[int]
    prune_to: int
    base_ms: int
    extra: int = 0
    shortened: bool = False
    needed: tuple[int | None, ...] = ()


OLD, MID, NEW = snapshot(10, 20_000), snapshot(20, 60_000), snapshot(30, 90_000)
THREE = [OLD, MID, NEW]
LOG3 = log(10, 20, 30)

CASES = [
    Case("a store without snapshots keeps all", [], log(5), Wanted(1), [], 0, CREATED),
    Case("an empty store", [], log(), Wanted(1), [], 0, CREATED),
    Case("no window: only the newest, and the log behind it", THREE, LOG3, Wanted(0), [30], 30, 90_000),
    Case("a window behind the newest", THREE, LOG3, Wanted(5_000), [30], 30, 90_000),
    Case("a window that begins at a snapshot", THREE, LOG3, Wanted(10_000), [30], 30, 90_000),
    Case("a window that begins just before it", THREE, LOG3, Wanted(10_001), [20, 30], 20, 60_000, 110),
    Case("no window, and the clock was set back", [snapshot(10, 120_000), snapshot(20, 120_000), snapshot(30, 120_000)],
         LOG3, Wanted(0), [30], 30, 120_000),
    Case("a long window", THREE, LOG3, Wanted(80_000), [10, 20, 30], 10, 20_000, 220),
    Case("longer than all snapshots: sequence 0", THREE, LOG3, Wanted(80_001), [10, 20, 30], 0, CREATED, 320),
    Case("longer, and the log has lost its beginning", THREE, log(20, 30, first=11), Wanted(99_999),
         [10, 20, 30], 10, 20_000, 220),
    Case("a snapshot whose log has gone is no base", THREE, log(30, first=21), Wanted(99_999),
         [20, 30], 20, 60_000, 110),
    Case("the size is just enough", THREE, LOG3, Wanted(80_000, 220), [10, 20, 30], 10, 20_000, 220),
    Case("too large: the window gets shorter", THREE, LOG3, Wanted(80_000, 219), [20, 30], 20, 60_000, 110, True),
    Case("what a start needs does not count", THREE, LOG3, Wanted(80_000, 1), [30], 30, 90_000, 0, True),
    Case("the beginning is given up first", THREE, LOG3, Wanted(99_000, 319), [10, 20, 30], 10, 20_000, 220, True),
    Case("an archive waits for the log", THREE, LOG3, Wanted(0), [30], 4, 90_000, needed=(None, 5)),
    Case("the one furthest behind decides", THREE, LOG3, Wanted(0), [30], 11, 90_000, needed=(20, 12, None)),
    Case("one that lacks less than the window", THREE, LOG3, Wanted(80_000), [10, 20, 30], 10, 20_000, 220,
         needed=(25,)),
    Case("a clock that went back keeps more", THREE, LOG3, Wanted(20_000), [10, 20, 30], 10, 20_000, 220),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_the_policy(case: Case) -> None:
    now = NOW if "clock" not in case.says else 60_000
    found = plan(case.snapshots, case.segments, case.wanted, now, CREATED, case.needed)
    assert (kept(found), found.prune_to, found.base_ms) == (case.keeps, case.prune_to, case.base_ms)
    assert (found.extra_bytes, found.shortened) == (case.extra, case.shortened)


def test_snapshots_in_between_have_to_be_worth_their_room() -> None:
    """A snapshot of 250 bytes every 100 bytes of log: every third stays."""
    snapshots = [snapshot(10 * n, 10_000 * n, 250) for n in range(1, 10)]
    found = plan(snapshots, log(*range(10, 100, 10)), Wanted(80_000), NOW, CREATED)
    assert kept(found) == [20, 50, 80, 90] and found.base == 20
    found = plan(snapshots, log(*range(10, 100, 10)), Wanted(99_000), NOW, CREATED)
    assert kept(found) == [30, 60, 90] and found.base == 0, "the empty state costs nothing"


def test_the_window_is_told() -> None:
    found = plan(THREE, LOG3, Wanted(15_000), NOW, CREATED)
    assert found.window_ms(NOW) == 40_000 and found.window_ms(50_000) == 0


@st.composite
def stores(draw: st.DrawFn) -> tuple[list[SnapshotInfo], list[Segment]]:
    ends, at_ms, snapshots, segments, first = [], CREATED, [], [], draw(st.integers(1, 50))
    begins = first
    for _ in range(draw(st.integers(0, 12))):
        last = first + draw(st.integers(0, 20))
        segments.append(Segment(str(first), first, last, draw(st.integers(1, 300))))
        at_ms += draw(st.integers(0, 20_000))
        ends.append((last, at_ms))
        first = last + 1
    if begins > 1:
        snapshots.append(snapshot(begins - 1, CREATED, draw(st.integers(1, 500))))
    snapshots += [snapshot(*end, draw(st.integers(1, 500))) for end in ends if draw(st.booleans())]
    return snapshots, [*segments, Segment("active", first, first + draw(st.integers(-1, 5)), 5)]


@given(
    stores(), st.integers(0, 150_000), st.sampled_from([0, 1, 100, 1000]), st.integers(CREATED, 200_000),
    st.lists(st.one_of(st.none(), st.integers(1, 100)), max_size=3),
)  # fmt: skip
def test_its_promises(
    store: tuple[list[SnapshotInfo], list[Segment]], window_ms: int, size_max: int, now_ms: int,
    needed: list[int | None],
) -> None:  # fmt: skip
    snapshots, segments = store
    found = plan(snapshots, segments, Wanted(window_ms, size_max), now_ms, CREATED, needed)
    rest = [segment for segment in segments if segment.last > found.prune_to or segment is segments[-1]]
    assert not snapshots or found.snapshots[-1] == snapshots[-1]
    assert set(found.snapshots) <= set(snapshots)
    # From the base on there is a log without a gap, and the base is there.
    assert rest[0].first <= found.base + 1
    assert found.base == 0 or found.base in [info.sequence for info in found.snapshots]
    # The window (none: the newest alone), unless the store is too young or too small.
    oldest = min([info.timestamp_ms for info in snapshots], default=CREATED)
    assert found.base_ms <= max(now_ms - window_ms, oldest) or found.shortened or not window_ms
    assert window_ms or found.snapshots == tuple(snapshots[-1:])
    assert not found.shortened or size_max
    assert not size_max or found.extra_bytes <= size_max
    # What others need stays.
    for sequence in needed:
        if sequence is not None and sequence >= segments[0].first:
            assert any(segment.first <= sequence <= segment.last for segment in rest) or sequence > segments[-1].last
    # Snapshots in between take no more room than the log of the window.
    between = sum(info.bytes for info in found.snapshots[:-1] if info.sequence != found.base)
    assert between <= sum(segment.size for segment in rest)
