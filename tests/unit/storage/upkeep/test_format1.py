"""The frozen reader of format 1: the fixtures come out as they were, and nothing that differs from them in a bit does."""

from random import Random

import pytest

from tests.unit.storage.old_directory import NAMES, ROOT, facts, put
from vaylix_resp.engine.proof import state_digest
from vaylix_resp.errors import Refused
from vaylix_resp.storage.errors import Corrupt
from vaylix_resp.storage.upkeep import format1

SEGMENT_FIRST = "wal/00000000000000000033-00000000000000000042.wal"
SNAPSHOT = "snapshots/snapshot-00000000000000000032.vxs"
ACTIVE = "wal/active-00000000000000000044.wal"


def read(disk):
    """The digest of the state, and the log that led to it."""
    manifest = format1.read_manifest(disk, ROOT)
    logs = []

    def chunks():
        for info in manifest.snapshots:
            for kind, obj in format1.read_snapshot(disk, ROOT, manifest.store_id, info):
                if kind != format1.END:
                    yield kind, obj

    def batches():
        logs.append(format1.Log(disk, ROOT, manifest))
        for _, _, inside in logs[-1].segments():
            yield from inside

    return state_digest(chunks, batches), logs[-1]


@pytest.mark.parametrize("name", NAMES)
def test_a_directory_of_format_1_comes_out_as_it_was(name):
    digest, log = read(put(name))
    assert (digest, log.last, log.torn) == (facts(name)["digest"], facts(name)["sequence"], None)


def test_the_version_of_a_manifest_is_told_without_trusting_it():
    disk = put("killed")
    assert format1.version_of(disk.read_file(f"{ROOT}/manifest.json")) == 1
    assert format1.version_of(b"[]") is None and format1.version_of(b"\xff") is None


@pytest.mark.parametrize("name", NAMES)
def test_each_flipped_bit_is_refused_or_harmless(name):
    """One bit in every hundred bytes of every file; zeros behind the end of an active segment are not content."""
    rng, whole = Random(4), put(name)
    wanted = read(whole)[0]
    refused = 0
    for path, content in sorted(whole.files().items()):
        if path.endswith("LOCK"):
            continue
        for at in range(0, len(content), 101):
            disk = put(name)
            disk.flip(path, 8 * at + rng.randrange(8))
            try:
                assert read(disk)[0] == wanted, (path, at)
            except Refused as failure:
                assert isinstance(failure, Corrupt), failure
                refused += 1
    assert refused > 150


TORN = [
    # what of the last batch (512 bytes, sequences 47..47) is there; whether it is a torn append
    (0, False), (100, True), (128, True), (300, True), (511, True), (512, False),
]  # fmt: skip


@pytest.mark.parametrize("there, torn", TORN)
def test_the_end_of_a_killed_log_is_judged_as_format_1_did(there, torn):
    disk = put("killed")
    content = bytearray(disk.files()[f"{ROOT}/{ACTIVE}"])
    start = len(content.rstrip(b"\0")) - 512
    content[start + there : start + 512] = bytes(512 - there)
    disk.put(f"{ROOT}/{ACTIVE}", bytes(content))
    _, log = read(disk)
    assert log.torn == ((f"{ROOT}/{ACTIVE}", start) if torn else None)
    assert log.last == (47 if there == 512 else 46)


DAMAGES = [
    # (what happens to the directory, what the refusal names)
    (lambda disk: disk.remove(f"{ROOT}/{SEGMENT_FIRST}"), "sequence 33"),
    (lambda disk: disk.remove(f"{ROOT}/{SNAPSHOT}"), SNAPSHOT),
    (lambda disk: disk.remove(f"{ROOT}/{ACTIVE}"), "active"),
    (lambda disk: disk.put(f"{ROOT}/{SEGMENT_FIRST}", b""), SEGMENT_FIRST),
    (lambda disk: disk.put(f"{ROOT}/{SNAPSHOT}", b"x" * 300), SNAPSHOT),
    (lambda disk: disk.put(f"{ROOT}/wal/notes.txt", b""), "notes.txt"),
]


@pytest.mark.parametrize("damage, named", DAMAGES)
def test_what_is_missing_or_strange_is_named(damage, named):
    disk = put("killed")
    damage(disk)
    with pytest.raises(Refused) as told:
        read(disk)
    assert named in str(told.value) and told.value.exit_code in (65, 74)
