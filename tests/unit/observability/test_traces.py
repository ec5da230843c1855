"""The ring of traces."""

from types import SimpleNamespace

import pytest

from vaylix_resp.observability.traces import STAGES, Traces


def note(traces: Traces, microseconds: int) -> None:
    stages = tuple(microseconds if stage == "fsync" else 0 for stage in STAGES)
    traces.note((b"GET",), stages, unix_s=1, requests=1, addr="a", name=b"", outcome="ok")


@pytest.mark.parametrize("threshold, total, wanted", [(0, 0, True), (10, 9, False), (10, 10, True)])
def test_what_is_wanted(threshold: int, total: int, wanted: bool) -> None:
    assert Traces(SimpleNamespace(trace_slower_than=threshold, trace_max_len=3)).wants(total) is wanted


def test_newest_first_and_no_more_than_the_setting() -> None:
    settings = SimpleNamespace(trace_slower_than=0, trace_max_len=3)
    traces = Traces(settings)
    for number in range(5):
        note(traces, number)
    assert [(trace.id, trace.total_us) for trace in traces.newest(-1)] == [(4, 4), (3, 3), (2, 2)]
    assert [trace.id for trace in traces.newest(2)] == [4, 3]
    settings.trace_max_len = 1
    note(traces, 5)
    assert [trace.id for trace in traces.newest(-1)] == [5]
    traces.reset()
    note(traces, 6)
    assert [trace.id for trace in traces.newest(-1)] == [6] and len(traces) == 1
