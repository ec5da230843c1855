"""A cluster is founded once, or not at all."""

from random import Random

import pytest

from vaylix_resp.config_cluster import PeerAddress
from vaylix_resp.peers.founding import Founding, Kept, cluster_of, list_digest
from vaylix_resp.peers.messages import Found, Founder, Stage

PEERS = tuple(PeerAddress(f"node-{n}", "h", 7000 + n) for n in (1, 2, 3))
NAMES = [one.name for one in PEERS]
DIGEST = list_digest(PEERS)


class Node:
    """One process; its directory is `kept` and `me`, which outlive it."""

    def __init__(self, name, node, peers=PEERS):
        self.me, self.kept, self.peers = Founder(name, node, node + 1000), Kept(), peers
        self.start()

    def start(self):
        self.founding = Founding(self.me, self.peers, self.kept, self._persist)

    def _persist(self, kept):
        assert self.kept.table in ((), kept.table), "a node promises once"
        assert kept.stage > self.kept.stage
        self.kept = kept

    def hear(self, other):
        return self.founding.hear(other.me, other.founding.word())


def three():
    return [Node(name, number + 1) for number, name in enumerate(NAMES)]


def gossip(nodes, rounds=4):
    for _ in range(rounds):
        for one in nodes:
            for other in nodes:
                if one is not other:
                    one.hear(other)


def table(*nodes):
    return tuple(sorted((one.me for one in nodes), key=lambda row: row.name))


def test_nodes_that_hear_of_each_other_are_one_group():
    nodes = three()
    assert nodes[0].founding.missing == ["node-2", "node-3"]
    gossip(nodes)
    assert all(one.founding.founded and one.founding.missing == [] for one in nodes)
    assert {one.founding.cluster for one in nodes} == {cluster_of(DIGEST, table(*nodes))}
    assert nodes[0].founding.membership.voters == {1, 2, 3}
    assert [(one.node, one.name, one.port) for one in nodes[2].founding.members] == [
        (1, "node-1", 7001), (2, "node-2", 7002), (3, "node-3", 7003),
    ]  # fmt: skip


def test_one_node_is_a_group_at_once():
    one = Node("node-1", 5, PEERS[:1])
    assert one.founding.founded and one.kept == Kept(Stage.FOUNDED, (one.me,))


def test_two_of_three_wait_for_the_third():
    one, two, _ = three()
    gossip([one, two])
    assert (one.kept.stage, one.founding.missing) == (Stage.GATHERING, ["node-3"])


def test_a_promise_is_not_a_founding_before_everybody_has_given_it():
    one, two, three_ = three()
    for other in (two, three_):
        one.founding.hear(other.me, Found(DIGEST, Stage.GATHERING, ()))
    assert (one.kept, one.founding.missing) == (Kept(Stage.PROMISED, table(one, two, three_)), ["node-2", "node-3"])
    two.hear(one)  # takes over the promise without having met node-3
    assert (two.kept.stage, two.founding.missing) == (Stage.PROMISED, ["node-3"])
    one.hear(two)
    assert not one.founding.founded
    three_.hear(one)
    one.hear(three_)
    assert one.founding.founded and not two.founding.founded
    assert two.hear(one) and two.founding.founded, "whoever has founded it speaks for all"


def test_a_restart_goes_on_where_it_was():
    nodes = three()
    gossip(nodes[:2])
    nodes[0].hear(nodes[2])
    assert nodes[0].kept.stage is Stage.PROMISED
    nodes[0].start()
    gossip(nodes)
    for one in nodes:
        one.start()
        assert one.founding.founded


def test_a_node_with_a_new_disk_is_not_the_one_that_it_was():
    nodes = three()
    gossip(nodes)
    new = Node("node-3", 33)
    for one in nodes[:2]:
        new.hear(one)
        assert not one.hear(new)
    assert "CLUSTER JOIN" in new.founding.faults["node-1"] and not new.founding.founded
    assert new.kept.table == ()


@pytest.mark.parametrize("wiped", [0, 1, 2])
def test_a_disk_that_is_lost_in_the_middle_stops_the_founding_and_says_so(wiped):
    nodes = three()
    promised = nodes[(wiped + 1) % 3]
    for other in nodes:
        if other is not promised:
            promised.hear(other)
    assert promised.kept.stage is Stage.PROMISED
    nodes[wiped] = Node(NAMES[wiped], 99)
    gossip(nodes)
    assert not any(one.founding.founded for one in nodes)
    assert "remove their data directories" in promised.founding.faults[NAMES[wiped]]


def test_a_disk_that_is_lost_before_any_promise_does_not_matter():
    nodes = three()
    gossip(nodes[:2])
    nodes[1] = Node("node-2", 22)
    gossip(nodes)
    assert {one.founding.cluster for one in nodes} == {cluster_of(DIGEST, table(*nodes))}


