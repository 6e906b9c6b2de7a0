"""Learned volt-var policies on days that they have not seen, beside droop and optimal power flow.

Every learner is trained on the same days from several seeds, keeps the network that does best on validation days, and
is judged on days by which nothing was chosen.  Trainings that a folder already holds are taken up again.

    python -m benchmarks.learned [--seeds 5] [--minutes 20] [--jobs 2] [--folder runs/learned] [--write]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

from benchmarks.report import markdown, show, write_section
from feederlab.controllers.base import Controller
from feederlab.controllers.registry import create
from feederlab.controllers.safety_filter import SafetyFilter
from feederlab.learn.days import pick_days, whole_days
from feederlab.learn.policies.sb3 import SB3Policy
from feederlab.learn.settings import PpoSettings, SacSettings
from feederlab.metrics import BAND_TOLERANCE
from feederlab.models.arrays import BoolArray, FloatArray
from feederlab.models.scenario import Scenario
from feederlab.scenarios import load_scenario
from feederlab.simulate import simulate

NETWORK, TRAINING, VALIDATION, TUNING = "mapdn33", 300, 10, 20
"""Days of the year: to train on, to choose the network to keep, to choose the rewards' weights; the rest judge."""
HEADER = ["controller", "sees", "steps in band %", "losses MW", "of the loss between droop and opf %", "training"]


@dataclass(frozen=True)
class Learner:
    """A way to learn.

    arguments : of the environment.  steps : at most; the clock ends it sooner or not.  best : what is kept.
    """

    name: str
    algorithm: str
    settings: Any
    arguments: Mapping[str, Any]
    copies: int
    steps: int
    best: tuple[str, ...] = ("reward",)
    more: Mapping[str, Any] = field(default_factory=dict)


