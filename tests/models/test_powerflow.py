"""The default engine, the reference engine and pandapower itself give the same voltages."""

from __future__ import annotations

import numpy as np
import pandapower as pp
import pandapower.networks as networks
import pytest
from grids import random_nets, reference, small_net, table_injection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feederlab.errors import InputError, UnknownNameError
from feederlab.models.feeder import Feeder
from feederlab.models.powerflow.base import engine

TOLERANCE = 1e-8  # p.u.
ENGINES = ["fixed-point", "power-grid-model", "pandapower"]
hypothesis_nets = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def assert_agreement(net, plain=None) -> Feeder:
    """Compare both engines on `net` with pandapower on `plain` (default: the same net)."""
    plain = net if plain is None else plain
    feeder = Feeder.from_pandapower(net, validate=False)
    injection = table_injection(feeder)
    solved = engine(feeder).solve(injection)
    by_pandapower = engine(feeder, "pandapower").solve(injection)
    assert np.abs(solved.u - by_pandapower.u).max() < TOLERANCE

    reference(plain)
    vm = plain.res_bus.vm_pu.to_numpy()
    angle = np.radians(plain.res_bus.va_degree.to_numpy())
    ours = np.where(feeder.bus_node >= 0, solved.u[feeder.bus_node], np.nan)
    assert np.array_equal(np.isnan(ours), np.isnan(vm))
    assert np.nanmax(np.abs(ours - vm * np.exp(1j * angle))) < TOLERANCE

    loading = solved.loading_percent()
    for table in ("line", "trafo"):
        rows = [k for k, element in enumerate(feeder.branches.element) if element == table]
        expected = plain[f"res_{table}"].loading_percent.loc[feeder.branches.element_index[rows]].to_numpy()
        limited = np.isfinite(feeder.branches.i_max_f_ka[rows])  # 99999 kA, MATPOWER's placeholder, is no limit
        assert limited.all() or (plain.line.max_i_ka == 99999).all()
        assert np.allclose(loading[rows][limited], expected[limited], rtol=1e-6, atol=1e-6)
    losses = sum(plain[f"res_{table}"].pl_mw.sum() for table in ("line", "trafo", "trafo3w", "impedance"))
    assert solved.losses_mw() == pytest.approx(losses, abs=1e-7)
    own = injection[feeder.slack] + feeder.node_fixed[feeder.slack] * feeder.base_mva
    grid = complex(plain.res_ext_grid.p_mw.sum(), plain.res_ext_grid.q_mvar.sum())
    assert abs(solved.slack_mva() - own - grid) < 1e-6
    return feeder


@pytest.mark.parametrize(
    "make",
    [
        small_net,
        networks.case33bw,
        networks.create_cigre_network_lv,
        lambda: networks.create_cigre_network_mv(with_der="pv_wind"),
        networks.case9,
        networks.case118,
    ],
    ids=["small", "case33bw", "cigre_lv", "cigre_mv", "case9", "case118"],
)
def test_published_nets(make):
    assert_agreement(make())


@pytest.mark.parametrize("code", ["1-LV-semiurb4--0-sw", "1-MV-comm--1-no_sw"])
def test_simbench(simbench_net, code):
    assert_agreement(simbench_net(code))


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "1-LV-rural1--0-sw", "1-LV-rural2--1-sw", "1-LV-rural3--2-no_sw", "1-LV-semiurb5--1-sw", "1-LV-urban6--2-sw",
        "1-LV-urban6--0-no_sw", "1-MV-rural--0-sw", "1-MV-rural--2-no_sw", "1-MV-semiurb--1-sw", "1-MV-urban--0-sw",
        "1-MV-urban--2-sw", "1-MV-comm--0-sw", "1-MVLV-rural-1.108-0-sw", "1-MVLV-rural-all-0-sw",
        "1-MVLV-semiurb-3.202-1-sw",
        "1-MVLV-urban-6.305-2-sw", "1-MVLV-comm-5.401-0-sw", "1-MVLV-urban-all-1-sw", "1-MVLV-comm-all-2-no_sw",
    ],
)  # fmt: skip
def test_more_simbench(simbench_net, code):
    assert_agreement(simbench_net(code))


def test_nearly_zero_impedances():
    """case16am has lines of 1e-8 ohm, whose flows no mismatch of 1e-9 MVA can resolve; the voltages still agree."""
    from feederlab.models.library.matpower import read_case
    from feederlab.models.matpower_case import shipped

    feeder = Feeder.from_pandapower(read_case(shipped()["case16am"]))
    assert feeder.branches.two_port.x.min() < 1e-9
    ours, theirs = (engine(feeder, name).solve(table_injection(feeder)) for name in ("auto", "pandapower"))
    assert np.abs(ours.u - theirs.u).max() < TOLERANCE
    assert ours.losses_mw() == pytest.approx(0.5114004, abs=1e-6)


