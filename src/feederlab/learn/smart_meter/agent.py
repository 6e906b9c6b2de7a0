"""One household's agent: ``python -m feederlab.learn.smart_meter.agent LESSON OUT`` learns in a process of its own.

What it reads is the folder LESSON (`Lesson`), what it writes the folder OUT: the household's policy and voltage model
(`Household`), and ``log.json``. It is given nothing else and asks for nothing else.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from feederlab.atomic import write_text
from feederlab.errors import FeederlabError
from feederlab.learn.extra import need
from feederlab.learn.policies.actor import Actor
from feederlab.learn.smart_meter.estimate import fit_voltage_model
from feederlab.learn.smart_meter.household import Household
from feederlab.learn.smart_meter.lesson import AgentSettings, Lesson

need("torch", "stable_baselines3", "gymnasium", "safetensors")
import torch  # noqa: E402
from stable_baselines3 import PPO  # noqa: E402
from stable_baselines3.common.callbacks import BaseCallback  # noqa: E402
from stable_baselines3.common.vec_env import VecEnv  # noqa: E402

from feederlab.learn.smart_meter.rehearsal import Rehearsal  # noqa: E402
from feederlab.learn.smart_meter.vector import SmartMeterVecEnv  # noqa: E402

LOG = "log.json"


@dataclass(frozen=True, eq=False)
class Learnt:
    """What a household has learnt.

    log : ``fit_s``, ``train_s``: seconds for the voltage model and for PPO; ``steps``; ``curve``: mean reward of a
    step in every rollout.
    """

    household: Household
    log: dict[str, Any]


def learn(lesson: Lesson) -> Learnt:
    """Fit the voltage model, and let PPO learn on it.

    It seeds the process's global random generators (as stable-baselines3 does) and takes one thread: in a process of
    its own, equal lessons give equal weights to the last bit.
    """
    settings = lesson.settings
    began = time.perf_counter()
    model = fit_voltage_model(lesson.history, seed=lesson.seed, stages=settings.stages)
    fitted = time.perf_counter()
    rehearsal = Rehearsal(lesson.history, model, settings.reward, settings.band, copies=settings.copies)
    actor, curve = ppo(SmartMeterVecEnv(rehearsal), settings, lesson.seed)
    done = time.perf_counter()
    made = {name: version(name) for name in ("feederlab", "torch", "stable-baselines3", "gymnasium", "numpy")}
    household = Household(
        actor, rehearsal.sight, model, rehearsal.battery, lesson.history.step_s, settings.band, lesson.record(), made
    )  # fmt: skip
    log = {"fit_s": fitted - began, "train_s": done - fitted, "steps": settings.steps, "curve": curve}
    return Learnt(household, log)


def ppo(env: VecEnv, settings: AgentSettings, seed: int) -> tuple[Actor, list[float]]:
    """Return the network that PPO makes of an environment, and the mean reward of a step in every rollout."""
    torch.set_num_threads(1)
    model = PPO(
        "MlpPolicy", env, seed=seed, device="cpu", gamma=settings.discount, learning_rate=settings.learning_rate,
        n_steps=settings.rollout // env.num_envs, batch_size=settings.batch, n_epochs=settings.epochs,
        gae_lambda=settings.gae_lambda, clip_range=settings.clip, ent_coef=settings.entropy,
        policy_kwargs={"net_arch": list(settings.hidden), "log_std_init": settings.log_std},
    )  # fmt: skip
    watch = _Rewards()
    model.learn(settings.steps, callback=watch)
    policy = model.policy
    linear = [m for m in (*policy.mlp_extractor.policy_net, policy.action_net) if isinstance(m, torch.nn.Linear)]
    layers = tuple(
        (m.weight.detach().numpy().astype(np.float32), m.bias.detach().numpy().astype(np.float32)) for m in linear
    )  # fmt: skip
    return Actor(layers, "tanh", "clip"), watch.means


class _Rewards(BaseCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.means: list[float] = []
        self._taken: list[float] = []

    def _on_step(self) -> bool:
        self._taken.append(float(np.mean(self.locals["rewards"])))
        return True

    def _on_rollout_end(self) -> None:
        self.means.append(float(np.mean(self._taken)))
        self._taken = []


def main(lesson: str, out: str) -> None:
    """Learn what the folder `lesson` holds, and write the answer to the folder `out`, the log last."""
    learnt = learn(Lesson.load(lesson))
    learnt.household.save(out)
    write_text(Path(out) / LOG, json.dumps(learnt.log) + "\n")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except FeederlabError as error:  # what its household has to know stands in one line
        sys.exit(f"{type(error).__name__}: {error}")
