"""`EstimatorPolicy`: fitted scikit-learn regressors that move inverters, and all that belongs to them, in one file."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from feederlab.controllers.base import ControlTask, Scope
from feederlab.errors import InputError, ResultFileError
from feederlab.learn.likeness import differences, likeness
from feederlab.learn.policies.actor import local_differences
from feederlab.learn.policies.skops_file import read_estimators, read_record, write_estimators
from feederlab.learn.volt_var.layout import Layout
from feederlab.models.arrays import FloatArray, IntArray
from feederlab.models.scenario import Scenario

KIND = "feederlab estimator policy"
Rows = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, eq=False)
class EstimatorPolicy:
    """Regressors, what their inputs mean, what their answers move, and where they come from.

    The answer a of an inverter's regressor means q = bound clip(a, -1, 1) sqrt(s^2 - p^2), p = min(p_available, s).

    estimators : fitted, each with ``predict``: one for each inverter, which gets that inverter's row of the observation
    and answers (n,); or a single one, which gets every row alike.  With global scope there is one row: each inverter's
    regressor gets it, or a single one answers (n, inverters) to it.
    layout : record of the `Layout` of the observation.  present_q : whether they read present reactive power; without
    it, what they get leaves those entries out.  A regressor of one inverter gets neither padding nor one-hot numbers.
    bound : (0, 1].  feeder : `likeness` of the feeder.
    method : how they were made.  training, versions : the particulars; nothing here depends on them.

    Two policies are equal if they were made from the same estimators and records; a copy through pickle is.
    """

    estimators: tuple[Any, ...]
    layout: Mapping[str, Any]
    bound: float
    feeder: Mapping[str, Any]
    present_q: bool = False
    method: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.bound <= 1:
            raise InputError(f"the bound of a policy must lie in (0, 1], not {self.bound}")
        for one in self.estimators:
            if not callable(getattr(one, "predict", None)):
                raise InputError(f"a policy needs fitted regressors with predict, not {type(one).__name__}")
        if not self.fingerprint:
            import joblib

            whole = self.estimators, dict(self.layout), self.bound, dict(self.feeder), self.present_q
            try:
                found = str(joblib.hash(whole))
            except Exception:  # what cannot be pickled, such as a class inside a function, is equal to itself alone
                found = f"object {id(self.estimators)}"
            object.__setattr__(self, "fingerprint", found)

    @classmethod
    def of(
        cls,
        scenario: Scenario,
        estimators: Any,
        layout: Layout | str = "local",
        *,
        present_q: bool = False,
        bound: float = 1.0,
        method: str = "",
    ) -> EstimatorPolicy:
        """Return the policy of fitted regressors on a scenario's feeder.

        Parameters
        ----------
        estimators
            One for all, or a sequence of one for each inverter.
        layout
            Of the observation that they were fitted on; or its scope, for `Layout.of` the task without data (loads
            centred on 0 and scaled by 1 MW) and without one-hot numbers.

        Raises
        ------
        InputError
            If they cannot predict, or their number or their inputs do not fit.
        """
        task = scenario.task()
        made = Layout.of(task, layout, identity=False) if isinstance(layout, str) else layout
        several = tuple(estimators) if isinstance(estimators, list | tuple) else (estimators,)
        policy = cls(several, made.record(), float(bound), likeness(scenario.feeder), present_q, method)
        policy.check(task, "of these estimators")
        return policy

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EstimatorPolicy) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __str__(self) -> str:
        kinds = sorted({type(one).__name__ for one in self.estimators})
        return f"{len(self.estimators)} x {'/'.join(kinds)}, {self.layout['scope']}, {self.fingerprint[:12]}"

    @property
    def scope(self) -> Scope:
        """What it sees."""
        return Scope(self.layout["scope"])

    def layout_of(self, task: ControlTask) -> Layout:
        """Return the layout of its observation on a task that it fits (`check`)."""
        return Layout.from_record(task, self.layout)

    def inputs(self, layout: Layout, task: ControlTask) -> list[IntArray]:
        """Return, for each estimator, which entries of its row it gets."""
        return inputs(layout, task, len(self.estimators), self.present_q)

    def mean(self, observation: Rows, chosen: Sequence[IntArray]) -> FloatArray:
        """Return the (..., inverters) answers before the clip for (..., rows, entries); chosen : `inputs`.

        An estimator that fails, or gives no finite number, answers NaN.
        """
        with _openmp("sklearn" in sys.modules).limit(limits=1):
            return self._mean(observation, chosen)

    def _mean(self, observation: Rows, chosen: Sequence[IntArray]) -> FloatArray:
        *many, rows, _ = observation.shape
        flat = observation.reshape(-1, *observation.shape[-2:]).astype(np.float64)
        if len(self.estimators) == 1:
            wide = flat[:, :, chosen[0]]
            found = _predicted(self.estimators[0], wide.reshape(-1, wide.shape[-1]))
            return found.reshape(*many, -1)
        at = [0] * len(chosen) if rows == 1 else range(rows)
        answers = [
            _predicted(one, flat[:, row, columns])
            for one, row, columns in zip(self.estimators, at, chosen, strict=True)
        ]
        return np.stack([answer.reshape(-1) for answer in answers], axis=-1).reshape(*many, -1)

    def check(self, task: ControlTask, where: str) -> None:
        """Make sure that the policy was made for this feeder and these inverters.

        A task of LOCAL scope shows no grid and no one else's rating: there the number of nodes, and the inverters'
        numbers and places are compared.

        Raises
        ------
        InputError
            Naming every difference; `where` names the policy.
        """
        if task.feeder is not None:
            found = differences(self.feeder, likeness(task.feeder))
        else:
            found = local_differences(self.feeder, task)
        if not found:
            try:
                found += self._misfits(task)
            except InputError as error:
                found.append(str(error))
        if found:
            raise InputError(f"the policy {where} does not fit: {'; '.join(found)}. Train one for this case")

    def _misfits(self, task: ControlTask) -> list[str]:
        layout, inverters, count = self.layout_of(task), len(task.inverters), len(self.estimators)
        if count not in (1, inverters):
            return [f"it has {count} estimators for {inverters} inverters"]
        found = []
        for one, columns in zip(self.estimators, self.inputs(layout, task), strict=True):
            wanted = getattr(one, "n_features_in_", len(columns))
            if len(columns) and wanted != len(columns):
                found.append(f"an estimator takes {wanted} numbers, and there are {len(columns)} for it")
        if found:
            return found[:1]
        rows, entries = layout.shape
        answer = self.mean(np.zeros((1, rows, entries), dtype=np.float32), self.inputs(layout, task))
        if answer.shape != (1, inverters) or not np.isfinite(answer).all():
            return [f"it answers {answer.shape[1:]} numbers, or none, to an average observation: not {inverters}"]
        return []

    def save(self, path: str | Path) -> Path:
        """Write the policy to one ``.skops`` file, atomically.  Raises `InputError` if skops cannot write it."""
        about = {
            "method": self.method, "layout": dict(self.layout), "bound": self.bound, "present_q": self.present_q,
            "feeder": dict(self.feeder), "training": dict(self.training), "versions": dict(self.versions),
            "fingerprint": self.fingerprint,
        }  # fmt: skip
        write_estimators(Path(path), KIND, self.estimators, about)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, *, trust: bool = False) -> EstimatorPolicy:
        """Read a policy.

        trust : also build types that are not known to be harmless.

        Raises
        ------
        ResultFileError
            If the file is missing, damaged, no such policy, or contradicts itself.
        InputError
            If it holds types that are not known to be harmless, and is not trusted.
        """
        estimators, about = read_estimators(Path(path), KIND, trust=trust)
        try:
            made = cls(
                tuple(estimators), about["layout"], float(about["bound"]), about["feeder"], bool(about["present_q"]),
                str(about["method"]), about["training"], about["versions"], str(about["fingerprint"]),
            )  # fmt: skip
            _ = made.scope
            differences(made.feeder, made.feeder)  # fails where the record of the feeder lacks something
        except (KeyError, TypeError, AttributeError, ValueError, InputError) as error:
            raise ResultFileError(f"{path} is no usable {KIND}: {error}") from error
        return made


def scope_of(path: str | Path) -> Scope:
    """Return what the policy of a file sees; no estimator is built.  Raises `ResultFileError` as `load` does."""
    try:
        return Scope(read_record(Path(path), KIND)["layout"]["scope"])
    except (KeyError, TypeError, ValueError) as error:
        raise ResultFileError(f"{path} is no usable {KIND}: {error}") from error


def inputs(layout: Layout, task: ControlTask, count: int, present_q: bool) -> list[IntArray]:
    """Return, for each of `count` estimators, which entries of its row it gets (`EstimatorPolicy`)."""
    width = layout.index.shape[1]
    is_q = layout.index >= 3 * task.nodes + len(task.inverters)
    left_out = is_q & (not present_q)
    if count == 1:
        kept = np.flatnonzero(~left_out.any(axis=0))
        return [np.concatenate([kept, np.arange(width, layout.shape[1])])]
    rows = [0] * count if not layout.shared else range(count)
    return [np.flatnonzero(~left_out[row] & (layout.index[row] >= 0)) for row in rows]


def own_inputs(layout: Layout, task: ControlTask, chosen: Sequence[IntArray]) -> tuple[IntArray, ...]:
    """Return, for each inverter, which of its regressor's inputs (`inputs`) are read at its own terminals."""
    found, first_p = [], 3 * task.nodes
    for k, (columns, node) in enumerate(zip(chosen, task.inverters.node, strict=True)):
        sources = layout.index[k if layout.shared else 0][columns]
        mine = [first_p + k, first_p + len(chosen) + k]
        if node >= 0:
            mine += [node, task.nodes + node, 2 * task.nodes + node]
        _, first = np.unique(sources, return_index=True)  # a zone's row has its inverter's own once more
        found.append(np.sort(first[np.isin(sources[first], mine)]))
    return tuple(found)


@cache
def _openmp(_loaded: bool) -> Any:
    """Return what holds OpenMP to one thread.

    Gradient boosting opens a parallel region for every tree.  On a single row its threads do nothing but wait for each
    other: on a busy machine a hundred times as long as the answer takes.
    """
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController().select(user_api="openmp")


def _predicted(estimator: Any, x: FloatArray) -> FloatArray:
    """Return what an estimator answers to (n, inputs); NaN, (n,), where it fails."""
    if x.shape[1] == 0:  # an inverter without supply sees nothing
        return np.zeros(len(x))
    try:
        return np.asarray(estimator.predict(x), dtype=float)
    except Exception:  # a controller does not raise because of data, whatever it is made of
        return np.full(len(x), np.nan)
