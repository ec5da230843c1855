"""BACKUP TO, VERIFY, CHECK and RESTORE with a real child process, beside a server that goes on writing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.patience import PATIENCE_S
from tests.sim.disk.simdisk import Fault, PowerCut, SimDisk
from tests.unit.engine.lab import SMALL, Client, Lab, op
from vaylix_resp.commands.operations import publish, stage
from vaylix_resp.commands.points import Point
from vaylix_resp.commands.ports import Later
from vaylix_resp.config import Settings
from vaylix_resp.engine.checkpoint import Checkpoint
from vaylix_resp.engine.children import Children
from vaylix_resp.engine.copies import backups as module
from vaylix_resp.engine.copies.backups import BUSY, UNSEALED, Backups
from vaylix_resp.engine.group_commit import GroupCommit
from vaylix_resp.engine.history.restore import rebuild
from vaylix_resp.engine.keys import new_keys, reading_keys
from vaylix_resp.engine.node import Run
from vaylix_resp.engine.publication import Publications
from vaylix_resp.errors import CommandError, Halt
from vaylix_resp.security.master_key import choose
from vaylix_resp.state.digest import digest_hex, keys_digest_hex
from vaylix_resp.storage.copies.backup_sidecar import read_sidecar
from vaylix_resp.storage.disk import RealDisk
from vaylix_resp.storage.history import DataDirectory, History
from vaylix_resp.storage.sealing import CLEAR, Keys


class Proposer:
    """Puts the server's own entries into the log, as `server.proposals` does."""

    def __init__(self, lab: Lab, later: Later) -> None:
        self.lab, self.later = lab, later

    def complete(self, run: Run) -> None:
        for reply in self.lab.node.machine.apply_all(run.items):
            self.later.resolve(reply)

    def fail(self, run: Run, refusal: CommandError) -> None:
        self.later.resolve(refusal)


class Desk:
    """A node with a keyring on a real disk and what BACKUP needs, inside the running event loop."""

    def __init__(self, root: Path, *, sealed: bool = True, databases: int = 4) -> None:
        self.root, disk = str(root), RealDisk()
        root.mkdir(exist_ok=True)
        source = choose(self.root)
        self.keys: Keys = CLEAR
        if sealed and (root / "keyring").exists():
            self.keys = reading_keys(disk, self.root, source)
        elif sealed:
            self.keys = new_keys(disk, self.root, source, 1, lambda _: None)
        self.lab = Lab(disk, root=self.root, keys=self.keys, databases=databases)
        self.halts: list[Halt] = []
        self.commit = GroupCommit(self.lab.node, asyncio.get_running_loop(), self.halts.append)
        self.commit.mode = "inline"
        self.children = Children((root / "master.key").read_bytes if sealed else bytes)
        self.checkpoint = Checkpoint(
            self.lab.store, self.lab.node, self.commit, self.lab.clock, databases, self.children
        )  # fmt: skip
        self.proposed = 0
        self.on_propose: Callable[[], None] = lambda: None
        self.refuse_from = 1 << 60  # the number of the entry from which on the disk is full
        names = iter(b"publication %d" % n for n in range(100))
        self.publications = Publications(self.propose, lambda: next(names))
        self.backups = Backups(
            disk, self.root, Settings(), self.checkpoint, self.children, self.lab.clock, self.lab.machine, self.keys,
            self.publications,
        )  # fmt: skip
        self.directory = root / "backups"

    def propose(self, entry: tuple[bytes, ...]) -> Later:
        later = Later()
        self.proposed += 1
        self.on_propose()
        if self.proposed >= self.refuse_from:
            later.resolve(CommandError("MISCONF the disk is full"))
        else:
            self.lab.node.propose(Proposer(self.lab, later), entry)
        return later

    async def write(self, *texts: str, db: int = 0) -> None:
        self.lab.client.write(*(op(text, db) for text in texts))
        while not self.commit.idle:
            await asyncio.sleep(0)

    async def close(self) -> None:
        self.children.cancel()
        await self.checkpoint.cancel()
        await self.backups.close()
        while not self.commit.idle:
            await asyncio.sleep(0)
        self.commit.close()
        self.lab.store.abandon()

    def live(self) -> list[dict[bytes, tuple[bytes, int | None]]]:
        """Values and expiries, without versions."""
        return [
            {key: (item[8:], db.expires.get(key)) for key, item in db.items.items()}
            for db in self.lab.machine.world.databases
        ]

    def versions(self) -> dict[bytes, int]:
        db = self.lab.machine.world.databases[0]
        return {key: int.from_bytes(db.current(item)[:8], "big") for key, item in db.items.items()}


