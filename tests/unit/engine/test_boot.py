"""From a data directory to a state: the same whatever way it is read, or a refusal that says what to do."""

from __future__ import annotations

from random import Random

import pytest

from tests.sim.disk.simdisk import SimDisk
from tests.unit.engine.lab import ROOT, SMALL, STORE_ID, Lab, op
from vaylix_resp.commands.operations import expiry, transaction
from vaylix_resp.engine import boot
from vaylix_resp.engine.boot import TooFewDatabases
from vaylix_resp.engine.snapshot_child import make_snapshot, rebuild
from vaylix_resp.errors import EX_CONFIG, EX_DATA
from vaylix_resp.resp.reply import OK
from vaylix_resp.state import image
from vaylix_resp.state.digest import digest_hex
from vaylix_resp.state.versions import CURRENT, TooNew
from vaylix_resp.storage.errors import Corrupt, DiskFull, StorageError, WalFailed
from vaylix_resp.storage.sealing import CLEAR, Keys
from vaylix_resp.storage.snapshot import SnapshotWriter, temporary_path
from vaylix_resp.storage.store import Store


def silent(fraction: float) -> None:
    """Progress that nobody watches."""


def snapshot(lab: Lab) -> None:
    """As the checkpoint does, with the child's half in this process."""
    lab.store.wal.rotate()
    info = make_snapshot(lab.disk, lab.root, lab.keys, lab.store.wal.last, lab.databases, silent)
    lab.store.publish_snapshot(info)
    lab.store.prune()


def some_of_everything(lab: Lab, salt: str = "") -> None:
    """Expiries, flags, versions, several databases, transactions, flushed and exchanged databases."""
    lab.write(f"SET a{salt} 1", "INCR a", "SET gone 1", "DEL gone", f"APPEND s{salt} {'x' * 200}")
    lab.write("SET b 2", "INCR b", "SET e v PX 5000", "SET e2 v EX 100", db=2)
    lab.write("EXSET f v FLAGS 7", "EXSET f2 v EX 50 FLAGS 9", db=1)
    lab.clock.ms += 6000
    block = [(0, [b"INCR", b"a"]), (3, [b"SET", b"m", b"1"]), (0, [b"INCR", b"m"])]
    lab.client.write(
        transaction([(0, b"a", lab.version("a"))], block),
        transaction([(0, b"a", 1)], [(0, [b"SET", b"never", b"1"])]),
        expiry(2, [b"e"]),
    )
    lab.commit()
    lab.write("SWAPDB 0 3", "SET after 1", "INCR a", "MOVE after 1", "COPY b b2 DB 1")
    lab.write("SET x 1", "FLUSHDB", "SET y 1", db=3)
    lab.write("GETEX e2 PERSIST", "INCR nothing", "SET w 1 IFEQ 2", db=2)


def test_a_first_start() -> None:
    lab = Lab()
    assert (lab.node.term, lab.node.applied, lab.warnings) == (1, 1, [])
    assert lab.write("SET k 1") == [OK]
    assert lab.version("k") == 2, "the first entry of the term is the first of the log"


@pytest.mark.parametrize("clean", [False, True])
def test_the_term_grows_by_one_with_each_start(clean: bool) -> None:
    lab = Lab()
    for term in range(1, 6):
        assert (lab.node.term, lab.store.wal.term, lab.node.applied) == (term, term, 2 * term - 1)
        lab.write("SET k 1")
        if term == 3:
            snapshot(lab)
        lab = lab.restart(clean=clean)


def test_a_term_whose_first_entry_was_not_written_has_not_begun() -> None:
    lab = Lab().restart(term=False)
    assert (lab.node.term, lab.store.wal.term) == (2, 1)
    assert lab.restart(term=False).node.term == 2
    assert lab.restart().store.wal.term == 2


