"""Exact AC optimal power flow of a feeder with inverters, radial or meshed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.sparse.linalg import spsolve

from feederlab.models.acopf.feeder_model import FeederModel
from feederlab.models.acopf.grid import pair_values
from feederlab.models.acopf.ipopt import Ipopt, IpoptResult, Iterate
from feederlab.models.acopf.program import QuadraticProgram
from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.feeder import Feeder
from feederlab.models.objective import Objective
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.powerflow.base import Solution
from feederlab.models.setpoints import SetpointProblem


@dataclass(frozen=True, eq=False)
class OpfSolution:
    """What Ipopt found for one operating point.

    q_mvar, p_mw : (inverters,) setpoints.  u : (nodes,) complex voltage (p.u.).
    objective : value of the objective at `u`, voltage penalty not included.
    excess, overload, cost : penalties and total (`setpoints.Price`).
    status, solved, iterations, time_s : Ipopt's own report.  end : its last iterate, to start the next step from.
    """

    q_mvar: FloatArray
    p_mw: FloatArray
    u: ComplexArray
    objective: float
    excess: float
    overload: float
    cost: float
    status: str
    solved: bool
    iterations: int
    time_s: float
    end: Iterate


@dataclass(frozen=True, eq=False)
class Start:
    """Where Ipopt begins: inverter power (inverters,), and the node voltages (nodes,) that it leads to (p.u.)."""

    p_mw: FloatArray
    q_mvar: FloatArray
    u: ComplexArray


class AcOpf:
    """The optimal power flow of one feeder and objective, compiled once per setting of taps and capacitor steps.

    Minimise ``objective + voltage_penalty * (excess + overload)`` over the inverters' reactive and, with `curtail`,
    active power::

        |q| <= sqrt(s^2 - p^2),  p = min(available, s)            without curtailment
        p^2 + q^2 <= s^2,  0 <= p <= min(available, s)            with curtailment
        v_low^2 - t <= |u|^2 <= v_high^2 + t,  t >= 0             at every node but the slack
        |i|^2 / i_max^2 <= limit^2 + o,  o >= 0                   at both ends of lines and transformers, if limited

    and the exact power-flow equations in the variables of `grid`, in per unit of the feeder's rated power.

    Parameters
    ----------
    feeder
        Radial or meshed; without voltage-controlled generators.
    band
        (2, nodes) lowest and highest voltage magnitude (p.u.); 0 and inf mean no limit.
    objective
        Any terms but ``cost``.
    voltage_penalty
        Price of the excess, objective units per p.u. of squared magnitude, and of the overload.
    curtail
        Whether active power may be lowered.
    max_loading_percent
        Soft limit of every line and transformer (% of its current limit); 0: none.
    ipopt
        Solver options.

    Raises
    ------
    InputError
        Voltage-controlled generators, the objective ``cost``, or a loading limit where no branch has one.
    """

    def __init__(
        self,
        feeder: Feeder,
        band: FloatArray,
        objective: Objective,
        voltage_penalty: float,
        *,
        curtail: bool = False,
        max_loading_percent: float = 0.0,
        ipopt: Ipopt | None = None,
    ) -> None:
        self.problem = SetpointProblem(
            feeder, band, objective, voltage_penalty, curtail=curtail, max_loading_percent=max_loading_percent
        )
        self.feeder, self.curtail = feeder, curtail
        self.ipopt = ipopt or Ipopt()
        self._model = FeederModel.of(self.problem)
        self._compiled = lru_cache(maxsize=64)(self._compile)

    def solve(
        self, point: OperatingPoint, start: Start | Iterate | None = None, ipopt: Ipopt | None = None
    ) -> OpfSolution:
        """Return a local optimum, from setpoints (default: q = 0) or warm from the iterate of an earlier solution."""
        return self._run(self.program(point), point, start, ipopt or self.ipopt)

    def least_violation(self, point: OperatingPoint, starts: Sequence[Start | Iterate | None]) -> OpfSolution:
        """Return the setpoints of least voltage excess and overload, the best of several starts."""
        program = _excess_only(self.program(point))
        found = [self._run(program, point, start, self.ipopt) for start in starts]
        return min(found, key=lambda solution: (not solution.solved, solution.excess + solution.overload))

    def start(self, point: OperatingPoint, q_mvar: FloatArray, p_mw: FloatArray | None = None) -> Start:
        """Return a start at setpoints, made feasible, and the voltages of a power flow at them.

        Where no power flow solves, the voltages are those of the unloaded feeder.
        """
        q, p = self.problem.feasible(point, q_mvar, p_mw)
        u = self.problem.solve(point, q, p).u
        return Start(p, q, u if np.isfinite(u.real).all() else self._unloaded(point))

    def feasible(
        self, point: OperatingPoint, q_mvar: FloatArray, p_mw: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Return `SetpointProblem.feasible`."""
        return self.problem.feasible(point, q_mvar, p_mw)

    def verify(self, point: OperatingPoint, q_mvar: FloatArray, p_mw: FloatArray) -> tuple[float, Solution]:
        """Return `SetpointProblem.verify`."""
        return self.problem.verify(point, q_mvar, p_mw)

    def _unloaded(self, point: OperatingPoint) -> ComplexArray:
        feeder, others = self.feeder, self._model.others
        y = self._model.admittance(point.taps, point.steps)
        u = np.full(feeder.n_nodes, point.slack_vm * np.exp(1j * feeder.slack_rad))
        u[others] = spsolve(
            y[others][:, others].tocsc(), -y[others][:, [feeder.slack]].toarray()[:, 0] * u[feeder.slack]
        )
        return u

    def _run(
        self, program: QuadraticProgram, point: OperatingPoint, start: Start | Iterate | None, ipopt: Ipopt
    ) -> OpfSolution:
        if not isinstance(start, Iterate):
            begin = start or self.start(point, np.zeros(len(self.feeder.inverters)))
            return self._solution(program, point, ipopt.solve(program, self.position(program, point, begin)))
        return self._solution(program, point, ipopt.solve(program, start))

    def _solution(self, program: QuadraticProgram, point: OperatingPoint, report: IpoptResult) -> OpfSolution:
        x, at = report.end.x, program.variables
        q, p = np.zeros(len(self.feeder.inverters)), self.problem.available(point)
        q[self.problem.used] = x[at["q"]] * self._model.scale_mva
        if self.curtail:
            p[self.problem.used] = x[at["p"]] * self._model.scale_mva
        u = x[at["e"]] + 1j * x[at["f"]]
        solved = Solution(self.feeder, u, self.feeder.two_port(point.taps), self.feeder.shunt(point.steps))
        price = self.problem.price(point, solved, q, p)
        return OpfSolution(
            q_mvar=q, p_mw=p, u=u, objective=price.objective, excess=price.excess, overload=price.overload,
            cost=price.cost, status=report.status,
            solved=report.solved, iterations=report.iterations, time_s=report.time_s, end=report.end,
        )  # fmt: skip

    def position(self, program: QuadraticProgram, point: OperatingPoint, start: Start) -> FloatArray:
        """Return the (n,) variables of a start; `program` is that of `point`."""
        x, at, scale = np.zeros(program.shape[1]), program.variables, self._model.scale_mva
        product, v = pair_values(self._model.ends, start.u), np.abs(start.u) ** 2
        x[at["e"]], x[at["f"]], x[at["u"]] = start.u.real, start.u.imag, v
        x[at["c"]], x[at["s"]] = product.real, product.imag
        x[at["q"]] = start.q_mvar[self.problem.used] / scale
        if self.curtail:
            x[at["p"]] = start.p_mw[self.problem.used] / scale
        low, high = self.problem.band[:, self._model.others] ** 2
        x[at["t"]] = np.maximum(0.0, np.maximum(v[self._model.others] - high, low - v[self._model.others]))
        if self.problem.limits is not None:
            current = self.problem.limits.matrix(self.feeder, point.taps) @ start.u
            x[at["i_re"]], x[at["i_im"]] = current.real, current.imag
            x[at["o"]] = np.maximum(0.0, np.abs(current) ** 2 - self.problem.limits.limit)
        # The slack's power closes its balance, whatever the voltages.
        missing = program.body(x) - program.row_low
        x[at["p_slack"]] = missing[program.rows["p_balance"]][self.feeder.slack]
        x[at["q_slack"]] = missing[program.rows["q_balance"]][self.feeder.slack]
        return x

    def _compile(self, taps: tuple[int, ...] | None, steps: tuple[int, ...] | None) -> QuadraticProgram:
        return self._model.compile(_array(taps), _array(steps))

    def program(self, point: OperatingPoint) -> QuadraticProgram:
        """Return the compiled program with this step's numbers in its bounds and right-hand sides."""
        program = self._compiled(_key(point.taps), _key(point.steps))
        feeder, at, rows, scale = self.feeder, program.variables, program.rows, self._model.scale_mva
        low, high = program.low.copy(), program.high.copy()
        row_low, row_high = program.row_low.copy(), program.row_high.copy()
        p_max, s = self.problem.available(point), feeder.inverters.s_mva
        if self.curtail:
            high[at["p"]] = p_max[self.problem.used] / scale
            injected, room = np.zeros_like(s), s
        else:
            injected, room = p_max, np.sqrt(np.maximum(s**2 - p_max**2, 0.0))
        low[at["q"]], high[at["q"]] = -room[self.problem.used] / scale, room[self.problem.used] / scale
        given = point.injection_mva(feeder, injected, np.zeros_like(s)) + feeder.node_fixed * feeder.base_mva
        row_low[rows["p_balance"]] = row_high[rows["p_balance"]] = given.real / scale
        row_low[rows["q_balance"]] = row_high[rows["q_balance"]] = given.imag / scale
        slack = point.slack_vm * np.exp(1j * feeder.slack_rad)
        for name, value in (("e", slack.real), ("f", slack.imag)):
            low[at[name][feeder.slack]] = high[at[name][feeder.slack]] = value
        return program.bounded(low=low, high=high, row_low=row_low, row_high=row_high)


def _excess_only(program: QuadraticProgram) -> QuadraticProgram:
    c = np.zeros_like(program.c)
    c[program.variables["t"]] = c[program.variables["o"]] = 1.0
    return replace(program, constant=0.0, c=c, hessian=program.hessian * 0.0)


def _key(values: IntArray | None) -> tuple[int, ...] | None:
    return None if values is None or not len(values) else tuple(int(v) for v in values)


def _array(values: tuple[int, ...] | None) -> IntArray | None:
    return None if values is None else np.array(values, dtype=np.int64)
