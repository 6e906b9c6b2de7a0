"""Train E: torch, one thread, everything from one seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from feederlab.learn.extra import need
from feederlab.learn.smart_meter.sensitivity import TOKENS, Sensitivity, SensitivitySettings
from feederlab.models.arrays import FloatArray

need("torch")
import torch  # noqa: E402
from torch import nn  # noqa: E402


class _Network(nn.Module):  # type: ignore[misc]
    """The network of `Sensitivity`, as torch trains it."""

    def __init__(self, settings: SensitivitySettings) -> None:
        super().__init__()
        self.tokens = nn.ModuleList([nn.Linear(len(names), settings.width) for names in TOKENS])
        layer = nn.TransformerEncoderLayer(
            settings.width, settings.heads, settings.hidden, dropout=0.0, activation="relu", batch_first=True,
            norm_first=True,
        )  # fmt: skip
        self.encoder = nn.TransformerEncoder(
            layer, settings.layers, norm=nn.LayerNorm(settings.width), enable_nested_tensor=False
        )
        self.head = nn.Linear(settings.width, 1)

    def forward(self, x: Any) -> Any:
        parts = x.split([len(names) for names in TOKENS], dim=-1)
        h = torch.stack([token(part) for token, part in zip(self.tokens, parts, strict=True)], dim=1)
        return self.head(self.encoder(h)[:, -1])[:, 0]


def fit_sensitivity(x: FloatArray, residual: FloatArray, settings: SensitivitySettings, seed: int) -> Sensitivity:
    """Return E fitted by least squares on inputs (n, 10) and what is left of the voltage after H, (n,) p.u."""
    centre, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    spread = max(float(residual.std()), 1e-9)
    with _alone(seed):
        network = _Network(settings)
        _train(network, (x - centre) / scale, residual / spread, settings, seed)
        arrays = {name: values.numpy().copy() for name, values in network.state_dict().items()}
    arrays |= {"centre": centre, "scale": scale, "spread": np.array([spread])}
    return Sensitivity.of(settings.heads, arrays)


def _train(network: _Network, x: FloatArray, y: FloatArray, settings: SensitivitySettings, seed: int) -> None:
    samples, targets = (torch.as_tensor(np.clip(v, -10, 10), dtype=torch.float32) for v in (x, y))
    rng, batches = np.random.default_rng([seed, 7]), -(-len(x) // settings.batch)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.epochs * batches)
    network.train()
    for _ in range(settings.epochs):
        for rows in np.array_split(rng.permutation(len(x)), batches):
            optimiser.zero_grad()
            loss = nn.functional.mse_loss(network(samples[rows]), targets[rows])
            loss.backward()
            optimiser.step()
            schedule.step()
    network.eval()


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """Give the training one thread (more would change rounding) and torch's generator, and then put both back."""
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)
        torch.set_num_threads(threads)
