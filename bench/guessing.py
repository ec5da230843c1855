"""What password guessing costs everybody else: `python -m bench.guessing`.

Issue 4, shown by 2. Ten connections, each from an address of its own, send 100 wrong passwords a second, half of them
for a user that exists. Beside them a logged-in client asks 200 times a second, one request at a time, so that its
latencies are those of the server and not of a queue of its own. Quiet, under attack, quiet again; then the same with
lockout switched off, where every guess costs a derivation: what an attacker reaches who is never locked out.

It stands for a stolen list of names being tried against a server that faces a network. Units: ms, bytes, seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import multiprocessing
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Event

from bench.processes import Server, ask, info_field, turn_sigterm_into_interrupt, us_program
from compat.frames import Wire, encode

GUESSERS = 10
GUESSES_PER_SECOND = 100
ASKS_PER_SECOND = 200
PASSWORD = b"correct horse"
LOCKS = ("login_locks_user", "login_locks_pair", "login_locks_address")
REFUSALS = ("login_refused_user_locked", "login_refused_pair_locked", "login_refused_address_locked")
COUNTERS = ("login_failures", *LOCKS, *REFUSALS, "login_records")
MEMORY_GROWTH_MAX = 192 << 20  # two derivations of 64 MiB are under way at most; the rest is room
SETTLE_SECONDS = 1.0  # what is in flight when a phase ends belongs to no phase


@dataclass(frozen=True, slots=True)
class Phase:
    """What the client met; `rss` is the server's memory at the end of it."""

    name: str
    waits_ms: list[float]
    rss: int

    def percentile(self, share: float) -> float:
        ordered = sorted(self.waits_ms)
        return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]

    def line(self) -> str:
        p50, p99, slowest = self.percentile(0.5), self.percentile(0.99), max(self.waits_ms)
        waits = f"p50 {p50:7.2f} ms  p99 {p99:7.2f} ms  slowest {slowest:7.1f} ms"
        return f"{self.name:<24} {waits}  RSS {self.rss >> 20} MiB"


def connect(port: int, source: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))
    connection.setblocking(False)
    return connection


def guess_all(port: int, ready: Event, stop: Event) -> None:
    """A process of its own, so that the client that is measured does not wait for the guessers' interpreter."""
    guessers = [threading.Thread(target=guess, args=(port, number, stop)) for number in range(GUESSERS)]
    for guesser in guessers:
        guesser.start()
    ready.set()
    for guesser in guessers:
        guesser.join()


def guess(port: int, number: int, stop: Event) -> None:
    """One guesser: a wrong password each tenth of a second, whether or not the last one has been answered."""
    source = f"127.0.0.{number + 2}"
    connection = connect(port, source)
    due, sent = time.monotonic(), 0
    while not stop.is_set():
        user = b"victim" if sent % 2 else b"nobody%d" % sent
        try:
            connection.sendall(encode((b"AUTH", user, b"wrong %d %d" % (number, sent))))
            drain(connection)
        except OSError:
            connection.close()
            connection = connect(port, source)
        sent += 1
        due += GUESSERS / GUESSES_PER_SECOND
        stop.wait(max(0.0, due - time.monotonic()))


def drain(connection: socket.socket) -> None:
    """Take what has come without waiting for more, so that the server never waits for this client."""
    with contextlib.suppress(BlockingIOError):
        while True:
            if not connection.recv(1 << 16):
                raise ConnectionResetError("the server has closed the connection")


def measure(name: str, server: Server, wire: Wire, seconds: float) -> Phase:
    """Ask for `seconds`; a request that is late because the one before was slow counts from when it was due."""
    waits, began, number = [], time.monotonic(), 0
    request = encode((b"SET", b"key", b"x" * 64)), encode((b"GET", b"key"))
    while (due := began + number / ASKS_PER_SECOND) < began + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        wire.send(request[number % 2])
        wire.frames(1)
        waits.append((time.monotonic() - due) * 1000)
        number += 1
    return Phase(name, waits, server.rss_bytes())


def attacked(name: str, server: Server, wire: Wire, seconds: float) -> Phase:
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Event(), context.Event()
    guessers = context.Process(target=guess_all, args=(server.port, ready, stop), daemon=True)
    guessers.start()
    ready.wait()
    try:
        return measure(name, server, wire, seconds)
    finally:
        stop.set()
        guessers.join()
        time.sleep(SETTLE_SECONDS)


def counters(server: Server) -> dict[str, int]:
    return {name: int(info_field(server.port, "stats", name) or 0) for name in COUNTERS}


def run(seconds: float, bound: float) -> int:
    load = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"load of this machine before: {load}; p99 means little while others are at work on it")
    with Server(us_program()) as server:
        server.start()
        wire = Wire(server.port)
        wire.ask(b"ACL", b"SETUSER", b"victim", b"on", b">" + PASSWORD, b"~*", b"+@all")
        assert wire.ask(b"AUTH", b"victim", PASSWORD) == b"+OK\r\n"
        phases = [
            measure("quiet", server, wire, seconds),
            attacked("guessing, lockout on", server, wire, seconds),
            measure("quiet again", server, wire, seconds),
        ]
        locked = counters(server)
        for name in ("login-user-limit", "login-address-limit"):
            ask(server.port, "CONFIG", "SET", name, "0")
        phases.append(attacked("guessing, lockout off", server, wire, seconds))
        still_in = wire.ask(b"ACL", b"WHOAMI") == b"$6\r\nvictim\r\n"
        for phase in phases:
            print(phase.line())
        quiet = max(phases[0].percentile(0.99), phases[2].percentile(0.99))
        ratios = [phase.percentile(0.99) / quiet for phase in (phases[1], phases[3])]
        print(f"p99 under attack / quiet: {ratios[0]:.2f} with lockout, {ratios[1]:.2f} without")
        print(f"memory: {(phases[3].rss - phases[0].rss) / (1 << 20):+.1f} MiB since before the attacks")
        print("with lockout: " + ", ".join(f"{name} {count}" for name, count in locked.items()))
        wrong = []
        if phases[3].rss - phases[0].rss > MEMORY_GROWTH_MAX:
            wrong.append("memory grew by more than what the workers need")
        if not sum(locked[name] for name in LOCKS):
            wrong.append("nobody was locked out")
        if not still_in:
            wrong.append("the victim's own session did not go on")
        if ratios[0] > bound:
            wrong.append(f"p99 is more than {bound} times that of a quiet server")
        for fault in wrong:
            print(f"NOT as promised: {fault}", file=sys.stderr)
        return bool(wrong)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.guessing", description="What guessing costs others.")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of each of the four phases (default 15)")
    parser.add_argument("--bound", type=float, default=2.0, help="exit 1 if p99 grows more (default 2 times)")
    arguments = parser.parse_args()
    turn_sigterm_into_interrupt()
    return run(arguments.seconds, arguments.bound)


if __name__ == "__main__":
    sys.exit(main())
