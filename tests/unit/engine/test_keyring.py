"""KEYRING on a live engine: what is rotated in which order, which keys go, and which must not."""

import asyncio
from random import Random
from types import SimpleNamespace

import pytest

from tests.sim.disk.simdisk import Fault, PowerCut, SimDisk
from tests.unit.engine.lab import START_MS, Clock, Lab
from vaylix_resp.commands.ports import Later
from vaylix_resp.engine.keyring import OFF, KeyringKeeper
from vaylix_resp.engine.keys import ServerKeys
from vaylix_resp.engine.snapshot_child import make_snapshot
from vaylix_resp.errors import CommandError, Refused
from vaylix_resp.resp.reply import OK
from vaylix_resp.security.keyring import keyring_path
from vaylix_resp.security.master_key import choose
from vaylix_resp.storage.errors import DiskFull
from vaylix_resp.storage.sealing import CLEAR
from vaylix_resp.storage.upkeep.rewrap import key_ids

ROOT = "data"
HEX = Random(1).randbytes(32).hex()
SOURCE = choose(ROOT, literal=HEX)


def open_keys(disk, encryption=True):
    return ServerKeys(disk, ROOT, SOURCE, encryption=encryption, now_ms=START_MS, token=Random(7).randbytes)(None)


class FakeCheckpoint:
    """Seals at once; a snapshot runs until `publish`."""

    def __init__(self, lab):
        self.lab = lab
        self.readers = 0
        self.running = False
        self.refusal = None
        self.seal_failure = None
        self.starts = 0

    async def renew_log(self):
        if self.seal_failure:
            raise self.seal_failure
        self.lab.node.wal.rotate(empty_too=True)

    def start(self):
        self.starts += 1
        if self.refusal:
            return self.refusal
        self.running = True
        return Later()

    def publish(self):
        """The snapshot is made, and what it replaces goes."""
        lab = self.lab
        lab.node.wal.rotate()
        info = make_snapshot(
            lab.disk, lab.root, lab.store.keys, lab.node.wal.last, lab.databases, lambda fraction: None
        )
        lab.store.publish_snapshot(info)
        lab.store.prune()
        self.running = False


class Bench:
    def __init__(self, encryption=True):
        self.disk = SimDisk()
        self.clock = Clock()
        self.disk.mkdir(ROOT)
        self.lab = Lab(self.disk, clock=self.clock, keys=open_keys(self.disk, encryption))
        self.checkpoint = FakeCheckpoint(self.lab)
        self.keeper = KeyringKeeper(self.lab.store.keys, SOURCE, self.lab.store, self.checkpoint, self.clock)

    @property
    def keyring(self):
        return self.keeper.keyring

    def needed(self):
        return set(key_ids(self.disk, ROOT).values())


async def answer(later):
    for _ in range(10_000):
        if later.done:
            return later.reply
        await asyncio.sleep(0.001)
    raise AssertionError("no answer")


@pytest.fixture
def bench():
    bench = Bench()
    bench.lab.write("SET a 1")
    return bench


async def test_rotation_moves_the_log_to_a_new_key_and_asks_for_a_snapshot(bench):
    assert bench.needed() == {1}
    bench.clock.ms += 5
    assert await answer(bench.keeper.rotate()) == OK
    assert (bench.keyring.active, bench.keyring.retired) == (2, (1,))
    assert bench.keyring.entries[0].retired_ms == bench.clock.ms
    assert bench.needed() == {1, 2}, "the old segment needs the old key"
    assert bench.checkpoint.starts == 1
    bench.lab.write("SET b 2")
    assert bench.lab.get("a") == b"1"


async def test_the_new_key_is_durable_before_the_log_uses_it(bench):
    bench.disk.log.clear()
    await answer(bench.keeper.rotate())
    names = [(name, path) for name, path, _ in bench.disk.log]
    durable = names.index(("fsync_dir", f"{ROOT}/keyring"), names.index(("rename", keyring_path(ROOT))))
    assert durable < names.index(("rename", f"{ROOT}/wal/active-00000000000000000003.wal"))


