"""Why the reproduced rows of MAPDN differ from the paper's, measured: other data, noise, solvers, objectives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from feederlab.papers import mapdn_published as published
from feederlab.papers.reproduction import How, Row

if TYPE_CHECKING:
    from feederlab.comparison import Comparison
    from feederlab.models.arrays import FloatArray
    from feederlab.models.scenario import Scenario
    from feederlab.papers.mapdn_classical import MapdnClassical

NOISE = 0.01
"""Size of the noise in the paper's public code, in standard deviations."""
CHEAP = (published.ROWS["none"], published.ROWS["droop"])
"""The rows that are run on every variant of the data."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was measured on one network.

    steps, out, proven : steps of the row opf, those out of band, and those of them that no setpoints could have kept.
    runopp, solved : random steps given to `pandapower.runopp`, and those that it solved; kept : those of them that
    opf kept in band.  import_difference : largest change of a step's losses when opf minimises the import instead, in
    shares of the mean losses.  variants : a table; draws : metric values by controller, (draws,) each.
    """

    network: str
    buses: int
    steps: int
    out: int
    proven: int
    runopp: int
    solved: int
    kept: int
    import_difference: float
    variants: pd.DataFrame
    draws: dict[tuple[str, str], FloatArray]

    def why_cr(self, row: Row, spec: str) -> str:
        """Return why the controllable rates differ."""
        if spec == published.ROWS["OPF"]:
            solved = f"runopp solves {self.solved} of {self.runopp} steps" if self.runopp else "no step given to runopp"
            ours = f"here in band in {self.steps - self.out} of {self.steps} steps"
            ours += f", {self.proven} proven impossible" if self.out else ""
            return f"{_verdict(row)}{ours}; {solved} [5]"
        return f"{_verdict(row)}{self._against_draws(row, spec, 'cr_pct')} [1, 2]"

    def why_loss(self, row: Row, spec: str) -> str:
        """Return why the losses differ."""
        if spec == published.ROWS["OPF"]:
            return f"{_verdict(row)}other data: see the ratio [1, 2, 4]"
        return f"{_verdict(row)}{self._against_draws(row, spec, 'line_loss_mw')} [1, 2, 4]"

    def why_ratio(self, row: Row, ratios: FloatArray) -> str:
        """Return why the losses differ when those without control are divided out: ours over the windows."""
        low, high = ratios.min(), ratios.max()
        text = f"{_verdict(row)}the windows range from {low:.{row.digits}f} to {high:.{row.digits}f} [2, 4]"
        drawn = self.drawn_ratio()
        if row.row == "droop" and len(drawn) > 1:
            text += f"; {len(drawn)} draws give {drawn.mean():.2f} ± {drawn.std(ddof=1):.2f} [1]"
        return text

    def drawn_ratio(self) -> FloatArray:
        """Return the losses under droop over those without control, (draws,)."""
        idle, droop = (self.draws[spec, "line_loss_mw"] for spec in CHEAP)
        return np.asarray(droop / idle)

    def ratio_words(self) -> str:
        """Return how much losses, and their ratio, hang on the draw."""
        ratio, droop = self.drawn_ratio(), self.draws[CHEAP[1], "line_loss_mw"]
        if len(ratio) < 2:
            return ""
        share = [100 * values.std(ddof=1) / values.mean() for values in (droop, ratio)]
        return (
            f"{self.network}: over the draws the losses under droop vary by {share[0]:.0f} % (standard deviation), "
            f"their ratio to those without control by {share[1]:.0f} %."
        )

    def runopp_words(self) -> str:
        """Return what `pandapower.runopp` made of the same problem."""
        if not self.runopp:
            return ""
        return (
            f"{self.network}: pandapower.runopp (PYPOWER, MATPOWER's interior-point method) solves {self.solved} of "
            f"{self.runopp} random steps, ours keeps the band in {self.kept} of them."
        )

    def _against_draws(self, row: Row, spec: str, metric: str) -> str:
        drawn = self.draws.get((spec, metric), np.zeros(0))
        if len(drawn) < 2:
            return "other data"
        mean, std = drawn.mean(), drawn.std(ddof=1)
        least, most = (f"{value:.{row.digits}f}" for value in (drawn.min(), drawn.max()))
        return f"{len(drawn)} draws of the data give {mean:.{row.digits}f} ± {std:.{row.digits}f}, {least} to {most}"


