"""Every fault of a net has its own message: where, what is there, what is accepted, how to mend it."""

from __future__ import annotations

import time

import numpy as np
import pandapower as pp
import pandapower.networks as networks
import pytest
from grids import small_net

from feederlab.errors import ValidationError
from feederlab.models.feeder import Feeder
from feederlab.models.validate import net_problems


def _set(table, column, value, index=0):
    def break_it(net):
        net[table][column] = net[table][column].astype(object) if isinstance(value, str) else net[table][column]
        net[table].loc[index, column] = value

    return break_it


def _drop(table, column):
    return lambda net: net[table].drop(columns=column, inplace=True)


def _kilowatts(table):
    def break_it(net):
        net[table][["p_mw", "q_mvar"]] *= 1000

    return break_it


def _second_slack(net):
    pp.create_ext_grid(net, 3)


def _no_slack(net):
    net.ext_grid["in_service"] = False


def _two_ext_grids_at_one_node(net):
    pp.create_ext_grid(net, 0, vm_pu=1.03)


def _open_the_line(net):
    net.switch["closed"] = False


def _line_out(net):
    net.line.loc[1, "in_service"] = False


def _twice(net):
    net.load.index = [0, 0]


def _generator_slack(net):
    pp.create_gen(net, 3, 0.01, slack=True)


def _one_load_in_kilowatts(net):
    net.load.loc[1, "p_mw"] = 50.0


