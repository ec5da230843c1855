"""What the child does, in this process: over the simulated disk, and its command line over a real one."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.sim.disk.simdisk import Fault
from tests.unit.engine.lab import ROOT, Lab
from tests.unit.engine.test_boot import silent, snapshot, some_of_everything
from vaylix_resp.engine import snapshot_child
from vaylix_resp.engine.keys import new_keys
from vaylix_resp.engine.snapshot_child import (
    child_main,
    digest_arguments,
    make_snapshot,
    rebuild,
    snapshot_arguments,
)
from vaylix_resp.errors import EX_CONFIG, EX_DATA, EX_IO
from vaylix_resp.security.master_key import choose, own_path
from vaylix_resp.state.digest import digest_hex
from vaylix_resp.storage.disk import RealDisk
from vaylix_resp.storage.errors import Corrupt, IoFailed, StorageError
from vaylix_resp.storage.sealing import CLEAR
from vaylix_resp.storage.snapshot import SnapshotReader, temporary_path


def sealed(lab: Lab) -> int:
    lab.store.wal.rotate()
    return lab.store.wal.last


def test_the_state_as_it_is_written() -> None:
    lab = Lab()
    some_of_everything(lab)
    sequence = sealed(lab)
    info = make_snapshot(lab.disk, ROOT, lab.keys, sequence, lab.databases, silent)
    reader = SnapshotReader(lab.disk, temporary_path(ROOT, sequence), lab.store.manifest.store_id_bytes, lab.keys, info)
    kinds = [kind for kind, _ in reader]
    assert kinds[0] == 1 and set(kinds) == {1, 2, 3, 4}
    keys = sum(len(db.items) for db in lab.machine.world.databases)
    assert reader.summary == {"keys": keys, "digest": lab.digest()}
    assert (info.sequence, info.term, info.tag) == (sequence, lab.node.term, lab.store.wal.tag.hex())
    assert info.timestamp_ms == lab.machine.time_ms


def test_up_to_a_sequence_and_no_further() -> None:
    lab = Lab()
    some_of_everything(lab)
    sequence, live = sealed(lab), lab.digest()
    lab.write("SET later 1")
    sealed(lab)
    machine, _, _ = rebuild(lab.disk, ROOT, lab.keys, sequence, 4, silent)
    assert (machine.applied, digest_hex(machine)) == (sequence, live)


@pytest.mark.parametrize("beyond", [1, 100])
def test_a_sequence_that_no_sealed_segment_reaches(beyond: int) -> None:
    lab = Lab()
    sequence = sealed(lab)
    lab.write("SET k 1")  # in the active segment, which is not read
    with pytest.raises(StorageError, match=f"the log ends at sequence {sequence}, {sequence + beyond} was to be"):
        rebuild(lab.disk, ROOT, lab.keys, sequence + beyond, 4, silent)


def test_a_directory_without_a_manifest() -> None:
    lab = Lab()
    lab.sim.remove(f"{ROOT}/manifest.json")
    with pytest.raises(Corrupt, match="manifest"):
        rebuild(lab.disk, ROOT, lab.keys, 1, 4, silent)


@pytest.mark.parametrize("kind", ["eio", "enospc"])
def test_a_disk_that_fails_at_any_call(kind: str) -> None:
    """Nothing but a temporary file is ever touched, and that goes again; the log does not notice."""
    failures = 0
    for call in range(1, 100):
        lab = Lab()
        some_of_everything(lab)
        sequence = sealed(lab)
        before = {path: bytes(inode.shown) for path, inode in lab.sim.names.items()}
        lab.sim.faults[lab.sim.calls + call] = Fault(kind, 0.5)
        try:
            make_snapshot(lab.disk, ROOT, lab.keys, sequence, 4, silent)
        except IoFailed:
            failures += 1
        else:
            break
        after = {path: bytes(inode.shown) for path, inode in lab.sim.names.items()}
        assert {path: after[path] for path in before} == before
        assert set(after) - set(before) <= {temporary_path(ROOT, sequence)}
        assert lab.node.refusal is None
        lab.write("SET k 1")
        snapshot(lab)  # the next try
        assert lab.restart(term=False).digest() == lab.digest()
    assert failures >= 4


def test_progress_rises_from_nothing_to_all() -> None:
    lab = Lab()
    for number in range(30):
        lab.write(f"SET key:{number} {'x' * 500}")
    said: list[float] = []
    make_snapshot(lab.disk, ROOT, lab.keys, sealed(lab), 4, said.append)
    assert said == sorted(said) and 0 < said[0] < 0.1 and said[-1] == 1.0 and len(said) > 30


# The command line.


class Input:
    """What the process reads from its standard input."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


