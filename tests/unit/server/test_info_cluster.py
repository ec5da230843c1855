"""INFO replication, raft, cluster and sentinel: in Redis's and RedisRaft's fields, and true."""

import pytest

from tests.unit.fake_admin import FakeAdmin
from tests.unit.fake_cluster import IDS, FakeView
from vaylix_resp.server.info import render
from vaylix_resp.state.versions import CURRENT

# redis-server 7.0.15 as a replica.
OF_A_REPLICA = """
role master_host master_port master_link_status master_last_io_seconds_ago master_sync_in_progress
slave_read_repl_offset slave_repl_offset slave_priority slave_read_only replica_announced connected_slaves
master_failover_state master_replid master_replid2 master_repl_offset second_repl_offset repl_backlog_active
repl_backlog_size repl_backlog_first_byte_offset repl_backlog_histlen
""".split()


def fields(view, section, **settings):
    server = FakeAdmin(**settings)
    server.cluster = view
    return dict(line.split(":", 1) for line in render(server, [section]).splitlines()[1:])


def lost(me=2):
    view = FakeView(me)
    view.lead(None)
    return view


def test_the_leader_is_a_master_with_slaves():
    view = FakeView()
    view.change(3, state="snapshot")
    found = fields(view, "replication")
    assert (found["role"], found["connected_slaves"], found["master_replid"]) == ("master", "2", "0" * 8 + "c" * 32)
    assert found["slave0"] == "ip=10.0.0.2,port=6379,state=online,offset=90,lag=0"
    assert found["slave1"] == "ip=10.0.0.3,port=6379,state=send_bulk,offset=80,lag=0"


@pytest.mark.parametrize("facts", [{"state": "unreachable"}, {"state": "lost"}, {"last_contact_s": 60.0}, {"client": None}], ids=str)
def test_a_slave_that_nobody_reaches_is_not_connected(facts):
    view = FakeView()
    view.change(2, **facts)
    found = fields(view, "replication")
    assert found["connected_slaves"] == "1" and found["slave0"].startswith("ip=10.0.0.3,")


def test_a_follower_is_a_slave_of_the_leader():
    found = fields(FakeView(me=2), "replication")
    assert list(found) == OF_A_REPLICA
    assert (found["role"], found["master_host"], found["master_port"]) == ("slave", "10.0.0.1", "6379")
    assert (found["master_link_status"], found["master_sync_in_progress"]) == ("up", "0")
    assert (found["slave_repl_offset"], found["slave_read_repl_offset"], found["slave_priority"]) == (
        "90",
        "100",
        "100",
    )


@pytest.mark.parametrize("me", [1, 2])
def test_without_a_majority_there_is_no_master(me):
    found = fields(lost(me), "replication")
    assert (found["role"], found["master_host"], found["master_link_status"]) == ("slave", "", "down")
    assert found["master_link_down_since_seconds"] == "0"


def test_a_hand_over_shows():
    view = FakeView()
    assert fields(view, "replication")["master_failover_state"] == "no-failover"
    view.transferring = True
    assert fields(view, "replication")["master_failover_state"] == "failover-in-progress"


def test_a_server_alone():
    found = fields(None, "replication")
    assert (found["role"], found["connected_slaves"], found["master_repl_offset"]) == ("master", "0", "7")
    assert fields(None, "raft")["raft_num_nodes"] == "1"


def test_raft():
    view = FakeView(me=2)
    view.voted_for = IDS[1]
    view.change(3, voter=False, state="unreachable", match=None, lag=None, last_contact_s=None, understands=None)
    found = fields(view, "raft")
    assert found | {
        "raft_node_id": str(IDS[2]), "raft_node_name": "node-2", "raft_cluster_id": "c" * 32, "raft_state": "up",
        "raft_role": "follower", "raft_is_voting": "yes", "raft_voted_for": str(IDS[1]),
        "raft_leader_id": str(IDS[1]), "raft_quorum_fresh": "yes", "raft_staleness_ms": "100", "raft_current_term": "7",
        "raft_num_nodes": "3", "raft_num_voting_nodes": "2", "raft_commit_index": "7",
        "raft_cluster_version": "1", "raft_cluster_version_understood": str(CURRENT),
    } == found  # fmt: skip
    assert found["raft_node2"] == (
        f"id={IDS[2]},state=connected,voting=yes,addr=10.0.0.2,port=6379,last_conn_secs=0,name=node-2,"
        f"raft=10.0.0.2:16379,feed=replicate,match=90,lag=10,understands={CURRENT}"
    )
    assert found["raft_node3"].startswith(f"id={IDS[3]},state=disconnected,voting=no,")
    assert found["raft_node3"].endswith(
        "last_conn_secs=-1,name=node-3,raft=10.0.0.3:16379,feed=unreachable,match=-1,lag=-1,understands=-1"
    )


def test_raft_without_a_majority_and_of_a_node_that_was_removed():
    view = lost()
    view.staleness_s = None
    found = fields(view, "raft")
    assert (found["raft_leader_id"], found["raft_quorum_fresh"], found["raft_staleness_ms"]) == ("-1", "no", "-1")
    view.members = view.members[:1]
    assert (fields(view, "raft")["raft_state"], fields(view, "raft")["raft_is_voting"]) == ("joining", "no")
    view.removed = True
    assert fields(view, "raft")["raft_state"] == "removed"


@pytest.mark.parametrize("mode, enabled, redis_mode", [("no", "0", "standalone"), ("emulate", "1", "cluster")])
def test_whether_it_is_a_cluster_for_clients(mode, enabled, redis_mode):
    assert fields(FakeView(), "cluster", cluster_enabled=mode) == {"cluster_enabled": enabled}
    assert fields(FakeView(), "server", cluster_enabled=mode)["redis_mode"] == redis_mode


@pytest.mark.parametrize(
    "view, line",
    [
        (FakeView(me=2), "name=mymaster,status=ok,address=10.0.0.1:6379,slaves=2,sentinels=3"),
        (lost(), "name=mymaster,status=odown,address=:0,slaves=2,sentinels=3"),
        (None, "name=mymaster,status=ok,address=127.0.0.1:6379,slaves=0,sentinels=1"),
    ],
)
def test_sentinel(view, line):
    assert fields(view, "sentinel")["master0"] == line


@pytest.mark.parametrize("section", ["all", "everything", "default"])
def test_the_sentinel_section_is_shown_to_who_asks_for_it_only(section):
    assert "# Sentinel" not in render(FakeAdmin(), [section])
