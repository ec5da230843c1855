"""What most tests of the server begin with; those that need other settings have a `stage` of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.server.front import Stage


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()
