"""What a meter knows in the instant in which it decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from feederlab.errors import InputError
from feederlab.learn.smart_meter.history import MeterHistory
from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.thevenin import Guard, impedance, impedances, source


@dataclass(frozen=True, eq=False)
class Known:
    """What one meter knows as step t is decided: its demand now, its last two readings, and the impedance behind it.

    All arrays have the same leading axes (...,), none for a single decision.

    demand_p_mw, demand_q_mvar : (...,) P^D_t, Q^D_t (MW, MVAr).
    vm : (..., 2) V_{t-1}, V_{t-2} (p.u.).
    p_mw, q_mvar : (..., 2) P_{t-1}, P_{t-2} and Q: power through the meter, its battery included (MW, MVAr).
    z : (...,) Thevenin impedance after the reading of t-1 (p.u. on 1 MVA), `thevenin.impedances`.
    """

    demand_p_mw: FloatArray
    demand_q_mvar: FloatArray
    vm: FloatArray
    p_mw: FloatArray
    q_mvar: FloatArray
    z: ComplexArray

    @property
    def e(self) -> FloatArray:
        """(...,) |E| (p.u.): the source that explains the reading of t-1 with impedance z."""
        return source(self.vm[..., 0], self.p_mw[..., 0] + 1j * self.q_mvar[..., 0], self.z)

    def __getitem__(self, rows: Any) -> Known:
        """Return some rows of the leading axis."""
        return Known(**{name: getattr(self, name)[rows] for name in _PARTS})

    @classmethod
    def first(cls, vm: float, p_mw: float, q_mvar: float, guard: Guard) -> Known:
        """Return what a meter knows after its first reading, which stands for the one before as well."""
        two = np.ones(2)
        return cls(
            np.asarray(p_mw, dtype=float), np.asarray(q_mvar, dtype=float), vm * two, p_mw * two, q_mvar * two,
            np.asarray(complex(guard.z_start)),
        )  # fmt: skip

    def then(self, vm: Any, p_mw: Any, q_mvar: Any, guard: Guard) -> Known:
        """Return what it knows after another reading (...,); the demand stays, until `now` says what it is."""

        def moved(last: Any, values: FloatArray) -> FloatArray:
            return np.stack([np.broadcast_to(last, values.shape[:-1]), values[..., 0]], axis=-1)

        before, reading = self.p_mw[..., 0] + 1j * self.q_mvar[..., 0], np.asarray(p_mw) + 1j * np.asarray(q_mvar)
        z = impedance(self.vm[..., 0], before, vm, reading, self.z, guard)
        return replace(self, vm=moved(vm, self.vm), p_mw=moved(p_mw, self.p_mw), q_mvar=moved(q_mvar, self.q_mvar), z=z)

    def now(self, demand_p_mw: Any, demand_q_mvar: Any) -> Known:
        """Return the same with the demand of the step at hand."""
        return replace(self, demand_p_mw=np.asarray(demand_p_mw), demand_q_mvar=np.asarray(demand_q_mvar))

    def record(self) -> dict[str, Any]:
        """Return it as JSON-ready lists and numbers."""
        listed = {name: np.asarray(getattr(self, name)).tolist() for name in _PARTS if name != "z"}
        return listed | {"z": [self.z.real.tolist(), self.z.imag.tolist()]}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Known:
        """Return what `record` gave."""
        parts: dict[str, Any] = {name: np.asarray(record[name], dtype=float) for name in _PARTS if name != "z"}
        real, imag = record["z"]
        return cls(**parts, z=np.asarray(real) + 1j * np.asarray(imag))


_PARTS = ("demand_p_mw", "demand_q_mvar", "vm", "p_mw", "q_mvar", "z")


def decisions(history: MeterHistory, guard: Guard) -> tuple[IntArray, Known]:
    """Return the steps (n,) of a history that follow two readings without a gap, and what was known then, (n,) rows.

    Raises
    ------
    InputError
        If there are none: the history has fewer than three readings in a row.
    """
    fresh = history.fresh
    rows = np.flatnonzero(fresh & np.append(False, fresh[:-1]))
    if not len(rows):
        raise InputError(f"the history of {history.name or 'a meter'} has no three readings in a row")
    z = impedances(history.vm, history.p_mw + 1j * history.q_mvar, fresh, guard)
    two = rows[:, None] - [1, 2]
    return rows, Known(
        history.demand_p_mw[rows], history.demand_q_mvar[rows], history.vm[two], history.p_mw[two],
        history.q_mvar[two], z[rows - 1],
    )  # fmt: skip
