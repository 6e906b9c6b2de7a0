"""The programs of single steps side by side, coupled by storage: one quadratic program, built from arrays.

Beside the steps' own variables each usable unit has, per step, charging and discharging power and reactive power in
ratings of its converter, and the energy at the end of the step in shares of the largest.  Its power enters the balance
of its node as a load does, and

    (P_charge - P_discharge)^2 + q^2 <= s^2,    P_charge / its limit + P_discharge / its limit <= 1.

The latter follows from doing one thing at a time, which is not convex and, where it is needed, is asked for by
``P_charge P_discharge <= apart s^2`` (Scholtes, SIAM J. Optimization 11(4), 2001) or by fixing the direction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from feederlab.models.acopf.program import QuadraticProgram, Terms
from feederlab.models.arrays import BoolArray, FloatArray, IntArray
from feederlab.models.multiperiod.window import Fleet, Window
from feederlab.models.objective import Objective


@dataclass(frozen=True, eq=False)
class WindowProgram:
    """The program and where its variables are.

    program : of the whole window.  charge, discharge, q, energy : (T, k) positions of the storage variables.
    apart : (T k,) rows of the products.  size : number of variables of one step, which come first, step by step.
    """

    program: QuadraticProgram
    charge: IntArray
    discharge: IntArray
    q: IntArray
    energy: IntArray
    apart: IntArray
    size: int

    def directed(self, charging: BoolArray) -> QuadraticProgram:
        """Return the program in which each unit may only charge where `charging` (T, k) is true, else discharge."""
        own, high = self.program, self.program.high.copy()
        high[self.discharge[charging]] = 0.0
        high[self.charge[~charging]] = 0.0
        return own.bounded(low=own.low, high=high, row_low=own.row_low, row_high=own.row_high)

    def without_q(self) -> WindowProgram:
        """Return the same with storage that gives no reactive power."""
        own, low, high = self.program, self.program.low.copy(), self.program.high.copy()
        low[self.q] = high[self.q] = 0.0
        return replace(self, program=own.bounded(low=low, high=high, row_low=own.row_low, row_high=own.row_high))

    def kept_apart(self, share: float) -> QuadraticProgram:
        """Return the program with ``P_charge P_discharge <= share s^2``."""
        own, row_high = self.program, self.program.row_high.copy()
        row_high[self.apart] = share
        return own.bounded(low=own.low, high=own.high, row_low=own.row_low, row_high=row_high)


def window_program(
    steps: list[QuadraticProgram], scale_mva: float, objective: Objective, window: Window, fleet: Fleet
) -> WindowProgram:
    """Join the steps' programs (`acopf.feeder_model`, power in units of `scale_mva`)."""
    count, k = len(steps), len(fleet)
    rows, size = steps[0].shape
    place = count * size + np.arange(4 * count * k).reshape(4, count, k)
    charge, discharge, q, energy = place
    columns = count * size + 4 * count * k
    balance, energy_row, disc, either, apart = _rows(steps, fleet, rows, count, k)
    power = np.broadcast_to(fleet.s_mva / scale_mva, (count, k))
    parts = [
        (balance[0], charge, power), (balance[0], discharge, -power), (balance[1], q, power),
        *_energy(energy_row, charge, discharge, energy, window, fleet),
        (either, charge, _over(fleet.s_mva, fleet.charge_mw, count)),
        (either, discharge, _over(fleet.s_mva, fleet.discharge_mw, count)),
    ]  # fmt: skip
    row, column, value = (np.concatenate([np.ravel(part[j]) for part in parts]) for j in range(3))
    height = count * rows + 4 * count * k
    matrix = sp.csr_matrix((value, (row, column)), shape=(height, columns)) + _padded(
        sp.block_diag([one.matrix for one in steps]), height, columns
    )
    largest = np.maximum(fleet.high_mwh, 1e-12)
    low = np.concatenate(
        [*(one.low for one in steps), np.zeros(2 * count * k), -np.ones(count * k), np.zeros(count * k)]
    )
    high = np.concatenate([*(one.high for one in steps), np.ones(4 * count * k)])
    high[charge], high[discharge] = fleet.charge_mw / fleet.s_mva, fleet.discharge_mw / fleet.s_mva
    low[energy], high[energy] = fleet.low_mwh / largest, fleet.high_mwh / largest
    low[energy[-1]] = np.maximum(low[energy[-1]], fleet.end_mwh / largest)
    stored = np.zeros((count, k))
    stored[0] = fleet.start_mwh / largest
    ones, none = np.ones(count * k), np.full(count * k, -np.inf)
    joined = QuadraticProgram(
        constant=sum(one.constant for one in steps),
        c=_costs(steps, scale_mva, objective, window, fleet, place, columns),
        hessian=sp.csr_matrix(_padded(sp.block_diag([one.hessian for one in steps]), columns, columns)),
        matrix=sp.csr_matrix(matrix),
        terms=_terms(steps, rows, size, (charge, discharge, q), disc, apart),
        row_low=np.concatenate([*(one.row_low for one in steps), stored.ravel(), none, none, none]),
        row_high=np.concatenate([*(one.row_high for one in steps), stored.ravel(), ones, ones, -none]),
        low=low, high=high, x0=np.zeros(columns), variables={}, rows={},
    )  # fmt: skip
    return WindowProgram(joined, charge, discharge, q, energy, apart.ravel(), size)


