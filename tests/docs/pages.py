"""Which pages there are, and what they link to."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INDEX = ROOT / "docs" / "README.md"
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)|(?:href|src|srcset)=\"(?P<attribute>[^\"]+)\"")
HEADING = re.compile(r"^#+ (.+)$", re.M)


def pages() -> list[Path]:
    return [
        *(page for page in sorted(ROOT.glob("*.md"))),
        *(page for folder in ("docs", "bench") for page in sorted((ROOT / folder).glob("*.md"))),
    ]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def links(text: str) -> list[str]:
    """Targets inside this repository, as they are written."""
    found = [match["target"] or match["attribute"] for match in LINK.finditer(text)]
    return [target for target in found if "://" not in target and not target.startswith("mailto:")]


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to headings."""
    return {
        re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-") for heading in HEADING.findall(text)
    }
