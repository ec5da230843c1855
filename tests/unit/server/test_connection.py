"""Bytes in and out: who may connect, how much may be kept, how a connection ends."""

import socket

import pytest

from tests.unit.server.front import Peer, Stage, Wire, pack
from vaylix_resp.limits import BACKLOG_BYTES_MAX, MIB, OUTPUT_PAUSE_BYTES
from vaylix_resp.resp.reader import RequestReader
from vaylix_resp.server.clients import TOO_MANY
from vaylix_resp.server.connection import LOGIN_SECONDS_MAX, PROTECTED_MODE

NOAUTH = "-NOAUTH Authentication required."
BIG = b"x" * MIB


def limits(stage, text):
    stage.settings.set_many([("client-output-buffer-limit", text)])


# Who may connect.


def test_the_ends_of_a_connection(stage):
    client = stage.connect(peer=("::1", 1234))
    assert (client.session.addr, client.session.laddr) == ("[::1]:1234", "127.0.0.1:6379")
    (line,) = client.ask("CLIENT INFO")
    assert line.startswith("id=1 addr=[::1]:1234 laddr=127.0.0.1:6379 ") and " cmd=client|info " in line


class UnixWire(Wire):
    def get_extra_info(self, name, default=None):
        if name == "socket":
            return type("Socket", (), {"family": socket.AF_UNIX, "fileno": lambda self: 11})()
        return {"sockname": "/run/vaylix.sock", "peername": ""}.get(name, default)


def test_a_unix_socket(stage):
    stage.settings.protected_mode = True
    client = Peer(stage, UnixWire(stage))
    assert client.session.addr == client.session.laddr == "/run/vaylix.sock:0" and client.session.fd == 11
    assert client.ask("PING") == ["+PONG"]


def test_one_client_too_many():
    stage = Stage(maxclients=2)
    first, _ = stage.connect(), stage.connect()
    third = stage.connect()
    third.send("SET a 1")
    assert third.heard() == [f"-{TOO_MANY}"] and third.closed
    stage.breathe()
    assert len(stage.shared.clients) == 2
    (text,) = first.ask("INFO stats")
    assert "rejected_connections:1\r\n" in text and "total_connections_received:3\r\n" in text
    first.vanish()
    assert stage.connect().ask("PING") == ["+PONG"]
    stage.close()


@pytest.mark.parametrize(
    "host, password, mode, admitted",
    [
        ("127.0.0.1", "", True, True),
        ("127.9.9.9", "", True, True),
        ("::1", "", True, True),
        ("::ffff:127.0.0.1", "", True, True),
        ("10.0.0.1", "", True, False),
        ("::ffff:10.0.0.1", "", True, False),
        ("fe80::1", "", True, False),
        ("128.0.0.1", "", True, False),
        ("10.0.0.1", "secret", True, True),
        ("10.0.0.1", "", False, True),
    ],
)
def test_protected_mode(host, password, mode, admitted):
    stage = Stage(protected_mode=mode, requirepass=password)
    client = stage.connect(peer=(host, 40000))
    client.send("PING")
    reply = (NOAUTH if password else "+PONG") if admitted else f"-{PROTECTED_MODE}"
    assert client.heard() == [reply] and client.closed == (not admitted)
    stage.breathe()
    assert len(stage.shared.clients) == admitted and stage.shared.stats.rejected_connections == (not admitted)
    stage.close()


def test_protected_mode_protects_from_those_who_need_not_log_in():
    stage = Stage(protected_mode=True)
    outside = ("10.0.0.1", 40000)
    admin = stage.connect("ACL SETUSER admin on >x ~* +@all")
    assert stage.connect(peer=outside).heard() == [f"-{PROTECTED_MODE}"], "whoever it would log in as"
    admin.ask("ACL SETUSER default off")
    assert stage.connect(peer=outside).ask("PING", "AUTH admin x", "PING") == [NOAUTH, "+OK", "+PONG"]
    stage.close()


# Before the log-in.


@pytest.fixture
def guarded():
    stage = Stage(requirepass="secret")
    yield stage
    stage.close()


def test_the_order_of_refusals_before_the_log_in(guarded):
    client = guarded.connect()
    assert client.ask("NOSUCH", "GET", "GET a", "SET a 1", "SUBSCRIBE c", "AUTH wrong", "PING", "HELLO 3") == [
        "-ERR unknown command 'NOSUCH', with args beginning with: ",
        "-ERR wrong number of arguments for 'get' command", NOAUTH, NOAUTH, NOAUTH,
        "-WRONGPASS invalid username-password pair or user is disabled.", NOAUTH,
        "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> "
        "<pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
    ]  # fmt: skip
    assert guarded.connect().ask("EXISTS a") == [NOAUTH]


