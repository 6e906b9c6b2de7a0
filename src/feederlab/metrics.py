"""The scores of a run: pure functions of what was recorded.  A controller never scores itself.

`per_step` reduces the voltages and loadings of a run to one number per step; `METRICS` says what is made of them.
Names and definitions follow the test metrics of MAPDN (Wang et al., NeurIPS 2021, "P1" below); where the paper's text
and its public code or tables differ, both are given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from feederlab.certificate import CERTIFIED_PERCENT, Certificate
from feederlab.models.arrays import BoolArray, FloatArray

if TYPE_CHECKING:
    from feederlab.result import Result

BAND_TOLERANCE = 1e-6
"""A bus counts as out of band from this excess on (p.u.): solvers meet a binding limit to about 1e-8."""
V_REF = 1.0
CODE_SHARE = 1e-3
"""P1's public code calls a step controlled when at most this share of the buses is out of band."""


def per_step(vm: FloatArray, band: FloatArray, loading: FloatArray, is_line: BoolArray) -> dict[str, FloatArray]:
    """Reduce a run to one number per step.

    vm : (T, buses) voltage magnitude (p.u.); a row of NaN is a power flow without solution, which counts as wholly
    out of band.  band : (2, buses), NaN at unsupplied buses, 0 and inf where the voltage is given and no one's to keep
    (the slack).  loading : (T, branches) %; NaN: no limit.
    is_line : (branches,) whether a branch is a line; the others are transformers and the like.

    Returns
    -------
    dict
        ``out_share``, ``below_share``, ``above_share`` of the buses (0..1); ``drop_pu``, ``rise_pu``: largest excess
        below and above the band, max_i (v_low - v_i)+ and max_i (v_i - v_high)+; ``drop_ref_pu``, ``rise_ref_pu``:
        the same distance from 1 p.u.; ``deviation_pu``: mean |v_i - 1|; ``vm_min_pu``, ``vm_max_pu``;
        ``line_loading_percent``, ``transformer_loading_percent``: the highest.
    """
    supplied = ~np.isnan(band).any(axis=0)
    vm, (low, high) = vm[:, supplied], band[:, supplied]
    solved = np.isfinite(vm).all(axis=1)
    below, above = vm < low - BAND_TOLERANCE, vm > high + BAND_TOLERANCE
    scores = {
        "out_share": (below | above).mean(axis=1),
        "below_share": below.mean(axis=1),
        "above_share": above.mean(axis=1),
        "drop_pu": np.maximum(low - vm, 0.0).max(axis=1),
        "rise_pu": np.maximum(vm - high, 0.0).max(axis=1),
        "drop_ref_pu": np.maximum(V_REF - vm, 0.0).max(axis=1),
        "rise_ref_pu": np.maximum(vm - V_REF, 0.0).max(axis=1),
        "deviation_pu": np.abs(vm - V_REF).mean(axis=1),
        "vm_min_pu": vm.min(axis=1),
        "vm_max_pu": vm.max(axis=1),
    }
    scores = {name: np.where(solved, values, np.nan) for name, values in scores.items()}
    scores["out_share"] = np.where(solved, scores["out_share"], 1.0)
    scores["line_loading_percent"] = _highest(loading[:, is_line])
    scores["transformer_loading_percent"] = _highest(loading[:, ~is_line])
    return scores


def _highest(loading: FloatArray) -> FloatArray:
    """Return the highest of each row, NaN where a row has no number."""
    highest: FloatArray = np.fmax.reduce(loading, axis=1, initial=np.nan)
    return highest


