"""Reference values of power flow and optimal power flow, computed anew: losses, compensation, optima, exactness.

Base losses of MATPOWER's radial cases; loss-optimal reactive compensation of the 33-bus feeder, with the bound of the
cone relaxation; the optima of its meshed cases; and how far the relaxation's bound lies below
the AC optimum on scenarios with sun.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from feederlab.certificate import CERTIFIED_PERCENT, Certificate
from feederlab.errors import InputError, UnknownNameError
from feederlab.papers.feeders import WIDE_BAND, case33bw, compensated
from feederlab.papers.reproduction import How, Reproduced, Reproduction, Row

if TYPE_CHECKING:
    from feederlab.comparison import Comparison
    from feederlab.models.scenario import Scenario

BY_PANDAPOWER, BY_CLARABEL, OPTIMUM = "pandapower", "cvxpy, Clarabel", "MATPOWER case"
"""Where a reported value comes from: what computed it on MATPOWER's data before this package did."""
BASE_LOSSES = (
    ("case33bw", "losses", "kW", 202.677, 3),
    ("case33bw", "lowest voltage, bus 18", "p.u.", 0.91309, 5),
    ("case33mg", "losses", "kW", 210.998, 3),
    ("case69", "losses", "kW", 224.992, 3),
    ("case85", "losses", "kW", 299.307, 3),
    ("case141", "losses", "kW", 632.696, 3),
    ("case141", "lowest voltage, bus 87", "p.u.", 0.92786, 5),
)
"""case, quantity, unit, value, decimals; computed by pandapower."""
OPEN_LINES, RECONFIGURED_KW = (7, 9, 14, 32, 37), 139.551
COMPENSATION: dict[tuple[int, ...], float] = {
    (30,): 143.602, (12, 30): 135.753, (13, 24, 30): 132.173, tuple(range(2, 34)): 129.254,
}  # fmt: skip
"""Buses of case33bw with reactive power of any size -> least losses (kW)."""
EVERY_BUS_GAP = 3e-8
OPTIMA = {
    "case5": (17551.89, 2), "case9": (5296.686, 3), "case14": (8081.525, 3), "case30": (576.892, 3),
    "case39": (41864.178, 3), "case57": (41737.786, 3), "case118": (129660.69, 2), "case300": (719725.10, 2),
}  # fmt: skip
"""MATPOWER case -> its known optimal cost ($/h), and the decimals that are at hand."""
EXACTNESS = {"mapdn33": 0.002, "mapdn141": 0.002}
"""Scenario -> largest distance between AC optimum and bound over 16 steps of sunny and dark hours (%)."""
SCENARIOS = ("case33", "case69", "case85", "mapdn33", "mapdn141", "mapdn322")
DAY = "2016-06-21"


@dataclass(frozen=True)
class OpfBaselines(Reproduction):
    """Reference values, computed anew.

    cases : MATPOWER cases whose optimum is computed.  networks : scenarios on which the relaxation is tried, at
    `steps` instants spread evenly over 21 June; `steps` must divide the day into whole minutes.
    """

    name: ClassVar[str] = "opf-baselines"
    citation: ClassVar[str] = (
        "Reference values of power flow and optimal power flow on MATPOWER's data, computed by other programs: "
        "pandapower (losses), cvxpy with Clarabel (compensation), interior-point solvers (optima of the MATPOWER cases)"
    )
    cases: tuple[str, ...] = tuple(OPTIMA)
    networks: tuple[str, ...] = SCENARIOS
    steps: int = 16

    def __post_init__(self) -> None:
        for kind, chosen, known in (("case", self.cases, OPTIMA), ("scenario", self.networks, SCENARIOS)):
            for name in chosen:
                if name not in known:
                    raise UnknownNameError(kind, name, list(known))
        if self.steps < 1 or 1440 % self.steps:
            raise InputError(f"steps must divide a day's 1440 minutes, e.g. 16 or 24, not {self.steps}")

    def compute(self, how: How) -> Reproduced:
        began = time.perf_counter()
        tell = how.progress or (lambda what, done, total: None)
        rows, tables = [*_losses()], {}
        compensation = []
        for buses, kw in COMPENSATION.items():
            found, line = _compensation(buses, kw)
            rows += found
            compensation.append(line)
            tell("compensation", 1, len(COMPENSATION))
        tables["Reactive compensation of case33bw"] = pd.DataFrame(compensation)
        optima = []
        for name in self.cases:
            row, line = _optimum(name)
            rows.append(row)
            optima.append(line)
            tell("optima", 1, len(self.cases))
        if optima:
            tables["MATPOWER optima"] = pd.DataFrame(optima)
        comparisons = {}
        if self.networks:
            comparisons["exactness"] = runs = _exactness(self, how)
            found, lines = _exactness_rows(self.networks, runs)
            rows += found
            tables[f"The relaxation against the AC optimum, {self.steps} steps of {DAY}"] = pd.DataFrame(lines)
        return Reproduced(
            self.name, self.citation, self.values(), tuple(rows), tables, NOTES, time.perf_counter() - began,
            comparisons,
        )  # fmt: skip


