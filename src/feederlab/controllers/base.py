"""The one interface behind which every controller sits."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
import pandas as pd

from feederlab.errors import InputError, UnknownNameError
from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.meters import capacitor_flow_mva, tap_flow_mva
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.plant import DeviceState, Wanted
from feederlab.models.powerflow.base import Solution
from feederlab.models.task import ControlTask as ControlTask  # part of the interface
from feederlab.models.task import Forecast as Forecast

State = dict[str, Any]
"""What a controller remembers between steps: plain arrays by name (previous setpoints, filters, RNG state)."""


class Scope(Enum):
    """How far a controller sees: its own terminals, its zone (`net.bus.zone`), or everything."""

    LOCAL = "local"
    ZONE = "zone"
    GLOBAL = "global"


@dataclass(frozen=True)
class Information:
    """What a controller sees, and whether it gets a forecast."""

    scope: Scope
    forecast: bool = False

    def union(self, other: Information) -> Information:
        """Return what a wrapper of both sees."""
        order = [Scope.LOCAL, Scope.ZONE, Scope.GLOBAL]
        return Information(max(self.scope, other.scope, key=order.index), self.forecast or other.forecast)

    def __str__(self) -> str:
        return self.scope.value + ("+forecast" if self.forecast else "")


LOCAL, ZONE, GLOBAL = (Information(scope) for scope in Scope)


@dataclass(frozen=True)
class Settle:
    """How a fast local loop settles inside one step of the simulation.

    The decision f is applied repeatedly, ``q <- (1 - damping) q + damping f(v)``, with a power flow each time, until
    the device nodes' voltages move less than `tol` (2-norm, p.u.) or `max_rounds` is reached.

    start : from ``"zero"`` reactive power and all available active power at every step (as P1 does), or from the
    ``"previous"`` setpoints.
    response_s : 90 % time of the devices' first-order response (s).  A round then lasts ``-tau ln(1 - damping)`` with
    tau = response_s / ln 10, and there are no more rounds than the step has time for.  0: rounds take no time.

    The loop settles if ``damping (1 + rho) < 2``, rho being the spectral radius of the product of the decision's slope
    and the grid's sensitivity.
    """

    start: str = "zero"
    damping: float = 0.1
    tol: float = 1e-4
    max_rounds: int = 100
    response_s: float = 0.0

    def __post_init__(self) -> None:
        if self.start not in ("zero", "previous"):
            raise UnknownNameError("start of a settling loop", self.start, ["zero", "previous"])
        if not 0 < self.damping <= 1 or not self.tol > 0 or self.max_rounds < 1 or not self.response_s >= 0:
            raise InputError(
                "a settling loop needs 0 < damping <= 1, tol > 0, max_rounds >= 1 and response_s >= 0, not "
                f"damping={self.damping}, tol={self.tol}, max_rounds={self.max_rounds}, response_s={self.response_s}"
            )

    def rounds(self, step_s: float) -> int:
        """Return the most rounds that a step of `step_s` seconds allows."""
        if self.response_s == 0 or self.damping == 1:
            return self.max_rounds
        round_s = -self.response_s / math.log(10) * math.log1p(-self.damping)
        return min(max(int(step_s / round_s), 1), self.max_rounds)


def _nothing() -> FloatArray:
    return np.zeros(0)


@dataclass(frozen=True, eq=False)
class Measurement:
    """What a controller sees at one decision; NaN where it may not see, or a reading was lost.

    time : instant of the step.  settle_round : 0 at the first decision of a step.
    vm : (nodes,) voltage magnitude (p.u.).  load_p_mw, load_q_mvar : (nodes,) net consumption of what is not
    controlled.  slack_vm : (p.u.).
    p_available_mw, p_mw, q_mvar : (inverters,).  storage_p_mw, storage_q_mvar, soc : (storages,).
    tap : (tap changers,).  step : (capacitor banks,).
    tap_p_mw, tap_q_mvar : (tap changers,) power that flows through the transformer to the side it regulates.
    capacitor_p_mw, capacitor_q_mvar : (capacitor banks,) power that arrives at the bank's node from the external grid's
    side, before the bank.
    """

    time: pd.Timestamp
    settle_round: int
    vm: FloatArray
    load_p_mw: FloatArray
    load_q_mvar: FloatArray
    slack_vm: float
    p_available_mw: FloatArray
    p_mw: FloatArray
    q_mvar: FloatArray
    storage_p_mw: FloatArray
    storage_q_mvar: FloatArray
    soc: FloatArray
    tap: IntArray
    step: IntArray
    tap_p_mw: FloatArray = field(default_factory=_nothing)
    tap_q_mvar: FloatArray = field(default_factory=_nothing)
    capacitor_p_mw: FloatArray = field(default_factory=_nothing)
    capacitor_q_mvar: FloatArray = field(default_factory=_nothing)

    @classmethod
    def take(
        cls,
        time: pd.Timestamp,
        settle_round: int,
        solved: Solution,
        load_mva: ComplexArray,
        devices: DeviceState,
        p_available_mw: FloatArray,
        slack_vm: float,
    ) -> Measurement:
        """Return what perfect meters read everywhere: a solved grid, its loads (nodes,), and its devices."""
        through, arriving = tap_flow_mva(solved), capacitor_flow_mva(solved)
        return cls(
            time=time, settle_round=settle_round, vm=solved.vm, load_p_mw=load_mva.real, load_q_mvar=load_mva.imag,
            slack_vm=slack_vm, p_available_mw=p_available_mw, p_mw=devices.p_mw, q_mvar=devices.q_mvar,
            storage_p_mw=devices.storage_p_mw, storage_q_mvar=devices.storage_q_mvar, soc=devices.soc,
            tap=devices.tap, step=devices.step, tap_p_mw=through.real, tap_q_mvar=through.imag,
            capacitor_p_mw=arriving.real, capacitor_q_mvar=arriving.imag,
        )  # fmt: skip

    def operating_point(self, task: ControlTask) -> OperatingPoint:
        """Return this measurement as the data of an optimisation; needs GLOBAL information."""
        load = self.load_p_mw + 1j * self.load_q_mvar
        on = task.storages.node >= 0
        np.add.at(load, task.storages.node[on], (self.storage_p_mw + 1j * self.storage_q_mvar)[on])
        use = float(np.abs(self.storage_p_mw).sum())
        return OperatingPoint(load, self.p_available_mw, self.slack_vm, self.tap, self.step, use)


@dataclass(frozen=True, eq=False)
class Measurements:
    """What a controller sees in many steps at once (`Prepared.step_batch`): as `Measurement`, time first.

    times : (T,).  settle_round : the same for all.  vm, load_p_mw, load_q_mvar : (T, nodes).  slack_vm : (T,).
    p_available_mw, p_mw, q_mvar : (T, inverters).

    Without a settling loop, vm, p_mw and q_mvar follow from the step before, and are all NaN here.
    """

    times: pd.DatetimeIndex
    settle_round: int
    vm: FloatArray
    load_p_mw: FloatArray
    load_q_mvar: FloatArray
    slack_vm: FloatArray
    p_available_mw: FloatArray
    p_mw: FloatArray
    q_mvar: FloatArray


@dataclass(frozen=True)
class Decision:
    """How a decision came about; failure is data.

    solver, status : who answered, and with what.  rung : 0 primary, 1 looser tolerance, 2 convex fallback, 3 held.
    iterations, solver_time_s : the solver's own report.
    objective : value the model promises; bound : certified lower bound of objective plus voltage penalty (NaN: none).
    cone_gap : largest relative gap of the relaxation's cones (`RelaxationSolution`; NaN: not a relaxation).
    mip_gap : relative gap of the mixed-integer program; model_error : relative difference of what a linear model
    promised to what the AC power flow says (NaN: there is none).
    clipped : setpoints that the controller itself cut to its own range; the run's `clipped` adds them to the plant's.
    """

    solver: str = ""
    status: str = "ok"
    rung: int = 0
    iterations: int = 0
    solver_time_s: float = 0.0
    objective: float = np.nan
    bound: float = np.nan
    cone_gap: float = np.nan
    mip_gap: float = np.nan
    model_error: float = np.nan
    clipped: int = 0


@dataclass(frozen=True, eq=False)
class Setpoints(Wanted):
    """A decision: arrays as in `Wanted` (None leaves a device as it is), and how it came about.

    again : decide once more in this step, when the grid has answered: for what acts in turn inside a step.
    """

    info: Decision = Decision()
    again: bool = False


class Prepared(ABC):
    """A controller made ready for one task.  Compiled problems live here; what it remembers lives in the state."""

    def initial_state(self) -> State:
        """Return the state before the first step."""
        return {}

    @abstractmethod
    def step(self, state: State, measurement: Measurement) -> tuple[Setpoints, State]:
        """Decide.  Never raises because of the data it is given; returns the setpoints and the next state."""

    def step_batch(self, measurements: Measurements) -> Setpoints | None:
        """Decide many steps at once, exactly as `step` would one by one; None: not offered.

        For a controller whose decision, where it gets every reading it may see, follows from that step's measurement
        alone: no filter, no previous setpoints; a settling loop starts from zero.  It moves inverters only.  Arrays
        are (T, inverters), or (inverters,) for all steps alike; `info` holds for all.  The simulator then advances a
        whole window at once.
        """
        return None


class Controller(ABC):
    """A control method.  Immutable: its dataclass fields are its configuration, read from ``name:key=value,...``.

    Concrete classes are final; vary them by wrapping.
    """

    @property
    @abstractmethod
    def sees(self) -> Information:
        """What it may know (a class constant, or a property of a wrapper); the simulator hides the rest."""

    @property
    def settle(self) -> Settle | None:
        """How it settles inside a step, for a method whose real counterpart is a fast local loop."""
        return None

    @property
    def reads(self) -> tuple[str, ...]:
        """Files that it decides by, a trained policy say: what stands in them is part of its configuration."""
        return ()

    @abstractmethod
    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Compile for a task.  Raises `InputError` for what can be known to be impossible now."""
