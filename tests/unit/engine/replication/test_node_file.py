"""node.json: there and back, and no bit of it may change."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.sim.disk.simdisk import Fault, SimDisk
from vaylix_resp.engine.replication import node_file
from vaylix_resp.engine.replication.node_file import Joining, NodeFile, decode, encode
from vaylix_resp.peers.founding import Kept
from vaylix_resp.peers.messages import Founder, Stage
from vaylix_resp.peers.roster import Life
from vaylix_resp.storage.errors import Corrupt, IoFailed, Unreadable

TABLE = (Founder("node-1", 5, 6), Founder("node-2", 2**63, 9))
FILES = {
    "new": NodeFile(5, 6),
    "started": NodeFile(5, 6).started(2**63).started(8),
    "promised": NodeFile(5, 6, 1, Kept(Stage.PROMISED, TABLE)),
    "founded": NodeFile(5, 6, 7, Kept(Stage.FOUNDED, TABLE), ((2**63, Life(9, 4, 77)),)),
    "joining": NodeFile(5, 6, 1, joining=Joining(b"c" * 16, replaces=("ab" * 16, "cd" * 16))),
    "joined": NodeFile(5, 6, 2, lives=((7, Life(9, 4)),)).joins(Joining(b"c" * 16, asks=False)),
}


@pytest.mark.parametrize("name", FILES)
def test_there_and_back(name: str) -> None:
    file = FILES[name]
    assert decode(encode(file), "node.json") == file
    disk = SimDisk()
    disk.mkdir("data")
    assert node_file.read(disk, "data") is None
    node_file.write(disk, "data", NodeFile(1, 2))
    node_file.write(disk, "data", file)
    assert node_file.read(disk, "data") == file


@pytest.mark.parametrize("name", FILES)
def test_no_byte_may_be_another(name: str) -> None:
    raw = encode(FILES[name])
    for at in range(len(raw)):
        with pytest.raises(Corrupt, match="node file"):
            decode(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :], "node.json")
        with pytest.raises(Corrupt):
            decode(raw[:at], "node.json")


def test_the_latest_life_of_a_node_counts() -> None:
    file = NodeFile(5, 6).with_life(7, Life(1, 1)).with_life(8, Life(2, 2)).with_life(7, Life(1, 2, boot=99))
    assert dict(file.lives) == {8: Life(2, 2), 7: Life(1, 2, boot=99)}
    assert dict(decode(encode(file), "").lives)[7] == Life(1, 2, boot=99)


def test_a_node_remembers_its_last_processes() -> None:
    file = NodeFile(5, 6)
    for boot in range(1, 101):
        file = file.started(boot)
    assert file.starts == 100 and file.boots == tuple(range(100, 35, -1)), "this one and 64 before it"


def test_a_file_of_an_earlier_version() -> None:
    """It did not keep which processes there were."""
    body = json.loads(encode(FILES["founded"]))
    del body["checksum"], body["boots"], body["seen"]
    found = decode(node_file._render({"checksum": node_file._checksum(body), **body}), "node.json")
    assert found == replace(FILES["founded"], lives=((2**63, Life(9, 4, 0)),))


@pytest.mark.parametrize(
    ("found", "node", "refused"),
    [
        (None, None, ""),
        (None, 5, "put node.json back"),
        (FILES["new"], None, ""),
        (FILES["new"], 5, ""),
        (FILES["new"], 6, "put node.json back"),
        (FILES["promised"], None, ""),
        (FILES["founded"], 5, ""),
        (FILES["founded"], 6, "put node.json back"),
        (FILES["founded"], None, "empty the directory and let it join as a new one"),
        (NodeFile(5, 6, 7, Kept(Stage.FOUNDED, TABLE)), None, ""),
    ],
)
def test_file_and_data_are_of_one_node(found: NodeFile | None, node: int | None, refused: str) -> None:
    if not refused:
        node_file.refuse_others(found, node, "data")
        return
    with pytest.raises(Corrupt, match=refused):
        node_file.refuse_others(found, node, "data")


def test_new_ones_are_never_zero() -> None:
    assert NodeFile.new(lambda bits: 0) == NodeFile(1, 1)


def test_a_disk_that_refuses() -> None:
    disk = SimDisk()
    disk.mkdir("data")
    node_file.write(disk, "data", NodeFile(1, 2))
    disk.faults[disk.calls + 1] = Fault("eio")
    with pytest.raises(IoFailed):
        node_file.write(disk, "data", NodeFile(3, 4))
    assert node_file.read(disk, "data") == NodeFile(1, 2)


def test_a_file_that_cannot_be_read() -> None:
    class Broken(SimDisk):
        def read_file(self, path: str) -> bytes:
            raise OSError(5, "broken")

    disk = Broken()
    disk.mkdir("data")
    node_file.write(disk, "data", NodeFile(1, 2))
    with pytest.raises(Unreadable):
        node_file.read(disk, "data")
