"""METRICS: what /metrics says, for those who have no HTTP port.

    METRICS [pattern [pattern ...]]     samples by name and labels, all or those whose names match a pattern
    METRICS PROM                        the page for Prometheus

Not here: the metrics (`server.metrics`).
"""

from __future__ import annotations

from ..errors import wrong_arity
from ..glob import any_of
from ..resp.reply import Reply, Verbatim
from .arguments import matches
from .ports import Client
from .spec import Argv, Kind, command


@command(
    "METRICS", arity=-1, kind=Kind.SESSION, flags="loading stale", group="server", since="7.2.0",
    categories="dangerous", syntax="[PROM | pattern [pattern ...]]", complexity="O(N) in the number of clients",
    tips=("nondeterministic_output", "request_policy:all_nodes", "response_policy:special"),
)  # fmt: skip
def metrics(client: Client, argv: Argv) -> Reply:
    """All measures of the server, those whose names match a pattern, or the page for Prometheus."""
    if len(argv) > 1 and matches(argv[1], b"PROM"):
        if len(argv) > 2:
            raise wrong_arity("metrics")
        return Verbatim(client.server.metrics_text())
    wanted = any_of(argv[1:] or [b"*"])
    samples = ((name.encode("utf-8", "backslashreplace"), value) for name, value in client.server.metrics().items())
    return {name: value for name, value in samples if wanted(name)}
