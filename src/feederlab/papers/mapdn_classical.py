"""The classical rows of MAPDN (P1) under one protocol: no control, droop and OPF, beside three rows of our own.

Every row runs on the same random windows of 240 steps of 3 minutes, all with the whole reactive range
|q| <= sqrt(s^2 - p^2), without noise.  What the paper's data, noise and definitions do to the figures is measured:
other draws of SimBench shapes, the noise of the public code, losses with and without transformers, both definitions of
each disputed column.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from feederlab.errors import InputError, UnknownNameError
from feederlab.papers import mapdn_published as published
from feederlab.papers.mapdn_evidence import Evidence, gather
from feederlab.papers.reproduction import How, Reproduced, Reproduction, Row

if TYPE_CHECKING:
    from feederlab.comparison import Comparison
    from feederlab.models.arrays import FloatArray

PERIODS = 240
DRAWS = 10
VOLTAGES = {
    "CR %": "cr_pct", "CR (code) %": "cr_code_pct", "out of band %": "v_out_pct", "mean |v-1| p.u.": "v_dev_pu",
    "drop p.u.": "max_drop_pu", "drop (table) p.u.": "max_drop_ref_pu", "rise p.u.": "max_rise_pu",
    "rise (table) p.u.": "max_rise_ref_pu",
}  # fmt: skip
COSTS = {"PL MW": "line_loss_mw", "losses MW": "loss_mw", "mean q MVAr": "q_mean_mvar"}
"""Columns of the tables, and the metric that each is the mean of."""
TESTED = ["controller", "metric", "pairs", "difference", "ci_low", "ci_high", "p_corrected", "significant"]
VOLTAGE_TABLE, COST_TABLE = "Voltages, every row under one protocol", "Losses and decisions, likewise"
GAP_TABLE = "Certificates, pooled over the steps"
TEST_TABLE, DATA_TABLE = "Against OPF, paired over the windows", "What the data and the noise do"


@dataclass(frozen=True)
class MapdnClassical(Reproduction):
    """The rows none, droop and OPF of Tables 3-5, and ours under the same protocol.

    networks : of mapdn33, mapdn141, mapdn322.  windows, periods : random windows of the year, and their steps.
    seed : draws the windows, the same instants for every network.  draws : other draws of the load and PV shapes on
    which none and droop are run, to see how much hangs on them.  runopp : random steps of the windows that
    `pandapower.runopp` is given, which poses the problem as the paper did.
    """

    name: ClassVar[str] = "mapdn-classical"
    citation: ClassVar[str] = published.CITATION
    networks: tuple[str, ...] = ("mapdn33", "mapdn141", "mapdn322")
    windows: int = 20
    periods: int = PERIODS
    seed: int = 0
    draws: int = DRAWS
    runopp: int = 12

    def __post_init__(self) -> None:
        for name in self.networks:
            if name not in published.TABLE:
                raise UnknownNameError("network", name, list(published.TABLE))
        if not self.networks or len(set(self.networks)) != len(self.networks):
            raise InputError(
                f"networks must be different names, at least one, not {', '.join(self.networks) or 'none'}"
            )
        for key, least in (("windows", 1), ("periods", 1), ("seed", 0), ("draws", 0), ("runopp", 0)):
            if getattr(self, key) < least:
                raise InputError(f"{key} must be at least {least}, not {getattr(self, key)}")

    def compute(self, how: How) -> Reproduced:
        from feederlab.models.library import mapdn
        from feederlab.models.windows import random_windows
        from feederlab.simulate import RunOptions

        began = time.perf_counter()
        rows: list[Row] = []
        voltages: list[dict[str, object]] = []
        costs: list[dict[str, object]] = []
        gaps: list[dict[str, object]] = []
        tests, variants, evidence = [], [], []
        comparisons: dict[str, Comparison] = {}
        for network in self.networks:
            windows = random_windows(mapdn.load(network), self.windows, self.periods, self.seed)
            main = how.compare(network, windows, tuple(published.LABELS), RunOptions(record="float32"))
            found = gather(self, network, windows, main, how)
            comparisons[network] = main
            evidence.append(found)
            rows += rows_of(network, main, found)
            voltages += [_head(network, spec) | _means(main, spec, VOLTAGES) for spec in published.LABELS]
            for spec in published.LABELS:
                costs.append(_head(network, spec) | _means(main, spec, COSTS) | _decisions(main, spec))
                gaps.append(_head(network, spec) | _certified(main, spec))
            variants.append(found.variants)
            if self.windows > 1:
                tests.append(_against_opf(network, main))
        tables = {
            VOLTAGE_TABLE: pd.DataFrame(voltages), COST_TABLE: pd.DataFrame(costs), GAP_TABLE: pd.DataFrame(gaps),
        }  # fmt: skip
        if tests:
            tables[TEST_TABLE] = pd.concat(tests, ignore_index=True)
        tables[DATA_TABLE] = pd.concat(variants, ignore_index=True)
        return Reproduced(
            self.name, self.citation, self.values(), tuple(rows), tables, notes(self, evidence, tables),
            time.perf_counter() - began, comparisons,
        )  # fmt: skip


def rows_of(network: str, runs: Comparison, evidence: Evidence) -> Iterator[Row]:
    """Yield reported beside reproduced: CR, losses, and losses over those without control; then the best learner."""
    source, cr, loss = published.TABLE[network], published.CR_PCT[network], published.LOSS_MW[network]
    idle = _windows(runs, "none", published.LOSS_METRIC["none"])
    for label, spec in published.ROWS.items():
        ours = _windows(runs, spec, "cr_pct")
        row = Row(network, label, "CR", "%", cr[label], source, ours.mean(), 1, _std(ours), len(ours))
        yield replace(row, why=evidence.why_cr(row, spec))
        ours = _windows(runs, spec, published.LOSS_METRIC[label])
        row = Row(network, label, "losses", "MW", loss[label], source, ours.mean(), 3, _std(ours), len(ours))
        yield replace(row, why=evidence.why_loss(row, spec))
        if label != "none":
            ratio = Row(
                network, label, "losses over those of none", "", loss[label] / loss["none"], f"from {source}",
                ours.mean() / idle.mean(), 2, _std(ours / idle), len(ours),
            )  # fmt: skip
            yield replace(ratio, why=evidence.why_ratio(ratio, ours / idle))
    for label in cr:
        if label not in published.ROWS:
            for quantity, unit, value, digits in (("CR", "%", cr[label], 1), ("losses", "MW", loss[label], 3)):
                yield Row(network, label, quantity, unit, value, source, np.nan, digits, why="not run; for context [8]")


def _windows(runs: Comparison, spec: str, metric: str) -> FloatArray:
    """Return a metric of one row, (windows,)."""
    return np.ravel(runs.metrics[metric].sel(controller=spec).to_numpy())


def _std(values: FloatArray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else np.nan


def _head(network: str, spec: str) -> dict[str, object]:
    return {"network": network, "row": published.LABELS[spec]}


def _means(runs: Comparison, spec: str, columns: dict[str, str]) -> dict[str, object]:
    return {title: float(np.nanmean(_windows(runs, spec, metric))) for title, metric in columns.items()}


def _decisions(runs: Comparison, spec: str) -> dict[str, object]:
    mine = [run.timing["decision_s"].to_numpy() for cell, run in runs.runs.items() if cell.controller == spec]
    times = 1e3 * np.concatenate(mine)
    return {"decide ms p50": float(np.median(times)), "max ms": float(times.max())}


def _certified(runs: Comparison, spec: str) -> dict[str, object]:
    """Return what the certificates say of one row, pooled over the steps of all windows.

    A step counts as certified by the gap with penalty; ``plain``: by the relaxation without tightening.
    """
    from feederlab.certificate import CERTIFIED_PERCENT, Certificate, percent_above_bound

    mine = [run for cell, run in runs.runs.items() if cell.controller == spec]
    found = [Certificate.of(run.data, run.certificate) for run in mine]

    def all_steps(name: str) -> FloatArray:
        return np.concatenate([getattr(one, name) for one in found])

    realised = np.concatenate([run.data["realised"].to_numpy() for run in mine])
    step, plain, bound = (all_steps(name) for name in ("step_percent", "plain_percent", "bound"))
    share = f"steps below {CERTIFIED_PERCENT:g} %"
    return {
        "gap %": percent_above_bound(realised, bound),
        "with penalty %": percent_above_bound(all_steps("cost"), bound),
        "p95 %": float(np.nanpercentile(step, 95)) if np.isfinite(step).any() else np.nan,
        "worst %": float(np.nanmax(step)) if np.isfinite(step).any() else np.nan,
        share: 100 * float(np.mean(step < CERTIFIED_PERCENT)),
        "plain": 100 * float(np.mean(plain < CERTIFIED_PERCENT)),
        "steps out of band": sum(one.infeasible_steps for one in found),
        "proven": sum(one.infeasible_proven for one in found),
    }  # fmt: skip


def _against_opf(network: str, runs: Comparison) -> pd.DataFrame:
    found = runs.significance(reference=published.ROWS["OPF"], metrics=("loss_mw", "cr_pct"))[TESTED]
    found["controller"] = found["controller"].map(published.LABELS)
    found.insert(0, "network", network)
    return found.rename(columns={"controller": "row"})


def _certified_words(gaps: pd.DataFrame) -> str:
    share = next(name for name in gaps.columns if name.startswith("steps below"))
    lines = gaps[gaps["row"] == "OPF"]
    return ", ".join(
        f"{line['network']} {line[share]:.1f} % of the steps to within {share.split(' ', 2)[2]} (the plain relaxation "
        f"{line['plain']:.1f} %), the worst to {line['worst %']:.2g} %"
        for _, line in lines.iterrows()
    )


def _not_the_papers_solver(evidence: list[Evidence]) -> str:
    """Return what speaks against explaining the paper's CR by the steps that runopp does not solve."""
    against = [one for one in evidence if one.solved < one.runopp and published.CR_PCT[one.network]["OPF"] == 100]
    if not against:
        return ""
    return (
        f" It fails on {', '.join(one.network for one in against)} as well, where the paper's OPF keeps the band in "
        "every step: its failures are not those of the paper's solver, and do not explain the paper's rate."
    )


