"""What runs of the smart-meter case are worth, as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from feederlab.learn.smart_meter.accuracy import LABELS, PERSISTENCE
from feederlab.learn.smart_meter.reward import RelaxedReward
from feederlab.models.arrays import FloatArray
from feederlab.papers.smart_meter_case import AGENTS
from feederlab.papers.smart_meter_work import Lived, reward_of, units_at

TOLERANCE = 1e-6  # p.u.: below this a voltage outside the band is rounding
STEP_H = 0.25


@dataclass(frozen=True, eq=False)
class Score:
    """What a controller did on all unseen days.

    lowest, highest : voltage of any node (p.u.).  below, above, out_of_band : steps in which a node is out of band;
    own : in which one with a unit is.  worst : largest excursion (p.u.).
    use_mwh : energy that storage took and gave.
    reward : (28) at the true voltages, all units, mean of a step.  step_s : time of a step, decision and power flows.
    """

    steps: int
    lowest: float
    highest: float
    below: int
    above: int
    out_of_band: int
    own: int
    worst: float
    use_mwh: float
    reward: float
    step_s: float

    @classmethod
    def of(cls, agents: int, lived: Lived, reward: RelaxedReward, band: tuple[float, float]) -> Score:
        """Return the score of a run."""
        low, high = lived.vm.min(axis=1), lived.vm.max(axis=1)
        mine = lived.vm[:, units_at(agents)]
        own = (mine.min(axis=1) < band[0] - TOLERANCE) | (mine.max(axis=1) > band[1] + TOLERANCE)
        below, above = low < band[0] - TOLERANCE, high > band[1] + TOLERANCE
        return cls(
            len(low), float(low.min()), float(high.max()),
            int(below.sum()), int(above.sum()), int((below | above).sum()), int(own.sum()),
            max(float((band[0] - low).max()), float((high - band[1]).max()), 0.0),
            float(np.abs(lived.storage_p_mw).sum() * STEP_H), float(reward_of(agents, lived, reward, band).mean()),
            lived.seconds / len(low),
        )  # fmt: skip


Found = Mapping[tuple[int, str, int], Score]


def voltages(found: Found, betas: Sequence[float]) -> pd.DataFrame:
    """Return a line for every row but the sweep's own, means over the seeds."""
    elsewhere = {f"beta = {beta:g}" for beta in betas} - {"beta = 0.4", "beta = 0.5"}
    groups = {key: runs for key, runs in _groups(found).items() if key[1] not in elsewhere}
    order = ["no control", "independent agents", "beta = 0.4", "beta = 0.5"]  # then programs, as they come
    places = {key: (key[0], order.index(key[1]) if key[1] in order else len(order)) for key in groups}
    return pd.DataFrame([
        {"agents": agents, "row": row, **_line(groups[agents, row])}
        for agents, row in sorted(groups, key=lambda key: (*places[key], key[1] == "multi-period OPF"))
    ])  # fmt: skip


def sweep(found: Found, betas: Sequence[float]) -> pd.DataFrame:
    """Return a line for every beta, means over the seeds."""
    groups = _groups(found)
    return pd.DataFrame([
        {"agents": agents, "beta": beta, **_line(groups[agents, name_of(beta)])} for agents in AGENTS for beta in betas
    ])  # fmt: skip


def name_of(beta: float) -> str:
    """Return the row of a beta."""
    return "independent agents" if beta == 1 else f"beta = {beta:g}"


def keeping(found: Found, agents: int, betas: Sequence[float]) -> list[float]:
    """Return the betas with which every seed keeps the band on every day."""
    groups = _groups(found)
    return [beta for beta in betas if not any(run.out_of_band for run in groups[agents, name_of(beta)])]


def estimation(errors: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each meter and behaviour of the storage: the 95th percentile of |error| of every stage."""
    labels = {PERSISTENCE: "as a step ago", **LABELS}
    lines = []
    for (meter, storage), mine in errors.groupby(["meter", "storage"], sort=False):
        per = mine.groupby("stage").p95_pct.mean()
        lines.append({
            "meter": meter, "storage": storage,
            **{f"{label}, 95 % of |error|": float(per.get(stage, math.nan)) for stage, label in labels.items()},
            "seeds": int(mine.seed.nunique()),
        })  # fmt: skip
    return pd.DataFrame(lines)


def training(
    race: Mapping[str, float], taught: Mapping[Any, Mapping[int, Any]], central: Sequence[Any], found: Found, steps: int
) -> pd.DataFrame:  # fmt: skip
    """Return what each way to train takes and gives, three agents; extrapolated times say so."""
    alone = [run for (agents, row, _), run in found.items() if (agents, row) == (3, "independent agents")]
    rest = [run for (agents, row, _), run in found.items() if (agents, row) == (3, "no control")]
    logs = [one.log for (agents, _), those in taught.items() if agents == 3 for one in those.values()]
    lines = [
        {"training": "a household on its own estimate", "ms per step, one copy": 1e3 * race["local"],
         f"s for {steps} steps, one copy (from that)": steps * race["local"],
         "s as it was trained here": float(np.mean([log["train_s"] for log in logs])),
         "reward per step, unseen days": _mean([run.reward for run in alone])},
        {"training": "one agent for all, our power flow", "ms per step, one copy": 1e3 * race["engine"],
         f"s for {steps} steps, one copy (from that)": steps * race["engine"],
         "s as it was trained here": float(np.mean([one.seconds for one in central])),
         "reward per step, unseen days": _mean([float(one.reward.mean()) for one in central])},
        {"training": "one agent for all, pandapower", "ms per step, one copy": 1e3 * race["pandapower"],
         f"s for {steps} steps, one copy (from that)": steps * race["pandapower"],
         "s as it was trained here": math.nan, "reward per step, unseen days": math.nan},
        {"training": "none: storage rests", "ms per step, one copy": math.nan,
         f"s for {steps} steps, one copy (from that)": math.nan, "s as it was trained here": math.nan,
         "reward per step, unseen days": _mean([run.reward for run in rest])},
    ]  # fmt: skip
    return pd.DataFrame(lines)


def lost(central: Sequence[Any], local: Sequence[float]) -> tuple[float, float, int]:
    """Return by how much local training's reward is below central training's, %: mean, deviation, number of seeds."""
    reference = np.array([float(one.reward.mean()) for one in central])
    share = 100 * (reference - np.array(local)) / np.abs(reference)
    return float(share.mean()), float(share.std(ddof=1)) if len(share) > 1 else math.nan, len(share)


def _groups(found: Found) -> dict[tuple[int, str], list[Score]]:
    groups: dict[tuple[int, str], list[Score]] = {}
    for (agents, row, _), score in found.items():
        groups.setdefault((agents, row), []).append(score)
    return groups


def _line(runs: Sequence[Score]) -> dict[str, Any]:
    return {
        "lowest p.u.": min(run.lowest for run in runs), "highest p.u.": max(run.highest for run in runs),
        "steps below": _mean([run.below for run in runs]), "steps above": _mean([run.above for run in runs]),
        "out at units' nodes": _mean([run.own for run in runs]),
        "worst miss p.u.": max(run.worst for run in runs), "storage use MWh": _mean([run.use_mwh for run in runs]),
        "reward per step": _mean([run.reward for run in runs]),
        "ms per step": 1e3 * _mean([run.step_s for run in runs]), "seeds": len(runs),
    }  # fmt: skip


def _mean(values: Sequence[float] | FloatArray) -> float:
    return float(np.mean(values)) if len(values) else math.nan
