import numpy as np
import pytest

from feederlab.controllers.volt_watt import VoltWatt
from feederlab.errors import InputError
from feederlab.simulate import simulate
from feederlab.testing import example_scenario

CURVE = "0.98:1/1.02:0"  # starts low enough to bite on this feeder


@pytest.fixture(scope="module")
def noon():
    return example_scenario().window("2016-06-21 12:00", 3)


@pytest.mark.parametrize("start", ["zero", "previous"])
def test_it_settles_on_its_curve(noon, start):
    run = simulate(noon, VoltWatt(curve=CURVE, start=start, tol=1e-9, max_rounds=500)).data
    inverters = noon.feeder.inverters
    assert bool(run.settled.all())
    vm = run.vm_pu.sel(bus=inverters.bus).to_numpy()
    cap = np.clip((1.02 - vm) / 0.04, 0, 1) * inverters.s_mva
    available = run.p_available_mw.to_numpy()
    np.testing.assert_allclose(run.p_mw, np.minimum(available, cap), atol=1e-6)
    assert (available - run.p_mw).max() > 0.1
    np.testing.assert_array_equal(run.q_mvar, 0.0)


def test_below_the_first_voltage_nothing_is_curtailed(noon):
    run = simulate(noon, VoltWatt()).data
    np.testing.assert_array_equal(run.p_mw, run.p_available_mw)
    assert int(run.clipped.sum()) == 0


def test_the_cap_is_a_share_of_rated_power(noon):
    full = simulate(noon, VoltWatt(curve="0.5:0.5/1.5:0.5", tol=1e-9, max_rounds=300)).data
    less = simulate(noon, VoltWatt(curve="0.5:0.5/1.5:0.5", p_rated=1 / 1.2, tol=1e-9, max_rounds=300)).data
    s = noon.feeder.inverters.s_mva
    np.testing.assert_allclose(full.p_mw[0], np.minimum(full.p_available_mw[0], 0.5 * s), atol=1e-6)
    np.testing.assert_allclose(less.p_mw[0], np.minimum(less.p_available_mw[0], 0.5 * s / 1.2), atol=1e-6)


@pytest.mark.parametrize("share", [0.0, -1.0, 1.1, float("nan")])
def test_rated_power_is_a_share(share):
    with pytest.raises(InputError, match="share of the rating"):
        VoltWatt(p_rated=share)
