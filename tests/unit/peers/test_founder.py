"""A cluster is founded over real sockets, and its nodes then talk."""

import asyncio

import pytest

from tests.unit.peers.world import Node, Said, nodes, on_both_loops
from tests.unit.peers.worlds import identity, stranger
from vaylix_resp.config_cluster import PeerAddress
from vaylix_resp.peers.founder import Foundry
from vaylix_resp.peers.founding import Founding, Kept
from vaylix_resp.peers.messages import Founder, Stage


class Site:
    """A node that founds."""

    def __init__(self, number, **me):
        self.node = Node(number, me=stranger(number, **me))
        self.kept = []

    def begin(self, peers):
        me = self.node.me
        self.founding = Founding(Founder(me.name, me.node, me.store), peers, Kept(), self.kept.append)
        self.foundry = Foundry(self.founding, peers, self.node.peers.visit)
        self.node.answer = None
        self.node.on_guest = self.foundry.on_guest
        self.task = asyncio.ensure_future(self.foundry.run())

    def join(self):
        self.node.roster.me = identity(self.node.me.node, cluster=self.founding.cluster)
        self.node.peers.set_members(self.founding.members)


def addresses(sites):
    return tuple(PeerAddress(one.node.me.name, "localhost", one.node.port) for one in sites)


@on_both_loops
async def test_three_nodes_found_a_cluster_and_a_late_wiped_one_is_told_so():
    patch = pytest.MonkeyPatch()
    said = Said(patch)
    sites = [Site(number) for number in (1, 2, 3)]
    new = Site(33, name="node-3")
    try:
        async with nodes(*(one.node for one in sites), new.node, meet=False):
            peers = addresses(sites)
            for one in sites[:2]:
                one.begin(peers)
            await new.node.until(lambda: len(said.about("waits for its nodes", "stage=gathering", "nodes=node-3")) == 2)
            sites[2].begin(peers)
            await asyncio.gather(*(one.task for one in sites))
            assert len({one.founding.cluster for one in sites}) == 1
            assert all([kept.stage for kept in one.kept] == [Stage.PROMISED, Stage.FOUNDED] for one in sites)
            for one in sites:
                one.join()
            for one in sites:
                await one.node.until(lambda one=one: len(set(one.node.connected)) == 2)
            new.begin(peers)
            await new.node.until(lambda: said.about("the cluster exists and knows node-3", "CLUSTER JOIN"))
            assert not new.founding.founded and new.kept == []
            new.task.cancel()
            for one in (*sites, new):
                one.foundry.close()
    finally:
        patch.undo()


@on_both_loops
async def test_lists_that_differ_found_nothing_and_say_so():
    patch = pytest.MonkeyPatch()
    said = Said(patch)
    sites = [Site(number) for number in (1, 2)]
    try:
        async with nodes(*(one.node for one in sites), meet=False):
            peers = addresses(sites)
            sites[0].begin(peers)
            sites[1].begin((*peers, PeerAddress("node-3", "localhost", 1)))
            for name in ("node-1", "node-2"):
                await sites[0].node.until(lambda name=name: said.about(name, "another list in cluster-peers"))
            assert sites[0].kept == sites[1].kept == []
            for one in sites:
                one.task.cancel()
                one.foundry.close()
    finally:
        patch.undo()
