"""What local controllers propose, as a vector of actions within what the devices can do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from feederlab.controllers.base import ControlTask, Decision, Measurement, Setpoints, State
from feederlab.controllers.ladder import complete, initial_memory
from feederlab.controllers.rating import headroom
from feederlab.controllers.storage_rating import power_range
from feederlab.models.arrays import ComplexArray, FloatArray
from feederlab.models.predictors.actions import KINDS, Actions, Limits

_P, _Q = 1, 0  # places in `KINDS` of the inverters' powers
_STORAGE_P, _STORAGE_Q = 2, 3


@dataclass(frozen=True, eq=False)
class Proposal:
    """One step's proposal.

    asked : the local controllers' setpoints.  actions : those that take part.  limits : of the actions.
    wanted, present : (k,) proposed and measured actions (MW, MVAr).
    rest_mva : (nodes,) injection of everything else once the step is taken (MVA).
    """

    asked: Setpoints
    actions: Actions
    limits: Limits
    wanted: FloatArray
    present: FloatArray
    rest_mva: ComplexArray

    def setpoints(self, actions: FloatArray, info: Decision) -> Setpoints:
        """Return the local controllers' setpoints with `actions` in place of what they proposed."""
        changed: dict[str, Any] = {}
        for kind in np.unique(self.actions.kind):
            name, mine = KINDS[kind], self.actions.kind == kind
            values = np.array(getattr(self.asked, name), dtype=float)
            values[self.actions.device[mine]] = actions[mine]
            changed[name] = values
        return replace(self.asked, info=info, **changed)


class Proposals:
    """Reads proposals of one task, with beta.

    What it remembers is the last reading of every quantity: `ladder.initial_memory`, and the storage units'.
    """

    def __init__(self, task: ControlTask, beta: float) -> None:
        self._task, self._beta, units = task, beta, task.storages
        start = units.soc * units.e_max_mwh
        self._e_min = start + beta * (units.e_min_mwh - start)
        self._e_max = start + beta * (units.e_max_mwh - start)
        self._local = task.feeder is None  # then nothing is predicted: no reading of the grid needs to be kept

    def initial_state(self) -> State:
        units = len(self._task.storages)
        storage = {
            "soc": np.array(self._task.storages.soc), "storage_p_mw": np.zeros(units),
            "storage_q_mvar": np.zeros(units),
        }  # fmt: skip
        return storage if self._local else {**initial_memory(self._task), **storage}

    def complete(self, measurement: Measurement, state: State) -> tuple[Measurement, State]:
        """Return the measurement with the last reading where one is lost, and the state that remembers it."""
        storage = {
            name: np.where(np.isfinite(getattr(measurement, name)), getattr(measurement, name), state[name])
            for name in ("soc", "storage_p_mw", "storage_q_mvar")
        }
        if self._local:
            return replace(measurement, **storage), storage
        seen, memory = complete(measurement, {k: v for k, v in state.items() if k != "inner"})
        return replace(seen, **storage), {**memory, **storage}

    def shown(self, measurement: Measurement) -> Measurement:
        """Return what the local controllers are shown: units of beta times the power and energy."""
        if self._beta == 1:
            return measurement
        units, beta = self._task.storages, self._beta
        soc = units.soc + (measurement.soc - units.soc) / beta
        soc = np.clip(soc, units.e_min_mwh / units.e_max_mwh, 1.0)
        return replace(
            measurement, soc=soc, storage_p_mw=measurement.storage_p_mw / beta,
            storage_q_mvar=measurement.storage_q_mvar / beta,
        )  # fmt: skip

    def read(self, asked: Setpoints, seen: Measurement) -> Proposal:
        """Return the proposal in `asked`; `seen` has no gaps but voltages never read."""
        task, inverters, units = self._task, self._task.inverters, self._task.storages
        taken = [getattr(asked, name) is not None for name in KINDS]
        offered = np.minimum(np.maximum(np.nan_to_num(seen.p_available_mw), 0.0), inverters.s_mva)
        now = {
            _Q: np.nan_to_num(seen.q_mvar), _P: np.minimum(np.nan_to_num(seen.p_mw), offered),
            _STORAGE_P: seen.storage_p_mw, _STORAGE_Q: seen.storage_q_mvar,
        }  # fmt: skip
        least, most = power_range(units, seen.soc, task.step_s / 3600, self._e_min, self._e_max)
        # What is not decided stays, as far as the devices can: the plant cuts active power first.
        p_stays = offered
        q_room = inverters.s_mva if taken[_P] else headroom(p_stays, inverters.s_mva)
        q_stays = np.clip(now[_Q], -q_room, q_room)
        storage_p_stays = np.clip(now[_STORAGE_P], least, most)
        storage_room = units.s_mva if taken[_STORAGE_P] else headroom(storage_p_stays, units.s_mva)
        storage_q_stays = np.clip(now[_STORAGE_Q], -storage_room, storage_room)
        p_high = offered if taken[_Q] else np.minimum(offered, headroom(q_stays, inverters.s_mva))
        spare = units.s_mva if taken[_STORAGE_Q] else headroom(storage_q_stays, units.s_mva)
        low = {
            _Q: -q_room,
            _P: np.zeros(len(inverters)),
            _STORAGE_P: np.maximum(least, -spare),
            _STORAGE_Q: -storage_room,
        }
        high = {_Q: q_room, _P: p_high, _STORAGE_P: np.minimum(most, spare), _STORAGE_Q: storage_room}
        share = {_Q: self._beta, _P: 1.0, _STORAGE_P: self._beta, _STORAGE_Q: self._beta}
        kinds, devices = [], []
        for kind, table in ((_Q, inverters), (_P, inverters), (_STORAGE_P, units), (_STORAGE_Q, units)):
            rows = np.flatnonzero((table.node >= 0) & (table.s_mva > 0)) if taken[kind] else np.zeros(0, np.int64)
            kinds.append(np.full(len(rows), kind))
            devices.append(rows)

        def gathered(by_kind: dict[int, FloatArray]) -> FloatArray:
            return np.concatenate([by_kind[kind][rows] for kind, rows in enumerate(devices)])

        node = np.concatenate([(inverters if k < _STORAGE_P else units).node[rows] for k, rows in enumerate(devices)])
        actions = Actions.of(np.concatenate(kinds).astype(np.int64), np.concatenate(devices), node)
        ratings = {_Q: inverters.s_mva, _P: inverters.s_mva, _STORAGE_P: units.s_mva, _STORAGE_Q: units.s_mva}
        limits = Limits.of(actions, gathered(low), gathered(high), gathered(ratings))
        present = gathered(now)
        given = {
            kind: share[kind] * np.asarray(getattr(asked, name), dtype=float) if taken[kind] else now[kind]
            for kind, name in enumerate(KINDS)
        }
        wanted = gathered(given)
        wanted = limits.clip(np.where(np.isfinite(wanted), wanted, present))
        rest = -(seen.load_p_mw + 1j * seen.load_q_mvar)
        stays = [q_stays * 1j, p_stays + 0j, -storage_p_stays + 0j, -1j * storage_q_stays]
        for kind, (power, is_taken) in enumerate(zip(stays, taken, strict=True)):
            table = inverters if kind < _STORAGE_P else units
            on = (table.node >= 0) & ((table.s_mva <= 0) | (not is_taken))
            np.add.at(rest, table.node[on], power[on])
        return Proposal(asked, actions, limits, wanted, present, rest)
