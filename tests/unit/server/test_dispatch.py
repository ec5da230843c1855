"""One request at a time: transactions, WATCH, CLIENT REPLY, tracking, monitors, pauses, refusals."""

import gc

import pytest

from tests.unit.server.front import Stage
from vaylix_resp.commands.spec import DECLARED, Kind
from vaylix_resp.errors import EXEC_ABORT

ABORTED = f"-{EXEC_ABORT}"
QUEUED = "+QUEUED"


# Transactions.

SYNTAX = "-ERR syntax error"
BLOCKS = {
    "an error inside does not stop the rest": (
        ["SET a x", "MULTI", "INCR a", "SET a 1", "INCR a", "EXEC"],
        ["+OK", "+OK", QUEUED, QUEUED, QUEUED, "[-ERR value is not an integer or out of range +OK :2]"],
    ),
    "syntax is only looked at when executed": (
        ["MULTI", "SET a 1 NOSUCH", "SET b 1", "EXEC"], ["+OK", QUEUED, QUEUED, f"[{SYNTAX} +OK]"]),
    "an unknown command aborts": (
        ["MULTI", "SET a 1", "NOSUCH", "EXEC", "EXISTS a"],
        ["+OK", QUEUED, "-ERR unknown command 'NOSUCH', with args beginning with: ", ABORTED, ":0"]),
    "wrong arity aborts": (["MULTI", "GET", "EXEC", "PING"],
                           ["+OK", "-ERR wrong number of arguments for 'get' command", ABORTED, "+PONG"]),
    "a forbidden command aborts": (
        ["MULTI", "SHUTDOWN", "SET a 1", "EXEC", "EXISTS a"],
        ["+OK", "-ERR Command not allowed inside a transaction", QUEUED, ABORTED, ":0"]),
    "WATCH inside is an error and does not abort": (
        ["MULTI", "WATCH a", "SET a 1", "EXEC"],
        ["+OK", "-ERR WATCH inside MULTI is not allowed", QUEUED, "[+OK]"]),
    "MULTI inside is an error and does not abort": (
        ["MULTI", "MULTI", "SET a 1", "EXEC"], ["+OK", "-ERR MULTI calls can not be nested", QUEUED, "[+OK]"]),
    "EXEC and DISCARD need MULTI": (["EXEC", "DISCARD"], ["-ERR EXEC without MULTI", "-ERR DISCARD without MULTI"]),
    "EXEC itself refused ends the transaction": (
        ["MULTI", "SET a 1", "EXEC now", "EXISTS a", "EXEC"],
        ["+OK", QUEUED, "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command",
         ":0", "-ERR EXEC without MULTI"]),
    "DISCARD": (["MULTI", "SET a 1", "DISCARD", "EXISTS a"], ["+OK", QUEUED, "+OK", ":0"]),
    "RESET": (["MULTI", "SET a 1", "RESET", "EXISTS a"], ["+OK", QUEUED, "+RESET", ":0"]),
    "UNWATCH inside": (["MULTI", "UNWATCH", "SET a 1", "EXEC"], ["+OK", QUEUED, QUEUED, "[+OK +OK]"]),
    "a database out of range": (
        ["MULTI", "SELECT 99", "SET a 1", "SELECT -1", "SELECT x", "INCR a", "EXEC", "GET a"],
        ["+OK", *[QUEUED] * 5,
         "[-ERR DB index is out of range +OK -ERR DB index is out of range "
         "-ERR value is not an integer or out of range :2]", "2"]),
    "commands do not wait": (["MULTI", "WAIT 1 0", "WAITAOF 0 1 0", "EXEC"], ["+OK", QUEUED, QUEUED, "[:0 [:1 :0]]"]),
    "MONITOR inside": (["MULTI", "MONITOR", "EXEC"],
                       ["+OK", QUEUED, "[-ERR MONITOR isn't allowed for DENY BLOCKING client]"]),
    "SUBSCRIBE inside": (
        ["MULTI", "SET a 1", "SUBSCRIBE c", "PING", "EXEC", "UNSUBSCRIBE", "GET a"],
        ["+OK", QUEUED, QUEUED, QUEUED, "[+OK [subscribe c :1] [pong ]]", "[unsubscribe c :0]", "1"]),
    "several channels inside: an element for each request all the same": (
        ["MULTI", "SUBSCRIBE c d", "PING", "EXEC"],
        ["+OK", QUEUED, QUEUED, "[[[subscribe c :1] [subscribe d :2]] [pong ]]"]),
    "UNSUBSCRIBE inside": (["MULTI", "UNSUBSCRIBE", "EXEC", "PING"], ["+OK", QUEUED, "[[unsubscribe _ :0]]", "+PONG"]),
    "CLIENT REPLY OFF inside": (["MULTI", "CLIENT REPLY OFF", "SET a 1", "EXEC", "PING"], ["+OK", QUEUED, QUEUED,
                                                                                         "[_ +OK]"]),
    "CLIENT REPLY SKIP inside": (["MULTI", "CLIENT REPLY SKIP", "SET a 1", "EXEC", "PING"],
                                 ["+OK", QUEUED, QUEUED, "[_ +OK]", "+PONG"]),
}  # fmt: skip


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "writes in flight"])
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks(stage, name, busy):
    lines, replies = BLOCKS[name]
    client = stage.connect()
    before = ["SET busy 1"] if busy else []
    assert client.ask(*before, *lines) == ["+OK"] * busy + replies


