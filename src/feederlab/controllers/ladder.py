"""The ladder of fallbacks that every optimisation controller climbs down, and what it does with lost readings.

rung 0: the method itself; 1: its answer at a looser tolerance; 2: a convex fallback; 3: the last setpoints, held.
The rung stands in each step's `Decision`; nothing here raises because of data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from feederlab.controllers.base import ControlTask, Decision, Measurement, Setpoints, State
from feederlab.models.arrays import FloatArray

PRIMARY, LOOSER, CONVEX, HELD = range(4)
SOLVER_ERRORS = (ArithmeticError, ValueError, RuntimeError, np.linalg.LinAlgError)
"""What a solver may raise on data that it cannot digest."""

Attempt = Callable[[], Setpoints | None]
"""One rung: setpoints with their `Decision`, or None if it has no answer."""


def initial_memory(task: ControlTask) -> State:
    """Return the state that the ladder needs: the last setpoints, and the last reading of every quantity."""
    n = len(task.inverters)
    return {
        "q_mvar": np.zeros(n), "p_mw": np.full(n, np.nan), "vm": np.full(task.nodes, np.nan),
        "load_p_mw": np.zeros(task.nodes), "load_q_mvar": np.zeros(task.nodes), "p_available_mw": np.zeros(n),
        "slack_vm": np.ones(1),
    }  # fmt: skip


def complete(measurement: Measurement, state: State) -> tuple[Measurement, State]:
    """Return the measurement with the last good reading where one is lost, and the state that remembers it.

    Loads never read are zero and voltages never read stay NaN: a controller that needs one takes its model's.
    """
    read = {
        "vm": measurement.vm, "load_p_mw": measurement.load_p_mw, "load_q_mvar": measurement.load_q_mvar,
        "p_available_mw": measurement.p_available_mw, "slack_vm": np.atleast_1d(measurement.slack_vm),
    }  # fmt: skip
    filled = {name: np.where(np.isfinite(values), values, state[name]) for name, values in read.items()}
    whole = replace(
        measurement, vm=filled["vm"], load_p_mw=filled["load_p_mw"], load_q_mvar=filled["load_q_mvar"],
        slack_vm=float(filled["slack_vm"][0]), p_available_mw=filled["p_available_mw"],
        p_mw=np.where(np.isfinite(measurement.p_mw), measurement.p_mw, filled["p_available_mw"]),
        q_mvar=np.where(np.isfinite(measurement.q_mvar), measurement.q_mvar, state["q_mvar"]),
    )  # fmt: skip
    return whole, {**state, **filled}


def climb_down(attempts: Iterable[Attempt], state: State) -> tuple[Setpoints, State]:
    """Return the first attempt's setpoints that are finite, else the last ones held, and the state with them."""
    for attempt in attempts:
        try:
            found = attempt()
        except SOLVER_ERRORS:
            continue
        if found is not None and _finite(found.q_mvar) and _finite(found.p_mw):
            return found, _remember(state, found)
    p = state["p_mw"]
    held = Setpoints(
        q_mvar=state["q_mvar"].copy(), p_mw=p.copy() if np.isfinite(p).all() and len(p) else None,
        info=Decision(solver="none", status="held", rung=HELD),
    )  # fmt: skip
    return held, state


def _finite(values: FloatArray | None) -> bool:
    return values is None or bool(np.isfinite(values).all())


def _remember(state: State, found: Setpoints) -> State:
    kept = dict(state)
    if found.q_mvar is not None:
        kept["q_mvar"] = np.array(found.q_mvar)
    kept["p_mw"] = np.full_like(state["p_mw"], np.nan) if found.p_mw is None else np.array(found.p_mw)
    return kept
