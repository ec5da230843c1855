"""Does a round make sense: what clients were told, against each other and against what is there at the end.

    each shared key       its history, with what is read at the end, is linearizable
    counters              at least the acknowledged increments, at most those of unknown outcome more
    keys written once     acknowledged: there, with that value; unknown: that value or none; refused: none
    tallies               as many counts as there are keys that were set together with one

Pure. Not here: how the end was read (`rounds`); the search itself (`tests.sim.cluster.linear`).
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.faults.history import History
from tests.sim.cluster.linear import UNKNOWN, Call, violation

Values = Mapping[bytes, bytes | None]  # what is there at the end
AT_THE_END = "at the end"


def judge(history: History, end: Values, at: float) -> list[str]:
    """What is wrong; `at` is when the end was read."""
    found = list(history.findings)
    for key, calls in sorted(history.calls.items()):
        found += [f"{key.decode()}: {problem}" for problem in _linear(key, calls, end[key], at)]
    for key, value in sorted(history.written.items()):
        if end[key] != value:
            found.append(f"{key.decode()} was acknowledged as {shown(value)}, and is {shown(end[key])}")
    for key, value in sorted(history.unsure.items()):
        if end[key] not in (None, value):
            found.append(f"{key.decode()} was written as {shown(value)}, and is {shown(end[key])}")
    for key in sorted(history.refused):
        if end[key] is not None:
            found.append(f"{key.decode()} was refused, and is there: {shown(end[key])}")
    for counter, marks in sorted(history.tallies.items()):
        there = sum(end[mark] is not None for mark in marks)
        if int(end[counter] or 0) != there:
            found.append(f"{counter.decode()} is {shown(end[counter])}; set together with a count: {there} keys")
    return found


def _linear(key: bytes, calls: list[Call], value: bytes | None, at: float) -> list[str]:
    found = []
    increments = [call for call in calls if call.kind == "incr"]
    if increments:
        unknown = sum(call.reply is UNKNOWN for call in increments)
        low, is_now = len(increments) - unknown, int(value or 0)
        if not low <= is_now <= low + unknown:
            found.append(f"is {is_now}; acknowledged increments {low}, unknown {unknown}")
    try:
        problem = violation([*calls, Call(AT_THE_END, at, at + 1, "get", (), value)])
    except RuntimeError as hard:
        problem = f"not decided: {hard}"
    return found + ([problem] if problem else [])


def shown(value: bytes | None) -> str:
    return "gone" if value is None else repr(value[:40])
