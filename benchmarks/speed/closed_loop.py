"""A closed-loop step (measure, droop, apply) against the same loop on `pandapower.runpp`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandapower

from benchmarks.speed.timing import Row, paired
from feederlab.controllers.registry import create
from feederlab.models.library import load
from feederlab.models.scenario import Scenario
from feederlab.simulate import RunOptions, simulate

THEIR_STEPS = 120
SUMMER = "2016-06-22"


def rows() -> Iterator[Row]:
    scenario, droop = load("mapdn33"), create("volt_var:curve=mapdn,max_rounds=1")
    short = scenario.window(SUMMER, THEIR_STEPS)
    for how, batch, steps, aim in (("one at a time", False, 960, 75.0), ("batched", True, 9600, 500.0)):
        window, options = scenario.window(SUMMER, steps), RunOptions(batch=batch)
        a, b, ratio = paired(lambda w=window, o=options: simulate(w, droop, o), lambda: by_hand(short), rounds=3)  # type: ignore[misc]
        ours, theirs = a / steps, b / THEIR_STEPS
        yield Row(
            f"closed-loop step (measure, droop, apply), case33, {how}", ours, "the same loop on runpp", theirs,
            ratio * steps / THEIR_STEPS, aim, note=f"{1 / ours:,.0f} steps/s",
        )  # fmt: skip


def by_hand(scenario: Scenario) -> None:
    """The loop as one would write it on pandapower: profiles into tables, power flow, droop, power flow."""
    net, series = scenario.feeder.net, scenario.series()
    inverters = scenario.feeder.inverters
    for t in range(len(series)):
        net.load["p_mw"] = series.load_mva[t].real[scenario.feeder.loads.node]
        net.load["q_mvar"] = series.load_mva[t].imag[scenario.feeder.loads.node]
        net.sgen["p_mw"] = series.p_available_mw[t]
        net.sgen["q_mvar"] = 0.0
        pandapower.runpp(net)
        vm = net.res_bus.vm_pu.to_numpy()[inverters.bus]
        room = np.sqrt(inverters.s_mva**2 - series.p_available_mw[t] ** 2)
        net.sgen["q_mvar"] = -room * np.clip((vm - 1.0) / 0.05, -1, 1)
        pandapower.runpp(net)
