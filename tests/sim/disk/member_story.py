"""Random lives of the log of a member of a cluster on one simulated disk, each ended by whatever comes.

The outside knows term and vote, the log and what was called committed (`member.Told`), and which states an interrupted call
may leave. After every end the storage starts again and has to be in one of them; nothing that was promised is missing, and
no vote is forgotten. Leaders change: the log is cut behind what is committed, and snapshots are installed.
Not here: who is right in a cluster (`tests.sim.raft`).
"""

from __future__ import annotations

from collections import Counter
from random import Random

from tests.sim.disk.member import NODE, Member, Sent, Told, Vote, entry, last_of
from tests.sim.disk.simdisk import MODES, Fault, PowerCut, SimDisk
from tests.sim.disk.story import Broken
from tests.sim.disk.workload import ROOT, Fact, fact
from vaylix_resp.errors import Refused
from vaylix_resp.storage.batch import ENTRIES, MEMBERS, NOOP, Batch
from vaylix_resp.storage.errors import DiskFull, IoFailed, Unreadable, WalFailed
from vaylix_resp.storage.upkeep.verify import verify

LIVES = 12
SIZES = (1, 30, 300, 700, 3000, 9000)
KINDS = (ENTRIES, ENTRIES, ENTRIES, NOOP, MEMBERS)


