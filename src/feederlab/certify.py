"""Certificates: how far any controller's setpoints are from the best possible, and which violations are unavoidable.

For every step the branch-flow relaxation gives a lower bound of objective plus voltage penalty over all setpoints of
the inverters, and of the voltage excess alone.  What a controller's step cost above the bound is its certified gap;
a step whose least excess is provably positive is out of band whatever the inverters do.

Where the relaxation is loose (under reverse flow against an upper voltage limit it invents line current), it is
tightened (`models.branchflow.tightening`), which needs the cost of some setpoints in AC: that of the relaxation's own,
or a better one that is known.  Plain and tightened bound are both kept.

A step's bound holds for one course of everything that is not an inverter setpoint: taps, capacitor steps, storage.
Without one it is the scenario's own (positions as in the net, storage idle).

Storage ties the steps together, so what the best storage schedule could have saved only shows over the whole window:
there the relaxation of all steps at once (`models.branchflow.multiperiod`) gives a bound over all setpoints of
inverters and storage.  It asks for as much stored energy at the end as the run left, unit by unit: a run that empties
its storage is held against schedules that may do so too, and one that fills it against those that must.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from feederlab.certificate import GAP_FLOOR, Certificate
from feederlab.controllers.base import ControlTask
from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray
from feederlab.models.branchflow.multiperiod import WindowRelaxation
from feederlab.models.branchflow.relaxation import Relaxation, RelaxationSolution
from feederlab.models.branchflow.tightening import Tightening
from feederlab.models.multiperiod.window import Window
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.powerflow.base import engine
from feederlab.models.scenario import Scenario
from feederlab.models.scoring import setpoint_cost

if TYPE_CHECKING:
    import xarray as xr

PROOF = 1e-8
"""Voltage excess (p.u. of squared magnitude, summed over the nodes) from which a positive lower bound is a proof."""


LOOSE = 2e-4
"""Share of the bound by which the cheapest known cost may lie above it before the relaxation is tightened."""
LARGEST = 100_000
"""Steps times nodes of the largest window that is bounded as a whole."""
_ROUNDS, _WORTH = 6, 0.1  # a round must close this share of what is left, or it is the last


def lower_bounds(
    scenario: Scenario,
    task: ControlTask,
    *,
    course: xr.Dataset | None = None,
    curtail: bool = False,
    upper: FloatArray | None = None,
    progress: Callable[[int], None] | None = None,
) -> xr.Dataset:
    """Return per-step lower bounds that hold for every controller of the scenario's inverters.

    Parameters
    ----------
    task
        Names the true grid model, objective, band and voltage penalty.
    course
        Data of a run whose taps, capacitor steps and storage powers the bound is for; default: the scenario's own.
    curtail
        Whether the bound covers controllers that lower active power.  It is then weaker where curtailment is free: an
        objective of losses alone gains by shutting plants down.
    upper
        (T,) the least that a step is known to cost (objective plus voltage penalty, ``realised + penalty`` of a run)
        on the same course, with setpoints that the bound covers; NaN where nothing is known.  The cheaper, the tighter
        the bound; `bound` never exceeds it.
    progress
        Called with the number of steps done since the last call.

    Returns
    -------
    Dataset over time
        ``bound``: of objective plus voltage penalty (objective units; -inf where the solver failed); ``bound_plain``:
        what the plain relaxation gives; ``tightened``: 1 where it was tightened; ``upper``: the cheapest known cost,
        the relaxation's own setpoints included; ``least_excess``: of the voltage excess (p.u. of squared magnitude),
        0 where none is proven; ``least_excess_relaxed``: the least excess that the relaxation claims to reach;
        ``cone_gap``: of the plain relaxation.  With storage also ``window_bound``, a single number: of the sum of
        objective plus voltage penalty over the window, over all schedules of storage (and setpoints of inverters) that
        end with at least the energy that the course ends with; NaN beyond `LARGEST` steps times nodes.

    Raises
    ------
    NotRadialError
        If the feeder has loops.
    InputError
        If the objective has a term that the relaxation does not know, or `upper` has not one number per step.
    """
    import xarray as xr

    known = np.full(scenario.periods, np.nan) if upper is None else np.asarray(upper, dtype=float)
    if known.shape != (scenario.periods,):
        raise InputError(f"upper has shape {known.shape}; it takes one number per step, {scenario.periods} of them")
    bounder, steps = _Bounder(task, curtail), []
    for point, cost in zip(_points(scenario, task, course), np.where(np.isnan(known), np.inf, known), strict=True):
        steps.append(bounder.step(point, float(cost)))
        if progress is not None:
            progress(1)
    cost_unit = str(task.objective)
    units = {
        "bound": cost_unit, "bound_plain": cost_unit, "upper": cost_unit, "tightened": "1", "least_excess": "p.u.",
        "least_excess_relaxed": "p.u.", "cone_gap": "1",
    }  # fmt: skip
    variables = {name: ("time", np.array([s[name] for s in steps]), {"units": unit}) for name, unit in units.items()}
    if len(task.storages):
        whole = bounder.window(scenario, course)
        variables["window_bound"] = ((), whole, {"units": cost_unit, "long_name": "bound of the window's sum"})  # type: ignore[assignment]
    return xr.Dataset(variables, coords={"time": scenario.times.to_numpy()}, attrs={"curtail": int(curtail)})


class _Bounder:
    """The relaxations of one task, and its AC power flow."""

    def __init__(self, task: ControlTask, curtail: bool) -> None:
        self._task, self._flow = task, engine(task.grid())
        self._relaxation = Relaxation(
            task.grid(), task.band, task.objective, task.voltage_penalty, curtail=curtail, loss_weight=0.0
        )

    def step(self, point: OperatingPoint, upper: float) -> dict[str, float | int]:
        """Return the step's entries of `lower_bounds`."""
        plain = self._relaxation.solve(point)
        upper = min(upper, self._realise(point, plain)[0])
        bound, excess, tightened = plain.bound, plain.excess, 0
        if not _meets(upper, bound) and self._tightening is not None:
            tightened = 1
            bound, upper, excess = self._tightened(self._tightening, point, plain, upper)
        proven, claimed = 0.0, 0.0
        if max(plain.excess, excess) > PROOF or plain.status == "failed":
            proven, claimed = self._least_excess(point)
        bound = min(bound, upper)
        return {
            "bound": bound, "bound_plain": min(plain.bound, bound), "upper": upper, "tightened": tightened,
            "least_excess": proven, "least_excess_relaxed": claimed, "cone_gap": plain.cone_gap,
        }  # fmt: skip

    def window(self, scenario: Scenario, course: xr.Dataset | None) -> float:
        """Return the bound of the whole window, -inf if the solver failed."""
        task, feeder = self._task, self._task.grid()
        if scenario.periods * feeder.n_nodes > LARGEST:
            return np.nan
        units, end = task.storages, None
        if course is not None:
            # A record in single precision is off by some 1e-7 of its values.
            end = np.maximum(_floats(course["energy_mwh"][-1]) - 1e-6 * units.e_max_mwh, 0.0)
        points = tuple(_points(scenario, task, course, storage=False))
        hours = scenario.step.total_seconds() / 3600
        return WindowRelaxation(self._relaxation).solve(Window.of(feeder, points, hours, end_mwh=end)).bound

    def _tightened(
        self, tightening: Tightening, point: OperatingPoint, plain: RelaxationSolution, upper: float
    ) -> tuple[float, float, float]:
        """Return bound, cheapest known cost, and the excess that the last round claims."""
        rounds, bound, excess = tightening.of_cost(point, plain), plain.bound, plain.excess
        for _ in range(_ROUNDS):
            found, left = rounds.round(upper), upper - bound
            bound, upper = max(bound, found.bound), min(upper, self._realise(point, found)[0])
            if found.status != "failed":
                excess = found.excess
            if _meets(upper, bound) or not upper - bound < (1 - _WORTH) * left:
                break
        return bound, upper, excess

    def _least_excess(self, point: OperatingPoint) -> tuple[float, float]:
        """Return what is proven of the voltage excess, and the least that the relaxation claims."""
        found = self._relaxation.least_violation(point)
        bound, upper, claimed = found.bound, self._realise(point, found)[1], found.objective
        further = None if _meets(upper, bound) else self._tightening
        rounds = None if further is None else further.of_excess(point)
        for _ in range(_ROUNDS):
            if rounds is None or upper <= PROOF or _meets(upper, bound):
                break
            found, left = rounds.round(upper), upper - bound
            bound, upper = max(bound, found.bound), min(upper, self._realise(point, found)[1])
            claimed = found.objective if found.status != "failed" else claimed
            if not upper - bound < (1 - _WORTH) * left:
                break
        bound = min(bound, upper)
        return (bound if bound > PROOF else 0.0), max(claimed, bound, 0.0)

    @cached_property
    def _tightening(self) -> Tightening | None:
        """None where the cuts make the program too large to compile."""
        try:
            return Tightening(self._relaxation)
        except InputError:
            return None

    def _realise(self, point: OperatingPoint, found: RelaxationSolution) -> tuple[float, float]:
        """Return what setpoints cost in AC, and their voltage excess."""
        if found.status == "failed":
            return np.inf, np.inf
        task = self._task
        return setpoint_cost(
            task.objective, task.voltage_penalty, self._flow, task.band, point, found.p_mw, found.q_mvar
        )  # fmt: skip


