"""A snapshot from node to node: cut anywhere, resumed anywhere, and not one wrong byte of it believed."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sim.disk.keys import MemoryKeys
from tests.sim.disk.member import OTHER_STORE, Sent, entry, facts_of, write_snapshot
from tests.sim.disk.simdisk import Fault, SimDisk
from tests.sim.disk.workload import ROOT, STORE_ID, fact
from vaylix_resp.storage.errors import Corrupt, IoFailed
from vaylix_resp.storage.snapshot import SnapshotReader, received_path, snapshot_name, temporary_path
from vaylix_resp.storage.transfer import Garbled, Received, SnapshotReceiver, send

FACTS = [fact(entry(first, 3, b"*%d" % first * (first % 17 + 1))) for first in range(1, 40)]
LAST = replace(entry(39, 3), tag=bytes(range(16)))
SENT = Sent.of(FACTS, 1 << 20)
((_, STREAM),) = SENT.pieces


def receiver(disk: SimDisk | None = None) -> SnapshotReceiver:
    disk = disk or SimDisk()
    disk.mkdir(f"{ROOT}/snapshots")
    return SnapshotReceiver(disk, ROOT, STORE_ID, MemoryKeys(), SENT.offer)


def test_what_arrives_is_the_snapshot_with_the_receivers_keys() -> None:
    disk = SimDisk()
    found = receiver(disk).write(0, STREAM)
    assert isinstance(found, Received) and found.path == received_path(ROOT, 39)
    info = found.info
    assert (info.sequence, info.term, info.timestamp_ms) == (39, 3, 3039)
    assert info.tag == SENT.offer.tag().hex() and info.file == snapshot_name(39)
    after = disk.crash(Random(1), "lose")
    reader = SnapshotReader(after, found.path, STORE_ID, MemoryKeys(), info)
    assert facts_of(reader) == FACTS and reader.header.key_id and found.summary == {"facts": 39}
    with pytest.raises(Corrupt):
        SnapshotReader(after, found.path, OTHER_STORE, MemoryKeys(), info)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_it_does_not_matter_where_the_pieces_are_cut(cuts: list[int]) -> None:
    one, found = receiver(), None
    places = sorted({0, *cuts, len(STREAM)})
    for at, end in zip(places, places[1:], strict=False):
        assert one.offset == at and found is None
        found = one.write(at, STREAM[at:end])
    assert found is not None and found.info.sequence == 39


@given(st.integers(0, len(STREAM)), st.integers(1, 3000))
def test_a_sender_goes_on_from_any_place(offset: int, size: int) -> None:
    disk, keys = SimDisk(), MemoryKeys(2)
    disk.mkdir("other/snapshots")
    info = write_snapshot(disk, "other", keys, OTHER_STORE, FACTS, LAST)
    with closing(SnapshotReader(disk, temporary_path("other", 39), OTHER_STORE, keys, info)) as reader:
        pieces = list(send(reader, offset, size))
        again = list(send(reader, 0, size))
    assert b"".join(data for _, data in pieces) == STREAM[offset:]
    assert [at for at, _ in pieces] == list(range(offset, len(STREAM), size))
    assert all(len(data) == size for _, data in pieces[:-1])
    assert b"".join(data for _, data in again) == STREAM


def test_pieces_that_come_twice_or_out_of_order_are_passed_over() -> None:
    one = receiver()
    assert one.write(50, STREAM[50:90]) is None and one.offset == 0, "something is missing before it"
    assert one.write(0, STREAM[:60]) is None
    assert one.write(0, STREAM[:60]) is None and one.offset == 60
    assert one.write(40, STREAM[40:80]) is None and one.offset == 80
    assert one.write(80, b"") is None
    assert one.write(80, STREAM[80:]) is not None


def test_no_wrong_byte_is_believed() -> None:
    rng = Random(3)
    for at in [*range(60), *rng.sample(range(len(STREAM)), 200), *range(len(STREAM) - 60, len(STREAM))]:
        disk = SimDisk()
        one = receiver(disk)
        wrong = STREAM[:at] + bytes([STREAM[at] ^ 1 << rng.randrange(8)]) + STREAM[at + 1 :]
        with pytest.raises(Garbled):
            one.write(0, wrong)
        one.abort()
        assert not [path for path in disk.files() if "received" in path]


@pytest.mark.parametrize(
    "stream",
    [STREAM + b"x", STREAM[: len(STREAM) // 2] + STREAM, b"\xff" * 100, bytes(100), b"GET / HTTP/1.1\r\n" * 10],
)
def test_what_is_no_stream_is_garbled(stream: bytes) -> None:
    with pytest.raises(Garbled):
        receiver().write(0, stream)


def test_records_of_another_stream_are_noticed_at_the_end() -> None:
    """Each is whole in itself; together they are not what was sent."""
    ((_, other),) = Sent.of(FACTS[:-1], 1 << 20).pieces
    end = 25 + int.from_bytes(STREAM[1:5], "little")  # of the first record
    with pytest.raises(Garbled, match="an end record"):
        receiver().write(0, STREAM[end:])
    assert receiver().write(0, other) is not None, "it is whole; its sequence is the offer's to say"


def test_damage_at_the_sender_is_never_sent_to_its_end() -> None:
    disk, keys = SimDisk(), MemoryKeys(2)
    disk.mkdir("other/snapshots")
    info = write_snapshot(disk, "other", keys, OTHER_STORE, FACTS, LAST)
    path = temporary_path("other", 39)
    disk.flip(path, (len(disk.read_file(path)) - 200) * 8)
    with closing(SnapshotReader(disk, path, OTHER_STORE, keys, info)) as reader:
        one = receiver()
        with pytest.raises(Corrupt):
            for offset, data in send(reader, 0, 100):
                assert one.write(offset, data) is None


def test_a_failing_disk_is_told_and_its_room_given_back() -> None:
    for kind in ("eio", "enospc"):
        disk = SimDisk()
        one = receiver(disk)
        disk.faults[disk.calls + 1] = Fault(kind)
        with pytest.raises(IoFailed):
            one.write(0, STREAM)
        one.abort()
        assert not [path for path in disk.files() if "received" in path]
