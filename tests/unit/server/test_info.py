"""INFO: layout, choice of sections, and that what it says is so."""

import re

import pytest

from tests.unit.fake_admin import FakeAdmin
from vaylix_resp.observability.metrics import record
from vaylix_resp.resp.writer import encode
from vaylix_resp.server.info import SECTIONS, human, render

# What RedisInsight and redis_exporter read (their sources name the fields), but for fields of replicas and sentinels.
READ_BY_TOOLS = """
redis_version uptime_in_seconds redis_mode process_id redis_build_id os tcp_port connected_clients blocked_clients
maxclients tracking_clients pubsub_clients watching_clients client_recent_max_input_buffer
client_recent_max_output_buffer used_memory used_memory_rss used_memory_peak used_memory_lua used_memory_overhead
used_memory_startup used_memory_dataset used_memory_scripts maxmemory maxmemory_policy mem_fragmentation_ratio
mem_clients_normal mem_clients_slaves mem_aof_buffer loading async_loading rdb_changes_since_last_save
rdb_bgsave_in_progress rdb_last_save_time rdb_last_bgsave_status rdb_last_bgsave_time_sec rdb_saves aof_enabled
aof_rewrite_in_progress aof_current_size aof_base_size aof_pending_bio_fsync aof_delayed_fsync
aof_last_bgrewrite_status aof_last_write_status pubsub_channels pubsub_patterns latest_fork_usec role connected_slaves
master_repl_offset second_repl_offset repl_backlog_size repl_backlog_active repl_backlog_first_byte_offset
repl_backlog_histlen sync_full sync_partial_ok sync_partial_err total_connections_received total_commands_processed
rejected_connections total_net_input_bytes total_net_output_bytes total_net_repl_input_bytes
total_net_repl_output_bytes instantaneous_ops_per_sec instantaneous_input_kbps instantaneous_output_kbps expired_keys
expired_subkeys evicted_keys keyspace_hits keyspace_misses used_cpu_sys used_cpu_user used_cpu_sys_children
used_cpu_user_children used_cpu_sys_main_thread used_cpu_user_main_thread unexpected_error_replies
total_error_replies total_reads_processed total_writes_processed acl_access_denied_auth acl_access_denied_cmd
acl_access_denied_key acl_access_denied_channel
raft_node_id raft_state raft_role raft_is_voting raft_voted_for raft_leader_id raft_current_term raft_num_nodes
raft_num_voting_nodes raft_node1 raft_log_entries raft_current_index raft_commit_index raft_last_applied_index
raft_file_size raft_fsync_count raft_fsync_max_microseconds raft_fsync_avg_microseconds
vaylix_version server_name
""".split()


@pytest.fixture
def server():
    return FakeAdmin()


def fields(server, *sections):
    return dict(line.split(":", 1) for line in render(server, sections).splitlines() if ":" in line)


def titles(server, *sections):
    return [line[2:] for line in render(server, sections).splitlines() if line.startswith("# ")]


def test_layout(server):
    assert render(server, ["cluster"]) == "# Cluster\r\ncluster_enabled:0\r\n"
    assert render(server, ["errorstats", "cluster"]) == "# Errorstats\r\n\r\n# Cluster\r\ncluster_enabled:0\r\n"
    assert render(server, ["nosuch"]) == ""


def test_every_line_is_a_title_a_field_or_blank(server):
    for line in render(server, ["everything"]).split("\r\n"):
        assert re.fullmatch(r"|# [A-Z]\w+|[a-zA-Z][\w.|-]*:[^\r\n]*", line), line


DEFAULT = ["Server", "Clients", "Memory", "Persistence", "Encryption", "Stats", "Replication", "Raft", "CPU", "TLS", "Audit",
           "Modules", "Errorstats", "Cluster", "Keyspace"]  # fmt: skip
EVERYTHING = [title for title, _ in SECTIONS.values()]


@pytest.mark.parametrize(
    "asked, shown",
    [
        ((), DEFAULT),
        (("default",), DEFAULT),
        (("default", "commandstats"), [t for t in EVERYTHING if t in DEFAULT or t == "Commandstats"]),
        (("all",), [t for t in EVERYTHING if t != "Modules"]),
        (("everything",), EVERYTHING),
        (("keyspace", "server", "nosuch", "server"), ["Server", "Keyspace"]),
    ],
)
def test_choice_of_sections(server, asked, shown):
    assert titles(server, *asked) == shown


def test_nothing_that_tools_read_is_missing(server):
    assert set(READ_BY_TOOLS) - fields(server, "everything").keys() == set()


