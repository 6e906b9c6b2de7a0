"""One process at a time in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feederlab.errors import ResultFileError

LOCK = "lock"
"""Name of the file that stands in the folder meanwhile."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes out of an existing folder; the system lets go when this one ends, however it ends.

    Raises
    ------
    ResultFileError
        If another one holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    path = folder / LOCK
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not path.exists() or not os.path.samestat(os.fstat(handle.fileno()), path.stat()):
                raise OSError("it was let go, and perhaps taken again, meanwhile")
        except OSError as error:
            raise ResultFileError(f"another process is at work on {folder}: wait for it, or stop it") from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
