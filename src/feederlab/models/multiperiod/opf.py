"""Exact AC optimal power flow over a window: the perfect-foresight plan of inverters and storage."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from feederlab.models.acopf.feeder import AcOpf, Start
from feederlab.models.acopf.ipopt import Ipopt, IpoptResult
from feederlab.models.acopf.program import QuadraticProgram
from feederlab.models.arrays import BoolArray, ComplexArray, FloatArray
from feederlab.models.feeder import Feeder
from feederlab.models.multiperiod.program import WindowProgram, window_program
from feederlab.models.multiperiod.window import PRICED, Fleet, Window
from feederlab.models.objective import Objective
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.plant import DeviceState, Plant, Wanted
from feederlab.models.setpoints import SetpointProblem

BOTH = 1e-6
"""Share of a converter's rating from which charging and discharging at once counts as such."""
_PAYS, _APART = 1e-3, 1e-2  # from here on it is no rounding but pays; how far apart it is kept first


@dataclass(frozen=True, eq=False)
class Schedule:
    """Setpoints over a window, as the plant carries them out; T steps.

    q_mvar, p_mw : (T, inverters).  storage_p_mw, storage_q_mvar : (T, storages), charging positive.
    energy_mwh : (T + 1, storages) stored energy before the first step, and at the end of each.
    u : (T, nodes) complex voltage (p.u.).  objective, penalty : (T,) of each step, prices included.
    gain : what the energy at the end takes off.  cost : sum of objective and penalty, less the gain.
    """

    q_mvar: FloatArray
    p_mw: FloatArray
    storage_p_mw: FloatArray
    storage_q_mvar: FloatArray
    energy_mwh: FloatArray
    u: ComplexArray
    objective: FloatArray
    penalty: FloatArray
    gain: float

    @property
    def cost(self) -> float:
        """Sum of objective and penalty over the window, less the gain."""
        return float((self.objective + self.penalty).sum()) - self.gain


@dataclass(frozen=True, eq=False)
class WindowSolution:
    """A local optimum.

    schedule : as the plant carries it out.  claimed : what the solver says it costs.
    both : largest share of a rating by which a unit both charged and discharged before that was forbidden; 0 where
    it never came up.
    status, solved, iterations, time_s : the solver's report, all solves together.
    """

    schedule: Schedule
    claimed: float
    both: float
    status: str
    solved: bool
    iterations: int
    time_s: float


