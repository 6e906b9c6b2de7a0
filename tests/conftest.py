"""Fixtures of all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import lru_cache

import pytest
from hypothesis import settings

from command_line import Answer, Run
from feederlab import cli
from feederlab.models.library import load
from feederlab.models.scenario import Scenario

# CI draws the same examples every time; a run by hand looks further.  A busy machine is no reason to fail.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("by hand", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "by hand")


@pytest.fixture(scope="session")
def scenario() -> Callable[[str], Scenario]:
    """``scenario("mapdn33")``: a named scenario over all its data; frozen, so tests may share it."""
    return lru_cache(maxsize=None)(load)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process, as the console script does."""

    def call(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["feederlab", *map(str, words)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        printed = capsys.readouterr()
        return Answer(int(exit_.value.code or 0), printed.out, printed.err)

    return call
