"""`python -m tests.changes`: the cluster changes under load, in the long form.

    python -m tests.changes --rounds 5 --clients 12
    python -m tests.changes --old ../an-older-checkout       the nodes begin with that software: a real rolling upgrade

Each round grows one node to three and five, goes back to three, replaces every node once, restarts every node once and
goes back to one, with clients writing all the time. Fails if a request fails, or an acknowledged write is lost or doubled.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path

from bench.processes import Program, turn_sigterm_into_interrupt
from tests.changes.story import Story


def older(checkout: Path) -> Program:
    """The server of another checkout."""
    path = shlex.quote(f"PYTHONPATH={checkout.resolve()}")  # its children, too
    return Program("older", f"env {path} {{python}} -m vaylix_resp serve --port {{port}} --dir {{dir}}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.changes", description="Changes of a cluster under load.")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--old", type=Path, metavar="CHECKOUT", help="begin with this software; one round")
    arguments = parser.parse_args()
    turn_sigterm_into_interrupt()
    old = older(arguments.old) if arguments.old is not None else None
    with ExitStack() as stack:
        story = Story(stack, clients=arguments.clients, old=old)
        print(story.play(1 if old is not None else arguments.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
