"""Expired keys leave by entries, a bounded number at a time; other entries of the server's own."""

import pytest

from tests.unit.server.front import Stage
from vaylix_resp.commands.operations import EXPIRE, NOOP
from vaylix_resp.engine.boot import UnknownEntry
from vaylix_resp.errors import INDETERMINATE, CommandError
from vaylix_resp.resp.reply import OK
from vaylix_resp.server.proposals import EXPIRE_BYTES_MAX, EXPIRE_KEYS_MAX, propose
from vaylix_resp.state import versions


@pytest.fixture
def again():
    """An item for each time that the expirer wanted to run again."""
    return []


def expire(stage, again):
    stage.shared.expirer.run(lambda: again.append(1))


def keys(stage):
    return len(stage.node.machine.world.databases[0].items)


def fill(stage, count, prefix="k", options="PX 50"):
    client = stage.connect()
    client.ask(*[f"SET {prefix}{n} v {options}" for n in range(count)])
    return client


def test_time_alone_hides_and_does_not_remove(stage, again):
    client = fill(stage, 3)
    stage.clock.ms += 100
    assert client.ask("GET k0", "EXISTS k1", "DBSIZE") == ["_", ":0", ":3"]
    assert keys(stage) == 3 and stage.node.open.runs == []
    expire(stage, again)
    assert stage.logged()[0][:2] == [EXPIRE, b"0"] and sorted(stage.logged()[0][2:]) == [b"k0", b"k1", b"k2"]
    assert keys(stage) == 3, "not before the entry has been committed"
    stage.commit()
    assert keys(stage) == 0 and stage.node.machine.world.expired == 3


def test_nothing_due_nothing_logged(stage, again):
    fill(stage, 3)
    expire(stage, again)
    assert stage.node.open.runs == [] and again == []


def test_one_entry_per_database_in_flight(stage, again):
    client = fill(stage, 2)
    client.ask("SELECT 1", "SET x 1 PX 50")
    stage.clock.ms += 100
    expire(stage, again)
    expire(stage, again)
    assert [(op[1], len(op) - 2) for op in stage.logged()] == [(b"0", 2), (b"1", 1)]
    batch = stage.seal()
    expire(stage, again)
    assert stage.node.open.runs == []
    stage.land(batch)
    expire(stage, again)
    assert stage.node.open.runs == [] and keys(stage) == 0


def test_what_does_not_fit_comes_next(stage, again):
    fill(stage, EXPIRE_KEYS_MAX + 10)
    stage.clock.ms += 100
    expire(stage, again)
    assert len(stage.logged()[0]) == EXPIRE_KEYS_MAX + 2 and again == []
    stage.commit()
    assert again == [1]
    expire(stage, again)
    stage.commit()
    assert keys(stage) == 0 and again == [1]


