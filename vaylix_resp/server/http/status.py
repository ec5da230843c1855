"""/status: one page that a person can read in a browser; it loads nothing, runs nothing, and asks for itself again.

The skeleton and its style are in status.html; each `$word` there is a section of `status_sections`, or made here.
Promises: no text of a client, a peer or a path becomes markup (`markup`), and what would let one in is forbidden to
the browser by the policy as well; keys and values are in it only with `http-status-slowlog yes`.
Not here: machines, who read /metrics.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Final

from ...identity import VAYLIX_VERSION
from ...observability.figures import span
from ..readiness import checks_of
from . import status_sections as sections
from .markup import NOTHING, Markup, joined, tag
from .pages import HTML, POLICY, Page, Request, Site

if TYPE_CHECKING:
    from ..shared import Shared

REFRESH_S: Final = 5
_SOURCE: Final = files(__package__).joinpath("status.html").read_text("utf-8")
_PAGE: Final = Template(_SOURCE)
_STYLE: Final = _SOURCE.partition("<style>")[2].partition("</style>")[0]
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
STATUS_POLICY: Final = f"{POLICY}; style-src 'sha256-{_STYLE_HASH}'; img-src data:"  # data: for having no icon


def status(site: Site, request: Request) -> Page:
    """`?refresh=off` stands still, to read or to copy from."""
    server = site.server
    assert server is not None, "the table of routes says so"
    live = request.query.get("refresh", "") != "off"
    name = sections.name_of(server)
    page = _PAGE.substitute(
        refresh=tag("meta", http_equiv="refresh", content=REFRESH_S) if live else NOTHING,
        title=joined(name, " · vaylix"),
        header=_header(server, name),
        tiles=sections.tiles(server),
        charts=sections.charts(server),
        durability=sections.durability(server),
        cluster=sections.cluster(server),
        commands=sections.commands(server),
        slow=sections.slow(server),
        footer=_footer(server, live),
    )
    return Page(200, page.encode("utf-8", "backslashreplace"), HTML, STATUS_POLICY)


def _header(server: Shared, name: str) -> Markup:
    """Who it is, and if clients should not be here, why."""
    wrong = [check for check in checks_of(server) if not check.ok]
    ready = tag("span", "not ready" if wrong else "ready", class_="badge bad" if wrong else "badge good", id="ready")
    line = f"{sections.role_of(server)} · vaylix {VAYLIX_VERSION} · up {span(server.clock.now() - server.started)}"
    head = tag("header", tag("h1", name), ready, tag("p", line))
    if not wrong:
        return head
    reasons = [tag("li", tag("b", one.name), ": ", one.detail) for one in wrong]
    return joined(head, tag("ul", *reasons, class_="card why"))


def _footer(server: Shared, live: bool) -> Markup:
    now = datetime.fromtimestamp(server.clock.wall_ms() // 1000, UTC)
    again = "?refresh=off" if live else "?"
    return tag(
        "footer",
        tag("span", f"{now:%Y-%m-%d %H:%M:%S} UTC"),
        tag("a", "stop refreshing" if live else f"refresh every {REFRESH_S} s", href=again),
        tag("a", "metrics", href="/metrics"),
        tag("a", "readiness", href="/readyz?verbose"),
    )