def test_subscribe_inside_in_resp3(stage):
    client = stage.connect("HELLO 3")
    assert client.ask("MULTI", "SUBSCRIBE c", "GET a", "EXEC", "PING") == [
        "+OK", QUEUED, QUEUED, "[>[subscribe c :1] _]", "+PONG"
    ]  # fmt: skip


def test_hello_inside(stage):
    client = stage.connect()
    found = client.ask("SET a 1", "MULTI", "HELLO 3", "GET b", "EXEC", "GET b")
    assert found[:4] == ["+OK", "+OK", QUEUED, QUEUED] and found[4].startswith("[{server redis") and found[5] == "_"
    assert found[4].endswith(" _]") and client.session.proto == 3


def test_publish_inside_comes_at_its_place(stage):
    client, listener = stage.connect(), stage.connect("SUBSCRIBE c")
    client.send("MULTI", "SET a 1", "PUBLISH c m", "GET a", "EXEC")
    assert listener.heard() == []
    stage.commit()
    assert client.heard() == ["+OK", QUEUED, QUEUED, QUEUED, "[+OK :1 1]"] and listener.heard() == ["[message c m]"]


def test_a_block_that_is_too_large(stage):
    stage.settings.transaction_bytes_max = 1000
    client = stage.connect()
    large = "-LIMIT more than 1000 bytes in a transaction (transaction-bytes-max)"
    found = client.ask("MULTI", "SET a 1", ("SET", "b", "x" * 1000), "SET c 1", "EXEC", "DBSIZE")
    assert found == ["+OK", QUEUED, large, large, ABORTED, ":0"]
    assert client.ask("MULTI", "SET a 1", "EXEC") == ["+OK", QUEUED, "[+OK]"]


def test_words_without_bytes_count(stage):
    """Else a block of any number of them could be queued, and would make an entry that no batch can hold."""
    stage.settings.transaction_bytes_max = 1000
    client = stage.connect()
    (_, refused) = client.ask("MULTI", ("DEL", *[""] * 100))
    assert refused == "-LIMIT more than 1000 bytes in a transaction (transaction-bytes-max)"


@pytest.mark.parametrize("writes", [True, False])
def test_a_block_counts_in_statistics(stage, writes):
    client = stage.connect()
    client.ask("SET n x")
    if writes:
        client.ask("MULTI", "SET a 1", "GET a", "PING", "INCR n", "EXEC")
    else:
        client.ask("MULTI", "GET a", "GET", "EXEC", "MULTI", "GET a", "PING", "EXEC")  # the first is refused
    calls = {stats.name: stats.calls for stats in stage.shared.stats.used()}
    assert calls["get"] == 1 and calls["ping"] == 1 and calls["exec"] == (1 if writes else 2)
    if writes:
        assert stage.shared.stats.commands["incr"].failed_calls == 1 and stage.shared.stats.errors == {"ERR": 1}


