"""What a feeder takes from the net, and the wrong model that a controller may be given."""

from __future__ import annotations

import numpy as np
import pandapower as pp
import pytest
from grids import small_net, table_injection

from feederlab.models.feeder import Feeder
from feederlab.models.powerflow.base import engine


def test_devices_are_read_from_the_standard_tables():
    feeder = Feeder.from_pandapower(small_net())
    assert feeder.inverters.index.tolist() == [0]
    assert feeder.inverters.s_mva.tolist() == [0.05]
    assert feeder.node_bus[feeder.inverters.node].tolist() == [3]
    store = feeder.storages
    assert (store.p_min_mw, store.p_max_mw, store.e_min_mwh, store.e_max_mwh, store.soc) == (
        -0.02,
        0.02,
        0.01,
        0.1,
        0.5,
    )
    caps = feeder.capacitors
    assert (caps.step, caps.max_step, caps.q_step_mvar) == (1, 3, -0.01)
    taps = feeder.tap_changers
    assert (taps.tap, taps.tap_min, taps.tap_max, taps.neutral) == (-1, -2, 2, 0)
    assert feeder.branches.name(int(taps.branch[0])) == "trafo 0"
    assert feeder.vm_max[feeder.bus_node[1]] == 1.1
    assert np.isnan(feeder.vm_max[feeder.slack])


def test_only_what_is_marked_is_controlled():
    net = small_net()
    net.sgen["controllable"] = None
    net.storage["controllable"] = False
    net.storage["p_mw"] = 0.004
    feeder = Feeder.from_pandapower(net)
    assert (len(feeder.inverters), len(feeder.sgens)) == (0, 1)
    assert (len(feeder.storages), feeder.fixed_storages.p_mw) == (0, 0.004)
    assert table_injection(feeder).sum() == pytest.approx(-0.08 - 0.03j + 0.04 - 0.004)


def test_arrays_cannot_be_written_and_the_net_is_a_copy():
    net = small_net()
    feeder = Feeder.from_pandapower(net)
    net.line["length_km"] = 99.0
    assert feeder.net.line.length_km.tolist() == [0.2, 0.2]
    with pytest.raises(ValueError, match="read-only"):
        feeder.node_vn_kv[0] = 1.0


def test_line_errors_are_seeded_bounded_and_consistent():
    feeder = Feeder.from_pandapower(small_net())
    wrong = feeder.with_line_errors(0.1, seed=4)
    true, false = feeder.branches.two_port, wrong.branches.two_port
    for name in ("r", "x"):
        factor = getattr(false, name) / getattr(true, name)
        assert (np.abs(factor - 1) <= 0.1).all()
        assert len(np.unique(factor)) == len(factor)
    for name in ("g_f", "b_f", "g_t", "b_t", "ratio", "shift_rad"):
        assert np.array_equal(getattr(false, name), getattr(true, name))
    again, other = feeder.with_line_errors(0.1, seed=4), feeder.with_line_errors(0.1, seed=5)
    assert np.array_equal(again.branches.two_port.r, false.r)
    assert not np.array_equal(other.branches.two_port.r, false.r)
    row = int(feeder.tap_changers.branch[0])
    factor = false.r[row] / true.r[row]
    assert np.allclose(wrong.tap_tables[0].r, factor * feeder.tap_tables[0].r, rtol=1e-12)
    assert np.array_equal(feeder.branches.two_port.r, true.r)  # the plant stays true


def test_a_wrong_model_gives_other_voltages_on_both_sides_of_a_tap():
    feeder = Feeder.from_pandapower(small_net())
    wrong, load = feeder.with_line_errors(0.3, seed=1), table_injection(feeder)
    for tap in (-1, 2):
        taps = np.array([tap])
        a, b = engine(feeder).solve(load, taps=taps), engine(wrong).solve(load, taps=taps)
        assert 1e-6 < np.abs(a.vm - b.vm).max() < 0.05


def test_buses_without_supply_are_nan():
    net = small_net()
    alone = pp.create_bus(net, 0.4)
    feeder = Feeder.from_pandapower(net)
    assert feeder.bus_node[list(feeder.bus_index).index(alone)] == -1
    vm = feeder.to_buses(engine(feeder).solve(table_injection(feeder)).vm)
    assert np.isnan(vm).tolist() == [False] * 4 + [True]