class Run:
    """What a metric reads: the series of a `Result`, and the certificate of its scenario where there is one."""

    def __init__(self, result: Result) -> None:
        self._data, self._timing = result.data, result.timing
        self.step_h = float(result.provenance["step_s"]) / 3600
        self.certificate = Certificate.of(result.data, result.certificate)

    def __call__(self, name: str) -> FloatArray:
        """Return a recorded series as floats."""
        return np.asarray(self._data[name].to_numpy(), dtype=float)

    @property
    def decide_ms(self) -> FloatArray:
        """(T,) wall time of each step's decision (ms), all rounds of a settling loop together.

        Steps that are decided at once (`Prepared.step_batch`) have an equal share of the call each: what a step costs
        in a study, not what a single decision would take.
        """
        return np.asarray(1e3 * self._timing["decision_s"].to_numpy(), dtype=float)

    @property
    def adjusted(self) -> BoolArray:
        """(T,) whether a wrapper (`SafetyFilter`, `Coordination`) changed what its inner controller proposed.

        Its status then says so, or by how much the band is missed, and its objective is the size of the change.
        """
        status = self._data["status"].to_numpy().astype(str)
        acted = np.char.startswith(status, "adjusted") | np.char.startswith(status, "short of the band")
        return np.asarray(acted & (self("objective") > 0))

    def at_worst_excess(self, values: FloatArray) -> float:
        """Return `values` at the step whose voltage excess is largest."""
        excess = self.certificate.excess
        return float(values[int(np.nanargmax(excess))]) if np.isfinite(excess).any() else np.nan


@dataclass(frozen=True)
class Metric:
    """One score: its column name, a short title, unit, which way is better, its definition and source."""

    name: str
    title: str
    unit: str
    better: Literal["low", "high", ""]
    about: str
    source: str
    value: Callable[[Run], float]


def _mean(values: Any) -> float:
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    return float(known.mean()) if known.size else np.nan


def _max(values: Any) -> float:
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    return float(known.max()) if known.size else np.nan


def _min(values: Any) -> float:
    return -_max(-np.asarray(values, dtype=float))


def _percentile(values: FloatArray, q: float) -> float:
    return float(np.percentile(values, q)) if len(values) else np.nan


def _known(values: FloatArray) -> FloatArray:
    return values[np.isfinite(values)]


def _share_within(percent: FloatArray) -> float:
    """Return the share (%) of all steps certified within `CERTIFIED_PERCENT`; NaN where no step has a bound."""
    return 100 * _mean(percent <= CERTIFIED_PERCENT) if np.isfinite(percent).any() else np.nan


def _any_loading(run: Run) -> FloatArray:
    return np.fmax(run("line_loading_percent"), run("transformer_loading_percent"))


_P1 = "P1"
_OWN = "feederlab"

