"""One version: what names it elsewhere than in the package. The image's label and the manifests have tests of their own."""

import re
from pathlib import Path

from vaylix_resp import __version__
from vaylix_resp.identity import VAYLIX_VERSION

ROOT = Path(__file__).parents[3]


def test_the_newest_heading_of_the_changelog_is_this_version():
    headings = re.findall(r"(?m)^## (\S+) \((unreleased|\d{4}-\d\d-\d\d)\)$", (ROOT / "CHANGELOG.md").read_text())
    assert headings[0][0] == __version__ == VAYLIX_VERSION
    assert len(headings) == len(re.findall(r"(?m)^## ", (ROOT / "CHANGELOG.md").read_text())), "each has a date, or is to come"