# WATCH.

# What happens between WATCH a (in database 0, 1 there) and EXEC; by another client, or (own) by the same one.
CHANGES = {
    "SET a 2": True, "SET a 1": True, "DEL a": True, "APPEND a x": True, "EXPIRE a 100": True, "PERSIST a": False,
    "RENAME a b": True, "GET a": False, "SET b 1": False, "SETNX a 9": False, "FLUSHALL": True, "FLUSHDB": True,
    "SWAPDB 0 1": True, "SWAPDB 1 2": False, "MOVE a 1": True, "INCR nosuch": False, "TOUCH a": False,
    "GETDEL a": True, "COPY a b": False, "SET a 5 NX": False, "GETEX a": False, "DEL a|SET a 1": True,
    "SELECT 1|SET a 9": False, "SELECT 1|FLUSHDB": False,
}  # fmt: skip


@pytest.mark.parametrize("where", ["other", "own", "own in one packet", "other in the same batch"])
@pytest.mark.parametrize("block", ["SET x 1", "GET a"])
@pytest.mark.parametrize("change", CHANGES)
def test_watch(stage, change, block, where):
    client, other = stage.connect("SET a 1"), stage.connect()
    lines, end = change.split("|"), ["SELECT 0", "MULTI", block, "EXEC"]
    client.ask("WATCH a")
    if where == "other":
        other.ask(*lines)
        found = client.ask(*end)
    elif where == "own":
        client.ask(*lines)
        found = client.ask(*end)
    elif where == "own in one packet":
        found = client.ask(*lines, *end)
    else:
        other.send(*lines)
        client.send(*end)
        stage.commit()
        found = client.heard()
    # A block that only reads is executed at once: what is still in flight elsewhere comes after it.
    seen = CHANGES[change] and not (block == "GET a" and where == "other in the same batch")
    assert (found[-1] == "*_") == seen, found


def test_watching_what_does_not_exist(stage):
    client, other = stage.connect(), stage.connect()
    client.ask("WATCH a")
    other.ask("SET a 1", "DEL a")
    assert client.ask("MULTI", "PING", "EXEC")[-1] == "*_", "created and removed again"
    client.ask("WATCH a")
    other.ask("DEL a", "FLUSHALL", "SWAPDB 0 1")
    assert client.ask("MULTI", "PING", "EXEC")[-1] == "[+PONG]", "nothing has happened to it"


@pytest.mark.parametrize("block", ["SET x 1", "PING"])
def test_a_watched_key_that_expires(stage, block):
    client = stage.connect("SET a 1 PX 50")
    client.ask("WATCH a")
    stage.clock.ms += 100
    assert client.ask("MULTI", block, "EXEC")[-1] == "*_"


@pytest.mark.parametrize("remover", ["DEL a", "UNLINK a", "FLUSHDB", "GETDEL a"])
def test_the_remains_of_an_expired_key_may_be_removed(stage, remover):
    client, other = stage.connect("SET a 1 PX 50"), stage.connect()
    stage.clock.ms += 100
    client.ask("WATCH a")
    other.ask(remover)
    assert client.ask("MULTI", "SET x 1", "EXEC")[-1] == "[+OK]"
    client.ask("WATCH a")
    other.ask("SET a 2")
    assert client.ask("MULTI", "SET x 1", "EXEC")[-1] == "*_"


@pytest.mark.parametrize("forget", ["UNWATCH", "MULTI|EXEC", "MULTI|DISCARD", "RESET", "MULTI|EXEC x"])
def test_watches_end(stage, forget):
    client, other = stage.connect("SET a 1"), stage.connect()
    client.ask("WATCH a b", *forget.split("|"))
    assert not stage.shared.watchers and client.session.watched_bytes == 0
    other.ask("SET a 2")
    assert client.ask("MULTI", "SET x 1", "EXEC")[-1] == "[+OK]"