@pytest.mark.parametrize("keys", [None, CLEAR], ids=["sealed", "clear"])
@pytest.mark.parametrize("clean", [False, True])
def test_log_alone_or_snapshot_and_log_are_the_same_state(clean: bool, keys: Keys | None) -> None:
    plain, with_snapshots = Lab(keys=keys), Lab(keys=keys)
    for lab in (plain, with_snapshots):
        some_of_everything(lab)
        if lab is with_snapshots:
            snapshot(lab)
        some_of_everything(lab, "again")
    assert with_snapshots.store.manifest.newest and not plain.store.manifest.newest
    live = plain.digest()
    assert live == with_snapshots.digest()
    for lab in (plain, with_snapshots):
        again = lab.restart(clean=clean, term=False)
        assert again.digest() == live and again.warnings == []
        assert again.restart(term=False).digest() == live


def test_a_snapshot_of_a_snapshot() -> None:
    lab, twin = Lab(), Lab()
    for number in range(4):
        some_of_everything(lab, str(number))
        some_of_everything(twin, str(number))
        snapshot(lab)
    assert len(lab.store.manifest.snapshots) == 1
    assert lab.restart(term=False).digest() == twin.digest() == lab.digest()


def test_replay_leaves_no_garbage_for_later() -> None:
    lab = Lab()
    lab.write("SET k 1", "FLUSHALL", "SET k 2")
    assert lab.restart(term=False).machine.world.trash == []


def test_what_a_crash_cut_off_is_a_warning() -> None:
    lab = Lab()
    lab.write("SET k 1")
    lab.node.appendfsync = "no"
    lab.write(f"SET k {'2' * 3000}")
    after = Lab(lab.sim.crash(Random(3), "prefix"), term=False)
    assert after.get("k") == b"1"
    assert len(after.warnings) == 1 and "quarantine" in after.warnings[0]


# How many databases there are.


@pytest.mark.parametrize("with_snapshot", [False, True])
def test_fewer_databases_than_the_data_has_are_refused(with_snapshot: bool) -> None:
    lab = Lab(databases=4)
    lab.write("SET k 1", db=3)
    if with_snapshot:
        snapshot(lab)
    lab.store.abandon()
    with pytest.raises(TooFewDatabases) as refused:
        Lab(lab.sim.kill(), databases=3)
    text = str(refused.value)
    assert refused.value.exit_code == EX_CONFIG
    assert "4 databases" in text and "`databases` is 3" in text and "set `databases 4` or more" in text
    again = Lab(lab.sim.kill(), databases=4)
    assert again.get("k", db=3) == b"1"


def test_more_databases_are_welcome() -> None:
    lab = Lab(databases=4)
    lab.write("SET k 1", db=3)
    lab = lab.restart(databases=9)
    assert lab.write("SET k 2", db=8) == [OK]
    snapshot(lab)
    lab = lab.restart(databases=9)
    assert (lab.get("k", 3), lab.get("k", 8), len(lab.machine.world.databases)) == (b"1", b"2", 9)


@pytest.mark.parametrize("with_snapshot", [False, True])
def test_what_was_refused_for_want_of_a_database_stays_refused(with_snapshot: bool) -> None:
    """The client was told that it did not happen; a later start with more databases must not make it happen."""
    lab = Lab(databases=4)
    lab.write("SET k 1")
    replies = lab.write("MOVE k 9", "COPY k c DB 9", "SWAPDB 0 9")
    assert replies == ["ERR DB index is out of range"] * 3
    if with_snapshot:
        snapshot(lab)
        lab.write("MOVE k 9")
    before = lab.digest()
    lab = lab.restart(databases=16, term=False)
    assert lab.digest() == before and lab.get("k") == b"1"
    lab = lab.restart(databases=16)
    assert lab.write("MOVE k 9") == [1]
    before = lab.digest()
    lab = lab.restart(databases=20, term=False)
    assert lab.digest() == before and lab.get("k", 9) == b"1"
    assert len(lab.machine.world.views) == len(lab.machine.world.transactions) == 20


