"""Rules on the shape of the tables: columns, empty and non-numeric values, references, what is not supported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from feederlab.errors import Problem
from feederlab.models.validate.columns import in_service, listed, numbers, positions, table, truths, where

_BRANCH_ENDS = {
    "line": ("from_bus", "to_bus"),
    "trafo": ("hv_bus", "lv_bus"),
    "trafo3w": ("hv_bus", "mv_bus", "lv_bus"),
    "impedance": ("from_bus", "to_bus"),
}
_AT_BUS = ("load", "sgen", "storage", "gen", "ext_grid", "shunt", "ward", "xward", "motor")
BUS_COLUMNS: dict[str, tuple[str, ...]] = {**_BRANCH_ENDS, **dict.fromkeys(_AT_BUS, ("bus",))}
"""Columns that refer to a bus, per table."""

_FILLED: dict[str, tuple[str, ...]] = {  # must hold a number in every row in service
    "bus": ("vn_kv",),
    "load": ("p_mw", "q_mvar"),
    "sgen": ("p_mw", "q_mvar"),
    "storage": ("p_mw", "q_mvar"),
    "gen": ("p_mw", "vm_pu"),
    "ext_grid": ("vm_pu",),
    "shunt": ("p_mw", "q_mvar", "step"),
    "ward": ("ps_mw", "qs_mvar", "pz_mw", "qz_mvar"),
    "line": ("length_km", "r_ohm_per_km", "x_ohm_per_km", "c_nf_per_km", "parallel", "df"),
    "trafo": (
        "sn_mva", "vn_hv_kv", "vn_lv_kv", "vk_percent", "vkr_percent", "pfe_kw", "i0_percent", "shift_degree",
        "parallel", "df",
    ),
    "trafo3w": (
        "sn_hv_mva", "sn_mv_mva", "sn_lv_mva", "vn_hv_kv", "vn_mv_kv", "vn_lv_kv", "vk_hv_percent", "vk_mv_percent",
        "vk_lv_percent", "vkr_hv_percent", "vkr_mv_percent", "vkr_lv_percent", "pfe_kw", "i0_percent",
    ),
    "impedance": ("rft_pu", "xft_pu", "rtf_pu", "xtf_pu", "sn_mva"),
}  # fmt: skip
_FILLED_IF_PRESENT: dict[str, tuple[str, ...]] = {  # may be absent, but not half empty
    "load": ("scaling",),
    "sgen": ("scaling",),
    "gen": ("scaling",),
    "ext_grid": ("va_degree",),
    "line": ("g_us_per_km",),
}
_PRESENT: dict[str, tuple[str, ...]] = {  # must exist; a missing value has a meaning (no limit, no tap changer)
    "bus": ("in_service",),
    "line": ("in_service", "max_i_ka"),
    "trafo": ("in_service", "tap_side", "tap_neutral", "tap_min", "tap_max", "tap_step_percent", "tap_pos"),
    "switch": ("bus", "element", "et", "closed"),
    **dict.fromkeys((*_AT_BUS, "trafo3w", "impedance"), ("in_service",)),
}
_NEEDED_TABLES = ("bus", "line", "trafo", "load", "sgen", "storage", "shunt", "switch", "ext_grid", "gen")
_UNSUPPORTED = {
    "asymmetric_load": "the model is balanced; enter the three phases' sum in table load",
    "asymmetric_sgen": "the model is balanced; enter the three phases' sum in table sgen",
    "dcline": "replace it by a load at one end and a generator at the other",
    "line_dc": "direct-current grids are not modelled",
    "bus_dc": "direct-current grids are not modelled",
    "vsc": "direct-current grids are not modelled",
    "vsc_stacked": "direct-current grids are not modelled",
    "vsc_bipolar": "direct-current grids are not modelled",
    "svc": "enter it as a controllable sgen with p_mw = 0 and its sn_mva",
    "ssc": "enter it as a controllable sgen with p_mw = 0 and its sn_mva",
    "tcsc": "enter it as an impedance",
}


def has_tables(net: Any) -> list[Problem]:
    """The net is a pandapower net at all."""
    if not hasattr(net, "get") or not isinstance(net.get("bus"), pd.DataFrame):
        return [Problem("net", "", (), f"this is no pandapower net but a {type(net).__name__}")]
    absent = [name for name in _NEEDED_TABLES if not isinstance(net.get(name), pd.DataFrame)]
    hint = "the table is missing; build the net with pandapower.create_empty_network, or convert it with convert_format"
    problems = [Problem(name, "", (), hint) for name in absent]
    if not len(net["bus"]):
        problems.append(Problem("bus", "", (), "the net has no bus"))
    return problems


def unique_index(net: Any) -> list[Problem]:
    """Indices are integers, and none occurs twice."""
    problems = []
    for name in ("bus", "switch", *BUS_COLUMNS):
        index = table(net, name).index
        if not len(index):
            continue
        if index.dtype.kind not in "iu":
            problems.append(
                Problem(name, "index", tuple(index[:1]), "the index must be integers; use reset_index(drop=True)")
            )
        elif not index.is_unique:
            twice = tuple(index[index.duplicated()].unique())
            problems.append(Problem(name, "index", twice, "this index occurs more than once; give each row its own"))
    return problems


def filled(net: Any) -> list[Problem]:
    """The columns that the model uses exist, and hold finite numbers in every row in service."""
    problems = []
    for name in (*_FILLED, *(set(_PRESENT) - set(_FILLED))):
        frame = table(net, name)
        if not len(frame):
            continue
        needed, present = _FILLED.get(name, ()), _PRESENT.get(name, ())
        absent = [c for c in (*needed, *present, *BUS_COLUMNS.get(name, ())) if c not in frame]
        problems += [Problem(name, c, (), "the column is missing; add it, with a value in every row") for c in absent]
        live = in_service(frame)
        for column in (*needed, *_FILLED_IF_PRESENT.get(name, ())):
            if column in frame:
                bad = live & ~np.isfinite(numbers(frame, column))
                problems += where(name, column, frame, bad, _what_is_there(frame, column, bad))
    return problems


def _what_is_there(frame: pd.DataFrame, column: str, bad: Any) -> str:
    values = frame[column][bad]
    if not len(values):
        return ""
    value = values.iloc[0]
    named = repr(value) if isinstance(value, str) else str(value)
    shown = "is empty (NaN)" if pd.isna(value) else f"is {named}, which is not a finite number"
    return f"the value {shown}; give a number, or take the element out of service"


def buses_exist(net: Any) -> list[Problem]:
    """Every element stands at a bus that the net has."""
    problems = []
    buses = net["bus"].index
    if not buses.is_unique or buses.dtype.kind not in "iu":
        return []
    for name, columns in BUS_COLUMNS.items():
        frame = table(net, name)
        for column in columns:
            if len(frame) and column in frame:
                wanted = numbers(frame, column)
                bad = positions(buses, wanted) < 0
                problems += where(name, column, frame, bad, _no_such("bus", frame[column][bad]))
    return problems


def _no_such(kind: str, values: Any) -> str:
    return f"there is no {kind} {listed(dict.fromkeys(values))}; refer to an existing {kind} or create it"


def switches_refer(net: Any) -> list[Problem]:
    """Every switch stands at a bus, and at a bus, line or transformer that the net has."""
    frame = table(net, "switch")
    if not len(frame) or not {"bus", "element", "et"} <= set(frame.columns):
        return []
    bad = positions(net["bus"].index, numbers(frame, "bus")) < 0
    problems = where("switch", "bus", frame, bad, _no_such("bus", frame["bus"][bad]))
    kinds = {"b": "bus", "l": "line", "t": "trafo", "t3": "trafo3w"}
    et = frame["et"].to_numpy()
    for short, name in kinds.items():
        mine = et == short
        element = numbers(frame, "element")
        bad = mine & (positions(table(net, name).index, np.where(mine, element, np.nan)) < 0)
        problems += where("switch", "element", frame, bad, _no_such(name, frame["element"][bad]))
    bad = ~np.isin(et.astype(str), list(kinds))
    return problems + where("switch", "et", frame, bad, "the type must be b, l, t or t3 (bus, line, trafo, trafo3w)")


def supported(net: Any) -> list[Problem]:
    """The net has no element in service that the model does not know."""
    problems = []
    for name, advice in _UNSUPPORTED.items():
        frame = table(net, name)
        message = f"elements of table {name} are not supported: {advice}, or take it out of service"
        problems += where(name, "", frame, in_service(frame), message)
    load = table(net, "load")
    for column in ("const_z_percent", "const_i_percent", "const_z_p_percent", "const_i_p_percent",
                   "const_z_q_percent", "const_i_q_percent"):  # fmt: skip
        share = numbers(load, column, 0.0)
        bad = in_service(load) & (np.nan_to_num(share) != 0)
        message = "voltage-dependent loads are not supported; set this column to 0 (constant power)"
        problems += where("load", column, load, bad, message)
    shunt = table(net, "shunt")
    bad = in_service(shunt) & truths(shunt, "step_dependency_table")
    message = "shunts whose power per step comes from a table are not supported; give p_mw and q_mvar of one step"
    return problems + where("shunt", "step_dependency_table", shunt, bad, message)


TABLE_RULES = (unique_index, filled, buses_exist, switches_refer, supported)
