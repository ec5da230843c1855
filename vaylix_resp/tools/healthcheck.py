"""`vaylix healthcheck`: does a running server answer PING, with or without TLS?

Promises: one line and exit code 0 or 1 whatever the server does, within the time that was asked for per step; 78 when
a certificate of ours cannot be used; the password is in no line. Units: seconds.
Not here: the way to the server (`reach`), what it would say of itself (INFO).
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from typing import Final

from ..config import load
from ..errors import EX_OK
from . import reach
from .reach import Target, connected, target_of, told

EX_UNHEALTHY: Final = 1
REPLY_BYTES_MAX: Final = 4096  # more than any answer to PING or AUTH


def options(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    reach.options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    settings = load(arguments.file, (), os.environ)
    target = target_of(arguments, settings)
    try:
        problem = _ping(target, settings.requirepass, arguments.wait)
    except (OSError, OverflowError) as error:
        problem = told(error)
    if problem:
        line = f"vaylix: {target.where}: not healthy: {problem}"
        print("".join(c if c.isprintable() else "?" for c in line), file=sys.stderr)
        return EX_UNHEALTHY
    print(f"{target.where}: healthy")
    return EX_OK


def _ping(target: Target, password: str, wait_s: float) -> str:
    """What is wrong with the server, or "". Raises OSError when it cannot be reached in time."""
    with connected(target, wait_s) as connection:
        secret = password.encode("utf-8", "surrogateescape")
        if secret:
            answer = _answer(connection, b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n" % (len(secret), secret))
            if answer != "+OK":
                return answer or "closed the connection"
        answer = _answer(connection, b"*1\r\n$4\r\nPING\r\n")
        return "" if answer == "+PONG" else answer or "closed the connection"


def _answer(connection: socket.socket, request: bytes) -> str:
    """The first line of it; "" when the other side closed."""
    try:
        connection.sendall(request)
    except OSError as failure:
        # With TLS 1.3 a server refuses our certificate when we believe to be inside: its reason waits to be read.
        try:
            return _line(connection)
        except OSError as reason:
            raise reason from failure
    return _line(connection)


def _line(connection: socket.socket) -> str:
    """One line of an answer, without its end; "" when the other side closed."""
    line = bytearray()
    while not line.endswith(b"\r\n") and len(line) < REPLY_BYTES_MAX:
        byte = connection.recv(1)
        if not byte:
            return ""
        line += byte
    return line.decode("utf-8", "backslashreplace").strip()
