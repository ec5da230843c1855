"""The server without its eyes: `python -m bench.blind serve ...` is `vaylix serve ...` that counts and times nothing.

For `bench.observability` only: what is always on (counters, histograms, the rates that INFO shows) has no directive
that could turn it off, so it is taken out of the running program here. Such a server answers clients alike, and its
INFO, METRICS and SLOWLOG lie.
"""

from __future__ import annotations

import sys
from typing import Any

from vaylix_resp import app, cli  # noqa: F401 - everything that a server consists of is loaded now
from vaylix_resp.engine.stages import FsyncStats, Stages
from vaylix_resp.observability import metrics
from vaylix_resp.observability.histogram import Histogram
from vaylix_resp.server.lateness import Lateness
from vaylix_resp.server.recent import Recent

METHODS: dict[type[Any], tuple[str, ...]] = {
    Stages: ("synced", "wrote", "look_at_sync", "logged", "durable", "applying", "applied", "own"),
    FsyncStats: ("record",),
    Histogram: ("add",),
    metrics.Stats: ("tick",),
    Recent: ("take",),
    Lateness: ("request_took", "row_took", "event", "turned"),
}


def nothing(*_arguments: object) -> None:
    """In the place of everything that takes note."""


def blindfold() -> None:
    for owner, names in METHODS.items():
        for name in names:
            assert callable(vars(owner)[name]), (owner, name)
            setattr(owner, name, nothing)
    record, found = metrics.record, 0
    for module in list(sys.modules.values()):
        if getattr(module, "record", None) is record:
            module.record = nothing  # type: ignore[attr-defined]
            found += 1
    assert found > 2, "those who count requests import it by its name"


if __name__ == "__main__":
    blindfold()
    sys.exit(cli.main())
