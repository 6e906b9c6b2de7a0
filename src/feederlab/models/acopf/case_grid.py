"""A MATPOWER case in per unit, ready for optimal power flow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feederlab.errors import InputError
from feederlab.models.acopf.grid import Ends
from feederlab.models.acopf.program import index_of
from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.matpower_case import (
    ANGMAX,
    ANGMIN,
    BR_B,
    BR_R,
    BR_STATUS,
    BR_X,
    BS,
    BUS_I,
    BUS_TYPE,
    F_BUS,
    GEN_BUS,
    GEN_STATUS,
    GS,
    NONE,
    PD,
    PMAX,
    PMIN,
    QD,
    QMAX,
    QMIN,
    RATE_A,
    REF,
    SHIFT,
    T_BUS,
    TAP,
    VA,
    VMAX,
    VMIN,
    MatpowerCase,
)

_PC1, _PC2 = 10, 11  # capability curve in the gen table
_UNLIMITED = 1e10  # MATPOWER takes a rating of zero, or from here on, as none


@dataclass(frozen=True, eq=False)
class CaseGrid:
    """A MATPOWER case in per unit, what is out of service left out.

    bus_id : (nodes,).  demand, shunt : (nodes,) complex.  vm_low, vm_high : (nodes,).  slack, slack_rad : (refs,).
    gen_row : (gens,) rows of the case's gen table.  gen_node, p_low, p_high, q_low, q_high : (gens,).
    branch_row : (branches,) rows of the case's branch table.  admittances : (yff, yft, ytf, ytt), each (branches,).
    rating : (branches,) inf if none; of the apparent power at both ends or, with `rating_is_current`, of the current.
    angle_low, angle_high : (branches,) rad, infinite if none.
    power_factor : (gens,) fixed q / p of dispatchable loads, NaN for others.  cost : (gens or 2 gens, k) gencost rows.
    """

    base_mva: float
    bus_id: IntArray
    demand: ComplexArray
    shunt: ComplexArray
    vm_low: FloatArray
    vm_high: FloatArray
    slack: IntArray
    slack_rad: FloatArray
    gen_row: IntArray
    gen_node: IntArray
    p_low: FloatArray
    p_high: FloatArray
    q_low: FloatArray
    q_high: FloatArray
    power_factor: FloatArray
    cost: FloatArray
    ends: Ends
    branch_row: IntArray
    admittances: tuple[ComplexArray, ComplexArray, ComplexArray, ComplexArray]
    rating: FloatArray
    angle_low: FloatArray
    angle_high: FloatArray
    rating_is_current: bool = False

    @classmethod
    def from_tables(cls, case: MatpowerCase) -> CaseGrid:
        """Read MATPOWER tables.

        Raises
        ------
        InputError
            No reference bus, a branch without impedance, or a generator capability curve (columns PC1, PC2).
        """
        base_mva, gen, branch = case.base_mva, case.gen, case.branch
        bus = case.bus[case.bus[:, BUS_TYPE] != NONE]
        node = {int(b): k for k, b in enumerate(bus[:, BUS_I])}
        gen_row = np.flatnonzero((gen[:, GEN_STATUS] > 0) & np.isin(gen[:, GEN_BUS], bus[:, BUS_I]))
        at = np.isin(branch[:, F_BUS], bus[:, BUS_I]) & np.isin(branch[:, T_BUS], bus[:, BUS_I])
        branch_row = np.flatnonzero((branch[:, BR_STATUS] > 0) & at)
        rows, units = branch[branch_row], gen[gen_row]
        slack = np.flatnonzero(bus[:, BUS_TYPE] == REF)
        if not len(slack):
            raise InputError("the case has no reference bus (type 3)")
        if bad := [int(k) + 1 for k in branch_row[(rows[:, BR_R] == 0) & (rows[:, BR_X] == 0)]]:
            raise InputError(f"branch rows {bad} of the case have no impedance; give them one or join the buses")
        if units.shape[1] > _PC2 and np.any(units[:, [_PC1, _PC2]] != 0):
            raise InputError("generator capability curves (gen columns PC1, PC2) are not supported; set them to zero")
        ends = Ends.of(_numbers(node, rows[:, F_BUS]), _numbers(node, rows[:, T_BUS]))
        low, high = _angle_limits(rows)
        return cls(
            base_mva=base_mva, bus_id=index_of(bus[:, BUS_I]), demand=(bus[:, PD] + 1j * bus[:, QD]) / base_mva,
            shunt=(bus[:, GS] + 1j * bus[:, BS]) / base_mva, vm_low=bus[:, VMIN], vm_high=bus[:, VMAX],
            slack=slack, slack_rad=np.radians(bus[slack, VA]), gen_row=gen_row,
            gen_node=_numbers(node, units[:, GEN_BUS]), p_low=units[:, PMIN] / base_mva,
            p_high=units[:, PMAX] / base_mva, q_low=units[:, QMIN] / base_mva, q_high=units[:, QMAX] / base_mva,
            power_factor=_power_factor(units), cost=_cost_rows(case.gencost, len(gen), gen_row), ends=ends,
            branch_row=branch_row, admittances=_admittances(rows), rating=_ratings(rows) / base_mva,
            angle_low=low, angle_high=high,
        )  # fmt: skip


def _numbers(node: dict[int, int], buses: FloatArray) -> IntArray:
    return index_of([node[int(b)] for b in buses])


def _admittances(rows: FloatArray) -> tuple[ComplexArray, ComplexArray, ComplexArray, ComplexArray]:
    ys = 1.0 / (rows[:, BR_R] + 1j * rows[:, BR_X])
    tap = np.where(rows[:, TAP] == 0, 1.0, rows[:, TAP]) * np.exp(1j * np.radians(rows[:, SHIFT]))
    ytt = ys + 0.5j * rows[:, BR_B]
    return ytt / np.abs(tap) ** 2, -ys / np.conj(tap), -ys / tap, ytt


def _ratings(rows: FloatArray) -> FloatArray:
    rate = rows[:, RATE_A]
    return np.where((rate == 0) | (rate >= _UNLIMITED), np.inf, rate)


def _angle_limits(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Zero and +-360 mean no limit; so does a quarter turn or more, which no stable flow reaches."""
    if rows.shape[1] <= ANGMAX:
        return np.full(len(rows), -np.inf), np.full(len(rows), np.inf)
    low, high = rows[:, ANGMIN], rows[:, ANGMAX]
    given = (low != 0) | (high != 0)
    return (
        np.where(given & (low > -90), np.radians(low), -np.inf),
        np.where(given & (high < 90), np.radians(high), np.inf),
    )


def _power_factor(units: FloatArray) -> FloatArray:
    """Dispatchable loads (PMIN < 0 = PMAX) keep the power factor of their limits."""
    load = (units[:, PMIN] < 0) & (units[:, PMAX] == 0)
    q = np.where(units[:, QMIN] == 0, units[:, QMAX], 0) + np.where(units[:, QMAX] == 0, units[:, QMIN], 0)
    return np.where(load, q / np.where(load, units[:, PMIN], 1.0), np.nan)


def _cost_rows(gencost: FloatArray, gens: int, kept: IntArray) -> FloatArray:
    if not len(gencost):
        return np.zeros((0, 0))
    if len(gencost) not in (gens, 2 * gens):
        raise InputError(f"{gens} generators and {len(gencost)} rows of gencost: give {gens} or {2 * gens}")
    return gencost[np.concatenate([kept, kept + gens]) if len(gencost) == 2 * gens else kept]
