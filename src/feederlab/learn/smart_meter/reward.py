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

        ``r = -w_p C |P^b| - w_l lambda   if V > v_max - z_hi or V < v_min + z_lo,   else   r = -w_p |P^b|``

    As printed the two branches overlap; the penalty's is looked at first.  |P^b| is a share of the unit's rate, so that
    one set of weights fits units of every size, and C is the price of the step.  With C = 1 both branches price power
    alike, and w_l lambda is what leaving the narrowed band costs on top.

    w_p, w_l : weights of storage use and of the voltage.
    penalty : lambda.  price : C, of every step.
    z_hi, z_lo : how far inside the band the penalty begins (p.u.).

    The paper's numbers are lost; these are ours.  With w_l lambda > w_p a household would rather work at full rate
    than stay outside; the margins pay for a part of what its estimate of the voltage misses by.
    """

    w_p: float = 1.0
    w_l: float = 1.0
    penalty: float = 3.0
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
        low, high : (...) band (p.u.).  A voltage that is no number counts as outside.
        """
        inside = (vm <= np.asarray(high) - self.z_hi) & (vm >= np.asarray(low) + self.z_lo)
        used = self.w_p * np.abs(share)
        return np.asarray(np.where(inside, -used, -self.price * used - self.w_l * self.penalty))

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters, JSON-ready."""
        return asdict(self)
