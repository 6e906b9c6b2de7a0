"""How a settling loop moves: how a setpoint is damped, and where the next round's voltages will be."""

from __future__ import annotations

import numpy as np

from feederlab.controllers.base import Setpoints, Settle
from feederlab.models.arrays import ComplexArray, FloatArray


def damped(
    setpoints: Setpoints, p_mw: FloatArray, q_mvar: FloatArray, offered: FloatArray, settle: Settle | None
) -> tuple[FloatArray | None, FloatArray | None]:
    """Return the setpoints (p, q) of the inverters, moved only part of the way in a settling loop.

    p_mw, q_mvar, offered : (..., inverters) present power, and the active power that could be had.
    Of active power, it is the curtailment that moves: a cap above what is offered (MW) holds nothing back.
    """
    if settle is None:
        return setpoints.p_mw, setpoints.q_mvar
    share = settle.damping
    q = None if setpoints.q_mvar is None else (1 - share) * q_mvar + share * setpoints.q_mvar
    if setpoints.p_mw is None:
        return None, q
    held_back = np.maximum(offered - setpoints.p_mw, 0.0)
    return offered - ((1 - share) * (offered - p_mw) + share * held_back), q


def expected(u: ComplexArray, before: ComplexArray, damping: float) -> ComplexArray:
    """Return where the next round's voltages will lie about: each round moves 1 - damping as far as the last."""
    return np.asarray(u + (1 - damping) * (u - before), dtype=np.complex128)
