"""How many threads the linear algebra of one process takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

_lock = Lock()
_shared: list[Any] = []  # the limit in force, once for every caller inside


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep BLAS on one thread for a while: on small matrices, threads only wait for each other.

    The limit is the whole process's; it ends when the last caller leaves, in whatever order they do.
    """
    with _lock:
        _shared.append(_shared[0] if _shared else _pools().limit(limits=1, user_api="blas"))
    try:
        yield
    finally:
        with _lock:
            limit = _shared.pop()
            if not _shared:
                limit.restore_original_limits()


@cache
def _pools() -> ThreadpoolController:
    return ThreadpoolController()
