"""The hyper-parameters of each algorithm.  P3's own are in a part of its text that is lost: those here are ours."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

from feederlab.errors import InputError


class Settings(Protocol):
    """How an algorithm learns: one of the classes below."""

    @property
    def hidden(self) -> tuple[int, ...]: ...
    @property
    def discount(self) -> float: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def batch(self) -> int: ...
    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class DqnSettings:
    """How a DQN learns.

    hidden : width of each hidden layer (P3: two of them, rectified).
    discount : weight of the next interval's cost over this one's.  The loads of tomorrow do not depend on a switch of
    today, so that little is to be gained from a long view.
    learning_rate, batch : of Adam; transitions in a gradient step, of which there is one in each step.
    replay : transitions that are remembered.  warm_up : steps before learning begins.
    target_every : steps between two copies of the network to its target.
    explore_first, explore_last, explore_share : chance of a random action at the beginning, at the end, and the share
    of the training over which it falls from one to the other.
    """

    hidden: tuple[int, ...] = (64, 64)
    discount: float = 0.5
    learning_rate: float = 1e-3
    batch: int = 64
    replay: int = 50_000
    warm_up: int = 500
    target_every: int = 500
    explore_first: float = 1.0
    explore_last: float = 0.1
    explore_share: float = 0.5

    def __post_init__(self) -> None:
        _whole(self, "hidden", "batch", "replay", "target_every")
        _rates(self, chances=("explore_first", "explore_last", "explore_share"))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings, JSON-ready."""
        return {**asdict(self), "hidden": list(self.hidden)}


@dataclass(frozen=True)
class PpoSettings:
    """How PPO learns.

    hidden, critic_hidden : width of each hidden layer of the policy, and of the value.
    activation : of the hidden layers, ``"tanh"`` or ``"relu"``; for discrete actions always ``"relu"``.
    discount : weight of the next step's reward over this one's.  What loads and sun do next does
    not depend on reactive power, so that little is to be gained from a long view.
    learning_rate, decay : of Adam, and the share of it that is left at the end; it falls linearly.
    rollout : steps of each copy between two updates.  epochs, batch : passes over a rollout, and transitions in a
    gradient step; a whole number of batches makes a rollout of all copies, and no batch is larger than that.
    gae_lambda, clip, entropy, value_weight, max_gradient : of generalised advantage estimation, of the ratio of
    probabilities, weight of the entropy, weight of the value's loss, largest norm of a gradient.
    log_std : logarithm of the standard deviation of a continuous action at the beginning.
    """

    hidden: tuple[int, ...] = (64, 64)
    critic_hidden: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    discount: float = 0.1
    learning_rate: float = 1e-3
    decay: float = 0.1
    rollout: int = 32
    epochs: int = 8
    batch: int = 512
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy: float = 0.0
    value_weight: float = 0.5
    max_gradient: float = 0.5
    log_std: float = -1.0

    def __post_init__(self) -> None:
        _whole(self, "hidden", "critic_hidden", "rollout", "epochs", "batch")
        _rates(self, chances=("decay", "gae_lambda"), positive=("clip", "max_gradient"))
        _not_negative(self, "entropy", "value_weight")
        if self.activation not in ("tanh", "relu"):
            raise InputError(f"activation must be tanh or relu, not {self.activation!r}")
        if not -20 <= self.log_std <= 2:
            raise InputError(f"log_std must lie in [-20, 2], not {self.log_std}: actions lie in [-1, 1]")
        if self.batch < 2:
            raise InputError(f"a batch of PPO must hold at least 2 transitions, not {self.batch}")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings, JSON-ready."""
        return {**asdict(self), "hidden": list(self.hidden), "critic_hidden": list(self.critic_hidden)}


@dataclass(frozen=True)
class SacSettings:
    """How SAC learns.

    hidden, critic_hidden : width of each hidden layer, rectified, of the policy and of the two action values.
    discount : as in `PpoSettings`.
    learning_rate, decay : of Adam, and the share of it that is left at the end; it falls linearly.
    batch, replay, warm_up : transitions in a gradient step, transitions that are remembered, and steps of random
    actions before learning begins.
    train_every, gradient_steps : steps of each copy between two updates, and gradient steps then; -1: as many as there
    were transitions.
    tau, target_every : share of the way that the target moves, and gradient steps between two of its moves.
    entropy : weight of the entropy, ``"auto"`` (learnt), ``"auto_0.1"`` (learnt, from 0.1 on) or a number.
    entropy_target : what ``auto`` aims at, ``"auto"`` (less the number of actions) or a number.
    """

    hidden: tuple[int, ...] = (64, 64)
    critic_hidden: tuple[int, ...] = (256, 256)
    discount: float = 0.1
    learning_rate: float = 1e-3
    decay: float = 0.1
    batch: int = 256
    replay: int = 100_000
    warm_up: int = 1_000
    train_every: int = 1
    gradient_steps: int = -1
    tau: float = 0.01
    target_every: int = 1
    entropy: str = "auto_0.01"
    entropy_target: str = "auto"

    def __post_init__(self) -> None:
        _off_policy(self)
        _whole(self, "target_every")
        first = self.entropy.removeprefix("auto_")  # auto_0.1 begins with 0.1, which must then be positive
        if self.entropy != "auto" and not _number(first, above=0.0 if first == self.entropy else 1e-12):
            raise InputError(f"entropy must be auto, auto_0.1 or the like, or a number from 0 on: {self.entropy!r}")
        if self.entropy_target != "auto" and not _number(self.entropy_target):
            raise InputError(f"entropy_target must be auto or a number: {self.entropy_target!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings, JSON-ready."""
        return {**asdict(self), "hidden": list(self.hidden), "critic_hidden": list(self.critic_hidden)}


