"""Meters at taps and capacitor banks read what pandapower computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks as networks
import pytest

from feederlab.models.feeder import Feeder
from feederlab.models.meters import capacitor_flow_mva, tap_flow_mva
from feederlab.models.powerflow.net import at_table_values


def behind_a_transformer(tap_side: str = "hv") -> Any:
    net = networks.case33bw()
    net.bus[["min_vm_pu", "max_vm_pu"]] = 0.9, 1.1
    net.ext_grid["bus"] = pp.create_bus(net, vn_kv=110.0)
    pp.create_transformer_from_parameters(
        net, net.ext_grid.bus[0], 0, sn_mva=10.0, vn_hv_kv=110.0, vn_lv_kv=12.66, vk_percent=10.0, vkr_percent=0.5,
        pfe_kw=5.0, i0_percent=0.05, tap_side=tap_side, tap_neutral=0, tap_min=-4, tap_max=4, tap_step_percent=1.25,
        tap_pos=-2, tap_changer_type="Ratio",
    )  # fmt: skip
    return net


@pytest.mark.parametrize("turned", [False, True])
def test_flows_equal_pandapowers(turned):
    net = behind_a_transformer()
    for bus in (11, 29, 0):
        pp.create_shunt(net, bus, q_mvar=-0.15, p_mw=0.01, step=1, max_step=3, controllable=True)
    arriving = [net.line.index[(net.line.to_bus == bus) & net.line.in_service][0] for bus in (11, 29)]
    if turned:
        ends = net.line.loc[arriving, ["to_bus", "from_bus"]].to_numpy()
        net.line.loc[arriving, ["from_bus", "to_bus"]] = ends
    feeder = Feeder.from_pandapower(net)
    solved = at_table_values(feeder)
    pp.runpp(net, tolerance_mva=1e-10)
    lv = net.res_trafo.iloc[0]
    assert tap_flow_mva(solved) == pytest.approx([-lv.p_lv_mw - 1j * lv.q_lv_mvar], abs=1e-7)
    end = "from" if turned else "to"
    lines = net.res_line.loc[arriving]
    expected = -(lines[f"p_{end}_mw"] + 1j * lines[f"q_{end}_mvar"]).to_numpy()
    np.testing.assert_allclose(capacitor_flow_mva(solved)[:2], expected, atol=1e-7)
    np.testing.assert_allclose(capacitor_flow_mva(solved)[2], tap_flow_mva(solved)[0], atol=1e-12)


@pytest.mark.parametrize("tap_side", ["hv", "lv"])
def test_a_tap_changers_sign_and_side(tap_side):
    net = behind_a_transformer(tap_side)
    feeder = Feeder.from_pandapower(net)
    taps = feeder.tap_changers
    assert feeder.node_bus[taps.node].tolist() == [0]
    before = at_table_values(feeder)
    net.trafo["tap_pos"] += 1
    after = at_table_values(Feeder.from_pandapower(net))
    assert (after.vm - before.vm)[taps.node] == pytest.approx(taps.rise_pu, rel=0.1)


def test_parallel_branches_feed_a_bank_together():
    net = behind_a_transformer()
    pp.create_transformer_from_parameters(
        net, net.ext_grid.bus[0], 0, sn_mva=5.0, vn_hv_kv=110.0, vn_lv_kv=12.66, vk_percent=8.0, vkr_percent=0.6,
        pfe_kw=5.0, i0_percent=0.05,
    )  # fmt: skip
    net.line.loc[5, "parallel"] = 1
    twin = net.line.index.max() + 1
    net.line.loc[twin] = net.line.loc[5]
    net.line.loc[twin, ["from_bus", "to_bus"]] = net.line.loc[5, ["to_bus", "from_bus"]].to_numpy()
    for bus in (0, 6):
        pp.create_shunt(net, bus, q_mvar=-0.15, step=1, max_step=3, controllable=True)
    feeder = Feeder.from_pandapower(net)
    solved = at_table_values(feeder)
    pp.runpp(net, tolerance_mva=1e-10)
    trafos, lines = net.res_trafo, net.res_line
    through = -(trafos.p_lv_mw + 1j * trafos.q_lv_mvar).sum()
    along = -(lines.p_to_mw[5] + 1j * lines.q_to_mvar[5] + lines.p_from_mw[twin] + 1j * lines.q_from_mvar[twin])
    np.testing.assert_allclose(capacitor_flow_mva(solved), [through, along], atol=1e-7)
