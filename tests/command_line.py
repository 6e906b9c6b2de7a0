"""The command line run in this process, and what a refusal looks like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Answer]
"""The fixture `run`: called with the words after ``feederlab``."""


def refused(answer: Answer, code: int | None, message: str, folder: Path, left: list[str] | None = None) -> None:
    """Check for one clear message on stderr, no traceback, and nothing written."""
    assert answer.code == code if code is not None else answer.code in (1, 2, 3, 4, 6)
    assert answer.err.startswith("error: ")
    assert message in answer.err
    assert "Traceback" not in answer.err
    assert answer.out == ""
    assert sorted(p.name for p in folder.iterdir()) == (left or [])
