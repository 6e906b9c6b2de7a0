"""The long parts of the smart-meter reproduction, as pieces that processes of their own can do."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from feederlab.controllers.base import Controller
from feederlab.controllers.random_storage import RandomStorage
from feederlab.errors import ResultFileError
from feederlab.learn.smart_meter.accuracy import EstimationError, estimation_errors
from feederlab.learn.smart_meter.agents import Taught, household_folder
from feederlab.learn.smart_meter.controller import SmartMeterAgents
from feederlab.learn.smart_meter.history import MeterHistory
from feederlab.learn.smart_meter.household import Household
from feederlab.learn.smart_meter.lesson import AgentSettings, Lesson
from feederlab.learn.smart_meter.recording import record
from feederlab.learn.smart_meter.reward import RelaxedReward
from feederlab.learn.voltage_polynomial import fit_polynomial
from feederlab.models.arrays import FloatArray, IntArray
from feederlab.papers.smart_meter_case import bus_of, smart_meter_scenario
from feederlab.simulate import simulate
from feederlab.work import Steps

Days = tuple[pd.Timestamp, ...]


@dataclass(frozen=True)
class Errors:
    """How far the estimates at some nodes are off (`estimation_errors`)."""

    agents: int
    nodes: tuple[str, ...]
    fit: Days
    test: Days
    seed: int

    def __call__(self, done: Steps | None = None) -> list[EstimationError]:
        """Return a row for each node, behaviour and stage."""
        scenario = smart_meter_scenario(self.agents)
        buses = [bus_of(scenario, name) for name in self.nodes]
        return estimation_errors(scenario, buses, self.fit, self.test, seeds=[self.seed])


@dataclass(frozen=True)
class Recorded:
    """Records one household's days: its own storage explores, and all other storage rests."""

    agents: int
    node: str
    days: Days
    seed: int

    def __call__(self, done: Steps | None = None) -> MeterHistory:
        """Return what its meter says."""
        scenario = smart_meter_scenario(self.agents)
        bus = bus_of(scenario, self.node)
        units = scenario.feeder.storages
        own = int(units.index[units.bus == bus][0])
        return record(scenario, [bus], self.days, under=RandomStorage(active=str(own)), seed=self.seed)[bus]


@dataclass(frozen=True, eq=False)
class Lived:
    """What a controller did on some days.

    vm : (T, nodes) voltages (p.u.).  storage_p_mw : (T, units).  seconds : of the closed loop, decisions included.
    """

    vm: FloatArray
    storage_p_mw: FloatArray
    seconds: float


@dataclass(frozen=True)
class ClosedLoop:
    """Lives some days under a controller, each from the storage's energy in the net."""

    agents: int
    controller: Controller
    days: Days

    def __call__(self, done: Steps | None = None) -> Lived:
        """Return voltages and storage powers of all days, one after another."""
        scenario, vm, power = smart_meter_scenario(self.agents), [], []
        began = time.perf_counter()
        for day in self.days:
            data = simulate(scenario.days(day), self.controller).data
            vm.append(data["vm_pu"].to_numpy())
            power.append(data["storage_p_mw"].to_numpy())
            if done is not None:
                done(scenario.days(day).periods)
        return Lived(np.vstack(vm), np.vstack(power), time.perf_counter() - began)


@dataclass(frozen=True)
class Polynomials:
    """Fits the predictor F_v of the program (35)-(38) on days of agents that no one coordinates."""

    agents: int
    policies: str
    start: pd.Timestamp
    days: int
    order: int
    path: str

    def __call__(self, done: Steps | None = None) -> str:
        """Return the file."""
        history = smart_meter_scenario(self.agents).days(self.start, self.days)
        fitted = fit_polynomial(history, SmartMeterAgents(self.policies), neighbours="line", order=self.order)
        return str(fitted.save(Path(self.path)))


@dataclass(frozen=True, eq=False)
class Trained:
    """A central training.  reward : (days,) of its policy on the test days, per step, all units together."""

    seconds: float
    reward: FloatArray
    in_band: float
    use_mwh: float


@dataclass(frozen=True)
class Central:
    """Trains one agent for all storage on the true grid, and judges it on unseen days."""

    agents: int
    train: Days
    test: Days
    settings: AgentSettings
    seed: int

    def __call__(self, done: Steps | None = None) -> Trained:
        """Return the time that it took, and how good it is."""
        from stable_baselines3.common.vec_env import DummyVecEnv

        from feederlab.learn.smart_meter.agent import ppo
        from feederlab.learn.smart_meter.central import CentralEnv

        scenario, settings = smart_meter_scenario(self.agents), self.settings
        began = time.perf_counter()
        copies = [CentralEnv(scenario, list(self.train), settings.reward) for _ in range(settings.copies)]
        actor, _ = ppo(DummyVecEnv([lambda env=env: env for env in copies]), settings, self.seed)
        seconds = time.perf_counter() - began
        env, rewards, inside, use = copies[0], [], [], 0.0
        for day in self.test:
            seen, _ = env.reset(options={"day": day, "soc": scenario.feeder.storages.soc})
            over, total = False, []
            while not over:
                seen, reward, _, over, info = env.step(actor(seen[None])[0])
                total.append(reward)
                inside.append(info["in_band"])
                use += info["use_mwh"]
            rewards.append(float(np.mean(total)))
        return Trained(seconds, np.array(rewards), float(np.mean(inside)), use)


