"""What happens by the clock, one turn after the other."""

import asyncio
from types import SimpleNamespace

import pytest

from tests.unit.server.front import Stage
from vaylix_resp.config_words import SavePoint
from vaylix_resp.errors import CommandError
from vaylix_resp.limits import MIB
from vaylix_resp.server import housekeeping as module
from vaylix_resp.server.housekeeping import CLIENTS_PER_TURN, SECOND, Housekeeping
from vaylix_resp.storage.errors import IoFailed


class FakeCheckpoint:
    """A checkpoint that only counts. `refusal` is what it answers."""

    def __init__(self, stage):
        self.running, self.last_ok = False, True
        self.changes_since = self.log_bytes_since = 0
        self.last_save_unix = stage.clock.wall_ms() // 1000
        self.started = 0
        self.refusal = None
        self.tidied = 0
        self.problem = None

    def start(self):
        self.started += 1
        return self.refusal

    async def tidy(self):
        self.tidied += 1
        if self.problem is not None:
            raise self.problem


@pytest.fixture
def stage():
    stage = Stage()
    stage.checkpoint = FakeCheckpoint(stage)
    stage.keeper = Housekeeping(stage.shared, stage.checkpoint)
    yield stage
    stage.close()


def turns(stage, count, monkeypatch, late_ms=0):
    """Let it run so many turns, without waiting for any; each is this late."""
    left = [count]

    async def sleep(seconds):
        if seconds:
            if not left[0]:
                raise asyncio.CancelledError
            left[0] -= 1
            stage.clock.ms += round(seconds * 1000) + late_ms

    monkeypatch.setattr(module.asyncio, "sleep", sleep)

    async def run():
        with pytest.raises(asyncio.CancelledError):
            await stage.keeper.run()

    asyncio.run(run())
    stage.breathe()


def test_a_loop_that_turns_late_is_an_event(stage, monkeypatch):
    stage.settings.set_many([("latency-monitor-threshold", "50")])
    turns(stage, 2, monkeypatch, late_ms=49)
    assert stage.shared.lateness.latency.series == {}
    turns(stage, 1, monkeypatch, late_ms=70)
    assert stage.shared.lateness.latency.series["loop"].max_ms in (69, 70)
    assert stage.shared.lateness.loop.percentile(100) >= 0.07e9


def test_a_long_look_for_expired_keys_is_an_event(stage, monkeypatch):
    stage.settings.set_many([("latency-monitor-threshold", "50")])

    def slow(again):
        stage.clock.ms += 90

    stage.shared.expirer.run = slow
    turns(stage, 1, monkeypatch)
    assert stage.shared.lateness.latency.series["expire-cycle"].max_ms in (89, 90)


def test_expired_keys_go_with_the_next_turn(stage, monkeypatch):
    client = stage.connect("SET a 1 PX 50")
    turns(stage, 1, monkeypatch)
    stage.commit()
    assert client.ask("DBSIZE") == [":0"]


def test_flushed_memory_is_freed_over_the_turns(stage, monkeypatch):
    client = stage.connect()
    client.ask(("MSET", *[word for n in range(30_000) for word in (f"k{n}", "v")]), "FLUSHALL")
    turns(stage, 1, monkeypatch)
    turns(stage, 10, monkeypatch)
    assert not stage.node.machine.world.trash


def test_a_log_that_is_ahead_of_the_clock_is_told_of_once(stage, monkeypatch):
    said = []
    monkeypatch.setattr(module, "log", SimpleNamespace(warning=said.append))
    client = stage.connect()
    stage.clock.ms += 3_600_000
    client.ask("SET k v")
    stage.clock.ms -= 3_600_000
    turns(stage, 5 * SECOND, monkeypatch)
    assert len(said) == 1 and "the log is 3599 s ahead of this machine's clock" in said[0]


def test_a_pause_ends(stage, monkeypatch):
    client, _ = stage.connect(), stage.connect("CLIENT PAUSE 250 ALL")
    client.send("PING")
    turns(stage, 2, monkeypatch)
    assert client.heard() == []
    turns(stage, 1, monkeypatch)
    assert client.heard() == ["+PONG"]


def test_idle_clients_are_looked_for_every_second(stage, monkeypatch):
    stage.settings.timeout = 1
    client = stage.connect("PING")
    turns(stage, SECOND, monkeypatch)
    assert not client.closed
    turns(stage, SECOND, monkeypatch)
    assert client.closed