@dataclass(frozen=True)
class Td3Settings:
    """How TD3 learns.

    hidden, critic_hidden, discount, learning_rate, decay, batch, replay, warm_up, train_every, gradient_steps, tau : as
    in `SacSettings`.
    noise : standard deviation of what is added to an action while learning.
    policy_delay : gradient steps of the action values in one of the policy.
    target_noise, target_clip : standard deviation and cut-off of the noise on the target's actions.
    """

    hidden: tuple[int, ...] = (64, 64)
    critic_hidden: tuple[int, ...] = (256, 256)
    discount: float = 0.1
    learning_rate: float = 1e-3
    decay: float = 0.1
    batch: int = 256
    replay: int = 100_000
    warm_up: int = 1_000
    train_every: int = 1
    gradient_steps: int = -1
    tau: float = 0.01
    noise: float = 0.1
    policy_delay: int = 2
    target_noise: float = 0.1
    target_clip: float = 0.3

    def __post_init__(self) -> None:
        _off_policy(self)
        _whole(self, "policy_delay")
        _not_negative(self, "noise", "target_noise", "target_clip")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings, JSON-ready."""
        return {**asdict(self), "hidden": list(self.hidden), "critic_hidden": list(self.critic_hidden)}


SETTINGS: dict[str, type[Any]] = {"ppo": PpoSettings, "sac": SacSettings, "td3": Td3Settings, "dqn": DqnSettings}
"""Algorithm -> its settings."""


def _off_policy(settings: Any) -> None:
    _whole(settings, "hidden", "critic_hidden", "batch", "replay", "train_every")
    _rates(settings, chances=("decay", "tau"))
    if settings.gradient_steps < 1 and settings.gradient_steps != -1:
        raise InputError(f"gradient_steps must be at least 1, or -1, not {settings.gradient_steps}")


def _whole(settings: Any, *names: str) -> None:
    values = [v for name in names for v in _each(getattr(settings, name))]
    wrong = any(not isinstance(n, int) or n < 1 for n in values) or getattr(settings, "warm_up", 0) < 0
    if wrong or not all(getattr(settings, name) for name in names):
        widths = "widths, " if "hidden" in names else ""
        listed = [name for name in names if "hidden" not in name]
        raise InputError(f"{widths}{', '.join(listed)} must be whole and positive: {settings}")


def _rates(settings: Any, chances: tuple[str, ...], positive: tuple[str, ...] = ()) -> None:
    wrong = [name for name in chances if not 0 <= getattr(settings, name) <= 1]
    wrong += [name for name in positive if not 0 < getattr(settings, name) < float("inf")]
    if not 0 <= settings.discount < 1 or not 0 < settings.learning_rate < 1 or wrong:
        more = f", {', '.join(positive)} above 0" if positive else ""
        raise InputError(
            "the discount must lie in [0, 1), the learning rate in (0, 1), chances and shares "
            f"({', '.join(chances)}) in [0, 1]{more}: {settings}"
        )


def _not_negative(settings: Any, *names: str) -> None:
    wrong = [name for name in names if not 0 <= getattr(settings, name) < float("inf")]
    if wrong:
        raise InputError(f"{wrong[0]} must not be negative, not {getattr(settings, wrong[0])}")


def _each(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _number(text: str, above: float = float("-inf")) -> bool:
    try:
        return above <= float(text) < float("inf")
    except ValueError:
        return False