def test_watched_keys_are_bounded(stage):
    stage.settings.transaction_bytes_max = 1000
    client = stage.connect()
    assert client.ask("WATCH a b a a a", "WATCH b") == ["+OK", "+OK"]
    assert client.ask(("WATCH", "c", "x" * 1000)) == ["-LIMIT more than 1000 bytes of watched keys (transaction-bytes-max)"]
    assert set(client.session.watched) == {(0, b"a"), (0, b"b")}, "all of a request, or nothing"


def test_a_watch_belongs_to_a_database(stage):
    client, other = stage.connect(), stage.connect()
    client.ask("SELECT 1", "WATCH a", "SELECT 0")
    other.ask("SET a 1")
    assert client.ask("MULTI", "PING", "EXEC")[-1] == "[+PONG]"
    client.ask("SELECT 1", "WATCH a", "SELECT 0")
    other.ask("SELECT 1", "SET a 1")
    assert client.ask("MULTI", "SET x 1", "EXEC")[-1] == "*_"


# Time.


def test_reads_of_a_block_hide_what_has_expired(stage):
    client = stage.connect("SET a 1 PX 50")
    stage.clock.ms += 100
    assert client.ask("MULTI", "GET a", "EXISTS a", "EXEC")[-1] == "[_ :0]"


@pytest.mark.parametrize(
    "lines, replies",
    [(["GET a"], ["_"]), (["GETRANGE a 0 -1"], [""]), (["MULTI", "GET a", "EXEC"], ["+OK", QUEUED, "[_]"]),
     (["SET c 1 PX 1000", "PTTL c"], ["+OK", ":900"]), (["EXISTS a b"], [":1"])],
)  # fmt: skip
def test_reads_behind_writes_hide_what_has_expired(stage, lines, replies):
    client = stage.connect("SET a 1 PX 50")
    client.send("SET b 1", *lines)
    batch = stage.seal()
    stage.clock.ms += 100
    stage.land(batch)
    assert client.heard() == ["+OK", *replies], "by the local clock"


@pytest.mark.parametrize(
    "between",
    [["GET a"], ["MULTI", "GET a", "EXEC"], ["WATCH a", "MULTI", "GET a", "EXEC"], ["DEBUG OBJECT a"], ["PING"]],
)
def test_a_read_does_not_move_the_time_of_the_entries_behind_it(between):
    """`stage.close` compares with what a restart makes of the log."""
    stage = Stage(enable_debug_command="yes")
    client = stage.connect("SET a 1 PX 50", "WATCH a")
    client.send("SET b 1", *between, "SET c 1 EX 10", "SET a 2 NX")
    while stage.node.open.runs:
        batch = stage.seal()
        stage.clock.ms += 100
        stage.land(batch)
    assert stage.node.machine.world.databases[0].expires[b"c"] in (stage.clock.ms + 9900, stage.clock.ms + 9800,
                                                                   stage.clock.ms + 9700)  # fmt: skip
    stage.close()


# CLIENT REPLY.

