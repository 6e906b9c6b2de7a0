"""The hyper-parameters of a DQN.  Those that P3 gives in a part of its text that is lost are our own choice."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from feederlab.errors import InputError


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
        counts = (*self.hidden, self.batch, self.replay, self.target_every)
        shares = (self.explore_first, self.explore_last, self.explore_share)
        if not self.hidden or any(not isinstance(n, int) or n < 1 for n in counts) or self.warm_up < 0:
            raise InputError(f"widths, batch, replay and target_every must be whole and positive: {self}")
        if not 0 <= self.discount < 1 or not 0 < self.learning_rate < 1 or any(not 0 <= s <= 1 for s in shares):
            raise InputError(
                f"the discount must lie in [0, 1), the learning rate in (0, 1), chances and shares in [0, 1]: {self}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the settings, JSON-ready."""
        return {**asdict(self), "hidden": list(self.hidden)}
