"""The interface of a model of what actions do to voltages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from feederlab.models.arrays import FloatArray


class Curvature(Protocol):
    """Returns the (k, k) Hessian of ``multipliers @ v`` by the actions; multipliers : (n,)."""

    def __call__(self, multipliers: FloatArray) -> FloatArray: ...


@dataclass(frozen=True, eq=False)
class Predicted:
    """Voltages at some actions, with derivatives.

    v : (n,) squared magnitude of the watched nodes (p.u.).  slopes : (n, k) of v by the actions (p.u. per MW, MVAr).
    curvature : None where v is linear in the actions.
    """

    v: FloatArray
    slopes: FloatArray
    curvature: Curvature | None = None


class Predictor(Protocol):
    """Predicts the voltages of n watched nodes from k actions, at one instant."""

    def __call__(self, actions: FloatArray) -> Predicted | None:
        """Return the prediction for actions (k,), MW and MVAr; None where there is none: no power flow."""
