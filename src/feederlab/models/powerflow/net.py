"""`powerflow`: one power flow of a pandapower net as it stands, by any engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from feederlab.models.feeder import Feeder
from feederlab.models.powerflow.base import Solution, engine

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class NetFlow:
    """A solved net.

    vm_pu, va_degree : Series by pandapower bus, NaN where a bus is out of service or unsupplied, everywhere without a
    solution.  losses_mw : active losses of all branches.  converged : whether there is a solution.
    solution : node voltages and everything that follows from them.
    """

    vm_pu: pd.Series[float]
    va_degree: pd.Series[float]
    losses_mw: float
    converged: bool
    solution: Solution = field(repr=False)


def powerflow(net: Any, engine_name: str = "auto") -> NetFlow:
    """Solve a pandapower net, or a `Feeder`, at its table values.

    Parameters
    ----------
    engine_name
        `base.engine`'s: ``"auto"``, ``"fixed-point"``, ``"power-grid-model"`` or ``"pandapower"``.

    Raises
    ------
    ValidationError
        If the net has faults; all are listed.
    """
    import pandas as pd

    feeder = net if isinstance(net, Feeder) else Feeder.from_pandapower(net)
    solved = at_table_values(feeder, engine_name)
    buses = pd.Index(feeder.bus_index, name="bus")
    angle = np.degrees(np.angle(solved.u))
    return NetFlow(
        vm_pu=pd.Series(feeder.to_buses(solved.vm), index=buses, name="vm_pu"),
        va_degree=pd.Series(feeder.to_buses(angle), index=buses, name="va_degree"),
        losses_mw=float(solved.losses_mw()), converged=bool(solved.converged), solution=solved,
    )  # fmt: skip


def at_table_values(feeder: Feeder, engine_name: str = "auto", *, loads_alone: bool = False) -> Solution:
    """Return the power flow with loads and, unless `loads_alone`, generators and storage at their tables' values."""
    total = np.zeros(feeder.n_nodes, dtype=np.complex128)
    tables = [(-1, feeder.loads)]
    if not loads_alone:
        tables += [(1, feeder.sgens), (1, feeder.inverters), (-1, feeder.storages), (-1, feeder.fixed_storages)]
    for sign, elements in tables:
        on = elements.node >= 0
        np.add.at(total, elements.node[on], sign * ((elements.p_mw + 1j * elements.q_mvar) * elements.scaling)[on])
    return engine(feeder, engine_name).solve(total)
