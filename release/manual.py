"""`python -m release.manual` writes the manual pages in man/; with --check it fails if they are not up to date.

vaylix.1 comes from the argument parser, vaylix.conf.5 from the comments of conf/vaylix.conf: whoever explains an option
or a directive does it there, once. They bear no date: the same sources make the same pages.
Source: man(7) and its extension .TQ.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from compat.page import write_or_check
from vaylix_resp import cli
from vaylix_resp.tools.command_tree import CONFIGURED, Command, Option, tree

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "man"
CONF = ROOT / "conf" / "vaylix.conf"
WRITTEN_BY = '.\\" Written by python -m release.manual; do not edit.\n'

EXIT_CODES = (
    ("0", "Clean stop; the command succeeded."),
    ("1", "What was asked about is not as it should be (healthcheck, cluster status, verify and the like)."),
    ("64", "Wrong usage of the command line."),
    ("65", "Damaged data: the server refuses to start; the line names file, offset and sequence."),
    ("70", "One of the program's own invariants is broken: stopped before it spreads."),
    ("74", "I/O error."),
    ("78", "Configuration, or data of a newer version: the line names the place, the directive and what to do."),
    ("130", "Interrupted by Ctrl-C; a server stops cleanly instead."),
)
FILES = (
    ("/etc/vaylix/vaylix.conf", "Configuration, by convention; see vaylix.conf(5)."),
    ("/var/lib/vaylix", "Data, where the system service keeps it (the directive dir)."),
    ("./default.vaylix", "Data, when nothing says where."),
)
ENVIRONMENT = (
    ("VAYLIX_NAME", "Each directive, upper case, dashes as underscores: VAYLIX_PORT."),
    ("VAYLIX_NAME_FILE", "The file that a secret directive is read from: VAYLIX_REQUIREPASS_FILE."),
    ("REDISCLI_AUTH", "The password with which the tools log in at a running server."),
    ("NOTIFY_SOCKET, WATCHDOG_USEC", "Set by systemd for Type=notify; see the directive supervised."),
)


def roff(text: str) -> str:
    """Text as it stands: no escape, no request at the start of a line, hyphens that can be copied as minus."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return re.sub(r"(?m)^([.'])", r"\\&\1", text)


def plain(text: str) -> str:
    """A paragraph of a comment: what it puts in `quotes` is set in bold."""
    return re.sub(r"`([^`\n]+)`", r"\\fB\1\\fR", roff(text))


def program_page() -> str:
    root = tree(cli.whole_parser())
    parts = [
        head("VAYLIX", 1),
        section("NAME", "vaylix \\- key\\-value server that speaks the Redis protocol and never lies about durability"),
        section("SYNOPSIS", "\n.br\n".join(synopsis(command) for command in root.commands)),
        section("DESCRIPTION", plain(
            "`vaylix serve` runs the server in the foreground until SIGTERM, SIGINT or SHUTDOWN; SIGHUP makes it read"
            " its certificates again. Every write goes to a log, and with `appendfsync always`, the default, it is"
            " answered only after it is on disk. The other commands look at a server or at its data. Each prints for"
            " people, with --json for programs, and says in one line on standard error what it could not do."
        )),
        section("COMMANDS", *(described(command) for command in root.walk() if command.path and not command.commands)),
        section("EXIT STATUS", *(entry(code, text) for code, text in EXIT_CODES)),
        section("ENVIRONMENT", *(entry(name, text) for name, text in ENVIRONMENT)),
        section("FILES", *(entry(name, text) for name, text in FILES)),
        section("SEE ALSO", ".BR vaylix.conf (5),\n.BR redis\\-cli (1)"),
    ]  # fmt: skip
    return "".join(parts)


def head(name: str, number: int) -> str:
    return f'{WRITTEN_BY}.TH {name} {number} "" "Vaylix RESP" ""\n'


def section(title: str, *parts: str) -> str:
    return f".SH {title}\n" + "".join(part.rstrip("\n") + "\n" for part in parts)


def entry(name: str, text: str) -> str:
    return f".TP\n.B {roff(name)}\n{plain(text)}"


def synopsis(command: Command) -> str:
    words = " ".join(("vaylix", *command.path))
    rest = "[\\fIFILE\\fR] [\\-\\-\\fIname value\\fR]..." if command.name in CONFIGURED else "\\fIverb\\fR ..."
    if not command.commands and command.name not in CONFIGURED:
        rest = "[\\fIoption\\fR]..."
    return f".B {roff(words)}\n{rest}"


def described(command: Command) -> str:
    """`.SS` with the help, what it takes, and an example."""
    lines = [f".SS vaylix {roff(' '.join(command.path))}", plain(command.help[:1].upper() + command.help[1:] + ".")]
    options = [option for option in command.options if option.names != ("-h", "--help")]
    if command.name in CONFIGURED:
        options = [option for option in options if option.value != "VALUE"]
        lines.append("Each directive of\n.BR vaylix.conf (5)\nis also an option: \\fB\\-\\-\\fIname value\\fR.")
    lines += [taken(option) for option in options]
    if (example := re.search(r"^example:\n((?:  .+\n?)+)", command.parser.epilog or "", re.M)) is not None:
        shown = roff(re.sub(r"(?m)^  ", "", example[1]).rstrip())
        lines += [".PP", "Example:", ".PP", ".nf", ".RS 4", shown, ".RE", ".fi"]
    return "\n".join(lines)


def taken(option: Option) -> str:
    value = f" \\fI{roff(option.value)}\\fR" if option.value and option.names else ""
    names = ", ".join(f"\\fB{roff(name)}\\fR" for name in option.names) or f"\\fI{roff(option.value)}\\fR"
    return f".TP\n{names}{value}\n{plain(option.help)}"


# vaylix.conf(5): groups, paragraphs of comments, and the directives under each with their defaults.

_GROUP = re.compile(r"# ---- (.+)")


def configuration_page() -> str:
    groups = re.split(r"(?m)^(?=# ---- )", CONF.read_text())
    (about, _), *_ = _paragraphs(groups[0].partition("\n#\n")[2])  # without the first line, which is for the file
    parts = [
        head("VAYLIX.CONF", 5),
        section("NAME", "vaylix.conf \\- configuration of the vaylix server"),
        section("DESCRIPTION", about),
        *(_group(text) for text in groups[1:]),
        section("SEE ALSO", ".BR vaylix (1)"),
    ]
    return "".join(parts)


def _group(text: str) -> str:
    first, _, rest = text.partition("\n")
    found = _GROUP.match(first)
    assert found is not None
    title, _, more = found[1].partition(":")
    parts = [plain(more.strip())] * bool(more.strip())
    for explained, directives in _paragraphs(rest):
        if directives:
            parts.append(".TP\n" + "\n.TQ\n".join(f".B {roff(line)}" for line in directives))
        elif parts:
            parts.append(".PP")
        parts.append(explained)
    return section(roff(title.upper()), *parts)


def _paragraphs(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each paragraph: its comment as roff, and the directives that it explains."""
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        lines = paragraph.splitlines()
        comment = [line[2:] if line.startswith("# ") else "" for line in lines if line.startswith("#")]
        yield _comment(comment), [line for line in lines if not line.startswith("#")]


def _comment(lines: list[str]) -> str:
    """Lines that are set in, such as examples and lists, stay as they are."""
    parts: list[str] = []
    for line in lines:
        if not line:
            parts += [".PP"] * bool(parts)
        elif line.startswith("  "):
            if parts[-1:] == [".fi"]:
                parts.pop()
            else:
                parts.append(".nf")
            parts += [roff(line), ".fi"]
        else:
            parts.append(plain(line))
    return "\n".join(parts).strip()


if __name__ == "__main__":
    pages = [("vaylix.1", program_page()), ("vaylix.conf.5", configuration_page())]
    sys.exit(max(write_or_check("release.manual", PAGES / name, text) for name, text in pages))