def test_the_child_agrees_about_the_databases() -> None:
    lab = Lab(databases=4)
    lab.write("SET k 1", "MOVE k 9")
    lab = lab.restart(databases=16)
    lab.write("SET j 1", db=12)
    lab.store.wal.rotate()
    machine, _, _ = rebuild(lab.disk, ROOT, lab.keys, lab.store.wal.last, 16, silent)
    assert digest_hex(machine) == lab.digest()
    assert machine.world.views[12].exists(b"j") and machine.world.views[0].exists(b"k")


# What cannot be replayed.


def append_raw(lab: Lab, *operations: tuple[bytes, ...]) -> None:
    """Into the log, past everybody who would refuse it."""
    lab.client.write(*operations)
    batch = lab.node.seal()
    assert batch is not None
    lab.node.persist(batch)


NEWER = [
    op("FROBNICATE k"),
    op("FROBNICATE k", db=2),
    transaction([], [(0, [b"SET", b"j", b"1"]), (1, [b"FROBNICATE", b"k"])]),
    (b"@frobnicate", b"FROBNICATE"),
]


@pytest.mark.parametrize("operation", NEWER, ids=repr)
def test_an_operation_of_a_newer_version_is_refused_not_skipped(operation: tuple[bytes, ...]) -> None:
    lab = Lab()
    append_raw(lab, op("SET k 1"), operation)
    with pytest.raises(Corrupt) as refused:
        lab.restart()
    assert refused.value.exit_code == EX_CONFIG and refused.value.sequence == 3
    assert "FROBNICATE" in str(refused.value).upper() and "the version of vaylix that wrote it" in str(refused.value)
    with pytest.raises(Corrupt, match="(?i)frobnicate"):
        rebuild_all(lab)


def rebuild_all(lab: Lab) -> None:
    store = Store.open(
        lab.sim.kill(), ROOT, new_store_id=STORE_ID, now_ms=1, open_keys=lambda manifest: lab.keys, config=SMALL
    )
    recovered = store.recover(None)
    recovered.wal.rotate()
    rebuild(lab.disk, ROOT, lab.keys, recovered.wal.last, lab.databases, silent)


