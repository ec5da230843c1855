"""What access control costs: `python -m bench.acl`.

SET and GET through redis-benchmark as four users of one server, in turn, round by round: `default` as it comes, a user
with all keys (one bit test per request), one whose keys have to match the second of two patterns, and one whose own
rules and first two selectors do not allow the key while the third does. Each figure is the median over the rounds of
the ratio to `default` in the same round, so that a machine that gets slower in the middle of it does not decide.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from bench.points import Point
from bench.processes import Server, ask, turn_sigterm_into_interrupt, us_program
from bench.redis_benchmark import run_benchmark

PASSWORD = "bench"  # noqa: S105 - of a server that lives as long as this program
# The keys of redis-benchmark are key:000000000000 and so on.
USERS = {
    "default": "",
    "all-keys": "~* &* +@all",
    "patterns": "~other:* ~key:* &* +@all",
    "selectors": "&* +@all (~one:* +@all) (~two:* +@all) (~key:* +@all)",
}
RUN_SECONDS_MAX = 60.0
WARM_UP_REQUESTS = 2_000


def prepare(server: Server) -> None:
    for name, rules in USERS.items():
        if rules:
            reply = ask(server.port, "ACL", "SETUSER", name, "on", f">{PASSWORD}", *rules.split())
            assert reply == b"+OK\r\n", reply


def rate(server: Server, user: str, point: Point, requests: int) -> float:
    options = ("--user", user, "-a", PASSWORD) if USERS[user] else ()
    return run_benchmark(server.port, point, requests, RUN_SECONDS_MAX, options).rps


def measure(server: Server, point: Point, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Requests per second of each user in each round; the order turns."""
    for user in USERS:
        rate(server, user, point, WARM_UP_REQUESTS)  # its password is verified once, and then remembered
    requests = max(WARM_UP_REQUESTS, int(rate(server, "default", point, 5 * WARM_UP_REQUESTS) * seconds))
    found: dict[str, list[float]] = {user: [] for user in USERS}
    names = list(USERS)
    for number in range(rounds):
        for user in names[number % len(names) :] + names[: number % len(names)]:
            found[user].append(rate(server, user, point, requests))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.acl", description="What access control costs per request.")
    parser.add_argument("--rounds", type=int, default=8, help="each with every user once (default 8)")
    parser.add_argument("--seconds", type=float, default=1.0, help="about the length of one run (default 1)")
    parser.add_argument("--clients", type=int, default=50, help="connections (default 50)")
    parser.add_argument("--pipeline", type=int, default=16, help="requests under way on each (default 16)")
    arguments = parser.parse_args()
    turn_sigterm_into_interrupt()
    with Server(us_program()) as server:
        server.start()
        prepare(server)
        print(f"{'':4} {'user':10} {'requests/s':>10}  / default")
        for workload in ("set", "get"):
            point = Point(workload, arguments.clients, arguments.pipeline, 64)
            found = measure(server, point, arguments.rounds, arguments.seconds)
            for user, rates in found.items():
                ratio = statistics.median(one / base for one, base in zip(rates, found["default"], strict=True))
                print(f"{workload:4} {user:10} {statistics.median(rates):10.0f}  {ratio:.3f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
