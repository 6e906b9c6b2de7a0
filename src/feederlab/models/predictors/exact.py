"""The exact predictor: the AC power flow itself, with its first and second derivatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.powerflow.base import PowerFlow
from feederlab.models.powerflow.jacobian import ReducedGrid
from feederlab.models.predictors.actions import Actions
from feederlab.models.predictors.base import Predicted


@dataclass(frozen=True, eq=False)
class ExactPredictor:
    """The power flow as a function of the actions.

    grid : `ReducedGrid` at this instant's taps and steps.  rest_mva : (nodes,) injection without the actions (MVA).
    watched : nodes whose voltages are predicted.
    """

    flow: PowerFlow
    grid: ReducedGrid
    actions: Actions
    rest_mva: ComplexArray
    taps: IntArray
    steps: IntArray
    slack_vm: float
    watched: IntArray

    def __call__(self, actions: FloatArray) -> Predicted | None:
        feeder, node, unit = self.grid.feeder, self.actions.node, self.actions.unit
        injection = self.rest_mva.copy()
        np.add.at(injection, node, unit * actions)
        solved = self.flow.solve(injection, taps=self.taps, steps=self.steps, slack_vm=self.slack_vm)
        if not solved.converged:
            return None
        u, watched = solved.u, self.watched
        try:
            jacobian = self.grid.linearised(u, injection / feeder.base_mva + feeder.node_fixed)
        except RuntimeError:  # singular: voltage collapse
            return None
        per_unit = unit / feeder.base_mva
        power = np.zeros((len(u), len(node)), dtype=np.complex128)
        power[node, np.arange(len(node))] = per_unit
        du = jacobian.voltages(power)
        slopes = 2 * (np.conj(u[watched])[:, None] * du[watched]).real

        def curvature(multipliers: FloatArray) -> FloatArray:
            """|u|^2 has the Hessian 2 Re(du^H du) + 2 Re(u^H d2u)."""
            at = np.zeros(len(u))
            at[watched] = multipliers
            used = np.flatnonzero(at)
            h = 2 * (np.conj(du[used]).T @ (at[used, None] * du[used])).real
            return np.asarray(h + jacobian.curvature(jacobian.adjoint(2 * at * u), du, node, per_unit))

        return Predicted(np.abs(u[watched]) ** 2, slopes, curvature)
