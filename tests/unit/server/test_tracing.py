"""Reads that are followed: every microsecond of them is in one stage, and nobody else notices anything."""

import pytest

from tests.unit.server.front import Stage
from vaylix_resp.observability.traces import STAGES


class Timed(Stage):
    """A stage on which the disk, the state machine and the socket take their time, each another one."""

    def __init__(self, **settings):
        super().__init__(trace_sample=1, **settings)
        machine, wal = self.node.machine, self.store.wal
        machine.apply_row = self.slow(machine.apply_row, 2)
        wal.append, wal.sync = self.slow(wal.append, 4), self.slow(wal.sync, 8)

    def slow(self, call, ms):
        def slowed(*arguments):
            self.clock.ms += ms
            return call(*arguments)

        return slowed

    def connect(self, *lines, peer=None):
        client = super().connect(*lines, peer=peer)
        client.wire.on_write = lambda data: self.pass_by(1)
        return client

    def pass_by(self, ms):
        self.clock.ms += ms

    def traces(self):
        """What has been followed since, oldest first: command, and milliseconds of the stages that took any."""
        found = self.shared.lateness.traces.newest(-1)[::-1]
        self.shared.lateness.traces.reset()
        return [
            (b" ".join(trace.argv).decode(), {s: us // 1000 for s, us in zip(STAGES, trace.stages, strict=True) if us})
            for trace in found
        ]


@pytest.fixture
def stage():
    stage = Timed()
    yield stage
    stage.close()


def land_slowly(stage):
    """A batch that waits everywhere."""
    stage.pass_by(16)
    batch = stage.seal()
    stage.pass_by(32)
    stage.land(batch)


WRITE = {"queue": 16, "fsync": 12, "replicate": 32, "apply": 2, "reply": 1}


def test_a_write(stage):
    client = stage.connect()
    client.send("SET a 1")
    assert stage.traces() == [], "it is on its way"
    land_slowly(stage)
    assert client.heard() == ["+OK"]
    assert stage.traces() == [("SET a 1", WRITE)]


def test_a_read(stage):
    client = stage.connect("SET a 1")
    stage.commit()
    stage.traces()
    client.session.table.find((b"GET", b"a"))
    handler = stage.shared.table.by_name[b"GET"]
    handler.handler = stage.slow(handler.handler, 3)
    client.send("GET a", "GET b")
    assert stage.traces() == [("GET a", {"apply": 6, "reply": 1})]


def test_the_time_of_others_in_the_batch_is_apply(stage):
    first, second = stage.connect(), stage.connect()
    first.send("SET a 1")
    second.send("INCR n", "GET a")
    land_slowly(stage)
    ahead = WRITE["apply"] + WRITE["reply"]  # of the first
    assert stage.traces() == [("SET a 1", WRITE), ("INCR n", {**WRITE, "apply": 2 + ahead})]
    assert (first.heard(), second.heard()) == (["+OK"], [":1", "1"])


def test_what_waits_in_the_backlog_is_held(stage):
    client = stage.connect()
    client.send("CLIENT PAUSE 50 ALL", "SET a 1")
    stage.wait(0.1)
    land_slowly(stage)
    ((command, stages),) = [row for row in stage.traces() if row[0] != "PING"]
    assert command == "CLIENT PAUSE 50 ALL" and stages["held"] == 101, "(its own reply took 1 of them)"
    assert {name: stages[name] for name in WRITE} == WRITE | {"queue": stages["queue"]}
    assert client.heard() == ["+OK", "+OK"]


def test_a_blocking_request_is_held_until_it_is_answered(stage):
    client = stage.connect("SET a 1")
    stage.commit()
    stage.traces()
    client.send("WAIT 1 300")
    stage.wait(0.5)
    assert stage.traces() == [("WAIT 1 300", {"held": 301})], "(its reply took 1 of them)"


@pytest.mark.parametrize("line", ["SET a 1", "GET a"])
def test_a_batch_that_failed(stage, line):
    client = stage.connect()
    stage.break_disk()
    client.send("SET b 1", line)
    stage.pass_by(16)
    stage.commit()
    (trace,) = stage.shared.lateness.traces.newest(-1)
    assert trace.outcome == "INDETERMINATE" and trace.total_us >= 16_000
    assert client.heard()[0].startswith("-INDETERMINATE")


def test_one_in_three(stage):
    stage.settings.set_many([("trace-sample", "3")])
    client = stage.connect()
    for number in range(9):
        client.ask(f"GET {number}")
    assert [command for command, _ in stage.traces()] == ["GET 0", "GET 3", "GET 6"]
    stage.settings.set_many([("trace-sample", "0")])
    assert stage.shared.tracer is None
    client.ask("GET a")
    assert stage.traces() == []


def test_only_what_is_slow_enough(stage):
    stage.settings.set_many([("trace-slower-than", "60000")])
    client = stage.connect()
    client.ask("SET a 1")
    client.send("SET a 2")
    land_slowly(stage)
    assert [command for command, _ in stage.traces()] == ["SET a 2"]


@pytest.mark.parametrize(
    "line, shown",
    [
        ("AUTH secret", "AUTH (redacted)"),
        ("HELLO 3 AUTH default secret", "HELLO 3 AUTH (redacted) (redacted)"),
        ("CONFIG SET requirepass secret", "CONFIG SET requirepass (redacted)"),
        ("NOSUCH secret", "?"),
        (("SET", "k", b"x" * 200), "SET k " + "x" * 128 + "... (72 more bytes)"),
    ],
)
def test_nothing_secret_is_kept(stage, line, shown):
    client = stage.connect()
    client.send(line)
    stage.commit()
    assert stage.traces()[0][0] == shown


def test_a_request_in_pieces_is_followed_from_the_piece_that_completes_it(stage):
    client = stage.connect()
    client.raw(b"*2\r\n$3\r\nGET\r\n")
    assert stage.traces() == []
    client.raw(b"$1\r\na\r\n")
    assert [command for command, _ in stage.traces()] == ["GET a"]
    assert client.heard() == ["_"]


def test_a_client_that_is_gone_leaves_nothing_behind(stage):
    client = stage.connect()
    client.send("SET a 1")
    client.vanish()
    land_slowly(stage)
    assert [command for command, _ in stage.traces()] == ["SET a 1"]
    other = stage.connect()
    other.send("CLIENT PAUSE 50 ALL", "GET a")
    other.vanish()
    stage.wait(0.2)
