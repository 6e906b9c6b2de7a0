"""What every configuration of the capacitor banks costs in every slot of a day, the fast layer having acted.

The fast layer of P3, the quadratic program (9), looks at one slot alone, and switching has no price.  So the cost of a
day under any sequence of configurations is a sum over entries of one table, [slot, configuration], whatever came
before; `simulate` gives the same sums, slot by slot.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import pandas as pd

from feederlab.learn.actions import configurations
from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.branchflow.linear import LinearModel
from feederlab.models.branchflow.parameters import BranchFlow
from feederlab.models.objective import Objective
from feederlab.models.powerflow.base import engine
from feederlab.models.scenario import Scenario, Series
from feederlab.models.scoring import voltage_deviation

OBJECTIVE = Objective.parse("voltage_deviation")
_KKT = 1e-9


@dataclass(frozen=True, eq=False)
class DayCosts:
    """A day, or a part of one, in slots and intervals of `slots` slots.

    times : (T,).  load_mva : (T, nodes) net consumption.  slot : (T, configurations) cost of a slot, sum of (v - v0)^2.
    mean : (intervals, configurations) cost of a slot with the interval's mean consumption.
    """

    times: pd.DatetimeIndex
    load_mva: ComplexArray
    slot: FloatArray
    mean: FloatArray

    @property
    def slots(self) -> int:
        """Slots in an interval."""
        return len(self.slot) // len(self.mean)

    @cached_property
    def interval(self) -> FloatArray:
        """(intervals, configurations) cost of an interval."""
        return np.asarray(self.slot.reshape(len(self.mean), self.slots, -1).sum(axis=1))

    @cached_property
    def seen_mva(self) -> ComplexArray:
        """(intervals, nodes) what the slow layer sees as each begins: the mean before, at first the first slot."""
        means = self.load_mva.reshape(len(self.mean), self.slots, -1).mean(axis=1)
        return np.concatenate([self.load_mva[:1], means[:-1]])

    @cached_property
    def enumerated(self) -> IntArray:
        """(intervals,) the cheapest configuration at what is seen: enumeration with one interval of lag."""
        seen = np.concatenate([self.slot[:1], self.mean[:-1]])
        return np.asarray(seen.argmin(axis=1))

    def of(self, actions: IntArray) -> FloatArray:
        """Return the (intervals,) costs of a sequence of configurations."""
        return np.asarray(np.take_along_axis(self.interval, actions[:, None], axis=1)[:, 0])


class FastLayer:
    """The quadratic program (9) on the flat linear model, for all configurations and many slots at once.

    ``min over q of sum over the nodes but the slack of (v - v0)^2``, ``v = a + D q``, ``|q| <= s``: for inverters that
    give no active power (`two_timescale_case`), where the limit is the same in every slot.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario, self.feeder = scenario, scenario.feeder
        self.actions: IntArray = configurations(self.feeder.capacitors)
        self.flow = engine(self.feeder)
        self._models = [_Linear(scenario, steps) for steps in self.actions]

    def setpoints(self, load_mva: ComplexArray, configuration: int) -> FloatArray:
        """Return the (T, inverters) reactive power (MVAr) under (T, nodes) consumption."""
        return self._models[configuration].setpoints(load_mva)

    def voltages(self, load_mva: ComplexArray, configuration: int, q_mvar: FloatArray | None = None) -> ComplexArray:
        """Return the (T, nodes) voltages (p.u.) after the fast layer, or `q_mvar` (T, inverters), has acted."""
        q = self.setpoints(load_mva, configuration) if q_mvar is None else q_mvar
        injection = -load_mva
        np.add.at(injection.T, self.feeder.inverters.node, 1j * q.T)
        return self.flow.solve_batch(injection, steps=self.actions[configuration], slack_vm=self.feeder.slack_vm).u

    def costs(self, load_mva: ComplexArray) -> FloatArray:
        """Return the (T, configurations) cost of (T, nodes) consumption; inf without a power-flow solution."""
        found = [
            voltage_deviation(self.voltages(load_mva, k), OBJECTIVE.v0, self.feeder.slack)
            for k in range(len(self.actions))
        ]
        return np.nan_to_num(np.stack(found, axis=1), nan=np.inf)

    def day(self, day: pd.Timestamp, every: str) -> DayCosts:
        """Return the table of a day, in intervals of `every`."""
        return self.table(self.scenario.days(day).series(), every)

    def table(self, series: Series, every: str) -> DayCosts:
        """Return the table of a series, which must be whole intervals of `every`."""
        load = series.load_mva
        slots = round(pd.Timedelta(every) / self.scenario.step)
        mean = load.reshape(-1, slots, load.shape[1]).mean(axis=1)
        return DayCosts(series.times, load, self.costs(load), self.costs(mean))


class _Linear:
    """The program of one configuration."""

    def __init__(self, scenario: Scenario, steps: IntArray) -> None:
        feeder, slack = scenario.feeder, scenario.feeder.slack
        flow = BranchFlow.of(feeder, None, steps)
        model, n, base = LinearModel(flow), feeder.n_nodes, feeder.base_mva
        self._on = np.delete(np.arange(n), slack)
        zero = np.zeros(n, dtype=np.complex128)
        self._rest = model.solve(flow.consumption(zero), feeder.slack_vm**2).v[self._on] - OBJECTIVE.v0**2
        by_p, by_q = model.response(np.arange(n))
        self._by_p, self._by_q = by_p.v[self._on] / base, by_q.v[self._on] / base
        self._effect = self._by_q[:, feeder.inverters.node]
        self._limit = feeder.inverters.s_mva

    def setpoints(self, load_mva: ComplexArray) -> FloatArray:
        a = self._rest - load_mva.real @ self._by_p.T - load_mva.imag @ self._by_q.T
        return boxed_least_squares(self._effect, a, self._limit)


def boxed_least_squares(effect: FloatArray, offset: FloatArray, limit: FloatArray) -> FloatArray:
    """Return q (T, n), ``|q| <= limit``, that minimises ``|offset + effect q|^2`` in each row of `offset`.

    The optimality conditions are tried for every set of active limits, few before many (3^n of them: n is small).

    effect : (m, n) of full rank.  offset : (T, m).  limit : (n,).
    """
    hessian, slope = effect.T @ effect, offset @ effect
    found, left = np.empty_like(slope), np.arange(len(slope))
    scale = float(np.abs(hessian).max() * limit.max())
    sides = sorted(product((0, -1, 1), repeat=len(limit)), key=lambda side: sum(map(abs, side)))
    for side in map(np.array, sides):
        free, held = np.flatnonzero(side == 0), np.flatnonzero(side != 0)
        q = np.broadcast_to(side * limit, (len(left), len(limit))).copy()
        if len(free):
            pull = slope[left][:, free] + hessian[np.ix_(free, held)] @ (side * limit)[held]
            q[:, free] = -np.linalg.solve(hessian[np.ix_(free, free)], pull.T).T
        gradient = q @ hessian + slope[left]
        inside = (np.abs(q[:, free]) <= limit[free] * (1 + _KKT)).all(axis=1)
        done = inside & (gradient[:, held] * side[held] <= _KKT * scale).all(axis=1)
        found[left[done]] = q[done]
        left = left[~done]
        if not len(left):
            return np.clip(found, -limit, limit)
    raise ArithmeticError(f"{len(left)} least-squares problems have no solution: the effects are not of full rank")


def position(actions: IntArray, steps: IntArray) -> int:
    """Return the number of the configuration with these closed steps."""
    return int(np.flatnonzero((actions == steps).all(axis=1))[0])