def _rows(
    steps: list[QuadraticProgram], fleet: Fleet, rows: int, count: int, k: int
) -> tuple[tuple[IntArray, IntArray], IntArray, IntArray, IntArray, IntArray]:
    """Return the rows, (T, k) each, of the units' nodes' balances, of energy, disc, one-at-a-time and products."""
    first = rows * np.arange(count)[:, None]
    p_row, q_row = (first + steps[0].rows[name][fleet.node] for name in ("p_balance", "q_balance"))
    more = count * rows + np.arange(4 * count * k).reshape(4, count, k)
    return (p_row, q_row), more[0], more[1], more[2], more[3]


def _energy(
    row: IntArray, charge: IntArray, discharge: IntArray, energy: IntArray, window: Window, fleet: Fleet
) -> list[tuple[IntArray, IntArray, FloatArray]]:
    """Return the parts of e_t - e_{t-1} - (eta P_charge - P_discharge / eta) dt = 0, over the largest energy."""
    per = np.broadcast_to(window.step_h * fleet.s_mva / np.maximum(fleet.high_mwh, 1e-12), charge.shape)
    one = np.ones(row.shape)
    return [
        (row, energy, one), (row[1:], energy[:-1], -one[1:]), (row, charge, -per * fleet.efficiency),
        (row, discharge, per / fleet.efficiency),
    ]  # fmt: skip


def _over(s_mva: FloatArray, limit: FloatArray, count: int) -> FloatArray:
    """Return s / limit, 0 where a unit has none, (T, k)."""
    share = np.divide(s_mva, limit, out=np.zeros_like(s_mva), where=limit > 0)
    return np.broadcast_to(share, (count, len(share)))


def _costs(
    steps: list[QuadraticProgram],
    scale_mva: float,
    objective: Objective,
    window: Window,
    fleet: Fleet,
    place: IntArray,
    columns: int,
) -> FloatArray:
    """Return the linear costs, over `scale_mva`; losses are what is drawn less what loads and storage take."""
    size, (charge, discharge, _, energy) = steps[0].shape[1], place
    c = np.zeros(columns)
    c[: len(steps) * size] = np.concatenate([one.c for one in steps])
    imports = np.concatenate([one.variables["p_slack"] + t * size for t, one in enumerate(steps)])
    c[imports] += objective.weight("substation_import") * (window.prices - 1)
    power, losses = fleet.s_mva / scale_mva, objective.weight("losses")
    use = objective.weight("storage_use") * window.prices[:, None] * power
    c[charge], c[discharge] = use - losses * power, use + losses * power
    c[energy[-1]] -= window.end_value / window.step_h * fleet.high_mwh / scale_mva
    return c


def _terms(
    steps: list[QuadraticProgram],
    rows: int,
    size: int,
    place: tuple[IntArray, IntArray, IntArray],
    disc: IntArray,
    apart: IntArray,
) -> Terms:
    """Return the steps' own products, those of the converters' discs, and those that keep apart."""
    parts = [
        (one.terms.row + t * rows, one.terms.first + t * size, one.terms.second + t * size, one.terms.coefficient)
        for t, one in enumerate(steps)
    ]
    charge, discharge, q = (values.ravel() for values in place)
    flat, unit = disc.ravel(), np.ones(disc.size)
    parts += [
        (flat, charge, charge, unit), (flat, discharge, discharge, unit), (flat, charge, discharge, -2 * unit),
        (flat, q, q, unit), (apart.ravel(), charge, discharge, unit),
    ]  # fmt: skip
    return Terms(*(np.concatenate([part[j] for part in parts]) for j in range(4)))


def _padded(matrix: sp.spmatrix, rows: int, columns: int) -> sp.csr_matrix:
    wide = sp.csr_matrix(matrix)
    wide.resize((rows, columns))
    return wide
