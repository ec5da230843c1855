"""The order of replies, what waits for what, and what a batch may hold: with commits decided by the test."""

import pytest

from tests.unit.server.front import pack
from vaylix_resp.limits import BACKLOG_BYTES_MAX, KIB
from vaylix_resp.server import execution

BATCH, ROW = 64 * KIB, 2 * KIB  # instead of megabytes, in tests of full batches


@pytest.fixture
def small(stage, monkeypatch):
    stage.node.batch_bytes = BATCH
    monkeypatch.setattr(execution, "ROW_BYTES_MAX", ROW)
    return stage


# Each: what is sent in one packet, and what is answered. Only the first line of replies may come before the commit.
PIPELINES = {
    "reads at once": (["GET a", "PING", "STRLEN a"], ["_", "+PONG", ":0"], []),
    "a read behind the own write": (["SET a 1", "GET a"], [], ["+OK", "1"]),
    "reads before a write do not wait": (["GET a", "SET a 1", "GET a"], ["_"], ["+OK", "1"]),
    "errors keep their place": (
        ["SET a x", "INCR a", "NOSUCH", "GET", "GET a"],
        [],
        ["+OK", "-ERR value is not an integer or out of range",
         "-ERR unknown command 'NOSUCH', with args beginning with: ",
         "-ERR wrong number of arguments for 'get' command", "x"],
    ),
    "an error in front is not held up": (["NOSUCH", "SET a 1"],
                                         ["-ERR unknown command 'NOSUCH', with args beginning with: "], ["+OK"]),
    "a write that is refused before the log": (
        ["SET a 1", "SET a 2 NOSUCH", "SET a 3", "GET a"], [], ["+OK", "-ERR syntax error", "+OK", "3"]),
    "only refused writes": (["SET a 2 NOSUCH", "EXPIRE a b"],
                            ["-ERR syntax error", "-ERR value is not an integer or out of range"], []),
    "commands on the session alone run early": (
        ["SET a 1", "PING", "ECHO e", "CLIENT ID", "GET a"], [], ["+OK", "+PONG", "e", ":1", "1"]),
    "SELECT early": (["SET a 0", "SELECT 1", "SET a 1", "GET a", "SELECT 0", "GET a"], [],
                     ["+OK", "+OK", "+OK", "1", "+OK", "0"]),
    "other session commands see the writes": (["SET a 1", "PUBSUB NUMPAT", "GET a"], [], ["+OK", ":0", "1"]),
    "a row of each kind": (["SET a 1", "SET b 2", "GET a", "GET b", "GET c", "DEL a", "DEL a", "GET a"], [],
                           ["+OK", "+OK", "1", "2", "_", ":1", ":0", "_"]),
    "one command in many spellings": (["Set a 1", "sEt a 2", "set a 3", "Get a"], [], ["+OK", "+OK", "+OK", "3"]),
    "WATCH behind a write": (["SET a 1", "WATCH a", "MULTI", "SET a 2", "EXEC", "GET a"], [],
                             ["+OK", "+OK", "+OK", "+QUEUED", "[+OK]", "2"]),
    "MULTI in one packet": (["MULTI", "INCR a", "INCR a", "GET a", "EXEC"], ["+OK", "+QUEUED", "+QUEUED", "+QUEUED"],
                            ["[:1 :2 2]"]),
    "blocks in flight": (["MULTI", "INCR a", "EXEC", "GET a", "MULTI", "INCR a", "EXEC", "GET a"],
                         ["+OK", "+QUEUED"], ["[:1]", "1", "+OK", "+QUEUED", "[:2]", "2"]),
    "a block of reads behind a write": (["SET a 1", "MULTI", "GET a", "EXEC", "SET a 2", "GET a"], [],
                                        ["+OK", "+OK", "+QUEUED", "[1]", "+OK", "2"]),
    "a block of reads alone": (["MULTI", "GET a", "PING", "EXEC"], ["+OK", "+QUEUED", "+QUEUED", "[_ +PONG]"], []),
    "a SELECT inside a block": (["MULTI", "SET a 0", "SELECT 3", "SET a 3", "EXEC", "GET a", "SELECT 0", "GET a"],
                                ["+OK", "+QUEUED", "+QUEUED", "+QUEUED"], ["[+OK +OK +OK]", "3", "+OK", "0"]),
    "an empty block": (["SET a 1", "MULTI", "EXEC", "GET a"], [], ["+OK", "+OK", "[]", "1"]),
    "QUIT behind a write": (["SET a 1", "GET a", "QUIT", "GET a"], [], ["+OK", "1", "+OK"]),
    "UNSUBSCRIBE behind a write": (["SET a 1", "UNSUBSCRIBE", "GET a"], [], ["+OK", "[unsubscribe _ :0]", "1"]),
}  # fmt: skip


@pytest.mark.parametrize("cut", ["one packet", "one by one", "bytes"])
@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines(stage, name, cut):
    lines, at_once, later = PIPELINES[name]
    client = stage.connect()
    if cut == "one packet":
        client.send(*lines)
    elif cut == "one by one":
        for line in lines:
            client.send(line)
    else:
        packed = pack(*lines)
        for at in range(len(packed)):
            client.raw(packed[at : at + 1])
    assert client.heard() == at_once, "before the commit"
    stage.commit()
    assert client.heard() == later
    assert client.closed == ("QUIT" in lines)


