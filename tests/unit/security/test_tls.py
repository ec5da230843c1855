"""Contexts: what is refused and how it is said, what is kept, and that OpenSSL obeys."""

import dataclasses
import os
import ssl

import pytest
from cryptography.hazmat.primitives import serialization

from tests.unit.security import pki
from vaylix_resp.config import Settings
from vaylix_resp.errors import EX_CONFIG
from vaylix_resp.security import openssl, tls
from vaylix_resp.security.tls import DAY_S, Keeper, Options, TlsError, load, stamp_of

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
SUITES = ("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256")


class Clock:
    def __init__(self):
        self.s = pki.NOW_S

    def wall_ms(self):
        return self.s * 1000

    def wall_us(self):
        return self.s * 1_000_000

    def now(self):
        return float(self.s)


@pytest.fixture
def options(tmp_path):
    cert, key = pki.put(tmp_path, "server", pki.issued())
    ca = pki.put_file(tmp_path / "ca.crt", pki.ca_pem())
    return Options(cert_file=cert, key_file=key, ca_file=ca)


def test_options_are_those_of_the_directives():
    settings = Settings()
    assert Options.of(settings) == Options()
    settings.set_many([
        ("tls-cert-file", "c"), ("tls-key-file", "k"), ("tls-key-file-pass", "p"), ("tls-ca-cert-file", "a"),
        ("tls-ca-cert-dir", "d"), ("tls-auth-clients", "optional"), ("tls-protocols", "tlsv1.3 TLSv1.2"),
        ("tls-ciphers", "x"), ("tls-ciphersuites", "y"), ("tls-prefer-server-ciphers", "yes"),
        ("tls-session-cache-size", "7"), ("tls-session-cache-timeout", "8"),
    ])  # fmt: skip
    assert Options.of(settings) == Options(
        "c", "k", "p", "a", "d", "optional", ("TLSv1.3", "TLSv1.2"), "x", "y", True, sessions=7, session_s=8
    )
    settings.set_many([("tls-session-cache-size", "0")])
    assert Options.of(settings).sessions == tls.SESSIONS_MAX
    settings.set_many([("tls-session-caching", "no")])
    assert Options.of(settings).sessions == 0


