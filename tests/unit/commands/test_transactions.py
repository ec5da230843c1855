"""The queue of a transaction and the entry that it becomes. (Replies and WATCH as clients see them: test_dispatch.)"""

import pytest

from tests.unit.server.front import Stage
from vaylix_resp.commands.registry import COMMANDS, find
from vaylix_resp.commands.transactions import WATCH_BYTES, WORD_BYTES, Queue
from vaylix_resp.config import Settings
from vaylix_resp.engine import entries
from vaylix_resp.errors import CommandError
from vaylix_resp.limits import BATCH_BODY_BYTES_MAX, BATCH_BYTES_MAX, TRANSACTION_BYTES_MAX


def queue(*lines, db=0, settings=None):
    queued = Queue(db, 16, settings or Settings(), 0.0)
    for line in lines:
        argv = line.encode().split()
        spec = find(argv[0].decode())
        if spec.subcommands:
            spec = find(f"{argv[0].decode()}|{argv[1].decode()}") or spec
        queued.add(spec, argv)
    return queued


def operation(queued, watched=None):
    return b" ".join(queued.operation(watched or {})).decode()


@pytest.mark.parametrize(
    "lines, entry",
    [
        ([], "@exec 0"),
        (["set a 1"], "@exec 0 0 3 SET a 1"),
        (["PING", "GET a", "CLIENT ID", "dEl a b"], "@exec 0 0 2 GET a 0 3 DEL a b"),
        (["SELECT 3", "SET a 1", "SELECT 0", "SET b 2"], "@exec 0 3 3 SET a 1 0 3 SET b 2"),
        (["object freq a"], "@exec 0 0 3 OBJECT freq a"),
    ],
)
def test_operation(lines, entry):
    assert operation(queue(*lines)) == entry


@pytest.mark.parametrize(
    "number, db",
    [("0", 0), ("15", 15), ("16", 5), ("-1", 5), ("9" * 20, 5), ("x", 5), ("01", 5), ("+1", 5), ("1.0", 5)],
)
def test_select_follows_only_where_it_will_succeed(number, db):
    """Else the entry would name a database that does not exist."""
    assert operation(queue(f"SELECT {number}", "SET a 1", db=5)) == f"@exec 0 {db} 3 SET a 1"


def test_watched_keys_come_first():
    watched = {(0, b"a"): 7, (3, b"b"): 0}
    assert operation(queue("SET x 1"), watched) == "@exec 2 0 a 7 3 b 0 0 3 SET x 1"


@pytest.mark.parametrize("lines, writes", [([], False), (["GET a", "PING"], False), (["GET a", "DEL a"], True)])
def test_writes(lines, writes):
    assert queue(*lines).has_writes == writes and len(queue(*lines)) == len(lines)


@pytest.mark.parametrize("argv", [[b"DEL", b""], [b"DEL", *[b""] * 1000], [b"SET", b"a", b"x" * 100_000],
                                  [b"MSET", *[b"x"] * 100_000], [b"DEL"] + [b"x" * 1000] * 50])  # fmt: skip
def test_what_is_counted_is_at_least_what_is_logged(argv):
    queued = Queue(15, 16, Settings(), 0.0)
    for _ in range(3):
        queued.add(COMMANDS[argv[0].decode().lower()], argv)
    entry = entries.encode([queued.operation({})])
    assert len(entry) <= queued.bytes + 100 <= 6 * len(entry) + 100


def test_a_block_and_its_watched_keys_fit_a_batch_that_is_nearly_full():
    """With the least bytes in a word, the worst for both."""
    queued = Queue(15, 16, Settings(), 0.0)
    try:
        while True:
            queued.add(COMMANDS["del"], [b"DEL", *[b""] * 1000])
    except CommandError as refused:
        assert refused.text.startswith("LIMIT more than 16777216 bytes in a transaction")
    block = TRANSACTION_BYTES_MAX  # `add` keeps it below
    watched = TRANSACTION_BYTES_MAX // WATCH_BYTES * (WATCH_BYTES + 3 * WORD_BYTES + 20)
    assert BATCH_BYTES_MAX + block + watched < BATCH_BODY_BYTES_MAX


