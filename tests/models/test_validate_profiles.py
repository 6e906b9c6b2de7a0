"""Every fault of a profile has its own message."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from grids import small_net

from feederlab.errors import InputError, ValidationError
from feederlab.models.feeder import Feeder
from feederlab.models.profiles import Profile
from feederlab.models.scenario import Scenario

TIMES = pd.date_range("2016-06-21", periods=96, freq="15min")


@pytest.fixture(scope="module")
def feeder():
    return Feeder.from_pandapower(small_net())


def profiles():
    return {
        ("load", "p_mw"): pd.DataFrame({0: 0.03, 1: 0.05}, index=TIMES),
        ("load", "q_mvar"): pd.DataFrame({0: 0.01, 1: 0.02}, index=TIMES),
        ("sgen", "p_mw"): pd.DataFrame({0: 0.04}, index=TIMES),
    }


def _nan(p):
    p["load", "p_mw"].iloc[5, 1] = np.nan
    p["load", "p_mw"].iloc[7, 1] = np.nan


def _gap(p):
    for key in p:
        p[key] = p[key].drop(TIMES[10])


def _short(p):
    p["load", "q_mvar"] = p["load", "q_mvar"].iloc[:90]


def _shifted(p):
    p["sgen", "p_mw"].index = TIMES + pd.Timedelta("1h")


def _unsorted(p):
    p["load", "p_mw"] = p["load", "p_mw"].iloc[[1, 0, *range(2, 96)]]


def _twice(p):
    p["load", "p_mw"] = p["load", "p_mw"].iloc[[0, 0, *range(2, 96)]]


def _zone(p):
    p["load", "p_mw"].index = TIMES.tz_localize("Europe/Berlin")


def _foreign(p):
    p["load", "p_mw"] = p["load", "p_mw"].assign(**{"9": 0.01}).rename(columns={"9": 9})


def _missing(p):
    p["load", "p_mw"] = p["load", "p_mw"][[0]]


def _kilowatts(p):
    p["load", "p_mw"] *= 1000


def _unknown(p):
    p["laod", "p_mw"] = p["load", "p_mw"]


def _empty(p):
    p.clear()


def _no_rows(p):
    p["load", "p_mw"] = p["load", "p_mw"].iloc[:0]


def _slack_in_kv(p):
    p["ext_grid", "vm_pu"] = pd.DataFrame({0: 20.0}, index=TIMES)


def _controlled_storage(p):
    p["storage", "p_mw"] = pd.DataFrame({0: 0.01}, index=TIMES)


def _two_columns(p):
    p["load", "p_mw"].columns = [0, 0]


def _negative_sun(p):
    p["sgen", "p_mw"].iloc[3, 0] = -0.001


def _beyond_the_rating(p):
    p["sgen", "p_mw"].iloc[3, 0] = 0.051


def _sgen_q(p):
    p["sgen", "q_mvar"] = pd.DataFrame({0: 0.01}, index=TIMES)


FAULTS = {
    "NaN": (_nan, ["load.p_mw[1]: 2 values are missing", "the first of load 1 at 2016-06-21 01:15:00"]),
    "gap": (_gap, ["load.p_mw: a gap: 2016-06-21 02:45:00 follows 2016-06-21 02:15:00", "usual step is 0 days 00:15"]),
    "wrong length": (_short, ["load.q_mvar: 90 rows, but load.p_mw has 96"]),
    "other times": (_shifted, ["sgen.p_mw: row 0 is at 2016-06-21 01:00:00, but in load.p_mw it is 2016-06-21 00:00"]),
    "not sorted": (_unsorted, ["load.p_mw: times must ascend", "2016-06-21 00:00:00 follows 2016-06-21 00:15:00"]),
    "time twice": (_twice, ["load.p_mw: the time 2016-06-21 00:00:00 occurs more than once"]),
    "time zone": (_zone, ["load.p_mw: times have the time zone Europe/Berlin"]),
    "index not in the net": (_foreign, ["load.p_mw[9]: the net has no load of this index", "0 to 1 (2)"]),
    "missing column": (_missing, ["load.p_mw[1]: the profile has no column for this element"]),
    "kilowatts": (_kilowatts, ["load.p_mw[0, 1]: up to 50 each", "divide by 1000 if these are kW"]),
    "unknown name": (_unknown, ["laod.p_mw: no profile of this name is used; known are load.p_mw"]),
    "none": (_empty, ["profiles: there is none"]),
    "no rows": (_no_rows, ["load.p_mw: the profile has no rows"]),
    "slack voltage": (_slack_in_kv, ["ext_grid.vm_pu: 20 to 20 is no slack voltage in p.u."]),
    "controlled storage": (_controlled_storage, ["storage.p_mw[0]: a controlled storage has no profile"]),
    "negative PV": (_negative_sun, ["sgen.p_mw[0]: sgen 0 reaches -0.001 MW", "give values >= 0"]),
    "PV beyond sn_mva": (_beyond_the_rating, ["sgen.p_mw[0]: sgen 0 reaches 0.051 MW", "sn_mva is 0.05 MVA"]),
    "reactive power of an inverter": (_sgen_q, ["sgen.q_mvar[0]: controllers set the reactive power"]),
    "column twice": (_two_columns, ["load.p_mw[0]: the profile has more than one column"]),
}


@pytest.mark.parametrize(("break_it", "fragments"), FAULTS.values(), ids=FAULTS.keys())
def test_each_fault_has_its_message(feeder, break_it, fragments):
    given = profiles()
    break_it(given)
    with pytest.raises(ValidationError) as raised:
        Scenario.build(feeder, given)
    for fragment in fragments:
        assert fragment in str(raised.value)


def test_sound_profiles_pass(feeder):
    scenario = Scenario.build(feeder, profiles())
    assert (scenario.periods, scenario.step) == (96, pd.Timedelta("15min"))


def test_inverter_profiles_count_scaling_and_allow_rounding():
    net = small_net()
    net.sgen["scaling"] = 0.5
    given = profiles()
    given["sgen", "p_mw"].iloc[3:5, 0] = 0.1 + 1e-8, -1e-9
    scenario = Scenario.build(Feeder.from_pandapower(net), given)
    assert scenario.series().p_available_mw.min() == 0
    given["sgen", "p_mw"].iloc[3, 0] = 0.101
    with pytest.raises(ValidationError, match=r"reaches 0.0505 MW"):
        Scenario.build(Feeder.from_pandapower(net), given)


def test_fixed_generators_may_draw_power_and_have_a_reactive_profile():
    net = small_net()
    net.sgen["controllable"] = False
    given = profiles()
    _sgen_q(given)
    _negative_sun(given)
    assert Scenario.build(Feeder.from_pandapower(net), given).series().load_mva.imag.sum() > 0


def test_all_faults_are_raised_together(feeder):
    given = profiles()
    for fault in (_nan, _foreign, _short):
        fault(given)
    with pytest.raises(ValidationError, match="3 problems"):
        Scenario.build(feeder, given)


def test_unused_shapes_may_hold_anything(feeder):
    shapes = np.full((96, 2), 0.01)
    shapes[:, 1] = np.nan
    profile = Profile(TIMES, shapes, np.array([0, 0]), np.ones(2), np.array([0, 1]))
    assert np.isfinite(Scenario.build(feeder, {("load", "p_mw"): profile}).series().load_mva).all()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({0: [1.0, 2.0]}), "rows of a profile must be times"),
        (pd.DataFrame({"house": 1.0}, index=TIMES), "must be element indices, not 'house'"),
        (pd.DataFrame({3: ["1.0"] * 95 + ["much"]}, index=TIMES), "element 3 is 'much' at 2016-06-21 23:45:00"),
    ],
)
def test_frames_that_are_no_profiles(frame, message):
    with pytest.raises(InputError, match=message):
        Profile.from_frame(frame)


@pytest.mark.parametrize("band", [(1.05, 0.95), (1.0, 1.0), (-1.0, 1.0)])
def test_voltage_band(feeder, band):
    with pytest.raises(InputError, match=r"(empty or inverted|does not lie in 0.5-2); give LO,HI in p.u."):
        Scenario.build(feeder, profiles(), band=band)
