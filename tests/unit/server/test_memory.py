"""maxmemory: who is refused, who waits, which keys go. Whatever happens, a replay comes to the same (`Stage.close`)."""

from __future__ import annotations

from random import Random

import pytest

from tests.unit.server.front import Stage
from vaylix_resp.commands.cluster_operations import version
from vaylix_resp.commands.operations import EVICT
from vaylix_resp.limits import BATCH_BYTES_MAX, KIB
from vaylix_resp.server.memory import BATCH_BYTES_MIN, SLACK_MIN, WAIT_S_MAX
from vaylix_resp.server.proposals import propose
from vaylix_resp.state.candidates import KEYS_MAX, Candidates
from vaylix_resp.state.footprint import data_bytes
from vaylix_resp.state.versions import REQUIRED

OOM = "-OOM command not allowed when used memory > 'maxmemory'."
VALUE = "x" * 1000
EACH = 1250  # what such a key takes, or a little less


def made(in_force=REQUIRED[EVICT], **settings):
    """The choice of keys is seeded, and by 64 samples nearly exact: the order of a scan is another in each process."""
    stage = Stage(**{"maxmemory_samples": 64, **settings})
    stage.shared.rng.seed(7)
    propose(stage.shared, version(in_force))
    stage.commit()
    return stage


def used(stage):
    return data_bytes(stage.node.machine.world)


def fill(stage, keys, prefix="k", options=""):
    """One after the other, each in a batch of its own; how many were taken."""
    client = stage.connect()
    return sum(client.ask(f"SET {prefix}{n} {VALUE} {options}") == ["+OK"] for n in range(keys))


def names(stage, db=0):
    return sorted(key.decode() for key in stage.node.machine.world.databases[db].items)


def test_without_a_limit_nothing_is_counted_and_nothing_held_up():
    stage = made()
    fill(stage, 20)
    assert not stage.shared.memory.tight and stage.node.batch_bytes == BATCH_BYTES_MAX
    assert all(db.held is None and not db.uses for db in stage.node.machine.world.databases)
    assert stage.shared.memory.used == 0 and stage.shared.memory.exceeded_ms == (0, 0)
    stage.close()


# Refusing.


@pytest.mark.parametrize("line, told", [
    ("SET k0 1", OOM), ("set k0 1", OOM), ("APPEND k0 x", OOM), ("INCR n", OOM), ("SETRANGE k0 0 x", OOM),
    ("MSET a 1 b 2", OOM), ("GET k0", VALUE), ("STRLEN k0", ":1000"), ("DEL k0", ":1"), ("UNLINK k0", ":1"),
    ("GETDEL k0", VALUE), ("EXPIRE k0 100", ":1"), ("PERSIST k0", ":0"), ("RENAME k0 k1", "+OK"), ("FLUSHALL", "+OK"),
    ("PUBLISH c x", ":0"), ("CONFIG SET maxmemory 0", "+OK"),
])  # fmt: skip
def test_what_takes_memory_is_refused_and_all_else_goes_on(line, told):
    """As redis-server 7.0 answers these."""
    stage = made(maxmemory=10 * EACH)
    assert fill(stage, 20) < 12
    keys = len(names(stage))
    assert used(stage) > 10 * EACH and stage.connect().ask(line) == [told]
    assert len(names(stage)) <= keys
    stage.close()


@pytest.mark.parametrize("full, lines, told", [
    (True, ["MULTI", "GET k0", "EXEC"], ["+OK", OOM, "-EXECABORT Transaction discarded because of previous errors."]),
    (True, ["MULTI", "DEL k0", "DISCARD"], ["+OK", OOM, "+OK"]),
    (False, ["MULTI", "DEL k0", "EXEC"], ["+OK", "+QUEUED", "[:1]"]),
    (False, ["MULTI", "SET k0 1", "EXEC"],
     ["+OK", "+QUEUED", "-EXECABORT Transaction discarded because of: " + OOM[1:]]),
])  # fmt: skip
def test_transactions(full, lines, told):
    """As redis-server 7.0: `full` while they were queued, or from EXEC on only."""
    stage = made(maxmemory=10 * EACH)
    fill(stage, 8)
    client = stage.connect()
    if full:
        fill(stage, 8, "more")
    heard = client.ask(*lines[:-1])
    if not full:
        fill(stage, 8, "more")
    assert heard + client.ask(lines[-1]) == told
    stage.close()


