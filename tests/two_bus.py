"""A feeder whose hosting capacity has a closed form: a slack, one line, and a bus with load and PV."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandapower as pp
import pandas as pd
from scipy.optimize import brentq

from feederlab.models.feeder import Feeder
from feederlab.models.scenario import Scenario

R, X, KV = 2.0, 1.5, 10.0  # ohm, kV
LOAD = 0.4 + 0.1j  # MVA
SUN = (0.0, 0.5, 1.0, 0.7)
TIMES = pd.date_range("2016-06-20 09:00", periods=len(SUN), freq="1h")


def scenario(
    *, max_i_ka: float = np.inf, s_mva: float = 1.25, load: complex = LOAD, band: tuple[float, float] = (0.95, 1.05)
) -> Scenario:
    """PV of 1 MW at full sun, on a load that is the same all day; the slack holds 1 p.u."""
    net: Any = pp.create_empty_network(name="two buses", sn_mva=1.0)
    a, b = pp.create_bus(net, KV), pp.create_bus(net, KV, name="village")
    pp.create_ext_grid(net, a, vm_pu=1.0)
    pp.create_line_from_parameters(
        net, a, b, length_km=1.0, r_ohm_per_km=R, x_ohm_per_km=X, c_nf_per_km=0.0,
        max_i_ka=max_i_ka if np.isfinite(max_i_ka) else 99999.0,
    )  # fmt: skip
    pp.create_load(net, b, load.real, load.imag)
    pp.create_sgen(net, b, p_mw=1.0, q_mvar=0.0, sn_mva=s_mva, controllable=True)
    sun = pd.DataFrame({0: SUN}, index=TIMES)
    loads = pd.DataFrame({0: [load.real] * len(SUN)}, index=TIMES)
    return Scenario.build(Feeder.from_pandapower(net), {("sgen", "p_mw"): sun, ("load", "p_mw"): loads}, band=band)


def voltage(p_mw: float, q_mvar: float) -> float:
    """|u| (p.u.) at net injection p + jq: the upper root of v^2 - v (1 + 2(RP + XQ)) + |Z|^2 |S|^2 = 0, v = |u|^2."""
    base = KV**2
    linear = 1 + 2 * (R * p_mw + X * q_mvar) / base
    square = (R**2 + X**2) * (p_mw**2 + q_mvar**2) / base**2
    return float(np.sqrt((linear + np.sqrt(linear**2 - 4 * square)) / 2))


def current_ka(p_mw: float, q_mvar: float) -> float:
    """Current of the line (kA)."""
    return float(np.hypot(p_mw, q_mvar) / (np.sqrt(3) * KV * voltage(p_mw, q_mvar)))


def capacity(limit: Any, q_of_p: Any, load: complex = LOAD, largest: float = 10.0) -> float:
    """The PV (MW) at which `limit(p, q)` of the net injection first reaches 0 from below."""

    def beyond(pv: float) -> float:
        return float(limit(pv - load.real, q_of_p(pv) - load.imag))

    pv = np.linspace(0, largest, 2001)
    first = next(k for k, value in enumerate(pv) if beyond(value) > 0)
    return float(brentq(beyond, pv[first - 1], pv[first], xtol=1e-12))
