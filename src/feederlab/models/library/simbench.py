"""SimBench grids with their year of profiles (Meinecke et al., Energies 13(12) 3290, 2020; data: ODbL)."""

from __future__ import annotations

import shutil
import tempfile
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from feederlab.errors import InputError, UnknownNameError
from feederlab.models.arrays import frozen
from feederlab.models.feeder import Feeder
from feederlab.models.library.cache import recall, remember
from feederlab.models.library.year import QUARTERS, shapes, table, year_profile
from feederlab.models.profiles import Key, Profile
from feederlab.models.scenario import Scenario

BAND = (0.95, 1.05)


def load(code: str) -> Scenario:
    """Return the scenario of a SimBench code, e.g. ``"1-MV-rural--0-sw"``, over the year in steps of 15 minutes.

    Renewable generators and storage become controllable (`devices_rule.control_simbench`); zones are SimBench's
    subnets.

    Raises
    ------
    UnknownNameError
        If there is no such code.
    InputError
        If the grid holds voltages by generators, which no profile here moves.
    """
    from feederlab.models.library.devices_rule import control_simbench

    net = read_net(code)
    if len(net.gen) and net.gen.in_service.any():
        raise InputError(f"simbench:{code} is fed by generators that hold its voltage; choose a code of MV, LV or MVLV")
    found = profiles(net, scenario_of(code))
    control_simbench(net)
    net.bus["zone"] = net.bus.subnet
    name = f"simbench:{code}"
    controlled = set(net.storage.index[net.storage.controllable]) if len(net.storage) else set()
    if len(controlled) == len(net.storage):
        found.pop(("storage", "p_mw"), None)
    return Scenario.build(Feeder.from_pandapower(net, name), found, name=name, band=BAND)


def read_net(code: str) -> Any:
    """Return the grid as SimBench ships it, without its profiles, its tap positions made effective.

    pandapower 3 ignores `tap_pos` unless `tap_changer_type` is set, which SimBench's converter leaves out; it is set to
    ``"Ratio"`` wherever tap data exist.
    """
    name = f"simbench-{version('simbench')}/net-{code}.json"
    if code not in codes():
        raise UnknownNameError("SimBench code", code, codes())
    from feederlab.models.netfile import load_net

    net = recall(name, load_net)
    if net is None:
        net = _convert(code)
        remember(name, lambda path: _write(net, path))
    taps = net.trafo.tap_pos.notna() & net.trafo.tap_step_percent.notna() & net.trafo.tap_side.notna()
    net.trafo["tap_changer_type"] = net.trafo.tap_changer_type.astype(object)
    net.trafo.loc[taps, "tap_changer_type"] = "Ratio"
    return net


def codes() -> list[str]:
    """Return SimBench's codes of all voltage levels."""
    found = recall(f"simbench-{version('simbench')}/codes.txt", lambda path: path.read_text().split())
    if not found:
        import simbench

        found = [str(code) for code in simbench.collect_all_simbench_codes()]
        text = "\n".join(found)
        remember(f"simbench-{version('simbench')}/codes.txt", lambda path: path.write_text(text))
    return found


def scenario_of(code: str) -> int:
    """Return 0, 1 or 2: SimBench's scenario, the last number of a code."""
    return int(code.rsplit("-", 2)[1])


def profiles(net: Any, scenario: int) -> dict[Key, Profile]:
    """Return the year's profiles: table value times relative shape, as `simbench.get_absolute_values` has it.

    Elements without a profile keep their table value.
    """
    sgen = ("renewables", "powerplants") if _uses_powerplants(net, scenario) else ("renewables",)
    wanted = (
        ("load", "p_mw", ("load",), "_pload"), ("load", "q_mvar", ("load",), "_qload"),
        ("sgen", "p_mw", sgen, ""), ("storage", "p_mw", ("storage",), ""),
    )  # fmt: skip
    found = {}
    for element, column, sources, suffix in wanted:
        elements = net[element]
        if len(elements):
            found[element, column] = _profile(elements, column, sources, suffix, scenario)
    return found


def _profile(elements: Any, column: str, sources: tuple[str, ...], suffix: str, scenario: int) -> Profile:
    names = elements.profile.dropna().unique().tolist()
    columns = [f"{name}{suffix}" for name in names]
    blocks = [np.ones((QUARTERS, 1))]
    place: dict[str, int] = {}
    for source in sources:
        here = [c for c in columns if c in table(source, scenario) and c not in place]
        place.update({c: 1 + len(place) + k for k, c in enumerate(here)})
        blocks.append(shapes(source, here, scenario))
    missing = [c for c in columns if c not in place]
    if missing:
        raise InputError(f"SimBench has no profiles {missing[:8]} in scenario {scenario}")
    pick = [place[f"{name}{suffix}"] if isinstance(name, str) else 0 for name in elements.profile]
    return year_profile(frozen(np.hstack(blocks)), pick, elements[column], elements.index)


def _uses_powerplants(net: Any, scenario: int) -> bool:
    return not set(net.sgen.profile.dropna()) <= set(table("renewables", scenario).columns) if len(net.sgen) else False


def _convert(code: str) -> Any:
    """Return SimBench's own net; its converter is shown the year's first rows only, which spares most of its time."""
    import simbench
    from simbench.networks.extract_simbench_grids_from_csv import complete_data_path

    source = Path(complete_data_path(scenario_of(code)))
    with tempfile.TemporaryDirectory() as folder:
        for path in source.glob("*.csv"):
            if path.stem.endswith("Profile"):
                with path.open(encoding="utf-8") as lines:
                    Path(folder, path.name).write_text("".join(islice(lines, 3)), encoding="utf-8")
            else:
                shutil.copyfile(path, Path(folder, path.name))
        net = simbench.get_simbench_net(code, input_path=folder)
    for key in ("profiles", "loadcases"):
        if key in net:
            del net[key]
    return net


def _write(net: Any, path: Path) -> None:
    import pandapower

    pandapower.to_json(net, str(path))
