"""METRICS as a client gets it."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.server.front import Stage
from tests.unit.server.metrics.test_metrics import server_of
from vaylix_resp.glob import TOO_LONG_TOGETHER
from vaylix_resp.resp.reply import Verbatim
from vaylix_resp.server.metrics.everything import FAMILIES


@pytest.fixture
def stage():
    stage = Stage(dir=".")
    server_of(stage)
    yield stage
    stage.close()


def test_a_map_in_resp3_and_a_flat_array_in_resp2(stage):
    three, two = stage.connect("HELLO 3"), stage.connect()
    asked = ("METRICS", "vaylix_keys", "vaylix_k*hits_total", "vaylix_restore_window_wanted_seconds", "vaylix_keys{*")
    names = ('vaylix_keys{database="0"}', "vaylix_keyspace_hits_total", "vaylix_restore_window_wanted_seconds")
    assert three.ask(" ".join(asked)) == [f"{{{names[0]} :0 {names[1]} :0 {names[2]} ,3600}}"]
    assert two.ask(" ".join(asked)) == [f"[{names[0]} :0 {names[1]} :0 {names[2]} 3600]"]


def test_all_of_it_names_every_family_that_has_a_sample(stage):
    client = stage.connect("SET a 1")
    (reply,) = client.ask("METRICS")
    (page,) = client.ask("METRICS PROM")
    families = [family.name for family in text_string_to_metric_families(page)]
    assert len(families) > 80 and all(name in reply for name in families)


def test_the_page_is_text_for_people_and_parsers(stage):
    client = stage.connect("HELLO 3")
    client.send("METRICS PROM")
    assert client.bytes().startswith(b"=") and isinstance(Verbatim(b""), Verbatim)


@pytest.mark.parametrize(
    "line, error",
    [
        ("METRICS PROM x", "-ERR wrong number of arguments for 'metrics' command"),
        ("METRICS" + " *[^z]x" * 100, f"-{TOO_LONG_TOGETHER}"),
    ],
)
def test_refused(stage, line, error):
    assert stage.connect().ask(line) == [error]


def test_a_pattern_that_fits_nothing(stage):
    assert stage.connect().ask("METRICS keys") == ["[]"]
    assert all(name.startswith("vaylix_") for name in FAMILIES)


def test_who_may_ask(stage):
    client = stage.connect("ACL SETUSER alice on >pw +@all -@dangerous", "AUTH alice pw")
    assert client.ask("METRICS")[0].startswith("-NOPERM")
