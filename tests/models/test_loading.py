"""Current limits: counted as pandapower counts loading, kept by the optimal power flow where anything keeps them."""

import copy

import numpy as np
import pandapower
import pytest
from grids import small_net, table_injection

from feederlab.errors import InputError
from feederlab.models.acopf.feeder import AcOpf
from feederlab.models.feeder import Feeder
from feederlab.models.loading import CurrentLimits
from feederlab.models.objective import Objective
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.powerflow.base import engine
from feederlab.models.scoring import voltage_penalty

CURTAILMENT = Objective.parse("curtailment=1+losses=0.01")


def test_overload_is_what_pandapower_calls_loading() -> None:
    net = small_net()
    pandapower.runpp(net, numba=False, calculate_voltage_angles=True, tolerance_mva=1e-9)
    feeder = Feeder.from_pandapower(net)
    solved = engine(feeder).solve(table_injection(feeder))
    limits = CurrentLimits.of(feeder, 5.0)
    assert limits is not None
    loading = np.abs(limits.matrix(feeder) @ solved.u)
    at_from, at_to = loading[: len(limits.from_rows)], loading[len(limits.from_rows) :]
    theirs = np.concatenate([net.res_line.loading_percent, net.res_trafo.loading_percent]) / 100
    names = [feeder.branches.name(row) for row in limits.from_rows]
    assert names == ["line 0", "line 1", "trafo 0"]
    np.testing.assert_allclose(np.maximum(at_from, at_to), theirs, rtol=1e-6)
    assert limits.overload(solved) == pytest.approx(np.maximum(loading**2 - 0.05**2, 0).sum())
    assert limits.overload(solved) > 0


def test_nothing_to_limit_is_said() -> None:
    net = small_net()
    feeder = Feeder.from_pandapower(net)
    assert CurrentLimits.of(feeder, 0.0) is None
    with pytest.raises(InputError, match="max_loading_percent must be 0"):
        CurrentLimits.of(feeder, -1.0)
    bare = pandapower.create_empty_network(name="bare")
    a, b = pandapower.create_bus(bare, 0.4), pandapower.create_bus(bare, 0.4)
    pandapower.create_ext_grid(bare, a)
    pandapower.create_line_from_parameters(bare, a, b, 1.0, 0.1, 0.1, 0.0, max_i_ka=99999.0)
    with pytest.raises(InputError, match="needs current limits, but no line or transformer of 'bare' has one"):
        CurrentLimits.of(Feeder.from_pandapower(bare), 80.0)


def at_noon(scenario, share: float) -> tuple[Feeder, np.ndarray, OperatingPoint]:
    """A SimBench low-voltage grid at noon in June, with `share` times its sun."""
    window = scenario("simbench:1-LV-rural1--0-sw").window("2016-06-01 12:00", 1)
    series, feeder = window.series(), window.feeder
    sun = np.minimum(share * series.p_available_mw[0], feeder.inverters.s_mva)
    return feeder, window.band, OperatingPoint(series.load_mva[0], sun, float(series.slack_vm[0]))


@pytest.mark.parametrize("limit", [50.0, 25.0])
def test_a_binding_limit_is_kept_at_the_least_curtailment(scenario, limit: float) -> None:
    feeder, band, point = at_noon(scenario, 3.0)
    penalty, costs = voltage_penalty(CURTAILMENT, feeder), {}
    for percent in (0.0, limit):
        model = AcOpf(feeder, band, CURTAILMENT, penalty, curtail=True, max_loading_percent=percent)
        found = model.solve(point)
        assert found.solved
        q, p = model.feasible(point, found.q_mvar, found.p_mw)
        costs[percent], solved = model.verify(point, q, p)
        loading = np.nanmax(solved.loading_percent())
        assert found.overload < 1e-6
    assert loading == pytest.approx(limit, abs=1e-3)  # the last one: it binds, and holds
    assert costs[limit] > costs[0.0] + 0.01
    assert theirs(feeder, point, p, q).max() == pytest.approx(limit, abs=1e-2)
    # No random setpoints that keep the band and the limit curtail less.
    model_cost, rng = costs[limit], np.random.default_rng(0)
    for _ in range(200):
        tried_q, tried_p = model.feasible(point, q + rng.normal(size=len(q)) * 0.01, p + rng.normal(size=len(q)) * 0.01)
        assert model.verify(point, tried_q, tried_p)[0] >= model_cost - 1e-7


def test_a_limit_that_cannot_be_kept_is_priced(scenario) -> None:
    feeder, band, point = at_noon(scenario, 3.0)
    model = AcOpf(feeder, band, CURTAILMENT, 20.0, max_loading_percent=50.0)  # no curtailment: nothing keeps it
    found = model.solve(point)
    assert found.solved
    assert found.overload > 0.5
    assert found.cost == pytest.approx(found.objective + 20.0 * (found.excess + found.overload), rel=1e-9)
    assert found.cost == pytest.approx(model.verify(point, found.q_mvar, found.p_mw)[0], rel=1e-6)
    least = model.least_violation(point, [None])
    assert least.excess + least.overload <= found.excess + found.overload + 1e-7


def theirs(feeder: Feeder, point: OperatingPoint, p_mw: np.ndarray, q_mvar: np.ndarray) -> np.ndarray:
    """pandapower's loading of all lines and transformers (%)."""
    net = copy.deepcopy(feeder.net)
    for table in ("load", "sgen", "storage"):
        net[table]["in_service"] = False
    injection = point.injection_mva(feeder, p_mw, q_mvar)
    for node in np.flatnonzero(injection):
        bus = int(feeder.node_bus[node])
        pandapower.create_sgen(net, bus, p_mw=injection[node].real, q_mvar=injection[node].imag)
    pandapower.runpp(net, numba=False, calculate_voltage_angles=True, tolerance_mva=1e-9)
    return np.concatenate([net.res_line.loading_percent.dropna(), net.res_trafo.loading_percent.dropna()])
