"""`vaylix top`: a running server, or all nodes of its cluster, as it works: rates, latency, fsync, lag, who and what.

Asks METRICS and RAFT STATUS of each node and CLIENT LIST of the first, every few seconds over connections that stay
open. On a terminal the screen is drawn anew each time, in the terminal's second screen, with plain escape sequences;
elsewhere one frame follows the other.
Promises: the terminal is as it was when this ends, however it ends; nothing waits longer than was asked for; the
password is in no line. Units: seconds.
Not here: what is shown (`top_frame`) and how it is worked out (`top_figures`).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Final

import hiredis

from ..config import load
from ..config_cluster import split_address
from ..config_values import BadValue
from ..errors import EX_OK, Refused
from . import reach
from .cluster import EX_UNHEALTHY, PASSWORD
from .moving.channel import Address, Channel
from .reach import Target, plain, target_of, told
from .terminal import Terminal
from .top_figures import Sample, between
from .top_frame import SORTS, Node, View, frame

PERIOD_S: Final = 2.0
PERIOD_S_MIN: Final = 0.2
QUESTIONS: Final = ((b"METRICS",), (b"RAFT", b"STATUS"))
CLIENTS: Final = (b"CLIENT", b"LIST")


class Unanswered(Refused):
    """The first node did not say what it was asked for."""

    exit_code = EX_UNHEALTHY


def options(parser: argparse.ArgumentParser) -> None:
    reach.options(parser)
    parser.add_argument("--user", default="", help=f"user name; the password comes from {PASSWORD} or requirepass")
    parser.add_argument(
        "--interval", type=float, default=PERIOD_S, metavar="SECONDS", help=f"between two looks (default: {PERIOD_S:g})"
    )
    parser.add_argument("--once", action="store_true", help="look twice, an interval apart, print one frame and end")
    parser.add_argument("--json", action="store_true", help="print each frame as one line of JSON")
    parser.add_argument("--sort", choices=list(SORTS), default="time", help="order of commands (default: time)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    settings = load(arguments.file, (), os.environ)
    password = os.environ.get(PASSWORD, "") or settings.requirepass
    period_s = max(arguments.interval, PERIOD_S_MIN)
    with Group(target_of(arguments, settings), arguments.user, password, arguments.wait) as group:
        if arguments.once or arguments.json or not sys.stdout.isatty():
            return _print(group, period_s, arguments)
        return _watch(group, period_s, arguments.sort)


# The nodes.


class Group:
    """The node that was asked and the members that it names, each with a connection that stays open."""

    def __init__(self, target: Target, user: str, password: str, wait_s: float) -> None:
        self._target, self._user, self._password, self._wait_s = target, user, password, wait_s
        self._open: dict[str, Channel] = {}  # by address
        self._before: dict[str, Sample] = {}  # by address
        self._members: list[Target] = []  # the others, as they were last

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *error: object) -> None:
        for channel in self._open.values():
            channel.close()

    def look(self) -> list[Node]:
        """The first node and then the others; when it is gone, another one is the first. Raises Unanswered."""
        first = self._first()
        others = [member for member in first.status["members"] if member["id"] != first.status["id"]]
        self._members = [target for target in map(self._target_of, others) if target is not None]
        samples = [first, *map(self._other, others)]
        before, self._before = self._before, {one.address: one for one in samples if not one.problem}
        return [
            Node(one, between(before[one.address], one) if one.address in before and not one.problem else None)
            for one in samples
        ]

    def _first(self) -> Sample:
        asked = self._sample(self._target, self._target.where, first=True)
        if not asked.problem:
            return asked
        for target in self._members:
            found = self._sample(target, target.where, first=True)
            if not found.problem:
                return found
        raise Unanswered(f"{asked.address}: {asked.problem}")

    def _target_of(self, member: Mapping[str, Any]) -> Target | None:
        """Where clients reach it; None: it has not said so yet."""
        try:
            address, port = split_address(member["address"])
        except BadValue:
            return None
        return replace(self._target, address=address, port=port)

    def _other(self, member: Mapping[str, Any]) -> Sample:
        name, target = member["name"] or member["id"], self._target_of(member)
        if target is None:
            return Sample(name, "", time.monotonic(), problem="its address is not known")
        sample = self._sample(target, name)
        if not sample.problem and sample.status["id"] != member["id"]:  # another network: here it is another node
            return Sample(name, sample.address, sample.at, problem="another node is at its address here")
        return sample

    def _sample(self, target: Target, name: str, *, first: bool = False) -> Sample:
        """What a node says; a connection that was lost is opened again at the next look."""
        questions = (*QUESTIONS, CLIENTS) if first else QUESTIONS
        try:
            replies = self._channel(target).all(questions)
        except (OSError, OverflowError, Refused) as problem:
            channel = self._open.pop(target.where, None)
            if channel is not None:
                channel.close()
            said = str(problem) if isinstance(problem, Refused) else told(problem)
            return Sample(name, target.where, time.monotonic(), problem=said)
        at = time.monotonic()
        refused = next((one for one in replies if isinstance(one, hiredis.ReplyError)), None)
        if refused is not None:
            return Sample(name, target.where, at, problem=str(refused))
        metrics, status = plain(replies[0]), plain(replies[1])
        clients = _clients(replies[2]) if first else ()
        return Sample(status["name"] or name, target.where, at, time.time(), metrics, status, clients)

    def _channel(self, target: Target) -> Channel:
        """Raises OSError, Denied."""
        channel = self._open.get(target.where)
        if channel is None:
            channel = Channel(Address(target, self._user, self._password, None), self._wait_s)
            self._open[target.where] = channel
            channel.ask(b"HELLO", b"3")
        return channel


def _clients(reply: Any) -> list[dict[str, str]]:
    """CLIENT LIST's lines as fields; ourselves are one of them."""
    lines = plain(reply).splitlines()
    return [dict(word.partition("=")[::2] for word in line.split(" ")) for line in lines if line]


