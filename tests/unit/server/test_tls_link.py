"""One TLS connection without sockets: every byte between the two ends passes through the test's hands.

The cruelty of `Raw`: it takes nothing while `stuck` is set, and calls back in the middle of a write, as uvloop does.
`Work` is the pool of threads: a step of a handshake is done when the test says so, or at once.
"""

import ssl

import pytest

from tests.unit.security import pki
from vaylix_resp.security.tls import Options, load
from vaylix_resp.server import tls_link
from vaylix_resp.server.tls_link import HANDSHAKE_BYTES_MAX, PIECE_BYTES, PLAIN_TEXT, SOCKET_HIGH, Link, explain

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class Work:
    """What `run_in_executor` gives back, with the work still to be done."""

    def __init__(self, step):
        self.step, self.failure, self.then = step, None, None

    def run(self):
        try:
            self.step()
        except Exception as failure:
            self.failure = failure
        self.then(self)

    def add_done_callback(self, then):
        self.then = then

    def cancelled(self):
        return False

    def exception(self):
        return self.failure


class FakeDoor:
    user_field = "CN"

    def __init__(self, *, at_once=True):
        self.at_once = at_once
        self.steps, self.timers, self.said = [], [], []
        self.time_s = pki.NOW_S

    def now_s(self):
        return self.time_s

    def work(self, step):
        work = Work(step)
        self.steps.append(work)
        if self.at_once:
            add = work.add_done_callback
            work.add_done_callback = lambda then: (add(then), self.step())
        return work

    def step(self):
        self.steps.pop(0).run()

    def later(self, seconds, then):
        self.timers.append(then)

    def opened(self, link):
        self.said.append("opened")

    def failed(self, link, why, *, quiet=False):
        self.said.append(f"failed: {why}")

    def broken(self, link, why):
        self.said.append(f"broken: {why}")

    def gone(self, link):
        self.said.append("gone")


class Raw:
    """The TCP transport."""

    def __init__(self):
        self.sent, self.waiting = bytearray(), bytearray()
        self.stuck = self.ended = self.closed = self.aborted = self.reading_paused = False
        self.link, self.high, self.low, self.full = None, 0, 0, False
        self.most_waiting = 0

    def set_write_buffer_limits(self, high, low):
        self.high, self.low = high, low

    def write(self, data):
        assert not self.closed and not self.aborted and not self.ended
        if not self.stuck:
            self.sent += data
            return
        self.waiting += data
        self.most_waiting = max(self.most_waiting, len(self.waiting))
        if len(self.waiting) > self.high and not self.full:
            self.full = True
            self.link.pause_writing()

    def take(self, count):
        """The socket takes so much of what waits."""
        self.sent += self.waiting[:count]
        del self.waiting[:count]
        if self.full and len(self.waiting) <= self.low:
            self.full = False
            self.link.resume_writing()

    def get_write_buffer_size(self):
        return len(self.waiting)

    def get_extra_info(self, name, default=None):
        return {"peername": ("192.0.2.1", 5)}.get(name, default)

    def can_write_eof(self):
        return True

    def write_eof(self):
        self.ended = True

    def close(self):
        self.closed = True

    def abort(self):
        self.aborted = True

    def pause_reading(self):
        self.reading_paused = True

    def resume_reading(self):
        self.reading_paused = False


class App:
    """The client's protocol; it notes what it hears."""

    def __init__(self):
        self.heard, self.got, self.transport = [], bytearray(), None
        self.keep_open = True

    def connection_made(self, transport):
        self.transport = transport
        self.heard.append("made")

    def data_received(self, data):
        self.got += data

    def eof_received(self):
        self.heard.append("eof")
        return self.keep_open

    def pause_writing(self):
        self.heard.append("pause")

    def resume_writing(self):
        self.heard.append("resume")

    def connection_lost(self, exc):
        self.heard.append("lost")


