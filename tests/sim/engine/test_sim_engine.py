"""Issue 2, shown by 5, at the level of the whole engine: the power goes, or the disk fails, at every call.

What clients were told is there; what they were refused is not; what is in between is there as a whole or not at all;
and the state is the one that the log makes. With VAYLIX_SWEEP=all at every call, else at an even part of them.
"""

from __future__ import annotations

import contextlib
from random import Random

import pytest

from tests.sim.disk.simdisk import Fault
from tests.sim.engine.play import CALLS_MAX, MODES, Story, found_after, long_story, refuses_or_lives
from tests.sim.thorough import some_calls, some_ways
from vaylix_resp.storage.errors import StorageError

SEED = 4
STEPS = 34


def cut_at(call: int, seed: int = SEED, appendfsync: str = "always") -> Story:
    """A story whose power went at this call."""
    story = Story(seed, appendfsync=appendfsync)
    story.disk.faults[call] = Fault("crash")
    assert not story.live(STEPS, stop=True)
    return story


def calls_of(seed: int = SEED, appendfsync: str = "always") -> int:
    return Story(seed, appendfsync=appendfsync).calls_of(STEPS, stop=True)


def test_the_workload_does_what_it_should() -> None:
    story = Story(SEED)
    assert story.live(STEPS, stop=True)
    called = {(name, path.split("/")[1]) for name, path, _ in story.disk.log if path.count("/")}
    assert {("rename", "snapshots"), ("unlink", "snapshots"), ("unlink", "wal"), ("truncate", "wal")} <= called
    assert sum(1 for name, path, _ in story.disk.log if name == "rename" and "snapshot-" in path) >= 2
    assert set(story.book.runs.values()) == {"done"} and len(story.book.runs) > 30
    assert story.problems == []
    words = {operation[0] for record in story.book.records for operation in record.operations}
    assert {b"@in", b"@exec", b"@expire", b"SET", b"INCR", b"APPEND", b"DEL"} <= words
    assert story.live(0, stop=True) and story.warnings == 0


def test_the_check_can_fail() -> None:
    """A book that was told something else finds every kind of lie."""
    story = Story(SEED)
    story.live(STEPS, stop=False)
    story.disk.kill()
    last = story.book.records[-1]

    def finds(what: str, change) -> None:  # type: ignore[no-untyped-def]
        liar = story.branch(story.disk.copy())
        change(liar.book)
        with pytest.raises(AssertionError, match=what):
            liar.live(0, stop=False)

    finds("half a batch", lambda book: book.records.pop())
    finds("was promised", lambda book: setattr(book, "answered", last.last + 1))
    finds("was refused, and happened", lambda book: book.runs.update({3: "refused"}))
    finds("was answered, and is gone", lambda book: book.runs.update({9999: "done"}))
    finds("not the state", lambda book: book.records.__setitem__(5, book.records[6]))


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
def test_power_cut_at_every_call(appendfsync: str) -> None:
    outcomes = set()
    for call in some_calls(range(1, calls_of(appendfsync=appendfsync) + 1)):
        story = cut_at(call, appendfsync=appendfsync)
        for mode in some_ways(call, MODES):
            end, _ = found_after(story, story.disk.crash(Random(call), mode), powered=False)
            outcomes.add(end - story.promised)
        # The process died, the machine did not: nothing that was answered is lost, synced or not.
        found_after(story, story.disk.kill(), powered=True)
    assert len(outcomes) > 3, "what was in flight survives sometimes"


def test_power_cut_at_calls_of_the_recovery() -> None:
    """Recovery is idempotent: whatever interrupts it, the next one finds the same."""
    for call in some_calls(range(2, calls_of() + 1, 5)):
        story = cut_at(call)
        image = story.disk.crash(Random(call), None)
        end, after = found_after(story, image.copy(), powered=False)
        calls = after.disk.calls
        for again in {Random(f"{call} {n}").randrange(1, calls + 1) for n in range(4)} | {calls}:
            second = story.branch(image.copy())
            second.disk.faults[again] = Fault("crash")
            assert not second.live(0, stop=False, powered=False)
            for disk in (second.disk.crash(Random(again), None), second.disk.kill()):
                found, _ = found_after(second, disk, powered=False)
                # With the first entry of the term that the interrupted process began, or without it.
                assert found in (end, end + 1), (call, again)


@pytest.mark.parametrize("kind", ["eio", "enospc"])
def test_the_disk_fails_at_every_call(kind: str) -> None:
    """Nothing is acknowledged after a failed log (`Life` watches); after a full disk writes go on by themselves."""
    answers: set[str] = set()
    for call in some_calls(range(1, calls_of() + 1)):
        story = Story(SEED)
        story.disk.faults[call] = Fault(kind, Random(call).choice((0.0, 0.6)))
        assert refuses_or_lives(story, STEPS, stop=True)
        answers |= set(story.book.runs.values())
        if kind == "enospc" and "unsure" in story.book.runs.values():
            failed, _, _ = story.disk.log[call - 1]
            assert failed in ("fdatasync", "fsync", "fsync_dir", "rename"), "no room to write is a definite no"
        for mode in (("lose", None)[call % 2], "kill"):  # the kill last, as it goes on with this very disk
            disk = story.disk.kill() if mode == "kill" else story.disk.crash(Random(call), mode)
            end, after = found_after(story, disk, powered=mode == "kill")
            assert after.live(3, stop=True), "the disk is well again"
    assert answers == {"done", "refused", "unsure"}


def test_the_disk_fails_at_calls_of_the_recovery() -> None:
    """The start is refused, or it comes about; the next one finds the same."""
    refused = 0
    for call in some_calls(range(3, calls_of() + 1, 9)):
        story = cut_at(call)
        image = story.disk.crash(Random(call), None)
        end, after = found_after(story, image.copy(), powered=False)
        for at in range(1, after.disk.calls + 1, 2):
            disk = image.copy()
            disk.faults[at] = Fault(("eio", "enospc")[at // 2 % 2])
            second = story.branch(disk)
            with contextlib.suppress(StorageError):
                second.live(0, stop=False, powered=False)
            refused += not second.settled
            found, _ = found_after(second, disk.crash(Random(at), None), powered=False)
            assert found in (end, end + 1), (call, at)
            found, _ = found_after(second, disk.kill(), powered=False)
            assert found in (end, end + 1), (call, at)
    assert refused > 50


def test_a_disk_that_stays_full_or_broken() -> None:
    for broken in ("growth", "all", "eio"):
        for step in range(0, STEPS, 4):
            story = Story(SEED)
            assert story.live(step, stop=False)
            story.disk.kill()
            if broken == "eio":
                story.disk.sync_error_on = ".wal"
            else:
                story.disk.full = broken
            assert refuses_or_lives(story, 10, stop=True)
            assert story.problems
            story.disk.sync_error_on = story.disk.full = ""
            found_after(story, story.disk.crash(Random(step), None), powered=False)


@pytest.mark.parametrize("seed", range(12))
def test_long_stories(seed: int) -> None:
    long_story(seed, lives=12)


def test_a_recovery_ends() -> None:
    story = cut_at(calls_of() // 2)
    _, after = found_after(story, story.disk.crash(Random(1), None), powered=False)
    assert after.disk.calls < CALLS_MAX
