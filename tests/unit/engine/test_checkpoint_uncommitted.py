"""A log that ends with batches which another leader may yet cut: what snapshots, backups and archives make of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.unit.engine.copies.backup_bench import Bench
from tests.unit.engine.copies.test_archiver import Recorder
from tests.unit.engine.lab import Lab, op
from vaylix_resp.engine import checkpoint as module
from vaylix_resp.engine import entries
from vaylix_resp.engine.checkpoint import Uncommitted
from vaylix_resp.errors import CommandError
from vaylix_resp.resp.reply import OK
from vaylix_resp.storage.errors import Unreadable

Scenario = Callable[[Bench], Awaitable[None]]


def play(scenario: Scenario) -> None:
    async def run() -> None:
        bench = Bench(Lab())
        try:
            await scenario(bench)
        finally:
            await bench.stop()

    asyncio.run(run())


def arrive(lab: Lab, text: str) -> None:
    """A batch from a leader: durable here, and nobody knows yet whether it is committed."""
    wal = lab.store.wal
    wal.append(wal.last + 1, 1, wal.term, wal.timestamp_ms, 0, 7, entries.encode((op(text),)))
    wal.sync()


def commit(lab: Lab, text: str) -> None:
    """The batch that has arrived is committed, and so it is applied."""
    lab.machine.begin_batch(lab.store.wal.timestamp_ms, 7)
    lab.machine.apply_all([op(text)])
    raft = lab.node.raft
    raft.last = raft.persisted = raft.committed = raft.applied = lab.machine.applied


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0.002)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALONE_PERIOD_S", 0.001)


def test_a_snapshot_has_only_what_is_committed() -> None:
    async def scenario(bench: Bench) -> None:
        lab = bench.lab
        await bench.write("SET a 1")
        applied, digest = lab.node.applied, lab.digest()
        arrive(lab, "SET a 2")
        assert await bench.save() is OK
        newest = lab.store.manifest.newest
        assert newest is not None and newest.sequence == applied < lab.store.wal.last
        lab.store.wal.truncate_after(applied)
        again = lab.restart(term=False)
        assert again.digest() == digest and again.get("a") == b"1"
        again.write("SET a 3")
        assert again.restart().get("a") == b"3"

    play(scenario)


def test_a_start_goes_on_behind_a_snapshot_that_ends_inside_of_a_segment() -> None:
    async def scenario(bench: Bench) -> None:
        lab = bench.lab
        await bench.write("SET a 1")
        arrive(lab, "SET a 2")
        assert await bench.save() is OK
        assert lab.restart(term=False).get("a") == b"2", "a node that stands alone is asked by nobody"

    play(scenario)


def test_a_log_that_is_cut_under_the_eyes_of_the_child_is_read_again() -> None:
    async def scenario(bench: Bench) -> None:
        lab, real, calls = bench.lab, bench.children.run, [0]
        await bench.write("SET a 1")

        async def run(*arguments: Any, **more: Any) -> dict[str, Any]:
            calls[0] += 1
            if calls[0] == 1:
                lab.store.wal.truncate_after(lab.node.applied)
                raise Unreadable("the segment", 0, OSError("it has another name now"))
            return await real(*arguments, **more)

        bench.children.run = run  # type: ignore[method-assign]
        arrive(lab, "SET a 2")
        assert await bench.save() is OK and calls == [2]
        calls[0] = 0
        await bench.write("SET a 2")
        lab.store.wal.truncate_after = lambda last: None  # type: ignore[method-assign]
        assert isinstance(await bench.save(), CommandError) and calls == [1], "a failure of another kind is one"

    play(scenario)


def test_a_seal_waits_until_all_of_it_is_committed() -> None:
    async def scenario(bench: Bench) -> None:
        lab, wal = bench.lab, bench.lab.store.wal
        arrive(lab, "SET a 1")
        sealing = asyncio.ensure_future(bench.checkpoint.seal_log())
        await turns()
        assert not sealing.done()
        last, tag = wal.last, wal.tag
        arrive(lab, "SET a 2")
        commit(lab, "SET a 1")
        end = await sealing
        assert (end.sequence, end.tag) == (last, tag.hex()) and wal.last == last + 1

    play(scenario)


def test_a_seal_of_what_is_cut_begins_anew() -> None:
    async def scenario(bench: Bench) -> None:
        lab, wal = bench.lab, bench.lab.store.wal
        arrive(lab, "SET a 1")
        sealing = asyncio.ensure_future(bench.checkpoint.seal_log())
        await turns()
        wal.truncate_after(lab.node.applied)
        arrive(lab, "SET b 1")
        commit(lab, "SET b 1")
        end = await sealing
        assert (end.sequence, end.tag) == (wal.last, wal.tag.hex()) and lab.get("b") == b"1"

    play(scenario)


def test_a_seal_that_nobody_confirms_is_given_up() -> None:
    async def scenario(bench: Bench) -> None:
        arrive(bench.lab, "SET a 1")
        sealing = asyncio.ensure_future(bench.checkpoint.seal_log())
        await turns()
        bench.lab.clock.seconds += module.COMMIT_S
        with pytest.raises(Uncommitted, match="have not confirmed"):
            await sealing

    play(scenario)


def test_an_archive_gets_only_what_cannot_be_cut() -> None:
    async def scenario(bench: Bench) -> None:
        archive = Recorder(bench)
        await bench.write("SET a 1")
        committed = bench.lab.node.applied
        await bench.checkpoint.rotate_log()
        arrive(bench.lab, "SET a 2")
        await bench.checkpoint.rotate_log()
        archive.committed = committed
        await archive._turn()
        assert archive.sequence == committed and archive.pending() == []
        assert archive.needed_from() == committed + 1, "the rest stays here for it"
        archive.committed = committed + 1
        await archive._turn()
        assert archive.sequence == committed + 1

    play(scenario)


def test_a_backup_links_only_what_cannot_be_cut() -> None:
    async def scenario(bench: Bench) -> None:
        lab = bench.lab
        await bench.write("SET a 1")
        assert await bench.ask("start") is OK
        await bench.until("incrementing")
        arrive(lab, "SET a 2")
        await bench.checkpoint.rotate_log()
        before = len(bench.backup.list())
        await bench.backup._follow()
        assert len(bench.backup.list()) == before
        commit(lab, "SET a 2")
        await bench.backup._follow()
        assert len(bench.backup.list()) == before + 1
        assert await bench.ask("seal") is OK

    play(scenario)