def test_log_in_pipelined_in_front_lifts_the_bounds(guarded):
    client = guarded.connect()
    words = [f"k{n}" for n in range(100)]
    found = client.ask("PING", "AUTH secret", ("SET", "a", "x" * 20_000), f"DEL {' '.join(words)}", "STRLEN a")
    assert found == [NOAUTH, "+OK", "+OK", ":0", ":20000"]


@pytest.mark.parametrize(
    "line, text",
    [(f"DEL {' '.join('abcdefghij')}", "unauthenticated multibulk length"),
     (("SET", "a", "x" * 16_385), "unauthenticated bulk length")],
)  # fmt: skip
def test_bounds_before_the_log_in(guarded, line, text):
    client = guarded.connect()
    assert client.ask("AUTH wrong", line, "PING")[1:] == [f"-ERR Protocol error: {text}"] and client.closed
    client = guarded.connect("AUTH secret", "RESET")
    assert client.ask(line) == [f"-ERR Protocol error: {text}"], "and after RESET again"


def test_log_in_held_up_by_a_pause_still_lifts_the_bounds(guarded):
    admin = guarded.connect("AUTH secret", "CLIENT PAUSE 1000 ALL")
    client = guarded.connect()
    client.send("AUTH secret", ("SET", "a", "x" * 20_000), "STRLEN a")
    client.send("SET b 1", "GET b")
    assert client.heard() == [] and not client.closed
    guarded.wait(2)
    guarded.commit()
    assert client.heard() == ["+OK", "+OK", ":20000", "+OK", "1"] and admin.ask("PING") == ["+PONG"]


def test_taking_the_password_away_logs_everybody_in(guarded):
    client, admin = guarded.connect(), guarded.connect("AUTH secret")
    assert client.ask("GET a") == [NOAUTH]
    assert admin.ask(("CONFIG", "SET", "requirepass", "")) == ["+OK"]
    assert client.ask("GET a", "SET a 1") == ["_", "+OK"]
    assert admin.ask("CONFIG SET requirepass new") == ["+OK"]
    assert client.ask("GET a") == admin.ask("GET a") == ["1"] and guarded.connect().ask("GET a") == [NOAUTH]


def test_who_does_not_log_in_is_not_kept(guarded):
    idle, member = guarded.connect(), guarded.connect("AUTH secret")
    guarded.clock.ms += int(LOGIN_SECONDS_MAX * 1000) + 1
    for client in guarded.shared.clients:
        client.check_limits(guarded.clock.now())
    assert idle.closed and not member.closed


def test_who_resets_has_the_time_of_a_new_connection_to_log_in_again(guarded):
    pooled, idle = guarded.connect("AUTH secret"), guarded.connect()
    guarded.wait(LOGIN_SECONDS_MAX - 1)
    assert idle.ask("RESET") == ["+RESET"], "which gives nobody more time who never logged in"
    guarded.wait(2)
    assert pooled.ask("RESET") == ["+RESET"]
    for client in guarded.shared.clients:
        client.check_limits(guarded.clock.now())
    assert idle.closed and pooled.ask("AUTH secret") == ["+OK"]


# How a connection ends.


@pytest.mark.parametrize(
    "lines, replies",
    [
        (["PING"], ["+PONG"]),
        (["SET a 1", "GET a"], ["+OK", "1"]),
        (["SET a 1", "PUBLISH c m", "INCR a", "GET a"], ["+OK", ":0", ":2", "2"]),
        (["MULTI", "SET a 1", "SELECT 1", "EXEC", "GET a"], ["+OK", "+QUEUED", "+QUEUED", "[+OK +OK]", "_"]),
        ([], []),
    ],
)
def test_half_a_close_is_answered_and_closed(stage, lines, replies):
    client = stage.connect()
    if lines:
        client.send(*lines)
    client.raw(b"*2\r\n$3\r\nGET\r\n$1\r\n")  # the end of this will never come
    client.end()
    stage.commit()
    assert client.heard() == replies and client.closed and client.wire.lost


def test_half_a_close_of_a_subscriber_or_a_blocked_client(stage):
    subscriber, blocked, saver = stage.connect("SUBSCRIBE c"), stage.connect(), stage.connect()
    blocked.send("WAIT 1 0", "SET a 1")
    for client in (subscriber, blocked):
        client.end()
        stage.commit()
        assert client.heard() == [] and client.wire.lost
    assert saver.ask("PUBSUB NUMSUB c", "EXISTS a") == ["[c :0]", ":0"]


