"""`VoltageModel`: the voltage that a household's battery will make, estimated from its own meter in three stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from feederlab.errors import InputError, ResultFileError, UnknownNameError
from feederlab.learn.smart_meter.correction import Correction, CorrectionSettings, fit_correction
from feederlab.learn.smart_meter.history import MeterHistory
from feederlab.learn.smart_meter.known import Known, decisions
from feederlab.learn.smart_meter.sensitivity import Sensitivity, SensitivitySettings, inputs
from feederlab.learn.tensors import read_tensors, write_tensors
from feederlab.models.arrays import FloatArray
from feederlab.models.thevenin import Guard, voltage

KIND = "feederlab voltage model"
Stages = Literal["raw", "H", "all"]
STAGES: tuple[str, ...] = get_args(Stages)
"""How far the estimate goes: Thevenin alone, then the correction H, then (all) the network E."""


@dataclass(frozen=True)
class EstimateSettings:
    """How a voltage model is fitted: when an impedance is believed, how H is fitted, and how E looks and learns."""

    guard: Guard = field(default_factory=Guard)
    correction: CorrectionSettings = field(default_factory=CorrectionSettings)
    network: SensitivitySettings = field(default_factory=SensitivitySettings)


@dataclass(frozen=True, eq=False)
class VoltageModel:
    """V~_t = E(a_t, ...): what the voltage of step t will be if the battery draws a_t.

    1. Thevenin: (22) and (23) with E and Z of the readings up to t - 1 and the power P^D_t + a_t, Q^D_t of the step.
    2. H (24): piecewise polynomial of that.
    3. E (25): a small Transformer on what is known and on H.

    Each stage may be missing (`stage` says which is the last).  Everything is plain numpy: running it needs neither
    torch nor scikit-learn.

    guard : when an impedance is believed; `Known` is to be led with the same.
    training : how it came about; nothing here depends on it.
    """

    guard: Guard
    correction: Correction | None = None
    network: Sensitivity | None = None
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stage(self) -> str:
        """The last stage that this model has."""
        return "raw" if self.correction is None else "H" if self.network is None else "all"

    def predict(self, storage_p_mw: Any, known: Known, *, stage: str = "all") -> FloatArray:
        """Return the voltage magnitude (p.u.) under battery powers (...,), MW, charging positive.

        The powers and what is `known` broadcast against each other: one action or many, one instant or many.

        stage : the last stage to use; those that the model has not are left out.

        Raises
        ------
        UnknownNameError
            For no such stage.
        """
        if stage not in STAGES:
            raise UnknownNameError("stage of the voltage estimate", stage, STAGES)
        a = np.asarray(storage_p_mw, dtype=float)
        found = voltage(known.e, known.z, known.demand_p_mw + a, known.demand_q_mvar)
        if stage != "raw" and self.correction is not None:
            found = self.correction(found)
            if stage != "H" and self.network is not None:
                found = self.network(a, known, found)
        return found

    def save(self, path: str | Path) -> Path:
        """Write the model to one file, whole or not at all."""
        arrays: dict[str, Any] = {}
        if self.correction is not None:
            arrays |= {f"correction.{name}": values for name, values in self.correction.arrays().items()}
        if self.network is not None:
            arrays |= {f"network.{name}": values for name, values in self.network.arrays.items()}
        guard = asdict(self.guard) | {"z_start": [self.guard.z_start.real, self.guard.z_start.imag]}
        about = {
            "guard": guard, "heads": 0 if self.network is None else self.network.heads, "training": dict(self.training)
        }  # fmt: skip
        write_tensors(Path(path), KIND, arrays, about)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> VoltageModel:
        """Read a model.

        Raises
        ------
        ResultFileError
            If the file is missing, damaged, or no voltage model.
        """
        arrays, about = read_tensors(Path(path), KIND)
        try:
            settings = dict(about["guard"])
            guard = Guard(**(settings | {"z_start": complex(*settings["z_start"])}))
            network = _part(arrays, "network", partial(Sensitivity.of, int(about["heads"])))
            return cls(guard, _part(arrays, "correction", Correction.of), network, about["training"])
        except (KeyError, TypeError, ValueError, InputError) as error:
            raise ResultFileError(f"{path} is no usable {KIND}: {error}") from error


def _part(arrays: Mapping[str, Any], name: str, of: Any) -> Any:
    """Return what `of` makes of the arrays ``name.*``, None if there are none."""
    mine = {key.partition(".")[2]: values for key, values in arrays.items() if key.partition(".")[0] == name}
    return of(mine) if mine else None


def fit_voltage_model(
    history: MeterHistory, *, seed: int = 0, stages: Stages = "all", settings: EstimateSettings | None = None
) -> VoltageModel:
    """Fit a voltage model on what one meter has recorded: the same seed gives the same bits, whatever else runs.

    The effect of the battery can only be learnt from a history in which it moved without regard to the voltage: record
    one under ``random_storage``.

    Parameters
    ----------
    history
        Three readings in a row at least; `CorrectionSettings` and the network ask for more.
    seed
        Of the network's first weights and of the order in which it sees the samples.
    stages
        ``"raw"``, ``"H"`` or ``"all"``.

    Raises
    ------
    InputError
        For too short a history.
    UnknownNameError
        For no such stage.
    """
    if stages not in STAGES:
        raise UnknownNameError("stage of the voltage estimate", stages, STAGES)
    settings = settings or EstimateSettings()
    rows, known = decisions(history, settings.guard)
    about = {
        "meter": history.name, "samples": len(rows), "first": str(history.times[0]), "last": str(history.times[-1]),
        "seed": seed, "stages": stages,
    }  # fmt: skip
    model = VoltageModel(settings.guard, training=about)
    if stages == "raw":
        return model
    taken, vm = history.storage_p_mw[rows], history.vm[rows]
    correction = fit_correction(model.predict(taken, known), vm, settings.correction)
    model = VoltageModel(settings.guard, correction, training=about)
    if stages == "H":
        return model
    from feederlab.learn.smart_meter.sensitivity_fit import fit_sensitivity

    adjusted = model.predict(taken, known)
    network = fit_sensitivity(inputs(taken, known, adjusted), vm - adjusted, settings.network, seed)
    return VoltageModel(settings.guard, correction, network, about)
