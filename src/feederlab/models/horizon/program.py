"""The program of one expansion: convex but for whole positions, over all stages together.

    minimise    sum_t n_t [ f_t + g_t'(z_t - a_t) + 1/2 (z_t - a_t)' H_t (z_t - a_t) + price * sum_i max(0, h_ti(z_t)) ]
                + tap_cost, step_cost * moves - value of the energy that is left

over the controls z_t of each stage (`model.Layout`), n_t steps long, with

    e_t = e_{t-1} + (eta charge_t - discharge_t / eta) dt_t     stored energy, within its limits
    q^2 + p^2 <= S^2                                            of every inverter and storage, p = charge - discharge
    y_t - y_{t-1} = up_t - down_t                               positions of taps and banks, whole
    up + down <= pace, sums of them over rests and the horizon  mechanisms

The split into charging and discharging is exact where both are not positive at once.  That is so wherever energy is
worth something: charging and discharging together only burns it.  Where burning would pay (a full store and too high
voltages), `one_way` tells which of the two the plant's net power would be, and the program is solved again with the
other at 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from feederlab.models.arrays import FloatArray, IntArray
from feederlab.models.horizon.model import Expansion, HorizonModel
from feederlab.models.horizon.plan import Start
from feederlab.models.horizon.stages import Stages, lengths

_BOTH = 1e-6  # of the rating: charging and discharging below this are the solver's rounding


@dataclass(frozen=True)
class Rules:
    """What a horizon asks of its devices beyond their limits.

    end_mwh : (storages,) energy to be left at the end, or what can be reached of it; None: any.
    energy_value : of the energy left, objective x hours per MWh.
    tap_cost, step_cost : of one move, in objective x hours.  max_moves : of each device over the horizon, 0 for any.
    blocks : taps and steps may move at the beginning of at most this many blocks of stages (`stages.lengths`), 0: of
    every stage.
    """

    end_mwh: FloatArray | None = None
    energy_value: float = 0.0
    tap_cost: float = 0.0
    step_cost: float = 0.0
    max_moves: int = 0
    blocks: int = 0


@dataclass(frozen=True, eq=False)
class Discs:
    """Limits ``(x_plus - x_minus)^2 + x_q^2 <= 1``: (d,) columns each; minus is -1 where there is none."""

    q: IntArray
    plus: IntArray
    minus: IntArray


class HorizonProgram:
    """Numbers of one program; columns are z (stage by stage), stored energy, and what moves need.

    lower, upper : (n,) of the columns.  matrix, low, high : rows ``low <= matrix x <= high``.  cost : (n,) linear cost,
    constant : what is added to it.  discs : as above.
    z : (T, k) columns of the controls.  hessian : (T, k, k) and at : (T, k) of the quadratic part of the cost.
    sparse : (T,) the same through the voltages (`SparseStage`, per step) where there are many controls.
    steps : (T,) of each stage.
    rows, slopes, price : (T, m), (T, m, k), (T,) of the soft rows ``price_t * max(0, rows + slopes (z - at))``.
    integer : (T, discrete) columns of taps and steps; switched : columns that mark a switching; integers : both.
    """

    def __init__(self, model: HorizonModel, stages: Stages, start: Start, about: Expansion, rules: Rules) -> None:
        self._model, self._stages, self._start, self._rules = model, stages, start, rules
        self.layout = at = model.layout
        count, k = len(stages), at.size
        self.stages, self.k = count, k
        steps = stages.length.astype(float)
        self.at, self.rows, self.slopes = about.at, about.rows, about.slopes
        self.hessian = steps[:, None, None] * about.hessian
        self.gradient = steps[:, None] * about.gradient
        self.price = steps * model.voltage_penalty
        self.sparse, self.steps = about.sparse, steps
        self._lower: list[FloatArray] = []
        self._upper: list[FloatArray] = []
        self._cost: list[FloatArray] = []
        self._parts: list[tuple[FloatArray, IntArray, IntArray]] = []
        self._low: list[float] = []
        self._high: list[float] = []
        low, high = self._boxes()
        self.z = self._controls(low, high)
        self.constant = float(steps @ about.value - (self.gradient * about.at).sum())
        self._store()
        self.integer = self.z[:, at.discrete]
        self._marked: list[tuple[int, int]] = []
        self.switched = self._moves()
        self.integers = np.concatenate([np.unique(self.integer), self.switched])
        self.discs = self._ratings()
        self.lower, self.upper = np.concatenate(self._lower), np.concatenate(self._upper)
        self.cost = np.concatenate(self._cost)
        none = np.zeros(0, dtype=np.int64)
        data = np.concatenate([part[0] for part in self._parts] or [np.zeros(0)])
        row, column = (np.concatenate([part[i] for part in self._parts] or [none]) for i in (1, 2))
        self.matrix = sp.csr_matrix((data, (row, column)), shape=(len(self._low), len(self.lower)))
        self.low, self.high = np.array(self._low), np.array(self._high)

    def controls(self, x: FloatArray) -> FloatArray:
        """Return the (T, k) controls of a solution."""
        return np.asarray(x[self.z])

    def value(self, x: FloatArray) -> float:
        """Return the objective at x, soft rows included."""
        d = self.controls(x) - self.at
        curved = 0.5 * np.einsum("tj,tjk,tk->", d, self.hessian, d)
        return float(self.cost @ x + self.constant + curved + self.price @ self.excess(x).sum(axis=1))

    def positioned(self, positions: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the bounds with taps and steps fixed at (T, discrete) positions.

        In a block those of its first stage stand throughout; what marks a switching is fixed with them.
        """
        positions = positions[self.first]
        lower, upper = self.lower.copy(), self.upper.copy()
        lower[self.integer] = upper[self.integer] = positions
        marks = [np.diff(positions[:, place], prepend=now) != 0 for place, now in self._marked]
        if marks:
            lower[self.switched] = upper[self.switched] = np.concatenate(marks)
        return lower, upper

    def excess(self, x: FloatArray) -> FloatArray:
        """Return (T, m) by how much x crosses each soft row."""
        d = self.controls(x) - self.at
        return np.asarray(np.maximum(self.rows + np.einsum("tmk,tk->tm", self.slopes, d), 0.0))

    def one_way(self, x: FloatArray) -> tuple[FloatArray, bool]:
        """Return the upper bounds under which no storage charges and discharges at once, and whether x breaks them.

        Each storage may only go on in the direction of its net power in every stage.
        """
        charge, discharge = self.z[:, self.layout.charge], self.z[:, self.layout.discharge]
        both = np.minimum(x[charge], x[discharge]) > _BOTH
        upper = self.upper.copy()
        charges = x[charge] >= x[discharge]
        upper[discharge[both & charges]] = 0.0
        upper[charge[both & ~charges]] = 0.0
        return upper, bool(both.any())

    def _controls(self, low: FloatArray, high: FloatArray) -> IntArray:
        """Add the controls; return their (T, k) columns, taps and steps sharing one throughout each block."""
        size = lengths(self.stages, self._rules.blocks) if self._rules.blocks else np.ones(self.stages, dtype=np.int64)
        self.first = np.repeat(np.cumsum(size) - size, size)
        own = np.repeat(np.arange(self.stages)[:, None], self.k, axis=1)
        own[:, self.layout.discrete] = self.first[:, None]
        place = own * self.k + np.arange(self.k)
        used, column = np.unique(place, return_inverse=True)
        column = np.asarray(column.reshape(place.shape), dtype=np.int64)
        cost = np.zeros(len(used))
        np.add.at(cost, column, self.gradient)
        self._columns(low.ravel()[used], high.ravel()[used], cost)
        return column

    def _boxes(self) -> tuple[FloatArray, FloatArray]:
        """Return the (T, k) bounds of the controls."""
        feeder, at, count = self._model.feeder, self.layout, self.stages
        inv, sto = feeder.inverters, feeder.storages
        low, high = np.zeros((count, self.k)), np.zeros((count, self.k))
        share = np.clip(self._stages.p_available_mw[:, at.inverters] / inv.s_mva[at.inverters], 0.0, 1.0)
        room = np.ones_like(share) if self._model.curtail else np.sqrt(np.maximum(1.0 - share**2, 0.0))
        low[:, at.q], high[:, at.q] = -room, room
        if self._model.curtail:
            high[:, at.p] = share
        rated = sto.s_mva[at.storages]
        high[:, at.charge] = np.clip(sto.p_max_mw[at.storages] / rated, 0.0, 1.0)
        high[:, at.discharge] = np.clip(-sto.p_min_mw[at.storages] / rated, 0.0, 1.0)
        low[:, at.storage_q], high[:, at.storage_q] = -1.0, 1.0
        low[:, at.tap] = feeder.tap_changers.tap_min[at.taps]
        high[:, at.tap] = feeder.tap_changers.tap_max[at.taps]
        high[:, at.step] = feeder.capacitors.max_step[at.steps]
        return low, high

    def _store(self) -> None:
        """Add stored energy, in shares of `e_max`."""
        units, at, rules = self._model.feeder.storages, self.layout, self._rules
        mine = at.storages
        if not len(mine):
            return
        size = units.e_max_mwh[mine]
        begin = self._start.energy_mwh[mine] / size
        low = np.repeat(np.minimum(units.e_min_mwh[mine] / size, begin)[None, :], self.stages, axis=0)
        high = np.repeat(np.maximum(1.0, begin)[None, :], self.stages, axis=0)
        eta, hours = units.efficiency[mine], self._stages.hours[:, None]
        into, out = hours * eta * units.s_mva[mine] / size, hours / eta * units.s_mva[mine] / size
        if rules.end_mwh is not None:
            most = np.clip(units.p_max_mw[mine] / units.s_mva[mine], 0.0, 1.0)
            reach = np.minimum(begin + (most * into).sum(axis=0), 1.0)
            low[-1] = np.maximum(low[-1], np.minimum(rules.end_mwh[mine] / size, reach - 1e-9))
        worth = np.zeros_like(low)
        worth[-1] = -rules.energy_value * size / self._stages.step_h
        e = self._columns(low, high, worth)
        for s in range(len(mine)):
            charge, discharge = self.z[:, at.charge][:, s], self.z[:, at.discharge][:, s]
            for t in range(self.stages):
                terms = [(e[t, s], 1.0), (charge[t], -into[t, s]), (discharge[t], out[t, s])]
                if t:
                    terms.append((e[t - 1, s], -1.0))
                right = 0.0 if t else begin[s]
                self._row(terms, right, right)

    def _moves(self) -> IntArray:
        """Add what the mechanisms allow and what moves cost; return the binary columns among them."""
        at, feeder, rules, stages = self.layout, self._model.feeder, self._rules, self._stages
        step_s, begin = 3600 * stages.step_h, stages.start
        changers, banks = feeder.tap_changers, feeder.capacitors
        binaries: list[IntArray] = []
        for place, column in enumerate(at.discrete):
            is_tap = column < at.tap.stop
            if is_tap:
                device = at.taps[column - at.tap.start]
                now, rest = self._start.tap[device], self._start.tap_rest_s[device]
                pause, cost = float(changers.delay_s[device]), rules.tap_cost
                largest = int(changers.tap_max[device] - changers.tap_min[device])
            else:
                device = at.steps[column - at.step.start]
                now, rest = self._start.step[device], self._start.step_rest_s[device]
                pause, cost, largest = float(banks.dwell_s[device]), rules.step_cost, int(banks.max_step[device])
            y, slow = self.z[:, column], pause > step_s
            still = begin * step_s < rest - 1e-9  # at rest as the stage begins
            pace = np.full(self.stages, float(largest))
            if is_tap and pause > 0:
                pace = np.minimum(pace, np.maximum(stages.length * step_s // pause, 1.0))
            pace[still] = 0.0
            for t in np.flatnonzero(pace < largest).tolist():
                self._step(y, t, float(now), -pace[t], pace[t])
            if not (cost or rules.max_moves or slow):
                continue
            zero, many = np.zeros(self.stages), np.full(self.stages, float(largest))
            price = np.full(self.stages, cost / stages.step_h)
            up, down = self._columns(zero, many, price), self._columns(zero, many, price)
            for t in range(self.stages):
                self._step(y, t, float(now), 0.0, 0.0, [(up[t], -1.0), (down[t], 1.0)])
            if rules.max_moves:
                self._row([(c, 1.0) for c in (*up, *down)], -np.inf, float(rules.max_moves))
            if not slow:
                continue
            if is_tap:
                counted: list[tuple[int, ...]] = [(int(up[t]), int(down[t])) for t in range(self.stages)]
                most = pace
            else:
                moved = self._columns(zero, np.ones(self.stages), zero)
                binaries.append(moved)
                self._marked.append((place, int(now)))
                for t in range(self.stages):
                    self._row([(up[t], 1.0), (down[t], 1.0), (moved[t], -float(largest))], -np.inf, 0.0)
                counted, most = [(int(m),) for m in moved], np.ones(self.stages)
            for t in range(1, self.stages):
                window = np.flatnonzero((begin[: t + 1] - begin[t]) * step_s > -pause + 1e-9)
                if len(window) > 1:
                    terms = [(c, 1.0) for w in window for c in counted[w]]
                    self._row(terms, -np.inf, max(float(most[t]), 1.0))
        return np.concatenate([*binaries, np.zeros(0, dtype=np.int64)])

    def _step(
        self, y: IntArray, t: int, now: float, low: float, high: float, more: list[tuple[int, float]] | None = None
    ) -> None:
        """Add ``low <= y_t - y_{t-1} + more <= high``."""
        terms = [(int(y[t]), 1.0), *(more or [])]
        if t and y[t] != y[t - 1]:
            self._row([*terms, (int(y[t - 1]), -1.0)], low, high)
        elif t:
            if more:  # inside a block nothing moves
                self._row(more, low, high)
        else:
            self._row(terms, low + now, high + now)

    def _ratings(self) -> Discs:
        at, z = self.layout, self.z
        q, plus, minus = [z[:, at.storage_q].ravel()], [z[:, at.charge].ravel()], [z[:, at.discharge].ravel()]
        if self._model.curtail:
            q.append(z[:, at.q].ravel())
            plus.append(z[:, at.p].ravel())
            minus.append(np.full(len(q[-1]), -1))
        return Discs(np.concatenate(q), np.concatenate(plus), np.concatenate(minus))

    def _columns(self, low: FloatArray, high: FloatArray, cost: FloatArray) -> IntArray:
        """Add columns; return where they stand, in the shape of the arguments."""
        first = sum(len(part) for part in self._lower)
        for store, values in ((self._lower, low), (self._upper, high), (self._cost, cost)):
            store.append(np.ravel(np.asarray(values, dtype=float)))
        return np.asarray(first + np.arange(np.size(low)).reshape(np.shape(low)), dtype=np.int64)

    def _row(self, terms: list[tuple[int, float]], low: float, high: float) -> None:
        columns, values = zip(*terms, strict=True)
        at = len(self._low)
        self._parts.append((np.array(values), np.full(len(values), at), np.array(columns)))
        self._low.append(low)
        self._high.append(high)
