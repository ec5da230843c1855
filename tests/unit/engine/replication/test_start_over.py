"""The log of an empty group of one is put aside, once and whole, whatever call a crash interrupts."""

from __future__ import annotations

from random import Random

import pytest

from tests.sim.disk.keys import MemoryKeys
from tests.sim.disk.simdisk import Fault, PowerCut, SimDisk
from tests.unit.engine.replication.test_formation import CLUSTER, TRIO
from vaylix_resp.engine import boot
from vaylix_resp.engine.replication import node_file
from vaylix_resp.engine.replication.formation import begin
from vaylix_resp.engine.replication.node_file import Joining, NodeFile
from vaylix_resp.engine.replication.start_over import ASIDE, start_over
from vaylix_resp.storage.errors import Corrupt
from vaylix_resp.storage.hard_state import Identity
from vaylix_resp.storage.manifest import read_manifest
from vaylix_resp.storage.store import Store

OTHER = b"o" * 16
STORE = bytes(range(16))
GIVEN_UP = (CLUSTER.hex(), STORE.hex())


def opened(disk: SimDisk, store_id: bytes = STORE) -> Store:
    return Store.open(disk, "data", new_store_id=store_id, now_ms=1, open_keys=lambda _: MemoryKeys())


def alone(disk: SimDisk, file: NodeFile | None) -> SimDisk:
    """A group of one that has stopped, and what its node.json says."""
    store = opened(disk)
    machine = boot.new_machine(4)
    recovered, _ = boot.recover_log(store, machine)
    begin(store, machine, recovered, Identity(CLUSTER, 1, 0), TRIO[:1])
    store.clean_stop(1)
    if file is not None:
        node_file.write(disk, "data", file)
    return disk


def applied(disk: SimDisk) -> int:
    store, machine = opened(disk), boot.new_machine(4)
    boot.recover_log(store, machine)
    store.abandon()
    return machine.applied


LEAVING = NodeFile(1, 2, 1, joining=Joining(OTHER, replaces=GIVEN_UP))


@pytest.mark.parametrize(
    "file", [None, NodeFile(1, 2), NodeFile(1, 2, joining=Joining(CLUSTER))], ids=["none", "never", "done"]
)
def test_what_has_not_been_given_up_stays(file: NodeFile | None) -> None:
    disk = alone(SimDisk(), file)
    assert start_over(disk, "data") is None and applied(disk) == 1


def test_the_log_lies_aside_and_the_store_begins_anew() -> None:
    disk = alone(SimDisk(), LEAVING)
    assert start_over(disk, "data") == STORE
    store, machine = opened(disk), boot.new_machine(4)
    boot.recover_log(store, machine)
    assert machine.applied == 0 and store.manifest.identity is None and store.manifest.store_id_bytes == STORE
    kept = read_manifest(disk, f"data/{ASIDE}{CLUSTER.hex()}")
    assert kept is not None and kept.cluster_id == CLUSTER.hex()
    assert disk.listdir(f"data/{ASIDE}{CLUSTER.hex()}/wal"), "nothing has been deleted"
    store.join(Identity(OTHER, 1, 0))
    store.abandon()
    assert start_over(disk.kill(), "data") == STORE, "the rest of that start may have been interrupted"
    found = read_manifest(disk, "data")
    assert found is not None and found.cluster_id == OTHER.hex()


def test_a_crash_at_any_call() -> None:
    for call in range(1, 200):
        disk = alone(SimDisk(), LEAVING)
        disk.faults[disk.calls + call] = Fault("crash")
        try:
            start_over(disk, "data")
        except PowerCut:
            disk = disk.crash(Random(call)) if call % 2 else disk.kill()
            assert start_over(disk, "data") == STORE
            assert disk.listdir(f"data/{ASIDE}{CLUSTER.hex()}/wal") and not disk.exists("data/manifest.json")
            assert applied(disk) == 0
        else:
            assert call > 5, "there is something to interrupt"
            return
    pytest.fail("it never came to its end")


@pytest.mark.parametrize(
    "given_up, said",
    [((CLUSTER.hex(), "00" * 16), "the store"), (("77" * 16, STORE.hex()), "a log of the cluster")],
)
def test_a_log_of_something_else_is_not_touched(given_up: tuple[str, str], said: str) -> None:
    disk = alone(SimDisk(), NodeFile(1, 2, joining=Joining(OTHER, replaces=given_up)))
    with pytest.raises(Corrupt, match=said):
        start_over(disk, "data")
    assert applied(disk) == 1
