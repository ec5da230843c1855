"""What all clients share: who is told of changes, who waits, and that it is all let go of."""

import pytest

from tests.unit.server.front import Stage
from vaylix_resp.server.execution import Execution
from vaylix_resp.state.views import ReadView


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_a_configuration_that_is_written_back_can_be_read_by_nobody_else_than_before(tmp_path, mode):
    file = tmp_path / "vaylix.conf"
    file.write_text("timeout 0\n")
    file.chmod(mode)
    stage = Stage(config_file=str(file))
    admin = stage.connect()
    assert admin.ask("CONFIG SET requirepass secret", "CONFIG REWRITE") == ["+OK", "+OK"]
    assert "requirepass secret" in file.read_text() and file.stat().st_mode & 0o777 == mode
    stage.close()


# Keyspace events.


def test_events_come_in_the_order_of_the_log():
    stage = Stage(notify_keyspace_events="EA")
    first, second, listener = stage.connect(), stage.connect(), stage.connect("PSUBSCRIBE __key*")
    first.send("SET a 1", "SET b 2 EX 100")
    second.send("DEL a", "MULTI", "RENAME b c", "SELECT 1", "SET d 1", "EXEC")
    assert listener.heard() == []
    stage.commit()
    assert [line.split("__keyevent@")[1].rstrip("]") for line in listener.heard()] == [
        "0__:set a", "0__:set b", "0__:expire b", "0__:del a", "0__:rename_from b", "0__:rename_to c", "1__:set d"
    ]  # fmt: skip
    assert first.heard() == ["+OK", "+OK"]
    stage.close()


def test_events_reach_a_listener_before_the_writer_is_answered():
    """What a client does when it has its answer finds listeners told."""
    stage = Stage(notify_keyspace_events="KEA")
    writer, listener = stage.connect(), stage.connect("SUBSCRIBE __keyspace@0__:a")
    order = []
    writer.wire.on_write = lambda data: order.append("writer")
    listener.wire.on_write = lambda data: order.append("listener")
    writer.send("SET a 1")
    stage.commit()
    assert order == ["listener", "writer"]
    stage.close()


def test_events_of_refused_writes_and_failed_batches_are_not_published():
    stage = Stage(notify_keyspace_events="EA")
    writer, listener = stage.connect("SET a x"), stage.connect("PSUBSCRIBE *")
    writer.ask("INCR a", "SET a 1 NX", "SET b 1 NOSUCH", "MULTI", "INCR a", "EXEC")
    stage.break_disk()
    writer.ask("SET a 2", "GET a")
    assert listener.heard() == []


def test_events_end_with_the_setting(stage):
    writer, listener = stage.connect(), stage.connect("PSUBSCRIBE *")
    stage.settings.set_many([("notify-keyspace-events", "E$")])
    writer.ask("SET a 1", "DEL a")
    assert listener.heard() == ["[pmessage * __keyevent@0__:set a]"]
    stage.settings.set_many([("notify-keyspace-events", "")])
    assert stage.node.machine.world.events is None
    writer.ask("SET a 1")
    assert listener.heard() == []


def test_an_event_may_reach_its_own_cause(stage):
    stage.settings.set_many([("notify-keyspace-events", "EA")])
    client = stage.connect("HELLO 3", "SUBSCRIBE __keyevent@0__:set")
    assert client.ask("SET a 1", "GET a") == ["+OK", "1", ">[message __keyevent@0__:set a]"]


# Watchers and trackers.


def test_changes_are_only_gathered_while_somebody_wants_them(stage):
    world = stage.node.machine.world
    client, other = stage.connect(), stage.connect()
    assert world.touched is None
    client.ask("WATCH a")
    assert world.touched == []
    other.ask("HELLO 3", "CLIENT TRACKING ON")
    client.ask("UNWATCH")
    assert world.touched == []
    other.ask("CLIENT TRACKING OFF")
    assert world.touched is None
    client.ask("SET a 1")
    assert world.touched is None


