"""One optimal power flow of a MATPOWER case, a pandapower net or a file of either."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feederlab.certificate import percent_above_bound
from feederlab.controllers.ladder import HELD
from feederlab.models.arrays import ComplexArray, FloatArray
from feederlab.models.objective import Objective

if TYPE_CHECKING:
    import pandas as pd

    from feederlab.models.acopf.case_grid import CaseGrid
    from feederlab.models.feeder import Feeder
    from feederlab.models.matpower_case import MatpowerCase
    from feederlab.models.powerflow.base import Solution


@dataclass(frozen=True, eq=False)
class OpfResult:
    """A solved optimal power flow.

    name, objective_name : what was solved, and for what.
    status, converged : the solver's word, and whether it is an optimum.  ``"global"`` where a bound proves it.
    objective : in $/h for the cost, MW for losses, imports and curtailment, p.u. for the others.
    bound, gap : certified lower bound of objective plus voltage penalty, and the relative distance of this solution's
    from it; NaN where there is none (meshed feeders and MATPOWER cases).
    losses_mw : active losses of all branches (MW).
    excess : sum of what squared voltages lie outside the band (p.u.); MATPOWER cases keep it at 0.
    violation : largest violation of a limit or of the power balance, recomputed from the complex voltages alone
    (p.u. and rad); the voltage band of a feeder is priced, not kept, and counted in `excess` only.
    vm_pu : Series by bus.  bus : vm_pu, va_degree by bus.  setpoints : generators or inverters with p_mw, q_mvar.
    iterations, time_s : of the solvers.
    """

    name: str
    objective_name: str
    status: str
    converged: bool
    objective: float
    losses_mw: float
    violation: float
    iterations: int
    time_s: float
    bus: pd.DataFrame = field(repr=False)
    setpoints: pd.DataFrame = field(repr=False)
    excess: float = 0.0
    bound: float = np.nan
    gap: float = np.nan

    @property
    def vm_pu(self) -> pd.Series[float]:
        """Voltage magnitude by bus (p.u.)."""
        return self.bus["vm_pu"]

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as plain values, tables left out."""
        names = ("name", "status", "converged", "objective", "losses_mw", "violation", "excess", "bound", "gap")
        return {"objective_name": self.objective_name, **{n: getattr(self, n) for n in names}} | {
            "iterations": self.iterations, "time_s": self.time_s,
            "vm_min_pu": float(self.vm_pu.min()), "vm_max_pu": float(self.vm_pu.max()),
        }  # fmt: skip


def solve_opf(
    case: Any,
    objective: str | Objective | None = None,
    *,
    band: tuple[float, float] | None = None,
    curtail: bool = False,
) -> OpfResult:
    """Solve the exact AC optimal power flow of `case` from a flat start.

    A MATPOWER case dispatches every generator and keeps every limit; so does a pandapower net with the objective
    ``cost`` (its cost tables, generators and limits, as `pandapower.runopp` reads them).  With any other objective a
    net is a feeder: its controllable static generators are the inverters, the voltage band is priced
    (`scoring.voltage_penalty`), and on radial feeders the relaxation certifies the result.

    Parameters
    ----------
    case
        The name of a MATPOWER case, a path to a ``.m`` or pandapower ``.json`` file, a pandapower net, or a `Feeder`.
    objective
        Name or weighted sum, e.g. ``"losses"`` or ``"losses=1+voltage_deviation=0.1"``.  Default: ``cost`` for
        MATPOWER cases, ``losses`` for feeders.
    band
        Voltage band (p.u.) of a feeder; default: the net's limits, 0.95-1.05 where it gives none.
    curtail
        Whether a feeder's inverters may lower their active power.

    Raises
    ------
    InputError
        If the case cannot be read, or has no such objective.
    """
    from feederlab.models.feeder import Feeder
    from feederlab.models.matpower_case import read_tables
    from feederlab.models.netfile import load_net

    wanted = Objective.parse(objective) if isinstance(objective, str) else objective
    if isinstance(case, str | Path):
        if Path(case).suffix.lower() != ".json":
            return _solve_tables(read_tables(case), wanted or Objective((("cost", 1.0),)))
        case = load_net(case)
    wanted = wanted or Objective()
    if isinstance(case, Feeder):
        return _solve_feeder(case, wanted, band, curtail)
    if wanted.weight("cost") > 0:
        return _solve_net_at_cost(case, wanted)
    return _solve_feeder(Feeder.from_pandapower(case), wanted, band, curtail)


def _solve_tables(tables: MatpowerCase, objective: Objective) -> OpfResult:
    from feederlab.models.acopf.case_grid import CaseGrid

    return _solve_grid(tables.name, CaseGrid.from_tables(tables), objective)


def _solve_net_at_cost(net: Any, objective: Objective) -> OpfResult:
    from feederlab.models.acopf.net_case import grid_of_net

    grid, node_of_bus = grid_of_net(net)
    solved = _solve_grid(str(getattr(net, "name", "") or "net"), grid, objective)
    return replace(solved, bus=solved.bus.reindex(node_of_bus).set_index(net.bus.index))