async def reply_of(later: Any) -> Any:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    later.listen(future.set_result)
    return await asyncio.wait_for(future, PATIENCE_S)


async def refusal_of(later: Any) -> str:
    reply = await reply_of(later)
    assert isinstance(reply, CommandError), reply
    return reply.text


async def fill(desk: Desk) -> None:
    await desk.write(*(f"SET k{n} v{n}" for n in range(1500)))
    await desk.write("SET e 1 PXAT 1900000000000", "SET gone 1 PX 10", "DEL k7", "APPEND k8 x")
    await desk.write("SET other 1", db=3)
    desk.lab.clock.ms += 1000


async def test_a_backup_and_back(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data")
    await fill(desk)
    then, digest, keys_digest = desk.live(), digest_hex(desk.lab.machine), keys_digest_hex(desk.lab.machine.world)
    made = await reply_of(desk.backups.to("one", plain=False))
    assert made[b"name"] == b"one" and made[b"sequence"] == desk.lab.machine.applied and made[b"keys"] == 1502
    assert made[b"digest"].decode() == digest and made[b"keys_digest"].decode() == keys_digest
    file, sidecar = desk.directory / "one.vxb", desk.directory / "one.json"
    assert made[b"bytes"] == file.stat().st_size and made[b"sealed"] == 1
    assert b"v1499" not in file.read_bytes() and b"djE0OTk" not in file.read_bytes()
    assert await reply_of(desk.backups.files()) == [os.fsencode(file), os.fsencode(sidecar)]
    assert await reply_of(desk.backups.names()) == [{**made, b"status": b"complete"}]
    assert await reply_of(desk.backups.verify("one")) == made
    versions = desk.versions()
    await desk.write("FLUSHALL", "SET k1 later", "SET new 1")
    checked = await reply_of(desk.backups.check("one"))
    assert (checked[b"fits"], checked[b"problems"]) == (1, [])
    assert (checked[b"keys_now"], checked[b"keys_then"], checked[b"expired"]) == (2, 1501, 1)
    restored = await reply_of(desk.backups.restore("one", plain=False))
    assert restored == made
    assert desk.live() == then
    top = max(versions.values())
    assert all(version > top for version in desk.versions().values())
    assert not desk.publications.busy and not desk.lab.machine.world.staged
    live = digest_hex(desk.lab.machine)
    await desk.close()
    again = desk.lab.restart(clean=False, term=False)
    assert digest_hex(again.machine) == live
    again.store.abandon()


PAUSE_S = 0.002  # of a writer


class Writer(Client):
    """Writes again soon after it is answered, until told to stop. Not at once: the processes that make the backups are
    nice, and on a busy machine a log of millions of writes would be theirs to read."""

    stopped = False

    def begin(self) -> None:
        if not self.stopped:
            self.write(op(f"APPEND {self.name} x"), op("INCR n"), op(f"SET {self.name} 1 PX 50"))

    def complete(self, run: Run) -> None:
        super().complete(run)
        asyncio.get_running_loop().call_later(PAUSE_S, self.begin)


async def test_a_backup_beside_writers_is_the_state_at_one_sequence(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data")
    await fill(desk)
    writers = [Writer(desk.lab.node, desk.lab.told, name) for name in "abc"]
    for writer in writers:
        writer.begin()
    made = [await reply_of(desk.backups.to(name, plain=False)) for name in ("one", "two")]
    for writer in writers:
        writer.stopped = True
    assert made[0][b"sequence"] < made[1][b"sequence"] < desk.lab.machine.applied
    await desk.close()
    history = History(RealDisk(), DataDirectory(RealDisk(), desk.root), desk.keys)
    for one in made:
        rebuilt = rebuild(history, Point(sequence=one[b"sequence"]), desk.lab.clock.ms)
        assert digest_hex(rebuilt.machine) == one[b"digest"].decode()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "/etc/passwd", "x" * 129, "a\n"])