class MemberStory:
    """`python -m tests.sim.disk --member` tells many of them."""

    def __init__(self, seed: int) -> None:
        self.seed, self.rng = seed, Random(seed)
        self.disk = SimDisk()
        self.disk.reverts = self.rng.random() < 0.3
        self.possible = [Told((0, 0), ())]
        self.counts: Counter[str] = Counter()

    def tell(self, lives: int = LIVES) -> MemberStory:
        for _ in range(lives):
            self._plan()
            self._live()
            self._end()
        self._check(Member(self.disk.kill()).open())
        self._check(Member(self.disk.crash(self.rng, "lose")).open())  # what a start has found, no power cut takes back
        return self

    def _plan(self) -> None:
        rng, disk = self.rng, self.disk
        disk.faults = {}
        for _ in range(rng.choice((1, 1, 2))):
            at = disk.calls + rng.choice((rng.randrange(1, 40), rng.randrange(20, 120), rng.randrange(20, 300)))
            disk.faults[at] = Fault(rng.choice(("crash", "crash", "crash", "eio", "enospc")), rng.random())
        if rng.random() < 0.1:
            disk.bad_reads = {disk.reads + rng.randrange(1, 60)}

    def _live(self) -> None:
        one = Member(self.disk)
        try:
            one.open()
        except PowerCut:
            return self._count("cut while starting")
        except (IoFailed, Unreadable):
            if hasattr(one, "recovered"):
                one.store.abandon()
            return self._count("start refused by the disk")
        self._check(one)
        try:
            for _ in range(self.rng.choice((0, 4, 12, 30))):
                self._step(one)
            if self.rng.random() < 0.4:
                one.stop()
                self._count("clean stop")
            else:
                one.store.abandon()
        except PowerCut:
            self._count("cut")
        except (WalFailed, IoFailed, Unreadable, DiskFull):
            self._count("disk failed")
            one.store.abandon()
        self.possible = one.possible or [one.promised]

    def _step(self, one: Member) -> None:
        rng = self.rng
        before = one.promised
        try:
            match rng.randrange(12):
                case 0:
                    one.store.wal.rotate()
                case 1:
                    one.store.wal.prepare_spare()
                case 2:
                    one.snapshot()
                    self._count("snapshot")
                case 3 | 4:
                    self._cut(one)
                case 5 if rng.random() < 0.3:
                    self._install(one)
                case 6:
                    self._read(one)
                case _:
                    self._save(one)
        except (DiskFull, IoFailed):
            if one.store.wal.failed:
                raise
            self._count("refused for want of room")
            one.promised, one.possible = before, [before]  # a definite no

    def _save(self, one: Member) -> None:
        rng = self.rng
        term, vote = one.promised.vote
        new = None
        if not term or rng.random() < 0.3:
            term, vote = rng.choice(((term + 1, 0), (term + 1, NODE), (term + 2, 5), (term, vote or 6)))
            new = Vote(max(1, term), vote)
            term = new.term
        entries = self._entries(one, term)
        last = entries[-1].last if entries else one.last
        ends = [0, *(last_of(found) for found in one.log), *(batch.last for batch in entries)]
        committed = rng.choice([end for end in ends if end >= one.store.wal.committed] or [last])
        one.save(new, entries, committed if rng.random() < 0.7 else 0)
        self._count("group", len(entries) > 1)
        self._count("vote", new is not None)

    def _entries(self, one: Member, term: int) -> list[Batch]:
        rng, found, first = self.rng, list[Batch](), one.last + 1
        since = one.store.wal.term or 1
        for _ in range(rng.choice((0, 1, 1, 2, 5))):
            since = rng.choice((since, since, term))
            body = b"*" + rng.choice((b"x", b"\0", b"VxB\xa7")) * rng.choice(SIZES) + b"%d" % rng.randrange(1000)
            kind = rng.choice(KINDS)
            found.append(entry(first, since, body, rng.randrange(1, 4) if kind == ENTRIES else 1, kind))
            first = found[-1].last + 1
        return found

    def _cut(self, one: Member) -> None:
        ends = [0, *(last_of(found) for found in one.log)]
        one.truncate(self.rng.choice([end for end in ends if end >= one.store.wal.committed]))
        self._count("cut of the log")

    def _install(self, one: Member) -> None:
        """From a leader that has come further; its log agrees with ours as far as that is committed."""
        committed = one.store.wal.committed
        kept: list[Fact] = [found for found in one.log if last_of(found) <= committed]
        term = max(one.promised.vote[0], 1)
        first = last_of(kept[-1]) + 1 if kept else 1
        kept += [fact(entry(first + at, term, b"*" + b"s" * 100)) for at in range(self.rng.randrange(1, 20))]
        one.install(Sent.of(kept), Vote(term + 1) if self.rng.random() < 0.5 else None)
        self._count("install")

    def _read(self, one: Member) -> None:
        """What a follower would be sent."""
        after = self.rng.choice([0, *(last_of(found) for found in one.log)])
        found = one.store.log_reader().entries(after, self.rng.choice((1, 2000, 1 << 30)))
        expected = [known for known in one.log if last_of(known) > after]
        if found is None:
            self._count("pruned")
            if one.store.manifest.newest is None:
                raise Broken(f"sequence {after + 1} is said to be pruned, but there is no snapshot")
        elif [fact(batch) for batch in found] != expected[: len(found)] or bool(found) != bool(expected):
            raise Broken(f"{len(found)} batches read behind {after}, not those that are there")

    def _end(self) -> None:
        rng = self.rng
        if rng.random() < (0.8 if self.disk.off else 0.3):
            self.disk = self.disk.crash(rng, rng.choice((*MODES, None)))
            self._count("power cut")
        else:
            self.disk.kill()
            self._count("process killed")
        if rng.random() < 0.3:
            self._rot()
        if rng.random() < 0.3 and self.disk.exists(f"{ROOT}/manifest.json"):
            disk = self.disk.copy()
            bad = verify(disk, ROOT, Member(disk).keys).report.bad
            if bad:
                raise Broken(f"`storage verify` takes what a crash left for damage: {[str(file) for file in bad]}")
            self._count("verifications")

    def _check(self, one: Member) -> None:
        found = one.told
        if found not in self.possible:
            allowed = [(told.vote, len(told.log), told.committed) for told in self.possible]
            raise Broken(f"{found.vote}, {len(found.log)} batches, {found.committed} committed; possible: {allowed}")
        self.possible = [found]  # somebody may have heard of it
        self._count("starts")
        self._count("with a tail", bool(one.recovered.tail))

    def _rot(self) -> None:
        disk = self.disk.copy()
        if not any(disk.files().values()):
            return
        path, bit = disk.rot(self.rng, ROOT)
        try:
            one = Member(disk).open(join=False)
        except Refused:
            return self._count("flips refused")
        told = (one.told.vote, one.told.log)
        if told not in [(known.vote, known.log) for known in self.possible]:
            raise Broken(f"bit {bit} of {path} flipped: {told[0]} and {len(told[1])} batches")
        return self._count("flips without effect")

    def _count(self, what: str, number: int = 1) -> None:
        self.counts[what] += number
