"""Mutual TLS between nodes: whose certificate it is, and what happens when it is not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.unit.peers.world import KEY, Node, Said, dialed, nodes, on_both_loops
from tests.unit.security import pki
from vaylix_resp.clock import SystemClock
from vaylix_resp.config import load
from vaylix_resp.peers.hello import Purpose
from vaylix_resp.peers.ports import Trust
from vaylix_resp.peers.tls import ClusterTls, binding, names_in, options_of, stands_for
from vaylix_resp.raft.messages import Heartbeat
from vaylix_resp.security.tls import Options, TlsError
from vaylix_resp.tools.tls import names_of_hosts, pem_of_key

BOTH = (pki.SERVER, pki.CLIENT)


def issued(name, hosts=(), *, ca="nodes' CA", purposes=BOTH, days=10):
    """A node's certificate and key, PEM."""
    signer, key = pki.authority(ca), ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(signer.name).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(pki.NOW - timedelta(days=20)).not_valid_after(pki.NOW + timedelta(days=days))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
    )  # fmt: skip
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(purposes)), critical=False)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(names_of_hosts(hosts)), critical=False)
    return builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.PEM), pem_of_key(key)


def options(path, name, pair, ca="nodes' CA"):
    cert, key = pki.put(path, name, pair)
    return Options(cert, key, ca_file=pki.put_file(path / f"{name}.ca", pki.ca_pem(ca)), protocols=("TLSv1.3",))


def tls(path, name, pair=None, **more):
    return ClusterTls(options(path, name, pair or issued(name), **more), SystemClock())


DER = pki.der(issued("node-1", ("node-1.example.org", "10.0.0.1"))[0])


@pytest.mark.parametrize(
    "name, host, fine",
    [
        ("node-1", "", True),
        ("NODE-1", "", True),
        ("node-2", "", False),
        ("node-2", "node-1.example.org", True),
        ("node-2", "Node-1.Example.org", True),
        ("node-2", "10.0.0.1", True),
        ("node-2", "10.0.0.2", False),
        ("", "", False),
        ("example.org", "", False),
    ],
)
def test_a_certificate_stands_for_the_node_that_it_names(name, host, fine):
    assert stands_for(DER, name, host) is fine


def test_of_several_common_names_none_counts_and_what_cannot_be_read_names_nobody():
    two = pki.odd(("node-1", "node-2")).public_bytes(Encoding.DER)
    assert names_in(two) == frozenset()
    assert names_in(pki.odd(("node-1\0.x",)).public_bytes(Encoding.DER)) == frozenset()
    assert names_in(b"no certificate") == frozenset()
    assert not stands_for(b"", "node-1", "")


def test_the_binding_tells_who_dials():
    assert binding(b"a", b"b") != binding(b"b", b"a") and len(binding(b"a", b"b")) == 64


@pytest.mark.parametrize(
    "pair, fault",
    [
        ({"purposes": (pki.SERVER,)}, "lacks clientAuth"),
        ({"purposes": (pki.CLIENT,)}, "lacks serverAuth"),
        ({"days": -1}, "expired"),
    ],
)
def test_a_certificate_that_others_would_refuse_stops_the_start(tmp_path, pair, fault):
    with pytest.raises(TlsError, match=fault):
        tls(tmp_path, "node-1", issued("node-1", **pair))


def test_a_certificate_without_purposes_is_for_all(tmp_path):
    assert tls(tmp_path, "node-1", issued("node-1", purposes=())).pair.certificate


def test_a_reload_that_fails_changes_nothing(tmp_path):
    one = tls(tmp_path, "node-1")
    before = one.pair
    assert not one.changed
    pki.put(tmp_path, "node-1", issued("node-1", purposes=(pki.SERVER,)))
    assert one.changed
    with pytest.raises(TlsError):
        one.reload()
    assert one.pair is before
    pki.put(tmp_path, "node-1", issued("node-1"))
    one.reload()
    assert one.pair.certificate != before.certificate and not one.changed


