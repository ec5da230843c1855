"""Markup made of text that may hold anything: what is not markup already is escaped, and there is no other way in.

    tag("td", "<script>", class_="name")      <td class="name">&lt;script&gt;</td>

Not here: what pages say.
"""

from __future__ import annotations

from html import escape
from typing import Final


class Markup(str):
    """Text that is safe inside a page as it is. Only this module makes it."""

    __slots__ = ()


NOTHING: Final = Markup("")
_EMPTY: Final = frozenset({"meta", "path", "rect"})  # elements without an inside


def markup(value: object) -> Markup:
    """Escaped, unless it is markup; what is no character to look at becomes a question mark."""
    if isinstance(value, Markup):
        return value
    text = str(value)
    return Markup(escape(text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)))


def joined(*parts: object) -> Markup:
    return Markup("".join([markup(part) for part in parts]))


def tag(name: str, *inside: object, **attributes: object) -> Markup:
    """An element. A trailing underscore of an attribute's name goes, the others become hyphens; None: not there."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{markup(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY:
        return Markup(f"<{name}{said}/>")
    return Markup(f"<{name}{said}>{joined(*inside)}</{name}>")
