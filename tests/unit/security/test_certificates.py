"""Which users a certificate may stand for, and what makes it stand for nobody."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.unit.security import pki
from vaylix_resp.security.certificates import (
    NAME_CHARS_MAX,
    NAMES_MAX,
    BadIdentity,
    facts_of,
    names_of,
    peer_of,
    read_der,
    read_pem,
)

URN = "urn:vaylix:user:alice"


@pytest.mark.parametrize(
    "field, certificate, names",
    [
        ("off", {"common_names": ("alice",)}, []),
        ("CN", {"common_names": ("alice",)}, [b"alice"]),
        ("CN", {"common_names": ("Zoë Ж",)}, ["Zoë Ж".encode()]),
        ("CN", {"common_names": ()}, []),
        ("CN", {"common_names": ("alice",), "uris": ("bad\0uri",)}, [b"alice"]),  # a field nobody asked for
        ("URI", {"uris": (URN,)}, [URN.encode()]),
        ("URI", {"uris": (URN, "spiffe://a/b")}, [URN.encode(), b"spiffe://a/b"]),
        ("URI", {"dns": ("alice",)}, []),
        ("URI", {}, []),
        ("DNS", {"dns": ("alice.example.org", "b"), "uris": (URN,)}, [b"alice.example.org", b"b"]),
        ("DNS", {}, []),
        ("DNS", {"common_names": ("alice",)}, []),  # the CN is no host name here
    ],
)
def test_names(field, certificate, names):
    assert list(names_of(pki.odd(**certificate), field)) == names


@pytest.mark.parametrize(
    "field, certificate, why",
    [
        ("CN", {"common_names": ("admin\0.example.org",)}, "control character"),
        ("CN", {"common_names": ("\0",)}, "control character"),
        ("CN", {"common_names": ("admin\n",)}, "control character"),
        ("CN", {"common_names": ("ad\x1b[1mmin",)}, "control character"),
        ("CN", {"common_names": ("admin\x7f",)}, "control character"),
        ("CN", {"common_names": ("admin\u202e",)}, "control character"),  # turns the reading direction
        ("CN", {"common_names": ("admin\u2028",)}, "control character"),
        ("CN", {"common_names": ("x" * (NAME_CHARS_MAX + 1),)}, "too long"),
        ("CN", {"common_names": ("alice", "admin")}, "more than one common name"),
        ("CN", {"common_names": ("alice", "alice")}, "more than one common name"),
        ("URI", {"uris": (URN, "urn:a\0b")}, "control character"),  # one bad name spoils the others
        ("URI", {"uris": ("",)}, "empty"),
        ("URI", {"uris": tuple(f"urn:{n}" for n in range(NAMES_MAX + 1))}, f"more than {NAMES_MAX} names"),
        ("DNS", {"dns": ("admin\0.example.org",)}, "control character"),
    ],
)
@pytest.mark.filterwarnings("ignore:Attribute's length")
def test_a_certificate_that_stands_for_nobody(field, certificate, why):
    made = pki.odd(**certificate)
    with pytest.raises(BadIdentity, match=why):
        names_of(made, field)
    peer = peer_of(made.public_bytes(serialization.Encoding.DER), field)
    assert peer.names == () and why in peer.refusal and len(peer.sha256) == 64
    assert all(c.isprintable() for c in peer.subject + peer.refusal)


def test_a_peer():
    pem, _ = pki.issued("alice", "client", uris=(URN,))
    peer = peer_of(pki.der(pem), "URI")
    assert (peer.names, peer.refusal, peer.subject) == ((URN.encode(),), "", "CN=alice")
    assert peer.not_after_s == pki.NOW_S + 100 * 86_400
    assert peer.serial == f"{x509.load_pem_x509_certificate(pem).serial_number:X}"


def test_what_is_no_certificate():
    peer = peer_of(b"\x30\x03\x02\x01\x01", "CN")
    assert peer.names == () and peer.refusal == "it cannot be parsed"
    with pytest.raises(ValueError):
        read_pem(b"nothing")
    with pytest.raises(ValueError):
        read_pem(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def test_facts():
    leaf, ca = pki.issued()[0], pki.ca_pem()
    first, second = read_pem(leaf + ca)
    assert (first.subject, second.subject) == ("CN=localhost", "CN=test CA")
    assert first.not_after_s - first.not_before_s == 100 * 86_400 + 3600
    assert [one.subject for one in read_der([pki.der(leaf), b"\x30\x00", pki.der(ca)])] == [
        "CN=localhost",
        "CN=test CA",
    ]


@pytest.mark.parametrize(
    "purposes, serves",
    [
        ((), True),
        ((ExtendedKeyUsageOID.SERVER_AUTH,), True),
        ((ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE), True),
        ((ExtendedKeyUsageOID.CLIENT_AUTH,), False),
    ],
)
def test_purposes(purposes, serves):
    assert facts_of(pki.odd(purposes=purposes)).serves is serves
