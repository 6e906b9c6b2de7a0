"""`train_dqn`: learn on some days when to switch capacitor banks, judged on others; may be interrupted and resumed."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from feederlab import answer, atomic
from feederlab.controllers.base import Controller
from feederlab.controllers.registry import create
from feederlab.errors import InputError, ResultFileError
from feederlab.learn.capacitors import CapacitorsEnv
from feederlab.learn.checkpoint import Checkpoints
from feederlab.learn.days import Days, pick_days
from feederlab.learn.extra import need
from feederlab.learn.likeness import likeness
from feederlab.learn.policy import Policy
from feederlab.learn.settings import DqnSettings
from feederlab.lock import held
from feederlab.models.scenario import Scenario
from feederlab.provenance import provenance

need("torch", "stable_baselines3", "gymnasium", "safetensors")
import torch  # noqa: E402
from stable_baselines3 import DQN  # noqa: E402
from stable_baselines3.common.callbacks import BaseCallback  # noqa: E402
from stable_baselines3.common.vec_env import DummyVecEnv  # noqa: E402

KIND = "training"
RECORD, POLICY, CURVE, CHECKPOINTS = "training.json", "policy.safetensors", "evaluation.csv", "checkpoints"
Tell = Callable[[int, Mapping[str, float]], None]
"""Told after each step: the number of steps done, and the last row of the evaluation curve."""


class Stopped(Exception):
    """A training was asked to stop; a checkpoint of its last step is saved."""

    def __init__(self, step: int, checkpoint: Path) -> None:
        super().__init__(f"stopped after step {step}; saved to {checkpoint}")
        self.step, self.checkpoint = step, checkpoint


@dataclass(frozen=True, eq=False)
class Training:
    """What a training gave.

    policy : file of the network with the lowest cost on the held-out days (without any: the last network).
    curve : a row per evaluation: step, mean reward of the intervals since the last, exploration, mean cost of an
    interval of the held-out days ((v - v0)^2 summed over slots and nodes), whether it is the best so far.
    """

    folder: Path
    policy: Path
    curve: pd.DataFrame


def train_dqn(
    scenario: Scenario,
    out: str | Path,
    *,
    fast: Controller | str = "lindistflow",
    every: str = "5min",
    days: int | Days = 20,
    holdout: int | Days = 3,
    steps: int = 15_000,
    seed: int = 0,
    settings: DqnSettings | None = None,
    evaluate_every: int = 0,
    checkpoint_every: int = 2_000,
    keep: int = 3,
    resume: bool = False,
    overwrite: bool = False,
    progress: Tell | None = None,
    stop: Callable[[], bool] | None = None,
) -> Training:
    """Train a DQN to switch the capacitor banks of a scenario (P3).

    Parameters
    ----------
    scenario
        Feeder and profiles; its step is the slot.
    out
        Folder for the policy, the evaluation curve and the checkpoints.
    fast, every
        The controller that acts in every slot, and the length of an interval, as in `CapacitorsEnv`.
    days, holdout
        Days to train on and days to judge by: dates, or how many to draw from the scenario's.
    steps
        Intervals to learn from.
    evaluate_every, checkpoint_every
        Steps between two evaluations (0: a tenth of `steps`) and between two checkpoints, of which `keep` are kept.
    resume, overwrite
        Go on with the training in `out`: the result is that of one never interrupted, bit by bit; or discard it.
    progress, stop
        Told of each step; asked before each step whether to stop.

    Raises
    ------
    InputError
        If the scenario has no banks to switch, or days, interval or settings do not fit it.
    ResultFileError
        If `out` holds something else, a training that is neither to be resumed nor discarded, or a damaged checkpoint,
        or another process is at work in it.
    Stopped
        If `stop` said so.
    """
    settings, folder = settings or DqnSettings(), Path(out)
    evaluate_every = evaluate_every or max(steps // 10, 1)
    for name, value in (("steps", steps), ("evaluate_every", evaluate_every), ("checkpoint_every", checkpoint_every),
                        ("keep", keep)):  # fmt: skip
        if value < 1:
            raise InputError(f"{name} must be at least 1, not {value}")
    if seed < 0:
        raise InputError(f"the seed must not be negative, not {seed}")
    if resume and overwrite:
        raise InputError("resume goes on with a training, overwrite discards it: give one of them")
    chosen, unseen = pick_days(scenario, days, holdout, seed)
    learner = create(fast) if isinstance(fast, str) else fast
    env = CapacitorsEnv(scenario, learner, every, chosen)
    judge = None
    if unseen:
        judge = CapacitorsEnv(scenario, learner, every, unseen, observation=env.observation, cost_scale=env.cost_scale)
    about = _question(env, unseen, steps, seed, settings, evaluate_every)
    with _own_randomness():
        run = _Run(folder, env, judge, about, settings, Checkpoints(folder / CHECKPOINTS, about, keep))
        answer.check_folder(folder, RECORD, about, overwrite=True)  # what it holds, if anything, is ours
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder):
            run.open(resume=resume, overwrite=overwrite)
            return run.learn(steps, evaluate_every, checkpoint_every, progress, stop)


class _Run:
    """One training in one folder."""

    def __init__(
        self, folder: Path, env: CapacitorsEnv, judge: CapacitorsEnv | None, about: Mapping[str, Any],
        settings: DqnSettings, checkpoints: Checkpoints,
    ) -> None:  # fmt: skip
        self.folder, self.env, self.judge, self.about, self.checkpoints = folder, env, judge, about, checkpoints
        self.rows: list[dict[str, Any]] = []
        self.rewards: list[float] = [0.0, 0.0]  # sum and number since the last evaluation
        env.reset(seed=int(about["seed"]))
        self.model = DQN(
            "MlpPolicy", DummyVecEnv([lambda: env]), seed=int(about["seed"]), device="cpu",
            policy_kwargs={"net_arch": list(settings.hidden), "activation_fn": torch.nn.ReLU},
            gamma=settings.discount, learning_rate=settings.learning_rate, batch_size=settings.batch,
            buffer_size=settings.replay, learning_starts=settings.warm_up, train_freq=1, gradient_steps=1,
            target_update_interval=settings.target_every, exploration_initial_eps=settings.explore_first,
            exploration_final_eps=settings.explore_last, exploration_fraction=settings.explore_share,
        )  # fmt: skip

    def open(self, *, resume: bool, overwrite: bool) -> None:
        """Make the folder ready, and go to its last checkpoint if it is to be resumed."""
        there = (self.folder / RECORD).is_file()
        for scratch in self.folder.rglob(".*.part.*") if there else ():  # what a killed process left half-written
            scratch.unlink()
        if there and overwrite:
            shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)
            for name in (POLICY, CURVE):
                (self.folder / name).unlink(missing_ok=True)
        elif there and not resume:
            raise ResultFileError(
                f"{self.folder} holds a training: give --resume to go on with it, --overwrite to begin anew, or choose "
                "another folder"
            )
        elif there and (kept := self.checkpoints.read(self.model, self.env)) is not None:
            self.rows, self.rewards = kept["curve"], kept["rewards"]
        answer.write(self.folder, RECORD, self.about)

    def learn(
        self, steps: int, evaluate_every: int, checkpoint_every: int, progress: Tell | None,
        stop: Callable[[], bool] | None,
    ) -> Training:  # fmt: skip
        """Go on to the last step."""
        model, begun = self.model, self.model.num_timesteps
        if begun < steps:
            watch = _Watch(self, steps, evaluate_every, checkpoint_every, progress, stop)
            model.learn(steps - begun, callback=watch, log_interval=steps + 1, reset_num_timesteps=begun == 0)
            if not self.rows or self.rows[-1]["step"] != steps:
                self.evaluate()
            self.save()
        curve = pd.DataFrame(self.rows)
        with atomic.whole(self.folder / CURVE) as scratch:
            curve.to_csv(scratch, index=False)
        return Training(self.folder, self.folder / POLICY, curve)

    def save(self) -> Path:
        """Write a checkpoint."""
        return self.checkpoints.write(self.model, self.env, {"curve": self.rows, "rewards": self.rewards})

    def evaluate(self) -> None:
        """Add a row to the curve; keep the policy if no row before was better."""
        policy = self.policy()
        cost = float("nan") if self.judge is None else judged(self.judge, policy)
        before = [row["holdout_cost"] for row in self.rows if row["best"]]
        best = self.judge is None or not before or cost < before[-1]
        total, count = self.rewards
        self.rows.append(
            {
                "step": self.model.num_timesteps, "reward": total / max(count, 1.0),
                "exploration": self.model.exploration_rate, "holdout_cost": cost, "best": bool(best),
            }
        )  # fmt: skip
        self.rewards = [0.0, 0.0]
        if best:
            policy.save(self.folder / POLICY)
        with atomic.whole(self.folder / CURVE) as scratch:
            pd.DataFrame(self.rows).to_csv(scratch, index=False)

    def policy(self) -> Policy:
        """Return the network as it is now."""
        weights = {key: value.numpy().copy() for key, value in self.model.q_net.state_dict().items()}
        linear = [key.removesuffix(".weight") for key in weights if key.endswith(".weight")]
        env = self.env
        return Policy(
            layers=tuple((weights[f"{k}.weight"], weights[f"{k}.bias"]) for k in linear),
            observation=env.observation, actions=env.actions, feeder=likeness(env.scenario.feeder),
            interval_s=env.slots * env.scenario.step.total_seconds(), slot_s=env.scenario.step.total_seconds(),
            fast=self.about["fast"], training={**self.about, "step": self.model.num_timesteps},
            versions=self.about["versions"],
        )  # fmt: skip


class _Watch(BaseCallback):  # type: ignore[misc]
    """Stops, evaluates and saves between two steps of stable-baselines3, where its state is whole."""

    def __init__(
        self, run: _Run, steps: int, evaluate_every: int, checkpoint_every: int, progress: Tell | None,
        stop: Callable[[], bool] | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._run, self._steps, self._progress, self._stop = run, steps, progress, stop
        self._evaluate_every, self._checkpoint_every = evaluate_every, checkpoint_every

    def _on_rollout_start(self) -> None:
        run, step = self._run, self.model.num_timesteps
        done = run.rows[-1]["step"] if run.rows else 0
        if step % self._evaluate_every == 0 and step > done:
            run.evaluate()
        stopping = self._stop is not None and self._stop()
        if stopping or (step and step % self._checkpoint_every == 0):
            path = run.save()
            if stopping:
                raise Stopped(step, path)

    def _on_step(self) -> bool:
        run = self._run
        run.rewards = [run.rewards[0] + float(self.locals["rewards"][0]), run.rewards[1] + 1]
        if self._progress is not None:
            self._progress(self.model.num_timesteps, run.rows[-1] if run.rows else {})
        return True


def judged(env: CapacitorsEnv, policy: Policy) -> float:
    """Return the mean cost of an interval when `policy` lives through every day of `env`."""
    costs = []
    for day in env.days:
        seen, _ = env.reset(options={"day": day})
        over = False
        while not over:
            seen, _, _, over, info = env.step(int(policy.values(seen).argmax()))
            costs.append(info["cost"])
    return float(np.mean(costs))


def _question(
    env: CapacitorsEnv, unseen: tuple[pd.Timestamp, ...], steps: int, seed: int, settings: DqnSettings,
    evaluate_every: int,
) -> dict[str, Any]:  # fmt: skip
    """Return, JSON-ready, all that the result depends on."""
    case = env.scenario
    made_by = provenance(case, env.fast, "", settings)
    return answer.question(
        KIND, method="dqn", scenario=case.name, slot_s=case.step.total_seconds(), every=env.every,
        fast={"controller": made_by["controller"], "settings": made_by["settings"]},
        days=[str(day.date()) for day in env.days], holdout=[str(day.date()) for day in unseen], steps=steps,
        seed=seed, evaluate_every=evaluate_every, settings=settings.to_dict(), cost_scale=env.cost_scale,
        data=_fingerprint(env),
        versions=made_by["versions"] | {name: version(name) for name in ("torch", "stable-baselines3", "gymnasium")},
    )  # fmt: skip


def _fingerprint(env: CapacitorsEnv) -> str:
    """Return a short hash of the observation's layout: it depends on the feeder and on every training day."""
    return hashlib.sha256(str(env.observation.rows()).encode()).hexdigest()[:16]


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Give the training one thread (more would change rounding) and the global generators, and then put all back."""
    numpy, torches, threads = np.random.get_state(), torch.get_rng_state(), torch.get_num_threads()  # noqa: NPY002
    python = random.getstate()  # nothing here draws from it, but stable-baselines3 seeds it
    torch.set_num_threads(1)
    try:
        yield
    finally:
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(torches)
        random.setstate(python)
        torch.set_num_threads(threads)
