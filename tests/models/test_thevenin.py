"""Thevenin equivalents of two readings: exact where they can be, held where they cannot, and the voltage they give."""

from __future__ import annotations

import numpy as np
import pandapower as pp
import pytest
from hypothesis import given
from hypothesis import strategies as st

import two_bus
from feederlab.errors import InputError
from feederlab.models.thevenin import Guard, current, impedance, impedances, source, two_samples, voltage

RESISTANCE = st.floats(0.0, 0.3)
LOAD = st.floats(-0.6, 0.6)


def test_the_voltage_of_the_paper_with_its_sign_mended():
    assert voltage(1.0, 0.1, 0.5, 0.0) == pytest.approx(0.947214, abs=1e-6)
    assert voltage(1.0, 0.1, 0.5, 0.0) == pytest.approx((1 + np.sqrt(1 - 4 * 0.05)) / 2)  # V^2 - V + r P = 0
    assert voltage(1.0, 0.1, -0.5, 0.0) > 1  # the printed sign would swap the two


@given(st.floats(0.9, 1.1), RESISTANCE, RESISTANCE, LOAD, LOAD)
def test_the_voltage_solves_the_circuit(e, r, x, p, q):
    """|V + Z conj(S/V)| = E, and no higher voltage does."""
    z, s = complex(r, x), complex(p, q)
    vm = voltage(e, z, p, q, unsolved="nan")
    if not np.isfinite(vm):
        grid = np.linspace(1e-3, 3, 4001)
        assert (np.abs(grid + z * np.conj(s / grid)) > e - 1e-9).all()
        return
    assert abs(vm + z * np.conj(s / vm)) == pytest.approx(e, abs=1e-7)
    above = np.linspace(vm + 1e-4, vm + 1, 500)
    assert (np.abs(above + z * np.conj(s / above)) > e).all()
    assert vm == voltage(e, z, p, q)


def test_beyond_the_most_that_the_line_transports():
    """E = 1, r = 0.1: at most P = E^2 / 4 r = 2.5, at V = E / 2."""
    assert voltage(1.0, 0.1, 2.5 - 1e-12, 0.0) == pytest.approx(0.5, abs=1e-5)
    assert np.isnan(voltage(1.0, 0.1, 2.6, 0.0, unsolved="nan"))
    assert voltage(1.0, 0.1, 2.5 + 1e-12, 0.0) == pytest.approx(0.5, abs=1e-5)
    assert voltage(1.0, 0.1, 1e3, 0.0) == 0
    assert np.isnan(voltage(1.0, 0.1, 1e3, 0.0, unsolved="nan"))
    with pytest.raises(InputError, match="nose or nan, not 'zero'"):
        voltage(1.0, 0.1, 0.5, 0.0, unsolved="zero")


@given(st.floats(0.9, 1.1), RESISTANCE, RESISTANCE, LOAD, LOAD, LOAD, LOAD)
def test_two_samples_of_one_source_give_it_back(e, r, x, p, q, p_next, q_next):
    """With phasors of one reference, the source's, E and Z come back."""
    z, samples = complex(r, x), []
    for s in (complex(p, q), complex(p_next, q_next)):
        vm = voltage(e, z, s.real, s.imag, unsolved="nan")
        if not np.isfinite(vm):
            return
        turned = vm + z * current(vm, s)  # E in the reference of the voltage
        u = vm * np.conj(turned) / abs(turned)
        samples.append((u, current(u, s)))
    (u, i), (u_next, i_next) = samples
    if abs(i_next - i) < 1e-4:
        return
    found_e, found_z = two_samples(u, i, u_next, i_next)
    assert found_e == pytest.approx(e, abs=1e-9)
    assert found_z == pytest.approx(z, abs=1e-9 / abs(i_next - i))


@given(st.floats(0.9, 1.1), st.floats(0.01, 0.3), st.lists(LOAD, min_size=2, max_size=6))
def test_magnitudes_of_a_resistive_feeder_give_it_back(e, r, loads):
    vm = voltage(e, r, loads, 0.0, unsolved="nan")
    if not np.isfinite(vm).all():
        return
    found = impedances(vm, np.array(loads) + 0j, np.arange(len(loads)) > 0, Guard(di_min=1e-3, z_start=r))
    np.testing.assert_allclose(found, r, atol=1e-8)
    np.testing.assert_allclose(source(vm, np.array(loads), found), e, atol=1e-8)


