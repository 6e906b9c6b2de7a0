"""Nets and figures that several reproductions and their tests share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

WIDE_BAND = (0.5, 1.5)
"""A voltage band (p.u.) that never binds: studies of losses alone have none."""


def case33bw(open_lines: Iterable[int] | None = None) -> Any:
    """Return the 33-bus feeder (Baran and Wu; MATPOWER's case33bw) as a pandapower net.

    open_lines : numbers, from 1, of the lines that are open; default: the five ties 33 to 37.
    """
    from feederlab.models.library.matpower import read_case

    net = read_case("case33bw")
    if open_lines is not None:
        net.line["in_service"] = ~(net.line.index + 1).isin(list(open_lines))
    return net


def compensated(buses: Iterable[int], s_mva: float = 5.0) -> Any:
    """Return `case33bw` with reactive power of any size up to `s_mva` at `buses`, numbered from 1."""
    import pandapower

    net = case33bw()
    for bus in buses:
        pandapower.create_sgen(net, bus - 1, p_mw=0.0, q_mvar=0.0, sn_mva=s_mva, controllable=True)
    return net