def test_a_row_that_is_refused_is_refused_at_every_place():
    stage = made(maxmemory=10 * EACH)
    fill(stage, 20)
    assert stage.connect().ask("SET a 1", "SET b 2", "GET a", "DEL k1", "SET c 3") == [OOM, OOM, "_", ":1", OOM]
    stage.close()


def test_what_is_removed_makes_room():
    stage = made(maxmemory=10 * EACH)
    fill(stage, 20)
    client = stage.connect("DEL k0 k1 k2")
    assert client.ask("SET a 1") == ["+OK"] and not stage.shared.memory.tight
    client.ask("CONFIG SET maxmemory 1000")
    assert client.ask("SET a 1") == [OOM]
    client.ask("CONFIG SET maxmemory 1mb")
    assert client.ask("SET a 1") == ["+OK"]
    stage.close()


@pytest.mark.parametrize("policy", ["noeviction", "allkeys-lru", "volatile-ttl"])
def test_many_writers_at_once_go_little_beyond_the_limit(policy):
    """Each sends half a megabyte in one go; what has been sent already is in batches that grow smaller."""
    limit = 1 << 20
    stage = made(maxmemory=limit, maxmemory_policy=policy)
    clients = [stage.connect() for _ in range(8)]
    options = "EX 1000" if policy == "volatile-ttl" else ""
    for number, client in enumerate(clients):
        client.send(*[f"SET k{number}:{n} {VALUE} {options}" for n in range(500)])
    highest = 0
    for _ in range(5000):
        batch = stage.seal()
        if batch is None:
            break
        stage.land(batch)
        stage.breathe()
        highest = max(highest, used(stage))
    told = [word for client in clients for word in client.heard()]
    assert len(told) == 4000 and set(told) <= {"+OK", OOM}
    assert limit < highest < limit * 1.25
    if policy == "noeviction":
        assert told.count("+OK") < 1100
    else:
        assert told.count("+OK") == 4000 and used(stage) <= limit, "each of them had to wait, none was refused"
        assert stage.node.machine.world.evicted > 3000
    stage.close()


# Making room.


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_with_any_key_to_choose_from_writes_go_on_for_ever(policy):
    stage = made(maxmemory=40 * EACH, maxmemory_policy=policy)
    assert fill(stage, 200) == 200
    stage.commit()
    assert 30 * EACH < used(stage) <= 40 * EACH
    assert stage.node.machine.world.evicted == 200 - len(names(stage))
    stage.close()


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"])
def test_with_a_volatile_policy_what_does_not_expire_stays(policy):
    stage = made(maxmemory=40 * EACH, maxmemory_policy=policy)
    assert fill(stage, 20, "keep") == 20
    assert fill(stage, 100, "lend", "EX 1000") == 100
    left = names(stage)
    assert [name for name in left if name.startswith("keep")] == sorted(f"keep{n}" for n in range(20))
    assert len(left) < 40
    assert 10 < fill(stage, 30, "more") < 30, "when nothing that expires is left, writes are refused"
    assert not stage.node.machine.world.databases[0].expires
    assert stage.connect().ask("SET k 1", "GET keep0") == [OOM, VALUE]
    stage.close()


def test_volatile_ttl_takes_what_expires_first():
    stage = made(maxmemory=40 * EACH, maxmemory_policy="volatile-ttl")
    order = Random(5).sample(range(100), 100)
    client = stage.connect()
    for n in order:
        assert client.ask(f"SET k{n} {VALUE} EX {1000 + 10 * n}") == ["+OK"]
    stage.commit()
    left = sorted(int(name[1:]) for name in names(stage))
    assert left == list(range(100 - len(left), 100)) and len(left) > 30
    stage.close()


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "volatile-lru", "volatile-lfu"])
def test_what_is_read_stays(policy):
    """A tenth of the keys is read again and again while three times as many as there is room for are written."""
    stage = made(maxmemory=100 * EACH, maxmemory_policy=policy)
    client = stage.connect()
    options = "EX 1000" if policy.startswith("volatile") else ""
    for n in range(300):
        client.ask(f"SET k{n} {VALUE} {options}", *[f"GET k{hot}" for hot in range(10)])
        stage.clock.ms += 500
        stage.shared.tick()
    assert [f"k{hot}" for hot in range(10)] == [name for name in names(stage) if len(name) == 2]
    stage.close()


