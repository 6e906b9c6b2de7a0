"""The 322-bus network of MAPDN (P1): one 20 kV chain with three SimBench low-voltage grids."""

from __future__ import annotations

from typing import Any

import numpy as np

_LENGTHS_KM = (
    3.26873, 1.24743, 4.52755, 0.65507, 3.99087, 0.84949, 4.30319, 1.18872, 3.18772, 0.42835, 4.67153, 0.83277,
    4.52456, 0.40211, 3.89077, 1.12154, 3.45752, 1.34527, 4.80285, 0.43059, 3.05089, 0.94141, 4.87830, 0.78120,
)  # fmt: skip
_LINE_TYPES = ("70-AL1/11-ST1A 20.0", "NA2XS2Y 1x70 RM/25 12/20 kV")
_LV_PARTS = (("1-LV-rural3--0-sw", 5), ("1-LV-semiurb5--0-sw", 13), ("1-LV-urban6--0-sw", 22))
_LV_TRANSFORMER = {
    "sn_mva": 5.0, "vn_hv_kv": 20.0, "vn_lv_kv": 0.4, "vk_percent": 6.0, "vkr_percent": 1.425,
    "pfe_kw": 0.0, "i0_percent": 0.0, "shift_degree": 0.0,
}  # fmt: skip


def mapdn322_net() -> Any:
    """Return the network: buses 0 (110 kV), 1-25 (20 kV), 26-153, 154-263, 264-321 (0.4 kV); 333 loads.

    The low-voltage grids keep SimBench's order of buses and their lines; their own transformer and slack are replaced
    by a 5 MVA one at MV bus 5, 13 and 22.
    """
    import pandapower

    net = pandapower.create_empty_network(name="mapdn322")
    pandapower.create_bus(net, vn_kv=110.0)
    pandapower.create_buses(net, 25, vn_kv=20.0)
    pandapower.create_ext_grid(net, 0)
    pandapower.create_transformer(net, 0, 1, std_type="63 MVA 110/20 kV")
    net.trafo["tap_changer_type"] = None  # P1 moves no taps
    for k, length in enumerate(_LENGTHS_KM):
        pandapower.create_line(net, k + 1, k + 2, length_km=length, std_type=_LINE_TYPES[k % 2])
    for code, mv_bus in _LV_PARTS:
        _append_low_voltage(net, code, mv_bus)
    return net


def _append_low_voltage(net: Any, code: str, mv_bus: int) -> None:
    import pandapower

    from feederlab.models.library.simbench import read_net

    part = read_net(code)
    low = part.bus.index[part.bus.vn_kv < 1]
    new = dict(zip(low, range(len(net.bus), len(net.bus) + len(low)), strict=True))
    pandapower.create_buses(net, len(low), vn_kv=0.4)
    pandapower.create_transformer_from_parameters(
        net, mv_bus, new[part.trafo.lv_bus.iloc[0]], **_LV_TRANSFORMER, name=code
    )
    line = part.line
    pandapower.create_lines_from_parameters(
        net, [new[b] for b in line.from_bus], [new[b] for b in line.to_bus],
        **{c: line[c].to_numpy() for c in ("length_km", "r_ohm_per_km", "x_ohm_per_km", "c_nf_per_km", "max_i_ka")},
        in_service=line.in_service.to_numpy(dtype=bool) & ~np.isin(line.index, _opened(part)),
    )  # fmt: skip
    load = part.load
    pandapower.create_loads(net, [new[b] for b in load.bus], p_mw=load.p_mw.to_numpy(), q_mvar=load.q_mvar.to_numpy())


def _opened(net: Any) -> Any:
    return net.switch.element[(net.switch.et == "l") & ~net.switch.closed].to_numpy()
