"""The ring of slow requests: what enters, what it looks like, what leaves."""

from types import SimpleNamespace

import pytest

from vaylix_resp.observability.slowlog import large_replies, large_requests, shorten, slow


def ring(slower_than=1000, length=3):
    return slow(SimpleNamespace(slowlog_log_slower_than=slower_than, slowlog_max_len=length))


def note(log, word, value=1_000_000):
    log.note([word], value, 1_700_000_000, "127.0.0.1:5", b"me")


@pytest.mark.parametrize(
    "threshold, value, kept",
    [(1000, 999, 0), (1000, 1000, 1), (0, 0, 1), (-1, 10_000_000, 0), (10_000, 20_000, 1)],
)
def test_only_what_reaches_the_threshold_is_kept(threshold, value, kept):
    log = ring(threshold)
    note(log, b"GET", value)
    assert len(log) == kept == log.wants(value)


def test_each_kind_goes_by_its_own_settings():
    settings = SimpleNamespace(
        slowlog_log_slower_than=1, slowlog_max_len=1, commandlog_request_larger_than=20,
        commandlog_large_request_max_len=2, commandlog_reply_larger_than=300, commandlog_large_reply_max_len=3,
    )  # fmt: skip
    for kind, threshold, length in ((slow, 1, 1), (large_requests, 20, 2), (large_replies, 300, 3)):
        log = kind(settings)
        for _ in range(5):
            note(log, b"GET", threshold - 1)
            note(log, b"GET", threshold)
        assert [entry.value for entry in log.newest(-1)] == [threshold] * length


def test_newest_first_and_never_more_than_asked_for():
    log = ring(length=3)
    for word in (b"a", b"b", b"c", b"d"):
        note(log, word)
    assert [entry.argv for entry in log.newest(-1)] == [(b"d",), (b"c",), (b"b",)]
    assert [entry.id for entry in log.newest(2)] == [3, 2]
    assert log.newest(0) == []


def test_identifiers_go_on_after_a_reset():
    log = ring()
    note(log, b"a")
    log.reset()
    note(log, b"b")
    assert [entry.id for entry in log.newest(-1)] == [1]


def test_an_entry_tells_who_what_when_and_how_long():
    log = ring()
    note(log, b"GET", 12_500)
    (entry,) = log.newest(1)
    assert (entry.unix_s, entry.value, entry.argv, entry.addr, entry.name) == (
        1_700_000_000, 12_500, (b"GET",), "127.0.0.1:5", b"me",
    )  # fmt: skip


@pytest.mark.parametrize(
    "argv, shown",
    [
        ([b"x" * 128], (b"x" * 128,)),
        ([b"x" * 129], (b"x" * 128 + b"... (1 more bytes)",)),
        ([b"%d" % n for n in range(32)], tuple(b"%d" % n for n in range(32))),
        ([b"%d" % n for n in range(51)], (*(b"%d" % n for n in range(31)), b"... (20 more arguments)")),
    ],
)
def test_long_requests_are_cut_where_redis_cuts_them(argv, shown):
    assert shorten(argv) == shown


def test_a_shorter_ring_takes_effect_with_the_next_entry():
    settings = SimpleNamespace(slowlog_log_slower_than=0, slowlog_max_len=5)
    log = slow(settings)
    for _ in range(5):
        note(log, b"a")
    settings.slowlog_max_len = 2
    note(log, b"b")
    assert len(log) == 2