def test_many_clients_are_looked_at_some_at_a_time(stage, monkeypatch):
    looked = []

    class FakeClients(dict):
        def __iter__(self):
            return iter([SimpleNamespace(id=n) for n in range(2 * CLIENTS_PER_TURN + 5)])

        def get(self, identity):
            if identity == 7:
                return None  # went meanwhile
            return SimpleNamespace(check_limits=lambda now: looked.append(identity))

    monkeypatch.setattr(stage.shared, "clients", FakeClients())
    stage.keeper._turn = SECOND
    sizes = []
    for _ in range(4):
        stage.keeper._check_clients()
        sizes.append(len(looked))
        stage.keeper._turn += 1
    assert sizes == [CLIENTS_PER_TURN - 1, 2 * CLIENTS_PER_TURN - 1, 2 * CLIENTS_PER_TURN + 4, 2 * CLIENTS_PER_TURN + 4]
    assert len(set(looked)) == len(looked)


def test_the_largest_output_goes_first(stage):
    stage.settings.maxmemory_clients = 8 * MIB
    clients = [stage.connect() for _ in range(4)]
    clients[0].ask(*[("SET", f"big{n}", b"x" * (n * MIB)) for n in range(1, 6)])
    for client, size in zip(clients, (2, 5, 3, 1), strict=True):
        client.wire.slow = True
        client.send(f"GET big{size}")
    stage.keeper._limit_output()
    assert [client.closed for client in clients] == [False, True, False, False]
    assert stage.shared.stats.evicted_clients == 1
    stage.settings.maxmemory_clients = 0
    stage.keeper._limit_output()
    assert stage.shared.stats.evicted_clients == 1, "0: no limit"


# Snapshots.


@pytest.mark.parametrize(
    "changes, log_bytes, age_s, save, interval, started",
    [
        (0, 100 * MIB, 9999, [(1, 1)], 1, 0),  # nothing to write
        (1, 10 * MIB, 0, [], 0, 1),  # the log has grown
        (1, 10 * MIB - 1, 9999, [], 0, 0),
        (9, 0, 60, [(60, 10)], 0, 0),
        (10, 0, 59, [(60, 10)], 0, 0),
        (10, 0, 60, [(60, 10)], 0, 1),
        (10, 0, 61, [(3600, 1), (60, 10)], 0, 1),
        (1, 0, 3599, [], 3600, 0),
        (1, 0, 3600, [], 3600, 1),  # the last one is old
    ],
)
def test_when_a_snapshot_is_due(stage, changes, log_bytes, age_s, save, interval, started):
    stage.settings.snapshot_log_size, stage.settings.snapshot_interval = 10 * MIB, interval
    stage.settings.save = tuple(SavePoint(*point) for point in save)
    checkpoint = stage.checkpoint
    checkpoint.changes_since, checkpoint.log_bytes_since = changes, log_bytes
    stage.clock.ms += age_s * 1000
    stage.keeper._snapshot_if_due()
    assert checkpoint.started == started


def due(stage):
    stage.settings.snapshot_log_size = 1
    stage.checkpoint.changes_since = stage.checkpoint.log_bytes_since = 10


def test_one_snapshot_at_a_time(stage):
    due(stage)
    stage.checkpoint.running = True
    stage.keeper._snapshot_if_due()
    assert stage.checkpoint.started == 0


def test_after_a_failed_snapshot_there_is_a_pause(stage, monkeypatch):
    due(stage)
    stage.checkpoint.last_ok = False
    turns(stage, 120 * SECOND, monkeypatch)
    assert stage.checkpoint.started == 2


def test_a_refused_snapshot_is_no_reason_to_stop(stage):
    due(stage)
    stage.checkpoint.refusal = CommandError("ERR a test's own")
    stage.keeper._snapshot_if_due()
    stage.keeper._snapshot_if_due()
    assert stage.checkpoint.started == 2


def test_the_window_is_tidied_up_once_a_minute(stage, monkeypatch):
    turns(stage, 119 * SECOND, monkeypatch)
    assert stage.checkpoint.tidied == 1
    stage.checkpoint.problem = IoFailed("snapshots", OSError(5, "Input/output error"))
    turns(stage, 2 * SECOND, monkeypatch)
    assert stage.checkpoint.tidied == 2, "old files that cannot be deleted are no reason to stop"


def test_no_snapshot_of_a_failed_log(stage):
    due(stage)
    stage.node.log_failed("a test's own")
    stage.keeper._snapshot_if_due()
    assert stage.checkpoint.started == 0
