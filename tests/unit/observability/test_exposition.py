"""The text of metrics: what a parser of Prometheus's own makes of it; names that are refused."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from vaylix_resp.observability.exposition import (
    COUNTER,
    GAUGE,
    HISTOGRAM,
    Distribution,
    Family,
    counts_of,
    flat,
    page,
    seconds_of,
)
from vaylix_resp.observability.histogram import counts, durations

PLAIN = Family("queue_bytes", GAUGE, "What waits.")
DENIED = Family("denied_total", COUNTER, "What was refused.", ("reason",), "reasons")
BUILD = Family("build_info", GAUGE, "What runs.", ("version", "python"), "one")
TIMES = Family("fsync_seconds", HISTOGRAM, "Time.")
GROUPED = Family("command_seconds", HISTOGRAM, "Time.", ("family",), "families")
TWO = Distribution((0.001, 0.002), (1, 3, 4), 0.25)


def parsed(*measured):
    """{sample name and labels: value} as Prometheus's client reads the page."""
    found = {}
    for family in text_string_to_metric_families(page(measured).decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


@pytest.mark.parametrize(
    "family, values, expected",
    [
        (PLAIN, 7, {"vaylix_queue_bytes": 7}),
        (PLAIN, 0.1, {"vaylix_queue_bytes": 0.1}),
        (PLAIN, True, {"vaylix_queue_bytes": 1}),
        (PLAIN, None, {}),
        (DENIED, {}, {}),
        (DENIED, {"key": 1, "auth": 2}, {"vaylix_denied_total{reason=key}": 1, "vaylix_denied_total{reason=auth}": 2}),
        (BUILD, {("1.0", "3.11"): 1}, {"vaylix_build_info{version=1.0,python=3.11}": 1}),
        (TIMES, TWO, {
            "vaylix_fsync_seconds_bucket{le=0.001}": 1, "vaylix_fsync_seconds_bucket{le=0.002}": 3,
            "vaylix_fsync_seconds_bucket{le=+Inf}": 4, "vaylix_fsync_seconds_sum": 0.25, "vaylix_fsync_seconds_count": 4,
        }),
        (GROUPED, {"string": Distribution((1e-06,), (1, 1), 1e-07)}, {
            "vaylix_command_seconds_bucket{family=string,le=1e-06}": 1,
            "vaylix_command_seconds_bucket{family=string,le=+Inf}": 1,
            "vaylix_command_seconds_sum{family=string}": 1e-07, "vaylix_command_seconds_count{family=string}": 1,
        }),
    ],
)  # fmt: skip
def test_samples(family, values, expected):
    assert parsed((family, values)) == expected
    assert [name.replace('"', "") for name in flat([(family, values)])] == list(expected)


@pytest.mark.parametrize("word", ["plain", 'quo"te', "back\\slash", "line\nfeed", "\\n", "ünïcode", "a,b={c}", ""])
def test_whatever_a_label_holds_comes_back(word):
    (family,) = text_string_to_metric_families(page([(DENIED, {word: 3})]).decode())
    assert [(sample.labels, sample.value) for sample in family.samples] == [({"reason": word}, 3)]


def test_surrogates_of_a_name_do_not_break_the_page():
    assert rb"\udcff" in page([(DENIED, {"node\udcff": 3})])


def test_the_page_says_what_each_family_is():
    family = Family("queue_bytes", GAUGE, "Back\\slash and\nline feed.")
    assert page([(family, 1), (TIMES, None)]) == (
        b"# HELP vaylix_queue_bytes Back\\\\slash and\\nline feed.\n# TYPE vaylix_queue_bytes gauge\n"
        b"vaylix_queue_bytes 1\n"
    )


def test_histograms_of_nanoseconds_are_in_seconds_and_those_of_counts_stay():
    times, sizes = durations(), counts()
    for _ in range(3):
        times.add(1_500_000)
    sizes.add(5)
    found, plain = seconds_of(times), counts_of(sizes)
    assert found.sum == pytest.approx(0.0045) and found.count == 3
    assert found.bounds[found.counts.index(3)] == pytest.approx(0.002097152)
    assert (plain.sum, plain.count) == (5, 1)
    assert dict(zip(plain.bounds, plain.counts, strict=False)) == {1 << n: int(n >= 3) for n in range(len(plain.bounds))}


@pytest.mark.parametrize(
    "family, series, unit",
    [
        (PLAIN, ("vaylix_queue_bytes",), "bytes"),
        (DENIED, ("vaylix_denied_total",), ""),
        (Family("cpu_seconds_total", COUNTER, "Time."), ("vaylix_cpu_seconds_total",), "seconds"),
        (TIMES, ("vaylix_fsync_seconds_bucket", "vaylix_fsync_seconds_sum", "vaylix_fsync_seconds_count"), "seconds"),
    ],
)
def test_what_follows_from_a_name(family, series, unit):
    assert (family.series, family.unit) == (series, unit)


@pytest.mark.parametrize(
    "name, kind, text, labels, bound, fault",
    [
        ("denied", COUNTER, "A.", (), "", "end in _total"),
        ("denied_total", GAUGE, "A.", (), "", "end in _total"),
        ("Denied_total", COUNTER, "A.", (), "", "lower case"),
        ("fsync_ms", GAUGE, "A.", (), "", "base units"),
        ("fsync_milliseconds", GAUGE, "A.", (), "", "base units"),
        ("seconds_of_fsync", GAUGE, "A.", (), "", "unit comes last"),
        ("bytes_sent_total", COUNTER, "A.", (), "", "unit comes last"),
        ("fsync", GAUGE, "A", (), "", "sentence"),
        ("fsync", GAUGE, "A.", ("x",), "", "bounds"),
    ],
)
def test_names_that_break_the_rules(name, kind, text, labels, bound, fault):
    with pytest.raises(AssertionError, match=fault):
        Family(name, kind, text, labels, bound)
