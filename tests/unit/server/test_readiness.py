"""Why a node is not ready: one reason at a time, and what is said of it."""

import pytest

from tests.unit.fake_admin import FakeAdmin
from tests.unit.fake_cluster import IDS, FakeView
from vaylix_resp.errors import CommandError
from vaylix_resp.server.readiness import CHECKS, checks_of


def nothing(server):
    """As it is."""


def log_failed(server):
    server.node.failure = "data/7.wal: fsync failed (Input/output error)"


def disk_full(server):
    server.node.full = True


def disk_silent(server):
    server.node.syncing_since = server.clock.now() - 7


def disk_busy(server):
    server.node.syncing_since = server.clock.now() - 4


def joining(server):
    server.cluster = FakeView(me=2)
    server.cluster.members = tuple(one for one in server.cluster.members if one.id != IDS[2])


def removed(server):
    joining(server)
    server.cluster.removed = True


def leaderless(server):
    server.cluster.lead(None)


def differs(server):
    server.cluster.stopped = CommandError("CLUSTERDOWN its data differ")


def never_fresh(server):
    server.cluster.staleness_s = None


def stale(server):
    server.cluster.staleness_s = 60.0


def a_little_stale(server):
    server.cluster.staleness_s = 9.0


def maintenance(server):
    server.apply("@maintenance", "on", "moving\r\nhouse")


@pytest.mark.parametrize(
    "make, check, words",
    [
        (nothing, None, ""),
        (a_little_stale, None, ""),
        (log_failed, "log", "fsync failed (Input/output error)"),
        (disk_full, "disk", "the disk is full"),
        (disk_silent, "sync", "under way for 7 s"),
        (disk_busy, None, ""),
        (joining, "membership", "still lacks what was written there"),
        (removed, "membership", "no member of its cluster any more"),
        (leaderless, "leader", "a majority of the nodes has not been heard"),
        (differs, "data", "its data differ"),
        (never_fresh, "caught-up", "not known yet"),
        (stale, "caught-up", "up to 60 s old"),
        (maintenance, "maintenance", "moving"),
    ],
)
def test_a_reason(make, check, words):
    server = FakeAdmin()
    server.cluster = FakeView()
    make(server)
    found = list(checks_of(server))
    assert [one.name for one in found] == list(CHECKS)
    assert [one.name for one in found if not one.ok] == ([check] if check else [])
    for one in found:
        assert one.ok == (not one.detail)
        assert one.name != check or (words in one.detail and "\n" not in one.detail)


@pytest.mark.parametrize("make, check", [(nothing, None), (log_failed, "log"), (disk_full, "disk")])
def test_a_server_alone(make, check):
    server = FakeAdmin()
    make(server)
    assert [one.name for one in checks_of(server) if not one.ok] == ([check] if check else [])
