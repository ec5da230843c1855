"""The last step: expiries that were shifted become what they are. What happens when the target goes away: test_side.py."""

import pytest

from tests.unit.tools.moving.fakes import FakeServer
from vaylix_resp.tools.moving import settle, side
from vaylix_resp.tools.moving.channel import Denied
from vaylix_resp.tools.moving.meaning import SHIFT_MS
from vaylix_resp.tools.moving.patience import Patience


@pytest.fixture
def server(monkeypatch):
    made = FakeServer({3: {b"a": (b"", SHIFT_MS + 5), b"b": (b"", -1), b"c": (b"", 7)}})
    monkeypatch.setattr(side, "Channel", made.channel)
    return made


def opened():
    return side.Side(None, Patience("there"), lambda: 0)


def test_only_what_is_shifted_is_moved_back(server):
    assert settle._portion(opened(), 3, [b"a", b"b", b"c", b"d"]) == 1
    assert [words for words in server.asked if words[0] == b"PEXPIREAT"] == [(b"PEXPIREAT", b"a", b"5", b"LT")]
    assert server.keys[3] == {b"a": (b"", 5), b"b": (b"", -1), b"c": (b"", 7)}


@pytest.mark.parametrize("before", [2, 3])  # replies: to PEXPIRETIME, to PEXPIREAT
def test_an_error_of_the_target_is_told_whichever_question_it_answers(server, before):
    server.refusals = [*[None] * before, "NOPERM no"]
    with pytest.raises(Denied, match="an expiry could not be set: NOPERM no"):
        settle._portion(opened(), 3, [b"a"])
