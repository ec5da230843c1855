"""Every metric: there, told apart by what the rules allow, and true after traffic that is known."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.fake_admin import FakeAdmin
from tests.unit.fake_cluster import IDS, FakeView
from tests.unit.server.front import Stage
from vaylix_resp.commands.cluster_view import Comparison
from vaylix_resp.errors import CommandError
from vaylix_resp.observability.process import Process
from vaylix_resp.server.metrics import everything
from vaylix_resp.server.metrics.data import DATABASES_MAX
from vaylix_resp.server.metrics.everything import FAMILIES, METRICS
from vaylix_resp.server.metrics.table import Scrape

PARTS = ("checkpoint", "history", "backups", "online_backup", "archive", "keyring")
CANARY = "canary"


def server_of(stage):
    """What `app` gives to a server, as far as metrics look at it."""
    admin = FakeAdmin()
    for name in PARTS:
        setattr(stage.shared, name, getattr(admin, name))
    return stage.shared


@pytest.fixture
def stage():
    stage = Stage(enable_debug_command="yes", dir=".")
    server_of(stage)
    yield stage
    stage.close()


class Trail:
    def info(self):
        return {
            "audit_enabled": 1, "audit_sequence": 9, "audit_hash": "ab", "audit_committed_sequence": 8,
            "audit_pending": 1, "audit_written": 7, "audit_lost": 0, "audit_failed": 0, "audit_broken": 0,
        }  # fmt: skip


def with_tls(stage):
    ends = SimpleNamespace(not_after_s=stage.clock.wall_ms() // 1000 + 86_400)
    material = SimpleNamespace(server=ends, authorities=[ends])
    counts = {"completed": 5, "failed": 1, "timed_out": 0, "evicted": 0}
    stage.shared.tls = SimpleNamespace(
        keeper=SimpleNamespace(material=material, failure=""), counts=counts,
        info=lambda: {"tls_connections": 3, "tls_handshakes_in_flight": 0},
    )  # fmt: skip
    stage.shared.node_tls = SimpleNamespace(pair=SimpleNamespace(material=material))


def with_cluster(stage, **facts):
    stage.shared.cluster = view = FakeView(**facts)
    view.comparison = Comparison(90, "all", 4.0, frozenset(IDS.values()), frozenset(), {}, 3, 0)
    return view


def read(stage):
    """{sample: value} as Prometheus's client reads it; a label's value stands behind a colon."""
    found = {}
    for family in text_string_to_metric_families(everything.text(stage.shared).decode()):
        for sample in family.samples:
            name = ":".join([sample.name.removeprefix("vaylix_"), *sample.labels.values()])
            assert name not in found, name
            found[name] = sample.value
    return found


def test_every_family_has_help_and_samples_and_is_declared(stage):
    stage.connect("SET a b EX 10", "GET a", "NOSUCH")
    with_tls(stage)
    with_cluster(stage)
    stage.shared.audit = Trail()
    stage.shared.checkpoint.last_duration_s = 0.5
    text = everything.text(stage.shared).decode()
    found = {}
    for family in text_string_to_metric_families(text):
        name = family.name + "_total" * (family.type == "counter")
        found[name] = family
        assert family.type == FAMILIES[name].kind and family.documentation == FAMILIES[name].help and family.samples
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(FAMILIES[name].labels)
            assert sample.name in FAMILIES[name].series
    assert set(found) == set(FAMILIES)


def test_known_traffic(stage):
    client = stage.connect("SET a 1", "SET b 22 EX 100", "GET a", "GET a", "GET nothing", "INCR a", "GETRANGE a 0")
    client.ask("SUBSCRIBE news")
    stage.connect("MONITOR")
    found = read(stage)
    expected = {
        "commands_total:set": 2, "commands_total:get": 3, "commands_total:incr": 1,
        "commands_rejected_total:getrange": 1, "commands_failed_total:get": 0, "errors_total:ERR": 1,
        "command_duration_seconds_count:string": 6, "keyspace_hits_total": 2, "keyspace_misses_total": 1,
        "keys:0": 2, "keys_expiring:0": 1, "connections:pubsub": 1, "connections:monitor": 1, "connections:normal": 0,
        "connections_received_total": 2, "pubsub_subscriptions:channel": 1, "log_sequence:applied": 4,
        "batch_entries_sum": 4, "batch_entries_count": 2, "apply_lag_entries": 0, "leads": 1, "role:leader": 1,
        "ready": 1, "users": 1,
    }  # fmt: skip
    # The term's first entry is in the log as well, in a batch of its own.
    assert {name: found.get(name) for name in expected} == expected


def test_a_failed_log_shows(stage):
    stage.break_disk()
    stage.connect("SET a 1")
    found = read(stage)
    assert (found["log_failed"], found["ready"], found["ready_check:log"], found["ready_check:disk"]) == (1, 0, 0, 1)
    assert found["errors_total:INDETERMINATE"] == 1


def test_a_server_that_does_not_serve_yet_is_not_ready(stage):
    page = everything.text(stage.shared, "starting").decode()
    assert "\nvaylix_ready 0\n" in page and 'vaylix_ready_check{check="log"} 1' in page


def test_no_label_holds_what_a_client_chooses(stage):
    client = stage.connect()
    for line in (
        "ACL SETUSER {0} on >pw-{0} +@all ~* &*", "SET {0} {0}", "GET {0}", "CLIENT SETNAME {0}", "{0} {0}",
        "CLIENT SETINFO LIB-NAME {0}", "DEBUG ERROR {0}", "PUBLISH {0} {0}", "WATCH {0}", "SELECT 3", "SET {0} 1",
        "AUTH {0} wrong", "AUTH {0} pw-{0}", "ACL SETROLE {0} +@read", "CONFIG SET user-limit {0}",
    ):  # fmt: skip
        client.ask(line.format(CANARY))
    client.ask("SUBSCRIBE " + CANARY)
    assert CANARY not in everything.text(stage.shared).decode().lower()
    found = read(stage)
    assert found["errors_total:OTHER"] == 1 and found["keys:3"] == 1


def test_databases_beyond_those_shown_are_added_up():
    stage = Stage(databases=DATABASES_MAX + 5)
    server_of(stage)
    client = stage.connect()
    for number in range(DATABASES_MAX + 5):
        client.ask(f"SELECT {number}", "SET a 1")
    found = read(stage)
    assert found["keys:other"] == 5 and sum(name.startswith("keys:") for name in found) == DATABASES_MAX + 1
    stage.close()


@pytest.mark.parametrize(
    "make, expected",
    [
        ({"me": 1}, {
            "role:leader": 1, "role:follower": 0, "leads": 1, "leader_known": 1, "cluster_members": 3,
            "cluster_voters": 3, "follower_lag_entries:node-2": 10, "follower_lag_entries:node-3": 20,
            "follower_up:node-2": 1, "elections_total": 2, "leader_changes_total": 3, "nodes_differing": 0,
            "nodes_compared_age_seconds": 4, "node_round_trip_seconds:node-2": 0.001,
            "node_received_bytes_total:node-2": 10, "node_queue_bytes:node-2": 5, "staleness_seconds": 0.1,
            "node_silence_seconds:node-3": 0.5,
        }),
        ({"me": 2}, {"role:leader": 0, "role:follower": 1, "leads": 0, "leader_known": 1, "ready": 1}),
        ({"me": 2, "leader": None}, {"leader_known": 0, "ready": 0, "ready_check:leader": 0}),
    ],
)  # fmt: skip
def test_a_node_of_a_cluster(stage, make, expected):
    with_cluster(stage, **make)
    found = read(stage)
    assert {name: found.get(name) for name in expected} == expected


def test_a_follower_that_is_down_and_a_node_that_differs(stage):
    view = with_cluster(stage)
    view.change(2, state="unreachable", last_contact_s=40.0)
    view.change(3, state="differs")
    view.comparison = replace(view.comparison, differing={IDS[3]: 80})
    found = read(stage)
    assert (found["follower_up:node-2"], found["follower_up:node-3"], found["nodes_differing"]) == (0, 0, 1)
    view.stopped = CommandError("CLUSTERDOWN its data differ")
    assert read(stage)["ready_check:data"] == 0


def test_certificates(stage):
    with_tls(stage)
    assert [read(stage)[f"certificate_expiry_seconds:{one}"] for one in ("server", "ca", "node")] == [86_400] * 3
    stage.clock.ms += 90_000_000
    assert read(stage)["certificate_expiry_seconds:server"] == -3600


def test_reading_changes_nothing_and_a_reset_begins_anew(stage):
    client = stage.connect("SET a 1", "GET a")
    first, second = read(stage), read(stage)
    moving = {name for name in first if name.startswith(("process_cpu", "memory_", "disk_free"))}
    assert {name for name in first if first[name] != second[name]} <= moving
    client.ask("CONFIG RESETSTAT")
    found = read(stage)
    assert found.get("commands_total:set", 0) == 0 and found["keys:0"] == 1


def test_before_there_is_a_server():
    families = text_string_to_metric_families(everything.early_text(Process(), "starting").decode())
    found = {family.name: family.samples[0].value for family in families}
    assert found["vaylix_ready"] == 0 and found["vaylix_memory_resident_bytes"] > 0 and len(found) > 8


def test_one_look_at_the_clients_serves_all_rows(stage):
    scrape = Scrape(stage.shared)
    assert scrape.connections is scrape.connections and len(METRICS) == len(FAMILIES)
