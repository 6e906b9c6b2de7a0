"""What a grid must keep, what it did, and which of its elements is the first to break."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from feederlab.errors import InputError
from feederlab.metrics import BAND_TOLERANCE
from feederlab.models.arrays import BoolArray, FloatArray, IntArray
from feederlab.models.feeder import Feeder
from feederlab.models.scenario import Scenario

_LOADING_TOLERANCE = 1e-3
"""Loading counts as too high from this excess on (%): solvers meet a binding limit to less."""
_CURTAILED_TOLERANCE = 1e-3
"""The same for the share of energy that is curtailed (%)."""
_NO_REST = "no rest"


@dataclass(frozen=True, eq=False)
class Limits:
    """What counts as "fits", at every step of a window.

    buses, branches : names of the elements.  low, high : (steps, buses) voltage band (p.u.), 0 and inf at the slack and
    where no bus is supplied.  loading : (steps, branches) highest loading (%).  curtailed : highest share of the
    available energy that may be curtailed over the whole window (%).
    """

    buses: tuple[str, ...]
    branches: tuple[str, ...]
    low: FloatArray
    high: FloatArray
    loading: FloatArray
    curtailed: float

    @classmethod
    def of(cls, scenario: Scenario, max_loading_percent: float, max_curtailed_percent: float) -> Limits:
        """Return the limits of a scenario.  Raises `InputError` for percentages that mean nothing."""
        if not 0 < max_loading_percent < np.inf:
            raise InputError(f"the highest loading must be a positive percentage, not {max_loading_percent}")
        if not 0 <= max_curtailed_percent <= 100:
            raise InputError(f"the curtailed share must lie in 0-100 %, not {max_curtailed_percent}")
        feeder, band, steps = scenario.feeder, np.array(scenario.band), scenario.periods
        band[:, feeder.slack] = 0.0, np.inf
        low, high = np.nan_to_num(feeder.to_buses(band[0]), nan=0.0), feeder.to_buses(band[1])
        branches = tuple(map(feeder.branches.name, range(len(feeder.branches))))
        return cls(
            _bus_names(feeder), branches, np.tile(low, (steps, 1)),
            np.tile(np.where(np.isnan(high), np.inf, high), (steps, 1)),
            np.full((steps, len(branches)), float(max_loading_percent)), max_curtailed_percent,
        )  # fmt: skip

    def no_worse_than(self, state: State) -> Limits:
        """Return the limits with every one that `state`, a whole window, breaks moved to where it stands."""
        return replace(
            self, low=np.fmin(self.low, state.vm), high=np.fmax(self.high, state.vm),
            loading=np.fmax(self.loading, state.loading),
        )  # fmt: skip

    def band(self, feeder: Feeder, row: int) -> FloatArray:
        """Return the (2, nodes) band of one step, as wide as it is kept here, and 0.5-2 at nodes without a bus."""
        band = np.repeat([[0.5], [2.0]], feeder.n_nodes, axis=1)
        on = feeder.bus_node >= 0
        np.maximum.at(band[0], feeder.bus_node[on], self.low[row, on] - BAND_TOLERANCE)
        np.minimum.at(band[1], feeder.bus_node[on], self.high[row, on] + BAND_TOLERANCE)
        return band

    def breaches(self, state: State) -> tuple[BoolArray, BoolArray, BoolArray]:
        """Return which voltages are too high, which too low, (steps, buses), and which loadings, (steps, branches)."""
        row = state.row
        return (
            np.asarray(state.vm > self.high[row] + BAND_TOLERANCE),
            np.asarray(state.vm < self.low[row] - BAND_TOLERANCE),
            np.asarray(state.loading > self.loading[row] + _LOADING_TOLERANCE),
        )

    def steps_kept(self, state: State) -> BoolArray:
        """Return (steps,) whether a step has a power flow, at rest, that keeps the band and the loading limit."""
        too_high, too_low, overload = self.breaches(state)
        broken = np.concatenate([too_high, too_low, overload], axis=1)
        return np.asarray(state.solved & state.at_rest & ~np.asarray(broken.any(axis=1)))

    def little_curtailed(self, state: State) -> bool:
        """Say whether no more energy was curtailed than is allowed."""
        return state.curtailed_percent <= self.curtailed + _CURTAILED_TOLERANCE

    def kept(self, state: State) -> bool:
        """Say whether everything is kept."""
        return bool(self.steps_kept(state).all()) and self.little_curtailed(state)


@dataclass(frozen=True, eq=False)
class State:
    """What the grid did at one amount of PV.

    times : (steps,); an evaluation that stopped early has the steps that it looked at.  row : (steps,) their place in
    the window.  vm : (steps, buses) (p.u.).  loading : (steps, branches) (%), NaN without a limit.
    available_mw, injected_mw : (steps, inverters) active power that the sun offers, and that flows.
    settled : (steps,) whether a local loop came to rest.  must_settle : whether it has to: the state of a loop that
    starts afresh at every step is nothing but where it comes to rest, and means nothing if it does not.
    """

    times: pd.DatetimeIndex
    row: IntArray
    vm: FloatArray
    loading: FloatArray
    available_mw: FloatArray
    injected_mw: FloatArray
    settled: BoolArray
    must_settle: bool = False

    @property
    def at_rest(self) -> BoolArray:
        """(steps,) whether the loop is at rest, or need not be."""
        return self.settled | (not self.must_settle)

    @cached_property
    def solved(self) -> BoolArray:
        """(steps,) whether the power flow has a solution."""
        return np.asarray(np.isfinite(self.vm).any(axis=1))

    @property
    def curtailed_percent(self) -> float:
        """Energy that is not injected, in % of what is available."""
        available = float(self.available_mw.sum())
        return 100 * float((self.available_mw - self.injected_mw).sum()) / available if available > 0 else 0.0

    def at_rows(self, row: IntArray) -> State:
        """Return the steps that stand at `row` in the window."""
        steps = np.searchsorted(self.row, row)
        return State(
            self.times[steps], self.row[steps], self.vm[steps], self.loading[steps], self.available_mw[steps],
            self.injected_mw[steps], self.settled[steps], self.must_settle,
        )  # fmt: skip


@dataclass(frozen=True)
class Binding:
    """The element that breaks first when PV grows.

    kind : ``"voltage too high"``, ``"voltage too low"``, ``"overload"``, ``"no rest"`` of the control loop, ``"no
    solution"`` of the power flow, or ``"curtailment"``.
    element : e.g. ``"bus 17"``, ``"line 3"``, ``"trafo 0"``; empty where no single one is to blame.
    value, limit : in `unit`, just above the capacity; None without rest or solution.  time : when; empty for
    curtailment, which is a sum.
    """

    kind: str
    element: str
    value: float | None
    limit: float | None
    unit: str
    time: str

    def __str__(self) -> str:
        when = f", {self.time}" if self.time else ""
        if self.value is None or self.limit is None:
            what = (
                "the control loop does not come to rest" if self.kind == _NO_REST else "the power flow has no solution"
            )
            return what + when
        if self.kind == "curtailment":
            return f"{self.value:.2f} % of the energy is curtailed (allowed: {self.limit:g} %)"
        digits, side = ".4f" if self.unit == "p.u." else ".1f", "below" if self.kind == "voltage too low" else "above"
        return f"{self.element} at {self.value:{digits}} {self.unit} ({side} {self.limit:.5g}){when}"


def first_to_break(limits: Limits, below: State | None, above: State) -> Binding:
    """Return what breaks first between a state that keeps the limits and one with a little more PV that does not.

    Each element's way to its limit is taken as linear between the two; the one that arrives first is named.  Without
    `below` (nothing fits at all) it is the one furthest beyond its limit, relative to the limit.  A voltage or loading
    counts only where the control loop is at rest.
    """
    found: list[tuple[float, float, Binding]] = []
    at_rest = above.at_rest[:, None]
    too_high, too_low, overload = (broken & at_rest for broken in limits.breaches(above))
    before = None if below is None else below.at_rows(above.row)
    for kind, unit, names, broken, name, limit, side in (
        ("voltage too high", "p.u.", limits.buses, too_high, "vm", limits.high, 1),
        ("voltage too low", "p.u.", limits.buses, too_low, "vm", limits.low, -1),
        ("overload", "%", limits.branches, overload, "loading", limits.loading, 1),
    ):
        step, element = np.nonzero(broken)
        if not len(step):
            continue
        value, most = getattr(above, name), limit[above.row]
        excess = side * (value - most)[step, element]
        share = np.zeros(len(step))
        if before is not None:
            room = np.maximum(-side * (getattr(before, name) - most)[step, element], 0.0)
            share = room / (room + excess)
        relative = excess / most[step, element]
        best = int(np.lexsort((-relative, share))[0])
        at, which = int(step[best]), int(element[best])
        named = Binding(
            kind, names[which], float(value[at, which]), float(most[at, which]), unit,
            f"{above.times[at]:%Y-%m-%d %H:%M}",
        )  # fmt: skip
        found.append((float(share[best]), -float(relative[best]), named))
    if found:
        return min(found, key=lambda entry: entry[:2])[2]
    for kind, lost in (("no solution", ~above.solved), (_NO_REST, ~above.at_rest)):
        if lost.any():
            return Binding(kind, "", None, None, "", f"{above.times[int(np.argmax(lost))]:%Y-%m-%d %H:%M}")
    return Binding("curtailment", "", above.curtailed_percent, limits.curtailed, "%", "")


def _bus_names(feeder: Feeder) -> tuple[str, ...]:
    given = feeder.net.bus.get("name", {})
    names = []
    for bus in feeder.bus_index.tolist():
        own = str(given[bus]) if bus in given and given[bus] is not None else ""
        told = own.strip() and not own.strip().isdecimal() and own not in ("nan", f"bus {bus}")
        names.append(f"bus {bus} ({own})" if told else f"bus {bus}")
    return tuple(names)