def test_who_does_not_touch_keeps_nothing():
    stage = made(maxmemory_policy="allkeys-lru")
    quiet, loud = stage.connect("CLIENT NO-TOUCH ON"), stage.connect()
    loud.ask("SET a 1", "SET b 1", "SET c 1", "SET d 1")
    stage.wait(10)
    quiet.ask("GET a", "TOUCH b")
    quiet.ask("SET x 1", "GET a")
    loud.ask("GET c", "EXISTS d", "TYPE d", "TTL d", "OBJECT ENCODING d")
    assert loud.ask(*[f"OBJECT IDLETIME {key}" for key in "abcd"]) == [":10", ":0", ":0", ":10"]
    stage.close()


def test_object_freq_and_idletime_by_policy():
    """The errors and the first counts are those of redis-server 7.0 for a string that is no number."""
    stage = made(maxmemory_policy="allkeys-lfu")
    client = stage.connect("SET f v")
    assert client.ask("OBJECT FREQ f", "GET f", "OBJECT FREQ f", "OBJECT FREQ none") == [":5", "v", ":6", "_"]
    assert client.ask("OBJECT IDLETIME f")[0].startswith("-ERR An LFU maxmemory policy is selected, idle time not tracked")
    stage.wait(180)
    assert client.ask("OBJECT FREQ f") == [":3"]
    client.ask("CONFIG SET lfu-decay-time 0")
    assert client.ask("OBJECT FREQ f") == [":6"]
    client.ask("CONFIG SET maxmemory-policy volatile-lru")
    assert client.ask("OBJECT FREQ f")[0].startswith("-ERR An LFU maxmemory policy is not selected")
    stage.wait(7)
    assert client.ask("OBJECT IDLETIME f", "GET f", "OBJECT IDLETIME f") == [":7", "v", ":0"]
    client.ask("CONFIG SET maxmemory-policy noeviction")
    assert client.ask("OBJECT IDLETIME f")[0].startswith("-ERR An LRU maxmemory policy is not selected")
    stage.close()


def test_a_key_that_was_written_meanwhile_stays():
    stage = made(maxmemory_policy="volatile-lru", maxmemory=1 << 20)
    client = stage.connect()
    client.ask("SET a 1 EX 100", "SET b 1 EX 100", "SET c 1 EX 100")
    stage.settings.maxmemory = 1
    stage.shared.memory._configure()
    (evicted,) = stage.logged()
    assert evicted[:2] == [EVICT, b"0"] and sorted(evicted[2::2]) == [b"a", b"b", b"c"]
    stage.settings.maxmemory = 1 << 20
    stage.shared.memory._configure()
    batch = stage.seal()
    client.send("PERSIST a")  # behind it, so the key is gone
    stage.land(batch)
    assert client.ask("EXISTS a b c") == [":0", ":0"]

    client.ask("SET a 1 EX 100", "SET b 1 EX 100")
    client.send("PERSIST a")  # acknowledged before the entry that was chosen earlier is applied
    chosen = {name.encode(): stage.node.machine.world.views[0].version(name.encode()) for name in "ab"}
    propose(stage.shared, (EVICT, b"0", *[word for key, at in chosen.items() for word in (key, b"%d" % at)]))
    stage.commit()
    assert client.heard() == [":1"] and client.ask("EXISTS a", "EXISTS b") == [":1", ":0"]
    stage.close()


