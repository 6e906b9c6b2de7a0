"""The projection of a safety filter: AC check, least change that keeps the band, AC check again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from feederlab.controllers.base import ControlTask, Decision
from feederlab.controllers.ladder import HELD, LOOSER, PRIMARY, SOLVER_ERRORS
from feederlab.controllers.rating import headroom
from feederlab.models.arrays import ComplexArray, FloatArray
from feederlab.models.plant import DeviceState, Plant
from feederlab.models.powerflow.base import engine
from feederlab.models.powerflow.jacobian import ReducedGrid
from feederlab.models.predictors.actions import Actions, Limits
from feederlab.models.predictors.exact import ExactPredictor
from feederlab.models.predictors.least_change import LeastChange, least_change
from feederlab.models.scoring import voltage_excess

TOLERANCE = 1e-7
"""Voltages count as in band to this (p.u.): far below `metrics.BAND_TOLERANCE`, far above the solver's accuracy."""


@dataclass(frozen=True, eq=False)
class Instant:
    """What one step gives.

    load_mva : (nodes,) consumption of what is not controlled.  slack_vm : (p.u.).
    offered_mw : (inverters,) active power that sun and rating allow.
    proposed : the devices once the plant has taken up what is proposed.  now : as they were measured.
    """

    load_mva: ComplexArray
    slack_vm: float
    offered_mw: FloatArray
    proposed: DeviceState
    now: DeviceState


@dataclass(frozen=True, eq=False)
class Checked:
    """Devices, and what the AC power flow says of them; inf where it has no solution.

    excess, aimed : `scoring.voltage_excess` of the band, and of the band less the margin.
    short, missed : by how much the worst node misses each of the two (p.u. of magnitude).
    change : weighted squared distance to the proposal (MVA^2).  rounds : quadratic programs solved.
    """

    devices: DeviceState
    excess: float
    aimed: float
    short: float
    missed: float
    change: float = 0.0
    rounds: int = 0
    rung: int = PRIMARY

    def decision(self, inner: Decision) -> Decision:
        """Return how the answer came about, given how the proposal did."""
        status = "adjusted" if self.change > 0 else "as proposed"
        if np.isinf(self.excess):
            status = "held: the power flow has no solution"
        elif self.short > TOLERANCE:
            status = f"short of the band by {self.short:.1e} p.u."
        rung = max(inner.rung, self.rung)
        if not self.change > 0:
            return replace(inner, status=status, rung=rung)
        return replace(
            inner, solver="piqp", status=status, rung=rung, iterations=inner.iterations + self.rounds,
            objective=self.change, bound=np.nan,
        )  # fmt: skip


