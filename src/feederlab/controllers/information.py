"""Hide from a controller what it has not declared to see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from feederlab.controllers.base import ControlTask, Information, Measurement, Scope
from feederlab.models.arrays import BoolArray, FloatArray


def visible_nodes(sees: Information, task: ControlTask) -> BoolArray:
    """Return (nodes,) whether a controller sees each node: devices' own nodes, their zones, or all."""
    seen = np.zeros(task.nodes, dtype=bool)
    if sees.scope is Scope.GLOBAL:
        return ~seen
    for devices in (task.inverters, task.storages, task.capacitors, task.tap_changers):
        seen[devices.node[devices.node >= 0]] = True
    if sees.scope is Scope.ZONE:
        zones = {task.zone[n] for n in np.flatnonzero(seen)} - {""}
        seen |= np.array([zone in zones for zone in task.zone], dtype=bool)
    return seen


def restrict_task(sees: Information, task: ControlTask) -> ControlTask:
    """Return the task without the grid model for a LOCAL controller, and without a forecast not declared."""
    return replace(
        task,
        feeder=None if sees.scope is Scope.LOCAL else task.feeder,
        forecast=task.forecast if sees.forecast else None,
    )


def mask(sees: Information, measurement: Measurement, seen: BoolArray) -> Measurement:
    """Return the measurement with NaN at the nodes that are not seen, and at the slack unless all is seen."""
    if sees.scope is Scope.GLOBAL:
        return measurement

    def hide(values: FloatArray) -> FloatArray:
        return np.where(seen, values, np.nan)

    return replace(
        measurement,
        vm=hide(measurement.vm),
        load_p_mw=hide(measurement.load_p_mw),
        load_q_mvar=hide(measurement.load_q_mvar),
        slack_vm=np.nan,
    )
