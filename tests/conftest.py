"""Fixtures that are slow to make, made once per session."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache

import pytest
from hypothesis import settings

from feederlab.models.library import load
from feederlab.models.scenario import Scenario

# CI draws the same examples every time; a run by hand looks further.
settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(scope="session")
def scenario() -> Callable[[str], Scenario]:
    """``scenario("mapdn33")``: a named scenario over all its data; frozen, so tests may share it."""
    return lru_cache(maxsize=None)(load)
