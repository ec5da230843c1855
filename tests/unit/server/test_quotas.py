"""Rates and numbers of connections as clients meet them: whose meter, in which order, and what is never refused."""

from random import Random

import pytest

from tests.unit.server.front import Peer, Wire, pack

REQUESTS = "-LIMIT more than {} requests per second for {} ({}); wait {} ms"
CONNECTION, OWN = "this connection", "client-requests-per-second"


@pytest.fixture
def users(stage):
    """alice and bob, who hold roles; they log in with any password."""
    admin = stage.connect()
    admin.ask("ACL SETROLE web ~* +@all", "ACL SETROLE batch ~* +@all")
    admin.ask("ACL SETUSER alice on nopass role=web", "ACL SETUSER bob on nopass role=web,batch")
    return stage


def limit(stage, **settings):
    """CONFIG SET, as an operator on another connection does it."""
    (done,) = stage.connect().ask(
        ("CONFIG", "SET", *(word for name, value in settings.items() for word in (name.replace("_", "-"), value)))
    )
    assert done == "+OK"


def figure(stage, name):
    (text,) = stage.connect().ask("INFO stats")
    return int(text.split(f"\r\n{name}:")[1].split("\r\n")[0])


def over(rate, wait_ms, subject=CONNECTION, directive=OWN):
    return REQUESTS.format(rate, subject, directive, wait_ms)


def test_without_limits_no_session_has_a_limiter(stage):
    assert stage.connect().session.limiter is None


def test_requests_beyond_the_rate_are_refused_in_their_place(stage):
    client = stage.connect()
    limit(stage, client_requests_per_second=3)
    assert client.ask("SET a 1", "INCR a", "GET a", "GET a", "NOSUCH") == ["+OK", ":2", "2"] + [over(3, 334)] * 2
    stage.wait(0.34)
    assert client.ask("INCR a", "INCR a") == [":3", over(3, 327)]
    assert figure(stage, "limit_refused_requests") == 3
    limit(stage, client_requests_per_second=0)
    assert client.session.limiter is None and client.ask(*["PING"] * 9) == ["+PONG"] * 9


def test_a_burst_and_bytes(stage):
    limit(stage, client_requests_per_second=1, client_requests_burst=5)
    client = stage.connect()
    assert client.ask(*["PING"] * 6) == ["+PONG"] * 5 + [over(1, 1000)]
    limit(stage, client_requests_per_second=0, client_bytes_per_second=100)
    assert client.ask(("ECHO", "x" * 150), "PING") == ["x" * 150, "+PONG"], "what came in one read came as a whole"
    text = "-LIMIT more than 100 bytes per second for this connection (client-bytes-per-second); wait {} ms"
    size = len(pack(("ECHO", "x" * 150), "PING"))
    assert client.ask("PING") == [text.format((size - 99) * 10)]
    stage.wait(size / 100 - 0.98)
    assert client.ask("PING") == ["+PONG"]


def test_bytes_of_a_request_in_pieces_count_when_it_is_whole(stage):
    limit(stage, client_bytes_per_second=1000)
    client = stage.connect()
    wire = pack(("SET", "a", "x" * 1500), "PING")
    for at in range(0, len(wire) - 14, 100):
        client.raw(wire[at : min(at + 100, len(wire) - 14)])
    stage.commit()
    assert client.heard() == ["+OK"]
    client.raw(wire[-14:])
    assert client.heard()[0].startswith("-LIMIT more than 1000 bytes per second")


@pytest.mark.parametrize("gap", ["a write in flight", "a pause"])
def test_what_waits_is_answered_before_what_is_refused(stage, gap):
    client = stage.connect()
    limit(stage, client_requests_per_second=2)
    if gap == "a pause":
        stage.connect("CLIENT PAUSE 1000 ALL")
    client.send("SET a 1", "GET a", "GET a")
    client.send("GET a")
    stage.commit()
    if gap == "a pause":
        assert client.heard() == []
        stage.wait(1.1)
        stage.commit()
    assert client.heard() == ["+OK", "1"] + [over(2, 500)] * 2


def test_a_transaction_beyond_the_rate_is_discarded_as_a_whole(stage):
    client = stage.connect()
    limit(stage, client_requests_per_second=2)
    assert client.ask("SET a 1", "PING", "MULTI", "SET a 2") == ["+OK", "+PONG", "+OK", over(2, 500)]
    stage.wait(2)
    assert client.ask("SET b 1", "EXEC", "GET a") == [
        "+QUEUED", "-EXECABORT Transaction discarded because of previous errors.", over(2, 500),
    ]  # fmt: skip
    stage.wait(2)
    assert client.ask("MULTI", "SET a 3", "EXEC", "DISCARD") == [
        "+OK", "+QUEUED", "-EXECABORT Transaction discarded because of: " + over(2, 500)[1:],
        "-ERR DISCARD without MULTI",
    ]  # fmt: skip
    stage.wait(2)
    assert client.ask("GET a") == ["1"]