class MultiPeriodOpf:
    """`AcOpf` over a window of steps that storage couples.

    The dispatch (1)-(8) of Liu, Giraldo, Palensky and Vergara ("Distributed RL using local smart meter data for voltage
    regulation"); their (2) and (8) disagree in the sign of storage power, which charges where it is positive here.

    Minimise the sum of the steps' costs, less the value of the energy at the end (`Window`), over the inverters as
    `AcOpf` does, and over storage: ``p = P_charge - P_discharge`` within its rates, ``p^2 + q^2 <= s^2``, energy
    within its limits.  Taps and capacitor steps are those of each step's operating point.

    A unit does one thing at a time.  Where charging and discharging at once does not pay, the solution without this
    condition keeps it.  Where it pays (it burns energy, of which there is too much), the directions are read from two
    solutions, of the problem without the condition and of one with ``P_charge P_discharge`` next to 0, and the cheaper
    of the two problems with fixed directions counts.  Which unit may best do what when is a combinatorial question
    then, and the answer need not be the global optimum.

    Parameters
    ----------
    feeder, band, objective, voltage_penalty, curtail, max_loading_percent, ipopt
        As `AcOpf`.
    storage_q
        Storage may give reactive power.
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
        storage_q: bool = True,
        ipopt: Ipopt | None = None,
    ) -> None:
        self.storage_q = storage_q
        self.ipopt = ipopt or Ipopt(tol=1e-11, max_iterations=1000, max_time_s=600.0)
        self.steps = AcOpf(
            feeder, band, objective, voltage_penalty, curtail=curtail, max_loading_percent=max_loading_percent
        )
        self.problem: SetpointProblem = self.steps.problem

    def solve(self, window: Window, start: Schedule | None = None, ipopt: Ipopt | None = None) -> WindowSolution:
        """Return a local optimum, from a schedule or from storage at rest and inverters at q = 0."""
        solver = ipopt or self.ipopt
        fleet = Fleet.of(self.problem.feeder, window)
        steps = [self.steps.program(point) for point in window.points]
        scale = self.problem.rated_mva
        joined = window_program(steps, scale, self.problem.objective, window, fleet)
        joined = joined if self.storage_q else joined.without_q()
        first = last = solver.solve(joined.program, self._position(joined, steps, window, fleet, start))
        found, both = [first], _both(joined, first.end.x)
        if both > BOTH:
            apart = [solver.solve(joined.kept_apart(_APART), first.end.x)] if both > _PAYS else []
            directed = [self._directed(joined, one.end.x, solver) for one in (first, *apart)]
            found += [*apart, *directed]
            last = min(directed, key=lambda one: (not one.solved, one.objective))
        return WindowSolution(
            schedule=self.follow(window, *self._wanted(joined, last.end.x, window, fleet)),
            claimed=last.objective * scale + self._constant(window), both=both if both > BOTH else 0.0,
            status=last.status, solved=last.solved, iterations=sum(one.iterations for one in found),
            time_s=sum(one.time_s for one in found),
        )  # fmt: skip

    def follow(
        self, window: Window, q_mvar: FloatArray, p_mw: FloatArray, storage_p_mw: FloatArray, storage_q_mvar: FloatArray
    ) -> Schedule:
        """Carry out setpoints, (T, inverters) and (T, storages), step by step as the plant does, and price them."""
        problem, feeder, count = self.problem, self.problem.feeder, len(window)
        plant = Plant(feeder, problem.flow, window.step_h)
        soc = window.start_mwh / np.where(feeder.storages.e_max_mwh > 0, feeder.storages.e_max_mwh, 1.0)
        state = replace(DeviceState.initial(feeder), soc=soc)
        done, energy = [], [window.start_mwh]
        u = np.full((count, feeder.n_nodes), np.nan, dtype=np.complex128)
        objective, penalty = np.full(count, np.nan), np.full(count, np.nan)
        for t, point in enumerate(window.points):
            wanted = Wanted(q_mvar[t], p_mw[t], storage_p_mw[t], storage_q_mvar[t])
            state, _ = plant.apply(state, wanted, point.p_available_mw)
            done.append(state)
            here = with_storage(feeder, point, state.storage_p_mw, state.storage_q_mvar)
            solved = problem.solve(here, state.q_mvar, state.p_mw)
            if solved.converged:
                price = problem.price(here, solved, state.q_mvar, state.p_mw)
                u[t], objective[t], penalty[t] = solved.u, price.objective, price.cost - price.objective
                if window.prices[t] != 1:
                    drawn = float(solved.slack_mva().real) - self._own_mw(here, state.p_mw)
                    terms = dict(zip(PRICED, (drawn, here.storage_use_mw), strict=True))
                    extra = sum(problem.objective.weight(name) * value for name, value in terms.items())
                    objective[t] += (window.prices[t] - 1) * extra
            state = plant.advance(state)
            energy.append(state.soc * feeder.storages.e_max_mwh)
        q, p, store_p, store_q = (
            np.stack([getattr(one, name) for one in done])
            for name in ("q_mvar", "p_mw", "storage_p_mw", "storage_q_mvar")
        )
        gain = window.gain(energy[-1])
        return Schedule(q, p, store_p, store_q, np.stack(energy), u, objective, penalty, gain)

    def at_rest(self, window: Window) -> Schedule:
        """Return the schedule of idle storage, inverters at q = 0 and, where it may be lowered, full active power."""
        storage = np.zeros((len(window), len(self.problem.feeder.storages)))
        p = np.stack([self.problem.available(point) for point in window.points])
        return self.follow(window, np.zeros_like(p), p, storage, storage)

    def _own_mw(self, point: OperatingPoint, p_mw: FloatArray) -> float:
        """Return what is injected at the slack node itself (MW)."""
        feeder = self.problem.feeder
        own = point.injection_mva(feeder, p_mw, np.zeros_like(p_mw))[feeder.slack]
        return float(own.real + feeder.node_fixed[feeder.slack].real * feeder.base_mva)

    def _directed(self, joined: WindowProgram, x: FloatArray, solver: Ipopt) -> IpoptResult:
        charging: BoolArray = x[joined.charge] >= x[joined.discharge]
        return solver.solve(joined.directed(charging), x)

    def _constant(self, window: Window) -> float:
        """Return what the steps' programs leave out of the objective, because nothing decides it."""
        problem, total = self.problem, 0.0
        feeder, weight = problem.feeder, problem.objective.weight
        for point in window.points:
            p = problem.available(point)
            given = point.injection_mva(feeder, p, np.zeros_like(p)) + feeder.node_fixed * feeder.base_mva
            total += weight("losses") * float(given.real.sum())
            offered = p[problem.used].sum() if problem.curtail else 0.0
            total -= weight("losses") * float(offered)
            total += weight("curtailment") * float((point.p_available_mw - p).sum() + offered)
        return total + window.end_value / window.step_h * float(window.start_mwh.sum())

    def _position(
        self,
        joined: WindowProgram,
        steps: list[QuadraticProgram],
        window: Window,
        fleet: Fleet,
        start: Schedule | None,
    ) -> FloatArray:
        """Return the variables of a start."""
        begin, x = start or self.at_rest(window), joined.program.x0.copy()
        feeder = self.problem.feeder
        for t, (program, point) in enumerate(zip(steps, window.points, strict=True)):
            here = with_storage(feeder, point, begin.storage_p_mw[t], begin.storage_q_mvar[t])
            u = begin.u[t] if np.isfinite(begin.u[t].real).all() else self.steps.start(here, begin.q_mvar[t]).u
            x[t * joined.size : (t + 1) * joined.size] = self.steps.position(
                program, point, Start(begin.p_mw[t], begin.q_mvar[t], u)
            )
        if len(fleet):
            p = begin.storage_p_mw[:, fleet.used] / fleet.s_mva
            x[joined.charge], x[joined.discharge] = np.maximum(p, 0.0), np.maximum(-p, 0.0)
            x[joined.q] = begin.storage_q_mvar[:, fleet.used] / fleet.s_mva
            x[joined.energy] = begin.energy_mwh[1:, fleet.used] / np.maximum(fleet.high_mwh, 1e-12)
        return x

    def _wanted(
        self, joined: WindowProgram, x: FloatArray, window: Window, fleet: Fleet
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return q and p of the inverters, and p and q of storage, (T, ...) each."""
        problem, count, at = self.problem, len(window), self.steps.program(window.points[0]).variables
        p = np.stack([problem.available(point) for point in window.points])
        q = np.zeros_like(p)
        own = x[: count * joined.size].reshape(count, joined.size)
        q[:, problem.used] = own[:, at["q"]] * problem.rated_mva
        if problem.curtail:
            p[:, problem.used] = own[:, at["p"]] * problem.rated_mva
        store_p, store_q = (np.zeros((count, len(problem.feeder.storages))) for _ in range(2))
        store_p[:, fleet.used] = (x[joined.charge] - x[joined.discharge]) * fleet.s_mva
        store_q[:, fleet.used] = x[joined.q] * fleet.s_mva
        return q, p, store_p, store_q


def with_storage(
    feeder: Feeder, point: OperatingPoint, storage_p_mw: FloatArray, storage_q_mvar: FloatArray
) -> OperatingPoint:
    """Return the operating point with storage at p + jq, (storages,), charging positive."""
    load, node = point.load_mva.copy(), feeder.storages.node
    np.add.at(load, node[node >= 0], (storage_p_mw + 1j * storage_q_mvar)[node >= 0])
    return replace(point, load_mva=load, storage_use_mw=float(np.abs(storage_p_mw).sum()))


def _both(joined: WindowProgram, x: FloatArray) -> float:
    return float(np.minimum(x[joined.charge], x[joined.discharge]).max(initial=0.0))
