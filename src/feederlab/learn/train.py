"""`train`: learn in an environment on some days, be judged on others; may be interrupted and resumed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from feederlab import answer
from feederlab.controllers.base import Controller
from feederlab.errors import InputError, UnknownNameError
from feederlab.learn.days import Days
from feederlab.learn.environments import CAPACITORS, VOLT_VAR
from feederlab.learn.extra import need
from feederlab.learn.settings import SETTINGS, DqnSettings, Settings
from feederlab.learn.training.algorithms import check_fit
from feederlab.learn.training.run import (
    CURVE,
    POLICY,
    RECORD,
    Plan,
    Run,
    Stopped,
    Tell,
    Training,
    own_randomness,
)
from feederlab.learn.training.subject import Subject
from feederlab.lock import held
from feederlab.models.scenario import Scenario

need("torch", "stable_baselines3", "gymnasium", "safetensors")

__all__ = ["CURVE", "KIND", "POLICY", "RECORD", "STEPS", "Stopped", "Tell", "Training", "train", "train_dqn"]
KIND = "training"
STEPS = {"ppo": 500_000, "sac": 30_000, "td3": 30_000, "dqn": 15_000}
"""Algorithm -> how many steps it learns from unless told otherwise."""
ENVIRONMENTS = {"ppo": VOLT_VAR, "sac": VOLT_VAR, "td3": VOLT_VAR, "dqn": CAPACITORS}
"""Algorithm -> the environment it learns in unless told otherwise."""
_COPIES = {"ppo": 64, "sac": 16, "td3": 16}  # of VoltVar; elsewhere copies cost as much as steps
_SELDOM = 50_000  # steps between evaluations and checkpoints at most, however long the training


def train(
    algorithm: str,
    scenario: Scenario | None,
    out: str | Path,
    *,
    env: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    days: int | Days = 20,
    holdout: int | Days = 3,
    steps: int | None = None,
    seed: int = 0,
    settings: Settings | None = None,
    copies: int | None = None,
    best: str | Sequence[str] = "reward",
    minutes: float | None = None,
    evaluate_every: int = 0,
    checkpoint_every: int = 0,
    keep: int = 3,
    tensorboard: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    progress: Tell | None = None,
    stop: Callable[[], bool] | None = None,
) -> Training:
    """Train a policy in an environment.

    Parameters
    ----------
    algorithm
        ``"ppo"``, ``"sac"``, ``"td3"`` (continuous actions) or ``"dqn"`` (discrete ones; PPO takes both).
    scenario
        Feeder and profiles; None for an environment that takes none.
    out
        Folder for the policy, the evaluation curve and the checkpoints.
    env, arguments
        Id of the environment (default: `ENVIRONMENTS`), and its arguments, scenario and days aside.
    days, holdout
        Days to train on and days to judge by: dates, or how many to draw from the scenario's.
    steps
        Transitions to learn from, all copies together (default: `STEPS`).  PPO ends with a whole rollout.
    settings
        `PpoSettings`, `SacSettings`, `Td3Settings` or `DqnSettings`.
    copies
        How many environments live side by side (default: 64 of VoltVar for PPO, 16 for SAC and TD3, else 1).
    best
        Which network is kept: of ``reward`` and the scores in the environment's ``info``, means on the held-out days,
        the first one first; a leading ``-`` where less is better: ``"in_band,-losses_mw"``.
    minutes
        Stop, evaluate and save after so much wall-clock time, evaluations and earlier sessions with a limit included.
    evaluate_every, checkpoint_every
        Steps between two evaluations and between two checkpoints (0: a tenth of `steps`, 50,000 at most); `keep` of
        those are kept.  Both take place between two rollouts.
    tensorboard
        Write logs to ``out/tensorboard``.
    resume, overwrite
        Go on with the training in `out`: the result is that of one never interrupted, bit by bit; or discard it.
    progress, stop
        Told of each step; asked before each rollout whether to stop.

    Raises
    ------
    UnknownNameError, InputError
        If algorithm, environment, arguments, days or settings do not fit each other or do not exist.
    ResultFileError
        If `out` holds something else, a training that is neither to be resumed nor discarded, or a damaged checkpoint,
        or another process is at work in it.
    Stopped
        If `stop` said so.
    """
    if algorithm not in SETTINGS:
        raise UnknownNameError("algorithm", algorithm, [*SETTINGS])
    chosen, folder = settings or SETTINGS[algorithm](), Path(out)
    if not isinstance(chosen, SETTINGS[algorithm]):
        raise InputError(f"{algorithm} learns by {SETTINGS[algorithm].__name__}, not {type(chosen).__name__}")
    name = env or ENVIRONMENTS[algorithm]
    steps = STEPS[algorithm] if steps is None else steps
    copies = (_COPIES.get(algorithm, 1) if name == VOLT_VAR else 1) if copies is None else copies
    seldom = max(min(steps // 10, _SELDOM), 1)
    evaluate_every, checkpoint_every = evaluate_every or seldom, checkpoint_every or seldom
    for what, value in (("steps", steps), ("copies", copies), ("evaluate_every", evaluate_every),
                        ("checkpoint_every", checkpoint_every), ("keep", keep)):  # fmt: skip
        if value < 1:
            raise InputError(f"{what} must be at least 1, not {value}")
    if minutes is not None and not 0 < minutes < math.inf:
        raise InputError(f"the minutes must be a positive number, not {minutes}")
    if seed < 0:
        raise InputError(f"the seed must not be negative, not {seed}")
    if resume and overwrite:
        raise InputError("resume goes on with a training, overwrite discards it: give one of them")
    if tensorboard:
        need("tensorboard")
    subject = _subject(name, scenario, arguments or {}, days, holdout, seed)
    check_fit(algorithm, name, *subject.spaces)
    scores = _scores(best, subject)
    about = _question(algorithm, subject, chosen, steps, seed, copies, evaluate_every, scores)
    plan = Plan(steps, evaluate_every, checkpoint_every, scores, minutes, tensorboard, progress, stop)
    with own_randomness():
        run = Run(folder, subject, algorithm, chosen, copies, about, keep, plan)
        answer.check_folder(folder, RECORD, about, overwrite=True)  # what it holds, if anything, is ours
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder):
            run.open(resume=resume, overwrite=overwrite)
            return run.learn()


def train_dqn(
    scenario: Scenario,
    out: str | Path,
    *,
    fast: Controller | str = "lindistflow",
    every: str = "5min",
    settings: DqnSettings | None = None,
    **more: Any,
) -> Training:
    """Train a DQN to switch the capacitor banks of a scenario (P3), whose step is the slot.

    fast, every : the controller that acts in every slot, and the length of an interval, as in `CapacitorsEnv`.
    more : as in `train`.
    """
    return train("dqn", scenario, out, arguments={"fast": fast, "every": every}, settings=settings, **more)


def _scores(best: str | Sequence[str], subject: Subject) -> tuple[str, ...]:
    """Return the scores by which the best network is kept."""
    wanted = tuple(part.strip() for part in best.split(",")) if isinstance(best, str) else tuple(best)
    known = subject.scores if wanted != ("reward",) else wanted
    for name in wanted:
        if name.removeprefix("-") not in known:
            raise UnknownNameError("score of the held-out days", name.removeprefix("-"), known)
    return wanted


def _subject(
    name: str, scenario: Scenario | None, arguments: Mapping[str, Any], days: int | Days, holdout: int | Days, seed: int
) -> Subject:
    from feederlab.learn.training.any_env import AnySubject
    from feederlab.learn.training.capacitors import CapacitorsSubject
    from feederlab.learn.training.volt_var import VoltVarSubject

    if name not in (CAPACITORS, VOLT_VAR):
        return AnySubject(name, scenario, arguments, days, holdout, seed)
    if scenario is None:
        raise InputError(f"{name} needs a scenario (feederlab scenarios lists them)")
    own = CapacitorsSubject if name == CAPACITORS else VoltVarSubject
    return own(scenario, arguments, days, holdout, seed)


def _question(
    algorithm: str, subject: Subject, settings: Settings, steps: int, seed: int, copies: int, evaluate_every: int,
    best: tuple[str, ...],
) -> dict[str, Any]:  # fmt: skip
    """Return, JSON-ready, all that the result depends on."""
    own = subject.identity()
    learnt_by = {name: version(name) for name in ("torch", "stable-baselines3", "gymnasium")}
    return answer.question(
        KIND, method=algorithm, environment=subject.name, **{**own, "versions": own["versions"] | learnt_by},
        days=[str(day.date()) for day in subject.days], holdout=[str(day.date()) for day in subject.unseen],
        steps=steps, seed=seed, copies=copies, evaluate_every=evaluate_every, best=list(best),
        settings=settings.to_dict(),
    )  # fmt: skip
