"""The linear predictor: measured voltages, and the grid's sensitivities about no load (LinDistFlow)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feederlab.models.arrays import FloatArray, IntArray
from feederlab.models.predictors.actions import Actions
from feederlab.models.predictors.base import Predicted
from feederlab.models.sensitivity import Sensitivity


@dataclass(frozen=True, eq=False)
class LinearPredictor:
    """``v(a) = v~ + S (a - a~)`` with v~ measured under the actions a~ (Baran and Wu, 1989).

    v : (n,) measured squared magnitude (p.u.).  present : (k,) actions when it was measured (MW, MVAr).
    slopes : (n, k) S.
    """

    v: FloatArray
    present: FloatArray
    slopes: FloatArray

    def __call__(self, actions: FloatArray) -> Predicted:
        return Predicted(self.v + self.slopes @ (actions - self.present), self.slopes)


def slopes_of(model: Sensitivity, place: IntArray, actions: Actions) -> FloatArray:
    """Return, (nodes, k), the rise of v by each action (p.u. per MW, MVAr).

    place : (nodes,) column of `model` of each node that an action stands at.
    """
    column = place[actions.node]
    by_p, by_q = model.v_by_p[:, column], model.v_by_q[:, column]
    unit = actions.unit
    return np.asarray(by_p * unit.real + by_q * unit.imag)
