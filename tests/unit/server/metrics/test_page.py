"""docs/metrics.md says what the code declares, and names the checks of /readyz."""

from compat.metrics import PAGE, page
from vaylix_resp.server.metrics.everything import FAMILIES
from vaylix_resp.server.readiness import CHECKS


def test_the_tables_are_those_of_the_code():
    text = PAGE.read_text()
    assert page(text) == text, "run `python -m compat.metrics`"
    assert all(f"| `{name}` | {family.kind} | {family.help} |" in text for name, family in FAMILIES.items())


def test_every_reason_not_to_be_ready_is_explained():
    assert all(f"| `{name}` |" in PAGE.read_text() for name in ("process", *CHECKS))
