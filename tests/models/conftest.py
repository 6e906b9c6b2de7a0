from __future__ import annotations

import copy
import warnings
from functools import lru_cache

import pytest


@lru_cache(maxsize=3)
def _load(code: str):
    import simbench

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return simbench.get_simbench_net(code)


@pytest.fixture(scope="session")
def simbench_net():
    """Return a function that gives a fresh copy of a SimBench net, as shipped (loading one takes about 3 s)."""
    return lambda code: copy.deepcopy(_load(code))
