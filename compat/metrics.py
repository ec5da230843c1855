"""`python -m compat.metrics` writes the tables of docs/metrics.md from `vaylix_resp.server.metrics`; --check fails if
they differ."""

from __future__ import annotations

import sys
from pathlib import Path

from compat.page import write_or_check
from vaylix_resp.observability.exposition import Family
from vaylix_resp.server.metrics.everything import SUBJECTS

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
BEGIN = "<!-- Written by `python -m compat.metrics` from vaylix_resp/server/metrics; do not edit. -->\n"
END = "<!-- End of what is written. -->\n"


def row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    labels += f" ({family.bound})" if family.bound else ""
    return f"| `{family.full_name}` | {family.kind} | {family.help} | {labels} |\n"


def tables() -> str:
    return "".join(
        f"\n### {subject}\n\n| metric | type | what it is | labels |\n|---|---|---|---|\n"
        + "".join(row(metric.family) for metric in metrics)
        for subject, metrics in SUBJECTS.items()
    )


def page(present: str) -> str:
    """The page with its tables as the code has them; what stands around them stays."""
    before, _, rest = present.partition(BEGIN)
    return f"{before}{BEGIN}{tables()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    sys.exit(write_or_check("compat.metrics", PAGE, page(PAGE.read_text())))
