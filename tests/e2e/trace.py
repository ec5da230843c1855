"""An strace log as a list of calls, with where each began and ended in the order of the log.

strace writes a call that another thread interrupted as two lines, "<unfinished ...>" and "<... resumed>"; here they
are one Call whose `began` and `ended` are the numbers of these lines. A call on one line is atomic in that order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LINE = re.compile(r"^(?P<pid>\d+) +(?P<rest>.*)$")
CALL = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*)$")
RESUMED = re.compile(r"^<\.\.\. (?P<name>\w+) resumed>(?P<arguments>.*)$")
RESULT = re.compile(r"\)\s+= (?P<result>-?\d+|0x[0-9a-f]+|\?)(?P<more>.*)$")
FD = re.compile(r"^(?P<number>\d+|AT_FDCWD)<(?P<name>(?:[^<>]|<[^<>]*>|->)*)>")
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "v": "\v", "f": "\f", '"': '"', "\\": "\\"}
ESCAPE = re.compile(r"\\(x[0-9a-f]{1,2}|[0-7]{1,3}|.)")


@dataclass
class Call:
    pid: int
    name: str
    arguments: str
    began: int
    ended: int
    result: int  # -1 for an error or a call that never returned
    quoted: list[str] = field(default_factory=list)

    @property
    def fd_name(self) -> str:
        """What the first argument refers to: a path, or TCP:[here->there]; "" if it is no descriptor."""
        found = FD.match(self.arguments)
        return found["name"] if found else ""

    @property
    def fd_number(self) -> int:
        found = FD.match(self.arguments)
        return int(found["number"]) if found and found["number"].isdigit() else -1

    @property
    def is_tcp(self) -> bool:
        return self.fd_name.startswith(("TCP:[", "TCPv6:["))

    @property
    def data(self) -> str:
        """What was read or written, all parts of a vector together."""
        return "".join(self.quoted)


def unescape(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] == "x":
            return chr(int(code[1:], 16))
        return chr(int(code, 8)) if code[0].isdigit() else ESCAPES.get(code, code)

    return ESCAPE.sub(one, text)


def read_trace(path: Path) -> list[Call]:
    """All calls, in the order in which they began."""
    calls = list(parse(path.read_text(errors="replace").splitlines()))
    return sorted(calls, key=lambda call: call.began)


def parse(lines: list[str]) -> Iterator[Call]:
    open_calls: dict[int, tuple[int, str, str]] = {}
    for number, text in enumerate(lines):
        line = LINE.match(text)
        if not line:
            continue
        pid, rest = int(line["pid"]), line["rest"]
        resumed = RESUMED.match(rest)
        if resumed and pid in open_calls:
            began, name, arguments = open_calls.pop(pid)
            yield finish(pid, name, arguments + resumed["arguments"], began, number)
        elif (call := CALL.match(rest)) is not None:
            if rest.endswith("<unfinished ...>"):
                open_calls[pid] = (number, call["name"], call["arguments"].removesuffix("<unfinished ...>"))
            else:
                yield finish(pid, call["name"], call["arguments"], number, number)


def finish(pid: int, name: str, text: str, began: int, ended: int) -> Call:
    result = RESULT.search(text)
    value = -1 if result is None or result["result"] == "?" else int(result["result"], 0)
    arguments = text[: result.start()] if result else text
    # An fd that the call returns is named behind the result; keep it where openat's caller looks for it.
    more = result["more"] if result else ""
    quoted = [unescape(part) for part in QUOTED.findall(arguments)]
    return Call(
        pid, name, arguments + more if name in ("openat", "open", "creat") else arguments, began, ended, value, quoted
    )
