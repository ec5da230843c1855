"""/metrics: all families, also while there is no server yet; then only those of the process.

Not here: which families there are, and the text (`server.metrics`).
"""

from __future__ import annotations

from typing import Final

from ...observability.exposition import CONTENT_TYPE
from ...observability.process import Process
from ..metrics import everything
from .pages import Page, Request, Site

PROCESS: Final = Process()


def metrics(site: Site, request: Request) -> Page:
    server = site.server
    body = everything.early_text(PROCESS, site.phase) if server is None else everything.text(server, site.phase)
    return Page(200, body, CONTENT_TYPE)
