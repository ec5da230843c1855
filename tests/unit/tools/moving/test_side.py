"""A server that is asked over connections that are lost, and that refuses for now."""

import pytest

from tests.unit.tools.moving.fakes import FakeServer
from vaylix_resp.tools.moving import settle as settling
from vaylix_resp.tools.moving import side as side_module
from vaylix_resp.tools.moving.channel import Denied
from vaylix_resp.tools.moving.meaning import SHIFT_MS
from vaylix_resp.tools.moving.patience import GivenUp, Patience
from vaylix_resp.tools.moving.side import Held, Side
from vaylix_resp.tools.moving.verify import Verdict, differences

NAMES = [b"k%d" % at for at in range(6)]
CONNECT = 2  # replies before the first question: INFO, PEXPIRETIME
NOW_MS = 1000


@pytest.fixture
def server(monkeypatch):
    made = FakeServer({3: {name: (b"v" + name, SHIFT_MS + 5000 if at % 2 else -1) for at, name in enumerate(NAMES)}})
    monkeypatch.setattr(side_module, "Channel", made.channel)
    return made


def opened(naps=None, retry_s=300.0):
    return Side(None, Patience("there", retry_s, sleep=(naps if naps is not None else []).append), lambda: NOW_MS)


def test_what_was_read_is_not_read_again(server):
    """The connection is lost in front of each reply once."""
    server.lives = [CONNECT, *(CONNECT + at for at in range(2 * len(NAMES)))]
    held = list(opened().read(3, NAMES))
    assert held == [Held(b"v" + name, 5000 if at % 2 else None) for at, name in enumerate(NAMES)]
    values = [words[1] for words in server.asked if words[0] == b"GET"]
    assert values[0] == NAMES[0] and values[-1] == NAMES[-1] and values == sorted(values)


@pytest.mark.parametrize("told, helps", [("CLUSTERDOWN no leader", True), ("LOADING", True), ("NOPERM no", False)])
@pytest.mark.parametrize("place", range(4))  # INFO, PEXPIRETIME of the connection, TYPE, TYPE
def test_only_what_is_refused_for_now_is_asked_again(server, told, helps, place):
    server.refusals = [*[None] * place, told]
    if not helps and place != 1:
        with pytest.raises(Denied, match=told):
            opened().types(3, NAMES[:2])
        return
    naps = []
    side = opened(naps)
    assert side.types(3, NAMES[:2]) == ["string", "string"]
    assert side.exact is helps and len(naps) == helps  # a user may not be allowed PEXPIRETIME


def test_there_is_an_end_to_patience(server):
    server.lives = [CONNECT, *[0] * 9]
    times = iter(range(100))
    side = Side(None, Patience("there", 5, sleep=lambda s: None, now=lambda: next(times)), lambda: NOW_MS)
    with pytest.raises(GivenUp, match="there: no answer that helps for 5 s: closed the connection"):
        side.types(3, NAMES)


def pages(side, **words):
    return [names for _, names in side.pages(3, **words)]


def test_a_cursor_is_gone_on_from_in_the_same_process_only(server):
    server.lives = [CONNECT + 1]
    assert pages(opened()) == [NAMES[:2], NAMES[2:4], NAMES[4:]]
    assert server.connections == 2

    server.lives, server.run_ids = [CONNECT + 1], ["a", "b"]
    down = NAMES[::-1]
    assert pages(opened(), anew=True) == [NAMES[:2], down[:2], down[2:4], down[4:]]

    server.lives, server.run_ids = [CONNECT + 1], ["a", "b"]
    with pytest.raises(Denied, match="was started again.*the same command goes on"):
        pages(opened())


def test_a_difference_of_which_one_hears_twice_counts_once(server, monkeypatch):
    """Another node takes over while the keys that only the target has are looked for."""
    server.keys = {3: {}}
    source = opened()
    there = FakeServer({3: dict.fromkeys(NAMES, (b"alone", -1))})
    there.lives, there.run_ids = [CONNECT + 1 + 4], ["a", "b"]
    monkeypatch.setattr(side_module, "Channel", there.channel)
    target = opened()
    looked = differences(source, target, [3], sample=False, others=True, verdict=Verdict(), said=lambda keys: None)
    assert sorted(found.name for found in looked) == NAMES and there.connections == 2


def test_settling_comes_through_whatever_is_lost(server):
    """A connection is lost in front of each reply once, and half of the time another node is reached."""
    server.lives = [at % 23 for at in range(1, 60)]
    server.run_ids = ["ab"[at // 3 % 2] for at in range(60)]
    with opened() as side:
        for _, names in side.pages(3, anew=True):
            settling._portion(side, 3, names)
    assert {end for _, end in server.keys[3].values()} == {-1, 5000}
    assert server.connections >= 9
