"""A small scenario with one of everything, to try controllers on."""

from __future__ import annotations

import numpy as np
import pandas as pd

from feederlab.models.arrays import FloatArray
from feederlab.models.feeder import Feeder
from feederlab.models.scenario import Scenario


def example_scenario() -> Scenario:
    """Return a day on the 33-bus feeder behind a tap-changing transformer, with every kind of device and two zones."""
    import pandapower as pp
    import pandapower.networks as networks

    net = networks.case33bw()
    net.bus[["min_vm_pu", "max_vm_pu"]] = 0.95, 1.05
    net.ext_grid["bus"] = pp.create_bus(net, vn_kv=110.0, min_vm_pu=0.95, max_vm_pu=1.05)
    pp.create_transformer_from_parameters(
        net, net.ext_grid.bus[0], 0, sn_mva=10.0, vn_hv_kv=110.0, vn_lv_kv=12.66, vk_percent=10.0, vkr_percent=0.5,
        pfe_kw=5.0, i0_percent=0.05, tap_side="hv", tap_neutral=0, tap_min=-4, tap_max=4, tap_step_percent=1.25,
        tap_pos=0, tap_changer_type="Ratio",
    )  # fmt: skip
    net.bus["zone"] = ["south" if 5 < bus < 18 else "north" for bus in net.bus.index]
    for bus, p in ((12, 0.5), (17, 0.6), (21, 0.4), (24, 1.0), (32, 0.5), (30, 0.0)):
        pp.create_sgen(net, bus, p_mw=p, sn_mva=1.2 * p if p else 0.5, controllable=True)
    for bus in (15, 28):
        pp.create_storage(
            net, bus, p_mw=0.0, max_e_mwh=1.0, min_e_mwh=0.1, soc_percent=50.0, sn_mva=0.3, min_p_mw=-0.3, max_p_mw=0.3
        )
    for bus in (11, 23, 29):
        pp.create_shunt(net, bus, q_mvar=-0.15, p_mw=0.0, step=1, max_step=3, controllable=True)
    hour = np.arange(0.0, 24.0, 0.25)
    times = pd.date_range("2016-06-21", periods=len(hour), freq="15min")
    demand = 0.6 + 0.3 * np.sin((hour - 12) / 24 * 2 * np.pi) ** 2
    sun = np.maximum(0.0, np.sin((hour - 5) / 15 * np.pi))

    def profile(table: str, column: str, shape: FloatArray) -> pd.DataFrame:
        peak = net[table][column]
        return pd.DataFrame(shape[:, None] * peak.to_numpy(), index=times, columns=peak.index)

    profiles = {
        ("load", "p_mw"): profile("load", "p_mw", demand),
        ("load", "q_mvar"): profile("load", "q_mvar", demand),
        ("sgen", "p_mw"): profile("sgen", "p_mw", sun),
    }
    return Scenario.build(Feeder.from_pandapower(net, "example"), profiles, band=(0.95, 1.05))
