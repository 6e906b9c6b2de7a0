"""Setpoints of a feeder's inverters: made feasible for the devices, and priced in an AC power flow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray
from feederlab.models.feeder import Feeder
from feederlab.models.loading import CurrentLimits
from feederlab.models.objective import Objective
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.powerflow.base import PowerFlow, Solution, engine
from feederlab.models.scoring import objective_value, voltage_excess


@dataclass(frozen=True)
class Price:
    """What a solved state costs.

    objective : its value, penalties not included.  excess : `scoring.voltage_excess` (p.u. of squared magnitude).
    overload : `CurrentLimits.overload`, 0 where nothing is limited.
    cost : objective plus voltage penalty times (excess plus overload).
    """

    objective: float
    excess: float
    overload: float
    cost: float


def check_decidable(feeder: Feeder, objective: Objective) -> None:
    """Raise `InputError` for the objective ``cost``, and for voltage-controlled generators."""
    objective.check_feeder()
    if len(feeder.pv):
        raise InputError(
            "the feeder has voltage-controlled generators (table gen), whose dispatch this method does not decide; "
            "make them static generators (sgen, controllable)"
        )


class SetpointProblem:
    """What every exact method of one feeder shares: the devices' limits and the price of setpoints.

    Parameters
    ----------
    feeder
        Radial or meshed; without voltage-controlled generators.
    band
        (2, nodes) lowest and highest voltage magnitude (p.u.); 0 and inf mean no limit.
    objective
        Any terms but ``cost``.
    voltage_penalty
        Price of the voltage excess, objective units per p.u. of squared magnitude, and of the overload, per unit of
        squared loading.
    curtail
        Whether active power may be lowered.
    max_loading_percent
        Soft limit of every line and transformer (% of its current limit); 0: none.

    Raises
    ------
    InputError
        Voltage-controlled generators, the objective ``cost``, or a loading limit where no branch has one.
    """

    def __init__(
        self,
        feeder: Feeder,
        band: FloatArray,
        objective: Objective,
        voltage_penalty: float,
        *,
        curtail: bool = False,
        max_loading_percent: float = 0.0,
    ) -> None:
        check_decidable(feeder, objective)
        self.feeder, self.objective, self.voltage_penalty, self.curtail = feeder, objective, voltage_penalty, curtail
        self.band = np.asarray(band, dtype=float)
        self.limits = CurrentLimits.of(feeder, max_loading_percent)
        self.flow: PowerFlow = engine(feeder)
        self.used = np.flatnonzero((feeder.inverters.node >= 0) & (feeder.inverters.s_mva > 0))

    @cached_property
    def rated_mva(self) -> float:
        """The feeder's peak load or inverter rating, whichever is larger (MVA)."""
        inverters, loads = self.feeder.inverters, self.feeder.loads
        load = float(np.abs((loads.p_mw + 1j * loads.q_mvar) * loads.scaling).sum())
        return max(load, float(inverters.s_mva.sum())) or self.feeder.base_mva

    @cached_property
    def unit_cost(self) -> float:
        """What the objective is worth where its power terms are the rated power and all others one."""
        power = {"losses", "substation_import", "curtailment", "storage_use"}
        return sum(weight * (self.rated_mva if name in power else 1.0) for name, weight in self.objective.weights)

    def available(self, point: OperatingPoint) -> FloatArray:
        """Return the (inverters,) largest active power that sun and rating allow (MW)."""
        return np.asarray(np.clip(point.p_available_mw, 0.0, self.feeder.inverters.s_mva))

    def feasible(
        self, point: OperatingPoint, q_mvar: FloatArray, p_mw: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Return (q, p) made feasible for the devices; p is what is available unless it is given and may be lowered."""
        p, s = self.available(point), self.feeder.inverters.s_mva
        if self.curtail and p_mw is not None:
            p = np.minimum(np.maximum(p_mw, 0.0), p)
        room = np.sqrt(np.maximum(s**2 - p**2, 0.0))
        return np.minimum(np.maximum(q_mvar, -room), room), p

    def solve(self, point: OperatingPoint, q_mvar: FloatArray, p_mw: FloatArray) -> Solution:
        """Return the AC power flow at setpoints."""
        injection = point.injection_mva(self.feeder, p_mw, q_mvar)
        return self.flow.solve(injection, taps=point.taps, steps=point.steps, slack_vm=point.slack_vm)

    def price(self, point: OperatingPoint, solved: Solution, q_mvar: FloatArray, p_mw: FloatArray) -> Price:
        """Return what a solved state costs."""
        feeder = self.feeder
        own = point.injection_mva(feeder, p_mw, q_mvar) + feeder.node_fixed * feeder.base_mva
        value = objective_value(
            self.objective, solved, slack_load_mw=-own[feeder.slack].real,
            p_available_mw=point.p_available_mw, p_mw=p_mw, q_mvar=q_mvar, storage_use_mw=point.storage_use_mw,
        )  # fmt: skip
        excess = float(voltage_excess(solved.u, self.band, feeder.slack))
        overload = self.limits.overload(solved) if self.limits is not None else 0.0
        return Price(float(value), excess, overload, float(value) + self.voltage_penalty * (excess + overload))

    def verify(self, point: OperatingPoint, q_mvar: FloatArray, p_mw: FloatArray) -> tuple[float, Solution]:
        """Return the cost of setpoints in an AC power flow (inf if it has no solution), and the flow."""
        solved = self.solve(point, q_mvar, p_mw)
        return (self.price(point, solved, q_mvar, p_mw).cost if solved.converged else np.inf), solved
