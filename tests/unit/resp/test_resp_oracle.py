"""The same bytes to a real redis-server: texts of protocol errors, words of inline requests, shapes of replies."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from random import Random

import hiredis
import pytest

from bench.processes import Program, Server, running
from tests.e2e.tools import require
from tests.unit.resp.test_reader import ERRORS, UNAUTHENTICATED
from tests.unit.resp.twin import pack
from vaylix_resp.resp.reader import split_words
from vaylix_resp.resp.reply import SetOf, Verbatim
from vaylix_resp.resp.writer import encode

COMMAND = (
    "redis-server --bind 127.0.0.1 --port {port} --dir {dir} --save '' --requirepass secret --enable-debug-command yes"
)
LOG_IN = pack(b"AUTH", b"secret")


@pytest.fixture(scope="module")
def oracle() -> Iterator[Server]:
    require("redis-server")
    with running(Program("redis", COMMAND)) as server:
        yield server


def said(server: Server, wire: bytes) -> bytes:
    """All that redis-server answers until it closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(wire)
        answer = b""
        try:
            while data := connection.recv(65536):
                answer += data
        except ConnectionResetError:  # it closed without reading everything we sent
            pass
        return answer


@pytest.mark.parametrize("wire, text", ERRORS, ids=lambda value: repr(value)[:30])
def test_protocol_errors(oracle: Server, wire: bytes, text: str) -> None:
    assert said(oracle, LOG_IN + wire) == b"+OK\r\n-ERR Protocol error: %b\r\n" % text.encode()


@pytest.mark.parametrize("wire, text", UNAUTHENTICATED)
def test_protocol_errors_before_the_log_in(oracle: Server, wire: bytes, text: str) -> None:
    assert said(oracle, wire) == b"-ERR Protocol error: %b\r\n" % text.encode()


class Wire:
    """One connection to redis-server, replies read by hiredis."""

    def __init__(self, server: Server) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        self._reader = hiredis.Reader(notEnoughData=NOTHING)
        self.raw = b""
        assert self.ask(LOG_IN) == b"OK"

    def ask(self, request: bytes) -> object:
        self.raw = b""
        self._socket.sendall(request)
        while (reply := self._reader.gets()) is NOTHING:
            data = self._socket.recv(65536)
            assert data, "redis-server has closed the connection"
            self.raw += data
            self._reader.feed(data)
        return reply


NOTHING = object()

LINES = [
    b"a b",
    b"a\vb\fc",
    b"a \v b",
    b'"a\\x41\\x4g\\xfF\\n\\t\\z"',
    b"'a\\x41\\n\\''",
    b'a"b c"',
    b"a'b'",
    b'"" \'\' x',
    b'"a"\vb',
    b"\"'\" '\"'",
    b"\xff\x80",
    b'"\\',
    b"'",
    b'"a"b',
    b"\t x\t\t",
]


def random_lines(count: int) -> Iterator[bytes]:
    rng = Random(20)
    pieces = b"a|b|\xff| |\t|\v|\f|'|\"|' |\" |\\|\\x4|\\x41|\\n".split(b"|")
    for _ in range(count):
        yield b"".join(rng.choices(pieces, k=rng.randrange(1, 12)))


def test_inline_words(oracle: Server) -> None:
    """EVAL gives back the words that it was given."""
    wire = Wire(oracle)
    refused = 0
    for line in [*LINES, *random_lines(2000)]:
        request = b"EVAL 'return ARGV' 0 " + line + b"\r\n"
        words = split_words(line)
        if words is not None:
            assert wire.ask(request) == words, line
        elif refused < 200:  # each costs a connection
            refused += 1
            assert b"unbalanced quotes in request" in said(oracle, LOG_IN + request), line
    assert refused == 200


# What DEBUG PROTOCOL answers.
REPLIES = {
    "string": b"Hello World",
    "integer": 12345,
    "double": 3.141,
    "null": None,
    "array": [0, 1, 2],
    "set": SetOf([0, 1, 2]),
    "map": {0: False, 1: True, 2: False},
    "verbatim": Verbatim(b"This is a verbatim\nstring"),
    "true": True,
    "false": False,
}


@pytest.mark.parametrize("proto", [2, 3])
@pytest.mark.parametrize("kind", REPLIES)
def test_replies(oracle: Server, kind: str, proto: int) -> None:
    wire = Wire(oracle)
    wire.ask(pack(b"HELLO", b"%d" % proto))
    wire.ask(pack(b"DEBUG", b"PROTOCOL", kind.encode()))
    assert encode(REPLIES[kind], proto) == wire.raw
