"""Parsed data kept between runs, in ``$XDG_CACHE_HOME/feederlab`` (default ``~/.cache/feederlab``).

The cache only saves time: a file that is missing, damaged or cannot be written is no error, and no file in it is ever
executed (tables are Parquet, nets are JSON read by `feederlab.models.netfile`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from feederlab.atomic import whole

T = TypeVar("T")


def cache_folder() -> Path:
    """Return the folder, which need not exist."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "feederlab"


def recall(name: str, read: Callable[[Path], T]) -> T | None:
    """Return ``read(file)``, or None where the file is missing or cannot be read; a damaged file is removed."""
    path = cache_folder() / name
    if not path.is_file():
        return None
    try:
        return read(path)
    except Exception:  # whatever is wrong with the file, the data can be made again
        with contextlib.suppress(OSError):
            path.unlink()
        return None


def remember(name: str, write: Callable[[Path], object]) -> None:
    """Call ``write(scratch file)`` and put the file in place whole; a folder that cannot be written is ignored."""
    with contextlib.suppress(OSError), whole(cache_folder() / name) as scratch:
        write(scratch)