def test_what_is_gathered_is_handed_over(stage):
    client = stage.connect("WATCH a")
    client.ask("SET b 1", "SET c 1")
    assert stage.node.machine.world.touched == []


def test_a_thousand_flushes_look_at_each_watcher_once(stage, monkeypatch):
    client, other = stage.connect("SET a 1"), stage.connect()
    client.ask("WATCH a")
    looked = []
    version = ReadView.version
    monkeypatch.setattr(ReadView, "version", lambda view, key: looked.append(key) or version(view, key))
    other.send(*["FLUSHALL"] * 1000)
    stage.commit()
    assert looked == [b"a"] and client.session.dirty


def test_trackers_are_told_of_flushes_and_expiry(stage):
    client, other = stage.connect("HELLO 3", "CLIENT TRACKING ON"), stage.connect("SET a 1 PX 50")
    client.ask("GET a")
    stage.clock.ms += 100
    stage.shared.expirer.run(lambda: None)
    stage.commit()
    assert client.heard() == [">[invalidate [a]]"]
    other.ask("FLUSHDB")
    assert client.heard() == [">[invalidate _]"]


# Parked sessions.


def test_a_session_parked_twice_is_resumed_once(stage):
    client, _ = stage.connect(), stage.connect("CLIENT PAUSE 1000 WRITE")
    client.send("SET a 1")
    client.send("SET b 1")
    assert list(stage.shared.parked) == [client.session]
    stage.wait(2)
    stage.commit()
    assert client.heard() == ["+OK", "+OK"] and not stage.shared.parked


def test_a_bug_in_one_session_does_not_keep_the_others_parked(stage, monkeypatch):
    clients = [stage.connect() for _ in range(3)]
    stage.connect("CLIENT PAUSE 1000 WRITE")
    for client in clients:
        client.send("SET a 1")
    row = Execution._row
    broken = clients[0].session

    def row_with_a_bug(self, *arguments):
        if self is broken:
            raise ZeroDivisionError("a test's own")
        return row(self, *arguments)

    monkeypatch.setattr(Execution, "_row", row_with_a_bug)
    stage.wait(2)
    stage.commit()
    assert [client.heard() for client in clients] == [[], ["+OK"], ["+OK"]] and clients[0].closed
    assert len(stage.bugs) == 1
    stage.bugs.clear()


def test_a_pause_in_a_pause(stage):
    """Whoever is let go may pause the rest again."""
    clients = [stage.connect() for _ in range(3)]
    admin = stage.connect("CLIENT PAUSE 1000 WRITE")
    for client in clients:
        client.send("PUBLISH c m", "CLIENT PAUSE 950 WRITE", "SET a 1")
    admin.ask("CLIENT UNPAUSE")
    done = [[":0", "+OK"], [], []]
    for turn in range(3):
        assert [client.heard() for client in clients] == done[-turn:] + done[:-turn]
        stage.wait(1)
    stage.commit()
    assert [client.heard() for client in clients] == [["+OK"]] * 3


# Housekeeping.


def test_collect_frees_in_steps(stage):
    client = stage.connect()
    client.ask(("MSET", *[word for n in range(5000) for word in (f"k{n}", "v")]), "FLUSHALL")
    steps = 1
    while stage.shared.collect():
        steps += 1
    assert steps > 1 and not stage.node.machine.world.trash and client.ask("DBSIZE") == [":0"]


def test_the_view_is_of_now(stage):
    client = stage.connect("SET a 1 PX 50", "SELECT 3", "SET a 3")
    assert client.session.db == 3
    assert stage.shared.view(0).exists(b"a") and stage.shared.view(3).string(b"a") == b"3"
    stage.clock.ms += 100
    assert not stage.shared.view(0).exists(b"a")


def test_forget_twice(stage):
    client = stage.connect("WATCH a", "SUBSCRIBE c", "MONITOR")
    stage.shared.forget(client.session)
    stage.shared.forget(client.session)
    assert not stage.shared.watchers and not stage.shared.monitors.active and not stage.shared.pubsub.held
