"""An optimal power flow as MAPDN poses it, given to `pandapower.runopp`."""

from __future__ import annotations

from copy import deepcopy

import numpy as np

from feederlab.models.scenario import Scenario


def solves(step: Scenario) -> bool:
    """Say whether `pandapower.runopp` solves the first step of a scenario.

    It minimises the power drawn from the grid, the inverters' p given and |q| <= sqrt(s^2 - p^2), under hard voltage
    limits, from a power flow; PYPOWER's interior-point method is MATPOWER's.
    """
    import pandapower
    from pandapower.optimal_powerflow import OPFNotConverged

    series, feeder = step.series(), step.feeder
    net = deepcopy(feeder.net)
    net.bus["min_vm_pu"], net.bus["max_vm_pu"] = (feeder.to_buses(limit) for limit in step.band)
    net.ext_grid["controllable"] = False
    pandapower.create_poly_cost(net, net.ext_grid.index[0], "ext_grid", cp1_eur_per_mw=1.0)
    node = feeder.loads.node
    for column, power in (("p_mw", series.load_mva[0].real), ("q_mvar", series.load_mva[0].imag)):
        net.load[column] = power[node] / np.bincount(node, minlength=len(power))[node]
    inverters, p = feeder.inverters, series.p_available_mw[0]
    room = np.sqrt(inverters.s_mva**2 - p**2)
    net.sgen.loc[inverters.index, ["min_p_mw", "max_p_mw", "p_mw"]] = np.stack([p, p, p], axis=1)
    net.sgen.loc[inverters.index, ["min_q_mvar", "max_q_mvar"]] = np.stack([-room, room], axis=1)
    try:
        pandapower.runopp(net, init="pf", numba=False)
    except (OPFNotConverged, pandapower.LoadflowNotConverged):
        return False
    return True
