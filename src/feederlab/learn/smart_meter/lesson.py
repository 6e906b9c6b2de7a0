"""`Lesson`: everything that an agent's process is given, as one file. It holds one meter's readings and no grid."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from feederlab.atomic import write_text
from feederlab.errors import InputError, ResultFileError, UnknownNameError
from feederlab.learn.smart_meter.estimate import STAGES, Stages
from feederlab.learn.smart_meter.history import MeterHistory
from feederlab.learn.smart_meter.reward import RelaxedReward

HISTORY, SETTINGS = "history.safetensors", "lesson.json"
_KIND = "feederlab household lesson"


@dataclass(frozen=True)
class AgentSettings:
    """How a household learns: PPO on `SmartMeterEnv`.

    steps : to learn from.  discount, learning_rate : P0's.  hidden : widths of the hidden layers (tanh).
    copies : of the household that live side by side.
    rollout, batch, epochs : steps of all copies between two updates, samples in a gradient step, passes over a rollout.
    gae_lambda, clip, entropy, log_std : PPO's; log of the first exploration's standard deviation.
    stages : how far the voltage estimate goes.  reward : (28).  band : lowest and highest voltage (p.u.).

    P0 gives the discount and the learning rate; the rest is ours.
    """

    steps: int = 60_000
    discount: float = 0.5
    learning_rate: float = 1e-3
    hidden: tuple[int, ...] = (64, 64)
    copies: int = 16
    rollout: int = 1024
    batch: int = 128
    epochs: int = 10
    gae_lambda: float = 0.9
    clip: float = 0.2
    entropy: float = 0.0
    log_std: float = -0.5
    stages: Stages = "all"
    reward: RelaxedReward = field(default_factory=RelaxedReward)
    band: tuple[float, float] = (0.95, 1.05)

    def __post_init__(self) -> None:
        if self.stages not in STAGES:
            raise UnknownNameError("stage of the voltage estimate", self.stages, STAGES)
        counts = (self.steps, *self.hidden, self.copies, self.rollout, self.batch, self.epochs)
        if not self.hidden or any(not isinstance(n, int) or n < 1 for n in counts):
            raise InputError(f"steps, widths, copies, rollout, batch and epochs must be whole and positive: {self}")
        if self.rollout % self.copies or self.rollout < 2:
            raise InputError(f"a rollout of {self.rollout} steps cannot be shared evenly by {self.copies} copies")
        shares = (self.discount, self.gae_lambda)
        if not 0 < self.learning_rate < 1 or any(not 0 <= s <= 1 for s in shares) or self.clip <= 0:
            raise InputError(
                f"the learning rate must lie in (0, 1), discount and gae_lambda in [0, 1], clip above 0: {self}"
            )
        if not 0 < self.band[0] < self.band[1]:
            raise InputError(f"the voltage band {self.band} is empty; give e.g. (0.95, 1.05)")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings, JSON-ready."""
        return {**asdict(self), "hidden": list(self.hidden), "band": list(self.band)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AgentSettings:
        """Return what `to_dict` gave."""
        own = {**values, "hidden": tuple(values["hidden"]), "reward": RelaxedReward(**values["reward"])}
        return cls(**{**own, "band": (float(values["band"][0]), float(values["band"][1]))})


@dataclass(frozen=True, eq=False)
class Lesson:
    """One household's readings, how it is to learn from them, and the seed of all that is random."""

    history: MeterHistory
    settings: AgentSettings = field(default_factory=AgentSettings)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.history.battery is None:
            raise InputError(f"the household {self.history.name!r} has no storage: there is nothing to learn for it")
        if self.seed < 0:
            raise InputError(f"the seed must not be negative, not {self.seed}")

    def record(self) -> dict[str, Any]:
        """Return, JSON-ready, all that the answer depends on, the readings by their checksum."""
        own, total = self.history, hashlib.sha256(self.history.times.as_unit("ns").asi8.tobytes())
        for values in (own.vm, own.demand_p_mw, own.demand_q_mvar, own.storage_p_mw):
            total.update(values.tobytes())
        total.update(repr((own.step_s, own.battery)).encode())
        about = {"method": "ppo", "settings": self.settings.to_dict(), "seed": self.seed}
        return about | {"readings_sha256": total.hexdigest()}

    def save(self, folder: str | Path) -> Path:
        """Write the lesson to a folder."""
        base = Path(folder)
        self.history.save(base / HISTORY)
        content = {"kind": _KIND, "settings": self.settings.to_dict(), "seed": self.seed}
        write_text(base / SETTINGS, json.dumps(content, indent=1) + "\n")
        return base

    @classmethod
    def load(cls, folder: str | Path) -> Lesson:
        """Read what `save` wrote.

        Raises
        ------
        ResultFileError
            If a file is missing or damaged.
        """
        path = Path(folder) / SETTINGS
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["kind"] != _KIND:
                raise ValueError(f"its kind is {content['kind']!r}")
            settings, seed = AgentSettings.from_dict(content["settings"]), int(content["seed"])
        except (OSError, KeyError, TypeError, ValueError, InputError) as error:
            raise ResultFileError(f"{path} is no {_KIND}: {error}") from error
        return cls(MeterHistory.load(Path(folder) / HISTORY), settings, seed)
