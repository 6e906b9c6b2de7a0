"""Random radial feeders with inverters, operating points and setpoints for property tests."""

from __future__ import annotations

import numpy as np
import pandapower as pp
from hypothesis import strategies as st

from feederlab.models.feeder import Feeder
from feederlab.models.operating_point import OperatingPoint

_percent = st.integers(0, 100).map(lambda n: n / 100)


@st.composite
def radial_feeders(draw, max_buses: int = 8) -> Feeder:
    """A 10 kV tree of lines with charging below a 110/10 kV transformer, some 0.4 kV ends, shunts, 1-3 inverters.

    Transformers may stand either way round in the tables and off their middle tap; parallel lines occur.
    """
    net = pp.create_empty_network(sn_mva=draw(st.sampled_from([1.0, 100.0])))
    hv, root = pp.create_bus(net, 110.0), pp.create_bus(net, 10.0)
    pp.create_ext_grid(net, hv, vm_pu=draw(st.integers(98, 103)) / 100)
    for _ in range(draw(st.integers(1, 2))):
        pp.create_transformer_from_parameters(
            net, hv, root, sn_mva=16.0, vn_hv_kv=110.0, vn_lv_kv=10.5, vk_percent=11.0, vkr_percent=0.6, pfe_kw=15.0,
            i0_percent=0.1, tap_side="hv", tap_neutral=0, tap_min=-2, tap_max=2, tap_step_percent=1.5,
            tap_pos=draw(st.integers(-2, 2)), tap_changer_type="Ratio",
        )  # fmt: skip
    buses, medium = [root], [root]
    for _ in range(draw(st.integers(2, max_buses - 1))):
        parent = draw(st.sampled_from(medium))
        if draw(st.integers(0, 4)):
            bus = pp.create_bus(net, 10.0)
            medium.append(bus)
            ends = (parent, bus) if draw(st.booleans()) else (bus, parent)
            pp.create_line_from_parameters(
                net, *ends, length_km=draw(st.integers(2, 30)) / 10, r_ohm_per_km=draw(st.integers(10, 60)) / 100,
                x_ohm_per_km=draw(st.integers(8, 40)) / 100, c_nf_per_km=draw(st.sampled_from([0.0, 250.0])),
                max_i_ka=0.4, parallel=draw(st.integers(1, 2)),
            )  # fmt: skip
        else:
            bus = pp.create_bus(net, 0.4)
            pp.create_transformer(net, parent, bus, "0.63 MVA 10/0.4 kV", tap_pos=draw(st.integers(-2, 2)))
        buses.append(bus)
        rated = 0.3 if net.bus.vn_kv[bus] < 1 else 1.5
        pp.create_load(net, bus, rated * draw(_percent), 0.4 * rated * draw(_percent))
    for k in range(draw(st.integers(1, 3))):
        bus = buses[-1] if k == 0 else draw(st.sampled_from(buses))
        s = 0.5 if net.bus.vn_kv[bus] < 1 else 2.0
        pp.create_sgen(net, bus, p_mw=s / 1.1, q_mvar=0.0, sn_mva=s, controllable=True)
    pp.create_shunt(net, draw(st.sampled_from(medium)), q_mvar=-0.3, p_mw=0.0, step=draw(st.integers(0, 2)), max_step=3)
    return Feeder.from_pandapower(net, "random")


@st.composite
def operating_points(draw, feeder: Feeder) -> OperatingPoint:
    """Loads at 0 to 100 % of the table, sun at 0 to 100 % of the rating, taps and steps as in the net."""
    load = np.zeros(feeder.n_nodes, dtype=complex)
    np.add.at(load, feeder.loads.node, (feeder.loads.p_mw + 1j * feeder.loads.q_mvar) * draw(_percent))
    return OperatingPoint(load, feeder.inverters.p_mw * draw(_percent), feeder.slack_vm)


@st.composite
def setpoints(draw, feeder: Feeder, point: OperatingPoint) -> tuple[np.ndarray, np.ndarray]:
    """Any (p_mw, q_mvar) that the inverters can do without curtailment."""
    p = np.minimum(point.p_available_mw, feeder.inverters.s_mva)
    room = np.sqrt(feeder.inverters.s_mva**2 - p**2)
    return p, room * np.array([2 * draw(_percent) - 1 for _ in p])
