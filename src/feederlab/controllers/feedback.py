"""Feedback optimisation: a primal-dual gradient method whose voltages are measured, not modelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from feederlab.controllers.base import (
    GLOBAL,
    Controller,
    ControlTask,
    Decision,
    Information,
    Measurement,
    Prepared,
    Setpoints,
    Settle,
    State,
)
from feederlab.controllers.rating import headroom
from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray
from feederlab.models.sensitivity import Sensitivity


@dataclass(frozen=True)
class Feedback(Controller):
    """Reactive power by feedback optimisation; the model supplies directions, the grid itself the voltages.

    At every measurement v (squared magnitude, p.u.) under the present q_0 it improves

    ``min_q  f(q) + penalty * sum_i dist(v_i + [S (q - q_0)]_i, [v_min, v_max]),   |q| <= sqrt(S^2 - p^2)``

    with S = dv/dq and the losses' gradient from a linear model about no load, built once.  The iteration is Condat's
    and Vu's, for the multipliers y of the band,

    ``q+ = proj(q - t (grad f(q) + S' y))``,  ``y+ = clip(z - s clip(z / s, v_min, v_max), -penalty, penalty)``,
    ``z = y + s (v + S (2 q+ - q - q_0))``,

    which converges for ``1/t >= L_f / 2 + s ||S||^2``; t and s follow from that.  The offset v - S q_0 is measured, so
    a wrong model costs speed, not accuracy (Hauswirth et al., "Optimization algorithms as robust feedback
    controllers", 2024).

    Needs no solver and no power flow, and works on meshed feeders.  It moves inverter q only; active power, storage,
    taps and capacitors stay as they are.

    iterations : most primal-dual steps per measurement.  tol : stop when no q moves more than this share of its rating
    and no predicted voltage (squared, p.u.) differs from the one its multiplier asks for by more.
    rounds : most measurements within one step of the simulation.  With one, the model's linearisation error stays in
    the voltages until the next step; a few make it vanish.
    margin : how far inside the band to stay (p.u.): it aims at the band's very edge wherever losses ask for it.
    """

    sees: ClassVar[Information] = GLOBAL
    iterations: int = 1000
    tol: float = 1e-5
    rounds: int = 5
    margin: float = 5e-4

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.rounds < 1 or not self.tol >= 0 or not self.margin >= 0:
            raise InputError(
                "feedback needs iterations >= 1, rounds >= 1, tol >= 0 and margin >= 0, not "
                f"iterations={self.iterations}, rounds={self.rounds}, tol={self.tol}, margin={self.margin}"
            )

    @property
    def settle(self) -> Settle | None:
        return Settle("previous", 1.0, 1e-6, self.rounds) if self.rounds > 1 else None

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Build the linear model.

        Raises
        ------
        InputError
            For the objective ``cost``, and for a band that the margin leaves empty.
        """
        return _Prepared(task, self)


class _Prepared(Prepared):
    def __init__(self, task: ControlTask, settings: Feedback) -> None:
        self._iterations, self._tol = settings.iterations, settings.tol
        self._node, self._rating = task.inverters.node, task.inverters.s_mva
        self._storage_node = task.storages.node
        self._model = model = Sensitivity.of(task.grid(), self._node)
        seen = np.arange(task.nodes) != task.grid().slack
        self._v_by_q = model.v_by_q * seen[:, None]
        band = task.inside(settings.margin).band
        self._low, self._high = np.where(seen, band**2, [[-np.inf], [np.inf]])
        self._penalty = task.voltage_penalty
        self._loss, self._deviation, effort = _weights(task)
        self._v0 = np.where(seen, task.objective.v0**2, 0.0)
        curvature = self._loss * model.loss_by_q[:, np.maximum(self._node, 0)] * (self._node >= 0)
        curvature = curvature + 2 * self._deviation * self._v_by_q.T @ self._v_by_q
        self._hessian = curvature + np.diag(2 * effort / np.maximum(self._rating, 1e-9) ** 2)
        lipschitz, reach = _norm(self._hessian), _norm(self._v_by_q.T @ self._v_by_q)
        self._dual_step = max(lipschitz, 1e-9) / max(reach, 1e-12)
        self._primal_step = 1 / max(lipschitz / 2 + self._dual_step * reach, 1e-12)

    def initial_state(self) -> State:
        return {"y": np.zeros(len(self._low)), "rest": self._model.v0.copy()}

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        q_0 = np.nan_to_num(measurement.q_mvar)
        # The voltages that q = 0 would leave: measured, or as last known.
        rest = measurement.vm**2 - self._v_by_q @ q_0
        rest = np.where(np.isfinite(rest), rest, state["rest"])
        p = np.minimum(np.nan_to_num(measurement.p_available_mw), self._rating)
        room = headroom(p, self._rating)
        slope = self._loss * self._loss_slope(measurement, p)
        slope = slope + 2 * self._deviation * self._v_by_q.T @ (rest - self._v0)
        q, y, count = self._iterate(np.clip(q_0, -room, room), state["y"], rest, room, slope)
        return Setpoints(q_mvar=q, info=Decision("primal-dual", iterations=count)), {"y": y, "rest": rest}

    def _iterate(
        self, q: FloatArray, y: FloatArray, rest: FloatArray, room: FloatArray, slope: FloatArray
    ) -> tuple[FloatArray, FloatArray, int]:
        hessian, v_by_q, t, s = self._hessian, self._v_by_q, self._primal_step, self._dual_step
        small, low, high = self._tol * self._rating, self._low - rest, self._high - rest
        for count in range(1, self._iterations + 1):  # noqa: B007 (its last value is reported)
            ahead = np.minimum(np.maximum(q - t * (hessian @ q + slope + y @ v_by_q), -room), room)
            z = y + s * (v_by_q @ (2 * ahead - q))
            y_new = z - s * np.minimum(np.maximum(z / s, low), high)
            y_new = np.minimum(np.maximum(y_new, -self._penalty), self._penalty)
            done = (np.abs(ahead - q) <= small).all() and (np.abs(y_new - y) <= s * self._tol).all()
            q, y = ahead, y_new
            if done:
                break
        return q, y, count

    def _loss_slope(self, m: Measurement, p_mw: FloatArray) -> FloatArray:
        """Return the losses' gradient in q at q = 0 (MW per MVAr)."""
        power = -(np.nan_to_num(m.load_p_mw) + 1j * np.nan_to_num(m.load_q_mvar))
        on = self._node >= 0
        np.add.at(power, self._node[on], p_mw[on])
        on = self._storage_node >= 0
        storage = np.nan_to_num(m.storage_p_mw) + 1j * np.nan_to_num(m.storage_q_mvar)
        np.subtract.at(power, self._storage_node[on], storage[on])
        model = self._model
        slope: FloatArray = model.loss_at_rest + model.loss_by_p @ power.real + model.loss_by_q @ power.imag
        return slope


def _weights(task: ControlTask) -> tuple[float, float, float]:
    """Return the weights of losses, voltage deviation and control effort.

    What is drawn from the external grid differs from the losses by a constant, and curtailment is constant, as long as
    active power stays as it is.
    """
    objective = task.objective
    objective.check_feeder()
    losses = objective.weight("losses") + objective.weight("substation_import")
    return losses, objective.weight("voltage_deviation"), objective.weight("control_effort")


def _norm(matrix: FloatArray) -> float:
    return float(np.linalg.norm(matrix, 2)) if matrix.size else 0.0
