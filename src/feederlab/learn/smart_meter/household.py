"""`Household`: what an agent has learnt for one storage unit, in two files; reading them runs no code."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from feederlab.errors import InputError, ResultFileError
from feederlab.learn.policies.actor import Actor
from feederlab.learn.policies.layers import layer_arrays, layers_of
from feederlab.learn.smart_meter.estimate import VoltageModel
from feederlab.learn.smart_meter.history import Battery
from feederlab.learn.smart_meter.sight import ENTRIES, Sight
from feederlab.learn.tensors import read_tensors, write_tensors

KIND = "feederlab household policy"
POLICY, VOLTAGE = "policy.safetensors", "voltage.safetensors"


@dataclass(frozen=True, eq=False)
class Household:
    """A network from the state (26) to the action, the voltage model that gives V~, and what both are for.

    actor : (7,) -> (1,).  sight : layout of the state.  model : of the voltage.  battery : the unit that it works.
    step_s : length of a step (s).  band : lowest and highest voltage (p.u.) that it was taught.
    training, versions : how it came about; nothing here depends on them.
    """

    actor: Actor
    sight: Sight
    model: VoltageModel
    battery: Battery
    step_s: float
    band: tuple[float, float]
    training: Mapping[str, Any]
    versions: Mapping[str, str]

    def __post_init__(self) -> None:
        if (self.actor.inputs, self.actor.outputs) != (len(ENTRIES), 1):
            raise InputError(
                f"a household's network takes {len(ENTRIES)} entries and gives one action, not "
                f"{self.actor.inputs} and {self.actor.outputs}"
            )
        if not (self.step_s > 0 and 0 < self.band[0] < self.band[1]):
            raise InputError(f"a household needs a step above 0 s and a band, not {self.step_s} and {self.band}")

    def check(self, battery: Battery, step_s: float, where: str) -> None:
        """Make sure that it was taught for such a unit and such steps.

        Raises
        ------
        InputError
            Naming every difference but the energy at the start; `where` names the household.
        """
        mine, other = asdict(self.battery), asdict(battery)
        found = [
            f"its unit has {name} = {mine[name]:g}, here {other[name]:g}"
            for name in mine if name != "e_start_mwh" and not np.isclose(mine[name], other[name], atol=1e-12)
        ]  # fmt: skip
        if not np.isclose(self.step_s, step_s):
            found.append(f"it acts every {self.step_s:g} s, here every {step_s:g} s")
        if found:
            raise InputError(f"the policy of {where} does not fit: {'; '.join(found)}. Train one for this case")

    def save(self, folder: str | Path) -> Path:
        """Write ``voltage.safetensors``, then ``policy.safetensors``, which names the other's checksum."""
        base = Path(folder)
        model = self.model.save(base / VOLTAGE)
        about = {
            "layers": len(self.actor.layers), "activation": self.actor.activation, "output": self.actor.output,
            "sight": self.sight.record(), "battery": asdict(self.battery), "step_s": self.step_s,
            "band": list(self.band), "voltage_sha256": _checksum(model), "training": dict(self.training),
            "versions": dict(self.versions),
        }  # fmt: skip
        write_tensors(base / POLICY, KIND, layer_arrays(self.actor.layers), about)
        return base

    @classmethod
    def load(cls, folder: str | Path) -> Household:
        """Read what `save` wrote.

        Raises
        ------
        ResultFileError
            If a file is missing, damaged or another one, or the two do not belong together.
        """
        base = Path(folder)
        arrays, about = read_tensors(base / POLICY, KIND)
        model = VoltageModel.load(base / VOLTAGE)
        if about.get("voltage_sha256") != _checksum(base / VOLTAGE):
            raise ResultFileError(f"{base / VOLTAGE} is not the voltage model that {base / POLICY} was taught with")
        try:
            low, high = map(float, about["band"])
            return cls(
                Actor(layers_of(arrays, int(about["layers"])), about["activation"], about["output"]),
                Sight.from_record(about["sight"]), model, Battery(**about["battery"]), float(about["step_s"]),
                (low, high), about["training"], about["versions"],
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, InputError) as error:
            raise ResultFileError(f"{base / POLICY} is no usable {KIND}: {error}") from error


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
