"""The whole table of metrics, and what is made of it: the page, and the reply of METRICS.

To add one: a row in the module of its subject, then `python -m compat.metrics`, which writes docs/metrics.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...observability.exposition import Family, flat, page
from ...observability.process import Process
from .cluster import CLUSTER
from .commands import COMMANDS
from .data import DATA
from .durability import DURABILITY
from .process import EARLY, EarlyScrape
from .security import SECURITY
from .table import Metric, Scrape, gauge, measured
from .traffic import TRAFFIC

if TYPE_CHECKING:
    from ..shared import Shared

SUBJECTS: Final[dict[str, tuple[Metric, ...]]] = {
    "Process": EARLY,
    "Readiness and cluster": CLUSTER,
    "Commands": COMMANDS,
    "Connections": TRAFFIC,
    "Keys and memory": DATA,
    "Durability": DURABILITY,
    "Security": SECURITY,
}
METRICS: Final = tuple(metric for metrics in SUBJECTS.values() for metric in metrics)
FAMILIES: Final[dict[str, Family]] = {metric.family.full_name: metric.family for metric in METRICS}
assert len(FAMILIES) == len(METRICS), "two families have one name"

NOT_READY: Final = tuple(gauge(one.name, one.help, lambda _: 0) for one, _ in CLUSTER if one.name == "ready")


def text(server: Shared, phase: str = "") -> bytes:
    """The page. `phase`: why the server does not serve clients, "" if it does."""
    return page(measured(METRICS, Scrape(server, phase)))


def early_text(process: Process, phase: str) -> bytes:
    """What can be said before there is a server."""
    return page(measured(EARLY + NOT_READY, EarlyScrape(process, phase)))


def samples(server: Shared) -> dict[str, int | float]:
    """Every sample by its name on the page."""
    return flat(measured(METRICS, Scrape(server)))
