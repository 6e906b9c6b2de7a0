"""Automatic voltage regulator: a tap changer that follows the voltage of its own busbar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from feederlab.controllers.base import (
    LOCAL,
    Controller,
    ControlTask,
    Information,
    Measurement,
    Prepared,
    Setpoints,
    State,
)
from feederlab.controllers.switching import need
from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray


@dataclass(frozen=True)
class Avr(Controller):
    """Deadband control of tap changers, with line-drop compensation.

    The regulated voltage is that of the transformer's `lv_bus`, less the drop over a line of r + jx towards the load
    that carries the transformer's whole flow S: ``v = |u - (r + jx) conj(S / u)|`` with u in kV.  Once v has lain
    outside ``target +- deadband`` on one side for `delay` seconds, the changer moves by the whole number of positions
    nearest to the error, at least one.

    target : voltage to hold (p.u.).
    deadband : half its width (p.u.); 0 takes 0.75 of what one position moves, at least 0.008 (1 V on 120 V).  It must
    be more than half a position, or the changer would never rest.
    delay : time outside the deadband before a move (s); a step at whose end it has passed moves.
    r, x : compensated impedance (ohm on the regulated side).

    Source: the regulator model of Kersting, Distribution System Modeling and Analysis, ch. 7.
    """

    target: float = 1.0
    deadband: float = 0.0
    delay: float = 30.0
    r: float = 0.0
    x: float = 0.0
    sees: ClassVar[Information] = LOCAL

    def __post_init__(self) -> None:
        if not 0.5 <= self.target <= 1.5 or not self.deadband >= 0 or not self.delay >= 0:
            raise InputError(
                "avr: target must lie in 0.5-1.5 p.u., deadband and delay must not be negative: "
                f"target={self.target}, deadband={self.deadband}, delay={self.delay}"
            )
        if not np.isfinite([self.r, self.x]).all():
            raise InputError(f"avr: r and x must be numbers of ohms, not r={self.r}, x={self.x}")

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Raises `InputError` if there are no tap changers, or the deadband is narrower than a position."""
        need("avr", task, "tap_changers")
        rise = np.abs(task.tap_changers.rise_pu)
        if self.deadband and (narrow := self.deadband <= rise / 2).any():
            k = int(np.flatnonzero(narrow)[0])
            raise InputError(
                f"avr: a deadband of +-{self.deadband} p.u. is too narrow for transformer "
                f"{task.tap_changers.index[k]}, whose positions lie {rise[k]:.4g} p.u. apart; give more than "
                f"{rise[k] / 2:.4g}"
            )
        return _Prepared(self, task)


class _Prepared(Prepared):
    def __init__(self, settings: Avr, task: ControlTask) -> None:
        self._settings, self._step_s, taps = settings, task.step_s, task.tap_changers
        self._taps, self._on = taps, (taps.node >= 0) & (taps.rise_pu != 0)
        self._node = np.maximum(taps.node, 0)
        self._rise = np.where(self._on, taps.rise_pu, 1.0)
        own = np.maximum(0.75 * np.abs(self._rise), 0.008)
        self._half = np.full(len(taps), settings.deadband) if settings.deadband else own

    def initial_state(self) -> State:
        return {"high_s": np.zeros(len(self._taps)), "low_s": np.zeros(len(self._taps))}

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        error = self._regulated(measurement) - self._settings.target  # NaN where a reading is lost: wait
        high_s = np.where(error > self._half, state["high_s"] + self._step_s, 0.0)
        low_s = np.where(error < -self._half, state["low_s"] + self._step_s, 0.0)
        due = self._on & (np.maximum(high_s, low_s) >= max(self._settings.delay, 1e-9))
        wanted = np.where(due, -error / self._rise, 0.0)
        moves = np.sign(wanted) * np.maximum(np.rint(np.abs(wanted)), due)
        tap = np.clip(measurement.tap + moves.astype(np.int64), self._taps.tap_min, self._taps.tap_max)
        return Setpoints(tap=tap), {"high_s": high_s, "low_s": low_s}

    def _regulated(self, m: Measurement) -> FloatArray:
        """Return the (tap changers,) voltage to hold (p.u.)."""
        vm = m.vm[self._node]
        if not (self._settings.r or self._settings.x):
            return vm
        with np.errstate(invalid="ignore"):  # a lost reading stays NaN
            current = (m.tap_p_mw - 1j * m.tap_q_mvar) / (vm * self._taps.vn_kv)  # kA times sqrt(3)
            drop = (self._settings.r + 1j * self._settings.x) * current / self._taps.vn_kv
            return np.abs(vm - drop)
