"""A change in many entries: all or nothing, whatever happens between any two of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from random import Random
from typing import Any, TypeVar

import pytest

from tests.unit.engine.lab import Lab
from tests.unit.engine.test_boot import snapshot
from vaylix_resp.commands.operations import publish, stage, unstage
from vaylix_resp.commands.ports import Later
from vaylix_resp.engine import entries, publication
from vaylix_resp.engine.node import Run
from vaylix_resp.engine.publication import (
    BUSY,
    ENTRY_BYTES_MAX,
    ENTRY_ROWS_MAX,
    IN_FLIGHT_MAX,
    MODES,
    Publication,
    Publications,
    Row,
    abandoned,
    name_of,
)
from vaylix_resp.errors import CommandError

T = TypeVar("T")
Entry = tuple[bytes, ...]
FULL = CommandError("MISCONF the disk is full")


class Proposal:
    """As `server.proposals`."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.later = desk, Later()

    def complete(self, run: Run) -> None:
        for reply in self.desk.lab.machine.apply_all(run.items):
            self.later.resolve(reply)

    def fail(self, run: Run, refusal: CommandError) -> None:
        self.later.resolve(refusal)


class Desk:
    """A node whose batches the test commits, and what was proposed to it."""

    def __init__(self, lab: Lab | None = None, leftovers: bool = True) -> None:
        self.lab = lab or Lab()
        self.proposed: list[Entry] = []
        self.refused: Callable[[int], bool] = lambda number: False  # of the n-th entry
        names = count(1)
        self.publications = Publications(
            self.propose, lambda: b"publication %d" % next(names), list(self.lab.machine.world.staged) if leftovers else ()
        )

    def propose(self, entry: Entry) -> Later:
        proposal = Proposal(self)
        self.proposed.append(entry)
        if self.refused(len(self.proposed) - 1):
            proposal.later.resolve(FULL)
        else:
            self.lab.node.propose(proposal, entry)
        return proposal.later

    async def drive(self, work: Awaitable[T], commits: int = 1 << 30) -> T | None:
        """Run it, committing a batch whenever it waits for one; None after so many commits."""
        task = asyncio.ensure_future(work)
        while True:
            for _ in range(5):  # more turns than any answer takes to be noticed
                await asyncio.sleep(0)
            if task.done():
                return task.result()
            if commits <= 0:
                return None
            assert self.lab.node.open.runs, "it waits for nothing"
            self.lab.commit()
            commits -= 1

    def live(self, db: int = 0) -> dict[bytes, bytes]:
        view = self.lab.machine.world.views[db]
        return {key: view.string(key) or b"" for key in list(view.keys())}

    def restart(self) -> Desk:
        return Desk(self.lab.restart())


def rows(number: int, value: bytes = b"v") -> list[Row]:
    return [(b"key:%d" % n, value, None, 0) for n in range(number)]


# Entries.


