"""What a household's policy sees: the state (26), as seven numbers of its own meter and storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray

LIMIT = 10.0
ENTRIES = (
    ("demand now, P^D_t", "MW"), ("SOC", "1"), ("voltage that is expected if the storage rests, V~_t", "p.u."),
    ("voltage a step ago, V_t-1", "p.u."), ("voltage two steps ago, V_t-2", "p.u."),
    ("demand a step ago, P^D_t-1", "MW"), ("demand two steps ago, P^D_t-2", "MW"),
)  # fmt: skip
"""(meaning, unit) of the entries, in the order of (26)."""
VM_SCALE, SOC_CENTRE, SOC_SCALE = 0.05, 0.5, 0.4


@dataclass(frozen=True)
class Sight:
    """The layout of (26): ``x = clip((value - centre) / scale, -10, 10)``, float32.

    Demand is centred and scaled by the household's own history, voltages by 1 +- 0.05 p.u., the SOC by 0.5 +- 0.4.
    Demand is what the connection draws without its storage, positive consumption.

    demand_centre, demand_scale : (MW).
    """

    demand_centre: float
    demand_scale: float

    def __post_init__(self) -> None:
        if not (np.isfinite([self.demand_centre, self.demand_scale]).all() and self.demand_scale > 0):
            raise InputError(f"centre and scale of the demand must be finite, the scale positive: {self}")

    @classmethod
    def of(cls, demand_p_mw: FloatArray) -> Sight:
        """Return the layout for a demand (T,): by its mean and standard deviation (1 MW where it never changes)."""
        spread = float(np.std(demand_p_mw))
        return cls(float(np.mean(demand_p_mw)), spread if spread > 1e-9 else 1.0)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Sight:
        """Return the layout that `record` wrote."""
        return cls(float(record["demand_centre"]), float(record["demand_scale"]))

    def record(self) -> dict[str, float]:
        """Return, JSON-ready, what `from_record` needs."""
        return {"demand_centre": self.demand_centre, "demand_scale": self.demand_scale}

    @property
    def centre(self) -> FloatArray:
        """(7,) centres."""
        return np.array([self.demand_centre, SOC_CENTRE, 1.0, 1.0, 1.0, self.demand_centre, self.demand_centre])

    @property
    def scale(self) -> FloatArray:
        """(7,) scales."""
        return np.array([self.demand_scale, SOC_SCALE, *[VM_SCALE] * 3, self.demand_scale, self.demand_scale])

    def read(self, state: FloatArray) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the (..., 7) observation of states (..., 7) in the units of `ENTRIES`; lost numbers are 0."""
        x = np.clip((state - self.centre) / self.scale, -LIMIT, LIMIT)
        return np.nan_to_num(x, nan=0.0).astype(np.float32)