ME, PEER, THIRD = Founder("node-1", 1, 1001), Founder("node-2", 2, 1002), Founder("node-3", 3, 1003)
OTHER = Founder("node-3", 4, 1004)


@pytest.mark.parametrize(
    "peer, word, fault",
    [
        (PEER, Found(b"x" * 32, Stage.GATHERING, ()), "another list"),
        (Founder("node-9", 9, 9), Found(DIGEST, Stage.GATHERING, ()), "not in cluster-peers"),
        (PEER, Found(DIGEST, Stage.PROMISED, (ME, PEER)), "does not fit"),
        (PEER, Found(DIGEST, Stage.PROMISED, (ME, Founder("node-2", 7, 7), THIRD)), "does not fit"),
        (PEER, Found(DIGEST, Stage.FOUNDED, (Founder("node-1", 7, 7), PEER, THIRD)), "CLUSTER JOIN"),
        (
            PEER,
            Found(DIGEST, Stage.PROMISED, (Founder("node-1", 7, 7), PEER, THIRD)),
            "another data directory of node-1",
        ),
    ],
)
def test_a_word_with_a_fault_does_not_count_until_it_is_mended(peer, word, fault):
    one = Node("node-1", 1)
    assert not one.founding.hear(peer, word)
    assert fault in one.founding.faults[peer.name]
    assert (one.kept, one.founding.missing) == (Kept(), ["node-2", "node-3"])
    one.founding.hear(PEER, Found(DIGEST, Stage.GATHERING, ()))
    assert "node-2" not in one.founding.faults and one.founding.missing == ["node-3"]


def test_another_promise_than_ours_is_a_fault():
    one = Node("node-1", 1)
    one.founding.hear(PEER, Found(DIGEST, Stage.PROMISED, (ME, PEER, THIRD)))
    assert one.kept.stage is Stage.PROMISED
    assert not one.founding.hear(PEER, Found(DIGEST, Stage.FOUNDED, (ME, PEER, OTHER)))
    assert "another founding" in one.founding.faults["node-2"] and not one.founding.founded
    assert not one.founding.hear(OTHER, Found(DIGEST, Stage.GATHERING, ()))
    assert "lost its data directory" in one.founding.faults["node-3"]


def test_a_table_with_a_row_that_we_know_otherwise_is_not_taken_over():
    one = Node("node-1", 1)
    one.founding.hear(OTHER, Found(DIGEST, Stage.GATHERING, ()))
    one.founding.hear(PEER, Found(DIGEST, Stage.PROMISED, (ME, PEER, THIRD)))
    assert THIRD not in one.kept.table and not one.founding.founded


def test_lists_that_mean_the_same_are_the_same():
    assert list_digest(reversed(PEERS)) == DIGEST
    assert list_digest([PeerAddress(one.name, one.host.upper(), one.port) for one in PEERS]) == DIGEST
    assert list_digest(PEERS[:2]) != DIGEST
    assert list_digest([*PEERS[:2], PeerAddress("node-3", "h", 7004)]) != DIGEST


@pytest.mark.parametrize("seed", range(300))
def test_no_two_groups_share_a_node_whatever_happens(seed):
    """Words come late, twice and out of order; nodes restart and lose their disks at any moment."""
    rng = Random(seed)
    nodes, underway, groups, number = three(), [], {}, 10
    for _ in range(rng.randrange(20, 120)):
        event = rng.random()
        at = rng.randrange(3)
        if event < 0.04:
            number += 1
            nodes[at] = Node(NAMES[at], number)
        elif event < 0.12:
            nodes[at].start()
        elif event < 0.5 or not underway:
            to = rng.choice([other for other in range(3) if other != at])
            underway.append((to, nodes[to].me, nodes[at].me, nodes[at].founding.word()))
        else:
            to, meant, frm, word = underway.pop(rng.randrange(len(underway)))
            if rng.random() < 0.2:
                underway.append((to, meant, frm, word))
            # A connection ends with the process that it led to, so a word never reaches another disk than it was for.
            if nodes[to].me == meant:
                nodes[to].founding.hear(frm, word)
        for one in nodes:
            if one.founding.founded:
                groups.setdefault(one.founding.cluster, set()).update(one.founding.kept.table)
    for one, rows in groups.items():
        assert all(rows.isdisjoint(others) for other, others in groups.items() if other != one)


def test_the_random_walk_above_does_found_groups():
    founded = 0
    for seed in range(30):
        rng, nodes = Random(seed), three()
        for _ in range(200):
            one, other = rng.sample(nodes, 2)
            one.hear(other)
        founded += all(one.founding.founded for one in nodes)
    assert founded == 30
