"""Fixtures of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.processes import Server
from tests.e2e.tools import vaylix


@pytest.fixture
def server() -> Iterator[Server]:
    """A fresh server with default settings, gone after the test."""
    with vaylix() as running:
        yield running
