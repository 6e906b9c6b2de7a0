"""`View`: what a rule is shown, in physical units, and nothing beyond what it may see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from feederlab.controllers.base import ControlTask, Measurement, Scope
from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray, IntArray

Value = Any  # a float with local scope, an array with zone and global scope


@dataclass(frozen=True, eq=False)
class View:
    """What is measured at one decision, NaN where a reading was lost.

    With local scope every entry is a float: the inverter's own.  With zone scope, arrays over the nodes or the
    inverters of its zone, and `own` and `own_node` say which of them are its own; with global scope, over all, and both
    are -1.

    time : instant of the step.
    vm : voltage magnitude (p.u.); vm_low, vm_high : the band (p.u.); load_p_mw, load_q_mvar : net consumption of what
    is not controlled; all (nodes,).
    p_available_mw : what the sun offers; p_mw, q_mvar : present injection; s_mva : rating; q_max_mvar :
    sqrt(s^2 - p^2), p = min(p_available, s) of this step; all (inverters,).
    """

    time: pd.Timestamp
    vm: Value
    vm_low: Value
    vm_high: Value
    load_p_mw: Value
    load_q_mvar: Value
    p_available_mw: Value
    p_mw: Value
    q_mvar: Value
    s_mva: Value
    q_max_mvar: Value
    own: int = -1
    own_node: int = -1


@dataclass(frozen=True, eq=False)
class Viewpoint:
    """Whose view it is.

    rows : the inverters that its answer is for.  nodes, inverters : what it sees.  own, own_node : its place in these.
    single : floats rather than arrays.
    """

    rows: IntArray
    nodes: IntArray
    inverters: IntArray
    own: int = -1
    own_node: int = -1
    single: bool = False

    def of(self, m: Measurement, task: ControlTask, room_mvar: FloatArray) -> View:
        """Return its view of a measurement: copies, so that no view leads to what lies beside it."""

        def at_nodes(values: FloatArray) -> Any:
            return float(values[self.nodes[0]]) if self.single else values[self.nodes]

        def at_inverters(values: FloatArray) -> Any:
            return float(values[self.inverters[0]]) if self.single else values[self.inverters]

        return View(
            time=m.time, vm=at_nodes(m.vm), vm_low=at_nodes(task.band[0]), vm_high=at_nodes(task.band[1]),
            load_p_mw=at_nodes(m.load_p_mw), load_q_mvar=at_nodes(m.load_q_mvar),
            p_available_mw=at_inverters(m.p_available_mw), p_mw=at_inverters(m.p_mw), q_mvar=at_inverters(m.q_mvar),
            s_mva=at_inverters(task.inverters.s_mva), q_max_mvar=at_inverters(room_mvar), own=self.own,
            own_node=self.own_node,
        )  # fmt: skip


def viewpoints(task: ControlTask, scope: Scope) -> list[Viewpoint]:
    """Return the viewpoints of a scope: one for each inverter that has supply, or one for all.

    Raises
    ------
    InputError
        With zone scope, if an inverter's bus is in no zone.
    """
    place, every = task.inverters.node, np.arange(len(task.inverters))
    if scope is Scope.GLOBAL:
        return [Viewpoint(every, np.arange(task.nodes), every)]
    found = []
    for k in np.flatnonzero(place >= 0):
        row, node = np.array([k]), int(place[k])
        if scope is Scope.LOCAL:
            found.append(Viewpoint(row, np.array([node]), row, 0, 0, single=True))
            continue
        name = task.zone[node]
        if not name:
            raise InputError(
                f"the bus of inverter {task.inverters.index[k]} is in no zone: name zones in net.bus.zone, or take "
                "local or global scope"
            )
        nodes = np.array([n for n in range(task.nodes) if task.zone[n] == name])
        others = np.array([j for j in every if place[j] >= 0 and task.zone[place[j]] == name])
        own, own_node = int(np.flatnonzero(others == k)[0]), int(np.flatnonzero(nodes == node)[0])
        found.append(Viewpoint(row, nodes, others, own, own_node))
    return found
