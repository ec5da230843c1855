"""`user-limit`: words to rows and back, and what is refused."""

import pytest

from vaylix_resp.config_rates import ROWS_MAX, Rates, Row, UserLimits
from vaylix_resp.config_values import BadValue

KIND = UserLimits()


@pytest.mark.parametrize(
    "text, rows",
    [
        ("alice requests 100", [Row("alice", Rates(requests=100))]),
        ("alice requests 100 burst 200 bytes 1mb connections 10", [Row("alice", Rates(100, 200, 1 << 20, 10))]),
        ("role:batch BYTES 1k * connections 5", [Row("role:batch", Rates(bytes=1000)), Row("*", Rates(connections=5))]),
        ("a bytes 1 a bytes 2", [Row("a", Rates(bytes=2))]),
    ],
)
def test_rows_are_read_and_written(text, rows):
    parsed = KIND.parse(text.split(), (), False)
    assert parsed == tuple(rows)
    again = ()
    for number, line in enumerate(KIND.lines(parsed)):
        again = KIND.parse(line, again, number > 0)
    assert again == parsed == KIND.parse(KIND.render(parsed).split(), (), False)


def test_lines_of_one_source_add_up_and_an_empty_one_clears():
    base = KIND.parse(["a", "bytes", "1"], (), False)
    assert [row.subject for row in KIND.parse(["b", "bytes", "1"], base, True)] == ["a", "b"]
    assert [row.subject for row in KIND.parse(["b", "bytes", "1"], base, False)] == ["b"]
    assert KIND.parse([""], base, True) == () and KIND.lines(()) == [[""]]


@pytest.mark.parametrize(
    "text, problem",
    [
        ("alice", "each subject needs"),
        ("alice burst 5", "each subject needs"),
        ("alice bytes 5 burst 5", "burst needs requests"),
        ("alice requests", "'requests' needs one value"),
        ("alice requests 1 requests 2", "'requests' needs one value"),
        ("alice requests 0", "between 1 and"),
        ("alice requests x", "integer"),
        ("alice bytes x", "memory value"),
        ("a\x07b bytes 1", "a subject is"),
        (" ".join(f"u{number} bytes 1" for number in range(ROWS_MAX + 1)), "at most 1024 subjects"),
    ],
)
def test_what_is_no_row_is_refused(text, problem):
    with pytest.raises(BadValue, match=problem):
        KIND.parse(text.split(" "), (), False)


@pytest.mark.parametrize("one, other, both", [
    (Rates(10, 20, 1000, 5), Rates(100, 0, 0, 2), Rates(100, 100, 0, 5)), (Rates(), Rates(1, 1, 1, 1), Rates(burst=1)),
])  # fmt: skip
def test_of_two_roles_the_larger_counts(one, other, both):
    assert one | other == other | one == both