def test_no_field_twice(server):
    names = [line.split(":")[0] for line in render(server, ["everything"]).splitlines() if ":" in line]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "proto, start", [(2, b"$30\r\n# Cluster\r\n"), (3, b"=34\r\ntxt:# Cluster\r\n")]
)
def test_the_reply_is_text(server, proto, start):
    assert encode(server.connect(proto).call("INFO", "CLUSTER"), proto).startswith(start)


def test_who_it_is(server):
    server.settings.port = 7000
    server.advance(90_000.5)
    found = fields(server, "server")
    assert found["redis_version"] == "7.2.4" and found["server_name"] == "vaylix"
    assert (found["uptime_in_seconds"], found["uptime_in_days"]) == ("90000", "1")
    assert (found["tcp_port"], found["listener0"]) == ("7000", "name=tcp,bind=127.0.0.1,port=7000")
    assert (found["process_id"], found["config_file"]) == ("4711", "")


def test_a_path_cannot_forge_a_line(server):
    server.config_file = "/etc/x\r\nrole:slave"
    assert "\r\nrole:slave" not in render(server, ["server"])


def test_clients(server):
    one, two = server.connect(), server.connect()
    one.watched = {(0, b"a"): 1, (0, b"b"): 1}
    two.watched = {(0, b"a"): 1}
    one.input_bytes, two.output_bytes = 50, 70
    found = fields(server, "clients")
    assert [found[name] for name in ("connected_clients", "watching_clients", "total_watched_keys",
            "client_recent_max_input_buffer", "client_recent_max_output_buffer", "blocked_clients")] == [
        "2", "2", "2", "50", "70", "0"]  # fmt: skip


def test_memory(server):
    found = fields(server, "memory")
    assert found["used_memory"] == "10485760" and found["used_memory_human"] == "10.00M"
    assert found["used_memory_peak_perc"] == "50.00%"
    assert found["mem_fragmentation_ratio"] == "1.50"
    assert int(found["used_memory_overhead"]) + int(found["used_memory_dataset"]) == 10485760


@pytest.mark.parametrize(
    "size, text",
    [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (916720, "895.23K"), (25276510208, "23.54G"), (1 << 62, "4096.00P")],
)
def test_sizes_for_people(size, text):
    assert human(size) == text


def test_a_running_snapshot(server):
    checkpoint = server.checkpoint
    checkpoint.start()
    checkpoint.started_s, checkpoint.progress = server.clock.now() - 5, 0.25
    found = fields(server, "persistence")
    assert (found["rdb_bgsave_in_progress"], found["aof_rewrite_in_progress"]) == ("1", "1")
    assert (found["rdb_current_bgsave_time_sec"], found["rdb_last_bgsave_time_sec"]) == ("5", "-1")
    assert (found["current_fork_perc"], found["snapshot_progress"]) == ("25.00", "0.25")


def test_how_far_back_one_can_go(server):
    found = fields(server, "persistence")
    assert (found["pitr_window_seconds"], found["pitr_window_effective_seconds"]) == ("3600", "600")
    assert (found["pitr_oldest_sequence"], found["pitr_oldest_timestamp_ms"]) == ("5", "400000")
    assert (found["pitr_window_shortened"], found["pitr_extra_bytes"], found["pitr_snapshots"]) == ("1", "123", "0")
    assert (found["flashback_in_progress"], found["flashback_count"], found["flashback_last_error"]) == ("0", "2", "")


def test_how_far_the_archive_has_come(server):
    found = fields(server, "persistence")
    assert {name: value for name, value in found.items() if name.startswith("archive")} == {
        "archive_enabled": "1", "archive_sequence": "6", "archived_count": "5", "archive_failed_count": "1",
        "archive_last_ok_time": "1001", "archive_last_failed_time": "1000", "archive_last_file": "a.wal",
        "archive_pending_files": "1", "archive_pending_bytes": "4096", "archive_last_error": "b.wal: no",
    }  # fmt: skip
    assert found["backup_in_progress"] == "0"
    server.online_backup.in_progress = True
    assert fields(server, "persistence")["backup_in_progress"] == "1"


def test_a_failed_snapshot(server):
    checkpoint = server.checkpoint
    checkpoint.last_ok, checkpoint.last_error, checkpoint.last_duration_s = False, "ERR snapshot failed: EIO", 3.7
    found = fields(server, "persistence")
    assert (found["rdb_last_bgsave_status"], found["aof_last_bgrewrite_status"]) == ("err", "err")
    assert (found["rdb_last_bgsave_time_sec"], found["snapshot_last_error"]) == ("3", "ERR snapshot failed: EIO")
    assert found["aof_last_write_status"] == "ok"  # nothing acknowledged is in danger