async def test_a_key_goes_when_no_file_needs_it_and_not_before(bench):
    await answer(bench.keeper.rotate())
    assert await bench.keeper.sweep() == [], "a segment needs it"
    bench.checkpoint.publish()
    assert bench.needed() == {2}
    assert await bench.keeper.sweep() == [1]
    assert bench.keyring.retired == ()
    restarted = bench.lab.restart(keys=open_keys(bench.disk))
    assert restarted.get("a") == b"1" and restarted.store.keys.keyring.active == 2


@pytest.mark.parametrize("held_by", ["reader", "backup"])
async def test_a_key_stays_while_somebody_may_write_or_link_files_with_it(bench, held_by):
    await answer(bench.keeper.rotate())
    bench.checkpoint.publish()
    if held_by == "reader":
        bench.checkpoint.readers = 1
    else:
        bench.keeper.in_use = lambda: True
    assert await bench.keeper.sweep() == []
    bench.checkpoint.readers, bench.keeper.in_use = 0, lambda: False
    assert await bench.keeper.sweep() == [1]


async def test_a_file_that_was_put_aside_holds_its_key(bench):
    segment = next(iter(key_ids(bench.disk, ROOT)))
    bench.disk.mkdir(f"{ROOT}/quarantine/cut")
    bench.disk.put(f"{ROOT}/quarantine/cut/old.wal", bench.disk.read_file(segment))
    bench.disk.put(f"{ROOT}/quarantine/torn-end", b"not a header")
    await answer(bench.keeper.rotate())
    bench.checkpoint.publish()
    assert await bench.keeper.sweep() == []
    bench.disk.remove(f"{ROOT}/quarantine/cut/old.wal")
    assert await bench.keeper.sweep() == [1]


@pytest.mark.parametrize("harm", ["flip", "unreadable"])
async def test_a_header_that_cannot_be_read_keeps_every_key(bench, harm):
    await answer(bench.keeper.rotate())
    bench.checkpoint.publish()
    path = next(path for path in key_ids(bench.disk, ROOT) if path.endswith(".vxs"))
    if harm == "flip":
        bench.disk.flip(path, 8 * 100)
    else:
        bench.disk.read_error_on = path
    with pytest.raises(Refused, match=path):
        await bench.keeper.sweep()
    await bench.keeper.tend()
    assert path in dict(bench.keeper.info())["keyring_last_error"] and bench.keyring.retired == (1,)
    if harm == "flip":
        bench.disk.flip(path, 8 * 100)
    bench.disk.read_error_on = ""
    await bench.keeper.tend()
    assert dict(bench.keeper.info())["keyring_last_error"] == "" and bench.keyring.retired == ()


async def test_a_file_that_is_not_there_keeps_every_key(bench):
    """It may come back: from a disk that is not mounted, or from where somebody has moved it."""
    bench.checkpoint.publish()
    bench.lab.write("SET b 1")
    bench.lab.node.wal.rotate()
    await answer(bench.keeper.rotate())
    old = [path for path, key_id in key_ids(bench.disk, ROOT).items() if key_id == 1]
    assert {path[-4:] for path in old} == {".vxs", ".wal"}
    for path in old:
        bench.disk.remove(path)
    with pytest.raises(Refused, match="not there"):
        await bench.keeper.sweep()
    assert bench.keyring.retired == (1,)


async def test_a_segment_that_is_renamed_during_the_look_is_not_missed(bench, monkeypatch):
    """Its old name is listed, its new one exists when it is opened."""
    bench.keyring.rotate(bench.clock.ms)  # the log still writes with key 1
    real, listed = bench.disk.listdir, []

    def listdir(path):
        names = real(path)
        if path.endswith("wal") and not listed:
            listed.append(names)
            bench.lab.node.wal.rotate()
        return names

    monkeypatch.setattr(bench.disk, "listdir", listdir)
    assert await bench.keeper.sweep() == []
    assert bench.keyring.retired == (1,)