SILENCE = {
    "off": (["CLIENT REPLY OFF", "SET a 1", "GET a", "NOSUCH", "GET", "PING"], []),
    "off and on": (["SET a 1", "CLIENT REPLY OFF", "SET a 2", "GET a", "CLIENT REPLY ON", "GET a"],
                   ["+OK", "+OK", "2"]),
    "skip": (["CLIENT REPLY SKIP", "SET a 1", "GET a"], ["1"]),
    "skip a read": (["CLIENT REPLY SKIP", "GET a", "GET b"], ["_"]),
    "skip behind a write": (["SET a 1", "CLIENT REPLY SKIP", "GET a", "GET a"], ["+OK", "1"]),
    "skip an unknown command": (["CLIENT REPLY SKIP", "NOSUCH", "PING"], ["+PONG"]),
    "skip a refusal": (["CLIENT REPLY SKIP", "GET", "PING"], ["+PONG"]),
    "skip a syntax error": (["CLIENT REPLY SKIP", "SET a 1 NOSUCH", "PING"], ["+PONG"]),
    "skip twice": (["CLIENT REPLY SKIP", "CLIENT REPLY SKIP", "ECHO 1", "ECHO 2"], ["2"]),
    "skip a wrong CLIENT REPLY": (["CLIENT REPLY SKIP", "CLIENT REPLY NOSUCH", "ECHO 1"], ["1"]),
    "skip MULTI": (["CLIENT REPLY SKIP", "MULTI", "SET a 1", "EXEC"], [QUEUED, "[+OK]"]),
    "skip QUEUED": (["MULTI", "SET a 1", "EXEC", "MULTI", "CLIENT REPLY SKIP", "DISCARD", "PING"],
                    ["+OK", QUEUED, "[+OK]", "+OK", QUEUED, "+OK", "+PONG"]),
    "skip EXEC": (["MULTI", "SET a 1", "DISCARD", "MULTI", "SET a 1", "EXEC", "CLIENT REPLY SKIP", "EXEC", "GET a"],
                  ["+OK", QUEUED, "+OK", "+OK", QUEUED, "[+OK]", "1"]),
    "skip then on": (["CLIENT REPLY SKIP", "CLIENT REPLY ON", "PING"], ["+OK", "+PONG"]),
    "skip while off": (["CLIENT REPLY OFF", "CLIENT REPLY SKIP", "PING", "PING"], []),
    "off in RESP3 still pushes": (["HELLO 3", "CLIENT REPLY OFF", "SUBSCRIBE c", "PING"], [">[subscribe c :1]"]),
}  # fmt: skip


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("name", SILENCE)
def test_client_reply(stage, name, cut):
    lines, replies = SILENCE[name]
    client = stage.connect()
    found = [reply for line in lines for reply in client.ask(line)] if cut else client.ask(*lines)
    assert [reply for reply in found if "redis" not in reply] == replies


def test_a_reply_that_comes_later_is_skipped_too(stage):
    client = stage.connect()
    client.send("CLIENT REPLY SKIP", "WAIT 1 100", "PING")
    assert client.heard() == []
    stage.wait(1)
    assert client.heard() == ["+PONG"]


def test_what_is_to_be_skipped_may_have_to_wait(stage):
    client, _ = stage.connect(), stage.connect("CLIENT PAUSE 100 WRITE")
    client.send("CLIENT REPLY SKIP", "SET a 1", "GET a")
    stage.wait(1)
    stage.commit()
    assert client.heard() == ["1"]


def test_a_transaction_in_silence(stage):
    client = stage.connect("CLIENT REPLY OFF")
    assert client.ask("MULTI", "SET a 1", "GET a", "EXEC", "MULTI", "GET a", "EXEC") == []
    assert client.ask("CLIENT REPLY ON", "GET a") == ["+OK", "1"]


# Tracking.


def told(*keys):
    return f">[invalidate [{' '.join(keys)}]]"


def test_tracking_behind_writes(stage):
    client, other = stage.connect("SET a 1", "HELLO 3", "CLIENT TRACKING ON"), stage.connect()
    client.send("SET b 1", "GET a", "GET c")
    assert client.heard() == []
    stage.commit()
    assert client.heard() == ["+OK", "1", "_"]
    other.ask("SET a 2", "SET b 2", "SET c 2")
    assert client.heard() == [told("a"), told("c")]
    other.ask("SET a 3")
    assert client.heard() == []


def test_invalidations_follow_the_reply_of_their_write(stage):
    client, other = stage.connect("HELLO 3", "CLIENT TRACKING ON"), stage.connect()
    assert client.ask("GET a", "SET a 1", "GET a", "SET b 1") == ["_", "+OK", told("a"), "1", "+OK"]
    other.ask("SET a 2")
    assert client.heard() == [told("a")]


def test_noloop(stage):
    client, other = stage.connect("HELLO 3", "CLIENT TRACKING ON NOLOOP"), stage.connect()
    assert client.ask("GET a", "SET a 1") == ["_", "+OK"]
    other.ask("SET a 2")
    assert client.heard() == [], "its own write has ended the tracking of a, unannounced"
    client.ask("GET a")
    other.ask("SET a 2")
    assert client.heard() == [told("a")]