def test_a_block_that_became_too_large_takes_nothing_more_and_keeps_nothing():
    settings = Settings()
    settings.transaction_bytes_max = 500
    queued = queue("SET a 1", settings=settings)
    for line in ("SET b " + "x" * 500, "SET c 1"):
        with pytest.raises(CommandError):
            queued.add(COMMANDS["set"], line.encode().split())
        assert len(queued) == 0


def test_the_queue_keeps_what_was_sent():
    """MONITOR shows it as the client wrote it."""
    ((_, argv, db),) = queue("sEt a 1").requests
    assert (argv, db) == ([b"sEt", b"a", b"1"], 0)


# With a server.


def test_nothing_is_logged_for_a_block_that_only_reads():
    stage = Stage()
    client = stage.connect("SET a 1")
    client.send("MULTI", "GET a", "PING", "EXEC")
    assert stage.node.open.runs == [] and client.heard()[-1] == "[1 +PONG]"


def test_one_entry_for_a_block():
    stage = Stage()
    client = stage.connect()
    client.send("WATCH w", "MULTI", "SELECT 2", "set a 1", "PUBLISH c m", "GET a", "EXEC")
    assert [b" ".join(op) for op in stage.logged()] == [b"@exec 1 0 w 0 2 3 SET a 1 2 2 GET a"]
    stage.commit()
    assert client.heard()[-1] == "[+OK +OK :0 1]"
    stage.close()


def test_the_replies_of_a_refused_block_are_one_error():
    stage = Stage()
    client = stage.connect("MULTI", "SET a 1", "PING", "SELECT 3")
    stage.break_disk()
    (reply,) = client.ask("EXEC")
    assert reply.startswith("-INDETERMINATE") and client.session.db == 0 and client.session.multi is None


def test_watching_twice_keeps_the_version_seen_first():
    stage = Stage()
    client, other = stage.connect("SET a 1", "WATCH a"), stage.connect()
    seen = client.session.watched[0, b"a"]
    other.ask("SET a 2")
    client.ask("WATCH a")
    assert client.session.watched == {(0, b"a"): seen} and client.ask("MULTI", "SET x 1", "EXEC")[-1] == "*_"


def test_a_watched_key_costs_once():
    stage = Stage()
    client = stage.connect("WATCH a a bb", "WATCH a")
    assert client.session.watched_bytes == 3 + 2 * WATCH_BYTES
    client.ask("UNWATCH")
    assert client.session.watched_bytes == 0


# Time and numbers. A transaction is begun at second 0 of each story.

ABORTED = "-EXECABORT Transaction discarded because of: "
OPEN = "LIMIT the transaction was open for more than 10 seconds (transaction-seconds-max): begin again"
WATCHED = "LIMIT keys were watched for more than 5 seconds (watch-seconds-max): begin again"


@pytest.fixture
def stage():
    stage = Stage(transaction_seconds_max=10, watch_seconds_max=5, transaction_commands_max=3)
    yield stage
    stage.close()


