"""When two comparisons are equal: everything but timing."""

from __future__ import annotations

import numpy as np

from feederlab.comparison import Comparison
from feederlab.metrics import METRICS

TIMING = [metric.name for metric in METRICS if metric.unit == "ms"]


def assert_equal(one: Comparison, other: Comparison, *, tolerance: float = 0.0) -> None:
    """Exactly, or to `tolerance` where a solver takes part."""
    assert one.record["cells"] == other.record["cells"]
    assert dict(one.skipped) == dict(other.skipped)
    assert one.runs.keys() == other.runs.keys()
    for cell, run in one.runs.items():
        for mine, theirs in ((run.data, other.runs[cell].data), (run.certificate, other.runs[cell].certificate)):
            assert (mine is None) == (theirs is None)
            if mine is None or theirs is None:
                continue
            assert set(mine.variables) == set(theirs.variables)
            for name in mine.variables:
                a, b = mine[name].to_numpy(), theirs[name].to_numpy()
                if tolerance and a.dtype.kind == "f":
                    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=f"{cell} {name}")
                else:
                    np.testing.assert_array_equal(a, b, err_msg=f"{cell} {name}")
    kept = [name for name in one.metrics.data_vars if name not in TIMING]
    for name in kept:
        np.testing.assert_allclose(
            one.metrics[name], other.metrics[name], rtol=max(tolerance, 1e-12), atol=max(tolerance, 1e-12), err_msg=name
        )