def test_long_names_come_a_few_at_a_time(stage, again):
    """A name may be as long as a value; hundreds of such in one entry would be more than a batch can hold."""
    client = stage.connect()
    for number in range(5):
        client.ask(("SET", f"{number}" + "k" * (EXPIRE_BYTES_MAX // 2), "v", "PX", 50))
    client.ask(("SET", "k" * (2 * EXPIRE_BYTES_MAX), "v", "PX", 50))
    stage.clock.ms += 100
    sizes = []
    while keys(stage):
        before = keys(stage)
        expire(stage, again)
        assert stage.node.open.size < 2 * EXPIRE_BYTES_MAX + 1000
        stage.commit()
        sizes.append(before - keys(stage))
    assert sum(sizes) == 6 and max(sizes) <= 2 and min(sizes) == 1 and len(again) == len(sizes) - 1


def test_a_key_that_was_written_meanwhile_stays(stage, again):
    client = fill(stage, 2)
    stage.clock.ms += 100
    client.send("SET k0 new")
    expire(stage, again)
    client.send("PEXPIRE k1 1000")
    stage.commit()
    assert client.heard() == ["+OK", ":0"] and client.ask("GET k0", "EXISTS k1", "DBSIZE") == ["new", ":0", ":1"]


def test_expiry_does_not_run_while_it_is_off_or_paused_or_refused(stage, again):
    fill(stage, 2)
    admin = stage.connect()
    stage.clock.ms += 100
    stage.shared.active_expire = False
    expire(stage, again)
    assert not stage.shared.active_expire
    stage.shared.active_expire = True
    admin.ask("CLIENT PAUSE 1000 WRITE")
    expire(stage, again)
    admin.ask("CLIENT UNPAUSE")
    stage.node.out_of_space()
    expire(stage, again)
    assert stage.node.open.runs == []
    stage.node.space_is_back()
    expire(stage, again)
    assert len(stage.node.open.runs) == 1


def test_expiry_tries_again_after_a_batch_that_was_refused(stage, again):
    fill(stage, 2)
    stage.clock.ms += 100
    expire(stage, again)
    stage.node.out_of_space()
    stage.commit()
    stage.node.space_is_back()
    expire(stage, again)
    stage.commit()
    assert keys(stage) == 0


def test_a_clock_that_goes_back_does_not_spin(stage, again):
    fill(stage, EXPIRE_KEYS_MAX)
    stage.clock.ms += 100
    expire(stage, again)
    stage.clock.ms -= 10_000
    stage.commit()
    assert again == [1]
    expire(stage, again)
    assert stage.node.open.runs == []
    stage.clock.ms += 20_000
    expire(stage, again)
    stage.commit()
    assert keys(stage) == 0


def test_events_of_expiry():
    stage = Stage(notify_keyspace_events="Ex")
    listener = stage.connect("SUBSCRIBE __keyevent@0__:expired")
    fill(stage, 1)
    stage.clock.ms += 100
    stage.shared.expirer.run(lambda: None)
    assert listener.heard() == []
    stage.commit()
    assert listener.heard() == ["[message __keyevent@0__:expired k0]"]
    stage.close()


# Entries of the server's own.


def test_propose(stage):
    later = propose(stage.shared, (b"SET", b"a", b"1"))
    assert not later.done
    stage.commit()
    assert later.reply is OK and stage.connect().ask("GET a") == ["1"]


def test_propose_what_is_refused_at_apply(stage):
    stage.connect("SET a x")
    later = propose(stage.shared, (b"INCR", b"a"))
    stage.commit()
    assert isinstance(later.reply, CommandError) and later.reply.code == "ERR"


def test_propose_to_a_log_that_refuses(stage):
    stage.node.out_of_space()
    later = propose(stage.shared, (NOOP, b"1", b"16"))
    assert later.done and later.reply is stage.node.refusal and stage.node.open.runs == []


def test_propose_to_a_log_that_fails(stage):
    later = propose(stage.shared, (NOOP, b"1", b"16"))
    stage.break_disk()
    stage.commit()
    assert later.reply.text == INDETERMINATE


def test_what_needs_a_version_that_is_not_in_force_is_not_proposed(monkeypatch):
    monkeypatch.setattr(versions, "REQUIRED", {NOOP: 2})
    stage = Stage()
    later = propose(stage.shared, (NOOP, b"1", b"4"))
    assert later.reply.text.startswith("ERR @noop needs cluster version 2, and 1 is in force")
    assert stage.node.open.runs == []
    stage.node.machine.world.cluster_version = 2
    later = propose(stage.shared, (NOOP, b"1", b"4"))
    stage.commit()
    assert later.reply is OK


def test_an_entry_that_nobody_knows_ends_the_server_instead_of_being_passed_over():
    stage = Stage()
    propose(stage.shared, (b"@frobnicate", b"1"))
    with pytest.raises(UnknownEntry, match="(?i)found '@frobnicate'.*start the version of vaylix that wrote it"):
        stage.commit()
    assert stage.bugs == []
