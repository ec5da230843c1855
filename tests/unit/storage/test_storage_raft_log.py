"""The log as the log of a member of a cluster: term and vote, groups in one write, cuts, what a start may apply."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from threading import Event, Thread

import pytest

from tests.sim.disk.keys import MemoryKeys
from tests.sim.disk.member import CLUSTER, IDENTITY, NODE, Member, Sent, Told, Vote, entry, write_snapshot
from tests.sim.disk.simdisk import Fault, SimDisk
from tests.sim.disk.workload import ROOT, STORE_ID, World, fact
from vaylix_resp.storage.batch import HARD_STATE, HEADER_BYTES, MEMBERS, NOOP, SECTOR
from vaylix_resp.storage.errors import Corrupt, DiskFull, WalFailed
from vaylix_resp.storage.hard_state import FRAME_BYTES, Identity
from vaylix_resp.storage.history import DataDirectory, History
from vaylix_resp.storage.log_files import WalConfig
from vaylix_resp.storage.manifest import Manifest, read_manifest, write_manifest
from vaylix_resp.storage.sealed_log import read_batches
from vaylix_resp.storage.segment import SEGMENT_HEADER_BYTES
from vaylix_resp.storage.store import Superseded
from vaylix_resp.storage.upkeep.inspect import frames
from vaylix_resp.storage.upkeep.verify import verify


def member(disk: SimDisk | None = None) -> tuple[SimDisk, Member]:
    disk = disk or SimDisk()
    return disk, Member(disk).open()


def again(disk: SimDisk, mode: str = "lose") -> Member:
    """Another process behind a power cut."""
    return Member(disk.crash(Random(1), mode)).open()


def some(first: int, number: int, term: int = 1, size: int = 10):
    return [entry(first + at, term, b"*" + b"x" * size) for at in range(number)]


def test_term_and_vote_and_batches_are_one_write_and_one_fdatasync() -> None:
    disk, one = member()
    disk.log.clear()
    one.save(Vote(3, 7), [entry(1, 2, count=3), entry(4, 3, kind=NOOP), entry(5, 3, kind=MEMBERS)], committed=1)
    assert [name for name, _, _ in disk.log] == ["pwrite", "fdatasync"]
    found = again(disk)
    assert found.told == Told((3, 7), one.promised.log, 0)
    assert [batch.kind for batch in found.recovered.tail] == [1, NOOP, MEMBERS]


def test_what_has_not_changed_is_not_written_again() -> None:
    disk, one = member()
    one.save(Vote(3, 7))
    disk.log.clear()
    one.save(Vote(3, 7), committed=0)
    one.save(None)
    assert disk.log == []
    one.save(Vote(3, 7), [entry(1, 3)])
    assert one.store.wal.segments()[-1].size == SEGMENT_HEADER_BYTES + FRAME_BYTES + SECTOR


@pytest.mark.parametrize(
    "before, after, right",
    [
        (None, Vote(1), True),
        (Vote(3), Vote(2), False),
        (Vote(3), Vote(3, 5), True),
        (Vote(3, 5), Vote(3, 6), False),
        (Vote(3, 5), Vote(3, 0), False),
        (Vote(3, 5), Vote(4, 0), True),
    ],
)
def test_a_term_never_falls_and_a_vote_is_given_once(before: Vote | None, after: Vote, right: bool) -> None:
    _, one = member()
    one.save(before)
    if right:
        one.save(after)
        return
    with pytest.raises(AssertionError):
        one.save(after)


def test_our_own_mistakes_are_assertions() -> None:
    _, one = member()
    one.save(Vote(2), [entry(1, 1, count=2)], committed=2)
    for wrong in ([entry(2, 2)], [entry(4, 2)], [entry(3, 3)], [entry(3, 2), entry(5, 2)], [entry(3, 2, count=0)]):
        with pytest.raises(AssertionError):
            one.save(None, wrong)
    one.save(None, some(3, 2, 2))
    for last in (1, 5):  # committed; behind the end
        with pytest.raises(AssertionError):
            one.store.wal.truncate_after(last)
    with pytest.raises(AssertionError, match="member"):
        World(SimDisk()).open().store.wal.save(Vote(1), [], 0)


def test_the_newest_term_and_vote_begin_every_segment() -> None:
    """So no pruning takes them away."""
    disk, one = member()
    one.save(Vote(5, 9), some(1, 2, 5), committed=2)
    one.store.wal.rotate()
    one.save(Vote(6, 4))
    one.save(None, some(3, 3, 6), committed=5)
    one.store.wal.rotate()
    one.snapshot()
    assert [segment.first for segment in one.store.wal.segments()] == [6], "the rest has been pruned"
    assert again(disk).told.vote == (6, 4)


def test_a_segment_without_batches_is_replaced_with_its_term_and_vote() -> None:
    disk, one = member()
    for term in range(1, 40):  # more than the first segment has room for
        one.save(Vote(term, 1))
        assert again(disk).told.vote == (term, 1)
    assert [segment.first for segment in one.store.wal.segments()] == [1]


# A damaged tail


def frame_offsets(disk: SimDisk) -> list[tuple[int, int]]:
    """(offset, bytes) of each frame of the last segment."""
    manifest = read_manifest(disk, ROOT)
    assert manifest is not None
    name = DataDirectory(disk, ROOT).segments()[-1]
    return [(frame.offset, frame.bytes) for frame in frames(disk, ROOT, manifest, MemoryKeys(), name)]


def grouped() -> tuple[SimDisk, Member, str, list[tuple[int, int]]]:
    """Two groups: term and vote with three batches, then another vote alone, then two batches."""
    disk = SimDisk()
    one = Member(disk, config=WalConfig(1 << 16, 1 << 16)).open()
    one.save(Vote(1, NODE), some(1, 3, 1, 600), committed=0)
    one.save(Vote(2, 5))
    one.save(None, some(4, 2, 2, 600), committed=3)
    one.store.abandon()
    image = disk.kill().copy()
    offsets = frame_offsets(image)
    assert len(offsets) == 7
    return image, one, one.store.wal.segments()[-1].path, offsets


def zeroed(disk: SimDisk, path: str, offset: int, size: int) -> SimDisk:
    copy = disk.copy()
    raw = bytearray(copy.read_file(path))
    raw[offset : offset + size] = bytes(size)
    copy.put(path, bytes(raw))
    return copy


@pytest.mark.parametrize("number", range(7))
def test_a_sector_that_was_never_written_is_cut_in_the_last_group_only(number: int) -> None:
    disk, one, path, offsets = grouped()
    offset, size = offsets[number]
    for at in range(offset, offset + size, SECTOR):
        damaged = zeroed(disk, path, at, SECTOR)
        if number < 5:  # a later write says that this was durable
            with pytest.raises(Corrupt):
                Member(damaged).open()
            continue
        found = Member(damaged).open()
        assert found.told.log == tuple(one.promised.log[: number - 2]) and found.told.vote == (2, 5)
        assert len(found.recovered.warnings) == (0 if number == 6 and at == offset and size == SECTOR else 1)


@pytest.mark.parametrize("number", range(7))
def test_a_flipped_bit_of_any_frame_is_refused(number: int) -> None:
    disk, _, path, offsets = grouped()
    offset, size = offsets[number]
    rng = Random(number)
    for byte in (0, 6, 20, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 20, size - 1, rng.randrange(size)):
        damaged = disk.copy()
        damaged.flip(path, (offset + byte) * 8 + rng.randrange(8))
        with pytest.raises(Corrupt):
            Member(damaged).open()


def test_the_term_and_vote_that_a_segment_began_with_cannot_be_torn() -> None:
    disk, one = member()
    one.save(Vote(4, 2), some(1, 1, 4), committed=1)
    one.store.wal.rotate()
    one.store.abandon()
    path = one.store.wal.segments()[-1].path
    damaged = zeroed(disk.kill().copy(), path, SEGMENT_HEADER_BYTES, FRAME_BYTES)
    with pytest.raises(Corrupt, match="term and vote with which this segment began"):
        Member(damaged).open()


# Whose term and vote


def test_term_and_vote_of_somebody_else_are_refused() -> None:
    disk, one = member()
    one.save(Vote(4, 2), some(1, 2, 4), committed=2)
    one.store.abandon()
    manifest = read_manifest(disk.kill(), ROOT)
    assert manifest is not None
    for other in (
        replace(manifest, node_id=NODE + 1),
        replace(manifest, cluster_id=bytes(16).hex()),
        replace(manifest, incarnation=0),  # an older copy of the manifest
        replace(manifest, cluster_id="", node_id=0, incarnation=0),
        replace(manifest, cluster_id="", node_id=0),
    ):
        copy = disk.copy()
        write_manifest(copy, ROOT, other)
        with pytest.raises(Corrupt, match="term and vote of the node that the manifest names"):
            Member(copy).open(join=False)
        assert not verify(copy, ROOT, MemoryKeys()).report.whole


def test_a_new_life_forgets_term_and_vote_and_applies_everything() -> None:
    disk, one = member()
    one.save(Vote(4, 2), some(1, 3, 4), committed=1)
    one.store.abandon()
    manifest = read_manifest(disk.kill(), ROOT)
    assert manifest is not None
    write_manifest(disk, ROOT, manifest.on_its_own())
    found = Member(disk).open(join=False)
    assert found.told == Told((0, 0), one.promised.log, 3) and found.recovered.tail == ()
    found.store.join(Identity(bytes(16), 77, 2))
    found.save(Vote(5, 77), some(4, 1, 5), committed=4)
    found.store.wal.rotate()
    assert again(disk).told == found.promised == Told((5, 77), found.promised.log, 4)


def test_a_store_of_its_own_becomes_a_member_without_losing_anything() -> None:
    disk = SimDisk()
    world = World(disk).open()
    for body in (b"*one", b"*two", b"*three"):
        world.append(body)
    world.store.join(IDENTITY)
    world.store.abandon()
    found = Member(disk.kill()).open()
    assert found.state + [fact(batch) for batch in found.recovered.tail] == world.acknowledged
    assert found.recovered.committed == 2, "the last batch waits for the cluster"
    found.save(Vote(2, NODE), [], committed=3)
    assert again(disk).recovered.committed == 3


# What a start may apply


@pytest.mark.parametrize("mode", ["lose", "keep"])
def test_only_what_is_known_to_be_committed_is_applied(mode: str) -> None:
    disk, one = member()
    one.save(Vote(1, NODE), some(1, 4), committed=0)
    one.save(None, some(5, 2), committed=3)
    found = again(disk, mode)
    assert (found.recovered.committed, len(found.state), len(found.recovered.tail)) == (3, 3, 3)
    assert found.store.wal.committed == 3 and found.last == 6
    found.save(Vote(2, 1), [], committed=5)  # a hard state can say it too
    third = Member(found.disk.crash(Random(2), "lose")).open()
    assert (third.recovered.committed, len(third.recovered.tail)) == (5, 1)


def test_no_frame_speaks_of_what_comes_behind_it() -> None:
    """Else the first part of a group that a crash cut short would call committed what somebody writes later."""
    disk, one = member()
    one.save(Vote(1, NODE), some(1, 1), committed=9)
    assert one.store.wal.committed == 1
    one.save(None, some(2, 2))
    assert again(disk).recovered.committed == 1


def test_the_past_of_a_member_ends_where_it_is_committed() -> None:
    disk, one = member()
    one.save(Vote(1, NODE), some(1, 4), committed=2)
    one.store.wal.rotate()
    one.save(None, some(5, 2), committed=3)
    history = History(disk, DataDirectory(disk, ROOT), one.keys)
    assert history.range().last == 3
    assert [batch.last for batch in history.batches(None)] == [1, 2, 3]
    assert [batch.last for batch in history.batches(None, 2)] == [1, 2]
    # Who asks a running server knows what it has applied; the files alone say it later.
    assert history.range(5).last == 5
    assert [batch.last for batch in history.batches(None, 5, 5)] == [1, 2, 3, 4, 5]
    assert [batch.last for batch in history.batches(None, 6, 5)] == [1, 2, 3, 4, 5]
    one.save(Vote(2), [], committed=6)
    assert history.range().last == 6 and [batch.last for batch in history.batches(None)] == [1, 2, 3, 4, 5, 6]


# Terms


def test_terms_are_known_from_the_snapshot_on_and_after_a_cut() -> None:
    disk, one = member()
    one.save(Vote(7), [entry(1, 2, count=3), entry(4, 2), entry(5, 5), entry(6, 7, count=2)], committed=4)
    wal = one.store.wal
    assert wal.terms == [(1, 2), (5, 5), (6, 7)] and wal.start == (0, 0)
    one.snapshot()
    assert wal.start == (0, 0), "its segment is still there"
    one.truncate(5)
    assert wal.terms == [(1, 2), (5, 5)]
    one.store.abandon()
    wal = Member(disk.kill()).open().store.wal
    assert wal.start == (0, 0) and wal.terms == [(1, 2), (5, 5)]
    assert wal.prune(5) == 1
    assert wal.start == (5, 5) and wal.terms == []


# A clean stop


@pytest.mark.parametrize("known, said", [(2, 2), (3, 3), (4, 4), (9, 4), (0, 2)])
def test_a_clean_stop_says_how_much_is_committed(known: int, said: int) -> None:
    disk, one = member()
    one.save(Vote(1, NODE), some(1, 4), committed=2)
    one.store.clean_stop(5, known)
    history = History(disk, DataDirectory(disk, ROOT), one.keys)
    assert history.range().last == said and [batch.last for batch in history.batches(None)][-1] == said
    found = again(disk, "keep")
    assert (found.recovered.committed, found.last) == (said, 4) and found.told.vote == (1, NODE)


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_a_full_disk_does_not_keep_a_member_from_stopping(part: float) -> None:
    disk, one = member()
    one.save(Vote(1, NODE), some(1, 4), committed=2)
    disk.faults[disk.calls + 1] = Fault("enospc", part)
    one.store.clean_stop(5, 4)
    found = again(disk, "keep")
    assert (found.recovered.committed, found.last) == (2, 4)



@pytest.mark.parametrize("with_batches", [True, False])
def test_a_clean_stop_keeps_term_and_vote(with_batches: bool) -> None:
    disk, one = member()
    one.save(Vote(3, 8), some(1, 2, 3), committed=2)
    one.store.wal.rotate()
    one.save(Vote(4, 9), some(3, 1, 4) if with_batches else [], committed=2)
    one.stop()
    for image in (disk.crash(Random(1), "lose"), disk.kill().copy()):
        assert verify(image, ROOT, one.keys).report.whole
        found = Member(image).open()
        assert found.told == one.promised


def test_a_clean_stop_with_everything_in_the_snapshot() -> None:
    disk, one = member()
    one.save(Vote(3, 8), some(1, 2, 3), committed=2)
    one.snapshot()
    one.save(Vote(4, 1), some(3, 1, 4), committed=3)
    one.snapshot()
    one.stop()
    assert again(disk).told == one.promised


def test_whoever_takes_the_last_vote_away_after_a_clean_stop_is_found_out() -> None:
    disk, one = member()
    one.save(Vote(3, 8), some(1, 2, 3), committed=2)
    one.save(Vote(4, 9))
    path, used = one.store.wal.segments()[-1].path, one.store.wal.segments()[-1].size
    one.stop()
    disk.kill()
    sealed = DataDirectory(disk, ROOT).segments()[-1].name
    raw = disk.read_file(f"{ROOT}/wal/{sealed}")
    assert len(raw) == used and path != sealed
    disk.put(f"{ROOT}/wal/{sealed}", raw[:-FRAME_BYTES])
    with pytest.raises(Corrupt, match="as at the clean stop"):
        Member(disk).open()
    assert not verify(disk, ROOT, one.keys).report.whole


# Cuts


CUTS = [
    # (last, where the log is cut)
    (8, "inside the active segment"),
    (7, "at the start of the active segment"),
    (5, "inside a sealed segment"),
    (4, "between two sealed segments"),
    (2, "two sealed segments from the end"),
    (0, "before everything"),
]


def long_log(committed: int = 0) -> tuple[SimDisk, Member]:
    """Segments 1..4, 5..7, and an active one with 8 and 9; a vote behind the last batch of each."""
    disk, one = member()
    one.save(Vote(3, 4), [entry(1, 1, count=2), entry(3, 1), entry(4, 2)], committed=committed)
    one.save(Vote(4))
    one.store.wal.rotate()
    one.save(Vote(5), [entry(5, 3), entry(6, 4), entry(7, 5)], committed=committed)
    one.save(Vote(6, 2))
    one.store.wal.rotate()
    one.save(None, [entry(8, 6), entry(9, 6)], committed=committed)
    one.save(Vote(7, 3))
    return disk, one


@pytest.mark.parametrize("last, where", CUTS)
def test_a_cut_takes_away_what_lies_behind_and_nothing_else(last: int, where: str) -> None:
    disk, one = long_log()
    one.truncate(last)
    wal = one.store.wal
    assert (wal.last, wal.durable) == (last, last)
    assert verify(disk.copy(), ROOT, one.keys).report.whole
    assert again(disk).told == one.promised
    one.save(Vote(8, 8), [entry(last + 1, 8, b"*new"), entry(last + 2, 8)], committed=last)
    wal.rotate()
    one.save(None, [entry(last + 3, 8)], committed=last + 2)
    assert verify(disk.copy(), ROOT, one.keys).report.whole
    assert again(disk).told == one.promised
    assert again(disk, "keep").told == one.promised


def test_a_cut_at_the_end_does_nothing() -> None:
    disk, one = long_log()
    disk.log.clear()
    one.truncate(9)
    assert disk.log == []


def test_a_cut_inside_a_batch_is_our_own_mistake_and_changes_nothing() -> None:
    disk, one = long_log()
    with pytest.raises(Corrupt, match="a batch that ends with sequence 1"):
        one.store.wal.truncate_after(1)
    assert again(disk).told == one.promised


def test_a_sealed_segment_that_others_share_is_not_written_to() -> None:
    """Backups have a second name for it."""
    disk, one = long_log()
    (sealed,) = [segment.path for segment in one.store.wal.segments() if segment.last == 7]
    disk.link(sealed, f"{ROOT}/linked")
    before = disk.read_file(f"{ROOT}/linked")
    one.truncate(5)
    assert disk.read_file(f"{ROOT}/linked") == before


def test_a_full_disk_refuses_a_cut_and_changes_nothing() -> None:
    disk, one = long_log()
    calls = disk.calls
    disk.full = "growth"
    for last in (8, 5):
        with pytest.raises(DiskFull):
            one.truncate(last)
        assert not [path for path in disk.files() if path.endswith(".tmp")], "no room is kept"
    assert disk.calls > calls
    disk.full = ""
    assert again(disk).told == Told((7, 3), one.promised.log, 0)
    one.truncate(5)
    assert again(disk).told == one.promised


def test_a_cut_that_fails_half_way_stops_the_log() -> None:
    disk, one = long_log()
    disk.faults[disk.calls + 30] = Fault("eio")
    with pytest.raises(WalFailed):
        for last in (8, 6, 5, 3, 2, 0):
            one.truncate(last)
    with pytest.raises(WalFailed):
        one.store.wal.append(one.last + 1, 1, 7, 99999, 0, 0, b"*x")
    assert again(disk).told in one.possible


def test_a_batch_that_was_cut_off_cannot_come_back() -> None:
    """Its file, put back by somebody, does not continue the log."""
    disk, one = long_log()
    (path,) = [segment.path for segment in one.store.wal.segments() if segment.first == 5]
    old = disk.read_file(path)
    one.truncate(4)
    one.save(None, [entry(5, 7, b"*other"), entry(6, 7), entry(7, 7)])
    one.store.wal.rotate()
    one.store.abandon()
    disk.kill().put(path, old)
    with pytest.raises(Corrupt):
        Member(disk).open()


# An installed snapshot


def installable(first: int = 1, number: int = 30) -> Sent:
    return Sent.of([fact(entry(first + at, 6, b"*snap%d" % at * 20)) for at in range(number)])


@pytest.mark.parametrize("committed", [0, 4, 9])
def test_an_installed_snapshot_takes_the_place_of_everything(committed: int) -> None:
    disk, one = long_log(committed)
    if committed == 4:
        one.snapshot()
    one.install(installable(), Vote(8, 1))
    wal = one.store.wal
    assert (wal.last, wal.term, wal.committed, wal.start, wal.terms) == (30, 6, 30, (30, 6), [])
    assert verify(disk.copy(), ROOT, one.keys).report.whole
    assert again(disk).told == one.promised
    one.save(None, [entry(31, 8)], committed=31)
    assert again(disk).told == one.promised
    one.snapshot()
    one.stop()
    assert again(disk).told == one.promised


def test_an_older_snapshot_is_our_own_mistake() -> None:
    _, one = long_log(committed=4)
    with pytest.raises(AssertionError):
        one.install(installable(1, 4))


def test_a_snapshot_made_meanwhile_comes_too_late() -> None:
    """A child has begun it before the install, and it is of a place that is behind that."""
    disk, one = long_log(4)
    batch = list(read_batches(disk, ROOT, one.store.manifest, one.keys, 0, 4))[-1]
    info = write_snapshot(disk, ROOT, one.keys, STORE_ID, one.log[:3], batch)
    one.install(installable())
    manifest = one.store.manifest
    with pytest.raises(Superseded):
        one.store.publish_snapshot(info)
    assert one.store.manifest == manifest == read_manifest(disk, ROOT)
    assert again(disk).told == one.promised


def test_nobody_deletes_files_while_a_snapshot_is_installed() -> None:
    """It has its name before the manifest says so; to a prune in between it would be one of those that nobody needs."""
    disk, one = long_log(4)
    one.snapshot()
    switch, pruned = one.store._switch, Event()

    def prune() -> None:
        one.store.prune()
        pruned.set()

    def switched(manifest: Manifest) -> None:
        thread = Thread(target=prune, daemon=True)
        thread.start()
        assert not pruned.wait(0.05)
        switch(manifest)

    one.store._switch = switched  # type: ignore[method-assign]
    one.install(installable())
    assert pruned.wait(10)
    assert again(disk).told == one.promised


def test_a_full_disk_refuses_an_install_and_changes_nothing() -> None:
    disk, one = long_log(4)
    snapshot = installable()
    for call in range(1, 200):
        copy = Member(disk.copy()).open()
        assert isinstance(copy.disk, SimDisk)
        copy.disk.faults[copy.disk.calls + call] = Fault("enospc")
        try:
            copy.install(snapshot)
            break
        except (DiskFull, WalFailed) as failure:
            kind = type(failure)
        except Exception as failure:
            kind = type(failure)
        assert again(copy.disk).told in copy.possible, (call, kind)
    assert call > 10
    assert again(copy.disk).told == copy.promised


def test_frames_of_all_kinds_are_shown_to_people() -> None:
    disk, one = member()
    one.save(Vote(3, 7), [entry(1, 2), entry(2, 3, kind=NOOP)])
    manifest = read_manifest(disk, ROOT)
    assert manifest is not None and manifest.cluster_id == CLUSTER.hex()
    name = DataDirectory(disk, ROOT).segments()[-1]
    shown = list(frames(disk, ROOT, manifest, one.keys, name))
    assert [frame.batch.kind if frame.batch else HARD_STATE for frame in shown] == [HARD_STATE, 1, NOOP]
    assert [frame.offset for frame in shown] == [4096, 4608, 5120]
    assert shown[0].hard_state is not None and (shown[0].hard_state.term, shown[0].hard_state.vote) == (3, 7)
