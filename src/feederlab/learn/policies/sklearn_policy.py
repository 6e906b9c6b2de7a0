"""`SklearnPolicy`: fitted scikit-learn regressors as a controller."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from feederlab.controllers.base import GLOBAL, Controller, ControlTask, Information, Prepared, Scope
from feederlab.errors import InputError, ResultFileError
from feederlab.learn.policies.acting import ActingOnRows
from feederlab.learn.policies.estimators import EstimatorPolicy, scope_of
from feederlab.models.arrays import FloatArray


@dataclass(frozen=True)
class SklearnPolicy(Controller):
    """Reactive power of inverters from scikit-learn regressors, one for each inverter or one for all.

    ``q = bound clip(a, -1, 1) sqrt(s^2 - p^2)``, p = min(p_available, s), where a is what a regressor answers to its
    inverter's row of the observation (`Layout`): with local scope vm, load p, load q and available p at its own
    terminals.  It decides once a step, on what is measured under the setpoints of the step before.  What exceeds
    [-1, 1] is cut and counted; where a regressor fails or gives no finite number, its inverter keeps its last setpoint
    (rung 3).

    policy : an `EstimatorPolicy` (`EstimatorPolicy.of` makes one of fitted regressors).
    file : instead, a ``.skops`` file of one; ``feederlab train imitation`` writes such files.
    trust : also build types from the file that are not known to be harmless.  What a file may hold without it are
    scikit-learn's public estimators, the trees of its gradient boosting, numpy arrays and plain values.

    Raises
    ------
    InputError
        If both are given.
    ResultFileError
        If the file is missing, damaged, or no such policy.
    """

    policy: Any = None
    file: str = ""
    trust: bool = False

    def __post_init__(self) -> None:
        if self.policy is not None and not isinstance(self.policy, EstimatorPolicy):
            raise InputError(
                f"sklearn takes an EstimatorPolicy, not {type(self.policy).__name__}: EstimatorPolicy.of(scenario, "
                "estimators) makes one; on a command line name its file, file=FILE"
            )
        if self.policy is not None and self.file:
            raise InputError("sklearn takes a policy or a file of one, not both")
        if self.file:
            _ = self.sees

    @property
    def sees(self) -> Information:
        """As the policy says; everything where there is none."""
        if self.policy is not None:
            return Information(self.policy.scope)
        return Information(_scope(*_place(self.file))) if self.file else GLOBAL

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.file,) if self.file else ()

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Read the policy.

        Raises
        ------
        ResultFileError
            If the file is missing or damaged.
        InputError
            If there is none, it holds types that are not known to be harmless and is not trusted, or it was made for
            another feeder, other inverters or another observation; the message names the difference.
        MissingExtraError
            For a file, without skops.
        """
        if self.policy is None and not self.file:
            raise InputError("sklearn needs a policy: file=FILE; `feederlab train imitation` writes one")
        found: EstimatorPolicy = self.policy if self.policy is not None else _read(*_place(self.file), self.trust)
        found.check(task, self.file or "given")
        layout = found.layout_of(task)
        chosen = found.inputs(layout, task)

        def mean(rows: np.ndarray[Any, np.dtype[np.float32]]) -> FloatArray:
            return found.mean(rows, chosen)

        return ActingOnRows(task, "sklearn", layout, found.bound, mean)


State = tuple[int, int, int]


def _place(file: str) -> tuple[str, State]:
    """Return a file's name, and what changes when it is written anew."""
    try:
        about = Path(file).stat()
    except OSError as error:
        raise ResultFileError(f"cannot read the policy {file}: {error.strerror or error}") from error
    return str(Path(file).absolute()), (about.st_ino, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=64)
def _scope(file: str, _state: State) -> Scope:
    return scope_of(file)


@lru_cache(maxsize=8)
def _read(file: str, _state: State, trust: bool) -> EstimatorPolicy:
    return EstimatorPolicy.load(file, trust=trust)