_PPO = PpoSettings(
    hidden=(128, 128), critic_hidden=(128, 128), discount=0.0, gae_lambda=0.0, learning_rate=1e-3, decay=0.02,
    rollout=32, epochs=10, batch=2048, entropy=0.003, log_std=-0.7,
)  # fmt: skip
_SAC = SacSettings(
    hidden=(128, 128), critic_hidden=(128, 128), discount=0.0, learning_rate=1e-3, decay=0.02, batch=256,
    replay=300_000, warm_up=4_000, gradient_steps=8,
)  # fmt: skip
_GLOBAL = {"observation": "global", "episode": 32}
LEARNERS = (
    Learner(
        "PPO", "ppo", _PPO,
        {**_GLOBAL, "reward": "10*losses + 20*outside + 3*any_out_of_band", "margin": 0.006}, 256, 1_600_000,
    ),
    Learner(
        "SAC", "sac", _SAC,
        {**_GLOBAL, "reward": "10*losses + 10*outside + any_out_of_band", "margin": 0.005}, 32, 120_000,
    ),
    Learner(
        "PPO, P1's reward and zones", "ppo", PpoSettings(hidden=(64, 64), discount=0.99, gae_lambda=0.95, batch=2048),
        {"observation": "zone", "reward": "mapdn_l1", "bound": 0.8, "episode": 240}, 64, 800_000,
    ),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Score:
    """What a controller did on the test days: (steps,) in band; mean losses (MW)."""

    in_band: BoolArray
    losses_mw: float


def days(case: Scenario) -> tuple[list[pd.Timestamp], list[pd.Timestamp], list[pd.Timestamp]]:
    """Return training, validation and test days; what chose the rewards' weights is in none of them."""
    chosen, held = pick_days(case, TRAINING, VALIDATION + TUNING, 0)
    order = np.random.default_rng(0).permutation(len(held))
    used = {*chosen, *held}
    test = [day for day in whole_days(case) if day not in used]
    return list(chosen), sorted(held[k] for k in order[:VALIDATION]), test


def trained(learner: Learner, seed: int, minutes: float, folder: Path) -> tuple[Path, float, int]:
    """Train, or take up what is there; return the policy's file, the minutes it took, and its steps."""
    from feederlab.learn.train import train

    case = load_scenario(NETWORK)
    chosen, validation, _ = days(case)
    out = folder / f"{learner.algorithm}-{learner.arguments['observation']}-{seed}"
    done = out / "done.json"
    if not done.is_file():
        import time

        began = time.monotonic()
        made = train(
            learner.algorithm, case, out, arguments=learner.arguments, days=chosen, holdout=validation,
            steps=learner.steps, seed=seed, settings=learner.settings, copies=learner.copies, best=learner.best,
            minutes=minutes, evaluate_every=max(learner.steps // 40, 1), checkpoint_every=learner.steps, keep=1,
            overwrite=out.exists(),
        )  # fmt: skip
        took = (time.monotonic() - began) / 60
        done.write_text(json.dumps({"minutes": took, "steps": int(made.curve["step"].iloc[-1])}))
    record = json.loads(done.read_text())
    return out / "policy.safetensors", float(record["minutes"]), int(record["steps"])


def judged(controller: Controller) -> Score:
    """Run a controller through the test days."""
    case = load_scenario(NETWORK)
    inside: list[FloatArray] = []
    losses: list[float] = []
    low, high = case.band[:, 0]
    for day in days(case)[2]:
        data = simulate(case.days(day), controller).data
        vm = data["vm_pu"].to_numpy()
        inside.append(((vm >= low - BAND_TOLERANCE) & (vm <= high + BAND_TOLERANCE)).all(axis=1))
        losses.append(float(data["losses_mw"].mean()))
    return Score(np.concatenate(inside), float(np.mean(losses)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=20.0, help="of a training at most")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/learned"))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    tasks = [(learner, seed) for seed in range(options.seeds) for learner in LEARNERS]
    parallel = joblib.Parallel(n_jobs=options.jobs)
    files = dict(
        zip(
            [(learner.name, seed) for learner, seed in tasks],
            parallel(joblib.delayed(trained)(one, seed, options.minutes, options.folder) for one, seed in tasks),
            strict=True,
        )
    )
    classical = {"none": create("none"), "droop of P1": create("volt_var:curve=mapdn"), "opf": create("opf")}
    names = [*classical, *((key, safe) for key in files for safe in (False, True))]
    controllers: list[Controller] = [*classical.values()]
    for path, _, _ in files.values():
        controllers += [SB3Policy(str(path)), SafetyFilter(SB3Policy(str(path)))]
    found: dict[Any, Score] = dict(
        zip(names, parallel(joblib.delayed(judged)(c) for c in controllers), strict=True)
    )  # fmt: skip
    cells = list(rows(found, files, options.seeds))
    show("Learned volt-var policies", HEADER, cells)
    if options.write:
        command = f"python -m benchmarks.learned --seeds {options.seeds} --minutes {options.minutes:g} --write"
        write_section("learned", command, f"{markdown(HEADER, cells)}\n\n{note(found)}")


def rows(found: Mapping[Any, Score], files: Mapping[Any, Any], seeds: int) -> list[list[str]]:
    """Return the table: a row for each controller, each learner's mean and standard deviation over the seeds."""
    droop, best = found["droop of P1"].losses_mw, found["opf"].losses_mw

    def row(name: str, sees: str, scores: list[Score], training: str) -> list[str]:
        share = [100 * s.in_band.mean() for s in scores]
        losses = [s.losses_mw for s in scores]
        closed = [100 * (droop - loss) / (droop - best) for loss in losses]
        return [name, sees, spread(share, 2), spread(losses, 4), spread(closed, 1), training]

    cells = [
        row(name, sees, [found[name]], "")
        for name, sees in (("none", ""), ("droop of P1", "local"), ("opf", "global"))
    ]  # fmt: skip
    for learner in LEARNERS:
        made = [files[learner.name, seed] for seed in range(seeds)]
        took = f"{max(m for _, m, _ in made):.1f} min, {np.mean([n for _, _, n in made]):,.0f} steps"
        sees = str(learner.arguments["observation"])
        for safe, name, seen in ((False, learner.name, sees), (True, f"{learner.name}, filtered", "global")):
            scores = [found[(learner.name, seed), safe] for seed in range(seeds)]
            cells.append(row(name, seen, scores, "" if safe else took))
    return cells


def spread(values: list[float], digits: int) -> str:
    """Return mean and standard deviation, and the smallest where there are several."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def note(found: Mapping[Any, Score]) -> str:
    """Return what a reader has to know of the table."""
    count_of_test = len(days(load_scenario(NETWORK))[2])
    possible = found["opf"].in_band
    missed = sum(int((possible & ~score.in_band).sum()) for key, score in found.items() if _filtered(key))
    count = sum(_filtered(key) for key in found)
    worst = {
        learner.name: min(100 * s.in_band.mean() for key, s in found.items() if _of(key, learner.name))
        for learner in LEARNERS
    }  # fmt: skip
    lowest = ", ".join(f"{name} {share:.2f} %" for name, share in worst.items())
    rewards = "; ".join(
        f"{one.name}: `{one.arguments['reward']}`"
        + (f", its band narrower by {one.arguments['margin']} p.u." if "margin" in one.arguments else "")
        for one in LEARNERS
    )
    return (
        f"{NETWORK}, steps of 3 minutes; {TRAINING} training days, {VALIDATION} days on which the network to keep is "
        f"chosen, {count_of_test} test days by which nothing was chosen, all disjoint ({TUNING} others served to "
        f"choose the rewards' weights). Mean ± standard deviation over the seeds. Rewards: {rewards}; the "
        "last has P1's bound 0.8, discount 0.99 and episodes of 240 steps. Filtered: in `safety_filter`; of the "
        f"{int(possible.sum())} steps that opf keeps in band, {missed} were missed, {count} trainings together. "
        f"Lowest seed: {lowest}. P1's own best learner keeps 97.0 % (on its own data)."
    )


def _filtered(key: Any) -> bool:
    return isinstance(key, tuple) and bool(key[1])


def _of(key: Any, name: str) -> bool:
    return isinstance(key, tuple) and not key[1] and key[0][0] == name


if __name__ == "__main__":
    main()
