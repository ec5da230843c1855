"""From an empty directory, and from one that stood alone, to a member; whatever call a crash interrupts."""

from __future__ import annotations

from random import Random

import pytest

from tests.sim.disk.keys import MemoryKeys
from tests.sim.disk.simdisk import Fault, PowerCut, SimDisk
from tests.unit.engine.lab import Lab
from vaylix_resp.engine import boot
from vaylix_resp.engine.replication.formation import begin, forget_others, known_name, move, new_core
from vaylix_resp.peers.messages import Founder
from vaylix_resp.raft.ready import Config
from vaylix_resp.raft.types import HardState, Role
from vaylix_resp.state.digest import digest_hex
from vaylix_resp.state.machine import StateMachine
from vaylix_resp.state.nodes import NodeInfo, Nodes
from vaylix_resp.storage.hard_state import Identity
from vaylix_resp.storage.manifest import write_manifest
from vaylix_resp.storage.recovery import Recovered
from vaylix_resp.storage.store import Store

CLUSTER = b"c" * 16
TRIO = [NodeInfo(node, f"n{node}", "h", 7000 + node, voter=True) for node in (1, 2, 3)]


def opened(disk: SimDisk, keys: MemoryKeys | None = None) -> tuple[Store, StateMachine, Recovered]:
    store = Store.open(disk, "data", new_store_id=bytes(range(16)), now_ms=1, open_keys=lambda _: keys or MemoryKeys())
    machine = boot.new_machine(4)
    recovered, _ = boot.recover_log(store, machine)
    return store, machine, recovered


def formed(disk: SimDisk, members: list[NodeInfo] = TRIO) -> tuple[Store, StateMachine, Recovered]:
    store, machine, recovered = opened(disk)
    return store, machine, begin(store, machine, recovered, Identity(CLUSTER, 1, 0), members)


@pytest.mark.parametrize(("node", "members", "founders", "name"), [
    (2, TRIO, (), "n2"), (2, [], (Founder("a", 1, 7), Founder("b", 2, 8)), "b"), (9, TRIO, (Founder("a", 1, 7),), ""),
    (1, TRIO, (Founder("a", 1, 7),), "n1"), (1, [], (), ""),
])  # fmt: skip
def test_the_name_of_a_node_is_known(node: int, members: list[NodeInfo], founders: tuple[Founder], name: str) -> None:
    nodes = Nodes()
    nodes.replace(CLUSTER, members, ())
    assert known_name(node, nodes, founders) == name


def test_founders_begin_with_the_same_batch() -> None:
    digests = set()
    for _ in TRIO:
        store, machine, recovered = formed(SimDisk())
        assert machine.applied == 1 and machine.world.nodes.members == tuple(TRIO)
        assert recovered.tail == () and store.wal.last == 1 and store.wal.term == 1 and store.wal.timestamp_ms == 0
        core = new_core(store, machine, recovered, Config(1), Random(1))
        assert core.term == 1 and core.membership.voters == {1, 2, 3} and core.status.role is Role.FOLLOWER
        digests.add(digest_hex(machine))
    assert len(digests) == 1


def test_a_second_start_changes_nothing() -> None:
    disk = SimDisk()
    store, machine, _ = formed(disk)
    digest, last = digest_hex(machine), store.wal.last
    store.abandon()
    store, machine, recovered = formed(disk.kill(), members=TRIO[:1])
    assert (digest_hex(machine), store.wal.last) == (digest, last) and recovered.hard_state is not None


@pytest.mark.parametrize("alone", [False, True])
def test_a_crash_at_any_call(alone: bool) -> None:
    """Everything that was there before is there afterwards, and the members once."""
    members = TRIO[:1] if alone else TRIO
    for call in range(1, 200):
        disk = SimDisk()
        before = 0
        if alone:
            lab = Lab(disk, keys=MemoryKeys(), root="data")
            lab.write("SET k v", "SET j w")
            before = lab.node.applied
            lab.store.abandon()
            disk = disk.kill()
        store, machine, recovered = opened(disk)
        disk.faults[disk.calls + call] = Fault("crash")
        try:
            begin(store, machine, recovered, Identity(CLUSTER, 1, 0), members)
        except PowerCut:
            disk = disk.crash(Random(call))
            store, machine, _ = formed(disk, members)
            assert machine.world.nodes.members == tuple(members)
            assert machine.applied == store.wal.last == before + 1
            if alone:
                assert machine.world.views[0].string(b"k") == b"v" and machine.world.views[0].string(b"j") == b"w"
        else:
            assert call > 3, "there is something to interrupt"
            return
    pytest.fail("it never came to its end")


def test_a_founding_that_was_interrupted_keeps_its_name() -> None:
    disk = SimDisk()
    store, machine, recovered = opened(disk)
    store.join(Identity(CLUSTER, 1, 0))  # and then the process died
    store.abandon()
    store, machine, recovered = opened(disk.kill())
    forget_others(store, machine)
    begin(store, machine, recovered, Identity(b"d" * 16, 1, 0), TRIO[:1])
    assert machine.world.nodes.cluster_id == CLUSTER and store.manifest.cluster_id == CLUSTER.hex()


