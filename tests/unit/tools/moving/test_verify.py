"""When two sides are the same, and how a difference is told; where a server is."""

import argparse

import pytest

from vaylix_resp.tools.moving.channel import BadAddress, address_of
from vaylix_resp.tools.moving.verify import ABSENT, Held, chosen, how, portions, same

NO_TLS = argparse.Namespace(cacert=None, cert=None, key=None, sni=None, insecure=False)


@pytest.mark.parametrize(
    "source, target, tolerance_ms, equal, told",
    [
        (Held(b"a"), Held(b"a"), 0, True, ""),
        (Held(b""), Held(b""), 0, True, ""),
        (Held(b""), ABSENT, 0, False, "is not at the target"),
        (ABSENT, Held(b""), 0, False, "is not at the source"),
        (Held(None, None, "no string"), Held(b"a"), 0, False, "is no string at the source"),
        (Held(None, None, "no string"), ABSENT, 0, True, ""),
        (Held(b"a"), Held(b"bc"), 0, False, "its value differs (1 and 2 bytes)"),
        (Held(b"a", 5), Held(b"a", 5), 0, True, ""),
        (Held(b"a", 5), Held(b"a", 6), 0, False, "expires at 5 at the source, at 6 at the target"),
        (Held(b"a", 5), Held(b"a", 6), 1, True, ""),
        (Held(b"a", 5), Held(b"a"), 2000, False, "expires at 5 at the source, at None at the target"),
        (Held(b"a"), Held(b"a", 5), 2000, False, "expires at None at the source, at 5 at the target"),
    ],
)
def test_same(source, target, tolerance_ms, equal, told):
    assert same(source, target, tolerance_ms) == equal
    assert equal or how(source, target) == told


def test_names_are_asked_for_in_portions_that_fit():
    names = [b"x" * 30_000, b"y" * 30_000, b"z" * 30_000, b"w" * 200_000, b"v"]
    assert [list(map(len, portion)) for portion in portions(names)] == [[30_000, 30_000], [30_000], [200_000], [1]]
    assert list(portions([])) == []


def test_a_sample_is_the_same_every_time():
    names = [b"key:%d" % n for n in range(10_000)]
    assert chosen(names, False) == names
    assert chosen(names, True) == chosen(names, True) and 50 < len(chosen(names, True)) < 200


@pytest.mark.parametrize(
    "url, where, user, password, db",
    [
        ("redis://10.0.0.7", "10.0.0.7:6379", "", "", None),
        ("redis://10.0.0.7:7000/3", "10.0.0.7:7000/3", "", "", 3),
        ("redis://:p%40ss@host:1/", "host:1", "", "p@ss", None),
        ("redis://me:pw@[::1]:1", "[::1]:1", "me", "pw", None),
        ("redis://me@host", "host:6379", "me", "from outside", None),
    ],
)
def test_addresses(monkeypatch, url, where, user, password, db):
    monkeypatch.setenv("THE_PASSWORD", "from outside" if url.startswith("redis://me@") else "")
    found = address_of(url, NO_TLS, "THE_PASSWORD")
    assert (found.where, found.user, found.password, found.db) == (where, user, password, db)
    assert found.target.context is None


@pytest.mark.parametrize(
    "url", ["host:6379", "http://host", "redis://", "redis://host:x", "redis://host/db", "redis://u:secret@host/1/2", "redis://[::1"]
)
def test_what_is_no_address_is_refused_without_its_password(url):
    with pytest.raises(BadAddress, match="expected redis://") as caught:
        address_of(url, NO_TLS, "THE_PASSWORD")
    assert "secret" not in str(caught.value)
