"""/livez and /readyz: should this process be restarted, should clients be sent to it?

Promise: /livez says no only by saying nothing; whatever a restart would not cure is not its business.
Not here: the reasons (`server.readiness`).
"""

from __future__ import annotations

from ..readiness import Check, checks_of
from .pages import Page, Request, Site, as_json, text


def livez(site: Site, request: Request) -> Page:
    """Whoever reads this: the event loop has turned."""
    return as_json(200, {"live": True}) if request.wants_json else text(200, "ok")


def readyz(site: Site, request: Request) -> Page:
    """`ok`, or a line for each reason why not; `?verbose` has all that was looked at."""
    checks = list(_checks(site))
    ready = all(check.ok for check in checks)
    status = 200 if ready else 503
    if request.wants_json:
        found = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks]
        return as_json(status, {"ready": ready, "checks": found})
    shown = [f"[{'+' if check.ok else '-'}] {check.name}: {check.detail or 'ok'}" for check in checks]
    if ready:
        return text(status, "\n".join([*shown, "ok"]) if "verbose" in request.query else "ok")
    if "verbose" not in request.query:
        shown = [line for line, check in zip(shown, checks, strict=True) if not check.ok]
    return text(status, "\n".join(["not ready", *shown]))


def _checks(site: Site) -> list[Check]:
    process = Check("process", not site.phase, site.phase)
    return [process] if site.server is None else [process, *checks_of(site.server)]
