"""The relaxed reward (28) of a household's storage."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray


@dataclass(frozen=True)
class RelaxedReward:
    """The reward of a step in which the storage works at P^b and the meter reads V: (28), penalty first.

        ``r = -w_p C |P^b| - w_l (lambda + k d)   if d > 0,   else   r = -w_p |P^b|``

        ``d = max(V - (v_max - z_hi), (v_min + z_lo) - V)``

    As printed the two branches overlap; the penalty's is looked at first.  |P^b| is a share of the unit's rate, so that
    one set of weights fits units of every size, and C is the price of the step.  With C = 1 both branches price power
    alike.

    w_p, w_l : weights of storage use and of the voltage.
    penalty : lambda, for being outside at all.  slope : k, for each p.u. outside.  price : C, of every step.
    z_hi, z_lo : how far inside the band the penalty begins (p.u.).

    The paper's numbers are lost; these are ours, and so is k.  Under lambda alone (k = 0) a household whose unit cannot
    bring the voltage back on its own is better off resting, and so is its neighbour, though together they could.  A
    unit at full rate moves its voltage by about 0.01 p.u.: with k = 300 that is worth three times what it costs.
    """

    w_p: float = 1.0
    w_l: float = 1.0
    penalty: float = 1.0
    slope: float = 300.0
    price: float = 1.0
    z_hi: float = 0.005
    z_lo: float = 0.005

    def __post_init__(self) -> None:
        values = np.array(list(asdict(self).values()), dtype=float)
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise InputError(
                f"weights, penalty, price and margins of the reward must be finite and not negative: {self}"
            )

    def __call__(self, vm: Any, share: Any, low: Any, high: Any) -> FloatArray:
        """Return the (...) rewards.

        vm : (...) voltage magnitude (p.u.).  share : (...) storage power in units of its rate, -1 to 1.
        low, high : (...) band (p.u.).  A voltage that is no number counts as 1 p.u. outside.
        """
        v = np.asarray(vm, dtype=float)
        outside = np.maximum(v - (np.asarray(high) - self.z_hi), (np.asarray(low) + self.z_lo) - v)
        outside = np.where(np.isfinite(outside), outside, 1.0)
        used = self.w_p * np.abs(share)
        missed = self.w_l * (self.penalty + self.slope * outside)
        return np.asarray(np.where(outside > 0, -self.price * used - missed, -used))

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters, JSON-ready."""
        return asdict(self)
