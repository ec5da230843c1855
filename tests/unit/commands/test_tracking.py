"""CLIENT TRACKING's grammar and rules, with Redis's texts; what is sent is tested with the table."""

import pytest

from tests.unit.fake_server import FakeServer
from vaylix_resp.resp.reply import OK

BCAST_SWITCH = (
    "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with "
    "a different mode."
)
OPT_SWITCH = BCAST_SWITCH.replace("BCAST mode on/off", "OPTIN/OPTOUT mode")
OVERLAP = "Prefixes for a single client must not overlap."

# What is on, what is asked for, the answer, and what is on then (None: as before).
RULES = [
    ("OFF", "ON", OK, "on"),
    ("OFF", "OFF", OK, "off"),
    ("OFF", "MAYBE", "ERR syntax error", None),
    ("OFF", "ON FOO", "ERR syntax error", None),
    ("OFF", "OFF FOO", "ERR syntax error", None),
    ("OFF", "ON PREFIX", "ERR syntax error", None),
    ("OFF", "ON REDIRECT", "ERR syntax error", None),
    ("OFF", "ON PREFIX a", "ERR PREFIX option requires BCAST mode to be enabled", None),
    ("OFF", "OFF PREFIX a", OK, "off"),
    ("OFF", "ON BCAST OPTIN", "ERR OPTIN and OPTOUT are not compatible with BCAST", None),
    ("OFF", "ON BCAST OPTOUT", "ERR OPTIN and OPTOUT are not compatible with BCAST", None),
    ("OFF", "ON OPTIN OPTOUT", "ERR You can't specify both OPTIN mode and OPTOUT mode", None),
    ("OFF", "ON REDIRECT x", "ERR value is not an integer or out of range", None),
    ("OFF", "ON REDIRECT 0", "ERR The client ID you want redirect to does not exist", None),
    ("OFF", "ON REDIRECT 77", "ERR The client ID you want redirect to does not exist", None),
    ("OFF", "ON REDIRECT 2 REDIRECT 2", "ERR A client can only redirect to a single other client", None),
    ("OFF", "ON REDIRECT 2 NOLOOP", OK, "on noloop"),
    ("ON", "ON BCAST", BCAST_SWITCH, None),
    ("ON", "ON BCAST OPTIN", BCAST_SWITCH, None),
    ("ON BCAST", "ON", BCAST_SWITCH, None),
    ("ON BCAST", "ON OPTIN OPTOUT", BCAST_SWITCH, None),
    ("ON OPTIN", "ON OPTOUT", OPT_SWITCH, None),
    ("ON OPTOUT", "ON OPTIN", OPT_SWITCH, None),
    ("ON OPTIN", "ON", OK, "on"),
    ("ON OPTIN NOLOOP", "ON OPTIN", OK, "on optin"),
    ("ON", "ON OPTOUT", OK, "on optout"),
    ("ON OPTIN", "OFF", OK, "off"),
    ("OFF", "ON bcast noloop", OK, "on bcast noloop"),
    ("OFF", "ON BCAST PREFIX a PREFIX ab",
     f"ERR Prefix 'a' overlaps with another provided prefix 'ab'. {OVERLAP}", None),
    ("OFF", "ON BCAST PREFIX x PREFIX ab PREFIX a",
     f"ERR Prefix 'ab' overlaps with another provided prefix 'a'. {OVERLAP}", None),
    ("ON BCAST PREFIX b", "ON BCAST PREFIX bb",
     f"ERR Prefix 'bb' overlaps with an existing prefix 'b'. {OVERLAP}", None),
    ("ON BCAST PREFIX b", "ON BCAST PREFIX b",
     f"ERR Prefix 'b' overlaps with an existing prefix 'b'. {OVERLAP}", None),
]  # fmt: skip


@pytest.mark.parametrize("before, asked, reply, after", RULES)
def test_rules(before, asked, reply, after):
    server = FakeServer()
    client, _target = server.connect(), server.connect()
    assert client.call("CLIENT", "TRACKING", *before.split()) is OK
    state = client.call("CLIENT", "TRACKINGINFO")
    assert client.call("CLIENT", "TRACKING", *asked.split()) == reply
    now = client.call("CLIENT", "TRACKINGINFO")
    if after is None:
        assert now == state
    else:
        assert list(now["flags"]) == after.split()
        assert server.tracking.active is (after != "off")


def test_prefixes_add_up_and_are_sorted():
    client = FakeServer().connect(3)
    client.call("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "b", "PREFIX", "a")
    client.call("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "c")
    assert client.call("CLIENT", "TRACKINGINFO")["prefixes"] == [b"a", b"b", b"c"]
    client.call("CLIENT", "TRACKING", "ON", "BCAST")
    assert client.call("CLIENT", "TRACKINGINFO")["prefixes"] == [b"", b"a", b"b", b"c"]


def test_too_many_prefixes():
    client = FakeServer().connect()
    words = [word for n in range(1025) for word in ("PREFIX", f"{n:05}")]
    assert client.call("CLIENT", "TRACKING", "ON", "BCAST", *words) == "ERR A client can track at most 1024 prefixes"
    assert client.tracking is None


def test_where_invalidations_go():
    server = FakeServer()
    client, target = server.connect(), server.connect()
    assert client.call("CLIENT", "GETREDIR") == -1
    client.call("CLIENT", "TRACKING", "ON")
    assert client.call("CLIENT", "GETREDIR") == 0
    client.call("CLIENT", "TRACKING", "ON", "REDIRECT", target.id)
    assert client.call("CLIENT", "GETREDIR") == target.id
    assert client.call("CLIENT", "TRACKINGINFO")["redirect"] == target.id
    client.call("CLIENT", "TRACKING", "OFF")
    assert client.call("CLIENT", "TRACKINGINFO") == {"flags": ["off"], "redirect": -1, "prefixes": []}


NOT_TRACKING = (
    "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled"
)
NOT_OPTIN = "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."
NOT_OPTOUT = "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."


@pytest.mark.parametrize("mode, word, reply, flags", [
    ("OFF", "YES", NOT_TRACKING, "off"),
    ("OFF", "foo", NOT_TRACKING, "off"),
    ("ON", "yes", NOT_OPTIN, "on"),
    ("ON", "no", NOT_OPTOUT, "on"),
    ("ON", "foo", "ERR syntax error", "on"),
    ("ON OPTIN", "yes", OK, "on optin caching-yes"),
    ("ON OPTIN", "NO", NOT_OPTOUT, "on optin"),
    ("ON OPTOUT", "no", OK, "on optout caching-no"),
    ("ON OPTOUT", "YES", NOT_OPTIN, "on optout"),
])  # fmt: skip
def test_caching(mode, word, reply, flags):
    client = FakeServer().connect()
    client.call("CLIENT", "TRACKING", *mode.split())
    assert client.call("CLIENT", "CACHING", word) == reply
    assert list(client.call("CLIENT", "TRACKINGINFO")["flags"]) == flags.split()