# Printing, and watching.


def _print(group: Group, period_s: float, arguments: argparse.Namespace) -> int:
    """A frame after each interval; `--once`: one."""
    group.look()
    while True:
        time.sleep(period_s)
        nodes = group.look()
        if arguments.json:
            print(json.dumps(as_data(nodes)), flush=True)
        else:
            size = shutil.get_terminal_size()
            height = size.lines if sys.stdout.isatty() else 10_000
            rows = frame(nodes, _view(size.columns, height, arguments.sort, period_s))
            print("\n".join(row.text for row in rows[:-1]), flush=True)  # without the line about keys
        if arguments.once:
            return EX_OK


def _watch(group: Group, period_s: float, sort: str) -> int:
    nodes = group.look()
    view = _view(0, 0, sort, period_s)
    with Terminal(sys.stdin, sys.stdout) as terminal:
        next_at = time.monotonic() + PERIOD_S_MIN  # soon, for the first rates
        while True:
            width, height = terminal.size()
            terminal.draw(frame(nodes, replace(view, width=width, height=height)))
            key = terminal.key(None if view.paused else max(next_at - time.monotonic(), 0.0))
            if key in ("q", "Q", terminal.CLOSED):
                return EX_OK
            if key == " ":
                view = replace(view, paused=not view.paused)
            elif key == "s":
                order = list(SORTS)
                view = replace(view, sort=order[(order.index(view.sort) + 1) % len(order)])
            if not view.paused and time.monotonic() >= next_at:
                nodes, problem = _look_again(group, nodes)
                view = replace(view, clock=_time_of_day(), problem=problem)
                next_at = time.monotonic() + period_s


def _look_again(group: Group, nodes: list[Node]) -> tuple[list[Node], str]:
    """The nodes as they are now, or as they were and why: a server that starts again is shown again."""
    try:
        return group.look(), ""
    except Unanswered as problem:
        return nodes, f"no answer from {problem}"


def _view(width: int, height: int, sort: str, period_s: float) -> View:
    return View(width, height, sort, period_s=period_s, clock=_time_of_day())


def _time_of_day() -> str:
    return time.strftime("%H:%M:%S")


def as_data(nodes: list[Node]) -> dict[str, Any]:
    """For programs: numbers as they are, null where there is none."""
    return {
        "nodes": [
            {
                "name": node.sample.name,
                "address": node.sample.address,
                "problem": node.sample.problem or None,
                "status": {name: value for name, value in node.sample.status.items() if name != "members"},
                "figures": None if node.figures is None else asdict(node.figures),
            }
            for node in nodes
        ],
        "members": nodes[0].sample.status["members"],
        "clients": list(nodes[0].sample.clients),
    }


