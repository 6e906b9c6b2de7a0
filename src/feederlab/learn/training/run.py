"""One training in one folder: learn, judge, keep the best, save, stop and go on."""

from __future__ import annotations

import math
import random
import shutil
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from feederlab import answer, atomic
from feederlab.errors import InputError, ResultFileError
from feederlab.learn.checkpoint import Checkpoints
from feederlab.learn.extra import need
from feederlab.learn.training.algorithms import make_model
from feederlab.learn.training.logs import TensorBoard
from feederlab.learn.training.subject import Subject

need("torch", "stable_baselines3")
import torch  # noqa: E402
from stable_baselines3.common.callbacks import BaseCallback  # noqa: E402

RECORD, POLICY, CURVE, CHECKPOINTS, LOGS = (
    "training.json", "policy.safetensors", "evaluation.csv", "checkpoints", "tensorboard",
)  # fmt: skip
Tell = Callable[[int, Mapping[str, float]], None]
"""Told after each step: the number of steps done, and the last row of the evaluation curve."""


class Stopped(Exception):
    """A training was asked to stop; a checkpoint of its last step is saved."""

    def __init__(self, step: int, checkpoint: Path) -> None:
        super().__init__(f"stopped after step {step}; saved to {checkpoint}")
        self.step, self.checkpoint = step, checkpoint


class TimeIsUp(Exception):
    """The time that a training was given is over."""


@dataclass(frozen=True, eq=False)
class Training:
    """What a training gave.

    policy : file of the network that did best on the held-out days (without any: the last network).
    curve : a row per evaluation: step, mean reward of a step since the last, exploration (DQN), the mean scores of a
    step on the held-out days (``holdout_reward`` and what the environment's ``info`` has), whether it is the best so
    far.
    """

    folder: Path
    policy: Path
    curve: pd.DataFrame


@dataclass(frozen=True)
class Plan:
    """How far a training goes, and what is done on the way.

    steps : transitions to learn from.  evaluate_every, checkpoint_every : steps between two of them.
    best : scores that decide which network is kept, the first one first; a leading ``-`` where less is better.
    minutes : of wall-clock time at most, over all resumptions.  tensorboard : whether to write logs for it.
    progress, stop : told of each step; asked now and then whether to stop.
    """

    steps: int
    evaluate_every: int
    checkpoint_every: int
    best: tuple[str, ...]
    minutes: float | None
    tensorboard: bool
    progress: Tell | None
    stop: Callable[[], bool] | None


