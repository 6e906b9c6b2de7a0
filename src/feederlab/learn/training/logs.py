"""What a training tells TensorBoard: the algorithm's own figures, the reward, and the scores on the held-out days."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from feederlab.learn.extra import need

need("torch", "stable_baselines3")
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat  # noqa: E402

from feederlab.learn.training.algorithms import Model  # noqa: E402


class TensorBoard:
    """The logs of one session of a training; nothing is written where `folder` is None.

    A training that was killed may have logged steps beyond its last checkpoint, `step`; TensorBoard is told to forget
    them when it is resumed there (purge_step).
    """

    def __init__(self, model: Model, folder: Path | None, step: int) -> None:
        self._model, self._outputs = model, [] if folder is None else [_from_step(folder, step)]

    def __enter__(self) -> TensorBoard:
        self._logger = Logger(None, self._outputs)
        self._model.set_logger(self._logger)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Write a row of the evaluation curve, and the algorithm's own figures of its last update."""
        for name, value in row.items():
            place, _, rest = name.partition("_")
            self._logger.record(f"{place}/{rest}" if place == "holdout" else f"rollout/{name}", value)
        self._logger.dump(step=self._model.num_timesteps)


class _FromStep(TensorBoardOutputFormat):  # type: ignore[misc]
    """stable-baselines3's writer, on a TensorBoard writer of our own making."""

    def __init__(self, writer: Any) -> None:
        self.writer, self._is_closed = writer, False


def _from_step(folder: Path, step: int) -> _FromStep:
    need("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    return _FromStep(SummaryWriter(log_dir=str(folder), purge_step=step + 1))