NOTES = (
    "MATPOWER's own data files, the unit conversions in them evaluated; the reported values are computations on them, "
    "not quotations. Two versions of the 33-bus feeder circulate: "
    "case33bw and case33mg differ in the line from bus 7 to bus 8, whose impedance the rows give.",
    "Reactive power of any size at the buses named, no voltage band, loads at their table values. The optimum is that "
    "of the AC power flow; its distance from the cone relaxation's dual bound proves that it is global.",
    "From a flat start, by Ipopt. Violation: the largest power imbalance or exceeded limit, recomputed from the "
    "complex voltages alone. Interior-point solvers such as MATPOWER's stop at 1e-6 relative to the cost: smaller "
    "differences do not tell which optimum is better.",
    "Objective: losses, voltages priced outside 0.95 to 1.05 p.u. Gap: cost of the AC optimum (controller opf) above "
    "the dual bound, of the relaxation as it is (plain, the row's figure) and tightened (`feederlab.certify`). Cone "
    "gap, of the plain one: what its squared current exceeds its flows by, in shares of the branch's own. The reported "
    "figure is for the same networks at other instants; the day here is the longest of the year.",
    "How the relaxation fails under reverse flow when voltage deviation is the objective (Yang et al., IEEE Trans. "
    "Smart Grid 11(3), 2020) is measured by `python -m benchmarks.two_timescale_exactness`.",
)


def _losses() -> Iterator[Row]:
    """Yield base losses, lowest voltages, and the reconfigured feeder."""
    from feederlab.models.library.matpower import read_case
    from feederlab.models.powerflow.net import powerflow

    for case in dict.fromkeys(entry[0] for entry in BASE_LOSSES):
        net = read_case(case)
        solved = powerflow(net)
        lowest = net.bus.name.to_numpy()[int(np.nanargmin(solved.vm_pu.to_numpy()))]
        values = {"losses": 1e3 * solved.losses_mw, f"lowest voltage, bus {lowest}": float(solved.vm_pu.min())}
        line = net.line[(net.line.from_bus == 6) & (net.line.to_bus == 7)]
        about = f"; line 7-8: {float(line.r_ohm_per_km.iloc[0]):.4f} + j{float(line.x_ohm_per_km.iloc[0]):.4f} ohm [1]"
        for name, quantity, unit, reported, digits in BASE_LOSSES:
            if name == case:
                ours = values.get(quantity, np.nan)
                row = Row(case, "power flow", quantity, unit, reported, BY_PANDAPOWER, ours, digits)
                yield _judged(row, about if case.startswith("case33") and quantity == "losses" else " [1]")
    solved = powerflow(case33bw(OPEN_LINES))
    opened = "-".join(map(str, OPEN_LINES))
    row = Row(
        "case33bw", f"lines {opened} open", "losses", "kW", RECONFIGURED_KW, BY_PANDAPOWER, 1e3 * solved.losses_mw, 3
    )
    yield _judged(row, " [1]")


def _compensation(buses: tuple[int, ...], kw: float) -> tuple[list[Row], dict[str, object]]:
    from feederlab.opf_case import solve_opf

    solved = solve_opf(compensated(buses), "losses", band=WIDE_BAND)
    where = "every bus" if len(buses) > 3 else f"bus{'es' if len(buses) > 1 else ''} {', '.join(map(str, buses))}"
    row = Row("case33bw", f"compensation at {where}", "losses", "kW", kw, BY_CLARABEL, 1e3 * solved.losses_mw, 3)
    rows = [_judged(row, f"; {solved.status} optimum, gap {solved.gap:.0e} [2]")]
    if len(buses) > 3:
        gap = abs(solved.gap)
        why = "both are where the solvers stop: no gap [2]" if gap < 1e-6 else "the relaxation is not exact here [2]"
        rows.append(Row("case33bw", f"compensation at {where}", "relative gap", "", EVERY_BUS_GAP, BY_CLARABEL,
                        gap, -1, why=why))  # fmt: skip
    q = " ".join(f"{value:.3f}" for value in solved.setpoints.q_mvar)
    return rows, {
        "buses": where, "losses kW": 1e3 * solved.losses_mw, "bound kW": 1e3 * solved.bound, "gap": solved.gap,
        "q MVAr": q if len(buses) <= 3 else f"{float(solved.setpoints.q_mvar.sum()):.3f} in all",
        "lowest v p.u.": float(solved.vm_pu.min()), "ms": 1e3 * solved.time_s,
    }  # fmt: skip


