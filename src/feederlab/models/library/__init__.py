"""Named scenarios.  Names map to import strings, so that listing them imports nothing heavy."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from feederlab.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from feederlab.models.scenario import Scenario

FAMILY = "simbench:<code>"

_HERE = "feederlab.models.library"
_CASE = f"{_HERE}.plain:load_case"
_MAPDN = f"{_HERE}.mapdn:load"
_SIMBENCH = f"{_HERE}.simbench:load"

SCENARIOS: dict[str, tuple[str, str]] = {
    "mapdn33": (_MAPDN, "33 buses, 6 PV sites in 4 zones, PV peak 2.5 x load peak, 3 min (MAPDN on SimBench's year)"),
    "mapdn141": (_MAPDN, "141 buses, 22 PV sites in 9 zones, PV peak 4 x load peak, 3 min (MAPDN on SimBench's year)"),
    "mapdn322": (_MAPDN, "322 buses, 20 kV and three 0.4 kV grids, 38 PV sites in 22 zones, 3 min (MAPDN)"),
    "sce47": (f"{_HERE}.sce47:load", "47 buses, 5 PV plants, 3 capacitors (Southern California Edison)"),
    "sce47_minutes": (f"{_HERE}.sce47:load_minutes", "sce47 in steps of one minute, with clouds and customers in them"),
    "cigre_lv": (f"{_HERE}.plain:load_cigre", "44 buses, 0.4 kV: residential, industrial and commercial (CIGRE)"),
    "cigre_mv": (f"{_HERE}.plain:load_cigre", "15 buses, 20 kV (CIGRE)"),
    "case33": (_CASE, "33 buses, 12.66 kV, Baran and Wu (MATPOWER case33bw)"),
    "case10ba": (_CASE, "10 buses, 23 kV, Baghzouz and Ertem"),
    "case12da": (_CASE, "12 buses, 11 kV, Das et al."),
    "case15da": (_CASE, "15 buses, 11 kV, Das et al."),
    "case15nbr": (_CASE, "15 buses, 11 kV, Battu et al."),
    "case16am": (_CASE, "15 buses, 12.66 kV, after Civanlar, one substation"),
    "case16ci": (_CASE, "16 buses, 12.66 kV, Civanlar et al., three feeders"),
    "case17me": (_CASE, "17 buses, 23 kV, Mendoza et al."),
    "case18": (_CASE, "18 buses, 138/12.5 kV, Grady et al., fixed capacitors"),
    "case18nbr": (_CASE, "18 buses, 11 kV, Battu et al."),
    "case22": (_CASE, "22 buses, 11 kV, Raju et al."),
    "case28da": (_CASE, "28 buses, 11 kV, Das et al."),
    "case33mg": (_CASE, "33 buses, 12.66 kV, the common variant with line 7-8 = 1.7114 + j1.2351 ohm"),
    "case34sa": (_CASE, "34 buses, 11 kV, Salama and Chikhani"),
    "case38si": (_CASE, "38 buses, 12.66 kV, Singh et al."),
    "case51ga": (_CASE, "51 buses, 11 kV, Gampa and Das"),
    "case51he": (_CASE, "51 buses, 22 kV, Hengsritawat et al."),
    "case69": (_CASE, "69 buses, 12.66 kV, Baran and Wu"),
    "case70da": (_CASE, "70 buses, 11 kV, Das, two substations"),
    "case74ds": (_CASE, "74 buses, 11 kV, Myint et al."),
    "case85": (_CASE, "85 buses, 11 kV, Das et al."),
    "case94pi": (_CASE, "94 buses, 15 kV, Pires et al."),
    "case118zh": (_CASE, "118 buses, 11 kV, Zhang et al."),
    "case136ma": (_CASE, "136 buses, 13.8 kV, Mantovani et al."),
    "case141": (_CASE, "141 buses, 12.47 kV, Khodr et al. (Caracas)"),
    "case533mt_hi": (_CASE, "533 buses, 135/12 kV, Malmer and Thorin, highest net load (one phase, as in the file)"),
    "case533mt_lo": (_CASE, "533 buses, 135/12 kV, Malmer and Thorin, lowest net load (one phase, as in the file)"),
}
"""name -> (``module:function``, one line)."""


def names() -> dict[str, str]:
    """Return name -> one line; `FAMILY` stands for all SimBench codes."""
    listed = {name: line for name, (_, line) in SCENARIOS.items()}
    return {**listed, FAMILY: "a SimBench grid, e.g. simbench:1-MV-rural--0-sw, over its own year"}


def load(name: str, *, profiles_folder: str | Path | None = None) -> Scenario:
    """Return a named scenario over all its data.

    Parameters
    ----------
    name
        One of `names`, or ``simbench:`` and a code.
    profiles_folder
        Folder of the original CSV files, for the MAPDN scenarios only.

    Raises
    ------
    UnknownNameError
        With the nearest known name.
    InputError
        If a folder is given for another scenario, or cannot be read.
    """
    if name.startswith("simbench:"):
        target, argument = _SIMBENCH, name.removeprefix("simbench:")
    elif name in SCENARIOS:
        target, argument = SCENARIOS[name][0], name
    else:
        raise UnknownNameError("scenario", name, list(names()))
    module, _, function = target.partition(":")
    build = getattr(importlib.import_module(module), function)
    if profiles_folder is None:
        made: Scenario = build(argument)
        return made
    if target != _MAPDN:
        raise InputError(f"scenario {name!r} brings its own profiles; a folder can be given for mapdn33, 141 and 322")
    with_folder: Scenario = build(argument, folder=profiles_folder)
    return with_folder
