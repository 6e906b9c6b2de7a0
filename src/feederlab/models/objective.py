"""Named objectives, shared by every optimisation controller, certificate and metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from feederlab.errors import InputError, UnknownNameError

TERMS: Mapping[str, str] = MappingProxyType(
    {
        "losses": "active losses of all lines and transformers (MW)",
        "voltage_deviation": "sum over all nodes but the slack of (v - v0)^2, v squared magnitude (p.u.)",
        "curtailment": "available minus injected active power of the inverters (MW)",
        "substation_import": "active power drawn from the external grid (MW)",
        "control_effort": "sum over the inverters of (q / s)^2",
        "storage_use": "sum over the storage units of |p| (MW)",
        "cost": "generation cost of the net's cost tables ($/h)",
    }
)
VOLTAGE_PENALTY = 100.0
"""Price of the voltage slack over the size of the objective's terms (`scoring.voltage_penalty`)."""


@dataclass(frozen=True)
class Objective:
    """A weighted sum of named terms (`TERMS`), to be minimised.

    weights : term -> weight, non-negative.
    v0 : reference of `voltage_deviation`, as a magnitude (p.u.); the term uses its square.
    """

    weights: tuple[tuple[str, float], ...] = (("losses", 1.0),)
    v0: float = 1.0

    def __post_init__(self) -> None:
        for name, weight in self.weights:
            if name not in TERMS:
                raise UnknownNameError("objective", name, list(TERMS))
            if not 0 <= weight < float("inf"):
                raise InputError(f"the weight of objective {name!r} must be a non-negative number, not {weight}")
        names = [name for name, _ in self.weights]
        if len(set(names)) < len(names):
            raise InputError(f"the objective {self} names a term twice; give each one once, with its weight")
        if not any(weight > 0 for _, weight in self.weights):
            raise InputError("the objective has no term with a positive weight")

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Read ``"losses"`` or ``"losses=1+voltage_deviation=0.1"``."""
        pairs = []
        for part in text.split("+"):
            name, _, weight = part.strip().partition("=")
            try:
                pairs.append((name, float(weight) if weight else 1.0))
            except ValueError:
                raise InputError(f"objective {text!r}: {weight!r} is no number") from None
        return cls(tuple(pairs))

    def weight(self, name: str) -> float:
        """Return the weight of a term, 0 if it takes no part."""
        return dict(self.weights).get(name, 0.0)

    def check_feeder(self) -> None:
        """Raise `InputError` for a term that no state of a feeder has a value of: ``cost``."""
        if self.weight("cost") > 0:
            raise InputError(
                "the objective 'cost' needs generation cost tables; it serves single optimal power flows only; "
                "use losses or substation_import"
            )

    def __str__(self) -> str:
        return "+".join(name if weight == 1 else f"{name}={weight:g}" for name, weight in self.weights)
