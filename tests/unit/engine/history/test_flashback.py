"""FLASHBACK from request to reply, on a real directory; the child's work is done in this process but for one test."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.unit.engine.lab import Operation, shown
from tests.unit.engine.test_checkpoint import Office, reply_of
from vaylix_resp.commands.points import Point
from vaylix_resp.commands.ports import Later
from vaylix_resp.engine.children import ChildFailed
from vaylix_resp.engine.history import history_child
from vaylix_resp.engine.history.flashback import BUSY, Flashback
from vaylix_resp.engine.history.history_child import answer
from vaylix_resp.engine.node import Run
from vaylix_resp.engine.publication import Publications
from vaylix_resp.errors import CommandError


class Proposal:
    def __init__(self, past: Past) -> None:
        self._past, self.later = past, Later()

    def complete(self, run: Run) -> None:
        for reply in self._past.lab.node.machine.apply_all(run.items):
            self.later.resolve(reply)

    def fail(self, run: Run, refusal: CommandError) -> None:
        self.later.resolve(refusal)


class Past(Office):
    """An office with a past: `at` writes at a time, `flashback` looks back."""

    def __init__(self, root: Path, *, real_child: bool = False, **options: Any) -> None:
        super().__init__(root, **options)
        self.proposed: list[Operation] = []
        numbers = count(1)
        self.publications = Publications(self.propose, lambda: b"p%d" % next(numbers))
        children = self.checkpoint._children
        self.flashback = Flashback(str(root), self.checkpoint, children, self.lab.clock, self.publications)
        if not real_child:
            children.run = self.child  # type: ignore[method-assign, assignment]

    def propose(self, entry: Operation) -> Later:
        proposal = Proposal(self)
        if self.lab.node.refusal is not None:
            proposal.later.resolve(self.lab.node.refusal)
        else:
            self.proposed.append(entry)
            self.lab.node.propose(proposal, entry)
        return proposal.later

    async def child(
        self, arguments: list[str], on_message: Callable[[dict[str, Any]], None], on_bytes: Any, request: bytes
    ) -> dict[str, Any]:  # fmt: skip
        out = io.BytesIO()
        last = int(arguments[arguments.index("--sequence") + 1])
        answer(self.lab.disk, self.lab.root, self.lab.keys, last, json.loads(request), out)  # type: ignore[arg-type]
        out.seek(0)
        message: dict[str, Any] = {}
        while line := out.readline():
            message = json.loads(line)
            if "bytes" in message:
                await on_bytes(message, out.read(message["bytes"]))
        return message

    async def at(self, ms: int, *texts: str, db: int = 0) -> int:
        """Write them at this time after the start, as one batch; the sequence of the last one."""
        self.lab.clock.ms = max(self.lab.clock.ms, self.start + ms)
        await self.write(*texts, db=db)
        return self.lab.node.applied

    @property
    def start(self) -> int:
        return self.lab.store.manifest.created_ms

    def time(self, ms: int) -> Point:
        return Point(timestamp_ms=self.start + ms)

    async def get(self, key: str, point: Point, db: int = 0) -> Any:
        return shown(await reply_of(self.flashback.get(db, key.encode(), point)))

    async def restore(self, pattern: str | bytes, point: Point, db: int = 0, *, dry_run: bool = False) -> Any:
        raw = pattern.encode() if isinstance(pattern, str) else pattern
        return shown(await reply_of(self.flashback.restore(db, raw, point, dry_run=dry_run)))

    def live(self, db: int = 0) -> dict[bytes, tuple[bytes | None, int | None, int]]:
        self.lab.machine.read_at(self.lab.clock.ms)
        view = self.lab.machine.world.views[db]
        return {key: (view.string(key), view.expiry(key), view.flags(key)) for key in view.keys()}  # noqa: SIM118


async def test_what_a_key_was(tmp_path: Path) -> None:
    past = Past(tmp_path)
    one = await past.at(1000, "SET k one")
    two = await past.at(2000, "SET k two PX 5000", "SET other 1")
    await past.at(3000, "DEL k")
    assert await past.get("k", Point(one)) == {
        b"type": b"string", b"value": b"one", b"version": one, b"expire_at_ms": -1, b"sequence": one,
        b"timestamp_ms": past.start + 1000,
    }  # fmt: skip
    found = await past.get("k", past.time(2500))
    assert (found[b"value"], found[b"expire_at_ms"]) == (b"two", past.start + 7000)
    assert found[b"sequence"] == two and found[b"timestamp_ms"] == past.start + 2000
    assert (await past.get("k", Point(two - 1)))[b"value"] == b"two", "in the middle of a batch"
    assert await past.get("other", Point(two - 1)) is None and await past.get("other", Point(two)) is not None
    assert await past.get("k", past.time(3000)) is None and await past.get("k", Point(0)) is None
    assert await past.get("k", Point(one), db=3) is None, "another database"
    assert past.proposed == [] and past.flashback.count == 8 and past.flashback.last_error == ""
    await past.close()


async def test_a_key_that_had_expired_was_not_there(tmp_path: Path) -> None:
    """Also if no entry had removed it yet, and also if nothing was written since."""
    past = Past(tmp_path)
    await past.at(1000, "SET k v PX 500")
    past.lab.clock.ms = past.start + 9000
    assert (await past.get("k", past.time(1499)))[b"value"] == b"v"
    assert await past.get("k", past.time(1500)) is None
    assert await past.restore("k", past.time(1499), dry_run=True) == {
        b"restored": 0, b"expired": 1, b"keys": [], b"sequence": 2, b"timestamp_ms": past.start + 1000,
    }  # fmt: skip
    assert (await past.restore("k", past.time(1500), dry_run=True))[b"expired"] == 0
    await past.close()


async def test_bringing_back_after_a_flush(tmp_path: Path) -> None:
    past = Past(tmp_path)
    await past.at(1000, "SET a 1", "SET b 2 PX 60000", "SET empty x", "EXSET flagged v FLAGS 7", "SET gone x PX 300")
    await past.at(1100, "SET elsewhere 1", db=2)
    before = past.live()
    await past.at(2000, "FLUSHALL", "SET a new", "SET since 1")
    version = past.lab.version("a")
    told = await past.restore("*", past.time(1200), dry_run=True)
    assert (told[b"restored"], told[b"expired"], sorted(told[b"keys"])) == (4, 1, [b"a", b"b", b"empty", b"flagged"])
    assert past.live() == {b"a": (b"new", None, 0), b"since": (b"1", None, 0)}, "a dry run changes nothing"
    assert await past.restore("*", past.time(1200)) == 4
    before.pop(b"gone")
    assert past.live() == before | {b"since": (b"1", None, 0)} and past.live(2) == {}
    assert past.lab.version("a") > version
    assert [entry[0] for entry in past.proposed][-1] == b"@publish"
    live = past.lab.digest()
    assert (await past.close()).digest() == live


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("user:1", {"user:1"}),
        ("user:*", {"user:1", "user:22", "user:[x]", "user:*"}),
        ("user:?", {"user:1", "user:*"}),
        ("user:[12]*", {"user:1", "user:22"}),
        (r"user:\*", {"user:*"}),
        (r"user:\[x\]", {"user:[x]"}),
        ("nobody", set()),
        ("*", {"user:1", "user:22", "user:[x]", "user:*", "other", ""}),
    ],
)
async def test_which_keys_match(pattern: str, found: set[str], tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.lab.client.write(
        *((b"SET", key.encode(), b"v") for key in ("user:1", "user:22", "user:[x]", "user:*", "other", ""))
    )
    sequence = await past.at(1000, "SET later 1")
    await past.at(1100, "FLUSHALL")
    assert await past.restore(pattern, Point(sequence - 1)) == len(found)
    assert set(past.live()) == {key.encode() for key in found}
    assert past.publications.busy is False
    await past.close()


async def test_a_point_out_of_reach(tmp_path: Path) -> None:
    past = Past(tmp_path)
    last = await past.at(1000, "SET k 1")
    for point in (Point(last + 1), past.time(1001), past.time(-1)):
        for reply in (await past.get("k", point), await past.restore("*", point)):
            assert reply.startswith(f"ERR {point} cannot be restored, only sequence 0 (2023-")
            assert f"to {last} (2023-" in reply and str(tmp_path) not in reply
    assert past.flashback.last_error.startswith("ERR time") and past.proposed == [] and not past.publications.busy
    assert await past.get("k", past.time(1000)) is not None
    await past.close()


async def test_one_at_a_time(tmp_path: Path) -> None:
    past = Past(tmp_path)
    last = await past.at(1000, "SET k 1")
    first = past.flashback.get(0, b"k", Point(last))
    assert past.flashback.running and await past.get("k", Point(last)) == BUSY
    assert await past.restore("k", Point(last)) == BUSY
    assert (await reply_of(first))[b"value"] == b"1" and not past.flashback.running
    assert await past.restore("k", Point(last)) == 1
    publication = past.publications.begin()
    assert (await past.restore("k", Point(last))).startswith("BUSY another restore")
    await publication.discard()
    await past.close()


@pytest.mark.parametrize("failure", [ChildFailed("damaged"), OSError("no more processes"), ZeroDivisionError()])
async def test_whatever_goes_wrong_changes_nothing(failure: Exception, tmp_path: Path) -> None:
    past = Past(tmp_path)
    last = await past.at(1000, *(f"SET k{n} {n}" for n in range(5)))
    await past.at(1100, "FLUSHALL")
    child = past.child

    async def fails_at_the_end(*arguments: Any, **options: Any) -> dict[str, Any]:
        await child(*arguments, **options)
        raise failure

    past.checkpoint._children.run = fails_at_the_end  # type: ignore[method-assign, assignment]
    reply = await past.restore("*", Point(last))
    assert reply == f"ERR FLASHBACK failed: {failure if not isinstance(failure, ZeroDivisionError) else repr(failure)}"
    assert past.live() == {} and past.lab.machine.world.staged == {} and not past.publications.busy
    past.checkpoint._children.run = child  # type: ignore[method-assign, assignment]
    assert await past.restore("*", Point(last)) == 5
    await past.close()


async def test_a_log_that_fails_meanwhile(tmp_path: Path) -> None:
    past = Past(tmp_path)
    last = await past.at(1000, "SET k 1")
    child = past.child

    async def full(*arguments: Any, **options: Any) -> dict[str, Any]:
        past.lab.node.out_of_space()
        return await child(*arguments, **options)

    past.checkpoint._children.run = full  # type: ignore[method-assign, assignment]
    assert (await past.restore("*", Point(last))).startswith("MISCONF ")
    past.lab.node.space_is_back()
    assert past.live() == {b"k": (b"1", None, 0)} and not past.publications.busy
    await past.close()


async def test_rows_come_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_child, "ROWS_COUNT", 10)
    past = Past(tmp_path)
    last = await past.at(1000, *(f"SET key:{n} x{n}" for n in range(95)))
    before = past.live()
    await past.at(1100, "FLUSHALL")
    assert await past.restore("*", Point(last)) == 95 and past.live() == before
    assert len([entry for entry in past.proposed if entry[0] == b"@stage"]) == 10
    await past.close()


async def test_a_process_of_its_own(tmp_path: Path) -> None:
    """The same through a real child: sealed files, its own keyring, the request through standard input."""
    past = Past(tmp_path, real_child=True)
    await past.at(1000, "SET k one", "SET j 2")
    assert await past.save() is not None
    await past.at(2000, "SET k two")
    await past.at(3000, "FLUSHALL")
    assert (await past.get("k", past.time(2000)))[b"value"] == b"two"
    assert await past.restore("*", past.time(2999)) == 2
    assert past.live() == {b"k": (b"two", None, 0), b"j": (b"2", None, 0)}
    await past.close()


async def test_the_end_of_the_server_ends_it(tmp_path: Path) -> None:
    past = Past(tmp_path, real_child=True)
    last = await past.at(1000, "SET k one")
    later = past.flashback.restore(0, b"*", Point(last), dry_run=False)
    while not past.checkpoint._children._processes:
        await asyncio.sleep(0.001)
    past.checkpoint._children.cancel()
    await past.flashback.cancel()
    assert later.done and isinstance(later.reply, CommandError) and "status -15" in later.reply.text
    await past.flashback.cancel()
    live = past.lab.digest()
    assert (await past.close(clean=True)).digest() == live