def test_magnitudes_of_one_power_factor_predict_along_it():
    """r and x cannot be told apart, but the voltage at other loads of the same power factor is nearly right."""
    z, load, e = 0.3 + 0.1j, 0.95 + 0.31j, 1.0
    vm = voltage(e, z, *(np.array([0.10, 0.12])[:, None] * [load.real, load.imag]).T)
    found = impedance(vm[0], 0.10 * load, vm[1], 0.12 * load, 0.0, Guard())
    assert np.angle(found) == pytest.approx(np.angle(load), abs=0.02)
    there = voltage(source(vm[1], 0.12 * load, found), found, 0.18 * load.real, 0.18 * load.imag)
    assert there == pytest.approx(voltage(e, z, 0.18 * load.real, 0.18 * load.imag), abs=2e-4)


def test_what_is_not_believed_is_held():
    guard, r = Guard(di_min=0.01, z_max=2.0, z_start=0.5), 0.2
    p = np.array([0.1, 0.2, 0.201, 0.3, 0.3, 0.1])
    vm = voltage(1.0, r, p, 0.0)
    vm[3:] = voltage(1.1, r, p[3:], 0.0)  # the source rises, and with more load the voltage is higher
    fresh = np.array([False, True, True, True, True, True])
    np.testing.assert_allclose(impedances(vm, p + 0j, fresh, guard), [0.5, r, r, r, r, r], atol=1e-9)
    gap = fresh & (np.arange(6) != 1)
    np.testing.assert_allclose(impedances(vm, p + 0j, gap, guard)[:5], 0.5)
    steep = voltage(1.0, r, np.array([0.1, 0.15]), 0.0) - [0.0, 0.5]  # Z of 10
    assert impedance(steep[0], 0.1, steep[1], 0.15, 0.7, guard) == 0.7
    assert impedance(np.nan, 0.1, 1.0, 0.2, 0.7, guard) == 0.7


def test_step_by_step_is_the_same_as_all_at_once():
    rng = np.random.default_rng(0)
    vm, s = rng.normal(1, 0.02, 200), rng.normal(0, 0.05, 200) + 1j * rng.normal(0, 0.01, 200)
    guard, fresh = Guard(z_start=0.3 + 0.1j), rng.uniform(size=200) > 0.1
    z, found = guard.z_start, []
    for t in range(200):
        if t and fresh[t]:
            z = impedance(vm[t - 1], s[t - 1], vm[t], s[t], z, guard)
        found.append(complex(z))
    fresh[0] = False
    np.testing.assert_array_equal(impedances(vm, s, fresh, guard), found)


def test_against_pandapower():
    """A line of known ohms on pandapower's power flow."""
    base = two_bus.KV**2  # ohm, on 1 MVA
    z = complex(two_bus.R, two_bus.X) / base
    net = two_bus.scenario().feeder.net
    net.sgen["p_mw"] = 0.0
    vm, angle, loads = [], [], [3.0 + 1.0j, -4.0 + 0.5j, 6.0 - 2.0j]
    for s in loads:
        net.load["p_mw"], net.load["q_mvar"] = s.real, s.imag
        pp.runpp(net, tolerance_mva=1e-10)
        vm.append(float(net.res_bus.vm_pu[1]))
        angle.append(float(net.res_bus.va_degree[1]))
        assert voltage(1.0, z, s.real, s.imag) == pytest.approx(vm[-1], abs=1e-9)
        assert source(vm[-1], s, z) == pytest.approx(1.0, abs=1e-9)
    u = np.array(vm) * np.exp(1j * np.deg2rad(angle))
    i = current(u, loads)
    e, found = two_samples(u[:-1], i[:-1], u[1:], i[1:])
    np.testing.assert_allclose(e, 1.0, atol=1e-8)
    np.testing.assert_allclose(found, z, atol=1e-9)


@pytest.mark.parametrize("settings", [{"di_min": 0.0}, {"z_max": -1.0}, {"z_start": 9.0}])
def test_impossible_guards(settings):
    with pytest.raises(InputError, match="a Thevenin guard needs"):
        Guard(**settings)
