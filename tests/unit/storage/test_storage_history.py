"""Reading a data directory that somebody else writes to, and one that nobody does: what is there, and where it ends."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from tests.sim.disk.keys import MemoryKeys
from tests.sim.disk.simdisk import SimDisk
from tests.sim.disk.workload import BODIES, ROOT, Fact, World, fact
from vaylix_resp.errors import Refused
from vaylix_resp.storage import history as history_module
from vaylix_resp.storage.errors import Corrupt
from vaylix_resp.storage.history import DataDirectory, History, Range, Vanished
from vaylix_resp.storage.sealing import Keys

KEYS = MemoryKeys()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "PAUSE_S", 0)


def history(disk: SimDisk, keys: Keys = KEYS) -> History:
    return History(disk, DataDirectory(disk, ROOT), keys)


def make(*, snapshots: int = 0, keep: int = 9, keys: Keys = KEYS, stop: bool = False) -> World:
    """Twelve batches in some segments; a snapshot after every third of them, so many of them."""
    world = World(SimDisk(), keys=keys).open()
    for number in range(12):
        world.append(b"*%d " % number + b"x" * (30 * number), count=number % 3 + 1)
        if number % 3 == 2:
            if number // 3 < snapshots:
                world.snapshot(keep=keep)
            else:
                world.store.wal.rotate()
    world.append(b"*last", 2)
    if stop:
        world.store.clean_stop(99)
    return world


def facts_of(reader: History, after: int = 0) -> list[Fact]:
    base = next((info for info in reader.manifest().snapshots if info.sequence == after), None)
    assert base or not after
    return [fact(batch) for batch in reader.batches(base)]


def behind(world: World, after: int) -> list[Fact]:
    return [one for one in world.acknowledged if one[0] > after]


# A directory at rest.


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("keys", [KEYS, MemoryKeys(2, seals=False, clear_until=(1 << 64) - 1)], ids=["sealed", "clear"])
def test_all_that_is_there(keys: Keys, stop: bool) -> None:
    world = make(snapshots=2, keys=keys, stop=stop)
    assert isinstance(world.disk, SimDisk)
    calls, files = world.disk.calls, world.disk.files()
    reader = history(world.disk, keys)
    infos = reader.manifest().snapshots
    assert [info.sequence for info in infos] == [6, 12]
    for info in infos:  # the segments before the oldest snapshot have been pruned
        assert facts_of(reader, info.sequence) == behind(world, info.sequence)
        assert [fact(batch) for batch in reader.batches(info, up_to=15)] == [
            one for one in behind(world, info.sequence) if one[0] <= 15
        ]
    last, last_ms = world.acknowledged[-1][0] + 1, world.acknowledged[-1][3]
    assert reader.range() == Range(6, infos[0].timestamp_ms, last, last_ms)
    assert reader.range(12) == Range(6, infos[0].timestamp_ms, 12, infos[1].timestamp_ms)
    assert (world.disk.calls, world.disk.files()) == (calls, files), "nothing is written"


def test_the_segments_of_a_store() -> None:
    world = make()
    found = history(world.disk).segments()  # type: ignore[arg-type]
    assert [(one.sealed, one.first, one.last) for one in found] == [
        (True, 1, 6), (True, 7, 12), (True, 13, 18), (True, 19, 24), (False, 25, 26),
    ]  # fmt: skip
    stamps = {first: at_ms for first, _, _, at_ms, _ in world.acknowledged}
    assert [one.first_ms for one in found] == [stamps[one.first] for one in found]
    ends = {first + count - 1: at_ms for first, count, _, at_ms, _ in world.acknowledged}
    assert [one.last_ms for one in found] == [ends[one.last] for one in found]
    assert all(one.key_id == 7 and one.bytes > 4096 for one in found)
    assert found[-1].bytes == 4096 + 512, "of an active one as far as it is written"
    world.store.wal.rotate()
    empty = history(world.disk).segments()[-1]  # type: ignore[arg-type]
    assert (empty.first, empty.last, empty.first_ms, empty.last_ms) == (27, 26, None, None)
    assert history(world.disk).range() == Range(0, 1, 26, found[-1].last_ms)  # type: ignore[arg-type]


def test_the_base_of_a_point() -> None:
    world = make(snapshots=3)
    reader = history(world.disk)  # type: ignore[arg-type]
    six, twelve, eighteen = reader.manifest().snapshots

    def base(**point: int) -> object:
        return reader.base_for(**point)

    assert base() == eighteen and base(sequence=18) == eighteen and base(sequence=17) == twelve
    assert base(sequence=6) == six and base(at_ms=twelve.timestamp_ms) == twelve
    assert base(at_ms=twelve.timestamp_ms - 1) == six and base(sequence=30, at_ms=six.timestamp_ms) == six
    with pytest.raises(Vanished, match="begins with sequence 7"):
        base(sequence=5)
    assert history(make().disk).base_for(sequence=5) is None  # type: ignore[arg-type]


def test_an_empty_store() -> None:
    world = World(SimDisk()).open()
    reader = history(world.disk)  # type: ignore[arg-type]
    assert reader.range() == Range(0, 1, 0, 1) and facts_of(reader) == [] and reader.base_for() is None
    world.store.clean_stop(5)
    assert reader.range() == Range(0, 1, 0, 1) and reader.segments() == []


# Damage.


def remove(part: str) -> Callable[[SimDisk], None]:
    return lambda disk: disk.remove(next(path for path in sorted(disk.names) if part in path))


def flip(part: str, byte: int) -> Callable[[SimDisk], None]:
    def flipped(disk: SimDisk) -> None:
        path = next(path for path in sorted(disk.names) if part in path)
        disk.flip(path, (byte if byte >= 0 else len(disk.names[path].shown) + byte) * 8)

    return flipped


def cut(part: str, size: int) -> Callable[[SimDisk], None]:
    def shortened(disk: SimDisk) -> None:
        path = next(path for path in sorted(disk.names) if part in path)
        disk.put(path, bytes(disk.names[path].shown[:size]))

    return shortened


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (remove("manifest.json"), "manifest.json: byte 0: expected a manifest, the file is missing"),
        (remove("00007-"), "00000000013-00000000000000000018.wal: byte 0: sequence 7: expected a segment with sequence"),
        (remove("00001-"), "expected a snapshot at sequence 6 or later"),
        (flip("00007-", 4096 + 200), "wal: byte 4096: sequence 7: expected a whole batch"),
        (flip("00007-", 5000 - 5000 + 100), "expected a segment header with a right checksum"),
        (cut("00007-", 4096 + 512), "expected batches up to sequence 12|a whole batch"),
        (flip("active-", 4096 + 40), "active-.*wal: byte 4096: sequence 25: expected"),
    ],
)
def test_damage_is_refused(damage: Callable[[SimDisk], None], words: str) -> None:
    disk = make().disk
    assert isinstance(disk, SimDisk)
    damage(disk)
    with pytest.raises(Corrupt, match=words):
        history(disk).range()
        facts_of(history(disk))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (remove("snapshot-"), "expected a snapshot that the manifest names, the file is missing"),
        (flip("snapshot-", 300), "expected chunk 0"),
    ],
)
def test_a_damaged_snapshot_is_refused(damage: Callable[[SimDisk], None], words: str) -> None:
    disk = make(snapshots=1).disk
    assert isinstance(disk, SimDisk)
    damage(disk)
    reader = history(disk)
    (info,) = reader.manifest().snapshots
    with pytest.raises(Corrupt, match=words):
        list(reader.reader(info))


def test_a_clean_stop_says_where_the_log_ended() -> None:
    disk = make(stop=True).disk
    assert isinstance(disk, SimDisk)
    disk.remove(next(path for path in disk.names if "00025-" in path))
    with pytest.raises(Corrupt, match="expected a log that reaches sequence 26 as the manifest says, it ends at 24"):
        facts_of(history(disk))


def test_a_log_that_is_not_the_snapshots() -> None:
    """The segment that the snapshot was made from has been exchanged for that of another store of the same id."""
    disk, other = make(snapshots=2).disk, World(SimDisk()).open()
    assert isinstance(disk, SimDisk) and isinstance(other.disk, SimDisk)
    for number in range(12):
        other.append(b"*other %d" % number, count=1)
        if number in (5, 11):
            other.store.wal.rotate()
    name = f"{ROOT}/wal/{7:020d}-{12:020d}.wal"
    disk.put(name, bytes(other.disk.names[name].shown))
    with pytest.raises(Corrupt, match="follows the one before it"):
        facts_of(history(disk), 6)


def test_the_batch_that_is_being_written_is_the_end() -> None:
    world = make()
    disk = world.disk
    assert isinstance(disk, SimDisk)
    world.append(b"*half" * 300)
    active = next(path for path in disk.names if "active-" in path)
    whole = bytes(disk.names[active].shown)
    end = len(whole.rstrip(b"\0"))
    for missing in (1, 200, 600, end - 4096 - 512 - 100):
        disk.put(active, whole[: end - missing].ljust(len(whole), b"\0"))
        assert facts_of(history(disk)) == world.acknowledged[:-1], missing
    disk.put(active, whole)
    assert facts_of(history(disk)) == world.acknowledged


# A directory in use.


class Busy:
    """While something is read, something is written: after each read of the disk there may be a step of the server."""

    def __init__(self, seed: int, *, keep: int) -> None:
        self.rng = Random(seed)
        self.world = make(snapshots=2, keep=keep)
        self.keep, self.working = keep, False
        disk = self.world.disk
        assert isinstance(disk, SimDisk)
        self.disk = disk
        before = disk.read_call

        def read_call(path: str) -> None:
            before(path)
            if not self.working and self.rng.random() < 0.3:
                self.working = True
                self.step()
                self.working = False

        disk.read_call = read_call  # type: ignore[method-assign]

    def step(self) -> None:
        match self.rng.randrange(12):
            case 0:
                self.world.store.wal.rotate()
            case 1:
                self.world.snapshot(keep=self.keep)
            case 2:
                self.world.store.wal.prepare_spare()
            case _:
                self.world.append(self.rng.choice(BODIES), count=self.rng.randrange(1, 4))


@pytest.mark.parametrize("seed", range(40))
def test_beside_a_busy_server(seed: int) -> None:
    busy = Busy(seed, keep=1 + seed % 3)
    reader = history(busy.disk)
    acknowledged, restarts = len(busy.world.acknowledged), 0
    while True:
        try:
            reach = reader.range()
            assert reach.first <= reach.last
            assert reader.segments()
            base = reader.base_for()
            if base is not None:
                reader.reader(base).close()
            found = [fact(batch) for batch in reader.batches(base)]
            break
        except Vanished:
            restarts += 1
            assert restarts < 100
    after = base.sequence if base else 0
    expected = behind(busy.world, after)
    assert found == expected[: len(found)]
    assert after + sum(one[1] for one in found) >= sum(one[1] for one in busy.world.acknowledged[:acknowledged])


def test_files_that_never_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing that is always out of date ends with an error and not in a loop."""
    world = make()
    names = DataDirectory(world.disk, ROOT).segments()
    for path in [path for path in world.disk.names if "/wal/0" in path]:  # type: ignore[attr-defined]
        world.disk.remove(path)  # type: ignore[attr-defined]
    monkeypatch.setattr(DataDirectory, "segments", lambda self: names)
    with pytest.raises(Refused, match="renamed or pruned meanwhile"):
        history(world.disk).segments()  # type: ignore[arg-type]
