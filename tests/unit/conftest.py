"""Fixtures for modules of several packages."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have settings of their own."""
    for name in list(os.environ):
        if name.startswith("VAYLIX_"):
            monkeypatch.delenv(name)