async def test_an_idle_log_moves_to_the_new_key_too(bench):
    await answer(bench.keeper.rotate())
    await answer(bench.keeper.rotate())
    active = f"{ROOT}/wal/active-00000000000000000003.wal"
    assert key_ids(bench.disk, ROOT)[active] == 3
    bench.lab.write("SET b 2")
    restarted = bench.lab.restart(keys=open_keys(bench.disk))
    assert (restarted.get("a"), restarted.get("b")) == (b"1", b"2")


async def test_two_rotations_one_after_the_other(bench):
    await answer(bench.keeper.rotate())
    first = bench.keeper.rotate()
    assert await answer(first) == OK
    assert bench.keyring.retired == (1, 2) and bench.checkpoint.starts == 1, "one snapshot at a time"
    bench.checkpoint.publish()
    await bench.keeper.tend()
    assert bench.checkpoint.starts == 2, "the one that was due"
    assert bench.keyring.retired == ()


async def test_a_snapshot_that_cannot_start_is_tried_again(bench):
    bench.checkpoint.refusal = CommandError("ERR not now")
    await answer(bench.keeper.rotate())
    await bench.keeper.tend()
    bench.checkpoint.refusal = None
    await bench.keeper.tend()
    await bench.keeper.tend()
    assert bench.checkpoint.starts == 3 and bench.checkpoint.running


async def test_rotations_that_never_cease_do_not_keep_old_keys(bench, monkeypatch):
    """Each wants a snapshot, and one that runs forbids to look at the files: the look comes first, and comes again."""
    for number in range(2):
        bench.lab.write(f"SET b {number}")
        await answer(bench.keeper.rotate())
        bench.checkpoint.publish()
    bench.checkpoint.running, bench.checkpoint.readers = True, 1
    await answer(bench.keeper.rotate())  # its snapshot has to wait for the one that runs
    await bench.keeper.tend()
    assert bench.keeper.put_off and bench.keyring.retired == (1, 2, 3)
    bench.checkpoint.running, bench.checkpoint.readers = False, 0
    monkeypatch.setattr(bench.checkpoint, "start", lambda: setattr(bench.checkpoint, "readers", 1))
    await bench.keeper.tend()
    assert not bench.keeper.put_off and bench.checkpoint.readers == 1
    assert bench.keyring.retired == (3,), "which the log still needs"


async def test_at_the_same_time_only_one_rotates(bench):
    first = bench.keeper.rotate()
    await asyncio.sleep(0)
    with pytest.raises(CommandError, match="BUSY"):
        bench.keeper.rotate()
    assert await answer(first) == OK


async def test_a_stop_waits_for_a_rotation_that_has_begun(bench):
    """Otherwise it would find the log closed, and say that it has failed."""
    await bench.keeper.close()
    later = bench.keeper.rotate()
    await bench.keeper.close()
    assert later.done and later.reply == OK


async def test_a_keyring_that_cannot_be_written_stays_as_it_is(bench):
    bench.disk.faults = {bench.disk.calls + 2: Fault("enospc")}
    reply = await answer(bench.keeper.rotate())
    assert isinstance(reply, CommandError) and reply.text.startswith(f"ERR {keyring_path(ROOT)}: the disk refused")
    assert bench.keyring.retired == () and bench.checkpoint.starts == 0


async def test_a_log_that_cannot_be_sealed_is_said_and_the_new_key_is_in_force(bench):
    bench.checkpoint.seal_failure = DiskFull("no room to seal it")
    reply = await answer(bench.keeper.rotate())
    assert reply.text == "ERR key 2 is active, but the log goes on with an older one: no room to seal it"
    assert bench.keyring.active == 2
    await bench.keeper.tend()
    assert bench.checkpoint.starts == 1 and bench.keyring.retired == (1,)


