"""Collects a run step by step and turns it into a `Result`."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any

import numpy as np

from feederlab.controllers.base import Controller, Decision
from feederlab.metrics import per_step
from feederlab.models.arrays import BoolArray, ComplexArray, FloatArray, IntArray
from feederlab.models.objective import Objective
from feederlab.models.plant import DeviceState
from feederlab.models.powerflow.base import Solution
from feederlab.models.scenario import Scenario, Series
from feederlab.models.scoring import objective_value, voltage_deviation, voltage_excess
from feederlab.models.topology import Topology
from feederlab.result import Result

_FLOWS = 500_000  # branch flows that are computed at once: 8 MB per complex array
_DECISION = ("rung", "iterations", "objective", "bound", "cone_gap", "mip_gap", "model_error")


class Recorder:
    """Arrays over the whole run, filled as steps are taken; branch quantities are computed at the end."""

    def __init__(self, scenario: Scenario, series: Series) -> None:
        self.scenario, self.series = scenario, series
        feeder, count = scenario.feeder, len(series)
        self.u = np.full((count, feeder.n_nodes), np.nan, dtype=np.complex128)
        sizes: dict[str, Sized] = {
            "p_mw": feeder.inverters, "q_mvar": feeder.inverters, "storage_p_mw": feeder.storages,
            "storage_q_mvar": feeder.storages, "soc": feeder.storages, "tap": feeder.tap_changers,
            "step": feeder.capacitors,
        }  # fmt: skip
        self.devices: dict[str, Any] = {
            name: np.zeros((count, len(table)), dtype=np.int64 if name in ("tap", "step") else np.float64)
            for name, table in sizes.items()
        }
        self.decisions: list[Decision] = [Decision()] * count
        self.rounds = np.zeros(count, dtype=np.int64)
        self.settled = np.ones(count, dtype=bool)
        self.clipped = np.zeros(count, dtype=np.int64)
        self.decision_s = np.zeros(count)

    def keep(
        self,
        at: int | IntArray,
        u: ComplexArray,
        devices: DeviceState,
        decision: Decision,
        rounds: int,
        settled: bool | BoolArray,
        clipped: int | IntArray,
        decision_s: float | FloatArray,
    ) -> None:
        """Keep step `at`, or the steps `at` (n,), whose arrays then have n rows or one for all."""
        self.u[at] = u
        for name, values in self.devices.items():
            values[at] = getattr(devices, name)
        for t in (at,) if isinstance(at, int) else at.tolist():
            self.decisions[t] = decision
        self.rounds[at], self.settled[at], self.clipped[at], self.decision_s[at] = rounds, settled, clipped, decision_s

    def result(self, controller: Controller, label: str, options: Any, voltage_penalty: float) -> Result:
        """Return the run.

        voltage_penalty : price of the voltage slack, objective units per p.u. of squared magnitude.
        """
        import xarray as xr

        from feederlab.provenance import provenance

        feeder, times = self.scenario.feeder, self.series.times
        variables = self._devices() | self._grid(options.objective, voltage_penalty) | self._decisions()
        data = xr.Dataset(variables, coords=self._coords(times, feeder))
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

    def _devices(self) -> dict[str, Any]:
        """Return what every device did."""
        of = {
            "q_mvar": ("inverter", "MVAr"), "p_mw": ("inverter", "MW"), "storage_p_mw": ("storage", "MW"),
            "storage_q_mvar": ("storage", "MVAr"), "soc": ("storage", "1"), "tap": ("transformer", "1"),
            "step": ("capacitor", "1"),
        }  # fmt: skip
        variables: dict[str, Any] = {
            name: (("time", dim), self.devices[name], {"units": unit}) for name, (dim, unit) in of.items()
        }
        return (
            variables
            | {"p_available_mw": (("time", "inverter"), self.series.p_available_mw, {"units": "MW"})}
            | self._memory()
        )

    def _memory(self) -> dict[str, Any]:
        """Return what devices with memory have been through: stored energy at the end of each step, and moves."""
        feeder, d = self.scenario.feeder, self.devices
        units, hours = feeder.storages, self.scenario.step.total_seconds() / 3600
        p = d["storage_p_mw"]
        energy = d["soc"] * units.e_max_mwh + hours * np.where(p > 0, p * units.efficiency, p / units.efficiency)
        variables: dict[str, Any] = {"energy_mwh": (("time", "storage"), energy, {"units": "MWh", "long_name": (
            "stored energy at the end of the step")})}  # fmt: skip
        for name, now, before in (
            ("tap_moves", d["tap"], feeder.tap_changers.tap), ("capacitor_moves", d["step"], feeder.capacitors.step),
        ):  # fmt: skip
            moved = np.abs(np.diff(now, axis=0, prepend=np.asarray(before)[None, :])).sum(axis=1)
            variables[name] = ("time", moved, {"units": "1"})
        return variables

    def _grid(self, objective: Objective, voltage_penalty: float) -> dict[str, Any]:
        """Return what the grid did, and what it costs."""
        feeder, slack = self.scenario.feeder, self.scenario.feeder.slack
        branch = self._branches(objective)
        band = np.array(self.scenario.band)
        band[:, slack] = 0.0, np.inf
        vm = feeder.to_buses(np.abs(self.u))
        excess = voltage_excess(self.u, self.scenario.band, slack)
        is_line = np.array([element == "line" for element in feeder.branches.element], dtype=bool)
        variables: dict[str, Any] = {
            "vm_pu": (("time", "bus"), vm, {"units": "p.u."}),
            "loading_percent": (("time", "branch"), branch["loading"], {"units": "%"}),
            "losses_mw": ("time", branch["losses_mw"], {"units": "MW"}),
            "line_losses_mw": ("time", branch["line_losses_mw"], {"units": "MW"}),
            "slack_p_mw": ("time", branch["slack_p_mw"], {"units": "MW"}),
            "slack_q_mvar": ("time", branch["slack_q_mvar"], {"units": "MVAr"}),
            "voltage_deviation": ("time", voltage_deviation(self.u, objective.v0, slack), {"units": "p.u.^2"}),
            "voltage_excess": ("time", excess, {"units": "p.u. of squared magnitude"}),
            "realised": ("time", branch["realised"], {"long_name": f"realised objective: {objective}"}),
            "penalty": ("time", voltage_penalty * excess, {"long_name": "price of the voltage excess"}),
            "converged": ("time", np.isfinite(self.u.real).all(axis=1), {}),
        }
        units = {"percent": "%", "share": "1", "pu": "p.u."}
        for name, values in per_step(vm, feeder.to_buses(band), branch["loading"], is_line).items():
            variables[name] = ("time", values, {"units": units[name.rsplit("_", 1)[1]]})
        return variables

    def _decisions(self) -> dict[str, Any]:
        """Return how the decisions came about; objective and bound are the controller's own claims."""
        variables: dict[str, Any] = {
            "rounds": ("time", self.rounds, {"units": "1"}),
            "settled": ("time", self.settled, {}),
            "clipped": ("time", self.clipped, {"units": "1"}),
            "status": ("time", np.array([d.status for d in self.decisions], dtype=str), {}),
            "solver": ("time", np.array([d.solver for d in self.decisions], dtype=str), {}),
        }
        for name in _DECISION:
            variables[name] = ("time", np.array([getattr(d, name) for d in self.decisions]), {})
        return variables

    def _coords(self, times: Any, feeder: Any) -> dict[str, Any]:
        band = self.scenario.band
        return Topology.of(feeder).coords() | {
            "time": times.to_numpy(),
            "bus": feeder.bus_index,
            "inverter": feeder.inverters.index,
            "storage": feeder.storages.index,
            "transformer": feeder.tap_changers.index,
            "capacitor": feeder.capacitors.index,
            "branch": np.array([feeder.branches.name(k) for k in range(len(feeder.branches))], dtype=str),
            "branch_element": ("branch", np.array(feeder.branches.element, dtype=str)),
            "vm_low": ("bus", feeder.to_buses(band[0])),
            "vm_high": ("bus", feeder.to_buses(band[1])),
            "inverter_bus": ("inverter", feeder.inverters.bus),
            "inverter_s_mva": ("inverter", feeder.inverters.s_mva),
            "storage_bus": ("storage", feeder.storages.bus),
            "storage_e_start_mwh": ("storage", feeder.storages.soc * feeder.storages.e_max_mwh),
            "storage_e_max_mwh": ("storage", feeder.storages.e_max_mwh),
            "capacitor_bus": ("capacitor", feeder.capacitors.bus),
        }

    def _branches(self, objective: Objective) -> dict[str, FloatArray]:
        """Branch quantities and the objective, computed for all steps that share taps and steps at once."""
        feeder, count = self.scenario.feeder, len(self.u)
        names = ("losses_mw", "line_losses_mw", "slack_p_mw", "slack_q_mvar", "realised")
        out = {name: np.full(count, np.nan) for name in names}
        out["loading"] = np.full((count, len(feeder.branches)), np.nan)
        is_line = np.array([element == "line" for element in feeder.branches.element], dtype=bool)
        own = self._slack_own_mva()
        p, q, available = self.devices["p_mw"], self.devices["q_mvar"], self.series.p_available_mw
        storage_use = np.abs(self.devices["storage_p_mw"]).sum(axis=1)
        for rows, taps, steps in self._same_switching():
            solved = Solution(feeder, self.u[rows], feeder.two_port(taps), feeder.shunt(steps))
            losses, slack = solved.branch_losses_mw(), solved.slack_mva() + own[rows]
            out["losses_mw"][rows], out["line_losses_mw"][rows] = losses.sum(axis=1), losses[:, is_line].sum(axis=1)
            out["slack_p_mw"][rows], out["slack_q_mvar"][rows] = slack.real, slack.imag
            out["loading"][rows] = solved.loading_percent()
            out["realised"][rows] = objective_value(
                objective, solved, slack_load_mw=own[rows].real, p_available_mw=available[rows], p_mw=p[rows],
                q_mvar=q[rows], storage_use_mw=storage_use[rows],
            )  # fmt: skip
        return out

    def _slack_own_mva(self) -> ComplexArray:
        """Consumption that hangs directly on the slack node, (T,) MVA."""
        feeder, d = self.scenario.feeder, self.devices
        own: ComplexArray = self.series.load_mva[:, feeder.slack] - feeder.node_fixed[feeder.slack] * feeder.base_mva
        at, store = feeder.inverters.node == feeder.slack, feeder.storages.node == feeder.slack
        own -= (d["p_mw"] + 1j * d["q_mvar"])[:, at].sum(axis=1)
        own += (d["storage_p_mw"] + 1j * d["storage_q_mvar"])[:, store].sum(axis=1)
        return own

    def _same_switching(self) -> Iterator[tuple[IntArray, IntArray, IntArray]]:
        """Yield (rows, taps, steps): the steps that share a setting of taps and capacitors, some thousands at most."""
        taps = len(self.scenario.feeder.tap_changers)
        positions = np.hstack([self.devices["tap"], self.devices["step"]])
        unique, group = positions[:1], np.zeros(len(positions), dtype=np.int64)
        if (positions != unique).any():
            unique, group = np.unique(positions, axis=0, return_inverse=True)
        size = max(_FLOWS // max(len(self.scenario.feeder.branches), 1), 1)
        for k, row in enumerate(unique):
            rows = np.flatnonzero(group.reshape(-1) == k)
            for first in range(0, len(rows), size):
                yield rows[first : first + size], row[:taps], row[taps:]
