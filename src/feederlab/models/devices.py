"""Controllable devices, read from pandapower's standard tables; arrays in the table's index order."""

from __future__ import annotations

from dataclasses import dataclass

from feederlab.models.arrays import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Elements:
    """Loads, or static generators and storage that nothing controls.

    index, node : (n,) pandapower index; electrical node (-1: out of service or unsupplied).
    p_mw, q_mvar : (n,) table values, in the table's own sign.
    scaling : (n,) pandapower's `scaling` column; it multiplies profile values too.
    """

    index: IntArray
    node: IntArray
    p_mw: FloatArray
    q_mvar: FloatArray
    scaling: FloatArray

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True, eq=False)
class Inverters(Elements):
    """Controllable static generators (`sgen.controllable`): PV inverters, and STATCOMs with p = 0.

    s_mva : (n,) apparent-power rating; |q| <= sqrt(s^2 - p^2).
    bus : (n,) pandapower bus.
    """

    s_mva: FloatArray
    bus: IntArray


@dataclass(frozen=True, eq=False)
class Storages(Elements):
    """Storage units; p_mw > 0 charges.

    s_mva, p_min_mw, p_max_mw : (n,) converter rating and rate limits (MVA, MW).
    e_max_mwh, e_min_mwh : (n,) usable energy (MWh); soc : (n,) initial state of charge (0..1 of e_max).
    efficiency : (n,) one-way efficiency of charging and of discharging.
    """

    s_mva: FloatArray
    bus: IntArray
    p_min_mw: FloatArray
    p_max_mw: FloatArray
    e_min_mwh: FloatArray
    e_max_mwh: FloatArray
    soc: FloatArray
    efficiency: FloatArray


@dataclass(frozen=True, eq=False)
class Capacitors:
    """Switchable shunts (`max_step` > 0 and `controllable`, or `max_step` > 1).

    step, max_step : (n,) closed steps now, and at most.
    p_step_mw, q_step_mvar : (n,) consumption of one step at 1 p.u. (a capacitor has q < 0).
    dwell_s : (n,) shortest time between two switchings (s): a bank must discharge before it is closed again.
    """

    index: IntArray
    node: IntArray
    bus: IntArray
    step: IntArray
    max_step: IntArray
    p_step_mw: FloatArray
    q_step_mvar: FloatArray
    dwell_s: FloatArray

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True, eq=False)
class TapChangers:
    """Transformers whose `tap_pos` changes the model.

    branch : (n,) row of the transformer in `Feeder.branches`.
    node, vn_kv : (n,) the side whose voltage it regulates, `lv_bus`, and that side's nominal voltage (kV).
    tap, tap_min, tap_max, neutral : (n,) position now, lowest, highest, neutral.
    rise_pu : (n,) by how much one position up raises that voltage, about neutral (p.u.; negative where the taps are on
    the other winding).
    delay_s : (n,) time that the mechanism takes for one position (s).
    """

    index: IntArray
    branch: IntArray
    node: IntArray
    vn_kv: FloatArray
    tap: IntArray
    tap_min: IntArray
    tap_max: IntArray
    neutral: IntArray
    rise_pu: FloatArray
    delay_s: FloatArray

    def __len__(self) -> int:
        return len(self.index)
