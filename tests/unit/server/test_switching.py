"""A change of leader: who is sent elsewhere from then on, through real connections, and +switch-master."""

import pytest

from tests.unit.fake_cluster import FakeView
from tests.unit.server.front import Stage
from vaylix_resp.commands.cluster_view import Address

MOVED = "-MOVED 15495 10.0.0.1:6379"


def stage_of(me=2, **settings):
    stage = Stage(**settings)
    stage.shared.cluster = FakeView(me=me)
    return stage


def test_who_is_not_told_is_served_by_any_node():
    stage = stage_of(cluster_enabled="emulate")
    client = stage.connect()
    assert client.session.plain
    assert client.ask("SET a 1", "GET a", "MULTI", "INCR a", "EXEC") == ["+OK", "1", "+OK", "+QUEUED", "[:2]"]
    stage.close()


def test_a_cluster_client_is_sent_to_the_leader_until_this_node_leads():
    stage = stage_of(cluster_enabled="emulate")
    client = stage.connect("CLUSTER SLOTS")
    assert client.ask("SET a 1", "GET a", "PING") == [MOVED, MOVED, "+PONG"]
    stage.shared.cluster.lead(2)
    assert client.session.plain, "nothing is slower on the leader"
    assert client.ask("SET a 1", "GET a") == ["+OK", "1"]
    stage.shared.cluster.lead(1)
    assert client.ask("SET a 2") == [MOVED]
    stage.close()


def test_who_takes_old_data_reads_in_rows_and_writes_elsewhere():
    stage = stage_of(cluster_enabled="emulate")
    client = stage.connect("READONLY")
    assert client.session.plain
    assert client.ask("GET a", "GET a", "SET a 1", "SET a 2", "GET a") == ["_", "_", MOVED, MOVED, "_"]
    assert client.ask("READWRITE", "GET a") == ["+OK", MOVED]
    stage.close()


def test_a_block_is_sent_as_a_whole():
    stage = stage_of(cluster_enabled="emulate")
    client = stage.connect("CLUSTER NODES")
    assert client.ask("MULTI", "SET a 1", "EXEC") == [
        "+OK",
        MOVED,
        "-EXECABORT Transaction discarded because of previous errors.",
    ]
    stage.shared.cluster.lead(2)
    assert client.ask("WATCH a", "MULTI", "SET a 1") == ["+OK", "+OK", "+QUEUED"]
    stage.shared.cluster.lead(1)
    assert client.ask("EXEC") == [MOVED], "as it is: cluster clients act on it"
    assert client.ask("PING") == ["+PONG"] and client.session.multi is None and not client.session.watched
    stage.close()


def test_redirect_for_who_has_said_so_and_a_change_of_the_setting():
    stage = stage_of()
    client = stage.connect("CLIENT CAPA redirect")
    assert client.ask("SET a 1") == ["+OK"]
    assert client.ask("CONFIG SET follower-writes redirect", "SET a 1", "GET a") == [
        "+OK", "-REDIRECT 10.0.0.1:6379", "-REDIRECT 10.0.0.1:6379",
    ]  # fmt: skip
    assert stage.connect().ask("SET a 1") == ["+OK"], "who does not understand it is served"
    assert client.ask("RESET", "SET a 2") == ["+RESET", "+OK"], "a new connection's state"
    stage.close()


def test_a_leader_that_nobody_knows():
    stage = stage_of(cluster_enabled="emulate")
    client = stage.connect("CLUSTER SLOTS")
    stage.shared.cluster.lead(None)
    (refused,) = client.ask("SET a 1")
    assert refused.startswith("-CLUSTERDOWN ")
    stage.close()


def test_a_leader_that_lost_its_majority_sends_cluster_clients_away_and_serves_them_again():
    """They ask another node then; who knows nothing of clusters waits for this one."""
    stage = stage_of(me=1, cluster_enabled="emulate")
    client, plain = stage.connect("CLUSTER SLOTS"), stage.connect()
    assert client.ask("SET a 1") == ["+OK"]
    stage.shared.cluster.lead(None)
    (refused,) = client.ask("SET a 1")
    assert refused.startswith("-CLUSTERDOWN ")
    assert plain.ask("SET a 2") == ["+OK"], "the log decides"
    stage.shared.cluster.lead(1)
    assert client.ask("SET a 1") == ["+OK"]
    stage.close()


# +switch-master.


def switched(client):
    return [line.split(" ", 2)[2].rstrip("]") for line in client.heard() if "message +switch-master" in line]


@pytest.mark.parametrize("me", [1, 2])
def test_subscribers_hear_of_each_leader_once(me):
    stage = stage_of(me)
    client = stage.connect("SUBSCRIBE +switch-master")
    view = stage.shared.cluster
    assert switched(client) == [], "the leader that there is is no change"
    view.lead(3)
    view.lead(3)
    view.lead(None)
    view.lead(3)
    view.lead(2)
    assert switched(client) == [
        "mymaster 10.0.0.1 6379 10.0.0.3 6379",
        "mymaster 10.0.0.3 6379 10.0.0.2 6379",
    ]
    stage.close()


def test_a_leader_is_announced_when_its_address_is_known():
    stage = stage_of(sentinel_master_name="orders")
    client = stage.connect("PSUBSCRIBE *")
    view = stage.shared.cluster
    view.change(3, client=None)
    view.lead(3)
    assert [line for line in client.heard() if "pmessage" in line] == []
    view.change(3, client=Address("c", 7))
    view.lead(3)
    assert client.heard() == ["[pmessage * +switch-master orders 10.0.0.1 6379 c 7]"]
    stage.close()


def test_a_node_that_starts_without_a_leader_announces_the_second_one():
    stage = Stage()
    view = FakeView(me=2, leader=None)
    stage.shared.cluster = view
    client = stage.connect("SUBSCRIBE +switch-master")
    view.lead(1)
    assert switched(client) == [], "there was none before that it could have taken over from"
    view.lead(3)
    assert switched(client) == ["mymaster 10.0.0.1 6379 10.0.0.3 6379"]
    stage.close()
