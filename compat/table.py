"""`python -m compat.table` writes compat/COMMANDS.md; with --check it fails if the file is not what it would write.

Three sources and no fourth: the names of Redis 7.2 (redis_commands.py), our own table of commands, and the declared
differences (differences.py). A command is "same" if we have it and nothing is declared; the differential run
(`python -m compat`) is what keeps that word honest.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from compat.differences import DIFFERENCES, Kind, of_command
from compat.page import write_or_check
from compat.redis_commands import NEW_IN_7_2, REDIS_7_2

PAGE = Path(__file__).with_name("COMMANDS.md")


def our_commands() -> dict[str, str]:
    """name -> summary, subcommands as container|sub, all in lower case."""
    from vaylix_resp.commands.registry import COMMANDS

    found: dict[str, str] = {}
    for name, spec in COMMANDS.items():
        found[name.lower()] = spec.summary
        for child, subcommand in spec.subcommands.items():
            found[f"{name.lower()}|{child.lower()}"] = subcommand.summary
    return found


def title(name: str) -> str:
    return f"`{name.replace('|', ' ').upper()}`"


def row(name: str, ours: dict[str, str]) -> tuple[str, str]:
    """(status, how) of one command of Redis."""
    if name not in ours:
        return "absent", ""
    declared = of_command(name)
    differs = [d.text for d in declared if d.kind is Kind.DIFFERENT]
    notes = [f"({d.kind.value}: {d.text})" for d in declared if d.kind is not Kind.DIFFERENT]
    if name in NEW_IN_7_2 and not notes:
        notes.append("(new in Redis 7.2)")
    return ("different" if differs else "same"), "; ".join(differs + notes)


def page(ours: dict[str, str]) -> str:
    rows = [(name, *row(name, ours)) for name in REDIS_7_2]
    counts = {status: sum(1 for _, found, _ in rows if found == status) for status in ("same", "different", "absent")}
    extra = sorted(set(ours) - set(REDIS_7_2))
    return (
        "# Commands: here and in Redis 7.2\n\n"
        "Written by `python -m compat.table`; do not edit. *Same*: replies and effects are those of Redis, to the byte,"
        " in RESP2 and RESP3; the differential run compares them with a real redis-server. *Different*: the text says"
        " how. *Absent*: the server answers `ERR unknown command` or `ERR unknown subcommand`.\n\n"
        f"Of {len(rows)} commands and subcommands: {counts['same']} same, {counts['different']} different,"
        f" {counts['absent']} absent; {len(extra)} of our own.\n\n"
        "| Redis 7.2 | here | how |\n|---|---|---|\n"
        + "".join(f"| {title(name)} | {status} | {how} |\n" for name, status, how in rows)
        + "\n## Of our own, or of other servers\n\n| command | what it does |\n|---|---|\n"
        + "".join(f"| {title(name)} | {escape(ours[name])} |\n" for name in extra)
        + "\n## Differences that are not of one command\n\n"
        + "".join(f"* {text}\n" for text in general_differences())
    )


def escape(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def general_differences() -> Iterable[str]:
    return (d.text for d in DIFFERENCES.values() if not d.commands)


def unknown_names(ours: dict[str, str]) -> list[str]:
    """Names in differences.py that neither Redis nor we have: a slip of the pen there."""
    known = set(ours) | set(REDIS_7_2)
    return sorted({name for d in DIFFERENCES.values() for name in d.commands} - known)


def main() -> int:
    ours = our_commands()
    if wrong := unknown_names(ours):
        print(f"differences.py names commands that nobody has: {', '.join(wrong)}", file=sys.stderr)
        return 1
    return write_or_check("compat.table", PAGE, page(ours))


if __name__ == "__main__":
    sys.exit(main())
