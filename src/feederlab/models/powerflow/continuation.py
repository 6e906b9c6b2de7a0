"""Newton's method along growing injections: the voltages into which those of no load grow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from feederlab.models.arrays import ComplexArray
from feederlab.models.powerflow.jacobian import ReducedGrid

_FIRST, _SHRINK = 0.4, 0.7  # of its voltage a Newton step may move any node at first; of the last step afterwards
_NEAR, _EXACT, _FLOOR = 0.05, 1e-11, 1e-8  # of the voltage: on the way, at the end, and where rounding may stop it
_STEPS = 12
_SHORTEST = 1 / 256  # of the injections: more cannot be carried where growing by less than this fails


class Continuation:
    """Solves one operating point from no load on, for injections near the most that a grid can carry.

    The power-flow equations have many solutions.  A grid is operated at the one into which its voltages grow as the
    injections do, from none to all.  Newton's method finds another, or none, if it starts far off: under much reactive
    power fed back, where voltages rise by a third, pandapower's and power-grid-model's do.  Here every leap is as long
    as Newton's method converges from where it stands, without a detour.  (Ajjarapu and Christy, "The continuation power
    flow", 1992, with the injections themselves as parameter: it ends where no more can be carried.)

    grid : the admittance matrix.  currents : node voltages (nodes,) -> Y u (p.u.).  no_load : (nodes,) voltages without
    injections, for a slack at 1 p.u.
    """

    def __init__(self, grid: ReducedGrid, currents: Callable[[ComplexArray], ComplexArray], no_load: ComplexArray):
        self._grid, self._currents, self._no_load = grid, currents, no_load

    def solve(self, s: ComplexArray, slack_u: complex) -> ComplexArray | None:
        """Return the (nodes,) voltages under the injections `s` (p.u.), None where they cannot be carried."""
        u, reached, leap = self._no_load * slack_u, 0.0, 1.0
        with np.errstate(all="ignore"):
            while reached < 1:
                goal = min(1.0, reached + leap)
                found = self._newton(u, goal * s, _EXACT if goal == 1 else _NEAR)
                if found is None:
                    leap = (goal - reached) / 2
                    if leap < _SHORTEST:
                        return None
                else:
                    u, reached, leap = found, goal, 2 * leap
        return u

    def _newton(self, u: ComplexArray, s: ComplexArray, tolerance: float) -> ComplexArray | None:
        last = _FIRST
        for _ in range(_STEPS):
            missing = s - u * self._currents(u).conj()
            missing[self._grid.feeder.slack] = 0
            try:
                du = self._grid.linearised(u, s).voltages(missing[:, None])[:, 0]
            except RuntimeError:  # a singular Jacobian
                return None
            step = float(np.abs(du / u).max())
            if not step < last:
                return u if last < _FLOOR else None
            u, last = u + du, _SHRINK * step
            if step < tolerance:
                return u
        return None
