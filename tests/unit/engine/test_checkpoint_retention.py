"""What stays for restores, while time goes on. The snapshots are made in this process: how is not what this is about."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.unit.engine.test_checkpoint import Office
from vaylix_resp.engine.history.retention import Wanted
from vaylix_resp.engine.snapshot_child import make_snapshot
from vaylix_resp.resp.reply import OK
from vaylix_resp.storage.manifest import Keep


class Archive(Office):
    """Snapshots without a process of their own."""

    def __init__(self, root: Path, **options: Any) -> None:
        super().__init__(root, **options)

        async def child(arguments: list[str], *listeners: Any) -> dict[str, Any]:
            lab = self.lab
            sequence = int(arguments[arguments.index("--sequence") + 1])
            info = make_snapshot(lab.disk, lab.root, lab.store.keys, sequence, lab.databases, lambda fraction: None)
            return {"snapshot": asdict(info)}

        self.checkpoint._children.run = child  # type: ignore[method-assign]

    async def grow(self, ms: int = 10_000) -> int:
        """Time passes, something is written, a snapshot is made; its sequence."""
        self.lab.clock.ms += ms
        await self.write(f"SET k {'x' * 2000}")
        assert await self.save() is OK
        return self.checkpoint.sequence

    def kept(self) -> list[int]:
        return [info.sequence for info in self.lab.store.manifest.snapshots]


async def test_the_window_moves_on_with_each_snapshot(tmp_path: Path) -> None:
    office = Archive(tmp_path)
    office.checkpoint.wanted = Wanted(window_ms=25_000)
    made = [await office.grow() for _ in range(3)]
    assert office.kept() == made and len(office.segments()) == 3, "sequence 0 is still in the window"
    made.append(await office.grow())
    assert office.kept() == made, "25 s back from 40 is 15, and the snapshot before that is the first"
    made.append(await office.grow())
    # The oldest moment of the window is 25 s back, and the snapshot before it is 30 s old.
    assert office.kept() == made[1:] and office.checkpoint.retention().base == made[1]
    assert office.files() == [f"snapshot-{sequence:020d}.vxs" for sequence in made[1:]]
    assert office.checkpoint.retention().window_ms(office.lab.clock.ms) == 30_000
    live = office.lab.digest()
    assert (await office.close()).digest() == live


async def test_time_alone_lets_go_of_old_files(tmp_path: Path) -> None:
    office = Archive(tmp_path)
    office.checkpoint.wanted = Wanted(window_ms=25_000)
    made = [await office.grow() for _ in range(3)]
    manifest = tmp_path / "manifest.json"
    before = manifest.stat().st_mtime_ns
    await office.checkpoint.tidy()
    assert manifest.stat().st_mtime_ns == before and office.kept() == made, "nothing to do is no work"
    office.lab.clock.ms += 100_000
    async with office.checkpoint.reading():
        await office.checkpoint.tidy()
        assert len(office.files()) == 3, "somebody reads"
    await office.checkpoint.tidy()
    assert office.kept() == made[2:] and len(office.files()) == 1 and office.segments() == []
    office.lab.node.log_failed("the disk is gone")
    office.lab.store.retain = None  # type: ignore[method-assign, assignment]
    await office.checkpoint.tidy()
    await office.close()


async def test_who_is_cancelled_while_tidying_lets_nobody_at_the_manifest_before_its_end(tmp_path: Path) -> None:
    """The stop cancels housekeeping; the thread goes on, and a snapshot may be published at that moment."""
    office = Archive(tmp_path)
    office.checkpoint.wanted = Wanted(window_ms=25_000)
    for _ in range(3):
        await office.grow()
    office.lab.clock.ms += 100_000
    begun, go_on = asyncio.Event(), threading.Event()
    loop, real = asyncio.get_running_loop(), office.lab.store.retain

    def slow(keep: Keep) -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(10)
        real(keep)

    office.lab.store.retain = slow  # type: ignore[method-assign]
    housekeeping = asyncio.create_task(office.checkpoint.tidy())
    await begun.wait()
    housekeeping.cancel()
    await asyncio.wait([housekeeping])
    assert office.checkpoint._files.locked()
    go_on.set()
    await office.checkpoint.cancel()
    assert len(office.kept()) == 1 and not office.checkpoint._files.locked()
    await office.close()


async def test_nothing_goes_while_somebody_reads_or_needs_it(tmp_path: Path) -> None:
    office = Archive(tmp_path)
    needed: list[int | None] = [None, 1]
    office.checkpoint.needed_from += [lambda: needed[0], lambda: needed[1]]
    first = await office.grow()
    assert len(office.segments()) == 1, "an archive lacks it"
    needed[1] = first + 1
    async with office.checkpoint.reading():
        second = await office.grow()
        assert len(office.segments()) == 2 and len(office.files()) == 2, "a child reads"
    assert len(office.segments()) == 1 and office.kept() == [second]
    needed[1] = None
    await office.checkpoint.tidy()
    assert office.segments() == []
    await office.close()


async def test_a_window_too_large_for_its_room_is_told_once(tmp_path: Path) -> None:
    office = Archive(tmp_path)
    told: list[str] = []
    office.checkpoint.on_shortened = told.append
    office.checkpoint.wanted = Wanted(window_ms=3_600_000, size_max=20_000)
    for _ in range(8):
        await office.grow()
    found = office.checkpoint.retention()
    assert 0 < found.extra_bytes <= 20_000 and office.checkpoint.shortened
    assert 0 < found.window_ms(office.lab.clock.ms) < 80_000
    assert len(told) == 1 and "instead of 3600 s" in told[0]
    office.checkpoint.wanted = Wanted(window_ms=3_600_000)
    await office.grow()
    assert not office.checkpoint.shortened
    await office.close()
