"""Current limits of lines and transformers, and what lies above them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray, IntArray
from feederlab.models.feeder import Feeder
from feederlab.models.powerflow.base import Solution


@dataclass(frozen=True, eq=False)
class CurrentLimits:
    """The branch ends that have a limit: first all from ends, then all to ends.

    The squared loading of an end is ``|i|^2 / i_max^2``, 1 at 100 %.  What it lies above ``limit`` counts as overload,
    each end by itself.

    from_rows, to_rows : rows of `feeder.branches` limited at their from end and at their to end.
    i_max : (from_rows + to_rows,) current limit (p.u.).  limit : largest squared loading.
    """

    from_rows: IntArray
    to_rows: IntArray
    i_max: FloatArray
    limit: float

    @classmethod
    def of(cls, feeder: Feeder, max_loading_percent: float) -> CurrentLimits | None:
        """Return the limits of a feeder; None for `max_loading_percent` 0, which means that nothing is limited.

        Raises
        ------
        InputError
            For a negative `max_loading_percent`, or where no line or transformer has a current limit.
        """
        if not 0 <= max_loading_percent < np.inf:
            raise InputError(f"max_loading_percent must be 0 (no limit) or positive, not {max_loading_percent}")
        if max_loading_percent == 0:
            return None
        branches = feeder.branches
        ka = feeder.base_mva / np.sqrt(3) / feeder.node_vn_kv
        at_f = branches.i_max_f_ka / ka[branches.from_node]
        at_t = branches.i_max_t_ka / ka[branches.to_node]
        f, t = np.flatnonzero(at_f > 0), np.flatnonzero(at_t > 0)  # NaN: no limit
        if not len(f) and not len(t):
            raise InputError(
                f"max_loading_percent={max_loading_percent:g} needs current limits, but no line or transformer of "
                f"{feeder.name!r} has one (line.max_i_ka, trafo.sn_mva); set them, or leave max_loading_percent at 0"
            )
        return cls(f, t, np.concatenate([at_f[f], at_t[t]]), (max_loading_percent / 100) ** 2)

    def matrix(self, feeder: Feeder, taps: IntArray | None = None) -> sp.csr_matrix:
        """Return the (ends, nodes) matrix from complex node voltages (p.u.) to the ends' currents over their limits."""
        yff, yft, ytf, ytt = feeder.two_port(taps).admittances()
        f, t, rows = self.from_rows, self.to_rows, np.arange(len(self.i_max))
        by_from = np.concatenate([yff[f], ytf[t]]) / self.i_max
        by_to = np.concatenate([yft[f], ytt[t]]) / self.i_max
        branch, ends = np.concatenate([f, t]), feeder.branches
        columns = np.concatenate([ends.from_node[branch], ends.to_node[branch]])
        entries = np.concatenate([by_from, by_to])
        return sp.csr_matrix((entries, (np.tile(rows, 2), columns)), shape=(len(rows), feeder.n_nodes))

    def overload(self, solved: Solution) -> float:
        """Return the sum over the limited ends of what their squared loading lies above the limit."""
        i_f, i_t = solved.branch_currents()
        loading = np.abs(np.concatenate([i_f[..., self.from_rows], i_t[..., self.to_rows]], axis=-1)) / self.i_max
        return float(np.maximum(loading**2 - self.limit, 0.0).sum())
