"""Server processes for benchmarks, differential runs and end-to-end tests: start, wait, watch, stop.

The only place here that starts a server. A process is stopped through its own pid, never by name, and
`with` stops it whatever happened inside. Standard output and error go to a file beside the data directory.
Units: seconds, bytes. Not here: what is sent to a server.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

REPOSITORY = Path(__file__).resolve().parent.parent
READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 60.0  # a clean stop may still have to seal a segment
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
LOG_TAIL_BYTES = 4000
LOOPBACK = "127.0.0.1"

US_COMMAND_VARIABLE = "SERVER_UNDER_TEST"  # how to start us: a command line with {python}, {port}, {dir}; or "redis"
US_COMMAND_DEFAULT = "{python} -m vaylix_resp serve --port {port} --dir {dir}"
REDIS_COMMAND = (
    "redis-server --bind 127.0.0.1 --port {port} --dir {dir} --appendonly yes --appendfsync always --save ''"
    # Else it may rewrite its log at any moment: no BGSAVE then, and a "start from the log" would be one from a base.
    " --auto-aof-rewrite-percentage 0"
)


class ServerFailed(Exception):
    """A server did not start, or ended by itself; the text holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Program:
    """How to start one kind of server; {port}, {dir} and {python} are filled in at the start."""

    name: str
    command: str

    def argv(self, port: int, directory: Path, extra: Sequence[str] = ()) -> list[str]:
        words = shlex.split(self.command)
        return [word.format(port=port, dir=directory, python=sys.executable) for word in words] + list(extra)


def redis_program() -> Program:
    return Program("redis", REDIS_COMMAND)


def us_program(command: str | None = None) -> Program:
    """Ourselves; the word "redis" puts a second redis-server in our place, to test a harness with."""
    command = command or os.environ.get(US_COMMAND_VARIABLE) or US_COMMAND_DEFAULT
    return Program("vaylix", REDIS_COMMAND if command == "redis" else command)


def free_port() -> int:
    """A port that was free a moment ago; nobody else on this machine takes ports at random here."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, *words: str, timeout: float = 60.0, host: str = LOOPBACK) -> bytes:
    """Send one inline request and return the first bytes of the reply; for PING, INFO and the like."""
    with socket.create_connection((host, port), timeout=timeout) as connection:
        connection.sendall(" ".join(words).encode() + b"\r\n")
        reply = b""
        while not whole_reply(reply):
            piece = connection.recv(65536)
            if not piece:
                raise ConnectionError(f"connection closed after {reply[:80]!r}")
            reply += piece
        return reply


def whole_reply(reply: bytes) -> bool:
    """Is this a whole line or bulk string? Nested replies are not asked for through ask()."""
    if not reply.endswith(b"\r\n"):
        return False
    if not reply.startswith((b"$", b"=")):
        return True
    head, _, body = reply.partition(b"\r\n")
    return len(body) >= int(head[1:]) + 2


@dataclass
class Server:
    """One server over its whole life: several processes one after another on one port and directory.

    `prefix` is put before the command line (strace); the tracer must leave our child to be the server.
    """

    program: Program
    extra: tuple[str, ...] = ()
    directory: Path | None = None
    prefix: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    host: str = LOOPBACK  # where it is asked whether it is ready; where it listens is said by `extra`
    process: subprocess.Popen[bytes] | None = None
    _scratch: Path | None = None

    def __enter__(self) -> Self:
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.data_directory.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    @property
    def scratch(self) -> Path:
        """A directory of our own for the log and, unless told otherwise, the data."""
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix=f"{self.program.name}-"))
        return self._scratch

    @property
    def data_directory(self) -> Path:
        return self.directory or self.scratch / "data"

    @property
    def log_path(self) -> Path:
        return self.scratch / "server.log"

    @property
    def pid(self) -> int:
        assert self.process is not None, "not started"
        return self.process.pid

    def start(self, seconds_max: float = READY_SECONDS_MAX) -> float:
        """Start and wait until PING answers; returns the seconds that took."""
        began = time.perf_counter()
        self.spawn()
        self.wait_ready(seconds_max)
        return time.perf_counter() - began

    def spawn(self) -> None:
        assert self.process is None or self.process.poll() is not None, "already running"
        argv = [*self.prefix, *self.program.argv(self.port, self.data_directory, self.extra)]
        # Our server takes directives from VAYLIX_<NAME>; what the caller's shell holds must not change a measurement.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("VAYLIX_")}
        environment = {**inherited, **self.environment}
        environment["PYTHONPATH"] = os.pathsep.join(
            part for part in (str(REPOSITORY), environment.get("PYTHONPATH", "")) if part
        )
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=self.scratch
            )

    def wait_ready(self, seconds_max: float = READY_SECONDS_MAX) -> None:
        """Return when PING answers PONG; LOADING and a closed port mean: not yet."""
        give_up = time.monotonic() + seconds_max
        while time.monotonic() < give_up:
            if self.process is None or self.process.poll() is not None:
                raise ServerFailed(f"{self.program.name} ended while starting:\n{self.log_tail()}")
            try:
                if ask(self.port, "PING", host=self.host).startswith((b"+PONG", b"-NOAUTH")):
                    return
            except OSError:
                pass
            time.sleep(0.002)
        raise ServerFailed(f"{self.program.name} was not ready after {seconds_max:.0f} s:\n{self.log_tail()}")

    def stop(self, seconds_max: float = STOP_SECONDS_MAX) -> int:
        """SIGTERM, then wait for the clean end; returns the exit code."""
        assert self.process is not None, "not started"
        self.process.terminate()
        try:
            return self.process.wait(seconds_max)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailed(
                f"{self.program.name} did not stop within {seconds_max:.0f} s:\n{self.log_tail()}"
            ) from None

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone; harmless if it never ran."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def log_tail(self) -> str:
        if not self.log_path.exists():
            return "(no log)"
        return self.log_path.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

    def cpu_seconds(self) -> float:
        """User and system time of the process and all its threads, without its children."""
        text = Path(f"/proc/{self.pid}/stat").read_text()
        fields = text[text.rindex(")") + 2 :].split()  # the name before may hold spaces
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def rss_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE_BYTES


@contextmanager
def running(program: Program, *extra: str, directory: Path | None = None) -> Iterator[Server]:
    """A started server that is gone, with its scratch directory, when the block ends."""
    with Server(program, extra, directory) as server:
        server.start()
        yield server


def wait_until(condition: Callable[[], bool], seconds_max: float, what: str, pause: float = 0.02) -> float:
    """Poll until true; returns the seconds waited, raises TimeoutError with `what` after the bound."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds_max:
            raise TimeoutError(f"{what}: not within {seconds_max:.0f} s")
        time.sleep(pause)
    return time.monotonic() - began


def info_field(port: int, section: str, name: str) -> str:
    """One field of INFO, "" if the server does not have it."""
    for line in ask(port, "INFO", section).decode(errors="replace").splitlines():
        if line.startswith(name + ":"):
            return line.partition(":")[2]
    return ""


def turn_sigterm_into_interrupt() -> None:
    """So that `with` blocks stop their servers also when we are told to go."""

    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
