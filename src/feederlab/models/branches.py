"""Two-port branches in per unit: lines, transformers, impedances and impedance switches alike."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from feederlab.models.arrays import BoolArray, ComplexArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class TwoPort:
    """Parameters of (n,) branches, per unit on the feeder's base.

    The circuit is pandapower's: an ideal transformer ``ratio * exp(j shift) : 1`` at the from side, then a series
    impedance ``r + jx`` with the shunt admittance ``(g_f + j b_f)`` at its from end and ``(g_t + j b_t)`` at its to
    end.  (A line of total charging ``b`` has ``b_f = b_t = b / 2``.)
    """

    r: FloatArray
    x: FloatArray
    g_f: FloatArray
    b_f: FloatArray
    g_t: FloatArray
    b_t: FloatArray
    ratio: FloatArray
    shift_rad: FloatArray

    def admittances(self) -> tuple[ComplexArray, ComplexArray, ComplexArray, ComplexArray]:
        """Return (yff, yft, ytf, ytt), each (n,): ``i_f = yff u_f + yft u_t``, ``i_t = ytf u_f + ytt u_t``."""
        ys: ComplexArray = np.asarray(1.0 / (self.r + 1j * self.x), dtype=np.complex128)
        t = self.ratio * np.exp(1j * self.shift_rad)
        yff: ComplexArray = np.asarray((ys + self.g_f + 1j * self.b_f) / self.ratio**2, dtype=np.complex128)
        ytt = ys + self.g_t + 1j * self.b_t
        return yff, -ys / np.conj(t), -ys / t, ytt

    def take(self, rows: IntArray | BoolArray) -> TwoPort:
        """Return the branches of `rows`."""
        return TwoPort(*(getattr(self, f)[rows] for f in self.__dataclass_fields__))

    def put(self, rows: IntArray, other: TwoPort) -> TwoPort:
        """Return a copy in which `rows` are replaced by `other`."""
        merged = {}
        for name in self.__dataclass_fields__:
            column = getattr(self, name).copy()
            column[rows] = getattr(other, name)
            merged[name] = column
        return TwoPort(**merged)

    def reversed(self, rows: BoolArray) -> TwoPort:
        """Return the same circuits seen from the other side where `rows` is true.

        Moving the ideal transformer ``k`` through the series element gives ratio ``1/k``, impedances times ``k^2``,
        admittances over ``k^2``, ends swapped: exact, so a radial model may always stand at the parent's side.
        """
        k2 = self.ratio**2
        flip = TwoPort(
            self.r * k2, self.x * k2, self.g_t / k2, self.b_t / k2, self.g_f / k2, self.b_f / k2,
            1.0 / self.ratio, -self.shift_rad,
        )  # fmt: skip
        return TwoPort(*(np.where(rows, getattr(flip, f), getattr(self, f)) for f in self.__dataclass_fields__))


def merge_parallel(parts: TwoPort, group: IntArray, groups: int) -> TwoPort:
    """Return one two-port per group, electrically equal to its parallel members.

    parts : (n,) two-ports, all oriented alike within a group; group : (n,) values 0..groups-1.
    The admittances add, and the first member's ratio and shift stay as the ideal transformer, so members of unequal
    ratio become one circuit with unequal end shunts: exact, circulating current included.

    Raises
    ------
    ValueError
        If members differ in phase shift: their sum is no reciprocal two-port.
    """
    first = np.full(groups, -1, dtype=np.int64)
    for row in range(len(group) - 1, -1, -1):
        first[group[row]] = row
    ratio, shift = parts.ratio[first], parts.shift_rad[first]
    t = ratio * np.exp(1j * shift)
    yff, yft, ytf, ytt = (_sum(y, group, groups) for y in parts.admittances())
    ys, back = -yft * np.conj(t), -ytf * t
    if np.any(np.abs(ys - back) > 1e-9 * np.abs(ys)):
        raise ValueError("parallel branches with different phase shifts")
    z = 1.0 / ys
    f, e = yff * ratio**2 - ys, ytt - ys
    return TwoPort(z.real, z.imag, f.real, f.imag, e.real, e.imag, ratio, shift)


def _sum(values: ComplexArray, group: IntArray, groups: int) -> ComplexArray:
    total = np.zeros(groups, dtype=np.complex128)
    np.add.at(total, group, values)
    return total


@dataclass(frozen=True, eq=False)
class Branches:
    """All branches in service, in pandapower's internal order.

    from_node, to_node : (n,) electrical nodes.
    element, element_index : (n,) pandapower table (``"line"``, ``"trafo"``, ...) and index.
    i_max_f_ka, i_max_t_ka : (n,) current limits at each end (kA); NaN where the table gives none.
    """

    from_node: IntArray
    to_node: IntArray
    two_port: TwoPort
    element: tuple[str, ...]
    element_index: IntArray
    i_max_f_ka: FloatArray
    i_max_t_ka: FloatArray

    def __len__(self) -> int:
        return len(self.from_node)

    def name(self, row: int) -> str:
        """Return e.g. ``"line 7"``."""
        return f"{self.element[row]} {self.element_index[row]}"

    def take(self, rows: BoolArray) -> Branches:
        """Return the branches where `rows`, (n,), is true."""
        return Branches(
            self.from_node[rows], self.to_node[rows], self.two_port.take(rows),
            tuple(self.element[k] for k in np.flatnonzero(rows)), self.element_index[rows],
            self.i_max_f_ka[rows], self.i_max_t_ka[rows],
        )  # fmt: skip

    def with_parameters(self, two_port: TwoPort) -> Branches:
        """Return the same branches with other electrical parameters."""
        return replace(self, two_port=two_port)