@dataclass(frozen=True)
class Race:
    """Takes the time of PPO on one household's own environment, and on the grid, one after another in one process.

    One copy each and one thread, as P0 has it.  steps : of each training; slow : of the one on pandapower.
    """

    agents: int
    history: MeterHistory
    train: Days
    settings: AgentSettings
    steps: int
    slow: int

    def __call__(self, done: Steps | None = None) -> dict[str, float]:
        """Return seconds per step of each, the seconds that the voltage model took, and flows per step."""
        from stable_baselines3.common.vec_env import DummyVecEnv

        from feederlab.learn.smart_meter.agent import ppo
        from feederlab.learn.smart_meter.central import CentralEnv
        from feederlab.learn.smart_meter.estimate import fit_voltage_model
        from feederlab.learn.smart_meter.rehearsal import Rehearsal
        from feederlab.learn.smart_meter.vector import SmartMeterVecEnv

        scenario, found = smart_meter_scenario(self.agents), dict[str, float]()
        one = replace(self.settings, copies=1, rollout=min(256, self.slow))
        began = time.perf_counter()
        model = fit_voltage_model(self.history, stages=one.stages)
        found["fit"] = time.perf_counter() - began
        envs: dict[str, tuple[Any, int]] = {
            "local": (SmartMeterVecEnv(Rehearsal(self.history, model, one.reward, one.band)), self.steps)
        }
        for name, flow, steps in (("engine", "auto", self.steps), ("pandapower", "pandapower", self.slow)):
            env = CentralEnv(scenario, list(self.train), one.reward, flow)
            envs[name] = (DummyVecEnv([lambda env=env: env]), steps)
        ppo(envs["local"][0], replace(one, steps=one.rollout), 0)  # what is imported and compiled once counts for none
        for name, (env, steps) in envs.items():
            began = time.perf_counter()
            ppo(env, replace(one, steps=steps), 0)
            found[name] = (time.perf_counter() - began) / steps
        return found


def reward_of(agents: int, lived: Lived, reward: RelaxedReward, band: tuple[float, float]) -> FloatArray:
    """Return (T,) the units' rewards (28) at the true voltages, summed."""
    units = smart_meter_scenario(agents).feeder.storages
    share = lived.storage_p_mw / np.where(lived.storage_p_mw > 0, units.p_max_mw, -units.p_min_mw)
    found: FloatArray = reward(lived.vm[:, units_at(agents)], share, *band).sum(axis=1)
    return found


def units_at(agents: int) -> IntArray:
    """Return the columns of `Lived.vm` at which storage units stand, in their order."""
    feeder = smart_meter_scenario(agents).feeder
    return np.array([int(np.flatnonzero(feeder.bus_index == bus)[0]) for bus in feeder.storages.bus])


def gap_between(test: Days) -> tuple[pd.Timestamp, int]:
    """Return the first day and the length (at most 24) of a stretch that no test day lies in, in spring if there is."""
    year = [pd.Timestamp("2016-01-01"), *test, pd.Timestamp("2016-12-31")]
    free = [(a + pd.Timedelta(days=1), (b - a).days - 1) for a, b in pairwise(year)]
    long = [gap for gap in free if gap[1] >= 10] or [max(free, key=lambda gap: gap[1])]
    start, length = min(long, key=lambda gap: abs((gap[0] - pd.Timestamp("2016-03-20")).days))
    return start, min(length, 24)


def left(folder: Path, bus: int, lesson: Lesson) -> Taught | None:
    """Return what an earlier run's agent made of this lesson, None if it was another or did not come to its end."""
    here = household_folder(folder, bus)
    try:
        if Household.load(here).training != lesson.record():
            return None
        return Taught(here, json.loads((here / "log.json").read_text(encoding="utf-8")), math.nan)
    except (OSError, ValueError, ResultFileError):
        return None


def folders(base: Path, agents: int, seed: int) -> Path:
    """Return where the households of a case and seed are kept."""
    return base / f"{agents}-agents-{seed}"


def controllers(policies: str, polynomials: str, betas: tuple[float, ...]) -> Mapping[str, Controller]:
    """Return the deployed controllers by the name of their row."""
    from feederlab.controllers.coordination import Coordination

    agents = SmartMeterAgents(policies)
    found: dict[str, Controller] = {f"beta = {beta:g}": replace(agents, beta=beta) for beta in betas}
    found["QP, polynomials, neighbours on the line"] = Coordination(agents, "polynomial", "line", file=polynomials)
    found["QP, true grid"] = Coordination(agents, "exact")
    return found