def _solve_grid(name: str, grid: CaseGrid, objective: Objective) -> OpfResult:
    import pandas as pd

    from feederlab.models.acopf.case import solve

    state = solve(grid, objective)
    report, base = state.report, grid.base_mva
    bus = pd.DataFrame(
        {"vm_pu": np.abs(state.voltage), "va_degree": np.degrees(np.angle(state.voltage))},
        index=pd.Index(grid.bus_id, name="bus"),
    )
    generators = pd.DataFrame(
        {
            "bus": grid.bus_id[grid.gen_node],
            "p_mw": state.power.real * base,
            "q_mvar": state.power.imag * base,
        },
        index=pd.Index(grid.gen_row, name="generator"),
    )
    return OpfResult(
        name=name, objective_name=str(objective), status=report.status, converged=report.solved,
        objective=report.objective, losses_mw=state.losses(grid) * base, violation=state.violation(grid),
        iterations=report.iterations, time_s=report.time_s, bus=bus, setpoints=generators,
    )  # fmt: skip


def _solve_feeder(feeder: Feeder, objective: Objective, band: tuple[float, float] | None, curtail: bool) -> OpfResult:
    """Solve one step of the controller `Opf` on the values of the net's tables."""
    import pandas as pd

    from feederlab.controllers.base import Measurement
    from feederlab.controllers.opf import Opf
    from feederlab.models.plant import DeviceState, Plant, Wanted
    from feederlab.models.powerflow.base import engine
    from feederlab.models.scenario import Scenario, band_of
    from feederlab.models.scoring import objective_value, voltage_excess

    step = pd.Timedelta("1h")
    scenario = Scenario(feeder.name, feeder, {}, band_of(feeder, band), pd.Timestamp(0), 1, step)
    series, task = scenario.series(), scenario.task(objective)
    load, available, slack = series.load_mva[0], series.p_available_mw[0], float(series.slack_vm[0])
    prepared = Opf(curtail=curtail, max_time_s=60.0).prepare(task)
    plant, idle = Plant(feeder, engine(feeder), step / pd.Timedelta("1h")), DeviceState.initial(feeder)
    devices = replace(
        idle, storage_p_mw=np.array(feeder.storages.p_mw), storage_q_mvar=np.array(feeder.storages.q_mvar)
    )
    before, _ = plant.apply(devices, Wanted(q_mvar=np.zeros(len(feeder.inverters))), available)
    measured = Measurement.take(series.times[0], 0, plant.solve(load, before, slack), load, before, available, slack)
    wanted, _ = prepared.step(prepared.initial_state(), measured)
    after, _ = plant.apply(before, wanted, available)
    solved = plant.solve(load, after, slack)
    injected = plant.injection_mva(load, after) + feeder.node_fixed * feeder.base_mva
    excess = float(voltage_excess(solved.u, scenario.band, feeder.slack))
    value = float(
        objective_value(
            objective, solved, slack_load_mw=-injected[feeder.slack].real, p_available_mw=available,
            p_mw=after.p_mw, q_mvar=after.q_mvar,
        )
    )  # fmt: skip
    info, cost = wanted.info, value + task.voltage_penalty * excess
    buses = {
        "vm_pu": feeder.to_buses(np.abs(solved.u)),
        "va_degree": feeder.to_buses(np.degrees(np.angle(solved.u))),
    }
    inverters = feeder.inverters
    return OpfResult(
        name=feeder.name, objective_name=str(objective), status=info.status, converged=info.rung < HELD,
        objective=value, losses_mw=float(solved.losses_mw()), excess=excess, bound=info.bound,
        gap=percent_above_bound(np.array([cost]), np.array([info.bound])) / 100,
        violation=_violation(solved, injected, np.abs(after.p_mw + 1j * after.q_mvar) - inverters.s_mva),
        iterations=info.iterations, time_s=info.solver_time_s,
        bus=pd.DataFrame(buses, index=pd.Index(feeder.bus_index, name="bus")),
        setpoints=pd.DataFrame(
            {"bus": inverters.bus, "p_mw": after.p_mw, "q_mvar": after.q_mvar},
            index=pd.Index(inverters.index, name="inverter"),
        ),
    )  # fmt: skip


def _violation(solved: Solution, injected_mva: ComplexArray, over_rating_mva: FloatArray) -> float:
    """Return the largest power imbalance of a node but the slack, or excess of a rating (p.u.)."""
    feeder, (s_f, s_t) = solved.feeder, solved.branch_flows_mva()
    missing = injected_mva - np.conj(solved.shunt) * np.abs(solved.u) ** 2 * feeder.base_mva
    np.subtract.at(missing, feeder.branches.from_node, s_f)
    np.subtract.at(missing, feeder.branches.to_node, s_t)
    missing[feeder.slack] = 0.0
    return float(max(np.abs(missing).max(), over_rating_mva.max(initial=0.0)) / feeder.base_mva)
