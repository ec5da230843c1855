"""`vaylix tls example-certs`: what it makes works, and nothing is overwritten."""

import json
import ssl
import stat

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from tests.unit.security import pki
from tests.unit.security.test_tls import handshake
from vaylix_resp.cli import main
from vaylix_resp.clock import SystemClock
from vaylix_resp.errors import EX_OK, EX_USAGE
from vaylix_resp.peers.tls import ClusterTls, stands_for
from vaylix_resp.security.certificates import peer_of
from vaylix_resp.security.tls import Options, load
from vaylix_resp.tools import tls as tool

FILES = {"ca.crt", "server.crt", "server.key", "client.crt", "client.key"}


@pytest.fixture
def run(capsys):
    """`vaylix tls example-certs ...`: its exit code, standard output and standard error."""

    def runner(*words):
        code = main(["tls", "example-certs", *map(str, words)])
        out, err = capsys.readouterr()
        return code, out, err

    return runner


def test_what_it_makes_works(run, tmp_path):
    place = tmp_path / "new" / "tls"
    code, out, err = run("--dir", place, "--user", "alice", "--host", "192.0.2.7", "--host", "cache.example.org")
    assert (code, err) == (EX_OK, "") and "redis-cli --tls" in out and "for trying only" in out
    assert {path.name for path in place.iterdir()} == FILES
    modes = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()}
    assert modes[".key"] == 0o600
    options = Options(str(place / "server.crt"), str(place / "server.key"), ca_file=str(place / "ca.crt"))
    material = load(options, pki.NOW_S)
    assert material.warnings == ()
    client = ssl.create_default_context(cafile=place / "ca.crt")
    client.load_cert_chain(place / "client.crt", place / "client.key")
    for name in ("localhost", "127.0.0.1", "::1", "192.0.2.7", "cache.example.org"):
        ours, _ = handshake(material.context, client, name=name)
        der = ours.getpeercert(binary_form=True)
        assert peer_of(der, "CN").names == (b"alice",)
        assert peer_of(der, "URI").names == (b"urn:vaylix:user:alice",)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(material.context, client, name="elsewhere.example.org")


def test_nodes_have_a_ca_of_their_own_and_a_certificate_each(run, tmp_path):
    nodes = ("--node", "node-1@10.0.0.1,n1.example.org", "--node", "node-2")
    code, out, _ = run("--dir", tmp_path, *nodes)
    assert code == EX_OK and out.count("--tls-cluster yes") == 2 and "--node-id node-2" in out
    made = {f"{name}.{kind}" for name in ("node-1", "node-2") for kind in ("crt", "key")} | {"nodes-ca.crt"}
    assert {path.name for path in tmp_path.iterdir()} == FILES | made
    assert all(stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600 for name in made if name.endswith(".key"))
    pairs = {
        name: ClusterTls(
            Options(
                str(tmp_path / f"{name}.crt"), str(tmp_path / f"{name}.key"), ca_file=str(tmp_path / "nodes-ca.crt"),
                protocols=("TLSv1.3",),
            ),
            SystemClock(),
        ).pair
        for name in ("node-1", "node-2")
    }  # fmt: skip
    ours, theirs = handshake(pairs["node-1"].accept, pairs["node-2"].dial, name="any")
    dialer, listener = ours.getpeercert(binary_form=True), theirs.getpeercert(binary_form=True)
    assert stands_for(dialer, "node-2", "") and not stands_for(dialer, "node-1", "10.0.0.1")
    for host in ("10.0.0.1", "n1.example.org"):
        assert stands_for(listener, "node-1", "") and stands_for(listener, "whoever", host)
    client = ssl.create_default_context(cafile=tmp_path / "nodes-ca.crt")
    client.load_cert_chain(tmp_path / "client.crt", tmp_path / "client.key")
    with pytest.raises(ssl.SSLError):
        handshake(pairs["node-1"].accept, client, name="n1.example.org")  # clients are no nodes


def test_the_key_of_the_nodes_ca_is_kept_on_request_only(run, tmp_path):
    code, out, _ = run("--dir", tmp_path, "--node", "node-1", "--keep-ca-key", "--json")
    assert code == EX_OK and {"ca.key", "nodes-ca.key"} <= set(json.loads(out)["files"])
    assert stat.S_IMODE((tmp_path / "nodes-ca.key").stat().st_mode) == 0o600
    for name in ("ca", "nodes-ca"):
        ca = x509.load_pem_x509_certificate((tmp_path / f"{name}.crt").read_bytes())
        assert ca.extensions.get_extension_for_oid(ExtensionOID.BASIC_CONSTRAINTS).value.path_length == 0


def test_the_ca_signs_nothing_else(run, tmp_path):
    run("--dir", tmp_path)
    ca = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    constraints = ca.extensions.get_extension_for_oid(ExtensionOID.BASIC_CONSTRAINTS).value
    assert (constraints.ca, constraints.path_length) == (True, 0)
    code, _, _ = run("--dir", tmp_path / "kept", "--keep-ca-key")
    assert code == EX_OK and stat.S_IMODE((tmp_path / "kept" / "ca.key").stat().st_mode) == 0o600


def test_nothing_is_overwritten(run, tmp_path):
    (tmp_path / "client.key").write_text("mine")
    code, out, err = run("--dir", tmp_path)
    assert (code, out) == (EX_USAGE, "") and "client.key: exists already" in err
    assert [path.name for path in tmp_path.iterdir()] == ["client.key"] and (
        tmp_path / "client.key"
    ).read_text() == "mine"


def test_json(run, tmp_path):
    code, out, _ = run("--dir", tmp_path, "--days", "3", "--json")
    result = json.loads(out)
    assert code == EX_OK and set(result["files"]) == FILES and result["days"] == 3


@pytest.mark.parametrize(
    "words, text",
    [
        (("--days", "0"), "--days 0: give 1 to"),
        (("--days", "3651"), "--days 3651: give 1 to"),
        (("--user", ""), "--user: give 1 to"),
        (("--user", "a b"), "--user: give 1 to"),
        (("--user", "x" * 65), "--user: give 1 to"),
        (("--user", "\x07"), "--user: give 1 to"),
        (("--host", "müller"), "--host müller: neither an address nor a name"),
        (("--node", "node 1"), "--node node 1: give NAME or NAME@HOST"),
        (("--node", "@10.0.0.1"), "--node @10.0.0.1: give NAME"),
        (("--node", "Server"), "--node Server: give NAME"),  # its files would be those of the server
        (("--node", "n1@a", "--node", "N1@b"), "--node N1@b: N1 is given twice"),
        (("--node", "n1@müller"), "neither an address nor a name"),
        (tuple(word for number in range(16) for word in ("--node", f"n{number}")), "--node: a cluster has at most 15 nodes"),
    ],
)
def test_what_cannot_be_made(run, tmp_path, words, text):
    code, out, err = run("--dir", tmp_path / "new", *words)
    assert (code, out) == (EX_USAGE, "") and text in err
    assert not (tmp_path / "new").exists()


def test_days(run, tmp_path):
    files = tool.make(pki.NOW, 5, ["localhost"], "u")
    certificate = x509.load_pem_x509_certificate(files["server.crt"])
    assert (certificate.not_valid_after_utc - pki.NOW).days == 5