class Projection:
    """Compiled for one task.

    margin : how far inside the band to aim (p.u.).  p_weight : of a change of active power against one of reactive.
    """

    def __init__(self, task: ControlTask, margin: float, p_weight: float) -> None:
        grid = task.grid()
        self._flow = engine(grid)
        self.plant = Plant(grid, self._flow, task.step_s / 3600)
        self._band, self._aim = task.band, task.inside(margin).band
        self._bands = [self._aim, self._band] if margin > 0 else [self._band]
        self._watched = np.flatnonzero(np.arange(grid.n_nodes) != grid.slack)
        self._s_mva, node = task.inverters.s_mva, task.inverters.node
        self._used = np.flatnonzero((node >= 0) & (self._s_mva > 0))
        kinds = {False: [0], True: [0, 1]}  # places in `actions.KINDS`: q alone, or q and p
        self._actions = {
            p_too: Actions.of(
                np.repeat(kind, len(self._used)), np.tile(self._used, len(kind)), np.tile(node[self._used], len(kind))
            )
            for p_too, kind in kinds.items()
        }
        self._p_weight = p_weight
        self._grid = lru_cache(maxsize=64)(self._read)

    def answer(self, at: Instant, with_p: bool) -> Checked:
        """Return the proposal if it keeps the band, else the least change that does, else the least excess.

        with_p : whether active power may be changed where reactive power alone does not suffice.
        The excess is never larger than the proposal's.
        """
        solved = self.plant.solve(at.load_mva, at.proposed, at.slack_vm)
        if solved.converged and self._miss(solved.vm, self._aim) <= TOLERANCE:
            return Checked(at.proposed, 0.0, 0.0, 0.0, 0.0)
        first = self._check(at, at.proposed)
        if not len(self._used):
            return first
        best: Checked | None = None
        for band in self._bands:  # where the margin cannot be had, the band itself still may
            found = self._least(at, band, with_p)
            if found is not None and np.isfinite(found.excess) and (best is None or found.excess < best.excess):
                best = found
            if best is not None and best.short <= TOLERANCE:
                break
        if best is not None and best.excess <= first.excess:
            return best
        if np.isfinite(first.excess):
            return replace(first, rung=PRIMARY if best is not None else HELD)
        return min((self._check(at, held, HELD) for held in self._held(at)), key=lambda c: c.excess)

    def _least(self, at: Instant, band: FloatArray, with_p: bool) -> Checked | None:
        """Return the least change that keeps `band`, or comes nearest to it, by q alone if that is enough."""
        best: Checked | None = None
        for p_too in (False, True) if with_p else (False,):
            try:
                solved = self._solve(at, band, p_too)
            except SOLVER_ERRORS:
                continue
            if solved is None:
                continue
            devices = self._moved(at.proposed, solved.actions, p_too)
            found = self._check(at, devices, PRIMARY if solved.converged else LOOSER, solved.rounds)
            if best is None or found.aimed < best.aimed:
                best = found
            if solved.short <= TOLERANCE:
                break
        return best

    def _solve(self, at: Instant, band: FloatArray, p_too: bool) -> LeastChange | None:
        actions, devices = self._actions[p_too], at.proposed
        limits = self._limits(at, p_too)
        proposed, now = self._vector(devices, p_too), self._vector(at.now, p_too)
        rest = self.plant.injection_mva(at.load_mva, devices)
        np.subtract.at(rest, actions.node, actions.unit * proposed)
        predictor = ExactPredictor(
            self._flow, self._grid(tuple(devices.tap.tolist()), tuple(devices.step.tolist())), actions, rest,
            devices.tap, devices.step, at.slack_vm, self._watched,
        )  # fmt: skip
        weight = np.where(actions.kind == 1, self._p_weight, 1.0)
        for back_to in (limits.clip(now), 0.0 * now):
            found = least_change(predictor, proposed, limits, band[:, self._watched] ** 2, back_to, weight)
            if found is not None:
                return found
        return None

    def _limits(self, at: Instant, p_too: bool) -> Limits:
        used, s = self._used, self._s_mva[self._used]
        if not p_too:
            room = headroom(at.proposed.p_mw, self._s_mva)[used]
            return Limits.of(self._actions[p_too], -room, room, s)
        low, high = np.append(-s, 0.0 * s), np.append(s, at.offered_mw[used])
        return Limits.of(self._actions[p_too], low, high, np.append(s, s))

    def _vector(self, devices: DeviceState, p_too: bool) -> FloatArray:
        q, p = devices.q_mvar[self._used], devices.p_mw[self._used]
        return np.append(q, p) if p_too else q

    def _moved(self, devices: DeviceState, actions: FloatArray, p_too: bool) -> DeviceState:
        q, p, n = devices.q_mvar.copy(), devices.p_mw.copy(), len(self._used)
        q[self._used] = actions[:n]
        if p_too:
            p[self._used] = actions[n:]
        return replace(devices, q_mvar=q, p_mw=p)

    def _held(self, at: Instant) -> list[DeviceState]:
        """Return what is left to try where no setpoints have a power flow: the proposal, the last q, and none."""
        room = headroom(at.proposed.p_mw, self._s_mva)
        last = np.clip(at.now.q_mvar, -room, room)
        return [at.proposed, *(replace(at.proposed, q_mvar=q) for q in (last, 0.0 * last))]

    def _check(self, at: Instant, devices: DeviceState, rung: int = PRIMARY, rounds: int = 0) -> Checked:
        """Return the AC power flow's word, under the loads, taps, banks and storage of this step."""
        q, p = devices.q_mvar - at.proposed.q_mvar, devices.p_mw - at.proposed.p_mw
        change = float(np.square(q).sum() + self._p_weight * np.square(p).sum())
        solved = self.plant.solve(at.load_mva, devices, at.slack_vm)
        if not solved.converged:
            return Checked(devices, np.inf, np.inf, np.inf, np.inf, change, rounds, rung)
        slack, vm = self.plant.feeder.slack, solved.vm
        excess, aimed = (float(voltage_excess(solved.u, band, slack)) for band in (self._band, self._aim))
        short, missed = self._miss(vm, self._band), self._miss(vm, self._aim)
        return Checked(devices, excess, aimed, short, missed, change, rounds, rung)

    def _miss(self, vm: FloatArray, band: FloatArray) -> float:
        """Return by how much the worst node misses `band` (p.u.)."""
        beyond = np.maximum(vm - band[1], band[0] - vm)
        beyond[self.plant.feeder.slack] = 0.0
        return max(float(beyond.max()), 0.0)

    def _read(self, taps: tuple[int, ...], steps: tuple[int, ...]) -> ReducedGrid:
        return ReducedGrid.of(self.plant.feeder, np.array(taps, np.int64), np.array(steps, np.int64))
