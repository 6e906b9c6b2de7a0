"""Nets for the tests: a small complete one, random ones, and what a net's tables inject into each node."""

from __future__ import annotations

import copy

import numpy as np
import pandapower as pp
from hypothesis import strategies as st

from feederlab.models.feeder import Feeder


def small_net():
    """20 kV slack - transformer with tap changer - three 0.4 kV buses in a row; one device of each kind."""
    net = pp.create_empty_network(name="small")
    mv = pp.create_bus(net, 20.0, name="mv")
    lv = [pp.create_bus(net, 0.4, name=f"lv {k}", min_vm_pu=0.9, max_vm_pu=1.1) for k in range(3)]
    pp.create_ext_grid(net, mv, vm_pu=1.02)
    pp.create_transformer(net, mv, lv[0], "0.4 MVA 20/0.4 kV", tap_pos=-1)
    for a, b in ((0, 1), (1, 2)):
        pp.create_line(net, lv[a], lv[b], 0.2, "NAYY 4x150 SE")
    pp.create_switch(net, lv[1], 0, "l", closed=True)
    pp.create_load(net, lv[1], 0.03, 0.01)
    pp.create_load(net, lv[2], 0.05, 0.02)
    pp.create_sgen(net, lv[2], 0.04, 0.0, sn_mva=0.05, controllable=True)
    pp.create_storage(
        net, lv[1], p_mw=0.0, max_e_mwh=0.1, min_e_mwh=0.01, soc_percent=50.0, sn_mva=0.03,
        min_p_mw=-0.02, max_p_mw=0.02, controllable=True,
    )  # fmt: skip
    pp.create_shunt(net, lv[1], q_mvar=-0.01, p_mw=0.0, step=1, max_step=3)
    return net


def table_injection(feeder: Feeder) -> np.ndarray:
    """Return the (nodes,) injection of the net's tables, MVA."""
    total = np.zeros(feeder.n_nodes, dtype=complex)
    for sign, units in (
        (-1, feeder.loads), (1, feeder.sgens), (1, feeder.inverters), (-1, feeder.storages),
        (-1, feeder.fixed_storages),
    ):  # fmt: skip
        on = units.node >= 0
        np.add.at(total, units.node[on], sign * ((units.p_mw + 1j * units.q_mvar) * units.scaling)[on])
    return total


def reference(net) -> None:
    """Solve the net itself with pandapower, tightly."""
    pp.runpp(net, numba=False, calculate_voltage_angles=True, init="dc", tolerance_mva=1e-9, max_iteration=60)


_share = st.integers(5, 100).map(lambda percent: percent / 100)


@st.composite
def random_nets(draw, *, meshed: bool, zero_impedance: bool = False):
    """Return (net, the same net for pandapower): they differ in zero-impedance lines, which are switches there.

    Trees of 10 kV lines below one or two 110/10 kV transformers with taps and phase shift, with parallel lines, open
    line and bus-bus switches, shunts, wards, capacitor banks, generators, a three-winding transformer; `meshed` adds
    lines between existing buses.
    """
    net = pp.create_empty_network()
    hv = pp.create_bus(net, 110.0)
    pp.create_ext_grid(net, hv, vm_pu=draw(st.integers(97, 105)) / 100, va_degree=draw(st.sampled_from([0.0, 30.0])))
    root = pp.create_bus(net, 10.0)
    for _ in range(draw(st.integers(1, 2))):
        pp.create_transformer_from_parameters(
            net, hv, root, sn_mva=25.0, vn_hv_kv=110.0, vn_lv_kv=10.5, vk_percent=12.0, vkr_percent=0.5, pfe_kw=14.0,
            i0_percent=0.07, shift_degree=draw(st.sampled_from([0.0, 150.0])) if not len(net.trafo) else
            float(net.trafo.shift_degree[0]), tap_side=draw(st.sampled_from(["hv", "lv"])), tap_neutral=0, tap_min=-9,
            tap_max=9, tap_step_percent=1.5, tap_pos=draw(st.integers(-4, 4)), tap_changer_type="Ratio",
        )  # fmt: skip
    buses = [root]
    for _ in range(draw(st.integers(2, 9))):
        buses.append(_grow(draw, net, buses, zero_impedance))
    if meshed:
        for _ in range(draw(st.integers(1, 3))):
            a, b = draw(st.sampled_from(buses)), draw(st.sampled_from(buses))
            if a != b:
                _line(draw, net, a, b)
    for bus in buses[1:]:
        pp.create_load(net, bus, draw(_share), 0.3 * draw(_share), scaling=draw(st.sampled_from([1.0, 0.5])))
    pp.create_sgen(net, buses[-1], draw(_share), 0.2 * draw(_share), sn_mva=2.0, controllable=True)
    pp.create_shunt(net, draw(st.sampled_from(buses)), q_mvar=0.1, p_mw=0.02, step=1, max_step=1)
    pp.create_shunt(net, draw(st.sampled_from(buses)), q_mvar=-0.2, p_mw=0.0, step=2, max_step=3, vn_kv=10.5)
    pp.create_ward(net, draw(st.sampled_from(buses)), 0.1, 0.05, 0.05, -0.1)
    if draw(st.booleans()):
        _three_windings(net, hv, draw(st.integers(-3, 3)))
    if draw(st.booleans()) and len(net.line):  # an open end: the line's far half hangs on an auxiliary node
        pp.create_switch(net, int(net.line.to_bus.iloc[-1]), int(net.line.index[-1]), "l", closed=meshed)
    plain = copy.deepcopy(net)
    _switch_instead(plain)
    return net, plain