def test_nothing_of_a_write_is_visible_before_its_batch_has_landed(stage):
    writer, reader = stage.connect(), stage.connect()
    writer.send("SET a 1", "GET a")
    batch = stage.seal()
    assert reader.ask("GET a", "EXISTS a", "DBSIZE") == ["_", ":0", ":0"]
    stage.node.persist(batch)
    assert reader.ask("GET a") == ["_"]
    stage.node.persisted(batch)
    assert reader.ask("GET a") == ["1"] and writer.heard() == ["+OK", "1"]


def test_runs_in_two_batches_answer_in_order(stage):
    client = stage.connect()
    client.send("SET a 1")
    first = stage.seal()
    client.send("GET a", "INCR a", "PING", "GET a")
    assert client.heard() == []
    stage.land(first)
    assert client.heard() == ["+OK", "1"], "the read went behind the first write, before the second"
    stage.commit()
    assert client.heard() == [":2", "+PONG", "2"]


def test_clients_in_one_batch_each_get_their_own(stage):
    clients = [stage.connect() for _ in range(5)]
    for number, client in enumerate(clients):
        client.send("INCR n", "GET n", f"SET own:{number} {number}", f"GET own:{number}")
    assert stage.commit() == 1
    assert [client.heard() for client in clients] == [[f":{n + 1}", f"{n + 1}", "+OK", f"{n}"] for n in range(5)]


def test_a_read_behind_a_write_in_another_database(stage):
    client = stage.connect()
    client.send("SELECT 2", "SET a 2", "SELECT 0", "GET a", "SELECT 2", "GET a")
    assert stage.logged() == [[b"@in", b"2", b"SET", b"a", b"2"]]
    stage.commit()
    assert client.heard() == ["+OK", "+OK", "+OK", "_", "+OK", "2"]


def test_only_two_spellings_are_in_the_log(stage):
    client = stage.connect()
    client.send("sEt a 1", "set a 1", "SET a 1", "Client id", "gEtDeL a")
    assert [op[0] for op in stage.logged()] == [b"SET", b"set", b"SET", b"GETDEL"]


def test_a_packet_of_one_row_is_logged_as_it_came(stage):
    client = stage.connect()
    packet = pack("SET a 1", "SET b 2")
    client.raw(packet)
    (run,) = stage.node.open.runs
    assert run.payload == [packet] and run.count == 2


# Barriers.


@pytest.mark.parametrize("proto", [2, 3])
def test_subscribe_behind_a_write(stage, proto):
    client = stage.connect(f"HELLO {proto}")
    client.send("SET a 1", "SUBSCRIBE c", "PING", "SUBSCRIBE d")
    assert client.heard() == []
    stage.commit()
    push = ">" if proto == 3 else ""
    pong = "+PONG" if proto == 3 else "[pong ]"
    assert client.heard() == ["+OK", f"{push}[subscribe c :1]", pong, f"{push}[subscribe d :2]"]


def test_a_block_that_changes_the_session_holds_back_what_follows(stage):
    client = stage.connect()
    client.send("MULTI", "SET a 1", "SELECT 4", "EXEC", "SET a 4", "HELLO 3", "GET a")
    assert len(stage.logged()) == 1, "the second SET does not know its database yet"
    batch = stage.seal()
    client.send("GET b")
    stage.land(batch)
    assert client.heard() == ["+OK", "+QUEUED", "+QUEUED", "[+OK +OK]"]
    stage.commit()
    found = client.heard()
    assert found[0] == "+OK" and found[1].startswith("{server redis") and found[2:] == ["4", "_"]
    assert stage.connect().ask("GET a", "SELECT 4", "GET a") == ["1", "+OK", "4"]


def test_a_later_holds_back_what_follows(stage):
    client = stage.connect()
    client.send("SET a 1", "WAIT 1 500", "INCR a", "GET a")
    stage.commit()
    assert client.heard() == ["+OK"]
    client.send("GET a")
    assert client.heard() == []
    stage.wait(1)
    stage.commit()
    assert client.heard() == [":0", ":2", "2", "2"]


def test_unblocking_from_elsewhere(stage):
    client, other = stage.connect(), stage.connect()
    client.send("WAIT 1 0", "PING")
    assert other.ask("CLIENT UNBLOCK 1 ERROR") == [":1"]
    assert client.heard() == ["-UNBLOCKED client unblocked via CLIENT UNBLOCK", "+PONG"]


# What a batch may hold.


def value(size):
    return b"x" * size


