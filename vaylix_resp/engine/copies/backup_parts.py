"""What a logical backup holds besides keys: users, roles, maintenance mode, heads of audits: `state.image.PARTS`.

Each is one line of JSON by name. Bytes become text (UTF-8, other bytes escaped as Python's surrogateescape does) and
text becomes {"text": ...}, so that names and rules can be read and come back as they were.
Promise: `take` of what `parts_of` gives makes an equal machine; anything else is refused as Corrupt, never an accident.
Not here: keys (`backup_state`), the lines (`storage.copies.backup_file`). A restore into a running server leaves parts
out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...security.acl import RuleError, bytes_of, text_of
from ...state import image
from ...state.digest import parts_input
from ...state.machine import StateMachine
from ...storage.copies.backup_reader import ADVICE
from ...storage.errors import Corrupt
from ..boot import NEWER

_KINDS = {name: kind for kind, name in image.PARTS.items()}


def parts_of(machine: StateMachine) -> Iterator[tuple[str, Any]]:
    """Name and JSON value of each part that differs from that of a new machine."""
    for kind, obj in image.dump_parts(machine):
        yield image.PARTS[kind], _to_json(obj)


def take(machine: StateMachine, parts: Mapping[str, Any], path: str) -> None:
    """Into a machine that has been empty before. Raises Corrupt."""
    for name, value in parts.items():
        if name not in _KINDS:
            raise Corrupt(path, 0, f"parts of the state that this version knows, found {name!r:.40}", advice=NEWER)
        try:
            image.load(machine, _KINDS[name], _from_json(value))
            parts_input(machine.world)  # so that wrong types are met here
        except RuleError as unknown:
            raise Corrupt(path, 0, f"users and roles that this version knows: {unknown}", advice=NEWER) from unknown
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as edited:  # if in the clear
            raise Corrupt(path, 0, f"the {name} as this program writes them", advice=ADVICE) from edited


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return text_of(value)
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, list):
        return [_to_json(one) for one in value]
    assert isinstance(value, int), value
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, str):
        return bytes_of(value)
    if isinstance(value, dict):
        (text,) = value.values()
        if not isinstance(text, str):
            raise TypeError(value)
        return text
    if isinstance(value, list):
        return [_from_json(one) for one in value]
    if not isinstance(value, int):
        raise TypeError(value)
    return value
