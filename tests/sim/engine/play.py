"""One life played until something ends it, and what may be found afterwards.

Shared by the exhaustive tests (a fault at every call) and the endless ones (`python -m tests.sim.engine`).
"""

from __future__ import annotations

from random import Random

from tests.sim.disk.simdisk import Fault, PowerCut, SimDisk
from tests.sim.engine.workload import steps
from tests.sim.engine.world import Book, Clock, Life, new_clock
from vaylix_resp.storage.errors import StorageError

MODES = ("lose", "keep", "prefix", "sectors", None)  # what a power cut leaves, see simdisk
CALLS_MAX = 10_000


class Story:
    """A disk, what the outside knows, and the lives upon it."""

    def __init__(self, seed: int, *, appendfsync: str = "always", disk: SimDisk | None = None) -> None:
        self.seed, self.appendfsync = seed, appendfsync
        self.disk = disk or SimDisk()
        self.book, self.clock = Book(), new_clock()
        self.lives = 0
        self.settled = False  # the last life came as far as to know its state
        self.warnings = 0
        self.problems: list[str] = []

    def branch(self, disk: SimDisk) -> Story:
        """The same past, another disk: one power cut may leave many."""
        other = Story(self.seed, appendfsync=self.appendfsync, disk=disk)
        other.book, other.lives = self.book.copy(), self.lives
        other.clock = Clock(self.clock.ms)
        return other

    @property
    def promised(self) -> int:
        """What a power cut must leave: what was answered, or with a relaxed appendfsync what was synced."""
        return self.book.answered if self.appendfsync == "always" else self.book.synced

    def live(self, count: int, *, stop: bool, powered: bool = True) -> bool:
        """Start, check what is found, write. False when the power went, True when it came to its end.

        `powered`: there has been no power cut, so even what was only answered has to be there.
        """
        self.lives += 1
        self.settled = False
        rng = Random(f"{self.seed} {self.lives}")
        life = Life(self.disk, self.book, self.clock, rng.getrandbits(32), appendfsync=self.appendfsync)
        try:
            life.open()
            self.book.check(life.machine, self.book.answered if powered else self.promised)
            self.book.settle(life.machine)
            self.settled = True
            self.warnings += len(life.warnings)
            life.begin_term()
            for _ in steps(life, rng, count):
                self.problems += life.problems
                life.problems.clear()
            if stop:
                life.stop()
            else:
                life.store.abandon()
        except PowerCut:
            return False
        finally:
            self.problems += life.problems
        return True

    def calls_of(self, count: int, *, stop: bool) -> int:
        """How many calls such a life makes; this story is over then."""
        before = self.disk.calls
        assert self.live(count, stop=stop)
        return self.disk.calls - before


def found_after(story: Story, disk: SimDisk, *, powered: bool) -> tuple[int, Story]:
    """Where the log ends when a process starts on `disk`, and the story that goes on from there."""
    after = story.branch(disk)
    assert after.live(0, stop=False, powered=powered), "no fault was planned here"
    return after.book.records[-1].first - 1, after


def refuses_or_lives(story: Story, count: int, *, stop: bool) -> bool:
    """As `live`; a start that the disk made impossible is an end as well, and changes nothing that was promised."""
    book = story.book.copy()
    try:
        return story.live(count, stop=stop)
    except StorageError as refusal:
        story.problems.append(str(refusal))
        # The term may have been begun or not; nobody was told anything.
        assert [run for run in story.book.runs.items() if run not in book.runs.items()] == []
        return True


def plan(disk: SimDisk, rng: Random) -> None:
    """Faults for the next life: usually one, at a call that it may or may not reach."""
    disk.faults = {}
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = disk.calls + rng.choice((rng.randrange(1, 40), rng.randrange(1, 150), rng.randrange(1, 400)))
        kind = rng.choice(("crash", "crash", "crash", "eio", "enospc", "enospc"))
        disk.faults[at] = Fault(kind, rng.choice((0.0, 0.3, 0.7, 0.99)))


def long_story(seed: int, lives: int) -> Story:
    """Many lives on one disk: crashes, failures, full disks, kills and clean stops, whatever comes."""
    rng = Random(seed)
    story = Story(seed, appendfsync=rng.choice(("always", "always", "always", "everysec")))
    powered = True
    for _ in range(lives):
        plan(story.disk, rng)
        count = rng.choice((0, 3, 15, 40))
        try:
            ended = story.live(count, stop=rng.random() < 0.5, powered=powered)
        except StorageError as refusal:
            story.problems.append(str(refusal))
            ended = True
        if not ended or rng.random() < 0.2:
            story.disk, powered = story.disk.crash(rng, rng.choice(MODES)), False
        else:
            story.disk.kill()
            powered = powered or story.settled  # a start that was refused has not seen what a power cut left
    story.disk.faults = {}
    story.disk.kill()
    assert story.live(20, stop=True, powered=powered)
    assert story.live(0, stop=True)
    return story
