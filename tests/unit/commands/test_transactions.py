"""The queue of a transaction and the entry that it becomes. (Replies and WATCH as clients see them: test_dispatch.)"""

import pytest

from tests.unit.server.front import Stage
from vaylix_resp.commands.registry import COMMANDS, find
from vaylix_resp.commands.transactions import WATCH_BYTES, WORD_BYTES, Queue
from vaylix_resp.engine import entries
from vaylix_resp.errors import CommandError
from vaylix_resp.limits import BATCH_BODY_BYTES_MAX, BATCH_BYTES_MAX, TRANSACTION_BYTES_MAX


def queue(*lines, db=0):
    queued = Queue(db, 16)
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
    queued = Queue(15, 16)
    for _ in range(3):
        queued.add(COMMANDS[argv[0].decode().lower()], argv)
    entry = entries.encode([queued.operation({})])
    assert len(entry) <= queued.bytes + 100 <= 6 * len(entry) + 100


def test_a_block_and_its_watched_keys_fit_a_batch_that_is_nearly_full():
    """With the least bytes in a word, the worst for both."""
    queued = Queue(15, 16)
    try:
        while True:
            queued.add(COMMANDS["del"], [b"DEL", *[b""] * 1000])
    except CommandError as refused:
        assert refused.text.startswith("ERR transaction is too large")
    block = TRANSACTION_BYTES_MAX  # `add` keeps it below
    watched = TRANSACTION_BYTES_MAX // WATCH_BYTES * (WATCH_BYTES + 3 * WORD_BYTES + 20)
    assert BATCH_BYTES_MAX + block + watched < BATCH_BODY_BYTES_MAX


def test_a_block_that_became_too_large_takes_nothing_more_and_keeps_nothing(monkeypatch):
    monkeypatch.setattr("vaylix_resp.commands.transactions.TRANSACTION_BYTES_MAX", 500)
    queued = queue("SET a 1")
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