class Ends:
    """A client that does what OpenSSL's does, and our link; `chunk`: bytes per packet towards us."""

    def __init__(self, server, client, *, door=None, chunk=1 << 20, session=None):
        self.door, self.raw, self.app, self.chunk = door or FakeDoor(), Raw(), App(), chunk
        self.link = self.raw.link = Link(self.door, server, lambda: self.app)
        self.into, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(self.into, self.out, server_hostname="localhost", session=session)
        self.shaken = False
        self.link.connection_made(self.raw)

    def up(self):
        """What the client has said reaches us."""
        data = self.out.read()
        for at in range(0, len(data), self.chunk):
            self.link.data_received(data[at : at + self.chunk])

    def down(self):
        self.into.write(bytes(self.raw.sent))
        self.raw.sent.clear()

    def shake(self):
        """The client's part of the handshake, as far as it goes. Raises ssl.SSLError."""
        for _ in range(10):
            try:
                self.client.do_handshake()
                self.shaken = True
            except ssl.SSLWantReadError:
                pass
            self.up()
            self.down()
            if self.shaken:
                return self
        return self

    def hear(self):
        """Everything that we have said, decrypted; None at the end for a proper goodbye."""
        self.down()
        found = bytearray()
        while True:
            try:
                piece = self.client.read(1 << 20)
            except ssl.SSLWantReadError:
                return bytes(found)
            except ssl.SSLZeroReturnError:
                piece = b""
            if not piece:
                return bytes(found), None
            found += piece


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Contexts by `tls-auth-clients`."""
    place = tmp_path_factory.mktemp("tls")
    cert, key = pki.put(place, "server", pki.issued())
    ca = pki.put_file(place / "ca.crt", pki.ca_pem())
    return {
        auth: load(Options(cert, key, ca_file=ca, auth_clients=auth), pki.NOW_S).context
        for auth in ("no", "optional", "yes")
    }


@pytest.fixture(scope="module")
def alice(tmp_path_factory):
    return pki.put(tmp_path_factory.mktemp("alice"), "alice", pki.issued("alice", "client"))


@pytest.mark.parametrize("chunk", [1, 7, 1000, 1 << 20])
@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("auth", ["no", "yes"])
def test_it_does_not_matter_how_the_bytes_arrive(server, alice, chunk, version, auth):
    ends = Ends(server[auth], pki.client_context(pair=alice, version=version), chunk=chunk).shake()
    assert (ends.door.said, ends.app.heard) == (["opened"], ["made"])
    names = ends.link.peer.names if ends.link.peer else None
    assert names == ((b"alice",) if auth == "yes" else None) and ends.link.get_extra_info("peer") is ends.link.peer
    big = bytes(range(256)) * 200
    ends.client.write(b"hello" + big)
    ends.up()
    assert bytes(ends.app.got) == b"hello" + big
    ends.link.write(b"answer")
    ends.link.write(b"")
    ends.link.write(big)
    assert ends.hear() == b"answer" + big
    assert ends.link.get_extra_info("peername") == ("192.0.2.1", 5) and not ends.link.is_closing()


def test_nothing_is_said_before_the_handshake_is_complete(server):
    ends = Ends(server["no"], pki.client_context(version=TLS13))
    with pytest.raises(ssl.SSLWantReadError):
        ends.client.do_handshake()
    ends.up()
    assert ends.app.heard == [] and ends.link.state == "handshake"
    ends.link.connection_lost(None)
    assert ends.app.heard == [] and ends.door.said == ["failed: the client hung up during the handshake", "gone"]


def test_requests_in_one_packet_with_the_end_of_the_handshake(server):
    ends = Ends(server["no"], pki.client_context(version=TLS13))
    with pytest.raises(ssl.SSLWantReadError):
        ends.client.do_handshake()
    ends.up()
    ends.down()
    ends.client.do_handshake()
    ends.client.write(b"PING")
    ends.up()
    assert bytes(ends.app.got) == b"PING"


@pytest.mark.parametrize("chunk", [50, 1 << 20])
def test_bytes_that_arrive_while_a_thread_is_at_work(server, alice, chunk):
    door = FakeDoor(at_once=False)
    ends = Ends(server["yes"], pki.client_context(pair=alice, version=TLS13), door=door, chunk=chunk)
    with pytest.raises(ssl.SSLWantReadError):
        ends.client.do_handshake()
    ends.up()
    assert len(door.steps) == 1, "one step at a time"
    while door.steps:
        door.step()
    ends.down()
    ends.client.do_handshake()
    ends.client.write(b"PING")
    ends.up()
    while door.steps:
        assert len(door.steps) == 1 and ends.app.heard == []
        door.step()
    assert bytes(ends.app.got) == b"PING"


@pytest.mark.parametrize("end", ["abort", "connection_lost"])
def test_a_link_that_ends_while_a_thread_is_at_work(server, end):
    door = FakeDoor(at_once=False)
    ends = Ends(server["no"], pki.client_context(), door=door)
    with pytest.raises(ssl.SSLWantReadError):
        ends.client.do_handshake()
    ends.up()
    ends.link.abort() if end == "abort" else ends.link.connection_lost(None)
    door.step()
    assert ends.app.heard == [] and not ends.raw.sent and ends.link.state == "closed"


@pytest.mark.parametrize("end", ["fin", "reset"])
@pytest.mark.parametrize("busy", [True, False])
def test_an_alert_right_before_the_client_hangs_up_is_not_overlooked(server, end, busy):
    """The thread may be at work on the alert, or on what came before it, when TCP says that it is over."""
    door = FakeDoor(at_once=False)
    ends = Ends(server["no"], pki.client_context("another CA", version=TLS13), door=door)
    with pytest.raises(ssl.SSLWantReadError):
        ends.client.do_handshake()
    ends.up()
    door.step()
    ends.down()
    with pytest.raises(ssl.SSLCertVerificationError):
        ends.client.do_handshake()
    alert = ends.out.read()
    ends.link.data_received(alert[:3])
    if not busy:
        door.step()
    ends.link.data_received(alert[3:])
    if end == "fin":
        assert ends.link.eof_received() is True, "not before the verdict"
    else:
        ends.link.connection_lost(ConnectionResetError())
    while door.steps:
        door.step()
    assert f"failed: {tls_link.REASONS['TLSV1_ALERT_UNKNOWN_CA']}" in door.said and len(door.said) == 1 + (
        end == "reset"
    )
    assert ends.link.is_closing() and ends.raw.closed is (end == "fin")


@pytest.mark.parametrize("end", ["fin", "reset"])
@pytest.mark.parametrize("done", [True, False])
def test_a_client_that_asks_and_hangs_up_while_a_thread_is_at_work(server, end, done):
    door = FakeDoor(at_once=False)
    ends = Ends(server["no"], pki.client_context(version=TLS13), door=door)
    with pytest.raises(ssl.SSLWantReadError):
        ends.client.do_handshake()
    ends.up()
    if done:
        door.step()
        ends.down()
        ends.client.do_handshake()
        ends.client.write(b"PING")
        ends.up()
    ends.link.eof_received() if end == "fin" else ends.link.connection_lost(None)
    while door.steps:
        door.step()
    if done and end == "fin":
        assert bytes(ends.app.got) == b"PING" and ends.app.heard == ["made", "eof"]
        ends.link.write(b"PONG")
        assert ends.hear() == b"PONG"
    else:
        assert ends.app.heard == [] and ends.link.state == "closed"
        assert "failed: the client hung up during the handshake" in door.said


@pytest.mark.parametrize("data", [b"*1\r\n$4\r\nPING\r\n", b"PING\r\n", b"GET / HTTP/1.1\r\n", b"\0"])
def test_plain_text(server, data):
    ends = Ends(server["no"], pki.client_context())
    ends.link.data_received(data)
    ends.link.data_received(data)
    assert bytes(ends.raw.sent) == PLAIN_TEXT and ends.raw.ended and not ends.raw.aborted
    assert ends.door.said == ["failed: it speaks plain text; this port is for TLS"]
    ends.door.timers[0]()
    assert ends.raw.aborted and ends.app.heard == []
    ends.link.resume_writing()  # the socket takes the last words: no goodbye of a TLS that never was
    assert bytes(ends.raw.sent) == PLAIN_TEXT


def test_too_much_ahead_of_the_handshake(server):
    door = FakeDoor(at_once=False)
    ends = Ends(server["no"], pki.client_context(), door=door)
    with pytest.raises(ssl.SSLWantReadError):
        ends.client.do_handshake()
    ends.up()
    ends.link.data_received(bytes(HANDSHAKE_BYTES_MAX))
    assert ends.link.state == "handshake"
    ends.link.data_received(b"x")
    assert door.said == ["failed: it sends more than a handshake needs"] and ends.raw.ended
    door.step()
    assert len(door.said) == 1


REFUSED = [
    # the client's certificate, its CA, tls-auth-clients, what the log says, what the client sees
    (None, "test CA", "yes", "the client has shown no certificate", "CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE"),
    (("alice", "another CA", 0), "test CA", "yes", "the client's certificate was refused: ", "UNKNOWN_CA"),
    (("alice", "test CA", -9), "test CA", "optional", "refused: certificate has expired", "CERTIFICATE_EXPIRED"),
    (None, "another CA", "no", "the client does not trust the CA of our certificate", "CERTIFICATE_VERIFY_FAILED"),
]


@pytest.mark.parametrize("shown, trusted, auth, log, error", REFUSED)
@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_who_is_refused_is_told_why(server, tmp_path, shown, trusted, auth, log, error, version):
    pair = None
    if shown:
        name, ca, start = shown
        pair = pki.put(tmp_path, "client", pki.issued(name, "client", ca=ca, start_days=start, days=8))
    ends = Ends(server[auth], pki.client_context(trusted, pair, version=version))
    with pytest.raises(ssl.SSLError, match=error):  # at the end of the handshake, or (TLS 1.3) right behind it
        try:
            ends.shake()
            ends.hear()
        finally:
            ends.up()  # the client's alert
    (said,) = ends.door.said
    assert said.startswith("failed: ") and log in said
    assert ends.raw.ended and ends.app.heard == [] and len(ends.door.timers) == 1


def test_the_wrong_host(server):
    context = pki.client_context()
    ends = Ends(server["no"], context)
    ends.client = context.wrap_bio(ends.into, ends.out, server_hostname="elsewhere.example.org")
    with pytest.raises(ssl.SSLCertVerificationError, match="elsewhere"):
        ends.shake()
    ends.up()
    assert ends.door.said == [f"failed: {tls_link.REASONS['SSLV3_ALERT_BAD_CERTIFICATE']}"]


def test_a_resumed_session_of_a_certificate_that_has_expired_since(server, alice):
    context = pki.client_context(pair=alice, version=TLS12)
    first = Ends(server["yes"], context).shake()
    again = Ends(server["yes"], context, session=first.client.session).shake()
    assert again.client.session_reused and again.link.peer.names == (b"alice",)
    late = FakeDoor()
    late.time_s += 101 * 86_400
    ends = Ends(server["yes"], context, door=late, session=first.client.session).shake()
    assert late.said == ["failed: the client's certificate has expired since"] and ends.app.heard == []


@pytest.mark.parametrize("how", ["goodbye", "fin"])
def test_a_client_that_closes_its_half_still_gets_its_answers(server, how):
    ends = Ends(server["no"], pki.client_context(version=TLS13)).shake()
    ends.client.write(b"request")
    if how == "goodbye":
        with pytest.raises(ssl.SSLWantReadError):
            ends.client.unwrap()
    ends.up()
    if how == "fin":
        assert ends.link.eof_received() is True, "TCP stays open for the answers"
    assert bytes(ends.app.got) == b"request" and ends.app.heard == ["made", "eof"]
    ends.link.write(b"answer")
    ends.link.close()
    ends.down()
    assert ends.client.read(100) == b"answer" and ends.raw.closed and not ends.raw.aborted
    ends.link.connection_lost(None)
    assert ends.app.heard == ["made", "eof", "lost"] and ends.door.said == ["opened", "gone"]


def test_eof_that_the_protocol_does_not_want_to_outlive(server):
    ends = Ends(server["no"], pki.client_context()).shake()
    ends.app.keep_open = False
    ends.link.eof_received()
    assert ends.raw.closed and ends.hear() == (b"", None)


def test_closing_says_goodbye_and_what_comes_later_is_dropped(server):
    ends = Ends(server["no"], pki.client_context()).shake()
    ends.link.write(b"bye")
    ends.link.close()
    assert ends.link.is_closing() and ends.raw.closed
    ends.link.write(b"more")
    ends.link.close()
    assert ends.hear() == (b"bye", None)
    ends.client.write(b"too late")
    ends.up()
    assert not ends.app.got


@pytest.mark.parametrize(
    "limits, high", [({"high": 1 << 20}, 1 << 20), ({}, SOCKET_HIGH), ({"high": 5, "low": 1}, SOCKET_HIGH)]
)
def test_a_client_that_does_not_read(server, limits, high):
    """Memory: what was written, once; encrypted ahead of the socket: little. In order and complete in the end."""
    ends = Ends(server["no"], pki.client_context()).shake()
    ends.link.set_write_buffer_limits(**limits)
    ends.raw.stuck = True
    total = bytearray()
    for number in range(40):
        data = bytes([number]) * 100_000
        ends.link.write(data)
        total += data
        assert len(total) <= ends.link.get_write_buffer_size() <= len(total) * 1.01 + 1000
        assert (ends.link.get_write_buffer_size() > high) == ("pause" in ends.app.heard)
    assert ends.app.heard == ["made", "pause"]
    assert ends.raw.most_waiting <= SOCKET_HIGH + PIECE_BYTES * 1.01
    got = bytearray()
    while ends.raw.waiting:
        ends.raw.take(50_000)
        got += ends.hear()
        assert "resume" not in ends.app.heard or ends.link.get_write_buffer_size() <= SOCKET_HIGH
    assert got == total and ends.app.heard == ["made", "pause", "resume"]
    assert ends.link.get_write_buffer_size() == 0


def test_one_write_larger_than_everything(server):
    ends = Ends(server["no"], pki.client_context()).shake()
    ends.raw.stuck = True
    data = bytes(range(256)) * (8 << 12)
    ends.link.write(data)
    assert ends.raw.most_waiting <= SOCKET_HIGH + PIECE_BYTES * 1.01
    ends.raw.stuck = False
    ends.link.close()  # sends all of it first
    assert ends.link.is_closing() and not ends.raw.closed
    ends.raw.take(1 << 30)
    assert ends.hear() == (data, None) and ends.raw.closed


def test_an_abort_drops_everything(server):
    ends = Ends(server["no"], pki.client_context()).shake()
    ends.raw.stuck = True
    ends.link.write(bytes(1 << 22))
    ends.link.abort()
    assert ends.raw.aborted and ends.link.is_closing()
    ends.link.write(b"x")
    ends.link.pause_writing()
    ends.link.resume_writing()
    ends.link.connection_lost(None)
    assert ends.app.heard == ["made", "pause", "lost"] and ends.link.get_write_buffer_size() == len(ends.raw.waiting)


def test_reading_pauses_below(server):
    ends = Ends(server["no"], pki.client_context()).shake()
    ends.link.pause_reading()
    assert ends.raw.reading_paused
    ends.link.resume_reading()
    assert not ends.raw.reading_paused


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_forged_record(server, version):
    ends = Ends(server["no"], pki.client_context(version=version)).shake()
    ends.client.write(b"x" * 100)
    data = bytearray(ends.out.read())
    data[-1] ^= 1
    ends.link.data_received(bytes(data))
    assert not ends.app.got and ends.raw.aborted and ends.raw.sent, "an alert went ahead"
    assert ends.door.said[1].startswith("broken: ")
    ends.link.connection_lost(None)
    assert ends.app.heard == ["made", "lost"]


def test_a_door_that_gave_up_before_tcp_was_ready(server):
    door, raw = FakeDoor(), Raw()
    link = Link(door, server["no"], App)
    link.abort()
    link.connection_made(raw)
    assert raw.aborted and not door.said


def test_a_bug_in_a_handshake_ends_one_connection(server):
    ends = Ends(server["no"], pki.client_context())
    ends.link._ssl = type("Broken", (), {"do_handshake": lambda self: 1 / 0})()
    ends.link.data_received(b"\x16")
    assert ends.raw.aborted and ends.door.said[0].startswith("failed: a bug: ZeroDivisionError")


@pytest.mark.parametrize(
    "reason, verdict, text",
    [
        ("NO_SHARED_CIPHER", "", tls_link.REASONS["NO_SHARED_CIPHER"]),
        (
            "CERTIFICATE_VERIFY_FAILED",
            "certificate has expired",
            "the client's certificate was refused: certificate has expired",
        ),
        ("SOME_NEW_REASON", "", "some new reason"),
        (None, "", "the handshake failed"),
    ],
)
def test_explain(reason, verdict, text):
    bad = ssl.SSLError("x")
    bad.reason, bad.verify_message = reason, verdict
    assert explain(bad) == text
