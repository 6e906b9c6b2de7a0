"""The regressors that imitate: scikit-learn pipelines, their settings chosen by cross-validation over days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from feederlab.errors import InputError
from feederlab.learn.imitation_lessons import in_order
from feederlab.models.arrays import FloatArray, IntArray

ALPHAS = (1e-3, 1e-1, 1e1, 1e3)


@dataclass(frozen=True)
class Setting:
    """One choice within a family.

    family : ``"linear"`` or ``"poly"`` (ridge regression with `alpha` on a polynomial of `degree` in what the inverter
    reads at its own terminals, and linear in everything else), or ``"boosting"`` (histogram gradient boosting with at
    most `leaves` leaves to a tree).
    """

    family: str
    degree: int = 1
    alpha: float = 0.0
    leaves: int = 0

    def __str__(self) -> str:
        if self.family == "boosting":
            return f"leaves={self.leaves}"
        return f"degree={self.degree}, alpha={self.alpha:g}" if self.family == "poly" else f"alpha={self.alpha:g}"

    def build(self, inputs: int, own: IntArray, seed: int) -> tuple[Any, str]:
        """Return an estimator that is not fitted, and the name of its argument for the samples' weights.

        own : places of the inverter's own terminals among the inputs.
        """
        if self.family == "boosting":
            from sklearn.ensemble import HistGradientBoostingRegressor

            made = HistGradientBoostingRegressor(
                max_iter=150, learning_rate=0.1, max_leaf_nodes=self.leaves, min_samples_leaf=40, l2_regularization=1.0,
                early_stopping=False, random_state=seed,
            )  # fmt: skip
            return made, "sample_weight"
        from sklearn.compose import ColumnTransformer
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import PolynomialFeatures, StandardScaler

        steps: list[tuple[str, Any]] = [("scale", StandardScaler())]
        if self.degree > 1:
            powers = PolynomialFeatures(self.degree, include_bias=False)
            others = np.setdiff1d(np.arange(inputs), own).tolist()
            if others:
                powers = ColumnTransformer([("own", powers, own.tolist()), ("others", "passthrough", others)])
            steps += [("powers", powers), ("rescale", StandardScaler())]
        return Pipeline([*steps, ("ridge", Ridge(alpha=self.alpha))]), "ridge__sample_weight"


FAMILIES: dict[str, tuple[Setting, ...]] = {
    "linear": tuple(Setting("linear", 1, alpha) for alpha in ALPHAS),
    "poly": tuple(Setting("poly", degree, alpha) for degree in (2, 3, 4) for alpha in ALPHAS),
    "boosting": (Setting("boosting", leaves=8), Setting("boosting", leaves=24)),
}
"""name -> the settings that cross-validation chooses from."""
FIRST = {
    "linear": Setting("linear", 1, 1e-1),
    "poly": Setting("poly", 3, 1e-1),
    "boosting": Setting("boosting", leaves=8),
}
"""name -> the setting before there is anything to choose by."""


@dataclass(frozen=True, eq=False)
class Samples:
    """What a family's regressors are fitted to.

    x : for each inverter, (n, inputs).  a : (n, inverters) wanted actions.  room_mvar : (n, inverters), the reactive
    power that an action of 1 means.  day : (n,) the number of the day that a sample is of.  own : for each inverter,
    the places of its own terminals among its inputs.
    """

    x: tuple[FloatArray, ...]
    a: FloatArray
    room_mvar: FloatArray
    day: IntArray
    own: tuple[IntArray, ...]

    def __len__(self) -> int:
        return len(self.day)

    def join(self, other: Samples) -> Samples:
        """Return both together."""
        return Samples(
            tuple(np.concatenate([mine, theirs]) for mine, theirs in zip(self.x, other.x, strict=True)),
            np.concatenate([self.a, other.a]), np.concatenate([self.room_mvar, other.room_mvar]),
            np.concatenate([self.day, other.day]), self.own,
        )  # fmt: skip

    def of(self, days: IntArray) -> Samples:
        """Return the samples of some days."""
        mine = np.isin(self.day, days)
        return Samples(tuple(x[mine] for x in self.x), self.a[mine], self.room_mvar[mine], self.day[mine], self.own)


@dataclass(frozen=True)
class Score:
    """How well the answers of days left out were met.

    rms_mvar : root mean square over inverters and samples of the error in q.  r2 : share of the variance of q that is
    explained.
    """

    setting: Setting
    rms_mvar: float
    r2: float


def day_folds(day: IntArray, folds: int) -> list[tuple[IntArray, IntArray]]:
    """Return (train, test) sample numbers of each fold; all samples of a day are on one side of every fold.

    Neighbouring minutes of a day are alike: folds over rows would test on what was as good as seen.

    Raises
    ------
    InputError
        If there are fewer days than folds, or fewer than two folds.
    """
    from sklearn.model_selection import GroupKFold

    days = len(np.unique(day))
    if not 2 <= folds <= days:
        raise InputError(
            f"cross-validation over days in {folds} folds needs at least {max(folds, 2)} training days with answers, "
            f"and here are {days}: give more days, or 2 to {max(days, 2)} folds"
        )
    return list(GroupKFold(folds).split(day, groups=day))


def cross_validate(samples: Samples, settings: Sequence[Setting], folds: int, seed: int, jobs: int = 1) -> list[Score]:
    """Return the score of each setting, cross-validated by `day_folds`; the pieces are done in `jobs` processes."""
    cut = day_folds(samples.day, folds)
    pieces = [
        _Fold(x, samples.a[:, k], samples.room_mvar[:, k], samples.own[k], train, test, tuple(settings), seed)
        for k, x in enumerate(samples.x)
        for train, test in cut
    ]
    squares = np.array(in_order(pieces, jobs)).sum(axis=0)  # (settings + 1,) of the errors, and of q about its mean
    count = len(samples) * len(samples.x)
    total = squares[-1]
    return [
        Score(setting, float(np.sqrt(square / count)), float(1 - square / total) if total > 0 else float("nan"))
        for setting, square in zip(settings, squares[:-1], strict=True)
    ]


def fit(samples: Samples, setting: Setting, seed: int, jobs: int = 1) -> tuple[Any, ...]:
    """Return a regressor for each inverter.

    The square of its error is weighted with the square of the room that an action has: what counts is q.
    """
    pieces = [
        _Fit(x, samples.a[:, k], samples.room_mvar[:, k], samples.own[k], setting, seed)
        for k, x in enumerate(samples.x)
    ]
    return tuple(in_order(pieces, jobs))


@dataclass(frozen=True, eq=False)
class _Fit:
    x: FloatArray
    a: FloatArray
    room_mvar: FloatArray
    own: IntArray
    setting: Setting
    seed: int

    def __call__(self) -> Any:
        weight = self.room_mvar**2
        if self.x.shape[1] == 0 or not weight.any() or not np.ptp(self.a):
            from sklearn.dummy import DummyRegressor

            constant = float(self.a[0]) if len(self.a) else 0.0
            return DummyRegressor(strategy="constant", constant=constant).fit(
                np.zeros((1, self.x.shape[1])), [constant]
            )
        estimator, weights = self.setting.build(self.x.shape[1], self.own, self.seed)
        return estimator.fit(self.x, self.a, **{weights: weight / weight.mean()})


@dataclass(frozen=True, eq=False)
class _Fold:
    """One inverter and one fold, all settings."""

    x: FloatArray
    a: FloatArray
    room_mvar: FloatArray
    own: IntArray
    train: IntArray
    test: IntArray
    settings: tuple[Setting, ...]
    seed: int

    def __call__(self) -> FloatArray:
        """Return sums of squares over the test samples (MVAr²): of each setting's error, and of q about its mean."""
        train, test = self.train, self.test
        q, room = self.a[test] * self.room_mvar[test], self.room_mvar[test]
        mean = (self.a * self.room_mvar)[train].mean()
        sums, powers = [], dict[int, tuple[FloatArray, FloatArray]]()  # degree -> transformed, for every alpha
        for setting in self.settings:
            seen, unseen, bare = self.x[train], self.x[test], setting
            if setting.degree > 1:
                if setting.degree not in powers:
                    made, _ = setting.build(self.x.shape[1], self.own, self.seed)
                    powers[setting.degree] = made[:-1].fit_transform(seen), made[:-1].transform(unseen)
                seen, unseen = powers[setting.degree]
                bare = Setting("linear", 1, setting.alpha)  # what comes is standardised already
            fitted = _Fit(seen, self.a[train], self.room_mvar[train], self.own, bare, self.seed)()
            answer = np.clip(fitted.predict(unseen), -1.0, 1.0)
            sums.append(((answer * room - q) ** 2).sum())
        return np.array([*sums, ((q - mean) ** 2).sum()])
