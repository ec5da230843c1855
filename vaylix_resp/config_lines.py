"""`user` and `role`: lines of the configuration that are kept as they stand, to be understood elsewhere.

They may hold passwords, so nothing shows them: not CONFIG GET, not CONFIG REWRITE.
Not here: what the lines mean (`commands.acl_file`), when they count (`engine.founding`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vaylix_resp.config_values import BadValue
from vaylix_resp.config_words import Words


@dataclass(frozen=True, slots=True)
class Lines(Words[tuple[str, ...]]):
    """What stood behind the directive's name, a text for each line; `""` means none."""

    what: str = "a name and its rules"

    def parse(self, words: Sequence[str], base: tuple[str, ...], again: bool) -> tuple[str, ...]:
        if list(words) == [""]:
            return ()
        line = " ".join(words)
        if "\n" in line or "\0" in line:
            raise BadValue("a line has to be one line")
        return (*base, line) if again else (line,)

    def render(self, value: tuple[str, ...]) -> str:
        return ""

    def describe(self) -> str:
        return self.what