@pytest.mark.parametrize(
    "words, files",
    [
        ("--tls-cert-file s.crt --tls-key-file s.key --tls-ca-cert-file s.ca", ("s.crt", "s.key", "s.ca")),
        ("--tls-cert-file s.crt --tls-key-file s.key --tls-ca-cert-file s.ca --tls-cluster-cert-file n.crt", ("n.crt", "", "s.ca")),
        ("--tls-cluster-cert-file n.crt --tls-cluster-key-file n.key --tls-cluster-ca-cert-file n.ca", ("n.crt", "n.key", "n.ca")),
    ],
)  # fmt: skip
def test_what_the_cluster_has_not_of_its_own_is_the_servers(words, files):
    found = options_of(load(options=["--tls-cluster", "yes", *words.split()]))
    assert (found.cert_file, found.key_file, found.ca_file) == files
    assert found.protocols == ("TLSv1.3",) and found.auth_clients == "yes"


@pytest.mark.parametrize("key", [KEY, b""])
def test_nodes_talk_through_tls(tmp_path, key):
    @on_both_loops
    async def scene():
        pair = [Node(n, trust=Trust(key, tls(tmp_path, f"node-{n}"))) for n in (1, 2)]
        async with nodes(*pair) as (one, two):
            for number in range(100):
                assert one.peers.send(2, Heartbeat(1, 2, 1, 0, number))
            await two.until(lambda: len(two.of(1)) == 100)
            assert [message.round for message in two.of(1)] == list(range(100))
            assert one.peers.reload_tls("a test")

    scene()


@pytest.mark.parametrize(
    "two, words, closed",
    [
        (lambda path: tls(path, "node-2", issued("node-2", ca="another CA")), ("its certificate was refused", "does not trust the CA"), "TLS"),
        (lambda path: tls(path, "node-3"), ("does not bear that name",), "does not bear that name"),
        (lambda path: None, ("its log says why",), "tls-cluster is not set here"),
        (lambda path: None, (), "it does not speak TLS; is tls-cluster set there?"),
    ],
)  # fmt: skip
def test_a_certificate_of_another_ca_or_node_is_refused_before_any_message(tmp_path, two, words, closed):
    patch = pytest.MonkeyPatch()
    said = Said(patch)

    @on_both_loops
    async def scene():
        async with nodes(
            Node(1, trust=Trust(KEY, tls(tmp_path, "node-1"))), Node(2, trust=Trust(KEY, two(tmp_path))), meet=False
        ) as (one, other):
            for node in (one, other):
                node.peers.set_members([one.member, other.member])
            for word in words:
                await one.until(lambda word=word: said.about("no connection to a node", word))
            await one.until(lambda: said.about("raft port was closed", closed))
            assert one.connected == one.messages == other.messages == []
        said.lines.clear()

    try:
        scene()
    finally:
        patch.undo()


def test_somebody_between_two_nodes_with_certificates_of_the_same_ca_is_noticed(tmp_path):
    """The secret is right on both ends, but not the certificates: the proofs cover both."""
    patch = pytest.MonkeyPatch()
    said = Said(patch)

    @on_both_loops
    async def scene():
        one_tls, two_tls = tls(tmp_path, "node-1"), tls(tmp_path, "node-2")
        one = Node(1, trust=Trust(KEY, one_tls))
        two = Node(2, trust=Trust(KEY, two_tls))
        # As if the listener saw another certificate than the dialer has shown.
        engine = two.peers.engine

        def meddled(channel):
            found = engine(channel)
            channel.own_certificate = b"of the one in between"
            return found

        patch.setattr(two.peers, "engine", meddled)
        async with nodes(one, two, meet=False):
            one.peers.set_members([one.member, two.member])
            await one.until(lambda: said.about("no connection to a node", "stands between"))
            assert one.connected == []
        said.lines.clear()

    try:
        scene()
    finally:
        patch.undo()


def test_an_expired_certificate_of_ours_dials_nobody(tmp_path):
    patch = pytest.MonkeyPatch()
    said = Said(patch)

    @on_both_loops
    async def scene():
        mine = tls(tmp_path, "node-1")
        one, two = Node(1, trust=Trust(KEY, mine)), Node(2, trust=Trust(KEY, tls(tmp_path, "node-2")))
        with pytest.MonkeyPatch.context() as later:
            async with nodes(one, two):
                later.setattr(ClusterTls, "expired", property(lambda self: self is mine))
                one.peers._parties[2].channel(Purpose.TALK).end("cut")
                await one.until(lambda: said.about("no connection to a node", "our own certificate has expired"))
                assert not dialed(one, 2)
        said.lines.clear()

    try:
        scene()
    finally:
        patch.undo()
