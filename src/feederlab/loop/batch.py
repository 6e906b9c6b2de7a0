"""The closed loop, many steps at once: for controllers whose decisions do not depend on earlier steps."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from feederlab.controllers.base import Measurements, Scope, Setpoints, Settle
from feederlab.controllers.settling import damped, expected
from feederlab.loop.sequential import Loop
from feederlab.models.arrays import BoolArray, ComplexArray, FloatArray, IntArray
from feederlab.models.plant import DeviceState, Wanted
from feederlab.models.scenario import Series
from feederlab.recorder import Recorder

_VOLTAGES = 250_000  # complex numbers per array of a block of steps: 4 MB, and a dozen such arrays
_ROWS = 4096


def run_batch(loop: Loop, series: Series, recorder: Recorder, progress: Callable[[int], None]) -> bool:
    """Take all steps at once and record them; False where that cannot be done, for the sequential loop to do.

    The answers equal those of the sequential loop to rounding.  Where a step's first power flow has no solution, its
    controller sees nothing and falls back on what it remembers: such a step is taken in sequence after the one before.
    """
    batch = _Batch.of(loop, recorder)
    if batch is None:
        return False
    rows = min(max(_VOLTAGES // loop.plant.feeder.n_nodes, 16), _ROWS)
    blind: list[int] = []
    for first in range(0, len(series), rows):
        part = np.arange(first, min(first + rows, len(series)))
        unseen = batch.decide_once(series, part) if loop.settle is None else batch.settle(series, part, loop.settle)
        if unseen is None:
            return False
        blind.extend(unseen.tolist())
        progress(len(part))
    _in_sequence(loop, series, recorder, blind)
    return True


def _in_sequence(loop: Loop, series: Series, recorder: Recorder, steps: list[int]) -> None:
    for k, t in enumerate(steps):
        if k == 0 or steps[k - 1] != t - 1:
            loop.reset()
            if t > 0:
                loop.step(t - 1, series, recorder)
        loop.step(t, series, recorder)


@dataclass(frozen=True, eq=False)
class _Open:
    """The steps of a block that have not settled: their place in the series, what is given, and how things stand.

    u, before : voltages of the last power flow and the one before; vm : magnitude of u.  decided_s : time so far.
    """

    at: IntArray
    fixed_mva: ComplexArray
    load_p_mw: FloatArray
    load_q_mvar: FloatArray
    slack_vm: FloatArray
    available: FloatArray
    offered: FloatArray
    p_mw: FloatArray
    q_mvar: FloatArray
    u: ComplexArray
    before: ComplexArray
    vm: FloatArray
    decided_s: FloatArray

    def take(self, rows: BoolArray) -> _Open:
        """Return the steps where `rows` is true."""
        return self if rows.all() else _Open(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True, eq=False)
class _Batch:
    """A loop whose storage, taps and capacitors are at rest."""

    loop: Loop
    recorder: Recorder
    resting: DeviceState

    @classmethod
    def of(cls, loop: Loop, recorder: Recorder) -> _Batch | None:
        """Return None where steps hang together: a loop goes on from the last setpoints, or storage has to move."""
        if loop.settle is not None and loop.settle.start != "zero":
            return None
        inverters = len(loop.plant.feeder.inverters)
        resting, _ = loop.plant.apply(DeviceState.initial(loop.plant.feeder), Wanted(), np.zeros(inverters))
        return None if resting.storage_p_mw.any() else cls(loop, recorder, resting)

    def decide_once(self, series: Series, at: IntArray) -> IntArray | None:
        """Take the steps `at` without settling; return those left to do, None if it cannot be done."""
        plant, load, available = self.loop.plant, series.load_mva[at], series.p_available_mw[at]
        unknown = np.broadcast_to(np.nan, available.shape)
        setpoints, decided_s = self._decide(
            Measurements(
                times=series.times[at], settle_round=0, vm=np.broadcast_to(np.nan, load.shape), load_p_mw=load.real,
                load_q_mvar=load.imag, slack_vm=series.slack_vm[at], p_available_mw=available, p_mw=unknown,
                q_mvar=unknown,
            )
        )  # fmt: skip
        if setpoints is None or setpoints.q_mvar is None or not np.isfinite(setpoints.q_mvar).all():
            return None  # without a number, q stays as the step before left it
        q_wanted = np.broadcast_to(setpoints.q_mvar, available.shape)
        p, q, clipped = plant.inverters(q_wanted, q_wanted, setpoints.p_mw, available)
        np.negative(load, out=load)
        plant.add_inverters(load, p, q)
        u = self._solve(load, series.slack_vm[at], None)
        devices = replace(self.resting, p_mw=p, q_mvar=q)
        info = setpoints.info
        self.recorder.keep(at, u, devices, info, 1, True, clipped + info.clipped, decided_s / len(at))
        return at[:0]

    def settle(self, series: Series, at: IntArray, settle: Settle) -> IntArray | None:
        """Take the steps `at`, each until it settles; return those left to do, None if it cannot be done."""
        plant, watched = self.loop.plant, self.loop.watched
        now, blind = self._start(series, at)
        guess = now.u
        for count in range(1, self.loop.max_rounds + 1):
            if not len(now.at):
                break
            setpoints, decided_s = self._decide(
                Measurements(
                    times=series.times[now.at], settle_round=count - 1, vm=now.vm, load_p_mw=now.load_p_mw,
                    load_q_mvar=now.load_q_mvar, slack_vm=now.slack_vm, p_available_mw=now.available, p_mw=now.p_mw,
                    q_mvar=now.q_mvar,
                )
            )  # fmt: skip
            if setpoints is None:
                return None
            p_wanted, q_wanted = damped(setpoints, now.p_mw, now.q_mvar, now.offered, settle)
            p, q, clipped = plant.inverters(now.q_mvar, q_wanted, p_wanted, now.available)
            injection = now.fixed_mva.copy()
            plant.add_inverters(injection, p, q)
            u = self._solve(injection, now.slack_vm, guess)
            vm = np.abs(u)
            moved = np.linalg.norm(vm[:, watched] - now.vm[:, watched], axis=1)
            now = replace(
                now, p_mw=p, q_mvar=q, u=u, before=now.u, vm=vm, decided_s=now.decided_s + decided_s / len(now.at)
            )
            settled = moved < settle.tol
            ends = settled | ~np.isfinite(moved) | (count == self.loop.max_rounds)
            if ends.any():
                done = now.take(ends)
                self.recorder.keep(
                    done.at, done.u, replace(self.resting, p_mw=done.p_mw, q_mvar=done.q_mvar), setpoints.info, count,
                    settled[ends], clipped[ends] + setpoints.info.clipped, done.decided_s,
                )  # fmt: skip
                now = now.take(~ends)
            guess = expected(now.u, now.before, settle.damping)
        return blind

    def _start(self, series: Series, at: IntArray) -> tuple[_Open, IntArray]:
        """Return the steps under all active and no reactive power, and those of them without a solution."""
        plant, load, available = self.loop.plant, series.load_mva[at], series.p_available_mw[at]
        p, q, _ = plant.inverters(np.zeros(available.shape), None, None, available)
        injection = -load
        plant.add_inverters(injection, p, q)
        u = self._solve(injection, series.slack_vm[at], None)
        vm = np.abs(u)
        start = _Open(
            at, -load, load.real, load.imag, series.slack_vm[at], available, p, p, q, u, u, vm, np.zeros(len(at))
        )
        solved: BoolArray = np.asarray(np.isfinite(vm).all(axis=1))
        return start.take(solved), at[~solved]

    def _decide(self, view: Measurements) -> tuple[Setpoints | None, float]:
        """Return the controller's setpoints, if it has some for inverters alone, and the time it took (s)."""
        if self.loop.sees.scope is not Scope.GLOBAL:
            hidden: dict[str, Any] = {name: np.where(self.loop.seen, getattr(view, name), np.nan) for name in _AT_NODES}
            view = replace(view, slack_vm=np.full(len(view.slack_vm), np.nan), **hidden)
        began = clock.perf_counter()
        setpoints = self.loop.prepared.step_batch(view)
        decided_s = clock.perf_counter() - began
        if setpoints is not None and any(getattr(setpoints, name) is not None for name in _NOT_INVERTERS):
            return None, decided_s
        return setpoints, decided_s

    def _solve(self, injection_mva: ComplexArray, slack_vm: FloatArray, start: ComplexArray | None) -> ComplexArray:
        taps, steps = self.resting.tap, self.resting.step
        flow = self.loop.plant.flow
        return flow.solve_batch(injection_mva, taps=taps, steps=steps, slack_vm=slack_vm, start=start).u


_AT_NODES = ("vm", "load_p_mw", "load_q_mvar")
_NOT_INVERTERS = ("storage_p_mw", "storage_q_mvar", "tap", "step")
