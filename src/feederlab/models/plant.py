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
    tap_rest_s, step_rest_s : (tap changers,), (capacitor banks,) how long each is still at rest after it moved (s).
    """

    p_mw: FloatArray
    q_mvar: FloatArray
    storage_p_mw: FloatArray
    storage_q_mvar: FloatArray
    soc: FloatArray
    tap: IntArray
    step: IntArray
    tap_rest_s: FloatArray
    step_rest_s: FloatArray

    @classmethod
    def initial(cls, feeder: Feeder) -> DeviceState:
        """Return the devices as the net has them, inverters and storage at zero."""
        inverters, storages = len(feeder.inverters), len(feeder.storages)
        return cls(
            p_mw=np.zeros(inverters), q_mvar=np.zeros(inverters),
            storage_p_mw=np.zeros(storages), storage_q_mvar=np.zeros(storages),
            soc=np.array(feeder.storages.soc), tap=np.array(feeder.tap_changers.tap),
            step=np.array(feeder.capacitors.step),
            tap_rest_s=np.zeros(len(feeder.tap_changers)), step_rest_s=np.zeros(len(feeder.capacitors)),
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
        energy limits over the step; taps and steps are whole, keep their ranges and their mechanisms' pace: a tap
        changer moves as many positions as its delay leaves time for, a bank rests after it was switched.  A setpoint
        that is not finite counts as clipped and leaves its device as it was.
        """
        p, q, count = self.inverters(state.q_mvar, wanted.q_mvar, wanted.p_mw, p_available_mw)
        clipped = int(count)
        state = DeviceState(
            p,
            q,
            state.storage_p_mw,
            state.storage_q_mvar,
            state.soc,
            state.tap,
            state.step,
            state.tap_rest_s,
            state.step_rest_s,
        )  # spelt out: `replace` costs ten times as much, and this runs in every settling round
        if len(self.feeder.storages):
            state, refused = self._apply_storage(state, wanted)
            clipped += refused
        if wanted.tap is not None and len(self.feeder.tap_changers):
            state, refused = self._apply_taps(state, wanted.tap)
            clipped += refused
        if wanted.step is not None and len(self.feeder.capacitors):
            state, refused = self._apply_steps(state, wanted.step)
            clipped += refused
        return state, clipped

    def _apply_taps(self, state: DeviceState, wanted: IntArray) -> tuple[DeviceState, int]:
        changers = self.feeder.tap_changers
        tap = np.clip(np.rint(_finite(wanted, state.tap)), changers.tap_min, changers.tap_max)
        pace = np.maximum(self.step_h * 3600 // np.maximum(changers.delay_s, 1e-3), 1)  # positions in a step
        pace = np.where(state.tap_rest_s > 0, 0, pace)
        tap = (state.tap + np.clip(tap - state.tap, -pace, pace)).astype(np.int64)
        rest = np.where(tap != state.tap, np.abs(tap - state.tap) * changers.delay_s, state.tap_rest_s)
        return replace(state, tap=tap, tap_rest_s=rest), int(_differs(tap, wanted))

    def _apply_steps(self, state: DeviceState, wanted: IntArray) -> tuple[DeviceState, int]:
        banks = self.feeder.capacitors
        step = np.clip(np.rint(_finite(wanted, state.step)), 0, banks.max_step)
        step = np.where(state.step_rest_s > 0, state.step, step).astype(np.int64)
        rest = np.where(step != state.step, banks.dwell_s, state.step_rest_s)
        return replace(state, step=step, step_rest_s=rest), int(_differs(step, wanted))

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
        p = np.clip(p, -units.s_mva, units.s_mva) * self._storage_on  # without supply there is nothing to charge from
        room = np.sqrt(np.maximum(units.s_mva**2 - p**2, 0.0))
        q = np.clip(q_want, -room, room) * self._storage_on
        clipped = 0 if wanted.storage_p_mw is None else int(_differs(p, wanted.storage_p_mw))
        clipped += 0 if wanted.storage_q_mvar is None else int(_differs(q, wanted.storage_q_mvar))
        return replace(state, storage_p_mw=p, storage_q_mvar=q), clipped

    def advance(self, state: DeviceState) -> DeviceState:
        """Return the devices at the end of the step: e' = e + (eta P_charge - P_discharge / eta) dt."""
        units, passed = self.feeder.storages, 3600 * self.step_h
        if state.tap_rest_s.any() or state.step_rest_s.any():
            state = replace(
                state, tap_rest_s=np.maximum(state.tap_rest_s - passed, 0.0),
                step_rest_s=np.maximum(state.step_rest_s - passed, 0.0),
            )  # fmt: skip
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
    return np.asarray(np.count_nonzero(~(np.abs(applied - np.asarray(wanted)) <= _TOLERANCE), axis=-1))
