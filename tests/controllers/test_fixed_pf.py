from dataclasses import replace

import numpy as np
import pytest

from feederlab.controllers.fixed_pf import FixedPowerFactor
from feederlab.errors import InputError, UnknownNameError
from feederlab.simulate import simulate
from feederlab.testing import Case, example_scenario


@pytest.fixture(scope="module")
def scenario():
    return example_scenario()


@pytest.mark.parametrize(("direction", "sign"), [("absorb", -1), ("inject", 1)])
def test_the_power_factor_holds(scenario, direction, sign):
    run = simulate(scenario.window("2016-06-21 09:00", 1), FixedPowerFactor(0.9, direction)).data
    p, q = run.p_mw.to_numpy()[0], run.q_mvar.to_numpy()[0]
    lit = p > 0
    assert lit.any()
    np.testing.assert_allclose(p[lit] / np.hypot(p, q)[lit], 0.9)
    assert (np.sign(q[lit]) == sign).all()
    np.testing.assert_array_equal(q[~lit], 0.0)
    assert int(run.clipped.sum()) == 0


def test_at_full_power_watt_priority_leaves_the_power_factor_and_var_priority_keeps_it(scenario):
    case = Case(FixedPowerFactor(), scenario, 1e-6, 0)
    s = scenario.feeder.inverters.s_mva
    full = replace(case.measurements[0], p_available_mw=s)
    watt = FixedPowerFactor(0.9).prepare(case.task).step({}, full)[0]
    assert watt.p_mw is None
    np.testing.assert_allclose(watt.q_mvar, 0.0, atol=1e-9)
    var = FixedPowerFactor(0.9, priority="var").prepare(case.task).step({}, full)[0]
    np.testing.assert_allclose(var.p_mw, 0.9 * s)
    np.testing.assert_allclose(np.hypot(var.p_mw, var.q_mvar), s)


def test_unity_means_no_reactive_power(scenario):
    run = simulate(scenario.window("2016-06-21 12:00", 1), FixedPowerFactor(1.0)).data
    np.testing.assert_array_equal(run.q_mvar, 0.0)


def test_impossible_settings_are_refused():
    for cos_phi in (0.0, -0.9, 1.01, float("nan")):
        with pytest.raises(InputError, match="cos_phi"):
            FixedPowerFactor(cos_phi)
    with pytest.raises(UnknownNameError, match="absorb"):
        FixedPowerFactor(direction="absorbing")
