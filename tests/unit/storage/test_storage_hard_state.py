"""Term and vote as bytes, and what may follow what."""

from __future__ import annotations

import pytest

from vaylix_resp.storage.batch import HARD_STATE, SECTOR, encode, read_body, read_header, unknown_format
from vaylix_resp.storage.hard_state import FRAME_BYTES, HardState, Identity, read_hard_state

WHO = Identity(bytes(range(16)), (1 << 64) - 1, 3)
SALT = 99


def test_what_is_written_is_read() -> None:
    for term, vote in ((1, 0), (1 << 60, 5), (7, (1 << 64) - 1)):
        state = HardState(WHO, term, vote)
        assert read_hard_state(term, state.body()) == state


@pytest.mark.parametrize(
    "term, body",
    [
        (0, HardState(WHO, 1).body()),
        (1, b""),
        (1, HardState(WHO, 1).body() + b"\0"),
        (1, b"\2" + HardState(WHO, 1).body()[1:]),  # another version
        (1, HardState(WHO, 1).body()[:16] + bytes(8) + HardState(WHO, 1).body()[24:]),  # node 0
    ],
)
def test_what_this_version_does_not_write_is_nothing(term: int, body: bytes) -> None:
    assert read_hard_state(term, body) is None


def test_a_frame_of_it_is_one_sector_and_takes_no_sequence() -> None:
    frame, _ = encode(SALT, bytes(16), 4, 5, 0, 2, 1000, 3, 0, HardState(WHO, 2).body(), kind=HARD_STATE, synced=4096)
    assert len(frame) == FRAME_BYTES == SECTOR
    header = read_header(frame[:128], SALT)
    assert header is not None and unknown_format(header, None) is None
    assert (header.kind, header.first, header.last, header.synced) == (HARD_STATE, 5, 4, 4096)
    body = read_body(frame[:128], header, frame[128:], None)
    assert body is not None and read_hard_state(header.term, body) == HardState(WHO, 2)


@pytest.mark.parametrize("kind, count", [(HARD_STATE, 1), (1, 0), (3, 0), (5, 1), (0, 1)])
def test_kinds_and_counts_that_do_not_fit_are_refused(kind: int, count: int) -> None:
    frame, _ = encode(SALT, bytes(16), 0, 1, count, 1, 1, 0, 0, b"*x", kind=kind)
    header = read_header(frame[:128], SALT)
    assert header is not None and unknown_format(header, None) is not None


@pytest.mark.parametrize(
    "before, after, may",
    [
        (HardState(WHO, 3), HardState(WHO, 3), True),
        (HardState(WHO, 3), HardState(WHO, 3, 7), True),
        (HardState(WHO, 3, 7), HardState(WHO, 3, 7), True),
        (HardState(WHO, 3, 7), HardState(WHO, 3, 8), False),
        (HardState(WHO, 3, 7), HardState(WHO, 3), False),
        (HardState(WHO, 3, 7), HardState(WHO, 4), True),
        (HardState(WHO, 3), HardState(WHO, 2), False),
        (HardState(WHO, 3), HardState(Identity(WHO.cluster_id, 5, 3), 4), False),
        (HardState(WHO, 3), HardState(Identity(bytes(16), WHO.node_id, 3), 4), False),
        (HardState(WHO, 3), HardState(Identity(bytes(16), 5, 4), 1), True),  # a new life
        (HardState(WHO, 3), HardState(Identity(WHO.cluster_id, WHO.node_id, 2), 9), False),
    ],
)
def test_what_may_follow(before: HardState, after: HardState, may: bool) -> None:
    assert after.may_follow(before) is may
