"""Newton-Raphson: power-grid-model (C++), fed with pandapower's own branch table."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from power_grid_model import (
    CalculationMethod,
    ComponentType,
    DatasetType,
    LoadGenType,
    PowerGridModel,
    initialize_array,
)
from power_grid_model.errors import PowerGridError  # type: ignore[attr-defined]

from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.branches import TwoPort
from feederlab.models.feeder import Feeder
from feederlab.models.powerflow.base import PowerFlow, Solution

# Every node gets this nominal voltage, so that ohms are per unit on 1 MVA.
_U_RATED, _BASE_VA = 1e3, 1e6
_STIFF_VA = 1e20  # short-circuit power of the source: its impedance vanishes beside any branch
_TOLERANCE, _ITERATIONS = 1e-10, 60


class GridModelFlow(PowerFlow):
    """power-grid-model's Newton-Raphson with one `generic_branch` per branch (agrees with pandapower to 1e-8 p.u.)."""

    def __init__(self, feeder: Feeder) -> None:
        super().__init__(feeder)
        self._model = lru_cache(maxsize=64)(self._build)
        self._fixed_mva = feeder.node_fixed * feeder.base_mva

    def solve(
        self,
        injection_mva: ComplexArray,
        *,
        taps: IntArray | None = None,
        steps: IntArray | None = None,
        slack_vm: float | None = None,
        start: ComplexArray | None = None,
    ) -> Solution:
        compiled = self._model(_key(taps), _key(steps))
        vm = self.feeder.slack_vm if slack_vm is None else slack_vm
        return compiled.solution(compiled.run_one(injection_mva + self._fixed_mva, vm))

    def solve_batch(
        self,
        injection_mva: ComplexArray,
        *,
        taps: IntArray | None = None,
        steps: IntArray | None = None,
        slack_vm: FloatArray | float | None = None,
        start: ComplexArray | None = None,
    ) -> Solution:
        compiled = self._model(_key(taps), _key(steps))
        vm = np.broadcast_to(self.feeder.slack_vm if slack_vm is None else slack_vm, len(injection_mva))
        return compiled.solution(compiled.run_many(injection_mva + self._fixed_mva, vm))

    def _build(self, taps: tuple[int, ...] | None, steps: tuple[int, ...] | None) -> _Compiled:
        two_port = self.feeder.two_port(None if taps is None else np.array(taps))
        return _Compiled(self.feeder, two_port, self.feeder.shunt(None if steps is None else np.array(steps)))


def _key(values: IntArray | None) -> tuple[int, ...] | None:
    return None if values is None or not len(values) else tuple(values.tolist())


class _Compiled:
    """One compiled model: fixed taps and steps, any injection."""

    def __init__(self, feeder: Feeder, two_port: TwoPort, shunt: ComplexArray) -> None:
        self.feeder, self.two_port, self.shunt = feeder, two_port, shunt
        nodes, branches = feeder.n_nodes, len(feeder.branches)
        # The end-symmetric part of the shunts belongs to the branch, the rest to its to node.
        extra_g, extra_b = two_port.g_t - two_port.g_f, two_port.b_t - two_port.b_f
        at_node = shunt.copy()
        np.add.at(at_node, feeder.branches.to_node, extra_g + 1j * extra_b)
        ids = np.arange(nodes)
        self.inputs: dict[Any, Any] = {
            ComponentType.node: _table("node", id=ids, u_rated=np.full(nodes, _U_RATED)),
            ComponentType.generic_branch: _table(
                "generic_branch", id=nodes + np.arange(branches),
                from_node=feeder.branches.from_node, to_node=feeder.branches.to_node,
                from_status=np.ones(branches), to_status=np.ones(branches),
                r1=two_port.r / feeder.base_mva, x1=two_port.x / feeder.base_mva,
                g1=2 * two_port.g_f * feeder.base_mva, b1=2 * two_port.b_f * feeder.base_mva,
                k=two_port.ratio, theta=two_port.shift_rad, sn=np.full(branches, _BASE_VA),
            ),
            ComponentType.sym_load: _table(
                "sym_load", id=nodes + branches + ids, node=ids, status=np.ones(nodes),
                type=np.full(nodes, LoadGenType.const_power), p_specified=np.zeros(nodes), q_specified=np.zeros(nodes),
            ),
            ComponentType.shunt: _table(
                "shunt", id=2 * nodes + branches + ids, node=ids, status=np.ones(nodes),
                g1=at_node.real * feeder.base_mva, b1=at_node.imag * feeder.base_mva,
            ),
            ComponentType.source: _table(
                "source", id=[3 * nodes + branches], node=[feeder.slack], status=[1], u_ref=[feeder.slack_vm],
                u_ref_angle=[feeder.slack_rad], sk=[_STIFF_VA],
            ),
        }  # fmt: skip
        self.model = PowerGridModel(self.inputs)
        self._load = initialize_array(DatasetType.update, ComponentType.sym_load, nodes)
        self._load["id"] = self.inputs[ComponentType.sym_load]["id"]
        self._source = initialize_array(DatasetType.update, ComponentType.source, 1)
        self._source["id"] = self.inputs[ComponentType.source]["id"]
        self._p_w, self._q_var = self._load["p_specified"], self._load["q_specified"]  # views
        self._u_ref = self._source["u_ref"]
        self._update = {ComponentType.sym_load: self._load, ComponentType.source: self._source}
        self._output = [ComponentType.node]  # whole rows: picking columns costs the wrapper more than it saves

    def run_one(self, injection_mva: ComplexArray, slack_vm: float) -> ComplexArray:
        np.multiply(injection_mva.real, -1e6, out=self._p_w)
        np.multiply(injection_mva.imag, -1e6, out=self._q_var)
        self._u_ref[0] = slack_vm
        self.model.update(update_data=self._update)
        return self._calculate(None, self.feeder.n_nodes)

    def run_many(self, injection_mva: ComplexArray, slack_vm: FloatArray) -> ComplexArray:
        count, nodes = injection_mva.shape
        load = {
            "p_specified": injection_mva.real * -1e6,
            "q_specified": injection_mva.imag * -1e6,
        }
        source = {"u_ref": slack_vm.reshape(count, 1).astype(float)}
        update = {ComponentType.sym_load: load, ComponentType.source: source}
        return self._calculate(update, nodes, count)

    def _calculate(self, update: Any, nodes: int, count: int | None = None) -> ComplexArray:
        try:
            result: Any = self.model.calculate_power_flow(
                calculation_method=CalculationMethod.newton_raphson,
                error_tolerance=_TOLERANCE, max_iterations=_ITERATIONS,
                update_data=update, output_component_types=self._output, continue_on_batch_error=True,
            )  # fmt: skip
        except PowerGridError:
            return np.full(nodes, np.nan, dtype=np.complex128)
        node = result[ComponentType.node]
        with np.errstate(invalid="ignore", over="ignore"):  # what failed holds whatever its last iteration left there
            u: ComplexArray = node["u_pu"] * np.exp(1j * node["u_angle"])
        failed = getattr(self.model.batch_error, "failed_scenarios", None) if count is not None else None
        if failed is not None:
            u[failed] = np.nan
        return u

    def solution(self, u: ComplexArray) -> Solution:
        return Solution(self.feeder, u, self.two_port, self.shunt)


def _table(component: str, **columns: Any) -> Any:
    rows = initialize_array(DatasetType.input, ComponentType(component), len(columns["id"]))
    for name, values in columns.items():
        rows[name] = values
    return rows