# Each step: seconds to wait, whether housekeeping comes by, a line, its reply.
STORIES = {
    "in time": [(0, 0, "MULTI", "+OK"), (9, 1, "SET a 1", "+QUEUED"), (1, 1, "EXEC", "[+OK]")],
    "EXEC comes too late": [(0, 0, "MULTI", "+OK"), (1, 0, "SET a 1", "+QUEUED"), (10, 0, "EXEC", ABORTED + OPEN),
                            (0, 0, "GET a", "_"), (0, 0, "MULTI", "+OK"), (0, 0, "SET a 2", "+QUEUED"), (0, 0, "EXEC", "[+OK]")],
    "so does a request": [(0, 0, "MULTI", "+OK"), (10.1, 0, "SET a 1", "-" + OPEN), (0, 0, "GET a", "-" + OPEN),
                          (0, 0, "EXEC", ABORTED + OPEN), (0, 0, "GET a", "_")],
    "housekeeping was first": [(0, 0, "MULTI", "+OK"), (0, 0, "SET a 1", "+QUEUED"), (11, 1, "SET a 2", "-" + OPEN),
                               (0, 0, "EXEC", ABORTED + OPEN)],
    "DISCARD is never too late": [(0, 0, "MULTI", "+OK"), (11, 1, "DISCARD", "+OK"), (0, 0, "SET a 1", "+OK")],
    "nor is RESET": [(0, 0, "MULTI", "+OK"), (11, 1, "RESET", "+RESET"), (0, 0, "SET a 1", "+OK"), (0, 0, "GET a", "1")],
    "watched in time": [(0, 0, "WATCH w", "+OK"), (5, 1, "MULTI", "+OK"), (0, 0, "PING", "+QUEUED"), (0, 1, "EXEC", "[+PONG]")],
    "watched too long": [(0, 0, "WATCH w", "+OK"), (5.1, 0, "MULTI", "+OK"), (0, 0, "SET a 1", "-" + WATCHED),
                         (0, 0, "EXEC", ABORTED + WATCHED), (0, 0, "GET a", "_")],
    "the first WATCH counts": [(0, 0, "WATCH w", "+OK"), (3, 1, "WATCH x", "+OK"), (3, 1, "MULTI", "+OK"),
                               (0, 0, "EXEC", ABORTED + WATCHED)],
    "a WATCH after the end does not help": [(0, 0, "WATCH w", "+OK"), (6, 1, "WATCH x", "+OK"), (0, 1, "MULTI", "+OK"),
                                            (0, 0, "EXEC", ABORTED + WATCHED)],
    "UNWATCH does": [(0, 0, "WATCH w", "+OK"), (6, 1, "UNWATCH", "+OK"), (0, 0, "WATCH w", "+OK"), (4, 1, "MULTI", "+OK"),
                     (0, 0, "EXEC", "[]")],
    "too late and changed": [(0, 0, "WATCH w", "+OK"), (0, 0, "SET w 1", "+OK"), (6, 0, "MULTI", "+OK"), (0, 0, "EXEC", ABORTED + WATCHED)],
    "too many commands": [(0, 0, "MULTI", "+OK"), *[(0, 0, "INCR n", "+QUEUED")] * 3,
                          *[(0, 0, "INCR n", "-LIMIT more than 3 commands in a transaction (transaction-commands-max)")] * 2,
                          (0, 0, "EXEC", "-EXECABORT Transaction discarded because of previous errors."), (0, 0, "GET n", "_")],
}  # fmt: skip


@pytest.mark.parametrize("steps", STORIES.values(), ids=STORIES.keys())
def test_stories(stage, steps):
    client = stage.connect()
    for seconds, housekeeping, line, reply in steps:
        stage.wait(seconds)
        if housekeeping:
            client.session.check_limits(stage.clock.now())
        assert client.ask(line) == [reply], line
    ended = [any(reply.endswith(text) for *_, reply in steps) for text in (OPEN, WATCHED)]
    if not any(line in ("RESET", "DISCARD", "UNWATCH") for _, _, line, _ in steps):
        stats = stage.shared.stats
        assert [stats.limit_ended_transactions, stats.limit_ended_watches] == ended


def test_what_is_over_is_freed_although_nobody_comes_back(stage):
    client = stage.connect()
    client.ask("WATCH w", "MULTI", "SET a 1")
    stage.wait(11)
    client.session.check_limits(stage.clock.now())
    session = client.session
    assert session.multi.requests == [] and session.watched == {} and not stage.shared.watchers
    assert session.multi is not None, "what follows must not run outside of the transaction"
    client.session.check_limits(stage.clock.now() + 100)
    assert stage.shared.stats.limit_ended_transactions == 1


def test_a_limit_that_is_lowered_or_raised_holds_for_open_transactions(stage):
    client = stage.connect()
    client.ask("MULTI", "SET a 1")
    stage.wait(9)
    stage.settings.set_many([("transaction-seconds-max", "5")])
    assert client.ask("EXEC") == [ABORTED + OPEN.replace("10 seconds", "5 seconds")]
    client.ask("MULTI", "SET a 1")
    stage.settings.set_many([("transaction-seconds-max", "0"), ("watch-seconds-max", "0")])
    stage.wait(1000)
    assert client.ask("EXEC") == ["[+OK]"]
