"""`vaylix check-config`: what a start would refuse in the configuration and the files that it names, without starting.

Promises: nothing is written, no data directory is read and no command run; no secret is printed. Users and roles are
looked at as for a new data directory, where they count.
Not here: reading the configuration (`config`), damage in the data (`vaylix storage verify`).
"""

from __future__ import annotations

import json
from typing import Any

from ..clock import SystemClock
from ..config import Settings
from ..directives import DIRECTIVES
from ..engine.founding import sources_of, try_out
from ..errors import EX_OK
from ..security.master_key import ENVIRONMENT, FILE, mode_warning, of_settings
from ..security.tls import Keeper, Options
from ..server.entrance import policy_of, read_file
from ..storage.disk import RealDisk


def run(settings: Settings, *, as_json: bool) -> int:
    """Print what it amounts to; raises what a start would raise."""
    warnings = [*settings.warnings, *_refusals(settings)]
    rows = [_row(settings, name) for name in DIRECTIVES]
    if as_json:
        print(json.dumps({"ok": True, "warnings": warnings, "directives": rows}, indent=2))
        return EX_OK
    for warning in warnings:
        print(f"warning: {_visible(warning)}")
    for row in rows:
        if row["source"] != "default":
            shown = _visible(row["value"]) or '""'
            print(f"{row['name']} {shown}   ({_visible(row['source'])})")
    print("The configuration is valid; every directive not listed has its default.")
    return EX_OK


def _refusals(settings: Settings) -> list[str]:
    """Raises the first; warnings of what a start would take all the same."""
    try_out(sources_of(settings, read_file), settings.requirepass, policy_of(settings))
    tls = Keeper(Options.of(settings), SystemClock()).material.warnings if settings.tls_port else ()
    return [*_master_key(settings), *tls]


def _master_key(settings: Settings) -> list[str]:
    """The one in the data directory need not be there yet, and a command may do more than print."""
    source, disk = of_settings(settings, settings.dir), RealDisk()
    if source.kind in (FILE, ENVIRONMENT):
        source.read(disk)
    warning = mode_warning(disk, source.place) if source.kind == FILE else ""
    return [warning] if warning else []


def _row(settings: Settings, name: str) -> dict[str, Any]:
    value = settings.rendered(name)
    if DIRECTIVES[name].spec.secret and getattr(settings, DIRECTIVES[name].attribute):
        value = "(secret)"
    return {"name": name, "value": value, "source": settings.sources.get(name, "default")}


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
