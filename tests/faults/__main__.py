"""Three real servers under real faults: `python -m tests.faults --minutes 10 [--seed N] [--nodes 3]`.

Each server is a process in a network namespace of its own, with a small disk of its own; a schedule drawn from the seed
kills and stops them, cuts the network, fills disks and lets fsync fail, while clients write and read on all of them.
Then everything is healed, and what clients were told must make sense; then the next round. Exit code: 0 if all of it
was as it should be, 1 if not (data directories, logs and histories are kept, and the place is named), 78 where it
cannot run at all.
Needs root, a kernel with network namespaces and nftables, and Debian's iproute2, nftables, strace. About 500 requests a
second; the machine's own network and disks are left alone.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from bench.processes import ServerFailed, turn_sigterm_into_interrupt
from tests.faults.faults import FAULTS, Striker
from tests.faults.network import PREFIX, Network, Unusable
from tests.faults.nodes import Nodes
from tests.faults.rounds import Rounds
from tests.faults.schedule import Schedule
from vaylix_resp.errors import EX_CONFIG

ROUND_SECONDS = 40.0
CLIENTS = 12
TERMS_PER_FAULT = 2  # a fault may cost an election, and another one when it heals; more is a cluster that cannot settle
TERMS_FREE = 10


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="no round begins later (default %(default)s)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--nodes", type=int, default=3, choices=(3, 5), help="how many servers (default %(default)s)")
    parser.add_argument("--only", help="kinds of fault, by commas; default: all")
    parser.add_argument(
        "--leader-seconds", type=float, default=10.0, help="from a heal to a leader (default %(default)s)"
    )
    parser.add_argument("--server-option", action="append", default=[], help="one more word for the servers")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    arguments = parse_arguments(words)
    turn_sigterm_into_interrupt()
    kinds = arguments.only.split(",") if arguments.only else list(FAULTS)
    if unknown := set(kinds) - set(FAULTS):
        print(f"unknown: {', '.join(unknown)}; there are {', '.join(FAULTS)}", file=sys.stderr)
        return EX_CONFIG
    try:
        with Network(arguments.nodes) as network:
            if "delay" in kinds and not network.delay(1, 1):
                kinds.remove("delay")
                say("this kernel has no netem: no delays")
            network.delay(1, 0)
            with Nodes(network, tuple(arguments.server_option)) as nodes:
                return play(arguments, nodes, kinds)
    except Unusable as why:
        print(f"cannot run here: {why}", file=sys.stderr)
        return EX_CONFIG
    except ServerFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; servers, mounts and namespaces are gone", file=sys.stderr)
        return 130


def play(arguments: argparse.Namespace, nodes: Nodes, kinds: list[str]) -> int:
    schedule = Schedule(arguments.seed, [FAULTS[kind].card for kind in kinds])
    striker = Striker(nodes, arguments.seed)
    rounds = Rounds(nodes, striker, arguments.seed, CLIENTS, arguments.leader_seconds, say)
    term, began = nodes.term(), time.monotonic()
    say(f"seed {arguments.seed}, {arguments.nodes} nodes")
    fine = True
    while fine and (rounds.totals.rounds == 0 or time.monotonic() - began < arguments.minutes * 60):
        fine = rounds.play(schedule.round(min(ROUND_SECONDS, arguments.minutes * 60)))
    terms = nodes.term() - term
    strikes = sum(striker.counts.values())
    if terms > TERMS_PER_FAULT * strikes + TERMS_FREE:
        rounds.totals.findings.append(f"{terms} terms in {strikes} faults")
    report(rounds, striker, nodes, terms, time.monotonic() - began)
    if rounds.totals.findings:
        print(f"kept: {keep(rounds, nodes)}")
        return 1
    return 0


def report(rounds: Rounds, striker: Striker, nodes: Nodes, terms: int, seconds: float) -> None:
    totals = rounds.totals
    print(f"\n{totals.rounds} rounds in {seconds / 60:.1f} minutes")
    print(f"faults: {sum(striker.counts.values())} ({striker.skipped} could not be done)")
    for name, count in sorted(striker.counts.items()):
        print(f"  {count:5} {name}")
    print(f"ends of processes: {', '.join(f'{count} {how}' for how, count in sorted(nodes.ends.items())) or 'none'}")
    print(f"log writes whose fsync failed: {nodes.fsyncs_failed}")
    print("requests:")
    for outcome, count in sorted(totals.outcomes.items(), key=lambda item: -item[1]):
        print(f"  {count:7} {outcome}")
    print(f"calls put into an order: {totals.checked}")
    print(f"longest time without an acknowledged write: {totals.longest_gap:.2f} s")
    print(f"longest time from the last heal of a round to a leader: {totals.leader_after:.2f} s")
    print(f"terms: {terms} more")
    for finding in totals.findings:
        print(f"WRONG: {finding}")
    print("result: " + ("WRONG" if totals.findings else "linearizable, nothing lost, all nodes equal"))


def keep(rounds: Rounds, nodes: Nodes) -> Path:
    place = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-kept-"))
    nodes.keep(place)
    (place / "findings").write_text("\n".join(rounds.totals.findings) + "\n")
    for number, history in enumerate(rounds.totals.histories, 1):
        (place / f"history-{number}").write_text("\n".join(history.lines()) + "\n")
    return place


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
