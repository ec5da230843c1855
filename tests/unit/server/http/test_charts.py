"""Charts: where points come to lie, and where the line breaks."""

import re

import pytest

from vaylix_resp.server.http import charts
from vaylix_resp.server.http.charts import COUNT, PER_SECOND, SIZE, WIDTH, Line, chart, unbroken


@pytest.mark.parametrize("ago, x", [(900, 0), (450, WIDTH / 2), (0.25, WIDTH)])
def test_the_right_edge_is_now(ago, x):
    assert charts.x_of(ago) == x


@pytest.mark.parametrize(
    "unit, value, end",
    [(COUNT, 0, 1), (COUNT, 1, 1), (COUNT, 1.5, 2), (COUNT, 3, 5), (COUNT, 5, 5), (COUNT, 51, 100), (COUNT, 1100, 2000),
     (SIZE, 3000, 4096), (SIZE, 1 << 20, 1 << 20), (SIZE, 300 << 20, 512 << 20)],
)  # fmt: skip
def test_scales_end_at_round_figures(unit, value, end):
    assert unit.ceiling(value) == end


def test_a_line_breaks_where_nothing_was_measured():
    series = [(100, 1.0), (95, 2.0), (90, None), (85, 3.0), (40, 4.0), (35, None)]
    assert unbroken(series) == [[(100, 1.0), (95, 2.0), (85, 3.0)], [(40, 4.0)]]
    assert unbroken([(2000, 1.0)]) == []


def test_a_chart():
    drawn = chart("Requests", "all", PER_SECOND, Line("", [(900, 50.0), (895, 100.0)]), Line("<b>", [(900, 25.0)]))
    assert 'd="M0 500L5 0L5 0"' in drawn  # half the scale, then its top
    assert 'd="M0 1000L0 500L5 0L5 1000Z"' in drawn  # and what is below
    assert 'd="M0 750L0 750"' in drawn and drawn.count('class="line line2"') == 1
    assert 'data-points="3"' in drawn and "top 100/s" in drawn and "<b>100/s</b>" in drawn
    assert "&lt;b&gt;" in drawn


def test_an_empty_chart_has_a_frame_and_no_line():
    drawn = chart("Clients", "connected", COUNT, Line("", []))
    assert 'data-points="0"' in drawn and "–" in drawn and not re.search(r'class="(line|area)', drawn)
