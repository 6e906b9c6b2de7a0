"""Coordination of storage on CIGRE's low-voltage grid: what each predictor, and beta alone, makes of the voltages.

Liu, Giraldo, Palensky and Vergara, "Distributed RL using local smart meter data for voltage regulation": storage at R9,
R14, R16, then also R7, R15, R18, 60 kW and 3 MWh each, 10 to 90 % SOC, band 0.95-1.05, steps of 15 minutes.

    python -m benchmarks.coordination [--write]
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import xarray as xr

from benchmarks.report import markdown, milliseconds, show, write_section
from feederlab.controllers.base import Controller
from feederlab.controllers.coordination import Coordination
from feederlab.controllers.none import NoControl
from feederlab.controllers.storage_droop import StorageDroop
from feederlab.controllers.storage_rating import power_range
from feederlab.controllers.storage_schedule import StorageSchedule
from feederlab.learn.voltage_polynomial import fit_polynomial
from feederlab.models.arrays import FloatArray, IntArray
from feederlab.models.branchflow.parameters import BranchFlow
from feederlab.models.predictors.actions import Actions, Limits
from feederlab.models.predictors.reach import Reach
from feederlab.models.scenario import Scenario
from feederlab.scenarios import load_scenario
from feederlab.simulate import simulate

AGENTS = {3: ("R9", "R14", "R16"), 6: ("R9", "R14", "R16", "R7", "R15", "R18")}
STARTS, DAYS, HISTORY = ("2016-01-18", "2016-06-20"), 3, ("2016-03-01", 20)
RULES: dict[str, Controller] = {
    "schedule": StorageSchedule(charge="17-22", discharge="10-15"),
    "droop": StorageDroop(damping=1.0),
}
BETAS = (0.3, 0.4, 0.5, 0.6)
TOLERANCE = 1e-6  # p.u.
HEADER = [
    "agents", "rule", "coordination", "lowest", "highest", "steps out", "proven", "worst miss", "energy moved",
    "time per step",
]  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What a controller did over all days.

    lowest, highest : residential voltages (p.u.).  out : steps out of band there; proven : those of them in which no
    storage power within the units' limits keeps the band (QP only).  worst : largest excursion (p.u.).
    energy_mwh : charged and discharged.  step_s : median time of a decision and its power flows.
    """

    lowest: float
    highest: float
    out: int
    proven: int
    worst: float
    energy_mwh: float
    step_s: float


@cache
def scenario(agents: int) -> Scenario:
    base = load_scenario("cigre_lv")
    bus = {str(name): int(index) for index, name in base.feeder.net.bus.name.items()}
    return base.with_devices(storages={bus[f"Bus {name}"]: (0.06, 3.0) for name in AGENTS[agents]})


@cache
def reach(agents: int) -> tuple[Reach, Actions]:
    here = scenario(agents)
    units = here.feeder.storages
    actions = Actions.of(np.full(len(units), 2), np.arange(len(units)), units.node)
    return Reach(BranchFlow.of(here.feeder), here.band, actions, 0.06), actions


def residential(here: Scenario, vm: FloatArray) -> FloatArray:
    """Return the columns of the buses from R1 on: those that storage in the residential part can move."""
    names = here.feeder.net.bus.name
    mine = np.array([str(name).startswith("Bus R") and str(name) != "Bus R0" for name in names])
    return np.asarray(vm[:, mine], dtype=float)


def measure(agents: int, controller: Controller) -> Row:
    """Run all days."""
    vm, energy, seconds, proven, out = [], 0.0, [], 0, 0
    for start in STARTS:
        days = scenario(agents).days(start, DAYS)
        began = time.perf_counter()
        data = simulate(days, controller).data
        seconds.append((time.perf_counter() - began) / days.periods)
        here = residential(days, data["vm_pu"].to_numpy())
        missed = np.flatnonzero(excursion(here) > TOLERANCE)
        vm.append(here)
        energy += float(np.abs(data["storage_p_mw"]).sum()) * 0.25
        out += len(missed)
        if isinstance(controller, Coordination) and controller.predictor != "none":
            proven += unavoidable(agents, days, data, missed)
    together = np.vstack(vm)
    return Row(
        float(together.min()), float(together.max()), out, proven, float(excursion(together).max()), energy,
        float(np.median(seconds)),
    )  # fmt: skip


def excursion(vm: FloatArray) -> FloatArray:
    """Return (T,) the largest distance of a bus from the band (p.u.)."""
    return np.asarray(np.maximum(np.maximum(vm - 1.05, 0.95 - vm), 0.0).max(axis=1))


