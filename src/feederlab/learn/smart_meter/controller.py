"""`SmartMeterAgents`: storage units, each worked by the policy that its own household has learnt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from feederlab.controllers.base import (
    LOCAL,
    Controller,
    ControlTask,
    Decision,
    Information,
    Measurement,
    Prepared,
    Setpoints,
    State,
)
from feederlab.errors import InputError, ResultFileError
from feederlab.learn.smart_meter.agents import household_folder
from feederlab.learn.smart_meter.household import POLICY, Household
from feederlab.learn.smart_meter.known import Known
from feederlab.learn.smart_meter.memory import Memory, battery_of, power_of
from feederlab.models.arrays import FloatArray


@dataclass(frozen=True)
class SmartMeterAgents(Controller):
    """Every storage unit acts on its own meter by its own policy: P0's agents, deployed.

    policies : folder with a household for each unit, ``bus-B`` for the one at pandapower bus B (`train_agents`).
    beta : a~ = beta a (33), and the energy that a unit may use shrinks alike, about its SOC at the start (34).
    (``coordination:beta`` does the same to any rule, but hides from it what its battery truly draws, which a household
    needs to know the grid behind its meter.)

    In every step an agent reads its demand and SOC, expects a voltage V~ for the unit at rest from its last readings
    (`VoltageModel`), and takes the action of its network.  When the grid has answered, it reads its meter: voltage,
    and the power through it.  A lost reading is not taken into account.  Where it is not asked a second time in a step
    (by a wrapper of others), what the meter reads before the next decision stands for that.  It moves active power
    only.
    """

    policies: str = ""
    beta: float = 1.0
    sees: ClassVar[Information] = LOCAL

    def __post_init__(self) -> None:
        if not 0 < self.beta <= 1:
            raise InputError(f"smart_meter: beta must lie above 0 and be at most 1, not {self.beta}")

    @property
    def reads(self) -> tuple[str, ...]:
        folders = Path(self.policies).glob("bus-*") if self.policies else ()
        return tuple(sorted(str(folder / POLICY) for folder in folders if (folder / POLICY).is_file()))

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Read the policies.

        Raises
        ------
        ResultFileError
            If there is no such folder, or a policy is damaged.
        InputError
            If no folder is named, a unit has no policy in it, or one was taught for another unit or step.
        """
        if not self.policies:
            raise InputError(
                "smart_meter needs policies=FOLDER, in which train_agents has put a household for each unit"
            )
        if not Path(self.policies).is_dir():
            raise ResultFileError(f"cannot read the policies {self.policies}: there is no such folder")
        agents: list[_Agent | None] = []
        for row, (bus, node) in enumerate(zip(task.storages.bus.tolist(), task.storages.node.tolist(), strict=True)):
            folder = household_folder(self.policies, bus)
            if node < 0:
                agents.append(None)
                continue
            if not folder.is_dir():
                raise InputError(
                    f"smart_meter: no policy for the storage at bus {bus} in {self.policies!r} (no folder "
                    f"{folder.name}; there are {_listed(Path(self.policies))}); train one with train_agents"
                )
            household = Household.load(folder)
            household.check(battery_of(task.storages, row), task.step_s, f"bus {bus}")
            agents.append(_Agent(household, task, row, self.beta))
        return _Prepared(agents, task)


class _Prepared(Prepared):
    def __init__(self, agents: list[_Agent | None], task: ControlTask) -> None:
        self._agents, self._task = agents, task

    def initial_state(self) -> State:
        units = self._task.storages
        zero = np.zeros(len(units))
        return {
            "soc": np.array(units.soc), "asked": zero, "cut": zero, "met": zero, "waiting": zero,
            "demand": np.zeros((len(units), 2)), "past": np.zeros((len(units), 2)), "vm": np.ones((len(units), 2)),
            "p": np.zeros((len(units), 2)), "q": np.zeros((len(units), 2)), "z": np.zeros((len(units), 2)),
        }  # fmt: skip

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        first = measurement.settle_round == 0
        after: dict[str, FloatArray] = {name: np.array(values, dtype=float) for name, values in state.items()}
        for row, agent in enumerate(self._agents):
            if agent is None:
                continue
            own = {name: values[row].copy() for name, values in after.items()}
            own = agent.decide(own, measurement) if first else agent.take(own, measurement)
            for name, values in after.items():
                values[row] = own[name]
        info = Decision(solver="smart_meter", clipped=int(after["cut"].sum()))
        return Setpoints(storage_p_mw=after["asked"].copy(), info=info, again=first and bool(len(self._agents))), after


