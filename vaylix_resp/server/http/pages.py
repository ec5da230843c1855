"""A request and its answer, as the routes see them; and what all pages are made of.

Not here: HTTP's bytes (`protocol`), which paths there are (`routes`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ...config import Settings
from ...directives_cluster_rules import raft_port

if TYPE_CHECKING:
    from ..shared import Shared

TEXT: Final = "text/plain; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"
JSON: Final = "application/json"
ENCODING: Final = "latin-1"  # of headers
# Nothing may be loaded, framed or sent by a page that does not say otherwise.
POLICY: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@dataclass(frozen=True, slots=True)
class Request:
    """Of one page. Header values are as they came, "" where there was none."""

    method: str
    path: str  # without the query, percent signs and all
    query: dict[str, str]
    accept: str = ""
    authorization: str = ""

    @property
    def wants_json(self) -> bool:
        """`?format=json`, or `Accept: application/json`."""
        return self.query.get("format", "") == "json" or JSON in self.accept


@dataclass(frozen=True, slots=True)
class Page:
    status: int
    body: bytes
    kind: str = TEXT
    policy: str = POLICY  # Content-Security-Policy
    headers: tuple[tuple[str, str], ...] = ()  # further ones


def text(status: int, line: str, *headers: tuple[str, str]) -> Page:
    """A page of one line."""
    return Page(status, line.encode("utf-8", "backslashreplace") + b"\n", headers=headers)


def as_json(status: int, value: Any) -> Page:
    return Page(status, json.dumps(value, indent=2).encode() + b"\n", JSON)


class Site:
    """What pages are made of. While the process starts there is no server yet, only what it is at."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.server: Shared | None = None
        waiting = ", then waiting for other nodes" if raft_port(settings) else ""
        self.phase = f"starting: reading the data directory{waiting}"  # why clients are not served; "": they are
