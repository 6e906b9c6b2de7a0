import copy
from dataclasses import replace

import numpy as np
import pytest

from feederlab.errors import InputError, ValidationError
from feederlab.models.feeder import Feeder
from feederlab.models.powerflow.base import engine


@pytest.fixture(scope="module")
def day(scenario):
    return scenario("case33").with_band(0.94, 1.06).days("2016-06-21")


def test_devices_are_added_to_a_copy(day):
    more = day.with_devices(
        inverters={16: (0.5, 0.0), 24: (1.1, 1.0)}, storages={31: (0.3, 0.6)}, capacitors={29: (0.3, 4)},
        regulators={0: (-5, 5, 0.5)},
    )  # fmt: skip
    before, after = day.feeder, more.feeder
    assert len(before.capacitors) + len(before.storages) + len(before.tap_changers) == 0
    assert after.inverters.bus[-2:].tolist() == [16, 24]
    assert after.inverters.s_mva[-2:].tolist() == [0.5, 1.1]
    assert (after.storages.e_min_mwh[0], after.storages.e_max_mwh[0]) == pytest.approx((0.06, 0.54))
    assert after.storages.soc[0] * 0.54 == pytest.approx(0.3)
    assert (after.capacitors.step[0], after.capacitors.max_step[0]) == (0, 4)
    assert after.capacitors.q_step_mvar[0] == pytest.approx(-0.3)
    assert (after.tap_changers.tap_min[0], after.tap_changers.tap[0], after.tap_changers.tap_max[0]) == (-5, 0, 5)
    assert (more.start, more.periods, more.step, more.name) == (day.start, day.periods, day.step, day.name)
    assert np.array_equal(np.unique(more.band, axis=1), [[0.94], [1.06]])
    series, old = more.series(), day.series()
    assert np.array_equal(series.load_mva, old.load_mva)
    assert np.array_equal(series.p_available_mw[:, :-2], old.p_available_mw)
    assert series.p_available_mw[:, -2:] == pytest.approx(np.tile([0.0, 1.0], (day.periods, 1)))


def test_a_regulator_scales_what_lies_behind_its_line(day):
    more = day.with_devices(regulators={0: (-5, 5, 0.5)})
    load = -day.series().load_mva[70]
    plain = engine(day.feeder).solve(load)
    flow = engine(more.feeder)
    assert flow.solve(load, taps=np.array([0])).u == pytest.approx(plain.u, abs=1e-9)
    idle = np.zeros(more.feeder.n_nodes, dtype=complex)
    # The ideal transformer (1 + 0.5 % per position) : 1 stands at the line's from side.
    assert flow.solve(idle, taps=np.array([5])).vm[1:] == pytest.approx(np.full(32, 1 / 1.025), abs=1e-9)
    assert flow.solve(idle, taps=np.array([-5])).vm[1:] == pytest.approx(np.full(32, 1 / 0.975), abs=1e-9)


def test_a_regulator_stands_towards_the_grid_whichever_way_its_line_is_written(day):
    ends = day.feeder.net.line.loc[1, ["to_bus", "from_bus"]].tolist()
    net = copy.deepcopy(day.feeder.net)
    net.line.loc[1, ["from_bus", "to_bus"]] = ends
    turned = replace(day, feeder=Feeder.from_pandapower(net))
    plain, other = (one.with_devices(regulators={1: (-5, 5, 0.5)}).feeder for one in (day, turned))
    assert plain.node_bus[plain.tap_changers.node] == other.node_bus[other.tap_changers.node] == [ends[0]]
    load = -day.series().load_mva[70]
    for tap in (-5, 0, 5):
        solved = [engine(feeder).solve(load, taps=np.array([tap])).vm for feeder in (plain, other)]
        assert solved[1] == pytest.approx(solved[0], abs=1e-9)


def test_the_sun_of_new_inverters(day):
    times = len(next(iter(day.profiles.values())).times)
    shape = np.linspace(0, 1, times)
    more = day.with_devices(inverters={24: (1.1, 1.0)}, shape=shape)
    at = next(iter(day.profiles.values())).times.get_loc(day.start)
    assert more.series().p_available_mw[:, -1] == pytest.approx(shape[at : at + day.periods], rel=1e-12)
    assert np.array_equal(more.series().p_available_mw[:, :-1], day.series().p_available_mw)
    with pytest.raises(InputError, match="instants"):
        day.with_devices(inverters={24: (1.1, 1.0)}, shape=shape[:-1])


def test_impossible_devices_are_refused(day):
    with pytest.raises(InputError, match="no bus 99"):
        day.with_devices(inverters={99: (1.0, 0.5)})
    with pytest.raises(InputError, match="no line 77"):
        day.with_devices(regulators={77: (-5, 5, 0.5)})
    for wrong, message in (
        ({"regulators": {33: (-5, 5, 0.5)}}, "line 33 is out of service"),
        ({"regulators": {0: (-5, 5, np.nan)}}, "percentage per position"),
        ({"regulators": {0: (-5, 5, 0.0)}}, "percentage per position"),
        ({"regulators": {0: (-5, 5, 20.0)}}, "percentage per position"),
        ({"regulators": {0: (5, -5, 0.5)}}, "positions around 0"),
        ({"regulators": {0: (1, 5, 0.5)}}, "positions around 0"),
        ({"capacitors": {29: (0.3, 0)}}, "at least one step"),
        ({"storages": {29: (0.0, 1.0)}}, "rate above 0 MW"),
        ({"storages": {29: (np.nan, 1.0)}}, "rate above 0 MW"),
        ({"capacitors": {29: (0.3, 1)}, "dwell_s": np.nan}, "numbers of seconds"),
        ({"regulators": {0: (-5, 5, 0.5)}, "tap_delay_s": -1.0}, "numbers of seconds"),
    ):
        with pytest.raises(InputError, match=message):
            day.with_devices(**wrong)
    with pytest.raises(ValidationError, match="sn_mva"):
        day.with_devices(inverters={24: (0.5, 1.0)})