@pytest.mark.parametrize("lines", [["SET a 1", "GET a"], ["MULTI", "SET a 1", "GET a", "EXEC"]])
def test_noloop_and_what_is_read_behind_the_own_write(stage, lines):
    client, other = stage.connect("HELLO 3", "CLIENT TRACKING ON NOLOOP"), stage.connect()
    client.ask("GET a", *lines)
    other.ask("SET a 2")
    assert client.heard() == [told("a")]


@pytest.mark.parametrize("busy", [[], ["SET x 1"]])
@pytest.mark.parametrize("block", [["GET a"], ["SET y 1", "GET a"]])
def test_optin_holds_for_a_whole_block(stage, block, busy):
    client, other = stage.connect("HELLO 3", "CLIENT TRACKING ON OPTIN"), stage.connect()
    client.ask(*busy, "CLIENT CACHING YES", "MULTI", *block, "EXEC", "GET b")
    other.ask("SET a 2", "SET b 2")
    assert client.heard() == [told("a")]


def test_caching_is_used_up_by_a_write(stage):
    client, other = stage.connect("HELLO 3", "CLIENT TRACKING ON OPTOUT"), stage.connect()
    client.ask("CLIENT CACHING NO", "SET x 1", "GET a")
    other.ask("SET a 2")
    assert client.heard() == [told("a")]


def test_caching_is_used_up_by_a_read_behind_writes(stage):
    client, other = stage.connect("HELLO 3", "CLIENT TRACKING ON OPTIN"), stage.connect()
    client.send("SET x 1", "CLIENT CACHING YES", "GET a", "GET b")
    stage.commit()
    client.heard()
    other.ask("SET a 2", "SET b 2")
    assert client.heard() == [told("a")]


# MONITOR.


def shown(found):
    """What a monitor has seen, without time and address."""
    return [line.split("] ", 1)[1] for line in found]


def test_monitor(stage):
    client, monitor = stage.connect(), stage.connect("MONITOR")
    client.ask("set a 1", "GET a", "NOSUCH", "GET", "SET a", "PING", "AUTH secret", "CONFIG GET port", "SELECT 1",
               "SET a 1 NOSUCH")  # fmt: skip
    lines = monitor.heard()
    assert shown(lines) == ['"set" "a" "1"', '"GET" "a"', '"PING"', '"AUTH" "(redacted)"', '"SELECT" "1"',
                            '"SET" "a" "1" "NOSUCH"']  # fmt: skip
    assert lines[0] == f'+1700000000.000000 [0 {client.session.addr}] "set" "a" "1"' and " [1 " in lines[-1]


def test_monitor_shows_a_block_when_it_is_executed(stage):
    client, monitor = stage.connect(), stage.connect("MONITOR")
    client.ask("MULTI", "set a 1", "SELECT 2", "GET a")
    assert shown(monitor.heard()) == ['"MULTI"']
    client.ask("EXEC")
    lines = monitor.heard()
    assert shown(lines) == ['"set" "a" "1"', '"SELECT" "2"', '"GET" "a"', '"EXEC"']
    assert [line.split("[")[1][0] for line in lines] == ["0", "0", "2", "0"]


def test_monitor_does_not_show_a_block_that_is_not_executed(stage):
    client, monitor, other = stage.connect("SET a 1"), stage.connect("MONITOR"), stage.connect()
    client.ask("WATCH a", "MULTI", "SET a 3")
    other.ask("SET a 2")
    assert client.ask("EXEC") == ["*_"]
    client.ask("MULTI", "GET", "GET a", "EXEC")
    assert shown(monitor.heard()) == ['"WATCH" "a"', '"MULTI"', '"SET" "a" "2"', '"EXEC"', '"MULTI"', '"EXEC"']


def test_a_monitor_that_goes_costs_nothing_any_more(stage):
    monitor = stage.connect("MONITOR")
    assert stage.shared.observed
    monitor.vanish()
    assert not stage.shared.observed


def test_a_monitor_may_not_touch_keys(stage):
    monitor = stage.connect("MONITOR")
    assert monitor.ask("GET a")[-1] == "-ERR Replica can't interact with the keyspace"
    assert monitor.ask("RESET", "GET a")[-2:] == ["+RESET", "_"]


