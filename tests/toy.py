"""A small scenario for tests: the 33-bus feeder with three inverters, one clear day in 15-minute steps."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pandas as pd

from feederlab.models.feeder import Feeder
from feederlab.models.scenario import Scenario

START = "2016-06-20"


def net(meshed: bool = False) -> Any:
    """The 33-bus feeder with PV at buses 12, 17 and 24; meshed: with its five tie lines closed."""
    grid = pn.case33bw()
    grid.bus = grid.bus.drop(columns=["min_vm_pu", "max_vm_pu"])
    for bus, p_mw in ((12, 1.0), (17, 1.0), (24, 2.0)):
        pp.create_sgen(grid, bus, p_mw=p_mw, q_mvar=0.0, sn_mva=1.2 * p_mw, controllable=True)
    if meshed:
        grid.line["in_service"] = True
    return grid


def profiles(grid: Any, steps: int = 96) -> dict[tuple[str, str], pd.DataFrame]:
    """Loads that peak in the evening and a sun that peaks at noon."""
    times = pd.date_range(START, periods=steps, freq="15min")
    hour = np.arange(steps) * 0.25 % 24
    load = 0.6 + 0.3 * np.sin((hour - 12) / 24 * 2 * np.pi)
    sun = np.clip(np.sin((hour - 6) / 12 * np.pi), 0, None)
    return {
        ("load", "p_mw"): _frame(times, load, grid.load.p_mw),
        ("load", "q_mvar"): _frame(times, load, grid.load.q_mvar),
        ("sgen", "p_mw"): _frame(times, sun, grid.sgen.p_mw),
    }


def _frame(times: pd.DatetimeIndex, shape: np.ndarray, size: pd.Series) -> pd.DataFrame:
    return pd.DataFrame(np.outer(shape, size), index=times, columns=size.index)


@cache
def scenario(meshed: bool = False) -> Scenario:
    grid = net(meshed)
    return Scenario.build(Feeder.from_pandapower(grid, "toy"), profiles(grid))


def short(periods: int = 8, at: str = "2016-06-20 11:00") -> Scenario:
    return scenario().window(at, periods)


def write_files(folder: Path, grid: Any = None, data: dict[tuple[str, str], pd.DataFrame] | None = None) -> Path:
    """Write the net and a folder `profiles` beside it; return the net's path."""
    grid = net() if grid is None else grid
    folder.mkdir(parents=True, exist_ok=True)
    pp.to_json(grid, str(folder / "net.json"))
    (folder / "profiles").mkdir()
    for (table, column), frame in (profiles(grid) if data is None else data).items():
        frame.to_csv(folder / "profiles" / f"{table}.{column}.csv", index_label="time")
    return folder / "net.json"