@pytest.mark.parametrize("seed", range(20))
def test_a_transaction_is_whole_whatever_the_rate_and_however_it_arrives(stage, seed):
    """Of each block both writes are there or none, and none was made outside of a block."""
    rng = Random(seed)
    client = stage.connect()
    limit(stage, client_requests_per_second=rng.randrange(1, 30), client_requests_burst=rng.randrange(6, 12))
    wire = b"".join(pack("MULTI", f"SET a {n}", f"APPEND log {n},", f"SET b {n}", "EXEC") for n in range(60))
    heard = []
    while wire:
        cut = rng.randrange(1, 200)
        client.raw(wire[:cut])
        wire = wire[cut:]
        stage.wait(rng.choice([0, 0.01, 0.2]))
        stage.commit()
        heard += client.heard()
    done = [text for text in heard if text.startswith("[")]
    assert len(heard) == 300 and 0 < len(done) < 60, "a reply each; some blocks were refused"
    limit(stage, client_requests_per_second=0)
    first, second, log = client.ask("GET a", "GET b", "GET log")
    assert first == second == log.split(",")[-2] and log.count(",") == len(done)


def test_what_ends_something_is_never_refused(stage):
    client, other = stage.connect(), stage.connect()
    limit(stage, client_requests_per_second=1)
    assert client.ask("WATCH a", "UNWATCH", "multi", "DISCARD", "RESET", "GET a", "QUIT")[1:] == [
        "+OK", "+OK", "+OK", "+RESET", over(1, 1000), "+OK",
    ]  # fmt: skip
    assert client.closed and other.ask("PING") == ["+PONG"]


def test_no_reply_is_no_reply(stage):
    limit(stage, client_requests_per_second=2)
    client = stage.connect()
    assert client.ask("CLIENT REPLY SKIP", "PING", "PING") == [over(2, 500)]
    stage.wait(2)
    assert client.ask("CLIENT REPLY OFF", "PING", "PING", "GET a") == []


def test_before_the_log_in(stage):
    """One at a time, because a log-in lifts bounds; guesses at passwords are requests, too."""
    limit(stage, client_requests_per_second=3)
    limit(stage, requirepass="secret")  # noqa: S106 - of a test
    client = stage.connect()
    assert [text.split()[0] for text in client.ask(*["AUTH wrong"] * 3, "AUTH secret", "PING")] == [
        "-WRONGPASS", "-WRONGPASS", "-WRONGPASS", "-LIMIT", "-LIMIT",
    ]  # fmt: skip
    stage.wait(1)
    assert client.ask("AUTH secret", "PING", "PING", "PING") == ["+OK", "+PONG", "+PONG", over(3, 334)], "no refill"


def test_bytes_before_the_log_in(stage):
    limit(stage, client_bytes_per_second=1000)
    limit(stage, requirepass="secret")  # noqa: S106 - of a test
    client = stage.connect()
    wire = pack(("PING", "x" * 1500))
    client.raw(wire[:1000]).raw(wire[1000:])
    assert client.heard() == ["-NOAUTH Authentication required."]
    assert client.ask("PING")[0].startswith("-LIMIT more than 1000 bytes per second for this connection")


# Users and roles.


def test_all_connections_of_a_user_share_a_meter(users):
    limit(users, user_limit="alice requests 4")
    first, second, bob = (users.connect(f"AUTH {name} x") for name in ("alice", "alice", "bob"))
    full = over(4, 250, "user 'alice'", "user-limit")
    assert first.ask(*["PING"] * 3) == ["+PONG"] * 3
    assert second.ask(*["PING"] * 3) == ["+PONG", full, full]
    assert bob.ask(*["PING"] * 9) == ["+PONG"] * 9
    first.vanish()
    second.vanish()
    again = users.connect("AUTH alice x")
    assert again.ask("PING") == [full], "coming back refills nothing"


@pytest.mark.parametrize(
    "lines, alice, bob",
    [
        ("alice requests 2 role:web requests 3 role:batch requests 5 * requests 7", 2, 5),
        ("role:web requests 3 * requests 7", 3, 3),
        ("role:batch requests 5 * requests 7", 7, 5),
        ("bob requests 1", 9, 1),
    ],
)
def test_which_line_counts(users, lines, alice, bob):
    clients = {name: users.connect(f"AUTH {name} x") for name in ("alice", "bob")}
    limit(users, user_limit=lines)
    for name, most in (("alice", alice), ("bob", bob)):
        assert clients[name].ask(*["PING"] * 9).count("+PONG") == most, name