def notes(study: MapdnClassical, evidence: list[Evidence], tables: dict[str, pd.DataFrame]) -> tuple[str, ...]:
    """Return the numbered reasons; each names a figure of the tables, or what is documented."""
    voltages = tables[VOLTAGE_TABLE]
    droop = voltages[voltages.row == "droop"]
    gap = max(one.import_difference for one in evidence)
    same = bool(np.allclose(voltages["CR %"], voltages["CR (code) %"], equal_nan=True))
    buses = ", ".join(f"{one.buses}" for one in evidence)
    shares = ", ".join(f"{published.LEARNER_SHARE_PCT[name]}" for name in study.networks)
    return (
        "Data. The paper's profiles (Portuguese clients, Belgian PV) may not be redistributed; loads and PV are "
        "rebuilt from SimBench's year by a seeded rule (models/library/mapdn.py), peaks and ratings being the paper's. "
        f"The table '{DATA_TABLE}' has the same windows under other draws of the shapes. "
        + " ".join(one.ratio_words() for one in evidence),
        f"Windows. Ours: {study.windows} random windows of {study.periods} steps that share no step (seed "
        f"{study.seed}), the same for every row; ± is the standard deviation over them. The paper's instants are not "
        "known. Differences from OPF: intervals by the BCa bootstrap, p of Wilcoxon's signed-rank test corrected by "
        "Holm within a network (`feederlab.significance`).",
        "Noise. The paper's code adds one-sided noise x + std(x)/100 |N(0,1)| to loads and PV; this protocol adds "
        "none. Its effect on the same windows is in the same table.",
        "Losses. The paper's PL sums the lines; its OPF row includes transformers, so ours does in that row. Both "
        "columns stand in the table of losses and differ only where there are transformers (322 buses).",
        "OPF. The paper's has hard voltage limits, MATPOWER, and no check of success. Ours prices the band, and the "
        f"relaxation certifies it: {_certified_words(tables[GAP_TABLE])}. "
        + " ".join(one.runopp_words() for one in evidence)
        + _not_the_papers_solver(evidence)
        + " The paper minimises slack power, which with p given is the losses plus a constant: run so on one window, "
        f"the losses of a step differ by at most {gap:.1e} of their mean.",
        f"CR. The text counts a step when every bus is in band, the code when at most 0.1 % of the buses are out. "
        f"With {buses} buses one bus is more than that, so both are the same number here"
        + (" (as the two columns show)." if same else "; that the columns differ is an error."),
        "Drop and rise. In the text, the largest excess beyond the band; the printed columns of the classical rows "
        f"look like the distance from 1 p.u. Ours for droop: drop {droop['drop p.u.'].max():.4f} beyond the band and "
        f"{droop['drop (table) p.u.'].min():.3f} to {droop['drop (table) p.u.'].max():.3f} from 1 p.u.; rise "
        f"{droop['rise p.u.'].max():.4f} and {droop['rise (table) p.u.'].min():.3f} to "
        f"{droop['rise (table) p.u.'].max():.3f}.",
        f"Learners. The best of each table, reported only: they may use {shares} % of sqrt(s^2 - p^2), and were tested "
        f"on windows of {published.LEARNER_PERIODS} steps. Droop and OPF may use all of it.",
    )  # fmt: skip
