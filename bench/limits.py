"""What limits cost: one server, SET, each limit at a value that nobody reaches beside none at all.

    python -m bench.limits                      rows of one request, 50 clients; about a minute and a half
    python -m bench.limits --point set:50:16:64 --rounds 9

Stands for an operator who sets limits as a precaution: the price is what well-behaved clients pay. "none" a second time
shows how much of a difference is noise on this machine. Ratios are medians of the rounds' pairs, as everywhere here.
Not here: what limits that are not used cost, which only another version of the server could be compared with.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from subprocess import TimeoutExpired

from bench.loader import fill
from bench.measure import Sample, requests_for, sample
from bench.points import KEYS, Point, parse_point
from bench.processes import Server, ServerFailed, ask, running, turn_sigterm_into_interrupt, us_program
from bench.redis_benchmark import BenchmarkFailed

NONE = "none"
OFF = {
    "client-requests-per-second": "0",
    "client-bytes-per-second": "0",
    "user-limit": '""',
    "key-size-max": "0",
    "value-size-max": "0",
    "command-keys-max": "0",
    "transaction-seconds-max": "0",
    "watch-seconds-max": "0",
}
MOST = "2147483647"
LIMITS: dict[str, dict[str, str]] = {
    NONE: {},
    "none again": {},
    "requests of a connection": {"client-requests-per-second": MOST},
    "bytes of a connection": {"client-bytes-per-second": MOST},
    "requests and bytes of a user": {"user-limit": f'"default requests {MOST} bytes {MOST}"'},
    "connections of a user": {"user-limit": f'"* connections {MOST}"'},
    "sizes of keys and values": {"key-size-max": "64mb", "value-size-max": "64mb"},
    "keys in a command": {"command-keys-max": MOST},
    "time of transactions": {"transaction-seconds-max": MOST, "watch-seconds-max": MOST},
}
LIMITS["all of them"] = {name: value for limits in LIMITS.values() for name, value in limits.items()}


def set_limits(server: Server, limits: dict[str, str]) -> None:
    words = [word for pair in {**OFF, **limits}.items() for word in pair]
    reply = ask(server.port, "CONFIG", "SET", *words)
    if reply != b"+OK\r\n":
        raise ServerFailed(reply.decode(errors="replace"))


def measure(server: Server, point: Point, rounds: int, seconds: float) -> dict[str, list[Sample]]:
    """A run with each of the limits in every round; each round begins one further on."""
    fill(server.port, KEYS, point.value_bytes)
    requests = requests_for((server, server), point, seconds)
    found: dict[str, list[Sample]] = {name: [] for name in LIMITS}
    names = list(LIMITS)
    for number in range(rounds):
        at = number % len(names)
        for name in names[at:] + names[:at]:
            set_limits(server, LIMITS[name])
            found[name].append(sample(server, point, requests, seconds))
    return found


def line(name: str, samples: list[Sample], without: list[Sample]) -> str:
    def ratio(figure: str) -> float:
        pairs = zip(samples, without, strict=True)
        return statistics.median(getattr(one, figure) / max(getattr(other, figure), 1e-9) for one, other in pairs)

    rps = statistics.median(one.rps for one in samples)
    return f"{name:32}{rps:12,.0f}/s   throughput x{ratio('rps'):.3f}   CPU per request x{ratio('cpu_us'):.3f}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.limits", description="Measure what limits cost.")
    parser.add_argument("--point", type=parse_point, default=parse_point("set:50:1:64"), help="default set:50:1:64")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.2, help="length of one run")
    arguments = parser.parse_args()
    turn_sigterm_into_interrupt()
    try:
        with running(us_program()) as server:
            found = measure(server, arguments.point, arguments.rounds, arguments.seconds)
    except (ServerFailed, BenchmarkFailed, OSError, TimeoutExpired) as failure:
        print(f"{type(failure).__name__}: {failure}", file=sys.stderr)
        return 1
    print(f"{arguments.point}, {arguments.rounds} rounds; ratios to {NONE!r}")
    for name, samples in found.items():
        print(line(name, samples, found[NONE]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