def test_protocol_error_behind_requests(stage):
    client = stage.connect()
    client.raw(pack("SET a 1", "PUBLISH c m", "INCR a") + b"*1\r\n!x\r\n" + pack("SET a 9"))
    assert client.heard() == []
    stage.commit()
    assert client.heard() == ["+OK", ":0", ":2", "-ERR Protocol error: expected '$', got '!'"] and client.closed
    assert stage.connect().ask("GET a") == ["2"]


def test_protocol_error_behind_a_reply_that_comes_later(stage):
    client = stage.connect()
    client.send("WAIT 1 100")
    client.raw(b"*x\r\n")
    assert client.heard() == []
    stage.wait(1)
    assert client.heard() == [":0", "-ERR Protocol error: invalid multibulk length"] and client.closed


@pytest.mark.parametrize("behind", [b"*x\r\n", pack("SET a 1")])
def test_nothing_follows_quit(stage, behind):
    client = stage.connect()
    client.raw(pack("PING", "QUIT") + behind)
    stage.commit()
    assert client.heard() == ["+PONG", "+OK"] and client.closed
    assert stage.connect().ask("EXISTS a") == [":0"]


def test_a_request_beyond_the_query_buffer(stage):
    client, other = stage.connect(), stage.connect()
    client.session._reader.query_bytes_max = 1000
    client.send("SET a 1")
    client.raw(b"*2\r\n$3\r\nGET\r\n$5000\r\n" + b"x" * 1000)
    stage.commit()
    assert client.heard() == [] and client.closed, "without a word, as Redis"
    assert other.ask("GET a") == ["1"]
    assert stage.shared.stats.client_query_buffer_limit_disconnections == 1


def test_kill(stage):
    client, other = stage.connect("SUBSCRIBE c"), stage.connect()
    client2 = stage.connect()
    client2.send("SET a 1")
    assert other.ask("CLIENT KILL ID 1", "CLIENT KILL ID 3") == [":1", ":1"]
    assert other.ask("PUBLISH c m", "CLIENT KILL ID 1", "GET a") == [":0", ":0", "1"]
    assert client.heard() == client2.heard() == [] and client.closed and client2.closed


def test_kill_oneself(stage):
    client = stage.connect()
    assert client.ask("SET a 1", "CLIENT KILL ID 1 SKIPME no", "SET a 2") == ["+OK", ":1"] and client.closed
    assert stage.connect().ask("GET a") == ["1"]


def test_nothing_is_left_of_a_client_that_has_gone(stage):
    shared = stage.shared
    client = stage.connect("WATCH a b", "HELLO 3", "CLIENT TRACKING ON", "GET a", "SUBSCRIBE c", "PSUBSCRIBE d*",
                           "SSUBSCRIBE e", "MONITOR")  # fmt: skip
    client.send("SET a 1", "SET a 1")
    client.vanish()
    stage.commit()
    assert len(shared.clients) == 0 and not shared.watchers and not shared.parked and not shared.buffering
    assert not shared.tracking.active and not shared.monitors.active and not shared.pubsub.held
    assert not shared.pubsub.patterns.tests and not shared.observed
    assert stage.node.machine.world.touched is None
    assert client.session._out == [] and not client.session._backlog


def test_loops_of_connecting_leave_nothing(stage):
    for number in range(20):
        client = stage.connect("WATCH a", f"SUBSCRIBE c{number}")
        client.vanish()
    stage.peers.clear()
    assert len(stage.shared.clients) == 0 and not stage.shared.watchers and not stage.shared.pubsub.held


# A client that reads slowly.


def test_a_slow_reader_is_not_read_from_and_gets_everything_in_the_end(stage):
    client = stage.connect(("SET", "big", BIG))
    client.wire.slow = True
    for _ in range(10):
        client.send(*["GET big"] * 3, "SET n 1")
    stage.commit()
    assert client.wire.paused and len(client.wire.unsent) < OUTPUT_PAUSE_BYTES + 3 * MIB
    assert stage.shared.stats.commands["get"].calls < 6
    client.wire.read()
    stage.commit()
    assert not client.wire.paused and not stage.shared.buffering
    assert client.heard() == (["x" * MIB] * 3 + ["+OK"]) * 10


