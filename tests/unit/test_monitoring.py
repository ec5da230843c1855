"""The dashboard and the alert rules speak only of metrics and labels that exist, and use them as what they are.

Each expression is parsed as Prometheus would; counters may be used only within rate() and its like, gauges only outside,
and a quantile is made of buckets whose `le` is still there.
"""

import json
import re
from pathlib import Path

import promql_parser
import pytest
import yaml

from vaylix_resp.observability.exposition import COUNTER, GAUGE, HISTOGRAM
from vaylix_resp.server.metrics.everything import FAMILIES

CONF = Path(__file__).parents[2] / "conf"
ALERTS = yaml.safe_load((CONF / "prometheus" / "alerts.yml").read_text())
SCRAPE = yaml.safe_load((CONF / "prometheus" / "prometheus.yml").read_text())
BOARD = json.loads((CONF / "grafana" / "vaylix.json").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
SERIES = {name: family for family in FAMILIES.values() for name in family.series}
GIVEN = {"job", "instance"}  # labels that Prometheus adds
OF_PROMETHEUS = {"up"}  # series as well
RISING = {"rate", "increase", "irate"}


def faults_of(text):
    """What is wrong with one expression, a line each."""
    faults, calls = [], []

    def enter(node):
        if isinstance(node, promql_parser.Call):
            calls.append(node.func.name)
        elif isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            for label in set(node.modifier.labels) - known_labels(node) - GIVEN:
                faults.append(f"nothing in it has the label {label}")
            if "histogram_quantile" in calls and "le" not in node.modifier.labels:
                faults.append("le has been added up")
        elif isinstance(node, promql_parser.VectorSelector):
            faults.extend(faults_of_selector(node, calls))

    def leave(node):
        if isinstance(node, promql_parser.Call):
            calls.pop()

    promql_parser.walk(promql_parser.parse(text), enter, leave)
    return faults


def selectors(node):
    found = []
    promql_parser.walk(node, lambda one: found.append(one) if isinstance(one, promql_parser.VectorSelector) else None)
    return found


def known_labels(node):
    """Of every series below it."""
    families = [SERIES[one.name] for one in selectors(node) if one.name in SERIES]
    found = {label for family in families for label in family.labels}
    return found | {"le"} if any(family.kind == HISTOGRAM for family in families) else found


def faults_of_selector(node, calls):
    if node.name in OF_PROMETHEUS:
        return
    family = SERIES.get(node.name)
    if family is None:
        yield f"there is no {node.name}"
        return
    for matcher in node.matchers.matchers:
        if matcher.name not in GIVEN and matcher.name not in family.labels:
            yield f"{node.name} has no label {matcher.name}"
    rises = family.kind in (COUNTER, HISTOGRAM)
    if rises and not RISING & set(calls):
        yield f"{node.name} only rises: take its rate"
    if family.kind == GAUGE and RISING & set(calls):
        yield f"{node.name} may fall: it has no rate"


def of_panel(target):
    return target["expr"].replace("$__rate_interval", "5m")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert(rule):
    assert faults_of(rule["expr"]) == []
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    summary, description = rule["annotations"]["summary"], rule["annotations"]["description"]
    assert len(summary) < 120 and len(description) > 80, "what to do?"
    names = set(re.findall(r"\$labels\.(\w+)", summary + description))
    assert names <= GIVEN | known_labels(promql_parser.parse(rule["expr"]))


def test_every_alert_has_a_name_of_its_own():
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names) and all(name.startswith("Vaylix") for name in names)


@pytest.mark.parametrize(
    "subject",
    ["log_failed", "disk_full", "fsync_duration", "snapshot_age", "restore_window", "follower_lag", "leader_known",
     "certificate_expiry", "memory_counted", "login_locks", "ready ", "audit_failed"],
)  # fmt: skip
def test_what_has_to_wake_somebody_has_an_alert(subject):
    assert any(f"vaylix_{subject}" in rule["expr"] for rule in RULES)


def test_the_example_for_prometheus_names_the_rules():
    assert SCRAPE["rule_files"] == ["alerts.yml"]
    (job,) = SCRAPE["scrape_configs"]
    assert job["job_name"] == "vaylix" and job["static_configs"][0]["targets"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel(panel):
    assert panel["targets"] and panel["description"].endswith(".")
    assert panel["datasource"]["uid"] == "${datasource}"
    for target in panel["targets"]:
        assert faults_of(of_panel(target)) == []
        assert 'job=~"$job",instance=~"$instance"' in target["expr"]
        names = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert names <= GIVEN | known_labels(promql_parser.parse(of_panel(target)))


def test_the_dashboard_as_a_whole():
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"] == [
        "At a glance", "Traffic", "Latency", "Durability", "Replication", "Memory", "Security",
    ]  # fmt: skip
    variables = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "job", "instance"]
    assert variables["datasource"]["type"] == "datasource" and variables["datasource"]["query"] == "prometheus"
    for name in ("job", "instance"):
        query, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variables[name]["definition"]).groups()
        assert label == name and faults_of(query.replace("$job", "x")) == []


def test_no_two_panels_lie_on_each_other():
    taken = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24
        taken |= cells


@pytest.mark.parametrize(
    "expression, fault",
    [
        ("vaylix_nothing == 1", "there is no vaylix_nothing"),
        ("vaylix_fsync_duration_seconds > 1", "there is no vaylix_fsync_duration_seconds"),
        ('vaylix_ready{node="a"}', "vaylix_ready has no label node"),
        ("vaylix_keyspace_hits_total > 1", "vaylix_keyspace_hits_total only rises: take its rate"),
        ("rate(vaylix_ready[5m])", "vaylix_ready may fall: it has no rate"),
        ("sum by (command) (vaylix_ready)", "nothing in it has the label command"),
        ("histogram_quantile(0.9, sum by (instance) (rate(vaylix_fsync_duration_seconds_bucket[5m])))", "le has been added up"),
    ],
)
def test_a_wrong_expression_is_found(expression, fault):
    assert fault in faults_of(expression)


def test_what_is_no_expression_is_found():
    with pytest.raises(ValueError):
        faults_of("sum by (")
