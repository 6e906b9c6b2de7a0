"""Radial MATPOWER cases and CIGRE benchmark grids: PV and SimBench's year by a seeded rule (`devices_rule`)."""

from __future__ import annotations

from typing import Any

from feederlab.models.feeder import Feeder
from feederlab.models.library.devices_rule import equip_plain
from feederlab.models.scenario import Scenario

BAND = (0.95, 1.05)
SEED = 0


def load_case(name: str, *, seed: int = SEED) -> Scenario:
    """Return a radial MATPOWER case, e.g. ``case33`` (MATPOWER's case33bw), over the year in steps of 15 minutes.

    `seed` draws the PV sites and the shapes.
    """
    from feederlab.models.library.matpower import read_case

    return _scenario(read_case(CASE_FILES.get(name, name)), name, seed)


def load_cigre(name: str, *, seed: int = SEED) -> Scenario:
    """Return ``cigre_lv`` (44 buses; zones R, I, C are its three subnetworks) or ``cigre_mv`` (15 buses)."""
    from pandapower.networks import create_cigre_network_lv, create_cigre_network_mv

    net = create_cigre_network_lv() if name == "cigre_lv" else create_cigre_network_mv(with_der=False)
    if name == "cigre_lv":
        first = net.bus.name.str.extract(r"^Bus ([RIC])\d", expand=False)
        net.bus["zone"] = first.where(first.notna(), "main")
    return _scenario(net, name, seed)


def _scenario(net: Any, name: str, seed: int) -> Scenario:
    profiles = equip_plain(net, seed)
    return Scenario.build(Feeder.from_pandapower(net, name), profiles, name=name, band=BAND)


CASE_FILES = {"case33": "case33bw"}
"""Names that differ from MATPOWER's."""
