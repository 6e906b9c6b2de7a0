"""Trees of gradient boosting are checked wherever they stand in a file of estimators."""

import numpy as np
import pytest
from sklearn.ensemble import BaggingRegressor, HistGradientBoostingRegressor
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline

from feederlab.errors import ResultFileError
from feederlab.learn.policies.skops_file import read_estimators, write_estimators

KIND = "test"


def boosting():
    return HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=2)


@pytest.mark.parametrize(
    ("make", "inner"),
    [
        (lambda: MultiOutputRegressor(boosting()), lambda made: made.estimators_[1]),
        (lambda: make_pipeline(MultiOutputRegressor(boosting())), lambda made: made[-1].estimators_[0]),
        (lambda: BaggingRegressor(boosting(), 2), lambda made: made.estimators_[1]),
    ],
)
def test_a_tree_inside_another_estimator_is_checked_too(make, inner, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), rng.normal(size=(60, 2))
    made = make()
    made.fit(x, y[:, 0] if isinstance(made, BaggingRegressor) else y)
    path = tmp_path / "good.skops"
    write_estimators(path, KIND, [made], {})
    (again,), _ = read_estimators(path, KIND)
    np.testing.assert_array_equal(again.predict(x), made.predict(x))
    inner(made)._predictors[0][0].nodes["left"][0] = 10_000
    write_estimators(path, KIND, [made], {})
    with pytest.raises(ResultFileError, match="a tree contradicts itself"):
        read_estimators(path, KIND)
