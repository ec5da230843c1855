"""The log read back from its files beside whoever writes it: what followers are sent."""

from __future__ import annotations

from random import Random

import pytest

from tests.sim.disk.member import Member, Sent, Vote, entry, last_of
from tests.sim.disk.simdisk import SimDisk
from tests.sim.disk.workload import fact
from vaylix_resp.storage.disk import RealDisk
from vaylix_resp.storage.errors import Corrupt, Unreadable
from vaylix_resp.storage.log_files import Segment, kept_for_follower
from vaylix_resp.storage.segment import SEGMENT_HEADER_BYTES

EVERYTHING = 1 << 40


def filled(batches: int = 30) -> tuple[SimDisk, Member]:
    """Batches of one to three operations in several segments, votes in between."""
    rng, disk = Random(1), SimDisk()
    one = Member(disk).open()
    one.save(Vote(1))
    for number in range(batches):
        if number % 7 == 3:
            one.save(Vote(number, 3))
        one.save(None, [entry(one.last + 1, 1, b"*" + b"x" * rng.randrange(1500), rng.randrange(1, 4))])
    return disk, one


def test_all_of_it_from_any_place_and_in_pieces_of_any_size() -> None:
    _, one = filled()
    reader = one.store.log_reader()
    assert len(one.store.wal.segments()) > 4
    for after in range(one.last + 1):
        for size in (1, 3000, EVERYTHING):
            found = reader.entries(after, size)
            assert found is not None
            expected = [known for known in one.log if last_of(known) > after]
            assert [fact(batch) for batch in found] == expected[: len(found)]
            assert bool(found) == bool(expected)
            if size == EVERYTHING:
                assert len(found) == len(expected)
            else:
                assert len(found) == 1 or sum(128 + len(batch.body) for batch in found) <= size


def test_going_on_where_it_ended_reads_nothing_twice() -> None:
    disk, one = filled()
    reader, after, seen = one.store.log_reader(), 0, []
    while found := reader.entries(after, 2000):
        seen += [fact(batch) for batch in found]
        after = found[-1].last
    assert seen == one.log
    one.save(None, [entry(one.last + 1, 1)])
    disk.reads = 0
    assert [batch.last for batch in reader.entries(after, 2000) or ()] == [one.last]
    assert disk.reads < 6


def test_only_what_is_durable() -> None:
    _, one = filled(3)
    reader, last = one.store.log_reader(), one.last
    one.store.wal.save(None, [entry(last + 1, 1)], 0)
    assert reader.entries(last, EVERYTHING) == []
    assert [batch.last for batch in reader.entries(last - 1, EVERYTHING) or ()] == [last]
    one.store.wal.sync()
    assert [batch.last for batch in reader.entries(last, EVERYTHING) or ()] == [last + 1]


def test_what_has_been_pruned_is_said_to_be() -> None:
    _, one = filled()
    one.save(Vote(90), [], committed=one.last)
    first = one.store.wal.segments()[2].first
    one.store.wal.prune(first - 1)
    reader = one.store.log_reader()
    assert reader.entries(first - 2, EVERYTHING) is None
    found = reader.entries(first - 1, EVERYTHING)
    assert found and found[0].first == first


def test_a_segment_that_gets_another_name_or_goes_meanwhile_is_looked_for_again() -> None:
    _, one = filled(6)
    reader, wal = one.store.log_reader(), one.store.wal
    view, changes = wal.view, iter([wal.rotate, lambda: wal.prune(wal.segments()[0].last)])

    def then_change():  # type: ignore[no-untyped-def]
        seen = view()
        next(changes, lambda: None)()
        return seen

    wal.view = then_change  # type: ignore[method-assign]
    assert reader.entries(0, EVERYTHING) is None, "the first view had it, the next one did not"
    assert [batch.last for batch in reader.entries(one.last - 1, 1) or ()] == [one.last]


def test_after_a_cut_it_is_the_new_log_that_is_read() -> None:
    _, one = filled()
    reader, after = one.store.log_reader(), one.log[20][0] - 1
    assert [fact(batch) for batch in reader.entries(after, 1) or ()] == one.log[20:21]
    one.truncate(last_of(one.log[10]))
    assert reader.entries(after, 1) == []
    while one.last < after + 5:
        one.save(Vote(99), [entry(one.last + 1, 99, b"*other")])
    found = reader.entries(after, EVERYTHING)
    assert found and all(batch.term == 99 for batch in found) and found[-1].last == one.last


def test_behind_an_installed_snapshot() -> None:
    _, one = filled()
    reader = one.store.log_reader()
    one.install(Sent.of([fact(entry(first, 1)) for first in range(1, 101)]))
    assert reader.entries(99, 1) is None and reader.entries(100, 1) == []
    one.save(None, [entry(101, 20)])
    assert [batch.last for batch in reader.entries(100, 1) or ()] == [101]


def test_damage_is_told_and_not_sent() -> None:
    disk, one = filled()
    path = one.store.wal.segments()[1].path
    disk.flip(path, (SEGMENT_HEADER_BYTES + 1200) * 8)
    first = one.store.wal.segments()[1].first
    with pytest.raises(Corrupt):
        one.store.log_reader().entries(first - 1, EVERYTHING)
    disk.remove(path)
    with pytest.raises(Unreadable):
        one.store.log_reader().entries(first - 1, EVERYTHING)


def test_on_a_real_disk(tmp_path) -> None:  # type: ignore[no-untyped-def]
    one = Member(RealDisk(), root=str(tmp_path / "data")).open()  # type: ignore[arg-type]
    one.save(Vote(1), [entry(1, 1), entry(2, 1)], committed=1)
    one.store.wal.rotate()
    one.save(None, [entry(3, 1), entry(4, 1)])
    one.truncate(3)
    one.save(Vote(2), [entry(4, 2)])
    assert [fact(batch) for batch in one.store.log_reader().entries(0, EVERYTHING) or ()] == one.log
    one.store.abandon()
    again = Member(RealDisk(), root=one.root).open()  # type: ignore[arg-type]
    assert again.told == one.promised
    again.install(Sent.of([fact(entry(first, 2)) for first in range(1, 51)]))
    again.store.abandon()
    assert Member(RealDisk(), root=one.root).open().told == again.promised  # type: ignore[arg-type]


SEGMENTS = [Segment("a", 1, 10, 100), Segment("b", 11, 20, 100), Segment("c", 21, 20, 50)]


@pytest.mark.parametrize(
    "wanted, bytes_max, kept",
    [(1, 250, 1), (10, 250, 10), (10, 249, None), (11, 150, 11), (15, 150, 15), (15, 149, None), (21, 0, 21)],
)
def test_what_is_kept_for_a_follower(wanted: int, bytes_max: int, kept: int | None) -> None:
    assert kept_for_follower(SEGMENTS, wanted, bytes_max) == kept


def test_nothing_is_kept_for_a_follower_that_needs_what_is_gone() -> None:
    assert kept_for_follower(SEGMENTS[1:], 10, 1000) is None
    assert kept_for_follower([], 1, 1000) is None