class Run:
    """One training in one folder."""

    def __init__(
        self, folder: Path, subject: Subject, algorithm: str, settings: Any, copies: int, about: Mapping[str, Any],
        keep: int, plan: Plan,
    ) -> None:  # fmt: skip
        self.folder, self.subject, self.about, self.plan = folder, subject, about, plan
        self.checkpoints = Checkpoints(folder / CHECKPOINTS, about, keep)
        self.rows: list[dict[str, Any]] = []
        self.rewards: list[float] = [0.0, 0.0]  # sum and number since the last evaluation
        self.copies = subject.copies(copies)
        self.model = make_model(algorithm, self.copies, settings, int(about["seed"]))
        self._begun, self._spent, self._resumed = time.monotonic(), 0.0, False

    def open(self, *, resume: bool, overwrite: bool) -> None:
        """Make the folder ready, and go to its last checkpoint if it is to be resumed."""
        there = (self.folder / RECORD).is_file()
        for scratch in self.folder.rglob(".*.part.*") if there else ():  # what a killed process left half-written
            scratch.unlink()
        if there and overwrite:
            for name in (CHECKPOINTS, LOGS):
                shutil.rmtree(self.folder / name, ignore_errors=True)
            for name in (POLICY, CURVE):
                (self.folder / name).unlink(missing_ok=True)
        elif there and not resume:
            raise ResultFileError(
                f"{self.folder} holds a training: give --resume to go on with it, --overwrite to begin anew, or choose "
                "another folder"
            )
        elif there and (kept := self.checkpoints.read(self.model, self.copies)) is not None:
            self.rows, self.rewards, self._resumed = kept["curve"], kept["rewards"], True
            self._spent = float(kept.get("seconds", 0.0))
            if (best := kept.get("policy")) is not None:  # the file's own evaluation may be yet to be made again
                with atomic.whole(self.folder / POLICY) as scratch:
                    scratch.write_bytes(b64decode(best))
        answer.write(self.folder, RECORD, self.about)

    def learn(self) -> Training:
        """Go on to the last step, or until the time is up."""
        model, steps = self.model, self.plan.steps
        done = model.num_timesteps
        if done < steps:
            with TensorBoard(model, self.folder / LOGS if self.plan.tensorboard else None, done) as self.board:
                with suppress(TimeIsUp), self._diverging():
                    model.learn(
                        steps - done, callback=_Watch(self), log_interval=None, reset_num_timesteps=not self._resumed
                    )
                self._check_finite()
                if not self.rows or self.rows[-1]["step"] != model.num_timesteps:
                    self.evaluate()
            self.save()
        curve = pd.DataFrame(self.rows)
        self._write_curve()
        return Training(self.folder, self.folder / POLICY, curve)

    @contextmanager
    def _diverging(self) -> Iterator[None]:
        """Say so in one line if weights that are no numbers are why something fails."""
        try:
            yield
        except (ValueError, FloatingPointError, InputError):
            self._check_finite()
            raise

    def _check_finite(self) -> None:
        if not all(bool(torch.isfinite(weights).all()) for weights in self.model.policy.parameters()):
            raise InputError(
                f"the training has diverged by step {self.model.num_timesteps}: a weight is no finite number. Begin "
                "anew with a smaller learning rate, or smaller costs in the reward"
            )

    def save(self) -> Path:
        """Write a checkpoint."""
        best = self.folder / POLICY
        policy = b64encode(best.read_bytes()).decode() if best.is_file() else None
        beside: dict[str, Any] = {"curve": self.rows, "rewards": self.rewards, "policy": policy}
        if self.plan.minutes is not None:  # else two equal trainings would differ in this file
            beside["seconds"] = self.seconds
        return self.checkpoints.write(self.model, self.copies, beside)

    @property
    def seconds(self) -> float:
        """What the training has taken, earlier sessions included if they were timed."""
        return self._spent + time.monotonic() - self._begun

    def evaluate(self) -> None:
        """Add a row to the curve; keep the policy if no row before was better."""
        policy = self.subject.policy(self.model, {**self.about, "step": self.model.num_timesteps})
        scores = self.subject.judge(policy)
        best = not scores or self._better(scores)
        total, count = self.rewards
        row: dict[str, Any] = {"step": self.model.num_timesteps, "reward": total / max(count, 1.0)}
        if hasattr(self.model, "exploration_rate"):
            row["exploration"] = self.model.exploration_rate
        named = {f"holdout_{name}": value for name, value in (scores or {"reward": float("nan")}).items()}
        self.rows.append({**row, **named, "best": bool(best)})
        self.rewards = [0.0, 0.0]
        if best:
            policy.save(self.folder / POLICY)
        self._write_curve()
        self.board.write({name: value for name, value in self.rows[-1].items() if name not in ("step", "best")})

    def _better(self, scores: Mapping[str, float]) -> bool:
        """Whether no network before was as good."""
        before = [row for row in self.rows if row["best"]]

        def order(of: Callable[[str], float]) -> list[float]:
            found = (-of(name[1:]) if name.startswith("-") else of(name) for name in self.plan.best)
            return [-math.inf if math.isnan(value) else value for value in found]  # no score is the worst

        return not before or order(scores.__getitem__) > order(lambda name: float(before[-1][f"holdout_{name}"]))

    def _write_curve(self) -> None:
        with atomic.whole(self.folder / CURVE) as scratch:
            pd.DataFrame(self.rows).to_csv(scratch, index=False)


class _Watch(BaseCallback):  # type: ignore[misc]
    """Stops, evaluates and saves between two rollouts of stable-baselines3, where its state is whole."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run, self._saved = run, run.model.num_timesteps

    def _on_rollout_start(self) -> None:
        run, plan, step = self._run, self._run.plan, self.model.num_timesteps
        done = run.rows[-1]["step"] if run.rows else 0
        if step // plan.evaluate_every > done // plan.evaluate_every:
            run.evaluate()
        stopping = plan.stop is not None and plan.stop()
        if stopping or step // plan.checkpoint_every > self._saved // plan.checkpoint_every:
            path, self._saved = run.save(), step
            if stopping:
                raise Stopped(step, path)
        if plan.minutes is not None and run.seconds >= 60 * plan.minutes:
            raise TimeIsUp

    def _on_step(self) -> bool:
        run, rewards = self._run, self.locals["rewards"]
        run.rewards = [run.rewards[0] + float(np.sum(rewards, dtype=float)), run.rewards[1] + len(rewards)]
        if run.plan.progress is not None:
            run.plan.progress(self.model.num_timesteps, run.rows[-1] if run.rows else {})
        return True


@contextmanager
def own_randomness() -> Iterator[None]:
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