def test_a_member_stays_one() -> None:
    store, machine, _ = formed(SimDisk())
    forget_others(store, machine)
    assert machine.world.nodes.members == tuple(TRIO)


def test_what_was_copied_from_a_member_is_founded_anew() -> None:
    """Its manifest is nobody's; its snapshot and log still have the members of the cluster that it came from."""
    disk = SimDisk()
    store, _, _ = formed(disk)
    write_manifest(disk, "data", store.manifest.on_its_own())
    store.abandon()
    disk = disk.kill()
    store, machine, recovered = opened(disk)
    assert machine.world.nodes.members == tuple(TRIO), "as the log says"
    forget_others(store, machine)
    assert machine.world.nodes.members == () and machine.world.nodes.cluster_id == b""
    me, own = [NodeInfo(9, "copy", "h", 7009, voter=True)], Identity(b"e" * 16, 9, 1)
    begin(store, machine, recovered, own, me)
    assert machine.world.nodes.members == tuple(me) and store.manifest.identity == own
    assert store.wal.last == machine.applied == 2
    store.abandon()
    store, machine, _ = opened(disk.kill())
    forget_others(store, machine)
    assert machine.world.nodes.members == tuple(me), "from now on it is one"


def test_a_node_that_stood_alone_leads_at_once() -> None:
    lab = Lab(SimDisk(), keys=MemoryKeys(), root="data")
    lab.write("SET k v")
    term = lab.node.term
    lab.store.abandon()
    store, machine, recovered = formed(lab.sim.kill(), TRIO[:1])
    core = new_core(store, machine, recovered, Config(1), Random(1))
    assert core.status.role is Role.LEADER and core.term > term


# Another place.

THERE = ("10.0.0.1", 17000)


def alone(disk: SimDisk, keys: MemoryKeys) -> None:
    """A group of one with data, a vote of its own and a node that it has removed."""
    lab = Lab(disk, keys=keys, root="data")
    lab.write("SET k v")
    lab.store.abandon()
    store, machine, recovered = opened(disk, keys)
    begin(store, machine, recovered, Identity(CLUSTER, 1, 0), [NodeInfo(1, "n1", "127.0.0.1", 7001, voter=True)])
    machine.world.nodes.retired = frozenset({5})
    store.wal.save(HardState(3, 1, store.wal.last), [], store.wal.last)
    store.wal.sync()
    store.abandon()


def test_a_group_of_one_that_is_found_elsewhere_says_so() -> None:
    disk, keys = SimDisk(), MemoryKeys()
    alone(disk, keys)
    store, machine, recovered = opened(disk, keys)
    machine.world.nodes.retired = frozenset({5})
    before = store.wal.last
    found = move(store, machine, recovered, 1, *THERE)
    (info,) = machine.world.nodes.members
    assert (info.host, info.port, info.name, info.voter) == (*THERE, "n1", True)
    assert machine.world.nodes.retired == {5} and machine.world.nodes.cluster_id == CLUSTER
    assert store.wal.last == machine.applied == before + 1
    assert found.hard_state is not None and (found.hard_state.term, found.hard_state.vote) == (3, 1), "it has voted"
    assert move(store, machine, found, 1, *THERE) is found and store.wal.last == before + 1, "that is where it is"
    core = new_core(store, machine, found, Config(1), Random(1))
    assert core.membership.voters == {1} and core.term == 4, "it leads at once"
    store.abandon()
    _, machine, _ = opened(disk.kill(), keys)
    assert machine.world.nodes.members == (info,) and machine.world.nodes.retired == {5}


@pytest.mark.parametrize(("members", "host"), [
    (TRIO, "10.0.0.1"),  # the others would have to agree
    (TRIO[1:2], "10.0.0.1"),  # that is somebody else
    (TRIO[:1], ""),  # nobody knows where it is
    (TRIO[:1], "h"),
])  # fmt: skip
def test_nobody_else_moves(members: list[NodeInfo], host: str) -> None:
    store, machine, recovered = formed(SimDisk(), members)
    before = store.wal.last
    assert move(store, machine, recovered, 1, host, 7001) is recovered
    assert store.wal.last == before and machine.world.nodes.members == tuple(members)


def test_a_move_that_is_interrupted_is_made_at_the_next_start() -> None:
    """Whatever call it was: what there was before is there, and one place."""
    for call in range(1, 200):
        disk, keys = SimDisk(), MemoryKeys()
        alone(disk, keys)
        disk = disk.kill()
        store, machine, recovered = opened(disk, keys)
        disk.faults[disk.calls + call] = Fault("crash")
        try:
            move(store, machine, recovered, 1, *THERE)
        except PowerCut:
            store, machine, recovered = opened(disk.crash(Random(call)), keys)
            move(store, machine, recovered, 1, *THERE)
            (info,) = machine.world.nodes.members
            assert (info.host, info.port) == THERE and machine.world.views[0].string(b"k") == b"v"
        else:
            assert call > 2, "there is something to interrupt"
            return
    pytest.fail("it never came to its end")