@pytest.mark.parametrize(
    "failure, full, status, write",
    [(None, False, "ok", "ok"), (None, True, "full", "err"), ("fsync: EIO", False, "failed", "err"),
     ("fsync: EIO", True, "failed", "err")],
)  # fmt: skip
def test_the_state_of_the_log(server, failure, full, status, write):
    server.node.failure, server.node.full = failure, full
    found = fields(server, "persistence")
    assert (found["log_status"], found["aof_last_write_status"]) == (status, write)
    assert found["log_failure"] == (failure or "")


@pytest.mark.parametrize(("ahead_ms", "shown"), [(5_000, "5000"), (0, "0"), (-5_000, "0")])
def test_a_log_that_is_ahead_of_the_clock(server, ahead_ms, shown):
    server.machine.time_ms = server.clock.wall_ms() + ahead_ms
    assert fields(server, "persistence")["log_time_ahead_ms"] == shown


def test_fsyncs(server):
    found = fields(server, "persistence", "raft")
    names = ("count", "usec_total", "usec_avg", "usec_max", "usec_last")
    assert [found[f"log_fsync_{name}"] for name in names] == ["4", "100", "25", "60", "20"]
    assert (found["raft_fsync_avg_microseconds"], found["raft_fsync_max_microseconds"]) == ("25", "60")


def test_no_fsync_yet(server):
    server.node.fsync.count = server.node.fsync.total_us = 0
    assert fields(server, "persistence")["log_fsync_usec_avg"] == "0"


def test_a_group_of_one(server):
    server.checkpoint.sequence = 3
    found = fields(server, "raft")
    assert (found["raft_role"], found["raft_leader_id"], found["raft_node_id"]) == ("leader", "1", "1")
    assert (found["raft_current_term"], found["raft_log_entries"], found["raft_current_index"]) == ("2", "4", "7")


def test_statistics_of_commands(server):
    record(server.stats.command("config|get"), 2, 15e-6, failed=1)
    server.stats.command("set").rejected_calls = 3
    found = fields(server, "commandstats", "latencystats")
    assert found["cmdstat_config|get"] == "calls=2,usec=15,usec_per_call=7.50,rejected_calls=0,failed_calls=1"
    assert found["cmdstat_set"] == "calls=0,usec=0,usec_per_call=0.00,rejected_calls=3,failed_calls=0"
    assert re.fullmatch(r"p50=\d+\.\d{3},p99=\d+\.\d{3},p99\.9=\d+\.\d{3}",
                        found["latency_percentiles_usec_config|get"])  # fmt: skip
    assert "latency_percentiles_usec_set" not in found


def test_percentiles_are_those_that_are_configured(server):
    record(server.stats.command("get"), 1, 15e-6)
    server.settings.latency_tracking_info_percentiles = (90.0, 99.99)
    text = fields(server, "latencystats")["latency_percentiles_usec_get"]
    assert [part.split("=")[0] for part in text.split(",")] == ["p90", "p99.99"]
    server.settings.latency_tracking = False
    assert render(server, ["latencystats"]) == "# Latencystats\r\n"


def test_errors_by_code(server):
    for code in ("WRONGTYPE", "ERR", "ERR"):
        server.stats.error(code)
    assert render(server, ["errorstats"]) == (
        "# Errorstats\r\nerrorstat_ERR:count=2\r\nerrorstat_WRONGTYPE:count=1\r\n"
    )


def test_keyspace(server):
    server.apply("SET", "a", "1")
    server.apply("SET", "b", "1", "PX", "4000")
    server.apply("SET", "c", "1", "PX", "2000")
    server.machine.world.databases[5].items[b"x"] = b"\0" * 9
    assert render(server, ["keyspace"]) == (
        "# Keyspace\r\ndb0:keys=3,expires=2,avg_ttl=3000\r\ndb5:keys=1,expires=0,avg_ttl=0\r\n"
    )
    server.advance(100)
    assert "avg_ttl=0\r\n" in render(server, ["keyspace"])


def test_refused_connections_wherever_they_were_counted(server):
    server.clients.rejected, server.stats.rejected_connections = 2, 3
    assert fields(server, "stats")["rejected_connections"] == "5"


def test_encryption_says_what_the_keyring_says(server):
    assert fields(server, "encryption") == {"encryption": "on", "keyring_active_key": "3"}
