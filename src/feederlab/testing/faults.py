"""What can be wrong with one decision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from feederlab.controllers.base import ControlTask, Decision, Measurement, Setpoints
from feederlab.testing.trials import Case
from feederlab.testing.values import SETPOINTS


def shape_faults(task: ControlTask, setpoints: Any) -> Iterator[str]:
    """Yield what makes an answer no setpoints for this task."""
    if not isinstance(setpoints, Setpoints):
        yield f"step() must return Setpoints first, not {type(setpoints).__name__}"
        return
    if not isinstance(setpoints.info, Decision):
        yield f"Setpoints.info must be a Decision, not {type(setpoints.info).__name__}"
    for kind, names in SETPOINTS.items():
        count = len(getattr(task, kind))
        for name in names:
            values = getattr(setpoints, name)
            if values is not None and np.shape(values) != (count,):
                yield f"{name} has shape {np.shape(values)}, not ({count},)"


def limit_faults(case: Case, setpoints: Setpoints, m: Measurement) -> Iterator[str]:
    """Yield which setpoints ask for more than the devices can do."""
    task, room = case.task, case.tolerance
    inverters, storages = task.inverters, task.storages
    p_max = np.minimum(m.p_available_mw, inverters.s_mva)
    ranges: dict[str, tuple[Any, Any]] = {
        "q_mvar": (-inverters.s_mva, inverters.s_mva),
        "p_mw": (0.0 * p_max, p_max),
        "storage_p_mw": (storages.p_min_mw, storages.p_max_mw),
        "storage_q_mvar": (-storages.s_mva, storages.s_mva),
        "tap": (task.tap_changers.tap_min, task.tap_changers.tap_max),
        "step": (0 * task.capacitors.max_step, task.capacitors.max_step),
    }
    for name, (low, high) in ranges.items():
        values = getattr(setpoints, name)
        if values is None or np.shape(values) != np.shape(low):
            continue
        if not np.isfinite(values).all():
            yield f"{name} is not finite although nothing is wrong with the measurement"
        elif np.any(values < low - room) or np.any(values > high + room):
            yield f"{name} = {np.round(values, 6)} leaves the devices' limits"
        elif name in ("tap", "step") and np.asarray(values).dtype.kind != "i":
            yield f"{name} must hold integers, not {np.asarray(values).dtype}"
