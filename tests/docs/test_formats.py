"""docs/formats.md against what is really written: files and frames are taken apart by the tables of that page alone."""

from __future__ import annotations

import re
import struct
from zlib import crc32

import pytest
from xxhash import xxh3_128_digest

from tests.docs.machine import ROOT
from vaylix_resp.peers import codec, wire
from vaylix_resp.raft.messages import Heartbeat
from vaylix_resp.storage import batch, segment, snapshot
from vaylix_resp.storage.sealing import CLEAR
from vaylix_resp.storage.segment import SegmentHeader, encode_segment_header
from vaylix_resp.storage.snapshot import SnapshotHeader, encode_snapshot_header

PAGE = (ROOT / "docs" / "formats.md").read_text()
ROW = re.compile(r"^\| (\d+) \| (\d+) \| (\w+) \| (\w+) \|", re.M)
STORE = bytes(range(16))
TAG = bytes(range(100, 116))


def table(heading: str) -> list[tuple[int, int, str, str]]:
    """The rows below a heading: at, bytes, form, field."""
    section = PAGE.partition(f"\n### {heading}\n")[2].partition("\n#")[0]
    return [(int(at), int(size), form, name) for at, size, form, name in ROW.findall(section)]


def take_apart(heading: str, data: bytes, order: str = "<") -> dict[str, object]:
    return {name: struct.unpack_from(order + form, data, at)[0] for at, _, form, name in table(heading)}


@pytest.mark.parametrize(
    "heading, size",
    [("Segment header", segment.SEGMENT_HEADER_BYTES), ("Batch header", batch.HEADER_BYTES),
     ("Snapshot header", snapshot.HEADER_BYTES), ("Chunk head", snapshot._CHUNK_HEAD_BYTES), ("Frame", wire.HEADER_BYTES)],
)  # fmt: skip
def test_a_table_leaves_no_gap(heading, size):
    end = 0
    for at, length, form, name in table(heading):
        assert (at, length) == (end, struct.calcsize(f"<{form}")), name
        end += length
    assert end == size


def test_a_batch():
    body = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n"
    raw, _ = batch.encode(batch.store_salt(STORE), TAG, 6, 7, 1, 3, 1_795_000_000_000, 5, 99, body, synced=8192)
    found = take_apart("Batch header", raw)
    checked = raw[: batch.HEADER_BYTES]
    assert found == {
        "magic": b"VxB\xa7", "version": 2, "kind": 1, "flags": 0, "first": 7, "entries": 1, "body_bytes": len(body),
        "term": 3, "timestamp_ms": 1_795_000_000_000, "committed": 5, "seed": 99, "durable": 6, "mask": 0, "key_id": 0,
        "number": 0, "synced": 8192, "prev_tag": TAG, "tag": xxh3_128_digest(checked[:108] + body),
        "crc": crc32(checked[:124], crc32(STORE)),
    }  # fmt: skip
    end = batch.HEADER_BYTES + len(body)
    assert raw[batch.HEADER_BYTES : end] == body
    assert len(raw) % 512 == 0 and set(raw[end:]) == {0xA5}


def test_a_segment():
    raw = encode_segment_header(SegmentHeader(STORE, 43, TAG, 1_795_000_000_000, key_id=2, wrapped=b"w" * 128))
    found = take_apart("Segment header", raw)
    assert found == {
        "magic": b"VxWALseg", "version": 2, "flags": 1, "zero": bytes(4), "store_id": STORE, "first": 43, "prev_tag": TAG,
        "created_ms": 1_795_000_000_000, "key_id": 2, "wrapped": b"w" * 128, "fill": b"\xa5" * 3884,
        "checksum": xxh3_128_digest(raw[:4080]),
    }  # fmt: skip


def test_a_snapshot(tmp_path):
    raw = encode_snapshot_header(SnapshotHeader(STORE, 42, TAG, 3, 1_795_000_000_000))
    found = take_apart("Snapshot header", raw)
    assert (found["magic"], found["store_id"], found["sequence"], found["tag"]) == (b"VxSNAPSH", STORE, 42, TAG)
    assert (found["term"], found["timestamp_ms"], found["key_id"]) == (3, 1_795_000_000_000, 0)
    assert found["checksum"] == xxh3_128_digest(raw[:240])


def test_chunks_of_a_snapshot(tmp_path):
    from vaylix_resp.storage.disk import RealDisk

    writer = snapshot.SnapshotWriter(
        RealDisk(), str(tmp_path / "s"), CLEAR, store_id=STORE, sequence=42, tag=TAG, term=3, timestamp_ms=1
    )
    writer.add_chunk([1, 2, 3], 2)
    writer.finish()
    raw = (tmp_path / "s").read_bytes()
    at, kinds = snapshot.HEADER_BYTES, []
    while at < len(raw):
        found = take_apart("Chunk head", raw[at:])
        payload = raw[at + 32 : at + 32 + found["stored"]]
        assert found["tag"] == xxh3_128_digest(raw[at : at + 16] + payload)
        assert found["number"] == len(kinds) and found["raw"] == found["stored"]
        kinds.append(found["kind"])
        at += 32 + found["stored"]
    assert kinds == [2, 0]


def test_a_frame_between_nodes():
    kind, pieces = codec.encode(Heartbeat(frm=1, to=2, term=3, commit=4, round=5))
    raw = b"".join(wire.frame(kind, pieces, wire.Checksum()))
    found = take_apart("Frame", raw, ">")
    body = raw[24:]
    assert (found["length"], found["format"], found["kind"], found["zero"]) == (len(raw) - 4, 1, 7, 0)
    assert found["seal"] == xxh3_128_digest(bytes(8) + raw[:8] + body)


def test_every_kind_of_message_is_named():
    section = PAGE.partition("| kind | message")[2]
    named = set()
    for cell in re.findall(r"\| ([\d, to]+) (?=\|)", section):
        numbers = list(map(int, re.findall(r"\d+", cell)))
        named |= set(range(numbers[0], numbers[1] + 1)) if "to" in cell else set(numbers)
    assert {row.kind for row in codec.ROWS} <= named
