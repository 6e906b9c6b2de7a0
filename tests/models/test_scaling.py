"""More or less PV: what scales and what does not, and the day on which it matters most."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandapower as pp
import pandas as pd
import pytest

import toy
from feederlab.controllers.none import NoControl
from feederlab.errors import InputError
from feederlab.models.feeder import Feeder
from feederlab.models.scaling import installed_mw, peak_mw, sunniest_day, with_generation
from feederlab.models.scenario import Scenario
from feederlab.simulate import simulate


def mixed() -> Scenario:
    """Three controlled PV sites, a STATCOM, and a generator that nothing controls."""
    net = toy.net()
    data = toy.profiles(net)
    pp.create_sgen(net, 5, p_mw=0.0, q_mvar=0.0, sn_mva=0.5, controllable=True)
    pp.create_sgen(net, 8, p_mw=0.6, q_mvar=0.1, controllable=False)
    pp.create_sgen(net, 9, p_mw=0.7, q_mvar=0.0, sn_mva=1.0, controllable=True, in_service=False)
    extra = pd.DataFrame({3: 0.0, 4: 0.6, 5: 0.7}, index=data["sgen", "p_mw"].index)
    data["sgen", "p_mw"] = data["sgen", "p_mw"].join(extra)
    return Scenario.build(Feeder.from_pandapower(net, "mixed"), data).window("2016-06-20 11:00", 3)


@pytest.mark.parametrize("everything", [False, True])
def test_what_scales(everything: bool) -> None:
    plain = mixed()
    large = with_generation(plain, 2.5, everything=everything)
    a, b = plain.series(), large.series()
    np.testing.assert_allclose(b.p_available_mw, 2.5 * a.p_available_mw)
    s, t = plain.feeder.inverters.s_mva, large.feeder.inverters.s_mva
    np.testing.assert_allclose(t[:3], 2.5 * s[:3])
    assert t[3] == s[3] == 0.5  # the STATCOM
    node = int(plain.feeder.bus_node[list(plain.feeder.bus_index).index(8)])
    change = b.load_mva - a.load_mva
    assert np.abs(np.delete(change, node, axis=1)).max() == 0
    np.testing.assert_allclose(change[:, node], -1.5 * (0.6 + 0.1j) if everything else 0)
    assert installed_mw(plain) == pytest.approx(4.0)
    assert installed_mw(large, everything=True) == pytest.approx(2.5 * 4.0 + (2.5 if everything else 1.0) * 0.6)


def test_the_net_says_the_same() -> None:
    """A feeder read anew from the scaled net runs to the same voltages."""
    plain = mixed()
    for everything in (False, True):
        large = with_generation(plain, 1.7, everything=everything)
        again = replace(large, feeder=Feeder.from_pandapower(large.feeder.net, "again"))
        one, two = (simulate(s, NoControl()).data["vm_pu"] for s in (large, again))
        np.testing.assert_allclose(one, two, atol=1e-10)
    assert plain.feeder.net.sgen.scaling.eq(1).all()  # the source is untouched


def test_factors_multiply_and_one_changes_nothing() -> None:
    plain = mixed()
    twice = with_generation(with_generation(plain, 2.0), 1.5)
    np.testing.assert_allclose(twice.series().p_available_mw, 3 * plain.series().p_available_mw)
    np.testing.assert_array_equal(with_generation(plain, 1.0).series().load_mva, plain.series().load_mva)
    for factor in (-1.0, np.inf, np.nan):
        with pytest.raises(InputError, match="a factor of PV"):
            with_generation(plain, factor)


def test_peaks_are_the_larger_of_table_and_profile() -> None:
    plain = mixed()
    assert peak_mw(plain, plain.feeder.inverters).tolist() == pytest.approx([1.0, 1.0, 2.0, 0.0])
    small = replace(plain.feeder.inverters, p_mw=np.zeros(4))
    assert peak_mw(plain, small).tolist() == pytest.approx([1.0, 1.0, 2.0, 0.0])


def test_the_day_on_which_generation_exceeds_load_most() -> None:
    net = toy.net()
    data = toy.profiles(net, steps=3 * 96)
    sunny = data["sgen", "p_mw"].copy()
    sunny.iloc[96:192] *= 1.1
    scenario = Scenario.build(Feeder.from_pandapower(net, "toy"), data | {("sgen", "p_mw"): sunny}).resample("5min")
    day = sunniest_day(scenario)
    assert (str(day.start), day.periods, day.step) == ("2016-06-21 00:00:00", 96, pd.Timedelta("15min"))
    less = data["load", "p_mw"].copy()
    less.iloc[192:] *= 0.01
    quiet = Scenario.build(Feeder.from_pandapower(net, "toy"), data | {("load", "p_mw"): less})
    assert str(sunniest_day(quiet).start) == "2016-06-22 00:00:00"


def test_short_data_are_taken_whole() -> None:
    net = toy.net()
    short = Scenario.build(Feeder.from_pandapower(net, "toy"), toy.profiles(net, steps=20))
    assert sunniest_day(short).periods == 20