async def test_a_name_that_leads_elsewhere_is_refused_at_once(name: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data")
    calls: list[Callable[[], Any]] = [
        lambda: desk.backups.to(name, plain=False), lambda: desk.backups.verify(name),
        lambda: desk.backups.check(name), lambda: desk.backups.restore(name, plain=False),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(CommandError, match="ERR .* is no name for a backup"):
            call()
    assert not desk.backups.running and not desk.directory.exists()
    await desk.close()


async def test_one_at_a_time_and_no_name_twice(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data")
    await desk.write("SET k 1")
    first = desk.backups.to("one", plain=False)
    assert desk.backups.running == "to"
    with pytest.raises(CommandError, match=BUSY[:20]):
        desk.backups.verify("one")
    made = await reply_of(first)
    assert made[b"keys"] == 1 and not desk.backups.running
    before = (desk.directory / "one.vxb").read_bytes()
    assert "one.vxb: exists already" in await refusal_of(desk.backups.to("one", plain=False))
    assert "exists already" in desk.backups.last_error
    assert (desk.directory / "one.vxb").read_bytes() == before
    assert "there is no such backup" in await refusal_of(desk.backups.verify("two"))
    assert "there is no such backup" in await refusal_of(desk.backups.restore("two", plain=False))
    await desk.close()


async def test_a_damaged_backup_changes_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data")
    await fill(desk)
    await reply_of(desk.backups.to("one", plain=False))
    path = desk.directory / "one.vxb"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    path.write_bytes(raw)
    await desk.write("SET k1 later")
    live, proposed = digest_hex(desk.lab.machine), desk.proposed
    for later in (desk.backups.verify, desk.backups.check, lambda name: desk.backups.restore(name, plain=False)):
        assert "one.vxb: byte" in await refusal_of(later("one"))
    assert digest_hex(desk.lab.machine) == live
    assert desk.proposed == proposed, "nothing was even staged"
    await desk.close()


async def test_a_full_disk_in_the_middle_of_a_restore_changes_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data")
    await fill(desk)
    await reply_of(desk.backups.to("one", plain=False))
    await desk.write("SET k1 later")
    then = desk.live()
    for failing in range(1, 8):
        desk.proposed, desk.refuse_from = 0, failing
        reply = await reply_of(desk.backups.restore("one", plain=False))
        if not isinstance(reply, CommandError):
            break
        assert reply.text == "MISCONF the disk is full"
        assert desk.live() == then
        desk.refuse_from = 1 << 60
        desk.publications.tidy()
        while not desk.commit.idle:
            await asyncio.sleep(0)
        assert not desk.lab.machine.world.staged and not desk.publications.busy
    else:
        raise AssertionError("a restore needs fewer entries")
    assert failing > 3 and desk.live() != then
    await desk.close()


async def test_what_does_not_fit_is_refused_before_anything_is_staged(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data")
    await desk.write("SET k 1")
    await desk.write("SET k 1", db=3)
    await reply_of(desk.backups.to("one", plain=False))
    await desk.close()
    small = Desk(tmp_path / "small", databases=2)
    for suffix in ("vxb", "json"):
        small.directory.mkdir(exist_ok=True)
        (small.directory / f"one.{suffix}").write_bytes((desk.directory / f"one.{suffix}").read_bytes())
    # Another store with a master key of its own cannot read it; with that of the first one it can.
    assert "is not the one of this keyring" in await refusal_of(small.backups.check("one"))
    assert "database 3, `databases` is 2" in await refusal_of(small.backups.restore("one", plain=False))
    assert small.proposed == 0
    await small.close()


async def test_one_in_the_clear_is_restored_only_when_asked_for(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data")
    await desk.write("SET k 1")
    made = await reply_of(desk.backups.to("one", plain=True))
    assert made[b"sealed"] == 0 and b'"value":"MQ=="' in (desk.directory / "one.vxb").read_bytes()
    await desk.write("SET k 2")
    checked = await reply_of(desk.backups.check("one"))
    assert checked[b"fits"] == 0 and b"in the clear" in checked[b"problems"][0]
    assert await refusal_of(desk.backups.restore("one", plain=False)) == UNSEALED
    assert desk.live()[0] == {b"k": (b"2", None)}
    assert (await reply_of(desk.backups.restore("one", plain=True)))[b"keys"] == 1
    assert desk.live()[0] == {b"k": (b"1", None)}
    await desk.close()


async def test_a_store_in_the_clear_has_backups_in_the_clear(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data", sealed=False)
    await desk.write("SET k 1")
    made = await reply_of(desk.backups.to("one", plain=False))
    await desk.write("SET k 2", "SET j 1")
    assert await reply_of(desk.backups.restore("one", plain=False)) == made
    assert desk.live()[0] == {b"k": (b"1", None)}
    await desk.close()


async def test_a_child_that_dies_is_an_error_and_leaves_no_backup(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data")
    await fill(desk)
    later = desk.backups.to("one", plain=False)
    while not desk.children._processes:
        await asyncio.sleep(0.001)
    (process,) = desk.children._processes
    process.send_signal(signal.SIGKILL)
    assert "ERR " in await refusal_of(later)
    assert await reply_of(desk.backups.files()) == [] and desk.checkpoint.readers == 0
    assert (await reply_of(desk.backups.to("one", plain=False)))[b"keys"] == 1502
    await desk.close()


async def test_the_end_of_the_server_ends_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data")
    await fill(desk)
    later = desk.backups.to("one", plain=False)
    await desk.close()
    assert "ERR " in await refusal_of(later)
    assert await reply_of(desk.backups.files()) == []


async def test_the_end_of_the_server_in_the_middle_of_a_restore_leaves_the_old_data(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data")
    for n in range(40):  # far more than pipe and reader hold, so the child cannot have sent everything
        await desk.write(f"SET k{n} {'v' * 40_000}")
    await reply_of(desk.backups.to("one", plain=False))
    await desk.write("FLUSHALL", "SET k now")
    desk.on_propose = desk.children.cancel
    assert "ERR " in await refusal_of(desk.backups.restore("one", plain=False))
    assert desk.live()[0] == {b"k": (b"now", None)}
    assert desk.proposed > 1 and not desk.lab.machine.world.staged
    await desk.close()


async def test_a_backup_that_is_exchanged_while_it_is_read_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path / "data")
    await desk.write("SET k 1")
    await reply_of(desk.backups.to("one", plain=False))
    await desk.write("SET k 2")
    await reply_of(desk.backups.to("two", plain=False))
    two = read_sidecar(RealDisk(), str(desk.directory / "two.vxb"))
    monkeypatch.setattr(module, "read_sidecar", lambda disk, path: two)  # what was there a moment before
    live = desk.live()
    assert "has been replaced" in await refusal_of(desk.backups.restore("one", plain=False))
    assert desk.live() == live
    await desk.close()


ROWS = [(b"k%d" % n, b"then", None, 0) for n in range(40)]
LIVE = "SET k1 now", "SET other now"


def restore_by_hand(lab: Lab) -> None:
    """The entries of a RESTORE, each committed before the next."""
    for at in range(0, len(ROWS), 10):
        lab.client.write(stage(b"p", 0, ROWS[at : at + 10]))
        lab.commit()
    lab.client.write(publish(b"p", "replace"))
    lab.commit()


def live_of(lab: Lab) -> dict[bytes, bytes]:
    return {key: item[8:] for key, item in lab.machine.world.databases[0].items.items()}


@pytest.mark.parametrize("mode", ["lose", "keep", "prefix", None])
def test_a_crash_at_every_call_of_a_restore_leaves_the_old_data_or_the_new(mode: str | None) -> None:
    def prepared() -> Lab:
        lab = Lab(SimDisk(), config=SMALL)
        lab.write(*LIVE)
        return lab

    probe = prepared()
    before = probe.sim.calls
    restore_by_hand(probe)
    old, new = {b"k1": b"now", b"other": b"now"}, {key: b"then" for key, *_ in ROWS}
    assert live_of(probe) == new
    seen = set()
    for call in range(before + 1, probe.sim.calls + 1):
        lab = prepared()
        lab.sim.faults[call] = Fault("crash")
        with pytest.raises(PowerCut):
            restore_by_hand(lab)
        again = Lab(lab.sim.crash(Random(call), mode), config=SMALL)
        found = live_of(again)
        assert found in (old, new), call
        seen.add(found == new)
        again.store.abandon()
    assert False in seen


async def test_a_list_is_read_off_the_loop_and_says_what_it_cannot_read(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "data")
    later = desk.backups.files([b"/b/online/manifest.json"])
    assert not later.done
    assert await reply_of(later) == [b"/b/online/manifest.json"]
    desk.directory.write_text("not a directory")
    assert "cannot read" in await refusal_of(desk.backups.files())
    assert "cannot read" in await refusal_of(desk.backups.names())
    await desk.close()


async def test_a_backup_with_keys_in_very_many_databases(tmp_path: Path) -> None:
    """Its counts by database would be longer than a line of a child may be."""
    desk = Desk(tmp_path / "data", databases=4000)
    for db in range(4000):
        desk.lab.client.write(op("SET k 1", db))
    await desk.write("SET k 1")
    made = await reply_of(desk.backups.to("one", plain=False))
    assert made[b"keys"] == 4000
    assert await reply_of(desk.backups.verify("one")) == made
    await desk.close()
