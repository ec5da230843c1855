"""What each kind of lagging member keeps of the log."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vaylix_resp.engine.replication.follower_log import FollowerLog
from vaylix_resp.peers.messages import Info
from vaylix_resp.raft.progress import Progress, State
from vaylix_resp.raft.ready import Config
from vaylix_resp.raft.types import EntryId, Membership, SnapshotMeta
from vaylix_resp.storage.active import Segment

ME, YOU, THEY = 1, 2, 3
SIZE = 100
SEGMENTS = [Segment(f"{first}", first, first + 9, SIZE) for first in (11, 21, 31, 41)]
MEMBERS = Membership(frozenset((ME, YOU)), frozenset((THEY,)))


def told(committed: int, persisted: int) -> Info:
    return Info("", "", 1, 0, 1, persisted, persisted, committed, committed, 0)


def progress(match: int, state: State = State.REPLICATE, snapshot: int = 0) -> Progress:
    made = Progress(Config(id=ME), 50, 0)
    made.match = match
    made.become(state, 1)
    if snapshot:
        made.snapshot = SnapshotMeta("", EntryId(snapshot, 1), MEMBERS)
    return made


def follower_log(peers: dict[int, Progress] | None, infos: dict[int, Info], bytes_max: int) -> FollowerLog:
    """`peers` None: this node does not lead."""
    leading = SimpleNamespace(replication=SimpleNamespace(peers=peers)) if peers is not None else None
    core = SimpleNamespace(membership=MEMBERS, leading=leading)
    wal = SimpleNamespace(segments=lambda: SEGMENTS)
    replica: Any = SimpleNamespace(id=ME, core=core, wal=wal)
    made = FollowerLog(replica, infos, lambda: bytes_max)
    made.look()
    return made


@pytest.mark.parametrize(
    ("peers", "infos", "bytes_max", "needed"),
    [
        (None, {}, 1000, None),
        (None, {YOU: told(25, 30)}, 1000, 26),
        (None, {YOU: told(30, 25)}, 1000, 26),
        (None, {YOU: told(25, 30), THEY: told(15, 15)}, 1000, 16),
        (None, {YOU: told(25, 30), THEY: told(15, 15)}, 3 * SIZE, 26),
        (None, {YOU: told(25, 30), THEY: told(5, 5)}, 1000, 26),
        (None, {YOU: told(25, 30)}, 3 * SIZE, 26),
        (None, {YOU: told(25, 30)}, 3 * SIZE - 1, None),
        (None, {YOU: told(10, 10)}, 1000, 11),
        (None, {YOU: told(9, 10)}, 1000, None),
        (None, {9: told(25, 30)}, 1000, None),
        (None, {ME: told(25, 30)}, 1000, None),
        ({YOU: progress(35), THEY: progress(45)}, {}, 1000, 36),
        ({YOU: progress(35)}, {YOU: told(25, 30)}, 1000, 36),
        ({YOU: progress(0, State.PROBE)}, {YOU: told(25, 30)}, 1000, 26),
        ({YOU: progress(0, State.PROBE)}, {}, 1000, None),
        ({YOU: progress(15, State.LOST)}, {YOU: told(25, 30)}, 1000, None),
        ({YOU: progress(5, State.SNAPSHOT)}, {}, 1000, None),
        ({YOU: progress(5, State.SNAPSHOT, 30)}, {}, 1000, 31),
        ({YOU: progress(50), THEY: progress(50)}, {}, 0, 51),
    ],
)
def test_what_is_kept(
    peers: dict[int, Progress] | None, infos: dict[int, Info], bytes_max: int, needed: int | None
) -> None:
    assert follower_log(peers, infos, bytes_max).needed_from() == needed


@pytest.mark.parametrize(
    ("peers", "needs"),
    [
        (None, False),
        ({}, False),
        ({YOU: progress(35)}, False),
        ({YOU: progress(35, State.SNAPSHOT)}, True),
        ({YOU: progress(35, State.PROBE), THEY: progress(5, State.SNAPSHOT)}, False),
    ],
)
def test_who_needs_a_snapshot(peers: dict[int, Progress] | None, needs: bool) -> None:
    assert follower_log(peers, {}, 1000).needs_snapshot(YOU) == needs


def test_what_is_known_is_looked_up_now_and_then() -> None:
    """It is asked on threads, where the core must not be looked at."""
    infos = {YOU: told(25, 30)}
    made = follower_log(None, infos, 1000)
    infos[YOU] = told(45, 45)
    assert made.needed_from() == 26
    made.look()
    assert made.needed_from() == 46