def test_a_change_of_roles_counts_at_once(users):
    limit(users, user_limit="role:batch requests 2 role:web requests 5")
    alice, bob = users.connect("AUTH alice x"), users.connect("AUTH bob x")
    assert alice.ask(*["PING"] * 6).count("+PONG") == 5
    assert bob.ask(*["PING"] * 4).count("+PONG") == 4
    users.connect("ACL SETUSER alice role=batch", "ACL SETUSER bob >new")
    assert alice.ask(*["PING"] * 6).count("+PONG") == 2
    assert bob.ask(*["PING"] * 6).count("+PONG") == 1, "whose roles are the same has used the same"
    users.connect("ACL SETUSER alice resetroles +@all")
    assert alice.session.limiter is None


def test_connections_of_a_user(users):
    limit(users, user_limit="alice connections 2")
    first, second, third = (users.connect() for _ in range(3))
    assert first.ask("AUTH alice x", "AUTH alice x") == ["+OK", "+OK"], "once is once"
    assert second.ask("HELLO 3 AUTH alice x")[0].startswith("{server")
    refused = "-LIMIT user 'alice' already has 2 connections (user-limit)"
    assert third.ask("AUTH alice x", "ACL WHOAMI") == [refused, "default"]
    assert third.ask("HELLO 3 AUTH alice x SETNAME n", "CLIENT GETNAME") == [refused, "_"] and third.session.proto == 2
    first.ask("AUTH bob x")
    assert third.ask("AUTH alice x") == ["+OK"], "who becomes somebody else makes room"
    second.ask("RESET")
    assert first.ask("AUTH alice x") == ["+OK"]
    third.vanish()
    assert second.ask("AUTH alice x") == ["+OK"]
    assert figure(users, "limit_refused_connections") == 2


def test_connections_where_nobody_logs_in(stage):
    admin = stage.connect()
    admin.ask("CONFIG SET user-limit", ("CONFIG", "SET", "user-limit", "default connections 2"))
    stage.connect()
    third = stage.connect()
    third.send("PING")
    refused = "-LIMIT user 'default' already has 2 connections (user-limit)"
    assert third.heard() == [refused] and third.closed
    stage.breathe()
    assert len(stage.shared.clients) == 2 and stage.shared.stats.rejected_connections == 1
    admin.ask(("CONFIG", "SET", "user-limit", "default connections 1"))
    assert admin.ask("PING") == ["+PONG"], "those that are there stay"
    admin.ask(("CONFIG", "SET", "user-limit", ""))
    assert stage.connect().ask("PING") == ["+PONG"]


def test_a_reset_that_finds_no_room_closes(users):
    client = users.connect("AUTH alice x")
    holder = users.connect()
    for other in users.peers:
        if other not in (client, holder):
            other.vanish()
    holder.ask(("CONFIG", "SET", "user-limit", "default connections 1"))
    assert client.ask("RESET", "PING") == ["-LIMIT user 'default' already has 1 connections (user-limit)"]
    assert client.closed


def test_who_need_not_log_in_any_more_is_counted(stage):
    stage.connect("CONFIG SET requirepass secret")
    waiting = stage.connect()
    assert waiting.session.meter is None
    stage.connect("AUTH secret", "CONFIG SET requirepass nothing", ("CONFIG", "SET", "requirepass", ""))
    assert waiting.session.meter.user == "default" and waiting.ask("PING") == ["+PONG"]


class Certified(Wire):
    def get_extra_info(self, name, default=None):
        return type("Names", (), {"names": (b"alice",)}) if name == "peer" else super().get_extra_info(name, default)


def test_a_user_by_certificate_is_counted_as_that_user(users):
    users.settings.set_many([("tls-auth-clients-user", "CN"), ("user-limit", "alice connections 1 default connections 99")])
    first, second = Peer(users, Certified(users)), Peer(users, Certified(users))
    assert first.session.meter.user == "alice" and first.ask("ACL WHOAMI") == ["alice"]
    assert second.heard() == ["-LIMIT user 'alice' already has 1 connections (user-limit)"] and second.closed


def test_a_log_in_of_a_block_that_runs_when_its_client_has_gone_is_no_connection(users):
    users.settings.set_many([("user-limit", "alice connections 1")])
    for _ in range(2):
        client = users.connect()
        client.send("MULTI", "SET a 1", "AUTH alice x", "EXEC")
        client.vanish()
        users.commit()
    assert users.connect().ask("AUTH alice x") == ["+OK"]