@hypothesis_nets
@given(random_nets(meshed=False, zero_impedance=True))
def test_random_radial_nets(nets):
    assert_agreement(*nets)


@hypothesis_nets
@given(random_nets(meshed=True, zero_impedance=True))
def test_random_meshed_nets(nets):
    assert_agreement(*nets)


@hypothesis_nets
@given(random_nets(meshed=False), st.data())
def test_taps_steps_and_slack_are_pandapowers(nets, data):
    """Solving with taps, capacitor steps and slack voltage given equals pandapower with these in its tables."""
    net, plain = nets
    feeder = Feeder.from_pandapower(net, validate=False)
    taps = np.array([data.draw(st.integers(-9, 9)) for _ in range(len(feeder.tap_changers))])
    steps = np.array([data.draw(st.integers(0, 3)) for _ in range(len(feeder.capacitors))])
    slack_vm = data.draw(st.integers(98, 104)) / 100
    plain.trafo.loc[feeder.tap_changers.index, "tap_pos"] = taps
    plain.shunt.loc[feeder.capacitors.index, "step"] = steps
    plain.ext_grid["vm_pu"] = slack_vm
    reference(plain)
    for name in ENGINES:
        solved = engine(feeder, name).solve(table_injection(feeder), taps=taps, steps=steps, slack_vm=slack_vm)
        vm = feeder.to_buses(solved.vm)
        assert np.nanmax(np.abs(vm - plain.res_bus.vm_pu.to_numpy())) < TOLERANCE


@pytest.mark.parametrize("name", ENGINES)
def test_batch_equals_single(name):
    feeder = Feeder.from_pandapower(small_net())
    rng = np.random.default_rng(3)
    load = table_injection(feeder) * rng.uniform(0, 2, (6, 1))
    slack = rng.uniform(0.98, 1.03, 6)
    flow = engine(feeder, name)
    taps, steps = np.array([1]), np.array([2])
    batch = flow.solve_batch(load, taps=taps, steps=steps, slack_vm=slack)
    for k in range(6):
        one = flow.solve(load[k], taps=taps, steps=steps, slack_vm=float(slack[k]))
        assert np.abs(batch.u[k] - one.u).max() < 1e-10
        assert batch.losses_mw()[k] == pytest.approx(one.losses_mw(), abs=1e-10)
    assert len(np.unique(batch.vm.round(9), axis=0)) == 6


@pytest.mark.parametrize("name", ENGINES)
def test_no_solution_is_nan(name):
    """A load beyond the maximum power transfer has no solution; its neighbours in a batch do."""
    feeder = Feeder.from_pandapower(small_net())
    flow = engine(feeder, name)
    load = table_injection(feeder)
    impossible = 1000 * load
    single = flow.solve(impossible)
    assert not single.converged
    assert np.isnan(single.vm).all()
    batch = flow.solve_batch(np.array([load, impossible, load]))
    assert batch.converged.tolist() == [True, False, True]
    assert np.isnan(batch.u[1]).all()
    assert np.abs(batch.u[2] - flow.solve(load).u).max() < 1e-10


def test_generators_fall_back_to_pandapower():
    feeder = Feeder.from_pandapower(networks.case9(), validate=False)
    assert type(engine(feeder)).__name__ == "PandapowerFlow"
    with pytest.raises(InputError, match="voltage-controlled generators"):
        engine(feeder, "power-grid-model")
    with pytest.raises(UnknownNameError, match="did you mean 'pandapower'"):
        engine(feeder, "pandpower")


def test_tap_position_changes_more_than_the_ratio():
    """pandapower refers impedances to the tapped winding, so every position has its own r, x and b."""
    feeder = Feeder.from_pandapower(small_net())
    (table,) = feeder.tap_tables
    assert len(table.r) == 5
    assert len(np.unique(table.ratio.round(9))) == 5
    net = small_net()
    for position in range(-2, 3):
        net.trafo["tap_pos"] = position
        row = int(feeder.tap_changers.branch[0])
        fresh = Feeder.from_pandapower(net).branches.two_port
        for name in ("r", "x", "g_f", "b_f", "g_t", "b_t", "ratio", "shift_rad"):
            assert getattr(table, name)[position + 2] == pytest.approx(getattr(fresh, name)[row], abs=1e-15), name


def test_pandapower_engine_leaves_the_net_alone():
    feeder = Feeder.from_pandapower(small_net())
    before = pp.to_json(feeder.net)
    engine(feeder, "pandapower").solve(table_injection(feeder), taps=np.array([2]))
    assert pp.to_json(feeder.net) == before