# CLIENT PAUSE.


def test_pause_of_writes(stage):
    client, other, admin = stage.connect("SET a 1"), stage.connect(), stage.connect()
    admin.ask("CLIENT PAUSE 1000 WRITE")
    assert client.ask("GET a", "PING", "SET a 2", "GET a") == ["1", "+PONG"]
    assert other.ask("MULTI", "GET a", "EXEC", "PUBLISH c m") == ["+OK", QUEUED, "[1]"]
    assert admin.ask("CLIENT UNPAUSE", "GET a") == ["+OK", "1"], "the other's write is only being logged"
    assert client.heard() == ["+OK", "2"] and other.heard() == [":0"]


def test_pause_of_all_ends_by_itself(stage):
    client, admin = stage.connect("SET a 1"), stage.connect("CLIENT PAUSE 1000 ALL")
    assert client.ask("GET a", "SET a 2", "GET a") == [] and admin.ask("PING") == []
    stage.wait(0.9)
    assert client.heard() == []
    stage.wait(0.3)
    stage.commit()
    assert client.heard() == ["1", "+OK", "2"] and admin.heard() == ["+PONG"]


def test_a_pause_that_has_run_out_is_ended_whatever_else_happens(stage):
    """Anything that looks again at who observes, between the end of the pause and the next tick."""
    client, other = stage.connect(), stage.connect()
    other.ask("CLIENT PAUSE 50 ALL")
    client.send("SET a 1")
    stage.clock.ms += 60
    other.vanish()
    assert client.heard() == []
    stage.wait(0.2)
    stage.commit()
    assert client.heard() == ["+OK"]


def test_a_pause_with_writes_in_flight(stage):
    client, admin = stage.connect(), stage.connect()
    client.send("SET a 1")
    batch = stage.seal()
    admin.ask("CLIENT PAUSE 1000 ALL")
    client.send("SET a 2")
    stage.land(batch)
    assert client.heard() == ["+OK"], "what was executed before the pause is answered in it"
    stage.commit()
    assert client.heard() == []
    stage.wait(2)
    stage.commit()
    assert client.heard() == ["+OK"]


def test_errors_do_not_wait_for_the_end_of_a_pause(stage):
    client, _ = stage.connect(), stage.connect("CLIENT PAUSE 1000 ALL")
    assert client.ask("NOSUCH", "GET") == ["-ERR unknown command 'NOSUCH', with args beginning with: ",
                                           "-ERR wrong number of arguments for 'get' command"]  # fmt: skip
    stage.wait(2)


@pytest.mark.parametrize("end", ["vanish", "end"])
def test_a_client_that_goes_while_it_is_paused(stage, end):
    client, _ = stage.connect(), stage.connect("CLIENT PAUSE 1000 ALL")
    client.send("SET a 1", "GET a")
    getattr(client, end)()
    stage.wait(2)
    stage.commit()
    assert client.heard() == ([] if end == "vanish" else ["+OK", "1"])
    assert client.closed and client.session not in stage.shared.parked


# A log that refuses.


def test_writes_are_refused_while_queueing(stage):
    client = stage.connect()
    stage.node.out_of_space()
    misconf = f"-{stage.node.refusal.text}"
    assert client.ask("MULTI", "SET a 1", "GET a", "EXEC", "PING") == ["+OK", misconf, QUEUED, ABORTED, "+PONG"]
    assert client.ask("MULTI", "GET a", "EXEC") == ["+OK", QUEUED, "[_]"]


def test_a_block_with_writes_is_refused_at_its_end(stage):
    client = stage.connect("MULTI", "SET a 1")
    stage.node.out_of_space()
    assert client.ask("EXEC", "GET a") == [
        f"-EXECABORT Transaction discarded because of: {stage.node.refusal.text}", "_"
    ]  # fmt: skip
    stage.node.space_is_back()
    assert client.ask("SET a 1", "GET a") == ["+OK", "1"], "and nothing is queued any more"


# Others.