def _meets(upper: float, bound: float) -> bool:
    return upper - bound <= LOOSE * max(abs(bound), GAP_FLOOR)


def certify(scenario: Scenario, task: ControlTask, run: xr.Dataset, bounds: xr.Dataset | None = None) -> Certificate:
    """Certify a run of any controller.

    Parameters
    ----------
    run
        `Result.data`; its ``realised`` objective and ``penalty`` are priced as `task` says.
    bounds
        `lower_bounds` to share between runs; by default they are computed for this run's own taps, steps and storage,
        with curtailment if it curtailed, and its own cost as `upper`.
    """
    if bounds is None:
        cost = _floats(run["realised"]) + _floats(run["penalty"])
        bounds = lower_bounds(scenario, task, course=run, curtail=curtailed(run), upper=cost)
    return Certificate.of(run, bounds)


def curtailed(run: xr.Dataset) -> bool:
    """Return whether a run lowered an inverter's active power below what it could have injected."""
    possible = np.minimum(_floats(run["p_available_mw"]), _floats(run["inverter_s_mva"]))
    return bool((_floats(run["p_mw"]) < possible - 1e-6).any())


def _floats(values: Any) -> FloatArray:
    return np.asarray(values.to_numpy(), dtype=float)


def _points(
    scenario: Scenario, task: ControlTask, course: xr.Dataset | None, *, storage: bool = True
) -> Iterator[OperatingPoint]:
    """Yield every step's operating point, storage at its power in `course`, or left out."""
    series, units = scenario.series(), task.storages
    on = units.node >= 0
    for t in range(len(series)):
        load, taps, steps, use = series.load_mva[t].copy(), None, None, 0.0
        if course is not None and storage:
            use = float(np.abs(_floats(course["storage_p_mw"][t])).sum())
            power = _floats(course["storage_p_mw"][t]) + 1j * _floats(course["storage_q_mvar"][t])
            np.add.at(load, units.node[on], power[on])
        if course is not None:
            taps, steps = (course[name][t].to_numpy().astype(np.int64) for name in ("tap", "step"))
        yield OperatingPoint(load, series.p_available_mw[t], float(series.slack_vm[t]), taps, steps, use)