def gather(study: MapdnClassical, network: str, windows: Sequence[Scenario], main: Comparison, how: How) -> Evidence:
    """Run the variants of one network; their runs are not kept: reading and writing them takes longer than they do."""
    from feederlab.models.library import mapdn
    from feederlab.models.objective import Objective
    from feederlab.simulate import RunOptions

    options = RunOptions(record="metrics")
    noisy = [replace(w.with_noise(NOISE, k, one_sided=True), name="noise") for k, w in enumerate(windows)]
    drawn = [
        replace(window, profiles=data.profiles, name=f"draw {seed}").trimmed()
        for seed, data in ((seed, mapdn.redrawn(windows[0], seed)) for seed in range(study.draws))
        for window in windows
    ]
    variants = how.compare(f"{network}-variants", [*noisy, *drawn], CHEAP, options, certificates=False, keep=False)
    goal = replace(options, objective=Objective.parse("substation_import"))
    imported = how.compare(f"{network}-import", windows[:1], ("opf",), goal, certificates=False, keep=False)
    cells = [cell for cell in main.runs if cell.controller == "opf"]
    at_import, at_losses = imported.run("opf").data, main.run("opf", window=cells[0].window).data
    losses = at_losses["losses_mw"].to_numpy()
    optimal = main.metrics.sel(controller="opf")
    solved, kept = _runopp(study, windows, main)
    return Evidence(
        network=network, buses=len(windows[0].feeder.bus_index), steps=sum(w.periods for w in windows),
        out=int(optimal["infeasible_steps"].sum()), proven=int(optimal["infeasible_proven"].sum()),
        runopp=min(study.runopp, study.windows * study.periods), solved=solved, kept=kept,
        import_difference=float(np.abs(at_import["losses_mw"].to_numpy() - losses).max() / losses.mean()),
        variants=_variants(network, main, variants),
        draws={
            (spec, metric): _by_draw(variants, spec, metric) for spec in CHEAP for metric in ("cr_pct", "line_loss_mw")
        },
    )  # fmt: skip


def _by_draw(variants: Comparison, spec: str, metric: str) -> FloatArray:
    """Return the mean over the windows, (draws,)."""
    names = [name for name in map(str, variants.metrics["scenario"].to_numpy()) if name.startswith("draw")]
    return np.array([_mean(variants, spec, metric, name) for name in names])


def _mean(runs: Comparison, spec: str, metric: str, scenario: str) -> float:
    return float(np.nanmean(runs.metrics[metric].sel(controller=spec, scenario=scenario).to_numpy()))


def _variants(network: str, main: Comparison, variants: Comparison) -> pd.DataFrame:
    lines = []
    for spec in CHEAP:
        plain = {metric: _mean(main, spec, metric, network) for metric in ("cr_pct", "line_loss_mw")}
        noisy = {metric: _mean(variants, spec, metric, "noise") for metric in plain}
        line: dict[str, Any] = {
            "network": network, "row": published.LABELS[spec], "CR %": plain["cr_pct"], "CR with the code's noise %":
            noisy["cr_pct"], "PL MW": plain["line_loss_mw"], "PL with the code's noise MW": noisy["line_loss_mw"],
        }  # fmt: skip
        for metric, title in (("cr_pct", "CR"), ("line_loss_mw", "PL")):
            drawn = _by_draw(variants, spec, metric)
            if len(drawn) > 1:
                digits = 1 if metric == "cr_pct" else 3
                unit = "%" if metric == "cr_pct" else "MW"
                line[f"{title} over {len(drawn)} draws {unit}"] = (
                    f"{drawn.mean():.{digits}f} ± {drawn.std(ddof=1):.{digits}f} "
                    f"({drawn.min():.{digits}f} to {drawn.max():.{digits}f})"
                )
        lines.append(line)
    return pd.DataFrame(lines)


def _runopp(study: MapdnClassical, windows: Sequence[Scenario], main: Comparison) -> tuple[int, int]:
    """Return how many random steps of the windows `pandapower.runopp` solves, and in how many opf keeps the band."""
    from feederlab.papers.runopp import solves

    places = study.windows * study.periods
    rng = np.random.default_rng(study.seed)
    chosen = np.sort(rng.choice(places, size=min(study.runopp, places), replace=False))
    outside = np.concatenate([
        main.run("opf", window=f"{w.start:%Y-%m-%d %H:%M}").data["out_share"].to_numpy() > 0 for w in windows
    ])  # fmt: skip
    steps = [
        windows[k // study.periods].window(windows[k // study.periods].times[k % study.periods], 1) for k in chosen
    ]
    return sum(map(solves, steps)), int((~outside[chosen]).sum())


def _verdict(row: Row) -> str:
    return "agrees to the digits reported; " if row.agrees else ""
