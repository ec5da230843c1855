"""How far a source is. What is followed, and that it is equal in the end: tests/e2e/test_import_live.py."""

from types import SimpleNamespace

import pytest

from vaylix_resp.tools.moving import from_stream
from vaylix_resp.tools.moving.channel import Denied
from vaylix_resp.tools.moving.from_stream import Follower
from vaylix_resp.tools.moving.patience import Patience
from vaylix_resp.tools.moving.spool import Renewed


@pytest.fixture
def follower(monkeypatch):
    monkeypatch.setattr(from_stream, "Patience", lambda *words: Patience(*words, sleep=lambda seconds: None))
    spool, options = SimpleNamespace(replid="ours"), SimpleNamespace(retry_for=5)
    made = Follower(SimpleNamespace(where="there"), None, spool, options, cut_over=None, now_ms=None, said=None)
    made.steps = 0
    monkeypatch.setattr(made, "_step", lambda wait_s: step(made))
    return made


def step(follower):
    """The receiver finds out with the third."""
    follower.steps += 1
    if follower.steps == 3:
        if follower.renewed:
            raise Renewed
        follower._spool.replid = "promoted"


def said(**fields):
    return SimpleNamespace(info=lambda section: fields)


@pytest.mark.parametrize("fields", [
    {"master_replid": "ours"},
    {},  # it is older than these names
])  # fmt: skip
def test_an_offset_of_our_history(follower, fields):
    assert follower._offset_of(said(master_repl_offset="7", **fields)) == 7 and follower.steps == 0


def test_an_offset_of_another_history_says_nothing(follower):
    """A source that was started again counts anew: its offset would be taken for one that has been reached long ago."""
    control = said(master_repl_offset="7", master_replid="promoted")
    follower.renewed = False
    assert follower._offset_of(control) == 7 and follower.steps == 3
    follower._spool.replid, follower.steps, follower.renewed = "ours", 0, True
    with pytest.raises(Renewed):
        follower._offset_of(control)


def test_a_source_that_says_no_offset(follower):
    with pytest.raises(Denied, match="there: INFO replication says no master_repl_offset"):
        follower._offset_of(said(role="master"))
