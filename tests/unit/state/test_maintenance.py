"""Maintenance mode as state: entries alone change it, a copy and a digest have it."""

from vaylix_resp.state.maintenance import Maintenance


def test_off_leaves_no_trace():
    mode = Maintenance()
    assert (mode.on, mode.dump(), mode.digest_input()) == (False, [], b"")
    mode.begin(5, b"disk")
    mode.end()
    assert (mode.on, mode.since_ms, mode.message, mode.dump(), mode.digest_input()) == (False, 0, b"", [], b"")


def test_on_again_is_a_new_message_only():
    mode = Maintenance()
    mode.begin(5, b"disk")
    mode.begin(9, b"")
    assert (mode.on, mode.since_ms, mode.message) == (True, 5, b"")


def test_a_copy_is_equal():
    mode, copy = Maintenance(), Maintenance()
    mode.begin(5, b"disk")
    copy.load(mode.dump())
    assert (copy.on, copy.since_ms, copy.message) == (True, 5, b"disk")
    assert copy.digest_input() == mode.digest_input()


def test_the_digest_knows_every_part():
    found = set()
    for now_ms, message in ((5, b""), (6, b""), (5, b"a"), (6, b"a")):
        mode = Maintenance()
        mode.begin(now_ms, message)
        found.add(mode.digest_input())
    assert len(found) == 4
