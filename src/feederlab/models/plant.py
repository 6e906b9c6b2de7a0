"""One step of the plant: what devices can do now, and what the grid does with it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.feeder import Feeder
from feederlab.models.powerflow.base import PowerFlow, Solution

_TOLERANCE = 1e-9  # MW, MVAr: below this a clipped setpoint is rounding, not a refusal


@dataclass(frozen=True, eq=False)
class DeviceState:
    """What every device does.

    p_mw, q_mvar : (inverters,) injection.  storage_p_mw, storage_q_mvar : (storages,) charging positive.
    soc : (storages,) 0..1.  tap : (tap changers,).  step : (capacitor banks,).
    """

    p_mw: FloatArray
    q_mvar: FloatArray
    storage_p_mw: FloatArray
    storage_q_mvar: FloatArray
    soc: FloatArray
    tap: IntArray
    step: IntArray

    @classmethod
    def initial(cls, feeder: Feeder) -> DeviceState:
        """Return the devices as the net has them, inverters and storage at zero."""
        inverters, storages = len(feeder.inverters), len(feeder.storages)
        return cls(
            p_mw=np.zeros(inverters), q_mvar=np.zeros(inverters),
            storage_p_mw=np.zeros(storages), storage_q_mvar=np.zeros(storages),
            soc=np.array(feeder.storages.soc), tap=np.array(feeder.tap_changers.tap),
            step=np.array(feeder.capacitors.step),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Wanted:
    """Setpoints as a controller asks for them; None leaves a device as it is (inverter p: all that is available)."""

    q_mvar: FloatArray | None = None
    p_mw: FloatArray | None = None
    storage_p_mw: FloatArray | None = None
    storage_q_mvar: FloatArray | None = None
    tap: IntArray | None = None
    step: IntArray | None = None


class Plant:
    """A feeder with its devices on a power-flow engine."""

    def __init__(self, feeder: Feeder, flow: PowerFlow, step_h: float) -> None:
        self.feeder, self.flow, self.step_h = feeder, flow, step_h
        self._inverter_node = np.maximum(feeder.inverters.node, 0)
        self._inverter_on = (feeder.inverters.node >= 0).astype(float)
        self._alone = len(np.unique(self._inverter_node)) == len(self._inverter_node)  # one inverter a node
        self._storage_node = np.maximum(feeder.storages.node, 0)
        self._storage_on = (feeder.storages.node >= 0).astype(float)

    def apply(self, state: DeviceState, wanted: Wanted, p_available_mw: FloatArray) -> tuple[DeviceState, int]:
        """Clip `wanted` to what the devices can do now; return the new state and how many setpoints were clipped.

        Active power comes first (0 <= p <= available), then |q| <= sqrt(s^2 - p^2); storage keeps its rates and
        energy limits over the step; taps and steps are whole and keep their ranges.  A setpoint that is not finite
        counts as clipped and leaves its device as it was.
        """
        p, q, count = self.inverters(state.q_mvar, wanted.q_mvar, wanted.p_mw, p_available_mw)
        clipped = int(count)
        state = DeviceState(
            p, q, state.storage_p_mw, state.storage_q_mvar, state.soc, state.tap, state.step
        )  # spelt out: `replace` costs ten times as much, and this runs in every settling round
        if len(self.feeder.storages):
            state, refused = self._apply_storage(state, wanted)
            clipped += refused
        if wanted.tap is not None and len(self.feeder.tap_changers):
            low, high = self.feeder.tap_changers.tap_min, self.feeder.tap_changers.tap_max
            tap = np.clip(np.rint(_finite(wanted.tap, state.tap)), low, high)
            clipped += int(_differs(tap, np.asarray(wanted.tap)))
            state = replace(state, tap=tap.astype(np.int64))
        if wanted.step is not None and len(self.feeder.capacitors):
            step = np.clip(np.rint(_finite(wanted.step, state.step)), 0, self.feeder.capacitors.max_step)
            clipped += int(_differs(step, np.asarray(wanted.step)))
            state = replace(state, step=step.astype(np.int64))
        return state, clipped

    def inverters(
        self, q_mvar: FloatArray, q_wanted: FloatArray | None, p_wanted: FloatArray | None, p_available_mw: FloatArray
    ) -> tuple[FloatArray, FloatArray, IntArray]:
        """Return p and q (..., inverters) that can be had now, and (...) how many setpoints were clipped, as `apply`.

        q_mvar : present reactive power.  All arrays (..., inverters), for many steps at once where there are more axes.
        """
        s_mva, clipped = self.feeder.inverters.s_mva, np.zeros(p_available_mw.shape[:-1], dtype=np.int64)
        p = np.minimum(p_available_mw, s_mva)
        if p_wanted is not None:
            p = np.minimum(np.maximum(_finite(p_wanted, p), 0.0), p)
        q_want = q_mvar if q_wanted is None else _finite(q_wanted, q_mvar)
        room = np.sqrt(np.maximum(s_mva**2 - p**2, 0.0))
        q = np.minimum(np.maximum(q_want, -room), room)
        if q_wanted is not None:
            clipped = clipped + _differs(q, q_wanted)
        if p_wanted is not None:
            clipped = clipped + _differs(p, p_wanted)
        return p, q, clipped

    def _apply_storage(self, state: DeviceState, wanted: Wanted) -> tuple[DeviceState, int]:
        units = self.feeder.storages
        p_want, q_want = state.storage_p_mw, state.storage_q_mvar
        if wanted.storage_p_mw is not None:
            p_want = _finite(wanted.storage_p_mw, p_want)
        if wanted.storage_q_mvar is not None:
            q_want = _finite(wanted.storage_q_mvar, q_want)
        stored = state.soc * units.e_max_mwh
        charge = np.maximum(units.e_max_mwh - stored, 0.0) / (units.efficiency * self.step_h)
        discharge = np.maximum(stored - units.e_min_mwh, 0.0) * units.efficiency / self.step_h
        p = np.clip(p_want, np.maximum(units.p_min_mw, -discharge), np.minimum(units.p_max_mw, charge))
        p = np.clip(p, -units.s_mva, units.s_mva)
        room = np.sqrt(np.maximum(units.s_mva**2 - p**2, 0.0))
        q = np.clip(q_want, -room, room)
        clipped = 0 if wanted.storage_p_mw is None else int(_differs(p, wanted.storage_p_mw))
        clipped += 0 if wanted.storage_q_mvar is None else int(_differs(q, wanted.storage_q_mvar))
        return replace(state, storage_p_mw=p, storage_q_mvar=q), clipped

    def advance(self, state: DeviceState) -> DeviceState:
        """Return the devices at the end of the step: e' = e + (eta P_charge - P_discharge / eta) dt."""
        units = self.feeder.storages
        if not len(units):
            return state
        p = state.storage_p_mw
        gain = np.where(p > 0, p * units.efficiency, p / units.efficiency) * self.step_h
        return replace(state, soc=state.soc + gain / units.e_max_mwh)

    def injection_mva(self, load_mva: ComplexArray, state: DeviceState) -> ComplexArray:
        """Return the (nodes,) injection of loads, generators and devices, MVA, generation positive."""
        total = -load_mva
        self.add_inverters(total, state.p_mw, state.q_mvar)
        if len(self._storage_node):
            power = (state.storage_p_mw + 1j * state.storage_q_mvar) * self._storage_on
            np.subtract.at(total, self._storage_node, power)
        return total

    def add_inverters(self, injection_mva: ComplexArray, p_mw: FloatArray, q_mvar: FloatArray) -> None:
        """Add p + jq (..., inverters) to `injection_mva`, (..., nodes), in place."""
        power = (p_mw + 1j * q_mvar) * self._inverter_on
        if self._alone:
            injection_mva[..., self._inverter_node] += power
        else:
            np.add.at(injection_mva.T, self._inverter_node, power.T)

    def solve(
        self, load_mva: ComplexArray, state: DeviceState, slack_vm: float, start: ComplexArray | None = None
    ) -> Solution:
        """Return the grid's answer; `start`, (nodes,) voltages near it, may save time."""
        injection = self.injection_mva(load_mva, state)
        return self.flow.solve(injection, taps=state.tap, steps=state.step, slack_vm=slack_vm, start=start)


def _finite(wanted: FloatArray | IntArray, otherwise: FloatArray | IntArray | float) -> FloatArray:
    wanted = np.asarray(wanted, dtype=float)
    return np.where(np.isfinite(wanted), wanted, otherwise)


def _differs(applied: FloatArray | IntArray, wanted: FloatArray | IntArray) -> IntArray:
    return np.asarray(np.count_nonzero(~(np.abs(applied - wanted) <= _TOLERANCE), axis=-1))