class _Agent:
    """One household.  What it is given of the state is its own row.

    soc : last reading.  asked : its setpoint (MW).  cut : whether its network asked for more than the rate.
    demand : present P^D, Q^D (MW, MVAr).  past : demand P^D of the last two steps.
    vm, p, q : (2,) the meter's last two readings.  z : believed impedance, real and imaginary part.
    met : whether there was any reading yet.  waiting : whether the last decision's reading is still to come.
    """

    def __init__(self, household: Household, task: ControlTask, row: int, beta: float) -> None:
        self._household, self._row, self._beta = household, row, beta
        self._node = int(task.storages.node[row])
        self._behind = np.flatnonzero(task.inverters.node == self._node)  # PV behind the same meter
        self._battery, self._step_h = battery_of(task.storages, row), task.step_s / 3600

    def decide(self, own: dict[str, Any], m: Measurement) -> dict[str, Any]:
        """Return the row after a decision."""
        own = self._look(own, m)
        if own["waiting"] or not own["met"]:
            own = self._read(own, m)
        household, battery = self._household, self._battery
        known = _known(own).now(*own["demand"])
        expected = float(household.model.predict(0.0, known))
        stored = self._energy(float(own["soc"]))
        memory = Memory(np.asarray(stored), own["vm"], own["past"])
        mean = float(household.actor.mean(household.sight.read(memory.state(battery, own["demand"][0], expected)))[0])
        p = float(power_of(battery, min(max(mean, -1.0), 1.0), stored, self._step_h))
        low, high = battery.allowed(float(own["soc"]) * battery.e_max_mwh, self._step_h)
        own["asked"], own["cut"] = min(max(self._beta * p, float(low)), float(high)), float(abs(mean) > 1)
        own["waiting"] = 1.0
        return own

    def take(self, own: dict[str, Any], m: Measurement) -> dict[str, Any]:
        """Return the row after the grid has answered a decision, which stands."""
        return self._read(own, m) if own["waiting"] else own

    def _look(self, own: dict[str, Any], m: Measurement) -> dict[str, Any]:
        """Note demand and SOC; what was lost stays as it was."""
        demand = m.load_p_mw[self._node] + 1j * m.load_q_mvar[self._node]
        demand -= (m.p_mw + 1j * m.q_mvar)[self._behind].sum()
        if np.isfinite(demand):
            own["demand"] = np.array([demand.real, demand.imag])
        soc = m.soc[self._row]
        if np.isfinite(soc):
            own["soc"] = min(max(float(soc), 0.0), 1.0)
        return own

    def _read(self, own: dict[str, Any], m: Measurement) -> dict[str, Any]:
        """Note a reading of the meter."""
        vm, power = float(m.vm[self._node]), float(m.storage_p_mw[self._row])
        p, q = own["demand"][0] + power, own["demand"][1]
        own["waiting"] = 0.0
        if not (np.isfinite([vm, p, q]).all() and vm > 0):
            return own
        guard = self._household.model.guard
        known = _known(own).then(vm, p, q, guard) if own["met"] else Known.first(vm, p, q, guard)
        own |= {"vm": known.vm, "p": known.p_mw, "q": known.q_mvar, "z": np.array([known.z.real, known.z.imag])}
        own["past"] = np.array([own["demand"][0], own["past"][0] if own["met"] else own["demand"][0]])
        own["met"] = 1.0
        return own

    def _energy(self, soc: float) -> float:
        """Return the energy (MWh) that the household is shown at a true SOC: (34)."""
        battery = self._battery
        shown = battery.e_start_mwh + (soc * battery.e_max_mwh - battery.e_start_mwh) / self._beta
        return min(max(shown, battery.e_min_mwh), battery.e_max_mwh) if self._beta < 1 else soc * battery.e_max_mwh


def _known(own: dict[str, Any]) -> Known:
    z = np.asarray(complex(own["z"][0], own["z"][1]))
    return Known(np.asarray(own["demand"][0]), np.asarray(own["demand"][1]), own["vm"], own["p"], own["q"], z)


def _listed(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.glob("bus-*"))[:12]) or "none"