def test_everybody_is_told():
    stage = made(maxmemory=20 * EACH, maxmemory_policy="allkeys-lru", notify_keyspace_events="Ee")
    listener, cache = stage.connect("SUBSCRIBE __keyevent@3__:evicted"), stage.connect("HELLO 3", "SELECT 3")
    writer = stage.connect("SELECT 3")
    writer.ask(f"SET first {VALUE}")
    cache.ask("CLIENT TRACKING ON", "GET first")
    watcher = stage.connect("SELECT 3", "WATCH first", "MULTI", "PING")
    for n in range(30):
        stage.clock.ms += 1000
        stage.shared.tick()
        writer.ask(f"SET k{n} {VALUE}")
    stage.commit()
    assert "[message __keyevent@3__:evicted first]" in listener.heard()
    assert "first" in "".join(cache.heard()) and watcher.ask("EXEC") == ["*_"]
    stage.close()


def test_several_databases_are_chosen_from():
    stage = made(maxmemory=40 * EACH, maxmemory_policy="allkeys-random")
    clients = [stage.connect(f"SELECT {db}") for db in (0, 5, 9)]
    for n in range(60):
        for client in clients:
            client.ask(f"SET k{n} {VALUE}")
    assert used(stage) < 44 * EACH and all(5 < len(names(stage, db)) < 25 for db in (0, 5, 9))
    stage.close()


# Waiting.


def crowd(stage):
    """Far more than the slack, from one client, in one batch; another writes behind it."""
    stage.connect().ask(*[f"SET k{n} {VALUE}" for n in range(20)])
    one, two = stage.connect(), stage.connect()
    one.send(("SET", "big", b"x" * (SLACK_MIN + 40 * EACH)))
    stage.land(stage.seal())
    one.heard()
    return two


def test_writers_wait_while_room_is_made_and_readers_do_not():
    stage = made(maxmemory=50 * EACH, maxmemory_policy="allkeys-lru")
    other = crowd(stage)
    assert stage.shared.memory.waits and stage.shared.memory.refusal is None
    other.send("GET none", "SET a 1", "GET a")
    assert other.heard() == ["_"], "it waits, and what comes behind it"
    assert stage.connect().send("GET none").heard() == ["_"]
    assert stage.commit() > 0
    assert other.heard() == ["+OK", "1"] and not stage.shared.memory.tight
    stage.close()


def test_while_an_fsync_takes_long_more_is_chosen_and_no_key_twice():
    stage = made(maxmemory=400 * EACH, maxmemory_policy="allkeys-lru")
    fill(stage, 390)
    stage.settings.maxmemory = EACH
    stage.shared.memory._configure()
    batch, chosen = stage.seal(), []
    for _ in range(20):
        stage.wait(0.1)  # the loop turns while the first is being synced
        chosen = [key for entry in stage.logged() for key in entry[2::2]]
    first = [key for run in batch.runs for operation in run.items for key in operation[2::2]]
    assert len(first) == KEYS_MAX and 50 < len(chosen) == len({*first, *chosen}) - len(first)
    stage.land(batch)
    stage.commit()
    assert used(stage) <= EACH
    stage.close()


def test_nobody_waits_for_long():
    stage = made(maxmemory=50 * EACH, maxmemory_policy="allkeys-lru")
    leads = type(stage.node).leads
    other = crowd(stage)
    stage.commit()  # what was proposed already
    try:
        type(stage.node).leads = False  # somebody else has to, and does not
        other = crowd(stage)
        other.send("SET a 1")
        stage.commit()
        assert other.heard() == []
        stage.wait(WAIT_S_MAX + 0.2)
        assert other.heard() == [OOM] and stage.connect().ask("SET b 1") == [OOM]
        assert stage.shared.memory.exceeded_ms[1] >= 1000
    finally:
        type(stage.node).leads = leads
    stage.wait(0.2)
    stage.commit()
    assert stage.connect().ask("SET b 1") == ["+OK"]
    total, current = stage.shared.memory.exceeded_ms
    assert total >= 1000 and current == 0
    stage.close()


def test_batches_grow_smaller_towards_the_limit():
    stage = made(maxmemory=4 << 20)
    sizes = []
    client = stage.connect()
    for n in range(360):
        if n % 60 == 0:
            sizes.append(stage.node.batch_bytes)
        client.ask(f"SET k{n} {10 * VALUE}")
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == (4 << 20) // 8 and sizes[-1] < 3 * BATCH_BYTES_MIN
    stage.connect("FLUSHALL")
    assert stage.node.batch_bytes == (4 << 20) // 8
    stage.close()


# What stands in the way.


