"""Rules on electrical parameters: voltages, impedances, bands, and units that slipped by a factor of a thousand."""

from __future__ import annotations

from typing import Any

import numpy as np

from feederlab.errors import Problem
from feederlab.models.validate.columns import in_service, numbers, span, table, where


def nominal_voltage(net: Any) -> list[Problem]:
    """Nominal and set voltages are positive."""
    problems = []
    for name, column, unit in (
        ("bus", "vn_kv", "kV"), ("trafo", "vn_hv_kv", "kV"), ("trafo", "vn_lv_kv", "kV"),
        ("trafo3w", "vn_hv_kv", "kV"), ("trafo3w", "vn_mv_kv", "kV"), ("trafo3w", "vn_lv_kv", "kV"),
        ("trafo", "sn_mva", "MVA"), ("impedance", "sn_mva", "MVA"),
    ):  # fmt: skip
        frame = table(net, name)
        values = numbers(frame, column)
        bad = in_service(frame) & (values <= 0)
        if bad.any():
            problems += where(name, column, frame, bad, f"{span(values[bad])} {unit} is not possible; it must be > 0")
    for name in ("ext_grid", "gen"):
        frame = table(net, name)
        values = numbers(frame, "vm_pu")
        bad = in_service(frame) & ((values < 0.5) | (values > 2))
        if bad.any():
            message = f"{span(values[bad])} p.u. is no possible set voltage; it must lie in 0.5-2 (neither kV nor %)"
            problems += where(name, "vm_pu", frame, bad, message)
    return problems


def line_impedance(net: Any) -> list[Problem]:
    """Lines have no negative length or resistance; none at all is allowed (the two buses are one node)."""
    line = table(net, "line")
    problems = []
    for column, unit, least in (("r_ohm_per_km", "ohm/km", 0.0), ("length_km", "km", 0.0), ("parallel", "lines", 1.0)):
        values = numbers(line, column)
        bad = in_service(line) & (values < least)
        if bad.any():
            what = "a negative resistance" if column == "r_ohm_per_km" else "this value"
            message = f"{what} ({span(values[bad])} {unit}) is not possible; it must be >= {least:g}"
            problems += where("line", column, line, bad, message)
    return problems


def transformer_impedance(net: Any) -> list[Problem]:
    """Short-circuit voltages are possible: 0 <= vkr <= |vk|, vk not 0."""
    problems = []
    for name, sides in (("trafo", ("",)), ("trafo3w", ("_hv", "_mv", "_lv"))):
        frame = table(net, name)
        live = in_service(frame)
        for side in sides:
            vk, vkr = numbers(frame, f"vk{side}_percent"), numbers(frame, f"vkr{side}_percent")
            bad = live & (vkr < 0)
            if bad.any():
                message = f"a negative resistance ({span(vkr[bad])} %) is not possible; it must be >= 0"
                problems += where(name, f"vkr{side}_percent", frame, bad, message)
            bad = live & (vkr >= 0) & ((vk == 0) | (np.abs(vk) < vkr))
            if bad.any():
                message = f"{span(vk[bad])} % is not possible; it must not be 0, nor smaller than vkr{side}_percent"
                problems += where(name, f"vk{side}_percent", frame, bad, message)
    return problems


def impedance_elements(net: Any) -> list[Problem]:
    """Impedances are alike in both directions, not zero, and their resistance is not negative."""
    frame = table(net, "impedance")
    live = in_service(frame)
    r, x = numbers(frame, "rft_pu"), numbers(frame, "xft_pu")
    back_r, back_x = numbers(frame, "rtf_pu"), numbers(frame, "xtf_pu")
    problems = where("impedance", "rft_pu", frame, live & (r < 0), "a negative resistance is not possible; give >= 0")
    unlike = live & ((np.abs(r - back_r) > 1e-12) | (np.abs(x - back_x) > 1e-12))
    message = "different values in the two directions are not supported; set rtf_pu = rft_pu and xtf_pu = xft_pu"
    problems += where("impedance", "rtf_pu", frame, unlike, message)
    message = "zero impedance is not possible here; use a closed bus-bus switch instead"
    problems += where("impedance", "xft_pu", frame, live & (r == 0) & (x == 0), message)
    switch = table(net, "switch")
    return problems + where("switch", "z_ohm", switch, numbers(switch, "z_ohm") < 0, "a negative impedance; give >= 0")


ELECTRICAL_RULES = (nominal_voltage, line_impedance, transformer_impedance, impedance_elements)
