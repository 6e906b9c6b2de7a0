"""Collects a run step by step and turns it into a `Result`."""

from __future__ import annotations

from typing import Any

import numpy as np

from feederlab.controllers.base import Controller, Decision
from feederlab.models.arrays import BoolArray, FloatArray
from feederlab.models.plant import DeviceState
from feederlab.models.powerflow.base import Solution
from feederlab.models.scenario import Scenario, Series
from feederlab.models.scoring import voltage_deviation, voltage_excess
from feederlab.result import Result

_DECISION = ("rung", "iterations", "objective", "bound", "cone_gap")


class Recorder:
    """Arrays over the whole run, filled one step at a time; branch quantities are computed at the end, in one go."""

    def __init__(self, scenario: Scenario, series: Series) -> None:
        self.scenario, self.series = scenario, series
        feeder, count = scenario.feeder, len(series)
        self.u = np.full((count, feeder.n_nodes), np.nan, dtype=np.complex128)
        self.devices: list[DeviceState] = []
        self.decisions: list[Decision] = []
        self.rounds = np.zeros(count, dtype=np.int64)
        self.settled = np.ones(count, dtype=bool)
        self.clipped = np.zeros(count, dtype=np.int64)
        self.decision_s = np.zeros(count)

    def keep(
        self,
        t: int,
        solved: Solution,
        devices: DeviceState,
        decision: Decision,
        rounds: int,
        settled: bool,
        clipped: int,
        decision_s: float,
    ) -> None:
        """Keep step `t`."""
        self.u[t] = solved.u
        self.devices.append(devices)
        self.decisions.append(decision)
        self.rounds[t], self.settled[t], self.clipped[t], self.decision_s[t] = rounds, settled, clipped, decision_s

    def result(self, controller: Controller, label: str, options: Any) -> Result:
        """Return the run."""
        import xarray as xr

        from feederlab.provenance import provenance

        feeder, times = self.scenario.feeder, self.series.times
        branch = self._branches()
        per_device = {
            "q_mvar": ("inverter", "MVAr", "q_mvar"), "p_mw": ("inverter", "MW", "p_mw"),
            "storage_p_mw": ("storage", "MW", "storage_p_mw"), "storage_q_mvar": ("storage", "MVAr", "storage_q_mvar"),
            "soc": ("storage", "1", "soc"), "tap": ("transformer", "1", "tap"), "step": ("capacitor", "1", "step"),
        }  # fmt: skip
        variables: dict[str, Any] = {
            name: (("time", dim), np.array([getattr(d, attribute) for d in self.devices]), {"units": unit})
            for name, (dim, unit, attribute) in per_device.items()
        }
        variables["p_available_mw"] = (("time", "inverter"), self.series.p_available_mw, {"units": "MW"})
        variables["vm_pu"] = (("time", "bus"), feeder.to_buses(np.abs(self.u)), {"units": "p.u."})
        variables["loading_percent"] = (("time", "branch"), branch["loading"], {"units": "%"})
        for name, unit in (
            ("losses_mw", "MW"),
            ("line_losses_mw", "MW"),
            ("slack_p_mw", "MW"),
            ("slack_q_mvar", "MVAr"),
        ):
            variables[name] = ("time", branch[name], {"units": unit})
        variables["voltage_deviation"] = (
            "time",
            voltage_deviation(self.u, options.objective.v0, feeder.slack),
            {"units": "p.u.^2"},
        )
        variables["voltage_excess"] = (
            "time",
            voltage_excess(self.u, self.scenario.band, feeder.slack),
            {"units": "p.u. of squared magnitude"},
        )
        variables["rounds"] = ("time", self.rounds, {"units": "1"})
        variables["settled"] = ("time", self.settled, {})
        variables["clipped"] = ("time", self.clipped, {"units": "1"})
        variables["converged"] = ("time", np.isfinite(self.u.real).all(axis=1), {})
        for name in _DECISION:
            variables[name] = ("time", np.array([getattr(d, name) for d in self.decisions]), {})
        variables["status"] = ("time", np.array([d.status for d in self.decisions], dtype=str), {})
        variables["solver"] = ("time", np.array([d.solver for d in self.decisions], dtype=str), {})
        coords = self._coords(times, feeder)
        data = xr.Dataset(variables, coords=coords)
        if options.record == "metrics":
            data = data.drop_dims(["bus", "branch"])
        if options.record == "float32":
            data = data.map(
                lambda v: v.astype(np.float32) if v.dtype == np.float64 and v.ndim > 1 else v, keep_attrs=True
            )
        timing = xr.Dataset(
            {
                "decision_s": ("time", self.decision_s, {"units": "s"}),
                "solver_s": ("time", np.array([d.solver_time_s for d in self.decisions]), {"units": "s"}),
            },
            coords={"time": times.to_numpy()},
        )
        return Result(data, timing, provenance(self.scenario, controller, label, options))

    def _coords(self, times: Any, feeder: Any) -> dict[str, Any]:
        band = self.scenario.band
        return {
            "time": times.to_numpy(),
            "bus": feeder.bus_index,
            "inverter": feeder.inverters.index,
            "storage": feeder.storages.index,
            "transformer": feeder.tap_changers.index,
            "capacitor": feeder.capacitors.index,
            "branch": np.array([feeder.branches.name(k) for k in range(len(feeder.branches))], dtype=str),
            "vm_low": ("bus", feeder.to_buses(band[0])),
            "vm_high": ("bus", feeder.to_buses(band[1])),
            "inverter_bus": ("inverter", feeder.inverters.bus),
            "inverter_s_mva": ("inverter", feeder.inverters.s_mva),
        }

    def _branches(self) -> dict[str, FloatArray]:
        """Branch quantities, computed for all steps that share taps and steps at once."""
        feeder, count = self.scenario.feeder, len(self.u)
        names = ("losses_mw", "line_losses_mw", "slack_p_mw", "slack_q_mvar")
        out = {name: np.full(count, np.nan) for name in names}
        out["loading"] = np.full((count, len(feeder.branches)), np.nan)
        is_line = np.array([element == "line" for element in feeder.branches.element])
        own = self._slack_own_mva()
        for rows, taps, steps in self._same_switching():
            solved = Solution(feeder, self.u[rows], feeder.two_port(taps), feeder.shunt(steps))
            losses, slack = solved.branch_losses_mw(), solved.slack_mva() + own[rows]
            out["losses_mw"][rows], out["line_losses_mw"][rows] = losses.sum(axis=1), losses[:, is_line].sum(axis=1)
            out["slack_p_mw"][rows], out["slack_q_mvar"][rows] = slack.real, slack.imag
            out["loading"][rows] = solved.loading_percent()
        return out

    def _slack_own_mva(self) -> Any:
        """Consumption that hangs directly on the slack node, (T,) MVA."""
        feeder = self.scenario.feeder
        own = self.series.load_mva[:, feeder.slack] - feeder.node_fixed[feeder.slack] * feeder.base_mva
        at = feeder.inverters.node == feeder.slack
        store = feeder.storages.node == feeder.slack
        for t, d in enumerate(self.devices):
            own[t] -= (d.p_mw + 1j * d.q_mvar)[at].sum() - (d.storage_p_mw + 1j * d.storage_q_mvar)[store].sum()
        return own

    def _same_switching(self) -> list[tuple[BoolArray, Any, Any]]:
        positions = np.array([np.concatenate([d.tap, d.step]) for d in self.devices])
        unique, group = np.unique(positions, axis=0, return_inverse=True)
        taps = len(self.scenario.feeder.tap_changers)
        return [
            (group.reshape(-1) == k, row[:taps].astype(int), row[taps:].astype(int)) for k, row in enumerate(unique)
        ]