def test_a_full_batch_parks_everybody_and_lets_them_go_on_in_turn(small):
    clients = [small.connect() for _ in range(4)]
    for client in clients:
        client.send(("SET", "k", value(BATCH // 2)), "STRLEN k", "PING")
    assert len(small.node.open.runs) == 2 and small.node.crowded
    assert [client.heard() for client in clients] == [[]] * 4
    batch = small.seal()
    assert batch.count == 2 and len(small.node.open.runs) == 2, "the others have joined the next batch"
    small.land(batch)
    small.commit()
    assert [client.heard() for client in clients] == [["+OK", f":{BATCH // 2}", "+PONG"]] * 4


def test_places_in_the_queue_for_a_batch_are_kept(small):
    clients = [small.connect() for _ in range(4)]
    served = []
    for number, client in enumerate(clients):
        client.wire.on_write = lambda data, number=number: served.append(number)
    for _ in range(3):
        for client in clients:
            client.send(("SET", "k", value(BATCH)))
    while small.node.open.runs:
        batch = small.seal()
        assert len(batch.runs) == 1
        small.land(batch)
        small.breathe()
    assert served == [0, 1, 2, 3] * 3, "nobody is served twice before everybody has been served once"


@pytest.mark.parametrize("line", ["SET a 1", "set a 1 EX 100", "Set a 1", "DEL a"])
def test_small_writes_wait_for_room_as_well(small, line):
    small.connect().send(("SET", "k", value(BATCH)))
    clients = [small.connect() for _ in range(3)]
    for client in clients:
        client.send(line, line)
    assert len(small.logged()) == 1 and list(small.shared.parked) == [client.session for client in clients]
    small.commit()
    assert [len(client.heard()) for client in clients] == [2] * 3


def test_reads_do_not_wait_for_a_full_batch(small):
    writer, reader = small.connect(), small.connect()
    writer.send(("SET", "k", value(BATCH)))
    assert small.node.crowded
    assert reader.ask("GET a", "PING", "MULTI", "GET a", "EXEC") == ["_", "+PONG", "+OK", "+QUEUED", "[_]"]


def test_a_block_waits_for_room(small):
    writer, other = small.connect(), small.connect()
    other.ask("MULTI", "SET a 1")
    writer.send(("SET", "k", value(BATCH)))
    other.send("EXEC", "GET a")
    assert other.heard() == [] and len(small.logged()) == 1
    small.commit()
    assert other.heard() == ["[+OK]", "1"]


def test_no_batch_is_larger_than_a_batch_may_be(small):
    """One client's backlog, resumed at once, is many times a batch."""
    client = small.connect()
    size = 15 * KIB
    client.send("SET a 1", "PUBLISH c m", *[("SET", f"k{n}", value(size)) for n in range(12)], "GET a")
    sizes = []
    while small.node.open.runs:
        batch = small.seal()
        sizes.append(len(batch.body))
        small.land(batch)
        small.breathe()
    assert max(sizes) < BATCH + size + KIB and len(sizes) > 3
    assert client.heard() == ["+OK", ":0"] + ["+OK"] * 12 + ["1"]


@pytest.mark.parametrize("db", [0, 1])
@pytest.mark.parametrize("options", ["", "EX 1000"])
def test_large_writes_join_one_by_one(small, db, options):
    client = small.connect(f"SELECT {db}")
    client.send(*[("SET", f"k{n}", value(ROW // 2), *options.split()) for n in range(7)], "DBSIZE")
    assert len(small.node.open.runs[0].payload) == 7
    small.commit()
    assert client.heard() == ["+OK"] * 7 + [":7"]


def test_a_request_that_no_entry_can_hold(stage, monkeypatch):
    """The reader refuses such requests; this is behind it."""
    monkeypatch.setattr(execution, "ROW_BYTES_MAX", 100)
    monkeypatch.setattr("vaylix_resp.server.dispatch.ENTRY_BYTES_MAX", 1000)
    client = stage.connect()
    found = client.ask(("SET", "a", value(1000)), "SET b 1", "MULTI", ("SET", "a", value(950)), "EXEC", "GET b")
    refusal = found[0]
    assert refusal.startswith("-ERR the request is too large: the log takes at most")
    assert found[1:] == ["+OK", "+OK", "+QUEUED", refusal, "1"]


# What a client may make us keep.


def test_requests_behind_a_slow_log_are_not_read_without_end(stage):
    client = stage.connect()
    client.send("SET a 1")
    batch = stage.seal()
    packet = pack(*["GET a"] * 1000)
    for _ in range(2 * BACKLOG_BYTES_MAX // len(packet)):
        client.raw(packet)
    assert client.wire.paused and client.session._held < BACKLOG_BYTES_MAX + 2 * len(packet)
    stage.land(batch)
    assert not client.wire.paused
    stage.breathe()
    assert client.heard() == ["+OK"] + ["1"] * (1000 * (2 * BACKLOG_BYTES_MAX // len(packet)))


def test_writes_behind_a_slow_log_are_not_read_without_end(stage):
    client = stage.connect()
    packet = pack(*[("SET", "a", value(1000))] * 100)
    count = 3 * BACKLOG_BYTES_MAX // len(packet)
    for _ in range(count):
        client.raw(packet)
    assert client.wire.paused and stage.node.open.size < BACKLOG_BYTES_MAX + 2 * len(packet)
    stage.commit()
    assert client.heard() == ["+OK"] * (100 * count)
