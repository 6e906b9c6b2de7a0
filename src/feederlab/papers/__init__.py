"""Published results by name, each reproduced by one file.  Names map to import strings, so listing them is quick."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from feederlab.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from feederlab.papers.reproduction import Reproduction

PAPERS: dict[str, tuple[str, str]] = {
    "mapdn-classical": (
        "feederlab.papers.mapdn_classical:MapdnClassical",
        "no control, droop and OPF of Tables 3-5 on 33, 141 and 322 buses (Wang et al., NeurIPS 2021)",
    ),
    "opf-baselines": (
        "feederlab.papers.opf_baselines:OpfBaselines",
        "base losses, loss-optimal compensation, MATPOWER's optima, gaps of the cone relaxation",
    ),
    "smart-meter": (
        "feederlab.papers.smart_meter:SmartMeter",
        "storage behind smart meters, learnt by each household from its own readings, 18 nodes (Liu et al.)",
    ),
    "two-timescale": (
        "feederlab.papers.two_timescale:TwoTimescale",
        "capacitors by a DQN once in five minutes over convex inverter control, 47 buses (Yang et al., IEEE TSG 2020)",
    ),
}
"""name -> (``module:Class``, one line)."""


def names() -> dict[str, str]:
    """Return name -> one line."""
    return {name: line for name, (_, line) in PAPERS.items()}


def load(name: str) -> type[Reproduction]:
    """Return the class of a reproduction.

    Raises
    ------
    UnknownNameError
        With the nearest known name.
    """
    if name not in PAPERS:
        raise UnknownNameError("reproduction", name, list(PAPERS))
    module, _, attribute = PAPERS[name][0].partition(":")
    cls: type[Reproduction] = getattr(importlib.import_module(module), attribute)
    return cls


def create(name: str, **settings: Any) -> Reproduction:
    """Return a reproduction with these settings; the others keep their defaults.

    Raises
    ------
    UnknownNameError
        If there is no such reproduction.
    InputError
        If it has no such setting, or a value is impossible.
    """
    cls = load(name)
    foreign = [key for key in settings if key not in cls.settings()]
    if foreign:
        own = ", ".join(cls.settings())
        raise InputError(f"{name!r} has no {', '.join(foreign)}: it can be given {own}")
    return cls(**settings)