@pytest.mark.parametrize("size", [1000, 2000, 100_000, MIB])
def test_large_values_to_a_client_that_reads(stage, size):
    client = stage.connect(("SET", "big", "x" * size))
    count = 3 * MIB // size
    for lines in (["GET big"] * count, ["GET big", "STRLEN big"] * (count // 2), ["SET a 1"] + ["GET big"] * count):
        client.send(*lines, "PING")
        stage.commit()
        found = client.heard()
        assert len(found) == len(lines) + 1 and found[-1] == "+PONG"


# Requests whose replies are a thousand times as large as they are, in every way that replies are made.
HEAVY = {
    "reads in a row": ([], ["GET big"]),
    "a few reads in a row": ([], ["GET big", "GET big", "STRLEN big"]),
    "reads one at a time": ([], ["GETRANGE big 0 -1"]),
    "arrays": ([], ["MGET big big"]),
    "arrays in constant time": ([], ["EXGET big"]),
    "while somebody tracks": (["HELLO 3", "CLIENT TRACKING ON"], ["GET big"]),
    "blocks": ([], ["MULTI", "GET big", "EXEC"]),
    "behind a write": ([], ["GET big", "APPEND a x"]),
    "arrays behind a write": ([], ["MGET big big", "APPEND a x"]),
    "writes": ([], ["GETEX big"]),
    "blocks with writes": ([], ["MULTI", "GET big", "APPEND a x", "EXEC"]),
}


@pytest.mark.parametrize("name", HEAVY)
def test_replies_are_never_gathered_without_end(stage, name):
    first, lines = HEAVY[name]
    limits(stage, "normal 32mb 0 0")
    client = stage.connect(("SET", "big", "x" * (MIB // 8)), *first)
    sizes = []
    client.wire.on_write = lambda data: sizes.append(len(data))
    client.send(*lines * 300)
    stage.commit()
    assert sum(sizes) >= 300 * MIB // 8 and max(sizes) < OUTPUT_PAUSE_BYTES + 65 * MIB // 8
    client.wire.taken.clear()
    client.wire.slow = True
    client.send(*lines * 600)
    stage.commit()
    if not client.closed:  # nothing has been made that it is not going to read
        assert len(client.wire.unsent) < 2 * OUTPUT_PAUSE_BYTES + 65 * MIB // 8
        client.wire.read()
        stage.commit()
        assert len(client.heard()) == len(lines) * 600


def test_a_slow_reader_that_stops_again(stage):
    client = stage.connect(("SET", "big", BIG))
    client.wire.slow = True
    client.send(*["GET big"] * 8)
    seen = 0
    while client.session._backlog:
        client.wire.read()
        client.wire.slow = True
        seen += len(client.heard())
        assert len(client.wire.unsent) <= OUTPUT_PAUSE_BYTES + MIB
    client.wire.read()
    assert seen + len(client.heard()) == 8


def test_a_parked_slow_reader_is_not_woken_by_others(stage):
    client, other = stage.connect(("SET", "big", BIG)), stage.connect()
    client.wire.slow = True
    client.send(*["GET big"] * 8)
    calls = stage.shared.stats.commands["get"].calls
    assert client.session._backlog and client.session not in stage.shared.parked
    for _ in range(5):
        other.ask("CLIENT PAUSE 100 WRITE", "CLIENT UNPAUSE", "SET a 1")
        stage.wait(0.3)
    assert stage.shared.stats.commands["get"].calls == calls
    client.wire.read()
    assert len(client.heard()) == 8


def test_a_single_reply_may_pass_the_limit(stage):
    limits(stage, "normal 2mb 0 0")
    client = stage.connect(("SET", "big", BIG * 8))
    client.wire.slow = True
    client.send("GET big")
    client.session.check_limits(stage.clock.now())
    assert not client.closed and len(client.wire.unsent) > 8 * MIB
    client.send("PING")
    assert not client.closed, "it is not even read"
    client.wire.read()
    stage.breathe()
    assert [len(text) for text in client.heard()] == [8 * MIB, 5]


@pytest.mark.parametrize("kind", ["normal", "pubsub"])
def test_the_hard_limit(stage, kind):
    limits(stage, f"{kind} 3mb 0 0")
    client, other = stage.connect(), stage.connect()
    if kind == "pubsub":
        client.ask("SUBSCRIBE c")
        client.wire.slow = True
        for _ in range(6):
            other.send(("PUBLISH", "c", BIG))
        assert client.closed
        assert other.heard()[:2] == [":1", ":1"]
    else:
        client.ask(("SET", "big", BIG))
        client.wire.slow = True
        client.send("HELLO 3", "CLIENT TRACKING ON BCAST")  # what comes unasked is limited as well
        for number in range(6):
            other.ask((b"SET", b"%d" % number + BIG, "1"))
        assert client.closed
    stage.breathe()
    assert stage.shared.stats.client_output_buffer_limit_disconnections == 1
    assert other.ask("PUBSUB NUMSUB c", "PING")[-2:] == ["[c :0]", "+PONG"]


def test_the_soft_limit(stage):
    limits(stage, "normal 0 2mb 5")
    client = stage.connect(("SET", "big", BIG * 3))
    client.wire.slow = True
    client.send("GET big")
    for seconds, closed in ((0, False), (4, False), (2, True)):
        stage.clock.ms += seconds * 1000
        client.session.check_limits(stage.clock.now())
        assert client.closed == closed


def test_the_soft_limit_counts_from_when_it_was_passed(stage):
    limits(stage, "normal 0 2mb 5")
    client = stage.connect(("SET", "big", BIG * 3))
    client.wire.slow = True
    client.send("GET big")
    client.session.check_limits(stage.clock.now())
    stage.clock.ms += 4000
    client.wire.read()
    client.wire.slow = True
    client.send("GET big")
    stage.clock.ms += 4000
    client.session.check_limits(stage.clock.now())
    assert not client.closed


# Input that waits.


def test_a_client_that_waits_is_not_read_without_end(stage):
    client, _ = stage.connect(), stage.connect("CLIENT PAUSE 1000 ALL")
    packet = pack(*[("SET", "a", "x" * 1000)] * 50)
    total = 4 * BACKLOG_BYTES_MAX // len(packet)
    for _ in range(total):
        client.raw(packet)
    assert client.wire.paused and client.session._held < BACKLOG_BYTES_MAX + 2 * len(packet)
    stage.wait(2)
    stage.commit()
    assert client.heard() == ["+OK"] * (50 * total) and not client.wire.paused


def test_reading_stops_for_a_later_too(stage):
    client = stage.connect()
    client.send("WAIT 1 100")
    packet = pack(*["PING"] * 1000)
    for _ in range(2 * BACKLOG_BYTES_MAX // len(packet)):
        client.raw(packet)
    assert client.wire.paused
    stage.wait(1)
    assert len(client.heard()) == 1 + 1000 * (2 * BACKLOG_BYTES_MAX // len(packet)) and not client.wire.paused


def test_a_large_request_is_received_while_writes_are_in_flight(stage):
    """Its first half must not stop the second from being read."""
    client = stage.connect()
    client.send("SET a 1")
    packet = pack(("SET", "big", BIG * 3))
    for at in range(0, len(packet), 65536):
        client.raw(packet[at : at + 65536])
    assert client.wire.paused
    stage.commit()
    assert client.heard() == ["+OK", "+OK"] and client.ask("STRLEN big") == [f":{3 * MIB}"]


# Idle clients.


def age(stage, seconds):
    stage.clock.ms += int(seconds * 1000)
    stage.shared.tick()
    for client in stage.shared.clients:
        client.check_limits(stage.clock.now())
    stage.breathe()


def test_idle_clients_are_closed(stage):
    stage.settings.timeout = 10
    idle, active = stage.connect("PING"), stage.connect()
    subscriber, monitor = stage.connect("SUBSCRIBE c"), stage.connect("MONITOR")
    blocked = stage.connect()
    blocked.send("WAIT 1 0")
    age(stage, 9)
    active.ask("PING")
    age(stage, 2)
    assert [client.closed for client in (idle, active, subscriber, monitor, blocked)] == [True] + [False] * 4
    blocked.vanish()


def test_waiting_for_the_server_is_not_idleness(stage):
    stage.settings.timeout = 10
    client, paused, _ = stage.connect(), stage.connect(), stage.connect("CLIENT PAUSE 60000 WRITE")
    paused.send("SET a 1")
    age(stage, 50)
    assert not paused.closed and client.closed
    age(stage, 20)
    stage.commit()
    assert paused.heard() == ["+OK"]


def test_no_timeout_by_default(stage):
    client = stage.connect()
    age(stage, 1e6)
    assert client.ask("PING") == ["+PONG"]


def test_an_idle_client_that_does_not_read_is_let_go_of_at_once(stage):
    stage.settings.timeout = 10
    client = stage.connect(("SET", "big", BIG * 2))
    client.wire.slow = True
    client.send("GET big")
    age(stage, 20)
    assert client.wire.lost


def test_statistics_of_the_wire(stage):
    client = stage.connect()
    packet = pack("PING", "PING")
    client.raw(packet)
    stats = stage.shared.stats
    assert (stats.total_net_input_bytes, stats.total_net_output_bytes) == (len(packet), 14)
    assert (stats.total_reads_processed, stats.total_writes_processed) == (1, 1), "one write for one read"
    assert client.session.input_bytes == 0
    client.raw(b"*1\r\n$100\r\nabc")
    assert client.session.input_bytes > 0 and isinstance(client.session._reader, RequestReader)
