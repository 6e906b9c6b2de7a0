"""A pandapower net with its cost tables as a `CaseGrid`, read as `pandapower.runopp` reads it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from feederlab.errors import InputError
from feederlab.models.acopf.case_grid import CaseGrid
from feederlab.models.arrays import IntArray
from feederlab.models.matpower_case import MatpowerCase
from feederlab.models.network import fuse_zero_impedance, two_ports


def grid_of_net(net: Any) -> tuple[CaseGrid, IntArray]:
    """Return a net's dispatch problem, and the node of each bus in index order (-1: unsupplied).

    As in pandapower the external grid holds its voltage unless it is `controllable`, and branch limits are currents.

    Raises
    ------
    InputError
        The net has no cost table, or pandapower cannot convert it, or it has HVDC lines.
    """
    from pandapower.converter.pypower.to_ppc import to_ppc

    if not len(net.poly_cost) and not len(net.pwl_cost):
        raise InputError("the net has no costs (poly_cost, pwl_cost); choose the objective losses or voltage_deviation")
    if len(net.dcline) and net.dcline.in_service.any():
        raise InputError("HVDC lines (dcline) are not supported in optimal power flow")
    net, _ = fuse_zero_impedance(net)
    try:
        model: dict[str, Any] = to_ppc(net, init="flat", mode="opf", calculate_voltage_angles=True)
    except (UserWarning, KeyError, ValueError, IndexError, NotImplementedError, FloatingPointError) as error:
        raise InputError(f"pandapower cannot convert this net for optimal power flow: {error}") from error
    bus, gen, branch = (np.asarray(model[name]).real.astype(float) for name in ("bus", "gen", "branch"))
    cost = np.asarray(model["gencost"], dtype=float)
    case = MatpowerCase(str(getattr(net, "name", "") or "net"), float(model["baseMVA"]), bus, gen, branch, cost)
    grid = CaseGrid.from_tables(case)
    # MATPOWER's table has no room for the iron losses of transformers and unequal ends: take the full two-ports.
    parts = two_ports(model, branch).take(grid.branch_row)
    lookup = np.asarray(net._pd2ppc_lookups["bus"])[net.bus.index.to_numpy()].astype(np.int64)
    supplied = net.bus.in_service.to_numpy() & np.isin(lookup, grid.bus_id)
    return replace(grid, admittances=parts.admittances(), rating_is_current=True), np.where(supplied, lookup, -1)
