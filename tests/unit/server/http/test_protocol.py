"""HTTP however its bytes arrive: answers, refusals, bounds of size and time, clients that are slow or gone."""

import pytest

from tests.unit.server.http.wires import HttpStage
from vaylix_resp.config import Settings
from vaylix_resp.server.http.pages import Site
from vaylix_resp.server.http.protocol import HEAD_BYTES_MAX, IDLE_S, REQUEST_S, WRITE_S
from vaylix_resp.server.http.service import CONNECTIONS_MAX


@pytest.fixture
def stage():
    return HttpStage(Site(Settings()))


def request(target="/livez", method="GET", *headers):
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


GET = request()
ASKED = [  # (bytes of one request, method, status, does the connection stay?)
    (GET, "GET", 200, True),
    (request(method="HEAD"), "HEAD", 200, True),
    (request("/livez?verbose&x=%20"), "GET", 200, True),
    (request("/"), "GET", 200, True),
    (request("/nothing"), "GET", 404, True),
    (request("/%6Civez"), "GET", 200, True),
    (request("/livez/../metrics"), "GET", 404, True),
    (request("http://elsewhere/livez"), "GET", 404, True),
    (request(method="GET", target="/readyz"), "GET", 503, True),
    (request("/livez", "GET", "Connection: close"), "GET", 200, False),
    (request("/livez", "GET", "Content-Length: 0"), "GET", 200, True),
    (b"GET /livez HTTP/1.0\r\n\r\n", "GET", 200, False),
]
REFUSED = [  # (bytes, status): the connection ends in any case
    (request(method="POST") + b"x", 405),
    (request(method="DELETE"), 405),
    (request("/livez", "POST", "Content-Length: 5") + b"hello", 405),
    (request("/livez", "GET", "Content-Length: 5") + b"hello", 413),
    (request("/livez", "GET", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 413),
    (request("/livez", "GET", "Content-Length: 5", "Expect: 100-continue"), 413),
    (b"GET /livez HTTP/1.1\r\n\r\n", 400),  # no Host
    (b"GET  /livez HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET /li\x00vez HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET /livez HTTP/1.1\r\nHost: x\r\nBad header\r\n\r\n", 400),
    (b"*1\r\n$4\r\nPING\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # TLS
    (b"GET /" + b"a" * HEAD_BYTES_MAX, 431),
    (request("/livez", "GET", "X: " + "a" * HEAD_BYTES_MAX)[:-2], 431),
    (request("/livez", "GET", "X: " + "a" * (HEAD_BYTES_MAX + 1024)), 431),  # whole, and at once
    (request("/livez", "GET", *["A: a"] * 40_000), 431),  # would take h11 a quarter of a second
]


@pytest.mark.parametrize("data, method, status, stays", ASKED)
def test_an_answer_however_the_bytes_arrive(stage, data, method, status, stays):
    for parts in ([data], [data[i : i + 1] for i in range(len(data))], [data[:7], data[7:]]):
        client = stage.connect().send(*parts)
        ((found, headers, body),) = client.answers(method)
        assert (found, client.closing) == (status, not stays)
        assert int(headers[b"content-length"]) > 0 and bool(body) == (method != "HEAD")


def test_what_every_answer_says(stage):
    for data, method, _, _ in ASKED:
        ((_, headers, _),) = stage.connect().send(data).answers(method)
        assert headers[b"x-content-type-options"] == b"nosniff" and headers[b"cache-control"] == b"no-store"
        assert headers[b"content-security-policy"].startswith(b"default-src 'none'")
        assert b"access-control-allow-origin" not in headers and b"server" not in headers


@pytest.mark.parametrize("data, status", REFUSED)
def test_a_refusal_ends_the_connection(stage, data, status):
    for parts in ([data], [data[i : i + 1] for i in range(len(data))] if len(data) < 1000 else [data[:-1], data[-1:]]):
        client = stage.connect().send(*parts)
        ((found, headers, _),) = client.answers("GET")
        assert (found, headers[b"connection"], client.lost) == (status, b"close", True)
        assert len(stage.service._connections) == 0


def test_the_refusal_of_a_method_says_which_are_taken(stage):
    ((_, headers, _),) = stage.connect().send(request(method="PUT")).answers("PUT")
    assert headers[b"allow"] == b"GET, HEAD"


def test_requests_in_one_packet_are_answered_in_their_order(stage):
    client = stage.connect().send(GET + request(method="HEAD") + request("/nothing") + GET)
    found = client.answers("GET", "HEAD", "GET", "GET")
    assert [status for status, _, _ in found] == [200, 200, 404, 200] and not client.closing
    client.send(GET + request(method="POST"))
    assert [status for status, _, _ in client.answers("GET", "POST")] == [200, 405] and client.lost


def test_nothing_is_read_while_an_answer_is_waited_for(stage):
    stage.busy(5)
    client = stage.connect().send(GET, GET)
    assert client.paused and client.inbox == [GET] and client.answers() == []
    stage.wait(5)
    assert len(client.answers("GET", "GET")) == 2 and not client.paused


def test_a_client_that_only_says_no_more_is_answered(stage):
    client = stage.connect().send(GET)
    client.answers("GET")
    client.end()
    assert client.lost
    stage.busy(5)
    late = stage.connect().send(GET)
    late.end()
    assert not late.closing
    stage.wait(5)
    assert late.answers("GET")[0][0] == 200 and late.closing


def test_half_a_request_and_the_end(stage):
    client = stage.connect().send(GET[:10])
    client.end()
    assert client.closing


@pytest.mark.parametrize(
    "said, seconds", [(b"", REQUEST_S), (GET[:10], REQUEST_S), (GET, IDLE_S), (GET + GET[:10], REQUEST_S)]
)
def test_who_says_nothing_more_is_closed(stage, said, seconds):
    client = stage.connect()
    if said:
        client.send(said)
    stage.wait(seconds - 0.1)
    assert not client.closing
    stage.wait(0.2)
    assert client.aborted


def test_bytes_that_drip_do_not_buy_time(stage):
    client = stage.connect()
    for byte in GET[:30]:
        client.send(bytes([byte]))
        stage.wait(REQUEST_S / 25)
    assert client.aborted


def test_who_does_not_read_is_closed_and_who_reads_late_goes_on(stage):
    slow, late = stage.connect(), stage.connect()
    slow.slow = late.slow = True
    slow.send(GET)
    late.send(GET, GET)
    stage.wait(WRITE_S - 0.1)
    late.read()
    assert len(late.answers("GET", "GET")) == 2 and not late.closing
    stage.wait(0.2)
    assert slow.aborted and not late.closing


def test_who_vanishes_while_waiting_is_forgotten(stage):
    stage.busy(5)
    client = stage.connect().send(GET)
    client.vanish()
    stage.wait(5)
    assert client.taken == b"" and not stage.service._connections
    assert all(timer.cancelled for timer in stage.timers)


def test_whoever_comes_is_let_in_and_whoever_is_missed_least_goes(stage):
    """Or who holds all connections, be it with beginnings of requests, would keep the probes of a supervisor out."""
    asking, begun = stage.connect(), stage.connect().send(GET[:10])
    answered = [stage.connect().send(GET) for _ in range(CONNECTIONS_MAX - 2)]
    stage.busy(5)
    asking.send(GET)
    silent = [stage.connect() for _ in answered]
    assert all(client.aborted for client in answered) and not begun.aborted
    asking_too = [stage.connect().send(GET), stage.connect().send(GET)]
    assert (begun.aborted, silent[0].aborted, silent[1].aborted) == (True, True, False)
    asking_too += [stage.connect().send(GET) for _ in range(CONNECTIONS_MAX - 3)]
    assert all(client.aborted for client in silent) and not asking.aborted
    last = stage.connect().send(GET)
    assert asking.aborted and not any(client.aborted for client in asking_too)
    stage.wait(5)
    assert all(client.answers("GET")[0][0] == 200 for client in [*asking_too, last])
