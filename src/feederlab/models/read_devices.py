"""Read loads and devices from pandapower's tables (units and signs are the tables' own)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from feederlab.models.arrays import FloatArray, IntArray, frozen
from feederlab.models.branches import Branches
from feederlab.models.devices import Capacitors, Elements, Inverters, Storages, TapChangers
from feederlab.models.network import switchable

_DEFAULT_EFFICIENCY = 0.95  # one way, where the storage table gives none


def read_loads(net: Any, lookup: dict[int, int]) -> Elements:
    """Return the loads."""
    return Elements(**_common(net.load, lookup))


def read_sgens(net: Any, lookup: dict[int, int]) -> Elements:
    """Return the static generators that no controller moves."""
    return Elements(**_common(net.sgen[~_controllable(net.sgen)], lookup))


def read_inverters(net: Any, lookup: dict[int, int]) -> Inverters:
    """Return the controllable static generators."""
    table = net.sgen[_controllable(net.sgen) & net.sgen.in_service]
    return Inverters(**_common(table, lookup), s_mva=_column(table, "sn_mva", np.nan), bus=frozen(table.bus, np.int64))


def read_fixed_storages(net: Any, lookup: dict[int, int]) -> Elements:
    """Return the storage units that nothing controls (`controllable` is False): they follow their table or profile."""
    return Elements(**_common(net.storage[~_controllable(net.storage, default=True)], lookup))


def read_storages(net: Any, lookup: dict[int, int]) -> Storages:
    """Return the storage units in service, unless marked as not controllable."""
    table = net.storage[net.storage.in_service.astype(bool) & _controllable(net.storage, default=True)]
    s = _column(table, "sn_mva", np.nan)
    p_max = _column(table, "max_p_mw", np.nan)
    rated = np.where(np.isnan(s), np.where(np.isnan(p_max), 0.0, p_max), s)
    e_max = _column(table, "max_e_mwh", np.nan)
    return Storages(
        **_common(table, lookup),
        s_mva=frozen(rated),
        bus=frozen(table.bus, np.int64),
        p_min_mw=frozen(_default(_column(table, "min_p_mw", np.nan), -rated)),
        p_max_mw=frozen(_default(p_max, rated)),
        e_min_mwh=_column(table, "min_e_mwh", 0.0),
        e_max_mwh=e_max,
        soc=frozen(_column(table, "soc_percent", 50.0) / 100),
        efficiency=frozen(_column(table, "efficiency_percent", 100 * _DEFAULT_EFFICIENCY) / 100),
    )


def read_capacitors(net: Any, lookup: dict[int, int]) -> Capacitors:
    """Return the capacitor banks; a step's power is referred to the bus's nominal voltage, as pandapower does."""
    table = net.shunt[switchable(net.shunt) & net.shunt.in_service.astype(bool)]
    vn_bus = net.bus.vn_kv.loc[table.bus].to_numpy(dtype=float)
    square = (vn_bus / _default(_column(table, "vn_kv", np.nan), vn_bus)) ** 2
    return Capacitors(
        index=frozen(table.index, np.int64),
        node=_nodes(table, lookup),
        bus=frozen(table.bus, np.int64),
        step=frozen(table.step, np.int64),
        max_step=frozen(_column(table, "max_step", 1), np.int64),
        p_step_mw=frozen(table.p_mw.to_numpy(dtype=float) * square),
        q_step_mvar=frozen(table.q_mvar.to_numpy(dtype=float) * square),
        dwell_s=_column(table, "dwell_s", 0.0),
    )


def read_tap_changers(net: Any, branches: Branches, lookup: dict[int, int]) -> TapChangers:
    """Return the transformers whose tap position has an effect in pandapower."""
    row_of = {
        int(i): row
        for row, (table, i) in enumerate(zip(branches.element, branches.element_index, strict=True))
        if table == "trafo"
    }
    table = net.trafo[[index in row_of for index in net.trafo.index]] if len(net.trafo) else net.trafo
    if len(table):
        moves = table.tap_min.notna() & table.tap_max.notna() & table.tap_pos.notna() & (table.tap_max > table.tap_min)
        if "tap_changer_type" in table:
            moves &= table.tap_changer_type.notna() & (table.tap_changer_type != "None")
        table = table[moves]
    return TapChangers(
        index=frozen(table.index, np.int64),
        branch=frozen([row_of[int(i)] for i in table.index], np.int64),
        node=frozen([lookup.get(int(bus), -1) for bus in table.lv_bus], np.int64),
        vn_kv=frozen(net.bus.vn_kv.loc[table.lv_bus].to_numpy(dtype=float)),
        tap=frozen(table.tap_pos, np.int64),
        tap_min=frozen(table.tap_min, np.int64),
        tap_max=frozen(table.tap_max, np.int64),
        neutral=frozen(_default(_column(table, "tap_neutral", np.nan), 0.0), np.int64),
        rise_pu=frozen(np.where(table.tap_side == "lv", 1.0, -1.0) * _column(table, "tap_step_percent", 0.0) / 100),
        delay_s=_column(table, "tap_delay_s", 0.0),
    )


def _controllable(table: pd.DataFrame, *, default: bool = False) -> pd.Series:
    if "controllable" not in table:
        return pd.Series(default, index=table.index)
    marked: pd.Series = table.controllable.map(lambda value: bool(value) if pd.notna(value) else default).astype(bool)
    return marked


def _common(table: pd.DataFrame, lookup: dict[int, int]) -> dict[str, Any]:
    return {
        "index": frozen(table.index, np.int64),
        "node": _nodes(table, lookup),
        "p_mw": frozen(table.p_mw),
        "q_mvar": frozen(table.q_mvar),
        "scaling": _column(table, "scaling", 1.0),
    }


def _nodes(table: pd.DataFrame, lookup: dict[int, int]) -> IntArray:
    on = table.in_service.to_numpy(dtype=bool)
    return frozen([lookup.get(int(b), -1) if s else -1 for b, s in zip(table.bus, on, strict=True)], np.int64)


def _column(table: pd.DataFrame, name: str, default: float) -> FloatArray:
    if name not in table:
        return frozen(np.full(len(table), default))
    return frozen(_default(pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float), default))


def _default(values: FloatArray, default: Any) -> FloatArray:
    return np.where(np.isnan(values), default, values)