FAULTS = {
    "missing column": (_drop("line", "length_km"), ["line.length_km: the column is missing; add it"]),
    "missing limit column": (_drop("line", "max_i_ka"), ["line.max_i_ka: the column is missing"]),
    "NaN": (_set("load", "p_mw", np.nan, 1), ["load.p_mw[1]: the value is empty (NaN); give a number"]),
    "no number": (_set("load", "p_mw", "much", 1), ["load.p_mw[1]: the value is 'much'", "not a finite number"]),
    "infinite": (_set("line", "x_ohm_per_km", np.inf, 1), ["line.x_ohm_per_km[1]: the value is inf, which"]),
    "duplicate index": (_twice, ["load.index[0]: this index occurs more than once"]),
    "no such bus": (_set("load", "bus", 77, 1), ["load.bus[1]: there is no bus 77"]),
    "no such line": (_set("switch", "element", 9), ["switch.element[0]: there is no line 9"]),
    "loads in kW": (_kilowatts("load"), ["load.p_mw[0, 1]: up to 53.85 MVA each", "divide by 1000 if these are kW"]),
    "one load in kW": (_one_load_in_kilowatts, ["load.p_mw[1]: up to 50 MVA", "lines and transformers carry 0.18"]),
    "PV in kW": (_kilowatts("sgen"), ["sgen.p_mw[0]: up to 40 MVA each", "divide by 1000"]),
    "island behind a switch": (
        _open_the_line,
        ["bus[2, 3]: an island", "load 0, load 1, sgen 0, storage 0, shunt 0 in service", "switch 0 (line 0)"],
    ),
    "island behind a line": (_line_out, ["bus[3]: an island", "load 1, sgen 0", "put in service line 1"]),
    "no slack": (_no_slack, ["ext_grid[0]: no slack", "create_ext_grid"]),
    "two slacks": (_second_slack, ["ext_grid[0, 1]: two slacks", "separate buses 0, 3", "take the others out"]),
    "slacks that disagree": (_two_ext_grids_at_one_node, ["ext_grid.vm_pu[0, 1]", "(1.02, 1.03 p.u.); keep one"]),
    "generator as slack": (_generator_slack, ["gen.slack[0]: slack=True is not supported", "ext_grid"]),
    "negative resistance": (
        _set("line", "r_ohm_per_km", -0.2, 1),
        ["line.r_ohm_per_km[1]: a negative resistance (-0.2 ohm/km) is not possible; it must be >= 0"],
    ),
    "negative transformer resistance": (_set("trafo", "vkr_percent", -1.0), ["trafo.vkr_percent[0]: a negative"]),
    "transformer without impedance": (_set("trafo", "vk_percent", 0.0), ["trafo.vk_percent[0]: 0 % is not possible"]),
    "negative length": (_set("line", "length_km", -1.0), ["line.length_km[0]", "(-1 km) is not possible"]),
    "no nominal voltage": (_set("bus", "vn_kv", 0.0, 2), ["bus.vn_kv[2]: 0 kV is not possible; it must be > 0"]),
    "slack in kV": (_set("ext_grid", "vm_pu", 20.0), ["ext_grid.vm_pu[0]: 20 p.u.", "0.5-2"]),
    "no sn_mva": (_set("sgen", "sn_mva", np.nan), ["sgen.sn_mva[0]: a controllable sgen needs", "give sn_mva > 0"]),
    "sn_mva below p": (_set("sgen", "sn_mva", 0.03), ["sn_mva (0.03 MVA) is smaller than p_mw (0.04 MW"]),
    "negative PV": (_set("sgen", "p_mw", -0.01), ["sgen.p_mw[0]: -0.01 MW", "give p_mw >= 0"]),
    "marked in words": (_set("sgen", "controllable", "no"), ["sgen.controllable[0]: 'no' is no mark; give True or"]),
    "storage marked in words": (_set("storage", "controllable", "no"), ["storage.controllable[0]: 'no' is no mark"]),
    "no energy": (_set("storage", "max_e_mwh", np.nan), ["storage.max_e_mwh[0]: max_e_mwh is missing", "MWh"]),
    "energies inverted": (_set("storage", "min_e_mwh", 0.2), ["storage.min_e_mwh[0]: min_e_mwh is 0.2 MWh"]),
    "too full": (_set("storage", "soc_percent", 120.0), ["storage.soc_percent[0]: soc_percent is 120", "and 100 %"]),
    "too empty": (_set("storage", "soc_percent", 5.0), ["soc_percent is 5; it must lie between min_e_mwh (10 %)"]),
    "no soc": (_set("storage", "soc_percent", np.nan), ["storage.soc_percent[0]", "give soc_percent"]),
    "rates": (_set("storage", "min_p_mw", 0.01), ["storage.min_p_mw[0]: the range", "must include 0"]),
    "inverted band": (_set("bus", "min_vm_pu", 1.2, 3), ["bus.min_vm_pu/max_vm_pu[3]: the voltage band", "1.2 to 1.1"]),
    "empty band": (_set("bus", "max_vm_pu", 0.9, 3), ["bus.min_vm_pu/max_vm_pu[3]: the voltage band", "0.9 to 0.9"]),
    "band in percent": (_set("bus", "max_vm_pu", 110.0, 3), ["max_vm_pu[3]: a voltage limit must be in p.u."]),
    "tap out of range": (_set("trafo", "tap_pos", 7), ["trafo.tap_pos[0]: tap_pos 7 is not possible", "-2 to 2"]),
    "capacitor step": (_set("shunt", "step", 4), ["shunt.step[0]: step 4 is not possible", "0 to max_step (3)"]),
    "voltage-dependent load": (
        _set("load", "const_z_p_percent", 40.0),
        ["load.const_z_p_percent[0]: voltage-dependent loads are not supported; set this column to 0"],
    ),
    "unbalanced load": (
        lambda net: pp.create_asymmetric_load(net, 3, p_a_mw=0.01),
        ["asymmetric_load[0]: elements of table asymmetric_load are not supported", "table load"],
    ),
    "HVDC": (
        lambda net: pp.create_dcline(net, 1, 3, p_mw=0.01, loss_percent=1, loss_mw=0, vm_from_pu=1, vm_to_pu=1),
        ["dcline[0]: elements of table dcline are not supported"],
    ),
    "impedance": (
        lambda net: pp.create_impedance(net, 2, 3, rft_pu=0.1, xft_pu=0.1, rtf_pu=0.2, xtf_pu=0.1, sn_mva=1),
        ["impedance.rtf_pu[0]: different values in the two directions"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("break_it", "fragments"), FAULTS.values(), ids=FAULTS.keys())
def test_each_fault_has_its_message(break_it, fragments):
    net = small_net()
    assert net_problems(net) == []
    break_it(net)
    with pytest.raises(ValidationError) as raised:
        Feeder.from_pandapower(net)
    for fragment in fragments:
        assert fragment in str(raised.value)
    assert len(raised.value.problems) <= 2, raised.value  # one fault is not reported over and over


@pytest.mark.parametrize("mark", [True, False, 0, 1, 1.0, np.nan, None, np.bool_(True)])
def test_marks_may_be_truth_values_0_1_or_empty(mark):
    net = small_net()
    net.sgen["controllable"] = np.array([mark], dtype=object)
    assert net_problems(net) == []


def _single_bus():
    net = pp.create_empty_network()
    pp.create_ext_grid(net, pp.create_bus(net, 0.4))
    pp.create_sgen(net, 0, 0.01, sn_mva=0.02, controllable=True)
    return net


def _zero_impedance_only():
    net = _single_bus()
    pp.create_bus(net, 0.4)
    pp.create_line_from_parameters(net, 0, 1, 1.0, 0.0, 0.0, 0.0, 1.0)
    return net


@pytest.mark.parametrize("make", [_single_bus, _zero_impedance_only])
def test_a_net_without_branches_is_refused(make):
    with pytest.raises(ValidationError, match="no line or transformer with an impedance is in service"):
        Feeder.from_pandapower(make())


def test_all_faults_are_raised_together():
    net = small_net()
    for key in ("NaN", "no sn_mva", "negative resistance", "no energy", "inverted band"):
        FAULTS[key][0](net)
    with pytest.raises(ValidationError, match="5 problems in the input") as raised:
        Feeder.from_pandapower(net)
    tables = {problem.table for problem in raised.value.problems}
    assert tables == {"load", "sgen", "line", "storage", "bus"}
    assert raised.value.exit_code != 0


def test_what_is_out_of_service_does_no_harm():
    net = small_net()
    for table, column in (("load", "p_mw"), ("sgen", "sn_mva"), ("storage", "max_e_mwh")):
        net[table].loc[0, column] = np.nan
        net[table].loc[0, "in_service"] = False
    assert net_problems(net) == []


def test_zero_impedance_is_no_fault_but_a_note():
    net = small_net()
    net.line.loc[1, ["r_ohm_per_km", "x_ohm_per_km"]] = 0.0
    feeder = Feeder.from_pandapower(net)
    assert feeder.bus_node[2] == feeder.bus_node[3]
    assert feeder.notes == ("line 1 has zero impedance: buses 2 and 3 are one node",)
    assert Feeder.from_pandapower(small_net()).notes == ()


def test_nothing_is_repaired():
    net = small_net()
    before = pp.to_json(net)
    Feeder.from_pandapower(net)
    assert pp.to_json(net) == before
    FAULTS["NaN"][0](net)
    before = pp.to_json(net)
    with pytest.raises(ValidationError):
        Feeder.from_pandapower(net)
    assert pp.to_json(net) == before


def test_something_else_than_a_net():
    with pytest.raises(ValidationError, match="no pandapower net but a dict"):
        Feeder.from_pandapower({"a": 1})


@pytest.mark.parametrize(
    "make",
    [
        networks.case33bw, networks.create_cigre_network_lv, lambda: networks.create_cigre_network_mv("pv_wind"),
        networks.case118, networks.case300, networks.GBnetwork,
    ],
)  # fmt: skip
def test_published_nets_are_valid(make):
    assert net_problems(make()) == []


@pytest.mark.parametrize(
    "make", [networks.case33bw, networks.create_cigre_network_lv, networks.create_kerber_landnetz_freileitung_1]
)
def test_unit_slip_is_seen_on_published_nets(make):
    """Also where no line has a rating (case33bw), by the voltage drop that the powers would cause."""
    net = make()
    net.load[["p_mw", "q_mvar"]] *= 1000
    (problem,) = net_problems(net)
    assert problem.table == "load"
    assert "divide by 1000" in problem.message


def test_simbench_is_valid_but_for_its_efficiencies(simbench_net):
    """SimBench ships 0.95 in a column of percent; taken at its word, a battery would lose 99 % of its energy."""
    assert net_problems(simbench_net("1-LV-semiurb4--0-sw")) == []
    (problem,) = net_problems(simbench_net("1-MV-comm--1-no_sw"))
    assert (problem.table, problem.column) == ("storage", "efficiency_percent")
    assert "write 95 for 95 %, not 0.95" in problem.message


def test_large_nets_are_checked_quickly():
    """About 30 ms for 5000 buses; the bound leaves room for a busy machine."""
    net = pp.create_empty_network()
    bus = pp.create_buses(net, 5000, 20.0)
    pp.create_ext_grid(net, bus[0])
    pp.create_lines(net, (bus[1:] - 1) // 2, bus[1:], 0.1, "NA2XS2Y 1x185 RM/25 12/20 kV")
    pp.create_loads(net, bus[1:], 0.001)
    pp.create_switches(net, bus[1:], net.line.index, "l")
    assert min(_seconds(net) for _ in range(5)) < 0.15


def _seconds(net) -> float:
    start = time.perf_counter()
    assert net_problems(net) == []
    return time.perf_counter() - start
