"""Certificates: how far any controller's setpoints are from the best possible, and which violations are unavoidable.

For every step the branch-flow relaxation gives a lower bound of objective plus voltage penalty over all setpoints of
the inverters, and of the voltage excess alone.  What a controller's step cost above the bound is its certified gap;
a step whose least excess is provably positive is out of band whatever the inverters do.

A bound holds for one course of everything that is not an inverter setpoint: taps, capacitor steps, storage.  Without
one it is the scenario's own (positions as in the net, storage idle).  A bound over storage schedules would need the
relaxation of the whole window at once; a per-step one would be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from feederlab.certificate import Certificate
from feederlab.controllers.base import ControlTask
from feederlab.models.arrays import FloatArray
from feederlab.models.branchflow.relaxation import Relaxation
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.scenario import Scenario

if TYPE_CHECKING:
    import xarray as xr

PROOF = 1e-8
"""Voltage excess (p.u. of squared magnitude, summed over the nodes) from which a positive lower bound is a proof."""


def lower_bounds(
    scenario: Scenario,
    task: ControlTask,
    *,
    course: xr.Dataset | None = None,
    curtail: bool = False,
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
    progress
        Called with the number of steps done since the last call.

    Returns
    -------
    Dataset over time
        ``bound``: of objective plus voltage penalty (objective units; -inf where the solver failed); ``least_excess``:
        of the voltage excess (p.u. of squared magnitude), 0 where none is proven; ``least_excess_relaxed``: the least
        excess that the relaxation claims to reach; ``cone_gap``: of the relaxation behind ``bound``.

    Raises
    ------
    NotRadialError
        If the feeder has loops.
    InputError
        If the objective has a term that the relaxation does not know.
    """
    import xarray as xr

    relaxation = Relaxation(
        task.grid(), task.band, task.objective, task.voltage_penalty, curtail=curtail, loss_weight=0.0
    )
    series: dict[str, list[float]] = {"bound": [], "least_excess": [], "least_excess_relaxed": [], "cone_gap": []}
    for point in _points(scenario, task, course):
        found = relaxation.solve(point)
        proven, claimed = 0.0, 0.0
        if found.excess > PROOF or found.status == "failed":
            least = relaxation.least_violation(point)
            proven, claimed = (least.bound if least.bound > PROOF else 0.0), max(least.objective, 0.0)
        for name, value in zip(series, (found.bound, proven, claimed, found.cone_gap), strict=True):
            series[name].append(value)
        if progress is not None:
            progress(1)
    units = {"bound": str(task.objective), "least_excess": "p.u.", "least_excess_relaxed": "p.u.", "cone_gap": "1"}
    variables = {name: ("time", np.array(values), {"units": units[name]}) for name, values in series.items()}
    return xr.Dataset(variables, coords={"time": scenario.times.to_numpy()}, attrs={"curtail": int(curtail)})


def certify(scenario: Scenario, task: ControlTask, run: xr.Dataset, bounds: xr.Dataset | None = None) -> Certificate:
    """Certify a run of any controller.

    Parameters
    ----------
    run
        `Result.data`; its ``realised`` objective and ``penalty`` are priced as `task` says.
    bounds
        `lower_bounds` to share between runs; by default they are computed for this run's own taps, steps and storage,
        with curtailment if it curtailed.
    """
    if bounds is None:
        bounds = lower_bounds(scenario, task, course=run, curtail=curtailed(run))
    return Certificate.of(run, bounds)


def curtailed(run: xr.Dataset) -> bool:
    """Return whether a run lowered an inverter's active power below what it could have injected."""
    possible = np.minimum(_floats(run["p_available_mw"]), _floats(run["inverter_s_mva"]))
    return bool((_floats(run["p_mw"]) < possible - 1e-6).any())


def _floats(values: Any) -> FloatArray:
    return np.asarray(values.to_numpy(), dtype=float)


def _points(scenario: Scenario, task: ControlTask, course: xr.Dataset | None) -> Iterator[OperatingPoint]:
    """Yield every step's operating point, storage at its power in `course`."""
    series, units = scenario.series(), task.storages
    on = units.node >= 0
    for t in range(len(series)):
        load, taps, steps = series.load_mva[t].copy(), None, None
        if course is not None:
            power = _floats(course["storage_p_mw"][t]) + 1j * _floats(course["storage_q_mvar"][t])
            np.add.at(load, units.node[on], power[on])
            taps, steps = (course[name][t].to_numpy().astype(np.int64) for name in ("tap", "step"))
        yield OperatingPoint(load, series.p_available_mw[t], float(series.slack_vm[t]), taps, steps)
