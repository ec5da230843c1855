"""`python -m compat`: random requests to a real redis-server and to us, compared byte for byte.

    python -m compat --commands 100000 --seed 7      both protocols, that many requests on each
    python -m compat --seed 7 --protocol 3 --shrink 60
    python -m compat --us redis                      redis-server against itself: the harness, not us, is tested

Exit 0: no difference beyond compat/COMMANDS.md. Exit 1: the findings, each with its seed and a short
stream.
"""

from __future__ import annotations

import argparse
import sys
import time

from bench.processes import (
    Program,
    Server,
    ServerFailed,
    info_field,
    running,
    turn_sigterm_into_interrupt,
    us_program,
)
from compat.differential import Differential, Ports
from compat.state import read_state, state_differences

# The stream has thousands of wrong passwords; the peer neither locks anybody nor makes guessing slow.
QUICK = (
    "--login-user-limit", "0", "--login-address-limit", "0", "--password-hash-memory", "128kb",
    "--password-hash-iterations", "1",
)  # fmt: skip
PEER_COMMAND = "redis-server --bind 127.0.0.1 --port {port} --dir {dir} --appendonly no --save ''"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m compat", description="Compare Vaylix RESP with redis-server, request by request."
    )
    parser.add_argument("--commands", type=int, default=100_000, help="steps for each protocol (default 100000)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the clock")
    parser.add_argument("--protocol", type=int, choices=(2, 3), help="only this one")
    parser.add_argument("--shrink", type=float, default=10.0, help="seconds to shrink each finding (default 10)")
    parser.add_argument("--findings", type=int, default=20, help="stop after so many kinds of difference")
    parser.add_argument("--us", help='how to start us; "redis" for a second redis-server')
    parser.add_argument("--us-option", action="append", default=[], help="one more word for our command line")
    return parser.parse_args()


def compare(arguments: argparse.Namespace, redis: Server, us: Server) -> int:
    def still_alive() -> None:
        for server in (redis, us):
            if not server.alive():
                raise ServerFailed(f"{server.program.name} ended during the run:\n{server.log_tail()}")

    run = Differential(Ports(redis.port, us.port), arguments.shrink, arguments.findings, still_alive)
    for protocol in (arguments.protocol,) if arguments.protocol else (2, 3):
        run.run(arguments.seed, protocol, arguments.commands)
    report = run.report
    for finding in report.findings.values():
        print(finding)
    lost = state_after_restart(us)
    print(
        f"seed {arguments.seed}: {report.steps} steps in {report.seconds:.0f} s, redis-server"
        f" {info_field(redis.port, 'server', 'redis_version')}; {len(report.findings)} kinds of difference,"
        f" {report.mismatches} in all"
    )
    return 0 if report.clean and not lost else 1


def state_after_restart(us: Server) -> bool:
    """What the stream left must also be there after a clean stop and start; True if something is not."""
    before = read_state(us.port)
    us.stop()
    us.start()
    lines = state_differences(before, read_state(us.port))
    if lines:
        print("after a restart of ours (redis: before, us: after):", *lines[:20], sep="\n  ")
    return bool(lines)


def main() -> int:
    arguments = parse_arguments()
    turn_sigterm_into_interrupt()
    print(f"seed {arguments.seed}", flush=True)
    try:
        with (
            running(Program("redis", PEER_COMMAND)) as redis,
            running(us_program(arguments.us), *(() if arguments.us == "redis" else QUICK), *arguments.us_option) as us,
        ):
            return compare(arguments, redis, us)
    except ServerFailed as failure:
        print(failure, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
