"""The table of paths, and what every request goes through before its page is made: path, token, start.

    Route("/metrics", metrics, "all metrics, for Prometheus")

A page is a function of the site and the request. To add one: write the function, add a row.
Promise: nothing that is asked for here changes anything; a bug in a page is an answer 500 and a line in the log.
Not here: HTTP's bytes (`protocol`), how often pages are made (`service`).
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ...observability.logs import get_log
from .pages import ENCODING, Page, Request, Site, text
from .probes import livez, readyz
from .scrape import metrics
from .status import status

log = get_log("http")

RETRY_S: Final = "1"  # Retry-After while the server starts


@dataclass(frozen=True, slots=True)
class Route:
    path: str
    page: Callable[[Site, Request], Page]
    about: str  # in the list at /
    early: bool = False  # there is a page before there is a server
    open: bool = False  # without http-token, too: probes have no secrets


def index(site: Site, request: Request) -> Page:
    """The list of paths."""
    return text(200, "\n".join(f"{route.path:<10} {route.about}" for route in ROUTES.values()))


ROUTES: Final = {
    route.path: route
    for route in (
        Route("/", index, "this list", early=True, open=True),
        Route("/livez", livez, "200 while the process works", early=True, open=True),
        Route("/readyz", readyz, "200 while clients are served, 503 and why not; ?format=json", early=True, open=True),
        Route("/metrics", metrics, "all metrics, for Prometheus", early=True),
        Route("/status", status, "a page for people, with the last 15 minutes"),
    )
}


def is_probe(request: Request) -> bool:
    """Whether it is for a page that is made of next to nothing, which supervisors wait for."""
    route = ROUTES.get(request.path)
    return route is not None and route.open


def answer(site: Site, request: Request) -> Page:
    """The page for a request, or why there is none. Raises nothing."""
    try:
        return _page(site, request)
    except Exception as bug:  # whatever a page does, clients of the server are not to notice
        log.failure(f"a bug in the page {request.path}: please report it", bug)
        return text(500, "this page has a bug; the server's log has more")


def _page(site: Site, request: Request) -> Page:
    route = ROUTES.get(request.path)
    if route is None:
        return text(404, "there is no such page; / has the list")
    if not route.open and not _let_in(site.settings.http_token, request.authorization):
        return text(401, "http-token is needed", ("WWW-Authenticate", 'Basic realm="vaylix", charset="UTF-8"'))
    if site.server is None and not route.early:
        return text(503, f"not yet: {site.phase}", ("Retry-After", RETRY_S))
    return route.page(site, request)


def _let_in(token: str, authorization: str) -> bool:
    """`Bearer TOKEN` for programs, `Basic` with any name and the token as password for browsers."""
    if not token:
        return True
    scheme, _, given = authorization.partition(" ")
    try:
        shown = given.strip().encode(ENCODING)
        if scheme.lower() == "basic":
            shown = base64.b64decode(shown, validate=True).partition(b":")[2]
        elif scheme.lower() != "bearer":
            return False
    except ValueError:  # no Base64
        return False
    return hmac.compare_digest(token.encode("utf-8", "surrogateescape"), shown)
