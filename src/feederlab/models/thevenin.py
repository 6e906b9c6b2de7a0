"""What a meter can say about the grid behind it: the Thevenin equivalent of two readings, and the voltage it predicts.

Liu, Giraldo, Palensky, Vergara, "Distributed RL using local smart meter data for voltage regulation" ("P0").  Power is
in MVA throughout, and impedance in p.u. on 1 MVA: the voltage drop (p.u.) of one MVA at nominal voltage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from feederlab.errors import InputError
from feederlab.models.arrays import BoolArray, ComplexArray, FloatArray

_UNSOLVED = ("nose", "nan")


@dataclass(frozen=True)
class Guard:
    """When a Thevenin impedance of two readings is believed; where it is not, the last one stands.

    di_min : least change of the current between the two (p.u. on 1 MVA: 0.002 is 2 kVA at nominal voltage).  (20) and
    (21) divide by it.
    z_max : largest |Z| (p.u. on 1 MVA).  The default is 0.64 ohm at 400 V, more than twice the reference impedance of
    public low-voltage supplies (IEC 60725: 0.24 + j0.15 ohm).
    z_start : impedance before the first that is believed.  0: the voltage is expected to stay as it is.

    A negative resistance is not believed either: it means that something other than this load moved the voltage more,
    the other way.  A negative reactance is: the angle of Z is that of the current's change, whatever the grid is (see
    `two_samples`).
    """

    di_min: float = 0.002
    z_max: float = 4.0
    z_start: complex = 0.0

    def __post_init__(self) -> None:
        if not (self.di_min > 0 and 0 < self.z_max < np.inf and abs(self.z_start) <= self.z_max):
            raise InputError(
                "a Thevenin guard needs di_min above 0, a finite z_max above 0 and |z_start| up to z_max, not "
                f"di_min={self.di_min}, z_max={self.z_max}, z_start={self.z_start}"
            )

    def believes(self, di: Any, z: Any) -> BoolArray:
        """Return (...,) whether impedances z that follow from changes di of the current are believed."""
        with np.errstate(invalid="ignore", over="ignore"):
            return np.asarray((np.abs(di) >= self.di_min) & (np.real(z) >= 0) & (np.abs(z) <= self.z_max))


def current(u: Any, s_mva: Any) -> ComplexArray:
    """Return the current I = conj(S / U) that flows from the grid into a node, p.u. on 1 MVA.

    u : node voltage (p.u.); a meter, which reads magnitudes, takes it real.  s_mva : power p + jq that the node draws
    (MVA).  Arrays of any equal shape.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.asarray(np.conj(np.asarray(s_mva, dtype=complex) / np.asarray(u, dtype=complex)))


def two_samples(u: Any, i: Any, u_next: Any, i_next: Any) -> tuple[ComplexArray, ComplexArray]:
    """Return E and Z of (20) and (21) from two samples of voltage and current (p.u.), arrays of any equal shape.

        ``Z = (U_t - U_t+1) / (I_t+1 - I_t),  E = (U_t I_t+1 - U_t+1 I_t) / (I_t+1 - I_t)``

    They solve ``U = E - Z I`` for both samples: exact if E and Z did not change, all phasors have one reference, and
    the currents differ (infinite or NaN otherwise).

    Meters give magnitudes.  With U taken real in each sample, the angle of Z is minus that of the current's change, so
    that Z is right for changes in the same direction only: it is r + x tan(phi) for a load of that power factor, told
    apart into no r and x.  What others do between the samples counts as this load's doing.
    """
    du, di = np.asarray(u, dtype=complex) - u_next, np.asarray(i_next, dtype=complex) - i
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.asarray((u * np.asarray(i_next) - u_next * np.asarray(i)) / di), np.asarray(du / di)


def impedance(vm: Any, s_mva: Any, vm_next: Any, s_next_mva: Any, last: Any, guard: Guard) -> ComplexArray:
    """Return (...,) the impedance (20) of two readings where `guard` believes it, and `last` where it does not.

    vm, vm_next : voltage magnitudes (p.u.); s_mva, s_next_mva : complex power drawn (MVA).  A lost reading (NaN) counts
    as not believed.
    """
    i, i_next = current(vm, s_mva), current(vm_next, s_next_mva)
    _, z = two_samples(vm, i, vm_next, i_next)
    return np.where(guard.believes(i_next - i, z), z, last)


def impedances(vm: FloatArray, s_mva: ComplexArray, fresh: BoolArray, guard: Guard) -> ComplexArray:
    """Return the (T,) impedance that is believed after each reading of a series.

    vm : (T,) magnitudes (p.u.).  s_mva : (T,) power drawn (MVA).  fresh : (T,) whether a reading follows the one before
    without a gap; the impedance outlives a gap, but is not estimated across it.
    """
    found = np.full(len(vm), np.nan + 0j)
    if len(vm) > 1:
        found[1:] = impedance(vm[:-1], s_mva[:-1], vm[1:], s_mva[1:], np.nan, guard)
    known = np.isfinite(found) & fresh
    latest = np.maximum.accumulate(np.where(known, np.arange(len(vm)), -1))
    return np.where(latest >= 0, found[latest], guard.z_start)


def source(vm: Any, s_mva: Any, z: Any) -> FloatArray:
    """Return |E| = |V + Z I| (p.u.), V taken real: the source that explains one reading with impedance z."""
    return np.abs(np.asarray(vm) + np.asarray(z) * current(vm, s_mva))


def voltage(e: Any, z: Any, p_mw: Any, q_mvar: Any, *, unsolved: str = "nose") -> FloatArray:
    """Return the voltage magnitude (p.u.) at which a source |E| behind Z = r + jx supplies P + jQ: (22) and (23).

        ``V^4 + V^2 [2 (r P + x Q) - E^2] + (P^2 + Q^2) (r^2 + x^2) = 0``

        ``V = sqrt( (-b + sqrt(b^2 - 4 c)) / 2 ),  b = 2 (r P + x Q) - E^2,  c = (P^2 + Q^2) (r^2 + x^2)``

    P, Q : power drawn (MW, MVAr).  (P0 prints a minus before 2 (rP + xQ), which holds for an injection, and (23)
    without its roots.)  It is the upper of the two solutions, the one at which grids are operated.

    unsolved : where the line cannot transport that much, ``"nan"``, or ``"nose"``: the voltage at which the line
    transports the most in this direction, sqrt(-b / 2), 0 where that is not real.  It continues the solved side.

    Raises
    ------
    InputError
        For any other `unsolved`.
    """
    if unsolved not in _UNSOLVED:
        raise InputError(f"unsolved must be nose or nan, not {unsolved!r}")
    e, z = np.asarray(e, dtype=float), np.asarray(z, dtype=complex)
    p, q = np.asarray(p_mw, dtype=float), np.asarray(q_mvar, dtype=float)
    b = 2 * (z.real * p + z.imag * q) - e**2
    under = b**2 - 4 * (p**2 + q**2) * (z.real**2 + z.imag**2)
    v2 = (-b + np.sqrt(np.maximum(under, 0.0))) / 2
    vm = np.sqrt(np.maximum(v2, 0.0))
    if unsolved == "nan":
        vm = np.where((under >= 0) & (b <= 0), vm, np.nan)
    return np.asarray(vm)