async def test_status_shows_keys_and_files_and_never_a_key(bench):
    bench.clock.ms += 1000
    await answer(bench.keeper.rotate())
    status = await answer(bench.keeper.status())
    assert (status["encryption"], status["active-key"], status["keyring-id"]) == ("on", 2, bench.keyring.id)
    assert (status["master-key-kind"], status["master-key-source"]) == ("environment", "VAYLIX_MASTER_KEY")
    assert (status["clear-files"], status["clear-files-accepted-until"]) == (0, 0)
    old, new = status["keys"]
    assert (old["id"], old["state"], old["retired"], old["files"]) == (1, "retired", bench.clock.ms, 1)
    assert (new["id"], new["state"], new["retired"], new["files"]) == (2, "active", None, 1)
    assert old["names"] == [f"{ROOT}/wal/00000000000000000001-00000000000000000002.wal"]
    assert HEX not in str(status) and all(key.hex() not in str(status) for key in bench.keyring._keys.values())


async def test_a_status_that_cannot_be_told_says_why(bench):
    bench.disk.read_error_on = ".wal"
    reply = await answer(bench.keeper.status())
    assert isinstance(reply, CommandError) and "the disk cannot read it" in reply.text


async def test_without_encryption_there_is_nothing_to_rotate():
    store = SimpleNamespace(disk=SimDisk(), root=ROOT)
    keeper = KeyringKeeper(CLEAR, choose(ROOT), store, SimpleNamespace(), Clock())
    with pytest.raises(CommandError) as refused:
        keeper.rotate()
    assert refused.value.text == OFF
    assert await keeper.sweep() == [] and keeper.export() is None
    status = await answer(keeper.status())
    assert (status["encryption"], status["keyring-id"], status["keys"]) == ("off", None, [])
    assert dict(keeper.info())["encryption"] == "off"


async def test_what_was_sealed_before_encryption_was_switched_off_is_shown(bench):
    lab = bench.lab.restart(keys=open_keys(bench.disk, encryption=False))
    keeper = KeyringKeeper(lab.store.keys, SOURCE, lab.store, FakeCheckpoint(lab), bench.clock)
    with pytest.raises(CommandError):
        keeper.rotate()
    status = await answer(keeper.status())
    assert (status["encryption"], status["clear-files"], status["clear-files-accepted-until"]) == ("off", 1, None)
    assert [key["files"] for key in status["keys"]] == [1]


def test_a_power_cut_at_any_call_of_a_rotation_loses_nothing():
    """The steps of KEYRING ROTATE and of the sweep behind it, one after the other, with writes in between."""

    def run(bench, acknowledged):
        def write(number):
            if bench.lab.write(f"SET k{number} {number}") == [OK]:
                acknowledged.append(number)

        write(0)
        bench.keyring.rotate(bench.clock.ms)
        write(1)
        bench.lab.node.wal.rotate(empty_too=True)
        write(2)
        bench.checkpoint.publish()
        write(3)
        gone = set(bench.keyring.retired) - bench.needed()
        bench.keyring.destroy(gone)
        write(4)
        return gone

    whole, acknowledged = Bench(), []
    whole.disk.calls = 0
    assert run(whole, acknowledged) == {1} and acknowledged == [0, 1, 2, 3, 4]
    keyrings = set()
    for at in range(1, whole.disk.calls + 1):
        for seed in range(3):
            bench, acknowledged = Bench(), []
            bench.disk.calls = 0
            bench.disk.faults = {at: Fault("crash")}
            with pytest.raises(PowerCut):
                run(bench, acknowledged)
            left = bench.disk.crash(Random(seed * 1000 + at))
            lab = Lab(left, clock=Clock(), keys=open_keys(left))
            assert [lab.get(f"k{number}") for number in acknowledged] == [b"%d" % n for n in acknowledged], (at, seed)
            keyrings.add(tuple(entry.id for entry in lab.keys.keyring.entries))
            assert set(key_ids(left, ROOT).values()) <= {entry.id for entry in lab.keys.keyring.entries}
            lab.write("SET after 1")
    assert keyrings == {(1,), (1, 2), (2,)}
