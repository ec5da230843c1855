"""`vaylix cluster status`: the nodes of a cluster in one table, each asked for itself.

One node is asked who there is; then each of them, at the address that it gives to clients, what it knows. A node that
cannot be reached from here is shown as the leader sees it.
Promise: a leader is named only where a node with a majority behind it, or the leader itself, does so; the password is
in no line. Units: seconds; the table shows milliseconds.
Not here: what nodes answer (`commands.raft`), the way to them (`reach`).
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import hiredis

from ..config import load
from ..config_cluster import split_address
from ..config_values import BadValue
from ..errors import EX_OK
from . import reach
from .output import Group, print_json, table
from .reach import Target, connected, plain, target_of, told

EX_UNHEALTHY: Final = 1
REPLY_BYTES_MAX: Final = 1 << 20  # of one answer: fifteen nodes need a few thousand
PERIOD_S: Final = 2.0
PASSWORD: Final = "REDISCLI_AUTH"  # noqa: S105 - the variable that redis-cli reads
CLEAR: Final = "\x1b[H\x1b[2J\x1b[3J"
HEAD: Final = ("node", "address", "role", "term", "committed", "applied", "lag", "heard ms", "fsync ms", "state")
NOTHING: Final = "-"
DIFFERS: Final = "DATA DIFFERS"
WHAT_TO_DO: Final = "its data differ from the others', so it serves nobody: remove it, and let it join anew, empty"
NO_CLUSTER: Final = "0" * 32  # the cluster id that a server without a raft port gives

Status = dict[str, Any]
Ask = Callable[[Target], Status]


class Unanswered(Exception):
    """A node did not say what it was asked for; str() is why."""


@dataclass(frozen=True, slots=True)
class Credentials:
    user: str
    password: str


@dataclass(frozen=True, slots=True)
class Report:
    """`statuses` by id, of those that answered; `problems` of the others."""

    first: Status
    statuses: Mapping[str, Status]
    problems: Mapping[str, str]

    @property
    def best(self) -> Status:
        """Who knows most: the leader, else the node that was asked first."""
        return next((one for one in self.statuses.values() if one["leader-id"] == one["id"]), self.first)

    @property
    def led(self) -> bool:
        return self.best["leader-id"] is not None


def register(add: Group) -> None:
    status = add(
        "status", "show the nodes of a cluster, as each sees itself", "vaylix cluster status --port 6379 --watch"
    )
    reach.options(status)
    status.add_argument("--user", default="", help=f"user name; the password comes from {PASSWORD} or requirepass")
    status.add_argument(
        "--watch", nargs="?", type=float, const=PERIOD_S, metavar="SECONDS",
        help=f"again and again until Ctrl-C (default: every {PERIOD_S:g} seconds)",
    )  # fmt: skip
    status.add_argument("--json", action="store_true", help="print what each node says, as JSON")
    status.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    settings = load(arguments.file, (), os.environ)
    credentials = Credentials(arguments.user, os.environ.get(PASSWORD, "") or settings.requirepass)
    target = target_of(arguments, settings)

    def ask(asked: Target) -> Status:
        return _ask(asked, credentials, arguments.wait)

    while True:
        code = _once(target, ask, as_json=arguments.json, clear=arguments.watch is not None and sys.stdout.isatty())
        if arguments.watch is None:
            return code
        sys.stdout.flush()
        time.sleep(max(arguments.watch, 0.1))


def _once(target: Target, ask: Ask, *, as_json: bool, clear: bool) -> int:
    try:
        report = gather(target, ask)
    except Unanswered as problem:
        line = f"vaylix: {target.where}: {problem}"
        print("".join(c if c.isprintable() else "?" for c in line), file=sys.stderr)
        return EX_UNHEALTHY
    if as_json:
        print_json({"asked": target.where, **as_data(report)})
    else:
        print((CLEAR if clear else "") + render(report, target.where))
    return EX_OK if report.led else EX_UNHEALTHY


def gather(target: Target, ask: Ask) -> Report:
    """Raises Unanswered when the first node does not answer."""
    first = ask(target)
    statuses, problems = {first["id"]: first}, {}
    for member in first["members"]:
        if member["id"] in statuses:
            continue
        try:
            address, port = split_address(member["address"])
            found = ask(replace(target, address=address, port=port))
            if found["id"] != member["id"]:  # another network: what is at this address here is another node
                raise Unanswered("another node is at its address here")
            statuses[found["id"]] = found
        except BadValue:
            problems[member["id"]] = "its address is not known"
        except Unanswered as problem:
            problems[member["id"]] = str(problem)
    return Report(first, statuses, problems)


# For people and for programs.


def render(report: Report, asked: str) -> str:
    best = report.best
    leader = f"led by {best['leader']} at {best['leader-address'] or '?'}" if report.led else "NO LEADER IS KNOWN"
    who = report.first["name"] or "the node"
    head = f"cluster {best['cluster-id']}: {leader}, term {best['term']}, {version(best)}; asked {who} at {asked}"
    if best["cluster-id"] == NO_CLUSTER:
        head = f"no cluster: the server at {asked} has no raft-port and stands alone; term {best['term']}"
    rows = [row(report, member) for member in best["members"]]
    lines = [head, "", table(rows, HEAD)]
    wrong = [f"{shown[0]}: {WHAT_TO_DO}" for shown in rows if shown[-1] == DIFFERS]
    if wrong:
        lines += ["", *wrong]
    if report.problems:
        names = {member["id"]: member["name"] for member in report.first["members"]}
        lines += ["", *(f"{names[node]}: not asked: {why}" for node, why in report.problems.items())]
    return "\n".join(
        "".join(c if c.isprintable() else "?" for c in line) for text in lines for line in text.split("\n")
    )


def version(best: Status) -> str:
    """The cluster version in force, and who holds back the next one."""
    in_force, understood = best.get("cluster-version", 1), best.get("understands", 1)  # the first did not say
    if understood <= in_force:
        return f"version {in_force}"
    known = {member["name"] or member["id"]: member.get("understands") for member in best["members"]}
    late = [f"{name} ({'?' if most is None else most})" for name, most in known.items() if (most or 0) < understood]
    return f"version {in_force} (not yet {understood}: {', '.join(late) or 'on its way'})"


def row(report: Report, member: Mapping[str, Any]) -> list[object]:
    """What the node says of itself, else what the one that knows most says of it."""
    own = report.statuses.get(member["id"])
    role = own["role"] if own is not None else "(voter)" if member["voter"] == "true" else "(learner)"
    fsync = f"{own['fsync-avg-us'] / 1000:.1f} / {own['fsync-max-us'] / 1000:.1f}" if own is not None else NOTHING
    state = member["state"] if member["state"] != "unknown" else "ok" if own is not None else "unknown"
    if state == "differs" or (own is not None and own.get("data", "ok") != "ok"):
        state = DIFFERS
    if own is not None and own["log"] != "ok":
        state = f"LOG {own['log'].upper()}"
    shown = [
        own["term"] if own is not None else None,
        own["committed"] if own is not None else member["match"],
        own["applied"] if own is not None else None,
        member["lag"],
        member["last-contact-ms"],
    ]
    alone = own is not None and own["cluster-id"] == NO_CLUSTER  # its id lasts until the next start and says nothing
    name, address = member["name"] or (NOTHING if alone else member["id"]), member["address"] or NOTHING
    return [name, address, role, *(NOTHING if one is None else one for one in shown), fsync, state]


def as_data(report: Report) -> dict[str, Any]:
    best = report.best
    nodes = []
    for member in best["members"]:
        answered = report.statuses.get(member["id"])
        own = None if answered is None else {name: value for name, value in answered.items() if name != "members"}
        kinds = {name: member[name] == "true" for name in ("leader", "voter")}
        nodes.append({**member, **kinds, "status": own, "problem": report.problems.get(member["id"])})
    named = ("cluster-id", "term", "leader", "leader-id", "leader-address")
    return {**{name: best[name] for name in named}, "cluster-version": best.get("cluster-version", 1), "nodes": nodes}


# Asking.


def _ask(target: Target, credentials: Credentials, wait_s: float) -> Status:
    """Raises Unanswered."""
    hello: tuple[str, ...] = ("HELLO", "3")
    if credentials.password:
        hello += ("AUTH", credentials.user or "default", credentials.password)
    try:
        with connected(target, wait_s) as connection:
            _request(connection, hello)
            status: Status = plain(_request(connection, ("RAFT", "STATUS")))
            return status
    except (OSError, OverflowError) as error:
        raise Unanswered(told(error)) from error


def _request(connection: socket.socket, words: tuple[str, ...]) -> Any:
    encoded: Any = tuple(word.encode("utf-8", "surrogateescape") for word in words)
    connection.sendall(hiredis.pack_command(encoded))
    reader, taken = hiredis.Reader(notEnoughData=Ellipsis), 0
    while (reply := reader.gets()) is Ellipsis:
        data = connection.recv(65536)
        taken += len(data)
        if not data or taken > REPLY_BYTES_MAX:
            raise Unanswered("closed the connection" if not data else "its answer does not end")
        reader.feed(data)
    if isinstance(reply, hiredis.ReplyError):
        raise Unanswered(str(reply))
    return reply