def test_a_request_that_fails_in_its_replay_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """It failed when it came as well, as a handler sees nothing but the state; its client was told so."""
    lab = Lab()
    real = dict(boot.apply_table())

    def fail(tx: object, argv: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(boot, "apply_table", lambda: real | {b"INCR": fail})
    append_raw(lab, op("SET k 1"), op("INCR k"), op("SET j 1"))
    lab = lab.restart(term=False)
    assert lab.warnings == ["entry 3 (INCR) failed in its replay: ZeroDivisionError('a bug')"]
    assert (lab.get("k"), lab.get("j"), lab.machine.applied) == (b"1", b"1", 4)


def test_a_batch_that_holds_more_than_it_says() -> None:
    lab = Lab()
    wal = lab.store.wal
    wal.append(2, 1, 1, lab.machine.time_ms, 1, 7, b"*1\r\n$5\r\n@noop\r\n" * 2)
    wal.sync()
    with pytest.raises(Corrupt) as refused:
        lab.restart()
    assert refused.value.exit_code == EX_DATA


def test_a_snapshot_that_is_not_of_its_sequence() -> None:
    lab = Lab()
    lab.write("SET k 1")
    lab.store.wal.rotate()
    machine, term, tag = rebuild(lab.disk, ROOT, lab.keys, lab.store.wal.last, 4, silent)
    machine.applied -= 1
    writer = SnapshotWriter(
        lab.disk, temporary_path(ROOT, lab.store.wal.last), lab.keys, store_id=STORE_ID, sequence=lab.store.wal.last,
        tag=tag, term=term, timestamp_ms=machine.time_ms,
    )  # fmt: skip
    for kind, obj in image.dump(machine):
        writer.add_chunk(obj, kind)
    lab.store.publish_snapshot(writer.finish(None))
    with pytest.raises(Corrupt) as refused:
        lab.restart()
    assert refused.value.exit_code == EX_DATA and "snapshot" in str(refused.value)


# The first entry of a term.


@pytest.mark.parametrize("fault, error", [("full", DiskFull), ("sync_error_on", WalFailed)])
def test_a_log_that_cannot_be_written_is_found_at_the_start(fault: str, error: type[StorageError]) -> None:
    lab = Lab(term=False)
    setattr(lab.sim, fault, {"full": "all", "sync_error_on": ".wal"}[fault])
    with pytest.raises(error):
        boot.open_term(lab.node)
    setattr(lab.sim, fault, "")
    lab.store.abandon()
    assert Lab(lab.sim.kill()).node.term in (1, 2)


@pytest.mark.parametrize("mode", ["always", "everysec", "no"])
def test_the_term_is_durable_before_anyone_may_write(mode: str) -> None:
    lab = Lab(term=False)
    lab.node.appendfsync = mode
    boot.open_term(lab.node)
    after = Lab(lab.sim.crash(Random(1), "lose"), term=False)
    assert after.store.wal.term == 1 and after.node.term == 2


def test_recovery_reads_a_directory_that_another_process_may_not() -> None:
    lab = Lab()
    with pytest.raises(StorageError) as locked:
        Lab(lab.sim)
    assert locked.value.exit_code == EX_CONFIG
    lab.write("SET k 1")
    assert Lab(SimDisk.copy(lab.sim)).get("k") == b"1"


def test_a_snapshot_with_a_right_that_nobody_knows_is_of_a_newer_version() -> None:
    class Reader:
        path, sequence = "snapshots/1.snap", 1

        def __iter__(self):  # type: ignore[no-untyped-def]
            yield image.META, [1, 1000, 0, 0, 1]
            yield image.ACCOUNTS, [1, [], [[b"u", [b"on", b"+nosuch"], 1, []]]]

        def close(self) -> None:
            """Nothing is open."""

    with pytest.raises(Corrupt, match="users and roles that this version knows.*start the version") as refused:
        boot.load_snapshot(boot.new_machine(1), Reader())  # type: ignore[arg-type]
    assert refused.value.exit_code == EX_DATA


def test_users_come_back_from_the_log_and_from_a_snapshot() -> None:
    lab = Lab(SimDisk())
    lab.write("@acl setrole r ~a* +get", "@acl setuser u on nopass role=r", "SET a 1")
    snapshot(lab)
    lab.write("@acl setuser u -get expireat 9999999999")
    lines = lab.machine.world.accounts.lines()
    again = Lab(lab.disk.kill())
    assert again.machine.world.accounts.lines() == lines
    assert digest_hex(again.machine) != digest_hex(boot.new_machine(1))


@pytest.mark.parametrize("with_snapshot", [False, True])
def test_a_server_alone_raises_the_version_once_and_for_ever(with_snapshot: bool) -> None:
    lab = Lab()
    boot.raise_version(lab.node)
    assert lab.machine.world.cluster_version == CURRENT and lab.node.applied == 2
    boot.raise_version(lab.node)
    assert lab.node.applied == 2, "nothing is left to be raised"
    if with_snapshot:
        snapshot(lab)
    after = lab.restart()
    assert after.machine.world.cluster_version == CURRENT


def test_a_server_that_holds_it_back_logs_nothing() -> None:
    lab = Lab()
    lab.machine.world.understands = 1
    boot.raise_version(lab.node)
    assert (lab.machine.world.cluster_version, lab.node.applied) == (1, 1)


@pytest.mark.parametrize("with_snapshot", [False, True])
def test_a_directory_of_a_newer_version_is_refused(monkeypatch: pytest.MonkeyPatch, with_snapshot: bool) -> None:
    """By software whose newest version is the first: the server, the child that makes snapshots, the tools."""
    lab = Lab()
    boot.raise_version(lab.node)
    lab.write("SET k 1")
    if with_snapshot:
        snapshot(lab)
    monkeypatch.setattr("vaylix_resp.state.versions.CURRENT", 1)
    with pytest.raises(TooNew, match=r"version \d is in force in this data.*start a newer version") as refused:
        lab.restart()
    assert refused.value.exit_code == EX_CONFIG