METRICS: tuple[Metric, ...] = (
    Metric("v_out_pct", "out of band", "%", "low", "share of bus-steps outside the voltage band", _P1,
           lambda run: 100 * _mean(run("out_share"))),
    Metric("v_below_pct", "below", "%", "low", "share of bus-steps below the band", _P1,
           lambda run: 100 * _mean(run("below_share"))),
    Metric("v_above_pct", "above", "%", "low", "share of bus-steps above the band", _P1,
           lambda run: 100 * _mean(run("above_share"))),
    Metric("cr_pct", "CR", "%", "high", "controllable rate: share of steps with every bus in band", "P1, text",
           lambda run: 100 * _mean(~run.certificate.out_of_band)),
    Metric("v_dev_pu", "mean |v-1|", "p.u.", "low", "mean distance from 1 p.u. over buses and steps", _P1,
           lambda run: _mean(run("deviation_pu"))),
    Metric("max_drop_pu", "drop", "p.u.", "low", "mean over steps of the largest excess below the band", "P1, text",
           lambda run: _mean(run("drop_pu"))),
    Metric("max_rise_pu", "rise", "p.u.", "low", "mean over steps of the largest excess above the band", "P1, text",
           lambda run: _mean(run("rise_pu"))),
    Metric("loss_mw", "losses", "MW", "low", "mean active losses of all lines and transformers", _OWN,
           lambda run: _mean(run("losses_mw"))),
    Metric("line_loss_mw", "line losses", "MW", "low", "PL: mean active losses of the lines, no transformers", _P1,
           lambda run: _mean(run("line_losses_mw"))),
    Metric("q_mean_mvar", "mean |q|", "MVAr", "low", "mean |q| over inverters and steps", _P1,
           lambda run: _mean(np.abs(run("q_mvar")))),
    Metric("curtailed_mwh", "curtailed", "MWh", "low", "energy available and not injected", _OWN,
           lambda run: float((run("p_available_mw") - run("p_mw")).sum() * run.step_h)),
    Metric("objective", "objective", "", "low", "mean of the comparison's objective, as realised by the plant", _OWN,
           lambda run: _mean(run("realised"))),
    Metric("gap_pct", "gap", "%", "", "certified gap: objective above the certified lower bound; that bound holds the "
           "price of leaving the band and the objective does not, so it is negative where a run saves by leaving the "
           "band, or where no setpoints can keep it; with storage, the bound of the whole window over all schedules "
           "that leave as much energy stored", _OWN,
           lambda run: run.certificate.percent_above(run("realised"))),
    Metric("gap_penalised_pct", "gap with penalty", "%", "low", "certified gap with the voltage penalty on both sides",
           _OWN, lambda run: run.certificate.gap_percent),
    Metric("max_loading_pct", "max loading", "%", "low", "highest loading of any line or transformer", _OWN,
           lambda run: _max(_any_loading(run))),
    Metric("decide_ms_p50", "decide p50", "ms", "low", "median wall time of a step's decision, its settling rounds "
           "together; where many steps are decided at once, each one's share of the call", _OWN,
           lambda run: _percentile(run.decide_ms, 50)),
    Metric("decide_ms_p99", "decide p99", "ms", "low", "99th percentile of the wall time of a step's decision", _OWN,
           lambda run: _percentile(run.decide_ms, 99)),
    Metric("fallbacks", "fallbacks", "steps", "low", "steps not answered by the primary solver", _OWN,
           lambda run: float((run("rung") > 0).sum())),
    Metric("infeasible_steps", "out steps", "steps", "low", "steps with any bus out of band", _OWN,
           lambda run: float(run.certificate.infeasible_steps)),
    Metric("infeasible_proven", "proven", "steps", "", "of these, the steps where the relaxation proves that no "
           "setpoints keep the band; the others are local, that is, not proven", _OWN,
           lambda run: float(run.certificate.infeasible_proven)),
    Metric("excess_worst", "worst excess", "p.u.²", "low", "largest sum over the nodes of what the squared voltage "
           "lies outside the squared band, over the steps", _OWN,
           lambda run: _max(run("voltage_excess"))),
    Metric("excess_bound", "its bound", "p.u.²", "", "certified lower bound of that sum at the same step", _OWN,
           lambda run: run.at_worst_excess(run.certificate.least_excess)),
    Metric("cr_code_pct", "CR (code)", "%", "high", "share of steps with at most 0.1 % of the buses out of band",
           "P1, code", lambda run: 100 * _mean(run("out_share") <= CODE_SHARE)),
    Metric("max_drop_ref_pu", "drop (table)", "p.u.", "low", "mean over steps of the largest drop below 1 p.u.",
           "P1, tables 3-5", lambda run: _mean(run("drop_ref_pu"))),
    Metric("max_rise_ref_pu", "rise (table)", "p.u.", "low", "mean over steps of the largest rise above 1 p.u.",
           "P1, tables 3-5", lambda run: _mean(run("rise_ref_pu"))),
    Metric("vm_min_pu", "lowest v", "p.u.", "", "lowest voltage of any bus at any step", _OWN,
           lambda run: _min(run("vm_min_pu"))),
    Metric("vm_max_pu", "highest v", "p.u.", "", "highest voltage of any bus at any step", _OWN,
           lambda run: _max(run("vm_max_pu"))),
    Metric("max_line_loading_pct", "max line", "%", "low", "highest loading of any line", _OWN,
           lambda run: _max(run("line_loading_percent"))),
    Metric("max_transformer_loading_pct", "max trafo", "%", "low", "highest loading of any transformer", _OWN,
           lambda run: _max(run("transformer_loading_percent"))),
    Metric("overload_steps", "overload", "steps", "low", "steps with a line or transformer above 100 %", _OWN,
           lambda run: float((_any_loading(run) > 100).sum())),
    Metric("tap_moves", "tap moves", "1", "low", "positions that tap changers moved by, in all", _OWN,
           lambda run: float(run("tap_moves").sum())),
    Metric("capacitor_moves", "bank moves", "1", "low", "steps that capacitor banks were switched by, in all", _OWN,
           lambda run: float(run("capacitor_moves").sum())),
    Metric("storage_mwh", "storage use", "MWh", "", "energy that went in and out of storage, both counted", _OWN,
           lambda run: float(np.abs(run("storage_p_mw")).sum() * run.step_h)),
    Metric("stored_mwh", "stored", "MWh", "", "stored energy at the end less that at the start", _OWN,
           lambda run: float((run("energy_mwh")[-1] - run("storage_e_start_mwh")).sum())),
    Metric("storage_loss_mwh", "storage losses", "MWh", "low", "energy lost in charging and discharging", _OWN,
           lambda run: float(run("storage_p_mw").sum() * run.step_h
                             - (run("energy_mwh")[-1] - run("storage_e_start_mwh")).sum())),
    Metric("import_mwh", "import", "MWh", "", "energy drawn from the external grid (export counts negative)", _OWN,
           lambda run: float(np.nansum(run("slack_p_mw")) * run.step_h)),
    Metric("decide_ms_mean", "decide mean", "ms", "low", "mean wall time of a step's decision", _OWN,
           lambda run: _mean(run.decide_ms)),
    Metric("decide_ms_p95", "decide p95", "ms", "low", "95th percentile of the wall time of a step's decision", _OWN,
           lambda run: _percentile(run.decide_ms, 95)),
    Metric("decide_ms_max", "decide max", "ms", "low", "longest wall time of a step's decision", _OWN,
           lambda run: _max(run.decide_ms)),
    Metric("rounds_mean", "rounds", "1", "", "mean rounds in which a local loop settled inside a step", _OWN,
           lambda run: _mean(run("rounds"))),
    Metric("unsettled_steps", "unsettled", "steps", "low", "steps in which a local loop did not settle", _OWN,
           lambda run: float((run("settled") == 0).sum())),
    Metric("clipped", "clipped", "setpoints", "low", "setpoints that were cut: by the plant to what devices can "
           "do, or by the controller to its own range", _OWN, lambda run: float(run("clipped").sum())),
    Metric("adjusted_steps", "adjusted", "steps", "", "steps in which a safety filter or coordination changed what the "
           "controller inside it proposed", _OWN, lambda run: float(run.adjusted.sum())),
    Metric("not_converged", "no solution", "steps", "low", "steps without a power-flow solution; they count as out of "
           "band at every bus and enter no mean of losses", _OWN,
           lambda run: float((run("converged") == 0).sum())),
    Metric("certified_pct", "certified", "%", "", "share of steps that have a certified bound", _OWN,
           lambda run: 100 * _mean(np.isfinite(run.certificate.bound))),
    Metric("gap_p95_pct", "gap p95", "%", "low", "95th percentile over the steps of the certified gap of a step, "
           "penalty included, in percent of its bound", _OWN,
           lambda run: _percentile(_known(run.certificate.step_percent), 95)),
    Metric("certified_01_pct", "within 0.1 %", "%", "high", "share of steps that are certified to lie at most 0.1 % "
           "above the optimum, penalty included", _OWN, lambda run: _share_within(run.certificate.step_percent)),
    Metric("gap_plain_pct", "gap untightened", "%", "", "what `gap_pct` would be against the relaxation "
           "without tightening; where no setpoints keep the band, that may not know it, and the two differ widely",
           _OWN, lambda run: run.certificate.percent_above(run("realised"), plain=True)),
    Metric("gap_mean_pct", "mean gap of a step", "%", "low", "mean over the steps of the certified gap of a step, "
           "penalty included, in percent of its bound", _OWN, lambda run: _mean(run.certificate.step_percent)),
    Metric("gap_max_pct", "largest gap of a step", "%", "low", "the largest of them", _OWN,
           lambda run: _max(run.certificate.step_percent)),
    Metric("gap_plain_p95_pct", "gap p95 untightened", "%", "", "what `gap_p95_pct` would be without tightening", _OWN,
           lambda run: _percentile(_known(run.certificate.plain_percent), 95)),
    Metric("certified_01_plain_pct", "within 0.1 % untightened", "%", "", "what `certified_01_pct` would be without "
           "tightening", _OWN, lambda run: _share_within(run.certificate.plain_percent)),
)  # fmt: skip
"""Every score, in the order of the table."""

BY_NAME = {metric.name: metric for metric in METRICS}


def score(result: Result) -> dict[str, float]:
    """Return every metric of a run, recorded in any detail, by name; what needs a certificate is NaN without one."""
    run = Run(result)
    return {metric.name: metric.value(run) for metric in METRICS}