def _grow(draw, net, buses, zero_impedance: bool) -> int:
    parent = draw(st.sampled_from(buses))
    bus = pp.create_bus(net, 10.0)
    kind = draw(st.sampled_from(["line", "line", "line", "switch", "impedance", "zero" if zero_impedance else "line"]))
    if kind == "line":
        _line(draw, net, parent, bus)
    elif kind == "switch":
        pp.create_switch(net, parent, bus, "b", closed=True)
    elif kind == "impedance":
        pp.create_impedance(net, parent, bus, rft_pu=0.01, xft_pu=0.03, sn_mva=10.0)
    else:
        _line(draw, net, parent, bus, zero=True)
    return bus


def _line(draw, net, a: int, b: int, *, zero: bool = False) -> None:
    pp.create_line_from_parameters(
        net, a, b, length_km=draw(st.integers(1, 30)) / 10,
        r_ohm_per_km=0.0 if zero else draw(st.integers(0, 40)) / 100,
        x_ohm_per_km=0.0 if zero else draw(st.integers(8, 40)) / 100, c_nf_per_km=draw(st.sampled_from([0.0, 250.0])),
        max_i_ka=0.4, parallel=draw(st.integers(1, 2)),
    )  # fmt: skip


def _three_windings(net, hv: int, tap: int) -> None:
    mv, lv = pp.create_bus(net, 20.0), pp.create_bus(net, 10.0)
    pp.create_transformer3w_from_parameters(
        net, hv, mv, lv, vn_hv_kv=110.0, vn_mv_kv=20.0, vn_lv_kv=10.0, sn_hv_mva=40.0, sn_mv_mva=25.0, sn_lv_mva=15.0,
        vk_hv_percent=10.0, vk_mv_percent=11.0, vk_lv_percent=12.0, vkr_hv_percent=0.3, vkr_mv_percent=0.31,
        vkr_lv_percent=0.32, pfe_kw=30.0, i0_percent=0.1, tap_side="hv", tap_neutral=0, tap_min=-8, tap_max=8,
        tap_step_percent=1.25, tap_pos=tap, tap_changer_type="Ratio",
    )  # fmt: skip
    pp.create_load(net, mv, 3.0, 1.0)
    pp.create_load(net, lv, 2.0, 0.5)


def _switch_instead(net) -> None:
    """Replace lines without impedance by closed switches, as pandapower needs them."""
    zero = net.line[(net.line.r_ohm_per_km == 0) & (net.line.x_ohm_per_km == 0)]
    for index, row in zero.iterrows():
        opened = net.switch[(net.switch.et == "l") & (net.switch.element == index) & ~net.switch.closed]
        net.line.loc[index, "in_service"] = False
        if not len(opened):
            pp.create_switch(net, int(row.from_bus), int(row.to_bus), "b", closed=True)
