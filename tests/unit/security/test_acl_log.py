"""ACL LOG: what is grouped, what is kept."""

import pytest

from vaylix_resp.security.acl_log import GROUPING_MS, LOOK_BACK, MULTI, TOP_LEVEL, WORD_BYTES_MAX, AclLog


def note(log, at_ms=0, reason="key", what=b"k", user=b"u", context=TOP_LEVEL, limit=128, info=b"i"):
    log.note(reason, what, user, info, at_ms, context=context, limit=limit)


def test_the_same_again_counts_up_and_comes_first():
    log = AclLog()
    note(log, 1000)
    note(log, 2000, what=b"other")
    note(log, 3000, info=b"later client")
    first, second = log.newest(10)
    assert (first.object, first.count, first.id, first.created_ms, first.updated_ms, first.client_info) == (
        b"k", 2, 0, 1000, 3000, b"later client"
    )  # fmt: skip
    assert (second.object, second.count, second.id) == (b"other", 1, 1)


@pytest.mark.parametrize("difference", [
    {"reason": "command"}, {"what": b"x"}, {"user": b"v"}, {"context": MULTI}, {"at_ms": GROUPING_MS + 1},
])  # fmt: skip
def test_what_differs_is_another_entry(difference):
    log = AclLog()
    note(log)
    note(log, **difference)
    assert [entry.id for entry in log.newest(10)] == [1, 0]


def test_grouping_goes_on_from_the_last_time():
    log = AclLog()
    for at_ms in (0, GROUPING_MS, 2 * GROUPING_MS):
        note(log, at_ms)
    assert [(entry.count, entry.created_ms) for entry in log.newest(10)] == [(3, 0)]


def test_only_the_newest_are_compared_and_kept():
    log = AclLog()
    for number in range(LOOK_BACK + 1):
        note(log, what=b"%d" % number, limit=LOOK_BACK + 5)
    note(log, what=b"0", limit=LOOK_BACK + 5)
    assert len(log) == LOOK_BACK + 2
    note(log, what=b"last", limit=3)
    assert [entry.object for entry in log.newest(10)] == [b"last", b"0", b"%d" % LOOK_BACK]
    assert log.newest(-1) == []
    log.reset()
    note(log)
    assert [entry.id for entry in log.newest(1)] == [LOOK_BACK + 3]
    note(log, what=b"none", limit=0)
    assert len(log) == 0


def test_a_flood_of_long_names_stays_small():
    log = AclLog()
    note(log, what=b"x" * 10**6, user=b"y" * 10**6)
    (entry,) = log.newest(1)
    assert len(entry.object) == len(entry.username) == WORD_BYTES_MAX
