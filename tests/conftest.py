"""Fixtures that are slow to make, made once per session."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import pytest

from feederlab.models.library import load
from feederlab.models.scenario import Scenario


@pytest.fixture(scope="session")
def scenario() -> Callable[[str], Scenario]:
    """``scenario("mapdn33")``: a named scenario over all its data; frozen, so tests may share it."""
    return lru_cache(maxsize=None)(load)
