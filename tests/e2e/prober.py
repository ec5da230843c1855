"""A well-behaved client in a thread: asks without pause and remembers how long the slowest answer took."""

from __future__ import annotations

import socket
import threading
import time
from types import TracebackType
from typing import Self

PAUSE_SECONDS = 0.01
SILENCE_SECONDS_MAX = 20.0


class Prober:
    """SET, GET and PING in turn on one connection, and now and then a new connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers = 0
        self.slowest_seconds = 0.0
        self.problem: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def check(self, slowest_seconds_max: float, answers_min: int = 20) -> None:
        assert self.problem is None, f"a well-behaved client failed: {self.problem!r}"
        assert self.answers >= answers_min, f"only {self.answers} answers: nothing was tested"
        assert self.slowest_seconds <= slowest_seconds_max, f"an answer took {self.slowest_seconds:.2f} s"

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                with socket.create_connection(("127.0.0.1", self.port), timeout=SILENCE_SECONDS_MAX) as connection:
                    for number in range(50):
                        self._ask(connection, number)
                        if self._stop.wait(PAUSE_SECONDS):
                            return
        except BaseException as problem:
            self.problem = problem

    def _ask(self, connection: socket.socket, number: int) -> None:
        began = time.monotonic()
        connection.sendall(b"SET prober %d\r\nGET prober\r\nPING\r\n" % number)
        expected = b"+OK\r\n$%d\r\n%d\r\n+PONG\r\n" % (len(str(number)), number)
        got = b""
        while len(got) < len(expected):
            piece = connection.recv(4096)
            if not piece:
                raise ConnectionError("closed by the server")
            got += piece
        assert got == expected, got
        self.answers += 1
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