def unavoidable(agents: int, days: Scenario, data: xr.Dataset, steps: IntArray) -> int:
    """Return in how many of these steps no storage power could have kept the residential part in band.

    The rest of the grid is out of band whatever storage does here: its excess is taken off the bound.
    """
    bound, actions = reach(agents)
    feeder, series, units = days.feeder, days.series(), days.feeder.storages
    power = data["p_mw"].to_numpy() + 1j * data["q_mvar"].to_numpy()
    soc = np.vstack([units.soc, data["soc"].to_numpy()[:-1]])
    vm, count = data["vm_pu"].to_numpy(), 0
    for t in steps:
        rest = -series.load_mva[t].copy()
        np.add.at(rest, feeder.inverters.node, power[t])
        limits = Limits.of(actions, *power_range(units, soc[t], 0.25), units.s_mva)
        elsewhere = _excess(vm[t]) - _excess(residential(days, vm[None, t])[0])
        least = bound.least_excess(rest, float(series.slack_vm[t]), limits).value
        count += int(least > elsewhere + 1e-7)
    return count


def _excess(vm: FloatArray) -> float:
    return float(np.maximum(np.maximum(vm**2 - 1.05**2, 0.95**2 - vm**2), 0.0).sum())


def controllers(agents: int, rule: Controller, folder: Path) -> dict[str, Controller]:
    """Return what is compared, by what stands in the table."""
    listed: dict[str, Controller] = {"each alone": rule}
    listed |= {f"beta = {beta:g}": Coordination(rule, "none", beta=beta) for beta in BETAS}
    listed |= {"QP, exact": Coordination(rule), "QP, LinDistFlow": Coordination(rule, "lindistflow")}
    history = scenario(agents).days(*HISTORY)
    for neighbours, orders in (("all", (1, 2, 4) if agents == 3 else (1, 2)), ("line", (2,))):
        for order in orders:
            file = folder / f"{agents}-{type(rule).__name__}-{neighbours}-{order}.json"
            fit_polynomial(history, rule, neighbours=neighbours, order=order).save(file)
            name = f"QP, polynomial of order {order}" + (", neighbours on the line" if neighbours == "line" else "")
            listed[name] = Coordination(rule, "polynomial", neighbours, file=str(file))
    listed["QP, LinDistFlow, neighbours on the line"] = Coordination(rule, "lindistflow", "line")
    listed["QP, LinDistFlow, margin 0.002"] = Coordination(rule, "lindistflow", margin=0.002)
    return listed


def main(write: bool = False) -> None:
    """Print the table."""
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for agents in AGENTS:
            rows.append([str(agents), "-", "no storage", *cells(measure(agents, NoControl()))])
            for name, rule in RULES.items():
                for how, controller in controllers(agents, rule, Path(folder)).items():
                    rows.append([str(agents), name, how, *cells(measure(agents, controller))])
                    print(*rows[-1], sep="  ", flush=True)
    show("Storage on CIGRE LV, residential part", HEADER, rows)
    print(NOTES)
    if write:
        write_section(
            "coordination", "python -m benchmarks.coordination --write", f"{markdown(HEADER, rows)}\n\n{NOTES}"
        )


def cells(row: Row) -> list[str]:
    """Return a row as it is printed."""
    return [
        f"{row.lowest:.4f}", f"{row.highest:.4f}", str(row.out), str(row.proven) if row.proven else "-",
        f"{row.worst:.4f}" if row.worst > TOLERANCE else "-", f"{row.energy_mwh:.2f} MWh", milliseconds(row.step_s),
    ]  # fmt: skip


NOTES = """\
Three winter and three summer days of the scenario `cigre_lv`, whose PV alone leaves the band at times (row "no \
storage"), so that no beta can keep it: beta only scales what the units do, while the program also has them do more. \
Voltages and steps are those of the residential part, R1 to R18. The schedule charges from 17 to 22 h and discharges \
from 10 to 15 h at full rate; the droop is undamped, and six of them swing against each other. \
"Steps out" counts excursions above 1e-6 p.u.; "proven" are those of them, under the program, for which the relaxation \
proves that no storage power keeps the band. "Time per step" is the whole loop, power flows included. \
LinDistFlow's sensitivities are those at no load, and its error is what its rows miss the band by; a margin of that \
size heals it. Polynomials are fitted on 20 days in March under the uncoordinated rule, each action dithered by 20 % \
of its range. With neighbours on the line an agent keeps its neighbourhood's own nodes in band, and takes all others \
to stand still: buses without a meter may stay outside."""


if __name__ == "__main__":
    main("--write" in sys.argv[1:])
