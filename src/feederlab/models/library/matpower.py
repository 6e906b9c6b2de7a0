"""MATPOWER distribution cases as pandapower nets.

Every value of the tables survives: the system base, base voltages, voltage limits, ratings, charging, shunts, ratios
and branches out of service.  Buses take the row order of `mpc.bus` as index and MATPOWER's number as name, so the index
is the number less one where a file numbers its buses 1..n.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from feederlab.errors import InputError
from feederlab.models.arrays import BoolArray, FloatArray, IntArray
from feederlab.models.matpower_case import (
    BASE_KV,
    BR_B,
    BR_R,
    BR_STATUS,
    BR_X,
    BS,
    BUS_I,
    BUS_TYPE,
    F_BUS,
    GEN_BUS,
    GEN_STATUS,
    GS,
    NONE,
    PD,
    PG,
    PQ,
    QD,
    QG,
    RATE_A,
    REF,
    SHIFT,
    T_BUS,
    TAP,
    VA,
    VG,
    VMAX,
    VMIN,
    MatpowerCase,
    read_tables,
)  # fmt: skip

_UNRATED_MVA = 99999.0  # pandapower's own mark for a transformer without a rating


def read_case(path_or_name: str | Path) -> Any:
    """Read a MATPOWER case (`read_tables`) as a pandapower net.

    Branches between buses of one base voltage without a ratio become lines, all others transformers.  Generators at
    load buses become static generators.  Several reference buses held at the same voltage are joined by closed
    switches: electrically they are one stiff busbar.  Equal lower and upper voltage limits, which case files write at
    the slack and where they give none, are left out.

    Raises
    ------
    InputError
        What `read_tables` refuses; a generator that controls its bus's voltage; reference buses held at different
        voltages.
    """
    return to_pandapower(read_tables(path_or_name))


def to_pandapower(case: MatpowerCase) -> Any:
    """Return the pandapower net of a case (see `read_case`)."""
    import pandapower

    net = pandapower.create_empty_network(name=case.name, sn_mva=case.base_mva)
    row_of = {int(number): row for row, number in enumerate(case.bus[:, BUS_I])}
    bus = case.bus
    given = bus[:, VMAX] > bus[:, VMIN]
    pandapower.create_buses(
        net, len(bus), vn_kv=bus[:, BASE_KV], name=[str(int(number)) for number in bus[:, BUS_I]],
        in_service=bus[:, BUS_TYPE] != NONE,
        min_vm_pu=np.where(given, bus[:, VMIN], np.nan), max_vm_pu=np.where(given, bus[:, VMAX], np.nan),
    )  # fmt: skip
    _add_sources(net, case, row_of)
    _add_consumers(net, bus)
    ends = np.array([[row_of[int(a)], row_of[int(b)]] for a, b in case.branch[:, [F_BUS, T_BUS]]])
    ratio = np.where(case.branch[:, TAP] == 0, 1.0, case.branch[:, TAP])
    same_kv = bus[ends[:, 0], BASE_KV] == bus[ends[:, 1], BASE_KV]
    is_line: BoolArray = same_kv & (ratio == 1) & (case.branch[:, SHIFT] == 0)
    _add_lines(net, case.branch[is_line], ends[is_line])
    for branch, (a, b), k in zip(case.branch[~is_line], ends[~is_line], ratio[~is_line], strict=True):
        _add_transformer(net, branch, int(a), int(b), float(k))
    return net


def _add_sources(net: Any, case: MatpowerCase, row_of: dict[int, int]) -> None:
    import pandapower

    on = case.gen[case.gen[:, GEN_STATUS] > 0]
    kind = {int(number): int(t) for number, t in case.bus[:, [BUS_I, BUS_TYPE]]}
    held = sorted({int(g) for g in on[:, GEN_BUS] if kind[int(g)] not in (REF, PQ, NONE)})
    if held:
        raise InputError(
            f"{case.name}: generators hold the voltage at buses {held[:8]}; a distribution case has only its slack. "
            "Solve cases with generators by the command `opf`"
        )
    slacks = case.slack_buses()
    setting = {s: [(g[VG], case.bus[row_of[s], VA]) for g in on if int(g[GEN_BUS]) == s] for s in slacks}
    missing = [s for s in slacks if not setting[s]]
    if missing:
        raise InputError(f"{case.name}: no generator in service at the reference buses {missing}")
    vm, degrees = setting[slacks[0]][0]
    if any(pair != (vm, degrees) for s in slacks for pair in setting[s]):
        raise InputError(f"{case.name}: the reference buses {slacks} are held at different voltages")
    pandapower.create_ext_grid(net, row_of[slacks[0]], vm_pu=vm, va_degree=degrees)
    for other in slacks[1:]:
        pandapower.create_switch(net, row_of[slacks[0]], row_of[other], et="b", name="one busbar")
    for g in on:
        if kind[int(g[GEN_BUS])] == PQ and (g[PG] or g[QG]):
            pandapower.create_sgen(net, row_of[int(g[GEN_BUS])], p_mw=g[PG], q_mvar=g[QG])


def _add_consumers(net: Any, bus: FloatArray) -> None:
    import pandapower

    loaded = np.flatnonzero((bus[:, PD] != 0) | (bus[:, QD] != 0))
    if len(loaded):
        pandapower.create_loads(net, loaded, p_mw=bus[loaded, PD], q_mvar=bus[loaded, QD])
    shunted = np.flatnonzero((bus[:, GS] != 0) | (bus[:, BS] != 0))
    if len(shunted):
        pandapower.create_shunts(net, shunted, q_mvar=-bus[shunted, BS], p_mw=bus[shunted, GS])


def _add_lines(net: Any, branch: FloatArray, ends: IntArray) -> None:
    import pandapower

    if not len(branch):
        return
    kv = net.bus.vn_kv.to_numpy()[ends[:, 0]]
    ohm = kv**2 / net.sn_mva
    rating = np.where(branch[:, RATE_A] > 0, branch[:, RATE_A], np.nan) / (np.sqrt(3) * kv)
    pandapower.create_lines_from_parameters(
        net, ends[:, 0], ends[:, 1], length_km=1.0, r_ohm_per_km=branch[:, BR_R] * ohm,
        x_ohm_per_km=branch[:, BR_X] * ohm, c_nf_per_km=branch[:, BR_B] / ohm / (2 * np.pi * net.f_hz) * 1e9,
        max_i_ka=rating, in_service=branch[:, BR_STATUS] > 0,
    )  # fmt: skip


def _add_transformer(net: Any, branch: FloatArray, a: int, b: int, ratio: float) -> None:
    """Add the branch ``ratio : 1`` (ideal, at the from side `a`), then r + jx with charging.

    pandapower's ideal transformer stands at the high-voltage side.  Where that is the to side, moving it there divides
    the ratio into one and multiplies the impedance by ``ratio^2``.  Half the charging stands at each end of the
    impedance; seen from bus `a` it is divided by ``ratio^2``.
    """
    import pandapower

    kv = net.bus.vn_kv
    on = bool(branch[BR_STATUS] > 0)
    r, x, shift = branch[BR_R], branch[BR_X], branch[SHIFT]
    hv, lv, k = (a, b, ratio) if kv[a] >= kv[b] else (b, a, 1 / ratio)
    if hv == b:
        r, x, shift = r * ratio**2, x * ratio**2, -shift
    sn = branch[RATE_A] if branch[RATE_A] > 0 else _UNRATED_MVA
    pandapower.create_transformer_from_parameters(
        net, hv, lv, sn_mva=sn, vn_hv_kv=kv[hv] * k, vn_lv_kv=kv[lv], vkr_percent=100 * r * sn / net.sn_mva,
        vk_percent=100 * np.hypot(r, x) * (1 if x >= 0 else -1) * sn / net.sn_mva, pfe_kw=0.0, i0_percent=0.0,
        shift_degree=shift, in_service=on,
    )  # fmt: skip
    if branch[BR_B] and on:
        half = branch[BR_B] / 2 * net.sn_mva
        pandapower.create_shunts(net, [a, b], q_mvar=[-half / ratio**2, -half], name=["charging", "charging"])