@pytest.mark.parametrize("first", ["POST / HTTP/1.1", "Host: localhost"])
def test_http_is_closed_without_an_answer(stage, first):
    client = stage.connect()
    client.raw(first.encode() + b"\r\nSET a 1\r\n\r\n")
    assert client.heard() == [] and client.closed
    assert stage.connect().ask("EXISTS a") == [":0"]


@pytest.mark.parametrize(
    "lines", [["GET a"], ["SET b 1", "GET a"], ["MULTI", "GET a", "EXEC"], ["MULTI", "GET a", "SET b 1", "EXEC"]]
)
def test_events_of_reads_are_published(lines):
    stage = Stage(notify_keyspace_events="Em")
    client, listener = stage.connect(), stage.connect("SUBSCRIBE __keyevent@0__:keymiss")
    client.ask(*lines)
    assert listener.heard() == ["[message __keyevent@0__:keymiss a]"]
    assert not stage.node.machine.world.events
    stage.close()


@pytest.mark.parametrize(
    "lines, entry",
    [
        (["GET a"], "[GET a]"),
        (["SET a 1"], "[SET a 1]"),
        (["SELECT 2", "SET a 1"], "[SET a 1]"),
        (["SET b 1", "GET a"], "[GET a]"),
        (["MULTI", "SET a 1", "EXEC"], "[EXEC]"),
        (["SET b 1", "MULTI", "GET a", "EXEC"], "[EXEC]"),
        (["AUTH secret"], "[AUTH (redacted)]"),
    ],
)
def test_slow_requests_are_noted(lines, entry):
    stage = Stage(slowlog_log_slower_than=0)
    client = stage.connect()
    client.ask(*lines)
    (newest,) = stage.connect().ask("SLOWLOG GET 1")
    assert f" {entry} " in newest
    stage.close()


def test_only_commands_on_their_own_session_run_early():
    """Ahead of the session's own writes in flight, whose effect they must not miss."""
    early = {name for name, spec in DECLARED.items() if "early" in spec.flags}
    assert all(DECLARED[name].kind is Kind.SESSION for name in early)
    assert early >= {"ping", "select", "multi", "exec", "discard", "unwatch", "client|id"}
    assert not early & {
        "watch", "publish", "spublish", "subscribe", "psubscribe", "auth", "hello", "reset", "quit", "monitor", "wait",
        "waitaof", "client|tracking", "client|caching", "client|reply", "client|kill", "client|pause", "client|list",
        "info", "save", "bgsave", "debug", "config|set", "shutdown", "memory|usage",
    }  # fmt: skip


def test_no_request_leaves_garbage_that_only_the_collector_finds(stage):
    """It is switched off, and comes by every few seconds: by then a flood of errors would have filled the memory."""
    lines = [line for texts, _ in [*BLOCKS.values(), *SILENCE.values()] for line in texts]
    client = stage.connect("SET text x", "SET big 1")
    lines += ["INCR text", "GETBIT text x", "LCS a", "SET a 1 NOSUCH", "NOSUCH", "AUTH x y", "WAIT 1 1", "CLIENT LIST",
              "RESET"]  # fmt: skip

    def run():
        client.send(*lines)
        for _ in range(3):
            stage.commit()
            stage.wait(0.2)
        assert client.session.plain, "the last of the lines has been executed"
        return client.heard()

    run()
    gc.collect()
    gc.disable()
    try:
        assert len(run()) > 100
        assert gc.collect() == 0
        for line in ("INCR text", "GETBIT text x", "LCS a", "GET", "NOSUCH", "SET a 1 NOSUCH", "SELECT x", "GET a"):
            client.ask(line)
            client.ask("SET a 1", line)
            assert gc.collect() == 0, line
    finally:
        gc.enable()


def test_a_transaction_behind_a_write_of_a_client_that_leaves_no_traces(stage):
    """EXEC without writes runs behind the batch in flight, where something stands in for its handler."""
    client = stage.connect("CLIENT NO-TOUCH on")
    client.send("SET a 1", "MULTI", "GET a", "CLIENT TRACKING on PREFIX a", "EXEC")
    stage.commit()
    assert client.heard()[-1] == "[1 -ERR PREFIX option requires BCAST mode to be enabled]"