@pytest.fixture(params=["sealed", "clear"])
def directory(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, int, str]:
    """A data directory on a real disk with a sealed log: its path, last sequence and digest."""
    disk, root, keys, secret = RealDisk(), str(tmp_path / "data"), CLEAR, b""
    if request.param == "sealed":
        disk.mkdir(root)
        keys = new_keys(disk, root, choose(root), 1, lambda warning: None)
        secret = Path(own_path(root)).read_bytes()
    monkeypatch.setattr(snapshot_child.sys, "stdin", Input(secret))
    lab = Lab(disk, root=root, keys=keys)
    some_of_everything(lab)
    sequence = sealed(lab)
    lab.store.abandon()
    return lab.root, sequence, lab.digest()


def test_a_snapshot_by_command(directory: tuple[str, int, str], capsys: pytest.CaptureFixture[str]) -> None:
    root, sequence, digest = directory
    assert child_main(snapshot_arguments(root, sequence, 4, 0)[1:]) == 0
    message = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert message["snapshot"]["sequence"] == sequence
    assert Path(temporary_path(root, sequence)).stat().st_size == message["snapshot"]["bytes"]
    assert message["snapshot"] == asdict(snapshot_child.SnapshotInfo(**message["snapshot"]))


def test_a_digest_by_command(directory: tuple[str, int, str], capsys: pytest.CaptureFixture[str]) -> None:
    root, sequence, digest = directory
    assert child_main(digest_arguments(root, sequence, 4)[1:]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"digest": digest}
    assert not Path(temporary_path(root, sequence)).exists()


def again() -> None:
    snapshot_child.sys.stdin.buffer.seek(0)


def test_without_the_key(
    directory: tuple[str, int, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, sequence, _ = directory
    if not Path(root, "keyring").exists():
        return
    wrong = bytes(range(32)).hex().encode()
    for content, text in ((b"", "no master key came"), (wrong, "is not the one of this keyring")):
        monkeypatch.setattr(snapshot_child.sys, "stdin", Input(content))
        assert child_main(digest_arguments(root, sequence, 4)[1:]) == EX_CONFIG
        captured = capsys.readouterr()
        assert text in captured.err and captured.err.count("\n") == 1
        assert wrong.decode() not in captured.err


def test_failures_by_command(directory: tuple[str, int, str], capsys: pytest.CaptureFixture[str]) -> None:
    root, sequence, _ = directory
    (segment,) = sorted(Path(root, "wal").glob("0*.wal"))
    for arguments, code, text in (
        (snapshot_arguments(root, sequence + 1, 4, 0), EX_IO, "was to be reached"),
        (snapshot_arguments(root, sequence, 2, 0), EX_CONFIG, "set `databases 4` or more"),
        (digest_arguments(root + "/nowhere", sequence, 4), EX_DATA, "manifest"),
    ):
        again()
        assert child_main(arguments[1:]) == code
        captured = capsys.readouterr()
        assert text in captured.err and captured.err.count("\n") == 1
    raw = bytearray(segment.read_bytes())
    raw[5000] ^= 1
    segment.write_bytes(raw)
    again()
    assert child_main(snapshot_arguments(root, sequence, 4, 0)[1:]) == EX_DATA
    assert str(segment) in capsys.readouterr().err
    assert not list(Path(root, "snapshots").iterdir())
