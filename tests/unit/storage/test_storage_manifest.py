"""The manifest: what it says of a cluster, and that one which says nothing of it is what it always was."""

from __future__ import annotations

import json

import pytest

from vaylix_resp.storage.errors import Corrupt
from vaylix_resp.storage.hard_state import HardState, Identity
from vaylix_resp.storage.manifest import CleanStop, Manifest, SnapshotInfo, decode_manifest, encode_manifest

INFO = SnapshotInfo(7, "snapshot-7.vxs", "d" * 32, "e" * 32, 2, 1000, 99)
PLAIN = Manifest("ab" * 16, 5, (INFO,), CleanStop(9, "f" * 32, 2000), "12" * 16)
WHO = Identity(bytes(range(16)), 0xFFFF_FFFF_FFFF_FFFF, 3)
MEMBER = PLAIN.with_identity(WHO)

# As version 0.1 wrote it.
OLD = """{
  "checksum": "%s",
  "format": 2,
  "store_id": "abababababababababababababababab",
  "created_ms": 5,
  "snapshots": [
    {
      "sequence": 7,
      "file": "snapshot-7.vxs",
      "digest": "dddddddddddddddddddddddddddddddd",
      "tag": "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
      "term": 2,
      "timestamp_ms": 1000,
      "bytes": 99
    }
  ],
  "clean_stop": {
    "sequence": 9,
    "tag": "ffffffffffffffffffffffffffffffff",
    "timestamp_ms": 2000
  },
  "keyring_id": "12121212121212121212121212121212"
}
"""


def test_without_a_cluster_it_is_what_it_always_was() -> None:
    raw = encode_manifest(PLAIN)
    assert raw.decode() == OLD % json.loads(raw)["checksum"]
    assert decode_manifest(raw, "m") == PLAIN and PLAIN.identity is None


@pytest.mark.parametrize(
    "manifest",
    [
        MEMBER,
        MEMBER.with_clean_stop(CleanStop(9, "f" * 32, 2000, 4, WHO.node_id)),
        MEMBER.with_clean_stop(CleanStop(9, "f" * 32, 2000, 4)),
        MEMBER.with_clean_stop(None),
        MEMBER.on_its_own(),
    ],
)
def test_what_is_written_is_read(manifest: Manifest) -> None:
    assert decode_manifest(encode_manifest(manifest), "m") == manifest


def test_a_flip_anywhere_is_refused() -> None:
    raw = encode_manifest(MEMBER.with_clean_stop(CleanStop(9, "f" * 32, 2000, 4, 5)))
    for at in range(len(raw)):
        for bit in (0, 3, 5):
            with pytest.raises(Corrupt):
                decode_manifest(raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :], "m")


@pytest.mark.parametrize(
    "fields",
    [
        {"node_id": 0}, {"cluster_id": ""}, {"cluster_id": "ab"}, {"node_id": -1}, {"node_id": 1 << 64}, {"incarnation": -1},
        {"node_id": "5"}, {"more": 1},
    ],
)  # fmt: skip
def test_fields_that_make_no_member_are_refused(fields: dict[str, object]) -> None:
    from vaylix_resp.storage import manifest as module

    body = json.loads(encode_manifest(MEMBER))
    body.pop("checksum")
    body |= fields
    raw = module._render({"checksum": module._checksum(body), **body})
    with pytest.raises(Corrupt):
        decode_manifest(raw, "m")


def test_data_on_its_own_is_nobodys_member_in_a_new_life() -> None:
    alone = MEMBER.with_clean_stop(CleanStop(9, "f" * 32, 2000, 4, 5)).on_its_own()
    assert (alone.identity, alone.incarnation, alone.clean_stop) == (None, 4, CleanStop(9, "f" * 32, 2000))
    assert PLAIN.on_its_own() == PLAIN, "it never was one"
    with pytest.raises(AssertionError):
        alone.with_identity(WHO)


HERE = HardState(WHO, 4, 5)


@pytest.mark.parametrize(
    "manifest, found, log_term, right",
    [
        (PLAIN, None, 9, True),
        (PLAIN, HERE, 4, False),
        (MEMBER.with_clean_stop(None), HERE, 4, True),
        (MEMBER.with_clean_stop(None), None, 4, True),  # it has joined and not yet voted
        (MEMBER.with_clean_stop(None), HERE, 5, False),
        (MEMBER.with_clean_stop(None), HardState(Identity(WHO.cluster_id, 5, 3), 4), 4, False),
        (MEMBER.with_clean_stop(None), HardState(Identity(bytes(16), WHO.node_id, 3), 4), 4, False),
        (
            MEMBER.with_clean_stop(None),
            HardState(Identity(WHO.cluster_id, WHO.node_id, 4), 4),
            4,
            False,
        ),  # an older manifest
        (MEMBER.with_clean_stop(None), HardState(Identity(bytes(16), 5, 2), 9), 4, True),  # a former life
        (MEMBER.with_clean_stop(CleanStop(9, "", 0, 4, 5)), HERE, 4, True),
        (MEMBER.with_clean_stop(CleanStop(9, "", 0, 4, 6)), HERE, 4, False),
        (MEMBER.with_clean_stop(CleanStop(9, "", 0, 5, 5)), HERE, 4, False),
        (MEMBER.with_clean_stop(CleanStop(9, "", 0, 4, 5)), None, 4, False),
        (MEMBER.with_clean_stop(CleanStop(9, "", 0)), HERE, 4, False),
    ],
)
def test_term_and_vote_of_the_log_have_to_agree(
    manifest: Manifest, found: HardState | None, log_term: int, right: bool
) -> None:
    assert (manifest.contradiction(manifest.own(found), log_term) is None) is right
