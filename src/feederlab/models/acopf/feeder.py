"""Exact AC optimal power flow of a feeder with inverters, radial or meshed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.sparse.linalg import spsolve

from feederlab.errors import InputError
from feederlab.models.acopf.feeder_model import FeederModel
from feederlab.models.acopf.grid import pair_values
from feederlab.models.acopf.ipopt import Ipopt, IpoptResult, Iterate
from feederlab.models.acopf.program import QuadraticProgram
from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.feeder import Feeder
from feederlab.models.objective import Objective
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.powerflow.base import PowerFlow, Solution, engine
from feederlab.models.scoring import objective_value, voltage_excess


@dataclass(frozen=True, eq=False)
class OpfSolution:
    """What Ipopt found for one operating point.

    q_mvar, p_mw : (inverters,) setpoints.  u : (nodes,) complex voltage (p.u.).
    objective : value of the objective at `u`, voltage penalty not included.
    excess : sum over all nodes but the slack of what |u|^2 lies outside the squared band (p.u.).
    cost : objective plus voltage penalty times excess.
    status, solved, iterations, time_s : Ipopt's own report.  end : its last iterate, to start the next step from.
    """

    q_mvar: FloatArray
    p_mw: FloatArray
    u: ComplexArray
    objective: float
    excess: float
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

    Minimise ``objective + voltage_penalty * excess`` over the inverters' reactive and, with `curtail`, active power::

        |q| <= sqrt(s^2 - p^2),  p = min(available, s)            without curtailment
        p^2 + q^2 <= s^2,  0 <= p <= min(available, s)            with curtailment
        v_low^2 - t <= |u|^2 <= v_high^2 + t,  t >= 0             at every node but the slack

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
        Price of the excess, objective units per p.u. of squared magnitude.
    curtail
        Whether active power may be lowered.
    ipopt
        Solver options.

    Raises
    ------
    InputError
        Voltage-controlled generators, or the objective ``cost``.
    """

    def __init__(
        self,
        feeder: Feeder,
        band: FloatArray,
        objective: Objective,
        voltage_penalty: float,
        *,
        curtail: bool = False,
        ipopt: Ipopt | None = None,
    ) -> None:
        if objective.weight("cost") > 0:
            raise InputError("a feeder has no objective 'cost'; use losses or substation_import")
        if len(feeder.pv):
            raise InputError(
                "the feeder has voltage-controlled generators (table gen), whose dispatch this method does not decide; "
                "make them static generators (sgen, controllable)"
            )
        self.feeder, self.objective, self.voltage_penalty, self.curtail = feeder, objective, voltage_penalty, curtail
        self.flow: PowerFlow = engine(feeder)
        self.ipopt = ipopt or Ipopt()
        self._model = FeederModel.of(feeder, band, objective, voltage_penalty, curtail)
        self._compiled = lru_cache(maxsize=64)(self._compile)

    @property
    def unit_cost(self) -> float:
        """What the objective is worth where its power terms are the rated power and all others one."""
        power = {"losses", "substation_import", "curtailment"}
        return sum(
            weight * (self._model.scale_mva if name in power else 1.0) for name, weight in self.objective.weights
        )

    def solve(
        self, point: OperatingPoint, start: Start | Iterate | None = None, ipopt: Ipopt | None = None
    ) -> OpfSolution:
        """Return a local optimum, from setpoints (default: q = 0) or warm from the iterate of an earlier solution."""
        return self._run(self._program(point), point, start, ipopt or self.ipopt)

    def least_violation(self, point: OperatingPoint, starts: Sequence[Start | Iterate | None]) -> OpfSolution:
        """Return the setpoints of least voltage excess, the best of several starts."""
        program = _excess_only(self._program(point))
        found = [self._run(program, point, start, self.ipopt) for start in starts]
        return min(found, key=lambda solution: (not solution.solved, solution.excess))

    def start(self, point: OperatingPoint, q_mvar: FloatArray, p_mw: FloatArray | None = None) -> Start:
        """Return a start at setpoints, made feasible, and the voltages of a power flow at them.

        Where no power flow solves, the voltages are those of the unloaded feeder.
        """
        q, p = self.feasible(point, q_mvar, p_mw)
        u = self._flow(point, p, q).u
        return Start(p, q, u if np.isfinite(u.real).all() else self._unloaded(point))

    def feasible(
        self, point: OperatingPoint, q_mvar: FloatArray, p_mw: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Return (q, p) made feasible for the devices; p is what is available unless it is given and may be lowered."""
        p, s = self._available(point), self.feeder.inverters.s_mva
        if self.curtail and p_mw is not None:
            p = np.minimum(np.maximum(p_mw, 0.0), p)
        room = np.sqrt(np.maximum(s**2 - p**2, 0.0))
        return np.minimum(np.maximum(q_mvar, -room), room), p

    def verify(self, point: OperatingPoint, q_mvar: FloatArray, p_mw: FloatArray) -> tuple[float, Solution]:
        """Return objective plus penalty of setpoints in an AC power flow (inf if it has no solution), and the flow."""
        solved = self._flow(point, p_mw, q_mvar)
        return (self._score(point, solved, p_mw, q_mvar)[2] if solved.converged else np.inf), solved

    def _flow(self, point: OperatingPoint, p_mw: FloatArray, q_mvar: FloatArray) -> Solution:
        injection = point.injection_mva(self.feeder, p_mw, q_mvar)
        return self.flow.solve(injection, taps=point.taps, steps=point.steps, slack_vm=point.slack_vm)

    def _score(
        self, point: OperatingPoint, solved: Solution, p_mw: FloatArray, q_mvar: FloatArray
    ) -> tuple[float, float, float]:
        feeder = self.feeder
        own = (
            point.injection_mva(feeder, p_mw, q_mvar)[feeder.slack] + feeder.node_fixed[feeder.slack] * feeder.base_mva
        )
        value = objective_value(
            self.objective, solved, slack_load_mw=-own.real,
            p_available_mw=point.p_available_mw, p_mw=p_mw, q_mvar=q_mvar,
        )  # fmt: skip
        excess = float(voltage_excess(solved.u, self._model.band, feeder.slack))
        return float(value), excess, float(value) + self.voltage_penalty * excess

    def _available(self, point: OperatingPoint) -> FloatArray:
        return np.asarray(np.clip(point.p_available_mw, 0.0, self.feeder.inverters.s_mva))

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
            return self._solution(program, point, ipopt.solve(program, self._position(program, begin)))
        return self._solution(program, point, ipopt.solve(program, start))

    def _solution(self, program: QuadraticProgram, point: OperatingPoint, report: IpoptResult) -> OpfSolution:
        x, at = report.end.x, program.variables
        q, p = np.zeros(len(self.feeder.inverters)), self._available(point)
        q[self._model.used] = x[at["q"]] * self._model.scale_mva
        if self.curtail:
            p[self._model.used] = x[at["p"]] * self._model.scale_mva
        u = x[at["e"]] + 1j * x[at["f"]]
        solved = Solution(self.feeder, u, self.feeder.two_port(point.taps), self.feeder.shunt(point.steps))
        value, excess, cost = self._score(point, solved, p, q)
        return OpfSolution(
            q_mvar=q, p_mw=p, u=u, objective=value, excess=excess, cost=cost, status=report.status,
            solved=report.solved, iterations=report.iterations, time_s=report.time_s, end=report.end,
        )  # fmt: skip

    def _position(self, program: QuadraticProgram, start: Start) -> FloatArray:
        """Return the (n,) variables of a start."""
        x, at, scale = np.zeros(program.shape[1]), program.variables, self._model.scale_mva
        product, v = pair_values(self._model.ends, start.u), np.abs(start.u) ** 2
        x[at["e"]], x[at["f"]], x[at["u"]] = start.u.real, start.u.imag, v
        x[at["c"]], x[at["s"]] = product.real, product.imag
        x[at["q"]] = start.q_mvar[self._model.used] / scale
        if self.curtail:
            x[at["p"]] = start.p_mw[self._model.used] / scale
        low, high = self._model.band[:, self._model.others] ** 2
        x[at["t"]] = np.maximum(0.0, np.maximum(v[self._model.others] - high, low - v[self._model.others]))
        # The slack's power closes its balance, whatever the voltages.
        missing = program.body(x) - program.row_low
        x[at["p_slack"]] = missing[program.rows["p_balance"]][self.feeder.slack]
        x[at["q_slack"]] = missing[program.rows["q_balance"]][self.feeder.slack]
        return x

    def _compile(self, taps: tuple[int, ...] | None, steps: tuple[int, ...] | None) -> QuadraticProgram:
        return self._model.compile(_array(taps), _array(steps))

    def _program(self, point: OperatingPoint) -> QuadraticProgram:
        """Return the compiled program with this step's numbers in its bounds and right-hand sides."""
        program = self._compiled(_key(point.taps), _key(point.steps))
        feeder, at, rows, scale = self.feeder, program.variables, program.rows, self._model.scale_mva
        low, high = program.low.copy(), program.high.copy()
        row_low, row_high = program.row_low.copy(), program.row_high.copy()
        p_max, s = self._available(point), feeder.inverters.s_mva
        if self.curtail:
            high[at["p"]] = p_max[self._model.used] / scale
            injected, room = np.zeros_like(s), s
        else:
            injected, room = p_max, np.sqrt(np.maximum(s**2 - p_max**2, 0.0))
        low[at["q"]], high[at["q"]] = -room[self._model.used] / scale, room[self._model.used] / scale
        given = point.injection_mva(feeder, injected, np.zeros_like(s)) + feeder.node_fixed * feeder.base_mva
        row_low[rows["p_balance"]] = row_high[rows["p_balance"]] = given.real / scale
        row_low[rows["q_balance"]] = row_high[rows["q_balance"]] = given.imag / scale
        slack = point.slack_vm * np.exp(1j * feeder.slack_rad)
        for name, value in (("e", slack.real), ("f", slack.imag)):
            low[at[name][feeder.slack]] = high[at[name][feeder.slack]] = value
        return program.bounded(low=low, high=high, row_low=row_low, row_high=row_high)


def _excess_only(program: QuadraticProgram) -> QuadraticProgram:
    c = np.zeros_like(program.c)
    c[program.variables["t"]] = 1.0
    return replace(program, constant=0.0, c=c, hessian=program.hessian * 0.0)


def _key(values: IntArray | None) -> tuple[int, ...] | None:
    return None if values is None or not len(values) else tuple(int(v) for v in values)


def _array(values: tuple[int, ...] | None) -> IntArray | None:
    return None if values is None else np.array(values, dtype=np.int64)
