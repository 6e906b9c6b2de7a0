"""Safety filter: whatever a controller proposes, moved as little as keeps the voltage band."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from feederlab.controllers.base import (
    GLOBAL,
    Controller,
    ControlTask,
    Decision,
    Information,
    Measurement,
    Prepared,
    Setpoints,
    Settle,
    State,
)
from feederlab.controllers.coordination_proposal import Proposals
from feederlab.controllers.parts import Part, noted
from feederlab.controllers.safety_projection import Instant, Projection
from feederlab.controllers.settling import damped
from feederlab.controllers.volt_var import VoltVar
from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray
from feederlab.models.plant import DeviceState, Wanted


@dataclass(frozen=True)
class SafetyFilter(Controller):
    """A projection onto what keeps the band, around any controller, learned or not.

    The inner controller decides on what it may see.  What the devices can do of it is the proposal (q~, p~); an AC
    power flow of the grid model at the loads of this step, with the taps, banks and storage that were asked for, says
    whether every node is in band.  If so, the proposal passes as it is, at the price of that one power flow.  If not,
    the answer is the least change that keeps the band,

        ``min sum (q - q~)^2 + p_weight (p - p~)^2  subject to  v_min + margin <= |u(q, p)| <= v_max - margin``,

    with ``q^2 + p^2 <= s^2`` and ``0 <= p <= available``, in MVAr and MW.  It is found by sequential quadratic
    programming: the band is linearised about the AC power flow at the proposal, the projection onto it solved and
    checked by another power flow, and so on until the steps vanish (`models.predictors.least_change`).  Reactive power
    acts alone where it suffices.  Where it does not, active power joins in, if `curtail` allows it or the inner
    controller sets it.  Where the band cannot be kept at all, it is missed by as little as possible.  The voltage
    excess (`scoring.voltage_excess`) is never larger than the proposal's.

    With a perfect grid model and perfect meters, the band therefore holds in every step in which setpoints within the
    limits keep it.  With a wrong model (``--mismatch``), or readings that are lost or late, it is missed by as much as
    the model is wrong; `margin` makes up for that.

    The status of each step is ``"as proposed"``, ``"adjusted"`` or ``"short of the band by ... p.u."``; the metric
    ``adjusted_steps`` counts the steps in which something was changed.

    Parameters
    ----------
    inner
        Any controller.  It learns nothing of what the filter knows.  One that settles inside a step is damped as its
        `settle` says, and the filter acts on the damped setpoints in each round: the band then holds in every round,
        also where the loop has not come to rest.  Where q is left as it is, the inner controller's own last q is meant,
        not the filter's.
    margin
        How far inside the band to aim (p.u.).  A proposal that is inside the band, but not by the margin, is moved too.
    curtail
        Whether active power may be lowered where the inner controller does not set it.
    p_weight
        What a MW of changed active power counts against a MVAr of reactive, squared both.
    """

    inner: Controller = VoltVar()
    margin: float = 0.0
    curtail: bool = False
    p_weight: float = 100.0

    def __post_init__(self) -> None:
        if not (0 <= self.margin < np.inf and 0 < self.p_weight < np.inf):
            raise InputError(
                "safety_filter needs margin >= 0 and p_weight > 0, both finite, not "
                f"margin={self.margin}, p_weight={self.p_weight}"
            )

    @property
    def sees(self) -> Information:
        """Everything, and a forecast where the inner controller has one."""
        return self.inner.sees.union(GLOBAL)

    @property
    def settle(self) -> Settle | None:
        """The inner controller's rounds; its damping is applied before the projection."""
        settle = self.inner.settle
        return None if settle is None else replace(settle, damping=1.0, response_s=0.0)

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Compile.

        Raises
        ------
        InputError
            For voltage-controlled generators, a margin that leaves no band, and whatever the inner controller raises.
        """
        if len(task.grid().pv):
            raise InputError(
                "safety_filter: the feeder has voltage-controlled generators (table gen), whose dispatch it does not "
                "know; make them static generators (sgen, controllable)"
            )
        return _Prepared(task, self, seed)


class _Prepared(Prepared):
    def __init__(self, task: ControlTask, settings: SafetyFilter, seed: int | None) -> None:
        self._task, self._curtail, self._settle = task, settings.curtail, settings.inner.settle
        self._rounds = np.inf if self._settle is None else self._settle.rounds(task.step_s)
        self._inner = Part.of(settings.inner, task, seed)
        self._readings = Proposals(task, 1.0)
        self._projection = Projection(task, settings.margin, settings.p_weight)

    def initial_state(self) -> State:
        task = self._task
        return {
            "inner": self._inner.prepared.initial_state(), "readings": self._readings.initial_state(),
            "asked_q_mvar": np.zeros(len(task.inverters)), "tap_rest_s": np.zeros(len(task.tap_changers)),
            "step_rest_s": np.zeros(len(task.capacitors)), "said": noted(Decision()),
        }  # fmt: skip

    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        seen, readings = self._readings.complete(measurement, state["readings"])
        now, offered = self._now(state, seen)
        if measurement.settle_round >= self._rounds:  # the inner loop has no time for more
            return Setpoints(q_mvar=now.q_mvar, p_mw=now.p_mw, info=Decision(**state["said"])), state
        asked, inner = self._inner.step(state["inner"], measurement)
        p, q = damped(asked, now.p_mw, now.q_mvar, offered, self._settle)
        q = self._own_q(state, measurement.settle_round) if q is None else q
        proposed, _ = self._projection.plant.apply(
            now, Wanted(q, p, asked.storage_p_mw, asked.storage_q_mvar, asked.tap, asked.step), offered
        )
        instant = Instant(seen.load_p_mw + 1j * seen.load_q_mvar, seen.slack_vm, offered, proposed, now)
        found = self._projection.answer(instant, self._curtail or asked.p_mw is not None)
        if found.change > 0:
            q = found.devices.q_mvar
            p = p if np.array_equal(found.devices.p_mw, proposed.p_mw) else found.devices.p_mw
        info = found.decision(asked.info)
        state = {
            "inner": inner, "readings": readings, "tap_rest_s": proposed.tap_rest_s,
            "step_rest_s": proposed.step_rest_s, "said": {} if self._settle is None else noted(info),
            "asked_q_mvar": state["asked_q_mvar"] if asked.q_mvar is None else proposed.q_mvar,
        }  # fmt: skip
        return replace(asked, q_mvar=q, p_mw=p, info=info), state

    def _now(self, state: State, seen: Measurement) -> tuple[DeviceState, FloatArray]:
        """Return the devices as they are, and (inverters,) what active power could be had (MW)."""
        offered = np.minimum(np.maximum(seen.p_available_mw, 0.0), self._task.inverters.s_mva)
        passed = self._task.step_s if seen.settle_round == 0 else 0.0
        return DeviceState(
            p_mw=np.minimum(seen.p_mw, offered), q_mvar=seen.q_mvar, storage_p_mw=seen.storage_p_mw,
            storage_q_mvar=seen.storage_q_mvar, soc=seen.soc, tap=seen.tap, step=seen.step,
            tap_rest_s=np.maximum(state["tap_rest_s"] - passed, 0.0),
            step_rest_s=np.maximum(state["step_rest_s"] - passed, 0.0),
        ), offered  # fmt: skip

    def _own_q(self, state: State, settle_round: int) -> FloatArray:
        """Return the q that the inner controller leaves as it is: what it asked for last."""
        fresh = settle_round == 0 and self._settle is not None and self._settle.start == "zero"
        return np.zeros(len(self._task.inverters)) if fresh else np.array(state["asked_q_mvar"])