def test_before_every_node_understands_it_nothing_is_evicted():
    stage = made(REQUIRED[EVICT] - 1, maxmemory=10 * EACH, maxmemory_policy="allkeys-lru")
    assert fill(stage, 20) < 12 and stage.node.machine.world.evicted == 0
    propose(stage.shared, version(REQUIRED[EVICT]))
    stage.commit()
    assert fill(stage, 20) == 20
    stage.close()


def test_a_pause_or_a_full_disk_stops_it():
    stage = made(maxmemory=40 * EACH, maxmemory_policy="allkeys-lru")
    fill(stage, 39)
    admin = stage.connect("CLIENT PAUSE 1000 WRITE")
    stage.settings.maxmemory = 20 * EACH
    stage.shared.memory._configure()
    assert stage.node.open.runs == []
    admin.ask("CLIENT UNPAUSE")
    stage.node.out_of_space()
    stage.shared.memory.tick()
    assert stage.node.open.runs == []
    stage.node.space_is_back()
    stage.shared.memory.tick()
    assert len(stage.node.open.runs) == 1
    stage.node.out_of_space()
    stage.commit()  # refused on the way: tried again
    stage.node.space_is_back()
    stage.shared.memory.tick()
    stage.commit()
    assert used(stage) <= 20 * EACH
    stage.close()


def test_info():
    stage = made(maxmemory=20 * EACH, maxmemory_policy="allkeys-lru")
    fill(stage, 40)
    fields = dict(line.split(":", 1) for line in stage.shared.info(["memory", "stats"]).splitlines() if ":" in line)
    assert int(fields["maxmemory_used"]) == used(stage) and fields["maxmemory_policy"] == "allkeys-lru"
    assert int(fields["evicted_keys"]) == stage.node.machine.world.evicted > 15
    assert int(fields["used_memory"]) - int(fields["mem_not_counted_for_evict"]) == used(stage)
    stage.connect("CONFIG RESETSTAT")
    assert stage.node.machine.world.evicted == 0
    stage.close()


@pytest.mark.parametrize("took_ms, noted", [(30, True), (9, False)])
def test_a_long_choice_of_keys_is_an_event(took_ms, noted, monkeypatch):
    stage = made(maxmemory=20 * EACH, maxmemory_policy="allkeys-lru", latency_monitor_threshold=10)
    choose = Candidates.choose

    def slow(*arguments):
        stage.clock.ms += took_ms
        return choose(*arguments)

    monkeypatch.setattr(Candidates, "choose", slow)
    fill(stage, 20)
    assert ("eviction-cycle" in stage.shared.lateness.latency.series) == noted
    stage.close()


assert SLACK_MIN == 64 * KIB, "the figures above count on it"


# Few bytes that make many.


@pytest.mark.parametrize("made_by", [
    [f"SETRANGE k{n} {16 << 20} x" for n in range(12)],
    [f"SETBIT k{n} {128 << 20} 1" for n in range(12)],
    [f"BITFIELD k{n} SET u8 {128 << 20} 1" for n in range(12)],
    [f"SETRANGE big {16 << 20} x", *[f"COPY big k{n}" for n in range(12)]],
    [f"SETRANGE big {16 << 20} x", *[f"BITOP OR k{n} big big" for n in range(12)]],
], ids=lambda lines: lines[-1].split()[0])  # fmt: skip
def test_a_few_bytes_that_make_many_go_little_beyond_the_limit(made_by):
    """All in one packet; each value is half of what there is room for."""
    stage = made(maxmemory=32 << 20)
    client = stage.connect()
    client.send(*made_by)
    while stage.commit():
        pass
    told = client.heard()
    assert len(told) == len(made_by) and told[0] != OOM and told[-1] == OOM
    assert used(stage) < 4 * (16 << 20), "two, and one that was under way"
    assert not stage.shared.parked
    stage.close()


def test_where_there_is_room_they_share_a_batch():
    stage = made(maxmemory=1 << 30)
    client = stage.connect()
    client.send(*[f"SETBIT k{n} 8000 1" for n in range(50)], "COPY k1 k2 REPLACE")
    assert stage.commit() == 1 and client.heard() == [":0"] * 50 + [":1"]
    stage.close()
