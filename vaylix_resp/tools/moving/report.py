"""What an import says at its end, for people and as JSON.

Not here: progress (`tools.output`), errors (`cli`).
"""

from __future__ import annotations

import argparse
from typing import Any, Final

from ..output import print_json
from .target import Mark
from .verify import Verdict

NOT_COMPARED: Final = "not compared: the files hold commands, not values; each was answered without an error"


def report(
    mark: Mark, verdict: Verdict | None, facts: dict[str, Any], arguments: argparse.Namespace, target: str
) -> None:
    """Print it. `facts`: seconds, resumed, mended."""
    if not arguments.json:
        print("\n".join(lines(mark, verdict, facts, arguments)))
        return
    compared: dict[str, Any] = {"how": "none" if verdict is None else arguments.verify}
    if verdict is not None:
        compared |= {
            "keys": verdict.keys, "values": verdict.values, "differences": verdict.differences,
            "moving": verdict.moving, "examples": verdict.shown,
        }  # fmt: skip
    print_json({
        "method": mark.method, "source": mark.source, "target": target, "keys": mark.written,
        "commands": mark.commands, "expired": mark.expired, "conflicts": mark.conflicts,
        "unsupported": mark.unsupported, "compared": compared, **facts,
    })  # fmt: skip


def lines(mark: Mark, verdict: Verdict | None, facts: dict[str, Any], arguments: argparse.Namespace) -> list[str]:
    """The report for people."""
    also = [
        f"{count:,} {what}"
        for count, what in (
            (mark.commands, "commands of the stream"),
            (facts.get("mended", 0), "keys that had changed meanwhile"),
            (mark.expired, "keys had expired"),
            (mark.conflicts, "keys were there already and stayed"),
            (sum(mark.unsupported.values()), "could not be kept and were left out"),
        )
        if count
    ]
    what = also.pop(0) if mark.commands and not mark.written else f"{mark.written:,} keys"
    lines = [f"imported {what} in {facts['seconds']:.1f} s" + "".join(f"; {one}" for one in also)]
    if verdict is None:
        lines.append("not compared" if arguments.verify == "none" or mark.method != "aof" else NOT_COMPARED)
    elif verdict.differences:
        lines += [f"{verdict.differences:,} differences:", *(f"  {one}" for one in verdict.shown)]
        lines.append("the mark of the import stays at the target; the same command compares again")
    else:
        of = "" if arguments.verify == "full" else f" (the values of {verdict.values:,})"
        but = f", but for {verdict.moving:,} that are written all the time" if verdict.moving else ""
        lines.append(f"compared {verdict.keys:,} keys{of}: equal{but}")
        if arguments.source:
            paused = f": the writers of the source are paused for {arguments.pause_ms / 1000:g} s"
            lines.append("cut over now" + (paused if arguments.pause_source else ""))
    return lines
