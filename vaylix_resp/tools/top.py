"""`vaylix top`: a running server, or all nodes of its cluster, as it works: rates, latency, fsync, lag, who and what.

Asks METRICS and RAFT STATUS of each node and CLIENT LIST of the first, every few seconds over connections that stay
open. On a terminal the screen is drawn anew each time, in the terminal's second screen, with plain escape sequences;
elsewhere one frame follows the other. All nodes are asked at once.
Promises: the terminal is as it was when this ends, however it ends; nothing waits longer than was asked for, and for a
node that is silent only once; the password is in no line. Units: seconds.
Not here: what is shown (`top_frame`) and how it is worked out (`top_figures`).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import asdict, replace
from threading import Thread
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
GRACE_S: Final = 0.1  # for a node that was silent last time: all that it delays the picture of the others
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
        self._open: dict[str, Channel] = {}  # by address, as all of these
        self._asking: dict[str, Future[Sample]] = {}  # who has not answered so far
        self._silent: dict[str, str] = {}  # who did not answer last time, and why
        self._before: dict[str, Sample] = {}
        self._members: list[Target] = []  # the others, as they were last

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *error: object) -> None:
        for channel in list(self._open.values()):
            channel.close()

    def look(self) -> list[Node]:
        """The first node and then the others; when it is gone, another one is the first. Raises Unanswered."""
        first = self._first()
        members = [member for member in first.status["members"] if member["id"] != first.status["id"]]
        others = [(member, self._target_of(member)) for member in members]
        self._members = [target for _, target in others if target is not None]
        said = self._samples(self._members, first=False)
        samples = [first, *(self._other(member, said[target.where] if target else None) for member, target in others)]
        before, self._before = self._before, {one.address: one for one in samples if not one.problem}
        return [
            Node(one, between(before[one.address], one) if one.address in before and not one.problem else None)
            for one in samples
        ]

    def _first(self) -> Sample:
        asked = self._samples([self._target], first=True)[self._target.where]
        if not asked.problem:
            return asked
        said = self._samples(self._members, first=True)
        for target in self._members:
            if not said[target.where].problem:
                self._target = target  # the next looks begin with it, so that they do not wait for the one that is gone
                return said[target.where]
        raise Unanswered(f"{asked.address}: {asked.problem}")

    def _target_of(self, member: Mapping[str, Any]) -> Target | None:
        """Where clients reach it; None: it has not said so yet."""
        try:
            address, port = split_address(member["address"])
        except BadValue:
            return None
        return replace(self._target, address=address, port=port)

    def _other(self, member: Mapping[str, Any], said: Sample | None) -> Sample:
        name = member["name"] or member["id"]
        if said is None:
            return Sample(name, "", time.monotonic(), problem="its address is not known")
        if not said.problem and said.status["id"] != member["id"]:  # another network: here it is another node
            return Sample(name, said.address, said.at, problem="another node is at its address here")
        return replace(said, name=name)

    def _samples(self, targets: Sequence[Target], *, first: bool) -> dict[str, Sample]:
        """What they say, by address, all asked at once. One that was silent last time is hardly waited for, unless it
        is to be the first: what it says counts when it comes."""
        asked = {target.where: self._ask(target, first=first) for target in targets}
        wait([answer for where, answer in asked.items() if first or where not in self._silent], self._wait_s)
        wait(asked.values(), GRACE_S)
        return {where: self._taken(where, answer) for where, answer in asked.items()}

    def _ask(self, target: Target, *, first: bool) -> Future[Sample]:
        """On a thread of its own, for which nobody has to wait, not even the end of this program."""
        answer = self._asking.get(target.where)
        if answer is None:
            answer = self._asking[target.where] = Future()
            Thread(target=_resolve, args=(answer, lambda: self._sample(target, first=first)), daemon=True).start()
        return answer

    def _taken(self, where: str, answer: Future[Sample]) -> Sample:
        if not answer.done():
            said = Sample(where, where, time.monotonic(), problem=self._silent.get(where, "no answer so far"))
        else:
            del self._asking[where]
            said = answer.result()
        if said.problem:
            self._silent[where] = said.problem
        else:
            self._silent.pop(where, None)
        return said

    def _sample(self, target: Target, *, first: bool) -> Sample:
        """What a node says; a connection that was lost is opened again at the next look."""
        questions = (*QUESTIONS, CLIENTS) if first else QUESTIONS
        try:
            replies = self._channel(target).all(questions)
        except (OSError, OverflowError, Refused) as problem:
            channel = self._open.pop(target.where, None)
            if channel is not None:
                channel.close()
            said = str(problem) if isinstance(problem, Refused) else told(problem)
            return Sample(target.where, target.where, time.monotonic(), problem=said)
        at = time.monotonic()
        refused = next((one for one in replies if isinstance(one, hiredis.ReplyError)), None)
        if refused is not None:
            return Sample(target.where, target.where, at, problem=str(refused))
        metrics, status = plain(replies[0]), plain(replies[1])
        clients = _clients(replies[2]) if first else ()
        return Sample(status["name"] or target.where, target.where, at, time.time(), metrics, status, clients)

    def _channel(self, target: Target) -> Channel:
        """Raises OSError, Denied."""
        channel = self._open.get(target.where)
        if channel is None:
            channel = Channel(Address(target, self._user, self._password, None), self._wait_s)
            self._open[target.where] = channel
            channel.ask(b"HELLO", b"3")
        return channel


def _resolve(answer: Future[Sample], ask: Callable[[], Sample]) -> None:
    try:
        answer.set_result(ask())
    except BaseException as mistake:  # ours: whoever looks at the answer meets it
        answer.set_exception(mistake)


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


