from dataclasses import replace

import numpy as np
import pytest

from feederlab.controllers.watt_var import WattVar
from feederlab.errors import InputError
from feederlab.testing import Case, example_scenario


@pytest.fixture(scope="module")
def scenario():
    return example_scenario()


def decide(controller, scenario, p_share):
    case = Case(controller, scenario, 1e-6, 0)
    s = scenario.feeder.inverters.s_mva
    prepared = case.prepare()
    return prepared.step(prepared.initial_state(), replace(case.measurements[0], p_available_mw=p_share * s))[0], s


@pytest.mark.parametrize(("curve", "top"), [("ieee1547_a", 0.25), ("ieee1547_b", 0.44)])
def test_q_follows_p(scenario, curve, top):
    for p, share in ((0.0, 0.0), (0.3, 0.0), (0.5, 0.0), (0.75, 0.5), (0.8, 0.6)):
        setpoints, s = decide(WattVar(curve=curve), scenario, p)
        np.testing.assert_allclose(setpoints.q_mvar, -top * share * s, atol=1e-12)
        assert setpoints.p_mw is None


def test_a_smaller_plant_reaches_the_end_of_the_curve(scenario):
    setpoints, s = decide(WattVar(curve="ieee1547_b", p_rated=0.8), scenario, 0.8)
    np.testing.assert_allclose(setpoints.q_mvar, -0.44 * s)


def test_at_full_power_one_of_them_gives_way(scenario):
    watt, s = decide(WattVar(), scenario, 1.0)
    np.testing.assert_allclose(watt.q_mvar, 0.0, atol=1e-9)
    var, s = decide(WattVar(priority="var"), scenario, 1.0)
    np.testing.assert_allclose(var.q_mvar, -0.44 * s)
    np.testing.assert_allclose(var.p_mw, np.sqrt(1 - 0.44**2) * s)


def test_rated_power_is_a_share():
    with pytest.raises(InputError, match="share of the rating"):
        WattVar(p_rated=0.0)