@pytest.mark.parametrize(
    "sizes, expected",
    [([], []), ([1], [1]), ([0] * ENTRY_ROWS_MAX, [ENTRY_ROWS_MAX]), ([0] * (ENTRY_ROWS_MAX + 1), [ENTRY_ROWS_MAX, 1]),
     ([0] * (2 * ENTRY_ROWS_MAX + 7), [ENTRY_ROWS_MAX, ENTRY_ROWS_MAX, 7]), ([ENTRY_BYTES_MAX - 2] * 3, [1, 1, 1]),
     ([ENTRY_BYTES_MAX // 2 - 1] * 5, [2, 2, 1]), ([ENTRY_BYTES_MAX * 3, 0, 0], [1, 2]),
     ([0, ENTRY_BYTES_MAX * 3, 0], [1, 1, 1])],
)  # fmt: skip
async def test_rows_are_cut_to_the_size_of_an_entry(sizes: list[int], expected: list[int]) -> None:
    desk = Desk()
    rows: list[Row] = [(b"k", b"x" * size, None, 0) for size in sizes]
    begun = desk.publications.begin()
    await desk.drive(begun.stage(0, rows))
    assert [(len(entry) - 3) // 4 for entry in desk.proposed] == expected
    assert all(entry[:3] == (b"@stage", begun.name, b"0") for entry in desk.proposed)


async def test_rows_travel_as_they_are() -> None:
    desk = Desk()
    given: list[Row] = [(b"\r\n", b"\x00\xff", 1_800_000_000_000, 4_294_967_295), (b"", b"", None, 0)]
    begun = desk.publications.begin()
    await desk.drive(begun.stage(3, given))
    assert await desk.drive(begun.publish("merge")) == 2
    view = desk.lab.machine.world.views[3]
    assert [(key, view.string(key), view.expiry(key), view.flags(key)) for key, _, _, _ in given] == given_facts(given)


def given_facts(rows: list[Row]) -> list[tuple[bytes, bytes, int | None, int]]:
    return [(key, value, at_ms, flags) for key, value, at_ms, flags in rows]


# From the beginning to the end.


@pytest.mark.parametrize("mode, left", [("merge", {b"other": b"1"}), ("replace", {})])
async def test_nothing_is_seen_until_all_is(mode: str, left: dict[bytes, bytes]) -> None:
    desk = Desk()
    desk.lab.write("SET key:1 live", "SET other 1")
    desk.lab.write("SET elsewhere 1", db=2)
    before = desk.live()
    begun = desk.publications.begin()
    assert desk.publications.busy
    for part in range(3):
        await desk.drive(begun.stage(0, [(b"%d:%b" % (part, key), value, None, 0) for key, value, _, _ in rows(900)]))
        await desk.drive(begun.stage(1, rows(10)))
        assert desk.live() == before and desk.live(1) == {}
    assert await desk.drive(begun.publish(mode)) == 2710
    assert len(desk.live()) == 2700 + (2 if mode == "merge" else 0) and len(desk.live(1)) == 10
    assert desk.live().items() >= left.items() and bool(desk.live(2)) == (mode == "merge")
    assert not desk.publications.busy and not desk.lab.machine.world.staged
    assert desk.restart().lab.machine.world.staged == {}


async def test_other_writes_go_between_and_two_entries_are_in_flight() -> None:
    desk = Desk()
    begun = desk.publications.begin()
    task = asyncio.ensure_future(begun.stage(0, rows(10 * ENTRY_ROWS_MAX)))
    landed = 0
    while not task.done():
        for _ in range(5):
            await asyncio.sleep(0)
        waiting = len(desk.proposed) - landed
        assert 0 < waiting <= IN_FLIGHT_MAX
        assert desk.lab.write(f"SET own {landed}") and desk.live() == {b"own": b"%d" % landed}
        landed = len(desk.proposed)
    assert landed == 10
    await desk.drive(begun.publish("merge"))
    assert len(desk.live()) == 10 * ENTRY_ROWS_MAX + 1 and desk.live()[b"own"] == b"8"


async def test_an_entry_is_applied_in_the_order_of_the_log() -> None:
    """What a client writes after the publication was asked for, and before it is in the log, is overwritten by it."""
    desk = Desk()
    begun = desk.publications.begin()
    await desk.drive(begun.stage(0, rows(1)))
    desk.lab.write("SET key:0 client")
    await desk.drive(begun.publish("merge"))
    assert desk.live() == {b"key:0": b"v"}
    desk.lab.write("SET key:0 client")
    assert desk.live() == {b"key:0": b"client"}


async def test_one_at_a_time() -> None:
    desk = Desk()
    for end in (lambda p: p.publish("merge"), lambda p: p.discard()):
        begun = desk.publications.begin()
        with pytest.raises(CommandError, match=BUSY):
            desk.publications.begin()
        await desk.drive(begun.stage(0, rows(1)))
        with pytest.raises(CommandError, match=BUSY):
            desk.publications.begin()
        await desk.drive(end(begun))
    assert desk.publications.begin().name == b"publication 3"


@pytest.mark.parametrize("modes", [(one, two) for one in MODES for two in MODES])
async def test_two_nodes_at_once_are_as_one_after_the_other(modes: tuple[str, str]) -> None:
    """Each node makes one at a time; what two have put aside does not mix, and whoever publishes last comes last."""
    mine = [(b"key:%d" % number, b"mine", None, 0) for number in range(4)]
    theirs = [(b"key:%d" % number, b"theirs", None, 0) for number in range(2, 6)]
    found = []
    for together in (True, False):
        desk = Desk()
        desk.lab.write("SET old x")
        there = Publications(desk.propose, lambda: b"of another node")

        async def story(desk: Desk = desk, there: Publications = there, together: bool = together) -> None:
            one = desk.publications.begin()
            await one.stage(0, mine[:2])
            if not together:
                await one.stage(0, mine[2:])
                await one.publish(modes[0])
            two = there.begin()
            await two.stage(0, theirs[:2])
            if together:
                await one.stage(0, mine[2:])
                await one.publish(modes[0])
            await two.stage(0, theirs[2:])
            await two.publish(modes[1])

        await desk.drive(story())
        assert not desk.lab.machine.world.staged
        found.append(desk.live())
    assert found[0] == found[1] and found[0][b"key:5"] == b"theirs"
    assert (b"key:0" in found[0]) is (modes[1] == "merge") and (b"old" in found[0]) is (modes == ("merge", "merge"))


@pytest.mark.parametrize("staged", [0, 1, 3])
async def test_discard(staged: int) -> None:
    desk = Desk()
    desk.lab.write("SET a 1")
    begun = desk.publications.begin()
    for _ in range(staged):
        await desk.drive(begun.stage(0, rows(5)))
    for _ in range(2):
        await desk.drive(begun.discard())
    assert desk.live() == {b"a": b"1"} and not desk.lab.machine.world.staged and not desk.publications.busy
    assert desk.proposed[staged:] == [unstage(begun.name)] * bool(staged), "once, and not for nothing"


# What is refused, and what is cut off.

ENTRIES = 4  # of `whole`: three that stage, one that publishes


async def whole(begun: Publication) -> int:
    await begun.stage(0, rows(2 * ENTRY_ROWS_MAX, b"new"))
    await begun.stage(1, rows(5, b"new"))
    return await begun.publish("replace")


@pytest.mark.parametrize("refused", range(ENTRIES))
@pytest.mark.parametrize("back_after", [1, 2])
async def test_a_full_disk_at_any_entry_changes_nothing(refused: int, back_after: int) -> None:
    """The disk may be full for the entry that throws the staged keys away as well: that is made up for later."""
    desk = Desk()
    desk.lab.write("SET a 1")
    desk.refused = lambda number: refused <= number < refused + back_after
    with pytest.raises(CommandError, match="the disk is full"):
        await desk.drive(whole(desk.publications.begin()))
    assert desk.live() == {b"a": b"1"} and not desk.publications.busy
    desk.refused = lambda number: False
    desk.publications.tidy()
    desk.lab.commit()
    assert not desk.lab.machine.world.staged
    before = len(desk.proposed)
    desk.publications.tidy()
    assert len(desk.proposed) == before, "nothing is left to do"
    assert await desk.drive(whole(desk.publications.begin())) == 2 * ENTRY_ROWS_MAX + 5
    assert b"a" not in desk.live()


async def test_a_log_that_stays_full_is_not_asked_again_and_again() -> None:
    desk = Desk()
    desk.refused = lambda number: number >= 1
    with pytest.raises(CommandError):
        await desk.drive(whole(desk.publications.begin()))
    asked = len(desk.proposed)
    desk.publications.tidy()
    assert len(desk.proposed) == asked + 1


@pytest.mark.parametrize("commits", range(ENTRIES))
async def test_a_cancelled_publication_throws_away_what_it_staged(commits: int) -> None:
    desk = Desk()
    desk.lab.write("SET a 1")
    task = asyncio.ensure_future(whole(desk.publications.begin()))
    await desk.drive(asyncio.sleep(0), 0)
    for _ in range(commits):
        for _ in range(5):
            await asyncio.sleep(0)
        desk.lab.commit()
    for _ in range(5):
        await asyncio.sleep(0)
    if task.done():
        assert len(desk.live()) == 2 * ENTRY_ROWS_MAX
        return
    published = publish(b"publication 1", "replace") in desk.proposed
    task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    desk.lab.commit()
    with pytest.raises(asyncio.CancelledError):
        await desk.drive(task)
    assert not desk.lab.machine.world.staged and not desk.publications.busy
    assert (b"a" not in desk.live()) == published


@pytest.mark.parametrize("snapshot_after", [None, 0, 1, 2])
@pytest.mark.parametrize("commits", range(ENTRIES))
async def test_a_process_that_dies_between_any_two_entries(commits: int, snapshot_after: int | None) -> None:
    """All or nothing; what is left staged goes by an entry of the next life. The state is the same by any way."""
    desk = Desk()
    desk.lab.write("SET a 1", "SET key:1 1")
    before = desk.live()
    task = asyncio.ensure_future(whole(desk.publications.begin()))
    for number in range(commits):
        for _ in range(5):
            await asyncio.sleep(0)
        if number == snapshot_after:
            snapshot(desk.lab)
        desk.lab.commit()
    task.cancel()
    digest, live, staged = desk.lab.digest(), desk.live(), list(desk.lab.machine.world.staged)
    done = b"a" not in live
    assert live == before or done
    assert bool(staged) == (commits > 0 and not done)

    lab = desk.lab.restart(term=False)
    assert lab.digest() == digest and list(lab.machine.world.staged) == staged
    after = Desk(lab.restart())
    assert after.live() == live and list(after.lab.machine.world.staged) == staged
    after.publications.tidy()
    after.lab.commit()
    assert after.live() == live and not after.lab.machine.world.staged
    final = after.lab.digest()
    assert after.lab.restart(term=False).digest() == final


@pytest.mark.parametrize("how", ["prefix", "lose", "keep"])
@pytest.mark.parametrize("seed", range(4))
async def test_a_power_cut_while_the_last_entry_is_written(how: str, seed: int) -> None:
    """The entry that publishes was not acknowledged: afterwards it has happened or it has not, and nothing between."""
    desk = Desk()
    desk.lab.write("SET a 1", "SET key:1 1")
    before = desk.live()
    begun = desk.publications.begin()
    await desk.drive(begun.stage(0, rows(700, b"new")))
    desk.lab.commit()
    desk.lab.node.appendfsync = "no"
    desk.lab.node.propose(Proposal(desk), publish(begun.name, "replace"))
    desk.lab.commit()
    expected = desk.live()
    desk.lab.store.abandon()
    after = Desk(Lab(desk.lab.sim.crash(Random(seed), how)))
    assert after.live() in (before, expected)
    assert bool(after.lab.machine.world.staged) == (after.live() == before)


async def test_a_snapshot_holds_what_is_staged() -> None:
    """From it and the log behind it the publication goes on to the same end."""
    desk = Desk()
    begun = desk.publications.begin()
    await desk.drive(begun.stage(0, rows(1200)))
    desk.lab.commit()
    snapshot(desk.lab)
    assert desk.lab.store.manifest.newest is not None
    await desk.drive(begun.stage(2, rows(3)))
    assert await desk.drive(begun.publish("merge")) == 1203
    desk.lab.write("SET key:7 later")
    digest = desk.lab.digest()
    assert desk.lab.restart(term=False).digest() == digest


async def test_a_bug_while_staging_ends_the_publication(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    begun = desk.publications.begin()
    await desk.drive(begun.stage(0, rows(1)))

    def broken(*_: Any) -> Entry:
        raise ZeroDivisionError

    monkeypatch.setattr(publication, "stage", broken)
    with pytest.raises(ZeroDivisionError):
        await desk.drive(begun.stage(0, rows(1)))
    assert not desk.publications.busy and not desk.lab.machine.world.staged


def test_an_entry_of_the_largest_size_is_as_large_as_it_says() -> None:
    """What a reader of the log or of the network meets; the words of a row cost a little more than its bytes."""
    entry = stage(b"x" * 16, 0, [(b"k" * 100, b"v" * 400, 1_800_000_000_000, 7)] * ENTRY_ROWS_MAX)
    assert len(entries.encode([entry])) < 2 * ENTRY_BYTES_MAX


ME, OTHER, GONE = 0x11, 0x22, 0x33
STAGED = [name_of((node, boot), b"x") for node in (ME, OTHER, GONE) for boot in (1, 2)] + [b"0123456789abcdef"]


@pytest.mark.parametrize(
    "members, found",
    [
        (None, [name_of((ME, 1), b"x")]),  # of our own earlier process; the rest is the leader's business
        ([ME, OTHER, GONE], [name_of((ME, 1), b"x"), b"0123456789abcdef"]),  # of the time before it was a cluster
        ([ME, OTHER], [name_of((ME, 1), b"x"), name_of((GONE, 1), b"x"), name_of((GONE, 2), b"x"), b"0123456789abcdef"]),
    ],
)
def test_what_nobody_will_publish(members: list[int] | None, found: list[bytes]) -> None:
    assert sorted(abandoned(STAGED, (ME, 2), members)) == sorted(found)
    assert abandoned([name_of((0, 0), b"x")], (0, 0), None) == [], "of the only process of the only node"


async def test_what_is_abandoned_is_found_while_the_server_runs() -> None:
    desk = Desk(leftovers=False)
    begun = desk.publications.begin()
    await desk.drive(begun.stage(0, rows(3)))  # and nobody publishes it
    staged = desk.lab.machine.world.staged
    desk.lab.commit()
    assert list(staged) == [begun.name]
    desk.publications.abandoned = lambda: list(staged)
    desk.publications.tidy()
    desk.lab.commit()
    assert not staged
    proposed = len(desk.proposed)
    desk.publications.tidy()
    assert len(desk.proposed) == proposed, "once"
