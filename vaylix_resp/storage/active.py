"""The segment that is written to: how it comes to be, and how it gets its final name.

Promise: a name implies a header, and the node's term and vote behind it if there are any: both are durable before the
name is. Each active segment has a data key of its own, which only the process that made it ever writes with.
Units: sizes and offsets in bytes; sequences from 1.
Not here: what is appended (`wal`), what counts of what a crash leaves (`listing`, `recovery`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vaylix_resp.storage.batch import HARD_STATE, encode, store_salt
from vaylix_resp.storage.disk import Disk, File
from vaylix_resp.storage.hard_state import FRAME_BYTES, HardState
from vaylix_resp.storage.sealing import Cipher, Keys
from vaylix_resp.storage.segment import (
    SEGMENT_HEADER_BYTES,
    Chain,
    SegmentHeader,
    active_name,
    create_zeroed,
    encode_segment_header,
    sealed_name,
    with_new_key,
)


def head_bytes(hard_state: HardState | None) -> int:
    """What is in a segment before the first batch."""
    return SEGMENT_HEADER_BYTES + (FRAME_BYTES if hard_state else 0)


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of the log. `last` is first - 1 for an active segment without batches."""

    path: str
    first: int
    last: int
    size: int


@dataclass(frozen=True, slots=True)
class Opened:
    """An active segment without batches. `size`: how far zeros are written ahead; `cipher` is None when it is in the
    clear; `offset`, `number` and `end_tag` are those behind its hard state, if it has one."""

    file: File
    size: int
    cipher: Cipher | None
    offset: int
    number: int
    end_tag: bytes


def create_active(
    disk: Disk, directory: str, store_id: bytes, chain: Chain, size: int, keys: Keys,
    hard_state: HardState | None = None,
) -> Opened:  # fmt: skip
    """A new active segment right behind `chain`, durable under its name when this returns."""
    temporary = f"{directory}/next.tmp"
    size = max(size, head_bytes(hard_state))
    file = create_zeroed(disk, temporary, size)
    try:
        return name_active(disk, directory, store_id, chain, file, size, temporary, keys, hard_state)
    except BaseException:
        file.close()
        raise


def name_active(
    disk: Disk, directory: str, store_id: bytes, chain: Chain, file: File, size: int, temporary: str, keys: Keys,
    hard_state: HardState | None, name: str = "",
) -> Opened:  # fmt: skip
    """Turn a file of zeros into the active segment. The content is synced before the name."""
    first, has_one = chain.last + 1, hard_state is not None
    header = SegmentHeader(store_id, first, chain.tag, chain.timestamp_ms, hard_state_first=has_one)
    header, cipher = with_new_key(header, keys)
    offset, number, tag = SEGMENT_HEADER_BYTES, 0, chain.tag
    file.pwrite(encode_segment_header(header), 0)
    if hard_state is not None:
        number = 1
        frame, tag = encode_hard_state(store_salt(store_id), chain, tag, chain.last, hard_state, cipher, number, offset)
        file.pwrite(frame, offset)
        offset += len(frame)
    file.fsync()
    file.path = f"{directory}/{name or active_name(first)}"
    disk.rename(temporary, file.path)
    return Opened(file, size, cipher, offset, number, tag)


def encode_hard_state(
    salt: int, chain: Chain, prev_tag: bytes, durable: int, hard_state: HardState, cipher: Cipher | None, number: int,
    synced: int,
) -> tuple[bytes, bytes]:  # fmt: skip
    """The frame at the end of `chain`, and its tag."""
    return encode(
        salt, prev_tag, durable, chain.last + 1, 0, hard_state.term, chain.timestamp_ms, chain.committed, 0,
        hard_state.body(), cipher, number, HARD_STATE, synced,
    )  # fmt: skip


def seal(disk: Disk, directory: str, file: File, segment: Segment) -> Segment:
    """Give a segment, already cut to what is written in it, its final name."""
    file.fsync()
    path = f"{directory}/{sealed_name(segment.first, segment.last)}"
    disk.rename(segment.path, path)
    return replace(segment, path=path)
