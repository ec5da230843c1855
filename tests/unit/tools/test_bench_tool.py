"""`vaylix bench`: what it sends, what it says, and what it refuses. That it measures a server: tests/e2e/test_watching.py."""

import signal
from types import SimpleNamespace

import hiredis
import pytest

from vaylix_resp.tools import bench
from vaylix_resp.tools.bench import About, Disk, NotNow, Result, borrowed_keys, busy, measure_disk, notes, results_table
from vaylix_resp.tools.bench_load import KEYS, PREFIX, VALUE, Done, Work, requests
from vaylix_resp.tools.moving.channel import Denied
from vaylix_resp.tools.reach import Target

HERE = Target("127.0.0.1", 6379)
ALONE = About("vaylix 1", "leader", 0, "always", "/srv/vaylix", 0, 0)
DISK = Disk("/srv", 1000, 300.0, 1200.0, 9000.0)


def done(rate=1000.0, cpu=0.5):
    return Done(int(rate * 9), 9.0, [0.001, 0.002, 0.003, 0.05], int(rate * 10), cpu)


class Server:
    """A channel to a server that has some of the keys; it keeps what it was asked."""

    def __init__(self, existing=0):
        self.existing, self.asked = existing, []

    def ask(self, *words):
        self.asked.append(words)
        return self.existing if words[0] == b"EXISTS" else b"OK"


@pytest.mark.parametrize("verb, words, pipeline", [("SET", 3, 1), ("GET", 2, 16)])
def test_requests_stay_under_the_prefix(verb, words, pipeline):
    batches = requests(Work(verb, 1, pipeline))
    assert len(set(batches)) > 100 and batches == requests(Work(verb, 1, pipeline))
    for batch in batches[:20]:
        reader = hiredis.Reader()
        reader.feed(batch)
        found = [reader.gets() for _ in range(pipeline)]
        assert reader.gets() is False
        for request in found:
            assert len(request) == words and request[0] == verb.encode() and request[1].startswith(PREFIX)
            assert int(request[1].removeprefix(PREFIX)) < KEYS and request[2:] in ([], [VALUE])


@pytest.fixture
def interruptible():
    """Signals as a program of its own finds them."""
    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.default_int_handler) for number in kinds}
    yield lambda: {signal.getsignal(number) for number in kinds}
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_keys_are_written_and_removed_also_when_something_breaks(number, interruptible):
    server = Server()
    with pytest.raises(KeyboardInterrupt), borrowed_keys(server):
        assert number == signal.SIGINT or signal.getsignal(number) is not signal.default_int_handler
        signal.raise_signal(number)
    assert interruptible() == {signal.default_int_handler}, "whoever called has them back"
    written = {word for words in server.asked if words[0] == b"MSET" for word in words[1::2]}
    removed = {word for words in server.asked if words[0] == b"UNLINK" for word in words[1:]}
    assert len(written) == KEYS and removed == written == set(server.asked[0][1:])


def test_keys_of_others_are_left_alone():
    server = Server(existing=3)
    with pytest.raises(NotNow, match="3 keys that begin with vaylix-bench: are there"), borrowed_keys(server):
        raise AssertionError("not reached")
    assert [words[0] for words in server.asked] == [b"EXISTS"]


@pytest.mark.parametrize("facts, wants_a_yes", [({}, False), ({"keys": 1}, True), ({"clients": 1}, True)])
def test_a_server_that_others_use_is_asked_about(facts, wants_a_yes):
    server = About(**{name: getattr(ALONE, name) for name in ALONE.__slots__} | facts)
    assert server.busy is wants_a_yes
    assert "1 keys" in busy(server, HERE, 60) or not facts.get("keys")


def test_what_it_says_of_itself():
    info = b"vaylix_version:0.1.0\r\nconnected_clients:4\r\nraft_role:follower\r\nraft_cluster_id:ab\r\nraft_num_nodes:3\r\ndb0:keys=5,expires=1,avg_ttl=0\r\n"
    info += b"db3:keys=2,expires=0,avg_ttl=0\r\ndb_x:keys=9\r\n"
    directives = {b"appendfsync": b"everysec", b"appendonly": b"yes", b"dir": b"/d"}
    channel = SimpleNamespace(ask=lambda *words: info if words[0] == b"INFO" else [words[2], directives[words[2]]])
    assert bench.about(channel) == About("vaylix 0.1.0", "follower", 3, "everysec", "/d", 7, 3)


def test_a_user_without_config_and_a_redis_that_keeps_nothing():
    refused = hiredis.ReplyError("NOPERM no")
    channel = SimpleNamespace(ask=lambda *words: b"redis_version:7.0.15\r\nrole:master\r\n" if words[0] == b"INFO" else refused)
    assert bench.about(channel) == About("redis 7.0.15", "master", 0, "", "", 0, 0)
    channel.ask = lambda *words: b"redis_version:7\r\n" if words[0] == b"INFO" else [words[2], b"no" if words[2] == b"appendonly" else b"x"]
    assert bench.about(channel).appendfsync == "no"
    channel.ask = lambda *words: refused
    with pytest.raises(Denied, match="INFO everything is refused: NOPERM"):
        bench.about(channel)


SAYS = {
    "durable": (ALONE, HERE, "these are durable writes"),
    "everysec": (About("v", "leader", 0, "everysec", "", 0, 0), HERE, "a power cut loses about a second"),
    "unknown": (About("v", "leader", 0, "", "", 0, 0), HERE, "not known"),
    "cluster": (About("v", "leader", 3, "everysec", "", 0, 0), HERE, "a majority of 3 nodes: these are durable"),
    "follower": (About("v", "follower", 3, "always", "", 0, 0), HERE, "passes writes on to the leader"),
    "local": (ALONE, HERE, "client and server share"),
    "unix": (ALONE, Target("/run/v.sock"), "client and server share"),
    "other disk": (ALONE, HERE, "may not be that of its data (/srv/vaylix): give --dir"),
    "remote": (ALONE, Target("192.0.2.1", 6379), "includes the network"),
    "client": (ALONE, HERE, "as busy as it can be, and the limit, in: SET  50 clients"),
}


@pytest.mark.parametrize("name", SAYS)
def test_it_is_honest(name):
    server, target, said = SAYS[name]
    found = notes(server, target, DISK, [Result(Work("SET", 50, 1), done(cpu=0.95), 10)])
    assert any(said in note for note in found), found


def test_the_table():
    results = [Result(Work("SET", 1, 1), done(), 10_000), Result(Work("GET", 50, 16), done(123_456), None)]
    assert results_table(results) == """\
requests                       a second       p50       p99       max  writes per fsync
SET  1 client                     1,000      3 ms     50 ms     50 ms  1.0
GET  50 clients, 16 at a time   123,456      3 ms     50 ms     50 ms  -"""


def test_a_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "APPENDS_MAX", 20)
    found = measure_disk(str(tmp_path), 1000)
    assert found.appends == 20 and 0 < found.median_us <= found.p99_us <= found.worst_us
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(bench, "APPENDS_MAX", 5000)
    assert 1 <= measure_disk(str(tmp_path), 0.0).appends < 5000


def test_a_directory_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        measure_disk(str(tmp_path / "nosuch"), 1)
