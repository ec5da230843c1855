"""What redis_exporter and RedisInsight read, field by field, in the form in which they parse it.

Ours alone answers the tables below, over RESP2 as both tools speak it. The last test runs the real exporter, if it is
there, against redis-server and against us: a series that it finds there and not here is one that dashboards miss.
Costs about three seconds, most of them the exporter's own.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from bench.processes import Server, free_port, redis_program, running, us_program
from compat.clients import patient
from tests.e2e.tools import missing, require
from tests.patience import PATIENCE_S
from tests.unit.fake_admin import FakeAdmin
from tests.unit.fake_cluster import FakeView
from vaylix_resp.server.info import render

EXPORTERS = ("redis_exporter", "prometheus-redis-exporter")  # as released, as in Debian

Parse = Callable[[str], object]


def count(text: str) -> int:
    """What tools take for a counter or a size: digits only."""
    assert re.fullmatch(r"\d+", text), text
    return int(text)


def one_of(*words: str) -> Parse:
    def parse(text: str) -> None:
        assert text in words, text

    return parse


def filled(text: str) -> None:
    assert text


# Every plain field that they read. `int` may be negative: -1 is "never".
FIELDS: dict[str, Parse] = {
    **dict.fromkeys(
        """
    uptime_in_seconds process_id tcp_port connected_clients blocked_clients maxclients tracking_clients pubsub_clients
    watching_clients client_recent_max_input_buffer client_recent_max_output_buffer used_memory used_memory_rss
    used_memory_peak used_memory_lua used_memory_overhead used_memory_startup used_memory_dataset used_memory_scripts
    maxmemory mem_clients_normal mem_clients_slaves mem_aof_buffer rdb_changes_since_last_save rdb_last_save_time
    rdb_saves aof_current_size aof_base_size aof_pending_bio_fsync aof_delayed_fsync pubsub_channels pubsub_patterns
    latest_fork_usec connected_slaves master_repl_offset repl_backlog_size repl_backlog_first_byte_offset
    repl_backlog_histlen sync_full sync_partial_ok sync_partial_err total_connections_received
    total_commands_processed rejected_connections total_net_input_bytes total_net_output_bytes
    total_net_repl_input_bytes total_net_repl_output_bytes instantaneous_ops_per_sec expired_keys expired_subkeys
    evicted_keys keyspace_hits keyspace_misses unexpected_error_replies total_error_replies total_reads_processed
    total_writes_processed acl_access_denied_auth acl_access_denied_cmd acl_access_denied_key
    acl_access_denied_channel
    """.split(),
        count,
    ),
    **dict.fromkeys(("rdb_last_bgsave_time_sec", "second_repl_offset"), int),
    **dict.fromkeys(
        """
    mem_fragmentation_ratio instantaneous_input_kbps instantaneous_output_kbps used_cpu_sys used_cpu_user
    used_cpu_sys_children used_cpu_user_children used_cpu_sys_main_thread used_cpu_user_main_thread
    """.split(),
        float,
    ),
    **dict.fromkeys(
        """
    loading async_loading rdb_bgsave_in_progress aof_enabled aof_rewrite_in_progress repl_backlog_active
    cluster_enabled
    """.split(),
        one_of("0", "1"),
    ),
    **dict.fromkeys(
        ("rdb_last_bgsave_status", "aof_last_bgrewrite_status", "aof_last_write_status"), one_of("ok", "err")
    ),
    "redis_version": re.compile(r"7\.2\.\d+").fullmatch,
    "redis_mode": one_of("standalone", "cluster"),
    "role": one_of("master", "slave"),
    "maxmemory_policy": filled,
    "redis_build_id": filled,
    "os": filled,
    "run_id": re.compile(r"[0-9a-f]{40}").fullmatch,
    "master_replid": re.compile(r"[0-9a-f]{40}").fullmatch,
}
NOTHING_TO_SAY = {"rdb_last_bgsave_time_sec"}  # -1 before the first

# Fields that hold several figures: name -> how their names and figures are taken apart.
NUMBER = r"\d+(\.\d+)?"
FORMS = {
    "cmdstat_get": rf"calls=\d+,usec=\d+,usec_per_call={NUMBER},rejected_calls=\d+,failed_calls=\d+",
    "cmdstat_config|get": rf"calls=\d+,usec=\d+,usec_per_call={NUMBER},rejected_calls=\d+,failed_calls=\d+",
    "errorstat_ERR": r"count=2",
    "latency_percentiles_usec_get": rf"p50={NUMBER},p99={NUMBER},p99\.9={NUMBER}",
    "db0": r"keys=2,expires=1,avg_ttl=\d+",
    "db3": r"keys=1,expires=0,avg_ttl=0",
}


@pytest.fixture(scope="module")
def client(vaylix: Server) -> Iterator[redis.Redis]:
    """A client that takes replies as they come, after a little traffic."""
    with patient(port=vaylix.port, decode_responses=True, protocol=2, single_connection_client=True) as found:
        found.response_callbacks.clear()
        traffic(found)
        yield found


def traffic(client: redis.Redis) -> None:
    """Two keys and an expiry in db 0, one key in db 3, a hit, a miss, two errors, a slow request."""
    client.execute_command("CLIENT", "SETNAME", "redis_exporter")
    client.execute_command("CONFIG", "SET", "slowlog-log-slower-than", "0", "latency-monitor-threshold", "1")
    client.execute_command("CONFIG", "GET", "maxmemory")
    client.execute_command("SET", "a", "1", "EX", "1000")
    client.execute_command("SET", "b", "text")
    client.execute_command("GET", "a")
    client.execute_command("GET", "nosuch")
    for _ in range(2):
        with pytest.raises(redis.ResponseError, match="not an integer"):
            client.execute_command("INCR", "b")
    client.execute_command("SELECT", "3")
    client.execute_command("SET", "c", "3")
    client.execute_command("SELECT", "0")


@pytest.fixture(scope="module")
def info(client: redis.Redis) -> dict[str, str]:
    return fields_of(client.execute_command("INFO", "ALL"))


def fields_of(text: str) -> dict[str, str]:
    return dict(line.strip().split(":", 1) for line in text.split("\n") if ":" in line)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_parses(info: dict[str, str], name: str) -> None:
    assert FIELDS[name](info[name]) is not False
    if FIELDS[name] in (count, int) and name not in NOTHING_TO_SAY:
        assert int(info[name]) >= (-1 if name == "second_repl_offset" else 0)


@pytest.mark.parametrize("name", FORMS)
def test_a_field_of_several_figures_parses(info: dict[str, str], name: str) -> None:
    assert re.fullmatch(FORMS[name], info[name]), info[name]


def test_the_figures_are_those_of_the_traffic(info: dict[str, str]) -> None:
    assert (info["keyspace_hits"], info["keyspace_misses"]) == ("1", "1")
    assert int(info["total_error_replies"]) == 2 and int(info["connected_clients"]) == 1
    assert info["cmdstat_incr"].endswith("rejected_calls=0,failed_calls=2")


# In a cluster: what the leader says of its followers, and a follower of its leader.

SLAVE = r"ip=10\.0\.0\.[23],port=6379,state=(online|send_bulk|wait_bgsave),offset=\d+,lag=\d+"
REPLICA: dict[str, Parse] = {
    "master_host": filled,
    "master_port": count,
    "master_link_status": one_of("up", "down"),
    "master_last_io_seconds_ago": int,
    "master_sync_in_progress": one_of("0", "1"),
    "slave_repl_offset": count,
    "slave_read_only": one_of("0", "1"),
}


def replication(view: FakeView) -> dict[str, str]:
    server = FakeAdmin()
    server.cluster = view
    return fields_of(render(server, ["replication"]))


def test_the_leader_names_its_replicas_as_the_exporter_takes_them_apart() -> None:
    found = replication(FakeView())
    assert (found["role"], found["connected_slaves"]) == ("master", "2")
    for name in ("slave0", "slave1"):
        assert re.fullmatch(SLAVE, found[name]), found[name]


@pytest.mark.parametrize("name", REPLICA)
def test_a_follower_names_its_leader(name: str) -> None:
    found = replication(FakeView(me=2))
    assert found["role"] == "slave"
    REPLICA[name](found[name])


# The requests that they make, and what they do with the replies.


def pairs(reply: Any) -> dict[str, str]:
    assert isinstance(reply, list) and len(reply) % 2 == 0, reply
    return dict(zip(reply[::2], reply[1::2], strict=True))


def is_config(reply: Any) -> None:
    found = pairs(reply)
    for name in ("databases", "maxmemory", "maxclients"):
        float(found[name])
    assert all(isinstance(word, str) for word in reply)


def is_client_list(reply: Any) -> None:
    """Each line as the exporter splits it: at blanks, then at `=`, neither of which may stand in a value."""
    for line in reply.strip().split("\n"):
        assert re.match(r"id=\d+ addr=\S+:\d+ ", line), line
        found = dict(part.split("=") for part in line.split(" "))
        for name in ("age", "idle", "db", "omem", "resp", "sub", "psub", "tot-mem"):
            assert re.fullmatch(r"\d+", found[name]), (name, line)
        assert {"name", "user", "flags", "cmd", "lib-name", "lib-ver"} <= found.keys()


def is_latest(reply: Any) -> None:
    for name, unix_s, last_ms, max_ms, *_ in reply:
        assert isinstance(name, str) and unix_s > 0 and 0 <= last_ms <= max_ms


def is_histogram(reply: Any) -> None:
    """Name and [calls, n, histogram_usec, [us, calls so far...]]."""
    for calls_word, calls, buckets_word, buckets in pairs(reply).values():
        assert (calls_word, buckets_word) == ("calls", "histogram_usec")
        found = list(pairs(buckets).items())
        assert found == sorted(found) and found[-1][1] == calls > 0


def is_slow_entries(reply: Any) -> None:
    (entry,) = reply
    assert [type(one) for one in entry[:4]] == [int, int, int, list] and entry[3], entry


def is_integer(reply: Any) -> None:
    assert isinstance(reply, int) and reply >= 0, reply


def is_commands(reply: Any) -> None:
    """RedisInsight takes the first six of each command."""
    for name, arity, flags, *keys in (one[:6] for one in reply):
        assert isinstance(name, str) and isinstance(arity, int) and isinstance(flags, list)
        assert all(isinstance(key, int) for key in keys)


def is_rules(reply: Any) -> None:
    """Ours lists roles, too; as Valkey does."""
    assert {one.split(" ")[0] for one in reply} <= {"user", "role"}
    assert any(one.startswith("user default ") for one in reply)


def contains(*words: str) -> Parse:
    def check(reply: Any) -> None:
        assert set(words) <= set(reply), reply

    return check


def is_equal(wanted: object) -> Callable[[Any], None]:
    def check(reply: Any) -> None:
        assert reply == wanted

    return check


def is_unknown(reply: Any) -> None:
    assert isinstance(reply, redis.ResponseError) and str(reply).startswith("unknown command"), reply


REQUESTS: dict[str, Callable[[Any], None]] = {
    "PING": is_equal("PONG"),
    "CLIENT SETNAME redis_exporter": is_equal("OK"),
    "CONFIG GET *": is_config,
    "CONFIG GET databases": is_equal(["databases", "16"]),
    "CONFIG GET io-threads": is_equal(["io-threads", "1"]),
    "CLIENT LIST": is_client_list,
    "LATENCY LATEST": is_latest,
    "LATENCY HISTOGRAM": is_histogram,
    "SLOWLOG LEN": is_integer,
    "SLOWLOG GET 1": is_slow_entries,
    "MEMORY USAGE a SAMPLES 0": is_integer,
    "MODULE LIST": is_equal([]),
    "COMMAND": is_commands,
    "DBSIZE": is_equal(2),
    "ACL CAT": contains("read", "write", "admin", "dangerous", "string"),
    "ACL LIST": is_rules,
    "TYPE a": is_equal("string"),
    "XINFO STREAM s": is_unknown,
}


@pytest.mark.parametrize("words", REQUESTS)
def test_a_request_is_answered_in_the_form_they_expect(client: redis.Redis, words: str) -> None:
    REQUESTS[words](answer(client, *words.split()))


def answer(client: redis.Redis, *words: str) -> Any:
    try:
        return client.execute_command(*words)
    except redis.ResponseError as refused:
        return refused


def test_commandlog_is_there_as_a_whole_or_not_at_all(client: redis.Redis) -> None:
    """The exporter asks COMMAND INFO or LEN, and then takes the rest for granted."""
    (known,) = client.execute_command("COMMAND", "INFO", "COMMANDLOG")
    for kind in ("slow", "large-request", "large-reply"):
        found = answer(client, "COMMANDLOG", "LEN", kind)
        assert isinstance(found, int if known else redis.ResponseError), found
    settings = pairs(client.execute_command("CONFIG", "GET", "commandlog-*"))
    assert bool(settings) == bool(known) and all(re.fullmatch(r"-?\d+", value) for value in settings.values())


# The exporter itself.


def test_the_exporter_finds_here_what_it_finds_on_redis_server() -> None:
    require("redis-server")
    exporter = next(filter(None, map(shutil.which, EXPORTERS)), None)
    if exporter is None:
        missing("redis_exporter (Debian: prometheus-redis-exporter)")
        return
    with running(redis_program()) as redis_server, running(us_program()) as ours:
        there, here = (series_of(exporter, server) for server in (redis_server, ours))
    assert there - here == set()


def series_of(exporter: str, server: Server) -> set[str]:
    """Names of what it exports after the same traffic; it reports an error of its own as a series."""
    with patient(port=server.port, decode_responses=True, single_connection_client=True) as client:
        traffic(client)
    port = free_port()
    words = [exporter, "-redis.addr", f"redis://127.0.0.1:{server.port}", "-web.listen-address", f"127.0.0.1:{port}",
             "-export-client-list", "-check-single-keys", "a", "-count-keys", "db0=*"]  # fmt: skip
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        text = fetch(f"http://127.0.0.1:{port}/metrics", process)
    finally:
        process.kill()
        process.wait()
    assert "redis_up 1" in text and 'redis_exporter_last_scrape_error{err=""} 0' in text, text
    return set(re.findall(r"^(redis_\w+)", text, re.M))


def fetch(url: str, process: subprocess.Popen[bytes]) -> str:
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as page:
                return str(page.read().decode())
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"{url} does not answer; exit code {process.poll()}")
