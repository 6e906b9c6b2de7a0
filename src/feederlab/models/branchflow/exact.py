"""The exact branch-flow equations: how far a state is from meeting them, and their solution.

The relaxation keeps all of them but the last, which it relaxes; the linear model drops the squared currents.  A
power-flow solution must meet every one (`residuals` of `state_of`), which is how the models are checked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feederlab.models.arrays import ComplexArray, FloatArray
from feederlab.models.branchflow.linear import LinearModel
from feederlab.models.branchflow.parameters import BranchFlow
from feederlab.models.powerflow.base import Solution


@dataclass(frozen=True, eq=False)
class BranchState:
    """v : (nodes,) squared magnitude (p.u.).  s : (m,) P + jQ into the series elements.  l : (m,) squared current."""

    v: FloatArray
    s: ComplexArray
    l: FloatArray  # noqa: E741 (the symbol of the field)

    def losses_mw(self, flow: BranchFlow) -> float:
        """Return the active losses of all branches (MW)."""
        return float(flow.r @ self.l + flow.branch_g @ self.v) * flow.feeder.base_mva


def state_of(flow: BranchFlow, solved: Solution) -> BranchState:
    """Return a power-flow solution in branch-flow variables."""
    tree, v = flow.feeder.tree, solved.vm**2
    s_from, s_to = solved.branch_flows_mva()
    into = np.zeros(len(tree), dtype=np.complex128)
    np.add.at(into, tree.group, np.where(tree.flipped, s_to, s_from) / flow.feeder.base_mva)
    w = v[tree.parent] / flow.ratio2
    s = into - np.conj(flow.parent_shunt) * w
    return BranchState(v, s, np.abs(s) ** 2 / w)


def residuals(flow: BranchFlow, state: BranchState, consumption: ComplexArray) -> dict[str, FloatArray]:
    """Return by how much each equation fails, (m,) each: voltage, active and reactive balance, current (p.u.)."""
    tree = flow.feeder.tree
    w, z = state.v[tree.parent] / flow.ratio2, flow.r + 1j * flow.x
    passed_on = np.zeros(flow.feeder.n_nodes, dtype=np.complex128)
    np.add.at(passed_on, tree.parent, state.s)
    taken = (consumption + np.conj(flow.shunt) * state.v + passed_on)[tree.child]
    balance = state.s - z * state.l - taken
    voltage = w - 2 * (np.conj(z) * state.s).real + np.abs(z) ** 2 * state.l - state.v[tree.child]
    current = state.l * w - np.abs(state.s) ** 2
    return {"voltage": voltage, "active": balance.real, "reactive": balance.imag, "current": current}


def solve_exact(
    flow: BranchFlow, consumption: ComplexArray, v_slack: float, *, tol: float = 1e-12, rounds: int = 200
) -> BranchState | None:
    """Solve the equations by repeated linear solves with the squared currents of the round before.

    consumption : (nodes,) p + jq (p.u.).  Returns None if the rounds do not settle (no or a distant solution).
    """
    model, tree, z = LinearModel(flow), flow.feeder.tree, flow.r + 1j * flow.x
    current = np.zeros(len(tree))
    for _ in range(rounds):
        linear = model.solve(consumption, v_slack, current)
        w, s = linear.v[tree.parent] / flow.ratio2, linear.p + 1j * linear.q
        if not (w > 0).all():
            return None
        renewed = np.abs(s) ** 2 / w
        if np.max(np.abs(z) * np.abs(renewed - current), initial=0.0) < tol:
            return BranchState(linear.v, s, renewed)
        current = renewed
    return None
