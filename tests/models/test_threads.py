"""BLAS is on one thread while anyone asks for that, and back to what it was afterwards."""

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from feederlab.models.threads import one_thread


def threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_the_last_to_leave_restores_what_was() -> None:
    _ = np.eye(2) @ np.eye(2)
    with threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        first, second = one_thread(), one_thread()
        first.__enter__()
        second.__enter__()
        assert threads() == {1}
        first.__exit__(None, None, None)  # as two threads may do: not the last in, but the first
        assert threads() == {1}
        second.__exit__(None, None, None)
        assert threads() == before
        assert max(before) == 2  # a library that was built for one thread stays at one
