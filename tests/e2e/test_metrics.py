"""/metrics, /livez and /readyz of a real server: true after known traffic, the same over RESP, gone with the process."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from bench.processes import Server, free_port
from compat.clients import patient
from tests.e2e.tools import vaylix
from tests.patience import PATIENCE_S
from vaylix_resp.server.metrics.everything import FAMILIES

HTTP_TOKEN = "s3cret"


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Server, str]]:
    """The server, and where its pages are."""
    port = free_port()
    with vaylix("--http-port", str(port), "--http-token", HTTP_TOKEN) as server:
        yield server, f"http://127.0.0.1:{port}"


def get(url: str, token: str = HTTP_TOKEN) -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def samples(text: str) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[":".join([sample.name.removeprefix("vaylix_"), *sample.labels.values()])] = sample.value
    return found


def test_known_traffic(served: tuple[Server, str]) -> None:
    server, url = served
    before = samples(get(f"{url}/metrics")[1])
    with patient(port=server.port, protocol=3, decode_responses=True) as client:
        for number in range(50):
            client.set(f"key:{number}", b"x" * 100)
        assert client.get("key:0") and client.get("nothing") is None
        with pytest.raises(redis.ResponseError):
            client.execute_command("INCR", "key:0")
        with pytest.raises(redis.ResponseError):
            client.execute_command("HELLO", "9")
        status, text = get(f"{url}/metrics")
        over_resp = samples(client.execute_command("METRICS", "PROM"))
        flat = client.execute_command("METRICS", "vaylix_batch_*")
    after = samples(text)
    rise = {name: after[name] - before.get(name, 0) for name in after}
    assert status == 200
    assert (rise["commands_total:set"], rise["commands_failed_total:incr"]) == (50, 1)
    assert rise["errors_total:NOPROTO"] == 1  # (redis-py has had errors of its own when it connected)
    assert (rise["keyspace_hits_total"], rise["keyspace_misses_total"], after["keys:0"]) == (1, 1, 50)
    assert rise["batch_entries_sum"] >= 50 and rise["fsync_duration_seconds_count"] >= 50
    assert rise["network_received_bytes_total"] > 50 * 100 and rise["log_written_bytes_total"] > 50 * 100
    assert after["ready"] == 1 and after["connections:normal"] == 1 and after["process_open_fds"] > 5
    assert set(over_resp) >= set(after)
    assert flat["vaylix_batch_entries_sum"] == over_resp["batch_entries_sum"]


def test_every_family_is_declared_and_those_of_a_single_node_are_there(served: tuple[Server, str]) -> None:
    names = {
        family.name + "_total" * (family.type == "counter")
        for family in text_string_to_metric_families(get(f"{served[1]}/metrics")[1])
    }
    assert names <= set(FAMILIES)
    cluster = ("vaylix_node", "vaylix_follower", "vaylix_cluster_", "vaylix_tls", "vaylix_certificate")
    absent = [name for name in set(FAMILIES) - names if not name.startswith(cluster)]
    assert sorted(absent) == [
        "vaylix_elections_total", "vaylix_leader_changes_total", "vaylix_snapshot_duration_seconds",
        "vaylix_staleness_seconds",
    ]  # fmt: skip


def test_probes_and_the_token(served: tuple[Server, str]) -> None:
    _, url = served
    assert get(f"{url}/livez", "") == get(f"{url}/readyz", "") == (200, "ok\n")
    assert get(f"{url}/metrics", "wrong")[0] == 401
    assert get(f"{url}/nothing")[0] == 404


def test_a_stop_closes_the_port(served: tuple[Server, str]) -> None:
    server, url = served
    server.stop()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{url}/livez", timeout=PATIENCE_S)
