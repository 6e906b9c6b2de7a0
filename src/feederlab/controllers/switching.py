"""What controllers of taps and capacitor banks share: reading positions from text, and refusing feeders without any."""

from __future__ import annotations

import numpy as np

from feederlab.controllers.base import ControlTask
from feederlab.errors import InputError
from feederlab.models.arrays import IntArray

_USERS = {
    "tap_changers": ("tap changers", "avr, fixed, random, mpc and two_timescale move them"),
    "capacitors": ("switched capacitor banks", "cap_rule, fixed, random, mpc and two_timescale move them"),
    "storages": ("storage that can be controlled", "storage_droop, storage_schedule, mpc and foresight move it"),
}


def need(name: str, task: ControlTask, *kinds: str) -> None:
    """Raise `InputError` unless the feeder has a device of one of `kinds`: ``"tap_changers"``, ``"capacitors"``, ..."""
    if any(len(getattr(task, kind)) for kind in kinds):
        return
    there = [f"{_USERS[kind][0]} ({_USERS[kind][1]})" for kind in _USERS if len(getattr(task, kind))]
    raise InputError(
        f"{name}: the feeder has no {' and no '.join(_USERS[kind][0] for kind in kinds)}; it has "
        f"{', '.join(there) or 'none of the devices with memory: add some with Scenario.with_devices'}"
    )


def positions(name: str, text: str, what: str, low: IntArray, high: IntArray, index: IntArray) -> IntArray | None:
    """Return (devices,) positions written ``1/0/2``, or one number for all; None for an empty text.

    Raises
    ------
    InputError
        For what is no list of whole numbers, has the wrong length, or leaves a device's range.
    """
    if not text:
        return None
    try:
        values = np.array([int(part) for part in text.split("/")], dtype=np.int64)
    except (ValueError, OverflowError):
        raise InputError(f"{name}: {what} must be whole numbers like 1/0/2, not {text!r}") from None
    if len(values) == 1:
        values = np.repeat(values, len(low))
    if len(values) != len(low):
        raise InputError(f"{name}: {what} has {len(values)} positions; the feeder has {len(low)} such devices")
    bad = np.flatnonzero((values < low) | (values > high))
    if len(bad):
        k = int(bad[0])
        raise InputError(
            f"{name}: {what} {values[k]} of device {index[k]} is not possible; it takes {low[k]}..{high[k]}"
        )
    return values