def _optimum(name: str) -> tuple[Row, dict[str, object]]:
    from feederlab.opf_case import solve_opf

    reported, digits = OPTIMA[name]
    began = time.perf_counter()
    solved = solve_opf(name)
    wall = time.perf_counter() - began
    difference = solved.objective / reported - 1
    row = Row(name, "AC OPF", "cost", "$/h", reported, OPTIMUM, solved.objective, digits)
    state = "" if solved.converged else f"; not solved: {solved.status}"
    return _judged(row, f"; relative {difference:.0e}{state} [3]"), {
        "case": name, "cost $/h": f"{solved.objective:.3f}", "relative difference": difference,
        "violation p.u.": solved.violation, "iterations": solved.iterations, "solver ms": 1e3 * solved.time_s,
        "with reading ms": 1e3 * wall,
    }  # fmt: skip


def _exactness(study: OpfBaselines, how: How) -> Comparison:
    from feederlab.simulate import RunOptions

    days = [_day(name, study.steps) for name in study.networks]
    return how.compare("exactness", days, ("socp", "opf"), RunOptions(record="float32"))


def _day(name: str, steps: int) -> Scenario:
    from feederlab.models.library import load

    return load(name).resample(f"{1440 // steps}min").days(DAY, 1)


def _exactness_rows(networks: tuple[str, ...], runs: Comparison) -> tuple[list[Row], list[dict[str, object]]]:
    rows, lines = [], []
    for name in networks:
        best = runs.run("opf", scenario=name)
        if best.certificate is None:
            raise InputError(f"{name} has no lower bounds: the relaxation needs a radial feeder")
        relaxed = runs.run("socp", scenario=name).data
        found = Certificate.of(best.data, best.certificate)
        gap, plain, cone = found.step_percent, found.plain_percent, best.certificate["cone_gap"].to_numpy()
        row = Row(name, "AC optimum above bound", "worst step", "%", EXACTNESS.get(name, np.nan),
                  "16 other steps" if name in EXACTNESS else "", float(plain.max()), -2, n=len(gap))  # fmt: skip
        loose = plain >= CERTIFIED_PERCENT
        why = f"{np.sum(~loose)} of {len(gap)} steps within {CERTIFIED_PERCENT:g} %"
        if loose.any():
            hours = pd.DatetimeIndex(best.data["time"].to_numpy()[loose]).strftime("%H:%M")
            when = f"at {hours[0]}" if len(hours) == 1 else f"between {hours[0]} and {hours[-1]}"
            why += f"; loose {when}, cone gap up to {cone[loose].max():.1g}: there the relaxation invents current"
            why += f"; tightened, {np.sum(gap < CERTIFIED_PERCENT)} steps, the worst {gap.max():.2g} %"
        rows.append(replace(row, why=why + " [4]"))
        lines.append({
            "scenario": name, "steps": len(gap), f"plain within {CERTIFIED_PERCENT:g} %": int(np.sum(~loose)),
            "plain gap % median": float(np.median(plain)), "worst": float(plain.max()),
            f"tightened within {CERTIFIED_PERCENT:g} %": int(np.sum(gap < CERTIFIED_PERCENT)),
            "tightened gap % worst": float(gap.max()),
            "cone gap median": float(np.median(cone)), "cone gap worst": float(cone.max()),
            "opf out of band": found.infeasible_steps,
            "socp setpoints out of band": int((relaxed["out_share"].to_numpy() > 0).sum()),
        })  # fmt: skip
    return rows, lines


def _judged(row: Row, more: str) -> Row:
    """Return the row with what its two figures say about each other."""
    if row.agrees:
        return replace(row, why=f"agrees to the digits reported{more}")
    return replace(row, why=f"differs by {row.reproduced - row.reported:+.3g} {row.unit}{more}")