def handshake(server, client, *, session=None, name="localhost"):
    """Both ends in memory: (server's object, client's object). Raises ssl.SSLError of whoever refuses first."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname=name, session=session)
    todo = [theirs, ours]
    for _ in range(20):
        for end in list(todo):
            try:
                end.do_handshake()
                todo.remove(end)
            except ssl.SSLWantReadError:
                continue
        if not todo:
            break
    assert not todo
    for end in (ours, theirs):  # tickets of TLS 1.3 come behind the handshake
        end.write(b"x")
    for end in (ours, theirs):
        assert end.read(10) == b"x"
    return ours, theirs


def test_a_context(options):
    material = load(options, pki.NOW_S)
    assert material.context.verify_mode == ssl.CERT_REQUIRED and material.warnings == ()
    assert material.context.minimum_version == TLS12
    assert material.context.options & ssl.OP_NO_RENEGOTIATION and material.context.options & ssl.OP_NO_COMPRESSION
    assert material.server.subject == "CN=localhost"
    assert [one.subject for one in material.authorities] == ["CN=test CA"]
    assert "passphrase" not in repr(dataclasses.replace(options, key_pass="passphrase"))


def write(path, content):
    path.write_bytes(content)
    path.chmod(0o600)
    return str(path)


def pipe(path):
    os.mkfifo(path)
    return str(path)


def encrypted(key_pem, passphrase):
    key = serialization.load_pem_private_key(key_pem, None)
    how = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


REFUSALS = {
    "no certificate": (lambda d: {"cert_file": ""}, "tls-cert-file is not set"),
    "no such certificate": (lambda d: {"cert_file": str(d / "gone")}, "gone: there is no such file"),
    "no such key": (lambda d: {"key_file": str(d / "gone")}, "gone: there is no such file"),
    "no such CA": (lambda d: {"ca_file": str(d / "gone")}, "gone: there is no such file"),
    "a pipe": (lambda d: {"cert_file": pipe(d / "pipe")}, "pipe: this is not a regular file"),
    "a device without an end": (lambda d: {"key_file": "/dev/zero"}, "/dev/zero: this is not a regular file"),
    "a directory": (lambda d: {"ca_file": str(d)}, "this is not a regular file"),
    "no such directory": (lambda d: {"ca_file": "", "ca_dir": str(d / "gone")}, "gone: there is no such file"),
    "no CA at all": (lambda d: {"ca_file": ""}, "tls-auth-clients is yes, and neither"),
    "no CA, optional": (lambda d: {"ca_file": "", "auth_clients": "optional"}, "tls-auth-clients is optional"),
    "not PEM": (lambda d: {"cert_file": write(d / "x", b"nothing")}, "x and .*no usable certificate and key"),
    "CA not PEM": (lambda d: {"ca_file": write(d / "x", b"nothing")}, "x: no CA certificate in it"),
    "another's key": (
        lambda d: {"key_file": write(d / "other.key", pki.issued("other")[1])},
        "other.key: this is not the key of the certificate in ",
    ),
    "key without passphrase": (
        lambda d: {"key_file": write(d / "sealed.key", encrypted(pki.issued()[1], b"swordfish"))},
        "sealed.key: tls-key-file-pass is not set, and the key is encrypted",
    ),
    "key with a wrong passphrase": (
        lambda d: {"key_file": write(d / "sealed.key", encrypted(pki.issued()[1], b"swordfish")), "key_pass": "tuna"},
        "sealed.key: tls-key-file-pass is wrong",
    ),
    "expired": (
        lambda d: dict(
            zip(("cert_file", "key_file"), pki.put(d, "old", pki.issued("old", start_days=-9, days=8)), strict=True)
        ),
        r"old.crt: the certificate of CN=old has expired at \d{4}-.*Z; renew it",
    ),
    "not valid yet": (
        lambda d: dict(zip(("cert_file", "key_file"), pki.put(d, "new", pki.issued("new", start_days=9)), strict=True)),
        r"new.crt: the certificate of CN=new is not valid before \d{4}-.*; check the clock",
    ),
    "TLS 1.1": (lambda d: {"protocols": ("TLSv1.1",)}, "tls-protocols: TLSv1.1 is not among TLSv1.2 TLSv1.3"),
    "no cipher": (lambda d: {"ciphers": "nonsense"}, "tls-ciphers: OpenSSL knows no cipher in it"),
    "no suite": (lambda d: {"ciphersuites": f"{SUITES[0]}:NONSENSE"}, "tls-ciphersuites: .*NONSENSE"),
    "no suite at all": (lambda d: {"ciphersuites": ":"}, "tls-ciphersuites: no suite is named"),
}


@pytest.mark.parametrize("case", REFUSALS, ids=str)
def test_a_refusal(case, options, tmp_path):
    change, text = REFUSALS[case]
    with pytest.raises(TlsError, match=text) as refused:
        load(dataclasses.replace(options, **change(tmp_path)), pki.NOW_S)
    assert refused.value.exit_code == EX_CONFIG and "\n" not in str(refused.value)
    assert "swordfish" not in str(refused.value) and "tuna" not in str(refused.value)


def test_an_intermediate_that_has_expired_is_found(options, tmp_path):
    chain = pki.issued()[0] + pki.issued("old", start_days=-9, days=8)[0]
    with pytest.raises(TlsError, match="CN=old has expired"):
        load(dataclasses.replace(options, cert_file=write(tmp_path / "chain", chain)), pki.NOW_S)


def test_an_encrypted_key_and_one_file_for_both(options, tmp_path):
    certificate, key = pki.issued()
    sealed = write(tmp_path / "both.pem", certificate + encrypted(key, b"swordfish"))
    found = load(dataclasses.replace(options, cert_file=sealed, key_file="", key_pass="swordfish"), pki.NOW_S)
    handshake(found.context, pki.client_context(pair=pki.put(tmp_path, "client", pki.issued("alice", "client"))))


def test_warnings(options, tmp_path):
    os.chmod(options.key_file, 0o644)
    pem = b"".join(
        (pki.ca_pem(), pki.authority("old CA", -50, 10).certificate.public_bytes(serialization.Encoding.PEM))
    )
    wrong = pki.put(tmp_path, "client", pki.issued("alice", "client"))
    os.chmod(wrong[1], 0o644)
    found = load(
        dataclasses.replace(options, cert_file=wrong[0], key_file=wrong[1], ca_file=write(tmp_path / "cas", pem)),
        pki.NOW_S,
    )
    usage, mode, expired = found.warnings
    assert "serverAuth" in usage and "mode 0644" in mode and "CN=old CA has expired" in expired


def test_files_that_change_while_they_are_read(options, monkeypatch):
    changing = iter(range(100))
    monkeypatch.setattr(tls, "stamp_of", lambda _: ((next(changing), 0, 0),))
    with pytest.raises(TlsError, match="are being written"):
        load(options, pki.NOW_S)


@pytest.mark.parametrize(
    "changes, client, version, cipher",
    [
        ({}, {}, "TLSv1.3", None),
        ({"protocols": ("TLSv1.2",)}, {}, "TLSv1.2", None),
        ({"protocols": ("TLSv1.3", "TLSv1.2")}, {"version": TLS12}, "TLSv1.2", None),
        (
            {"protocols": ("TLSv1.2",), "ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256"},
            {},
            "TLSv1.2",
            "ECDHE-ECDSA-AES128-GCM-SHA256",
        ),
        ({"ciphersuites": SUITES[1]}, {}, "TLSv1.3", SUITES[1]),
        ({"ciphersuites": f"{SUITES[2]}:{SUITES[0]}", "prefer_server_ciphers": True}, {}, "TLSv1.3", SUITES[2]),
        ({"ciphersuites": f"{SUITES[2]}:{SUITES[0]}"}, {}, "TLSv1.3", SUITES[0]),  # the client's order
    ],
)
def test_openssl_obeys(options, changes, client, version, cipher):
    context = load(dataclasses.replace(options, auth_clients="no", **changes), pki.NOW_S).context
    ours, _ = handshake(context, pki.client_context(**client))
    assert ours.version() == version and cipher in (None, ours.cipher()[0])


def test_versions_that_are_not_allowed(options):
    context = load(dataclasses.replace(options, auth_clients="no", protocols=("TLSv1.3",)), pki.NOW_S).context
    with pytest.raises(ssl.SSLError):
        handshake(context, pki.client_context(version=TLS12))


@pytest.mark.parametrize(
    "auth, shown, accepted",
    [
        ("no", None, True), ("no", "stranger", True), ("optional", None, True), ("optional", "ours", True),
        ("optional", "stranger", False), ("optional", "expired", False), ("optional", "server", False),
        ("yes", "ours", True), ("yes", None, False), ("yes", "stranger", False), ("yes", "expired", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_client_certificates(options, tmp_path, auth, shown, accepted, version):
    pairs = {
        "ours": pki.issued("alice", "client"),
        "stranger": pki.issued("alice", "client", ca="another CA"),
        "expired": pki.issued("bob", "client", start_days=-9, days=8),
        "server": pki.issued(),  # for another purpose
    }
    pair = pki.put(tmp_path, "client", pairs[shown]) if shown else None
    context = load(dataclasses.replace(options, auth_clients=auth), pki.NOW_S).context
    client = pki.client_context(pair=pair, version=version)
    if not accepted:
        with pytest.raises(ssl.SSLError):
            handshake(context, client)
        return
    ours, _ = handshake(context, client)
    assert bool(ours.getpeercert(binary_form=True)) is (shown == "ours")


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("sessions, reused", [(20480, True), (0, False)])
def test_sessions(options, tmp_path, version, sessions, reused):
    """A resumed session still says whose certificate began it; after a reload none is resumed."""
    settings = dataclasses.replace(options, sessions=sessions, session_s=300)
    context = load(settings, pki.NOW_S).context
    client = pki.client_context(pair=pki.put(tmp_path, "client", pki.issued("alice", "client")), version=version)
    first, theirs = handshake(context, client)
    again, _ = handshake(context, client, session=theirs.session)
    assert again.session_reused is reused
    assert again.getpeercert(True) == first.getpeercert(True) == pki.der(pki.issued("alice", "client")[0])
    anew, _ = handshake(load(settings, pki.NOW_S).context, client, session=theirs.session)
    assert not anew.session_reused


def test_a_library_that_cannot_be_asked(options, monkeypatch):
    def absent():
        raise openssl.Unsupported(openssl.UNREACHABLE)

    monkeypatch.setattr(openssl, "_library", absent)
    (warning,) = load(options, pki.NOW_S).warnings
    assert "as long as OpenSSL lets them" in warning
    for changes in ({"sessions": 0}, {"ciphersuites": SUITES[0]}):
        with pytest.raises(TlsError, match="cannot be asked"):
            load(dataclasses.replace(options, **changes), pki.NOW_S)


# Keeping.


def test_a_reload(options, tmp_path):
    keeper = Keeper(options, Clock())
    before = keeper.context
    assert not keeper.changed(options)
    pki.put(tmp_path, "server", pki.issued("renewed"))
    assert keeper.changed(options)
    keeper.reload(options)
    assert keeper.context is not before and keeper.material.server.subject == "CN=renewed"
    assert (keeper.reloads, keeper.failure, keeper.changed(options)) == (1, "", False)


def test_a_bad_reload_keeps_what_was_there(options, tmp_path):
    keeper = Keeper(options, Clock())
    before = keeper.material
    pki.put(tmp_path, "server", pki.issued("old", start_days=-9, days=8))
    with pytest.raises(TlsError, match="has expired"):
        keeper.reload(options)
    assert keeper.material is before and keeper.reloads == 0 and "has expired" in keeper.failure
    assert not keeper.changed(options), "the same bad files are not tried again and again"
    pki.put(tmp_path, "server", pki.issued("renewed"))
    assert keeper.changed(options)
    keeper.reload(options)
    assert keeper.failure == ""


def test_other_options_that_are_bad_leave_the_old_ones_watched(options, tmp_path):
    keeper = Keeper(options, Clock())
    with pytest.raises(TlsError):
        keeper.reload(dataclasses.replace(options, cert_file=str(tmp_path / "gone")))
    assert not keeper.changed(options)
    pki.put(tmp_path, "server", pki.issued("renewed"))
    assert keeper.changed(options)


def test_at_start_an_expired_certificate_is_a_refusal(options):
    clock = Clock()
    clock.s += 100 * DAY_S
    with pytest.raises(TlsError, match="has expired"):
        Keeper(options, clock)


def test_the_end_comes_nearer(options):
    clock = Clock()
    keeper = Keeper(options, clock)
    said = []
    for hour in range(101 * 24):
        clock.s = pki.NOW_S + hour * 3600
        if text := keeper.warning():
            said.append((hour / 24, text.split(") ")[0].split("CN=localhost ")[1].split(" (")[0]))
    assert said == [
        (70, "has 30 days left"), (93, "has 7 days left"), (99, "has 1 days left"),
        (100, "has expired: new connections are refused"),
    ]  # fmt: skip
    assert keeper.expired and keeper.days_left < 0


def test_one_line_however_late_it_is_noticed(options):
    clock = Clock()
    keeper = Keeper(options, clock)
    clock.s += 99 * DAY_S + 3600
    assert "has 0 days left" in keeper.warning() and keeper.warning() == ""


def test_stamps_follow_links(options, tmp_path):
    """How Kubernetes renews: a link to a directory moves."""
    for name, subject in (("one", "localhost"), ("two", "renewed")):
        (tmp_path / name).mkdir()
        pki.put(tmp_path / name, "server", pki.issued(subject))
    link = tmp_path / "data"
    link.symlink_to("one")
    linked = dataclasses.replace(options, cert_file=str(link / "server.crt"), key_file=str(link / "server.key"))
    before = stamp_of(linked)
    assert stamp_of(linked) == before
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").rename(link)
    assert stamp_of(linked) != before
    assert None in stamp_of(dataclasses.replace(options, cert_file=str(tmp_path / "gone")))
