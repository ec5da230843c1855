"""One row of the table of directives: what is said of it, and how its words become a value.

Promise: a refused value is shown bounded, on one line, and never if it is a secret.
Not here: the rows (`directives`); kinds of values (`config_values`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

from vaylix_resp.config_values import BadValue, Kind

T = TypeVar("T")

WORDS_SHOWN_MAX = 128  # characters of a refused value in an error line


@dataclass(frozen=True, slots=True)
class Spec:
    """What the table says of one directive beside its name and default."""

    kind: Kind[Any]
    group: str
    help: str
    unit: str = ""
    locked: str = ""  # "": CONFIG SET may change it; otherwise "immutable" or "protected", as Redis calls it
    secret: bool = False  # shown to nobody, not even by CONFIG GET
    sensitive: bool = False  # may have one in it (a shell line): CONFIG GET shows it, errors and records do not
    aliases: tuple[str, ...] = ()
    only: str = ""  # not empty: the default is the only value, and this says why and what to do instead
    inert: str = ""  # not empty: any value is accepted with a warning and changes nothing; this says what is true


@dataclass(frozen=True, slots=True)
class Directive:
    """One row of the table."""

    name: str
    attribute: str
    default: Any
    spec: Spec

    def parse(self, words: tuple[str, ...], base: Any, again: bool) -> Any:
        """The value of `words`; raises BadValue with Redis's text. `base` and `again` as in Kind.parse."""
        spec = self.spec
        if not words:
            raise BadValue("wrong number of arguments")
        if spec.inert:
            return self.default
        if spec.kind.many and len(words) == 1:
            words = tuple(words[0].split()) or ("",)
        value = spec.kind.parse(words, base, again)
        if spec.only and value != self.default:
            raise BadValue(spec.only)
        return value

    def show(self, words: tuple[str, ...]) -> str:
        """The words for an error line: bounded, on one line, never a secret."""
        if self.spec.secret or self.spec.sensitive:
            return "(secret)"
        text = " ".join(words)[:WORDS_SHOWN_MAX]
        return '"' + "".join(c if c.isprintable() else "?" for c in text) + '"'


def setting(kind: Kind[T], default: T, group: str, text: str, **more: Any) -> T:
    """A row of the table; `more` are fields of Spec. The type checker sees the default."""
    row: T = field(default=default, metadata={"spec": Spec(kind, group, text, **more)})
    return row
