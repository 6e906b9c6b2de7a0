"""E: a two-layer Transformer encoder that says what a battery's action does to the voltage (P0, (25)), in numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from feederlab.errors import InputError
from feederlab.learn.smart_meter.known import Known
from feederlab.models.arrays import FloatArray, frozen

TOKENS = (("V_t-2", "P_t-2"), ("V_t-1", "P_t-1", "E", "r", "x"), ("a_t", "P^D_t", "V^adj"))
"""What each of the three tokens is made of, in order of time: P0's list of inputs, put where it belongs."""
INPUTS = sum(map(len, TOKENS))
_FINITE = 10.0
_EPS = 1e-5  # torch's, under the root of a layer norm


@dataclass(frozen=True)
class SensitivitySettings:
    """How E looks and learns.

    layers, width, heads, hidden : of the encoder; P0 gives two layers and leaves the rest open.
    learning_rate : of Adam (P0: 1e-3), falling to zero along half a cosine.
    epochs, batch : passes over the samples; samples in a gradient step.
    weight_decay : of AdamW.
    """

    layers: int = 2
    width: int = 32
    heads: int = 4
    hidden: int = 64
    learning_rate: float = 1e-3
    epochs: int = 25
    batch: int = 128
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        whole = (self.layers, self.width, self.heads, self.hidden, self.epochs, self.batch)
        if min(whole) < 1 or self.width % self.heads or not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise InputError(
                "the sensitivity network needs whole positive sizes, a width that its heads divide, a learning rate "
                f"above 0 and a weight decay of 0 or more, not {self}"
            )


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """V~ = V^adj + spread (w . norm(h_t) + b),  h = encoder(tokens).

    The inputs are centred, scaled and cut off at +-10 (`TOKENS`).  Each token is a linear map of its own inputs, whose
    constant is its position.  A layer is ``h += attention(norm(h)); h += W2 max(W1 norm(h) + b1, 0) + b2``; the head
    reads the last token.  With all weights of the head zero it is V^adj.

    heads : of the attention.  arrays : name -> weights, named as torch names them, and ``centre``, ``scale`` (10,),
    ``spread`` (1,).
    """

    heads: int
    arrays: Mapping[str, FloatArray]

    @property
    def layers(self) -> int:
        """Number of encoder layers."""
        return sum(name.endswith("linear1.weight") for name in self.arrays)

    def __call__(self, storage_p_mw: Any, known: Known, adjusted: FloatArray) -> FloatArray:
        """Return V~ (...,), p.u., for actions (MW) and V^adj (p.u.) that broadcast against what is `known`."""
        x = (inputs(storage_p_mw, known, adjusted) - self.arrays["centre"]) / self.arrays["scale"]
        x = np.minimum(np.maximum(x, -_FINITE), _FINITE)
        flat = x.reshape(-1, INPUTS)
        return adjusted + float(self.arrays["spread"][0]) * self._head(flat).reshape(x.shape[:-1])

    def _head(self, x: FloatArray) -> FloatArray:
        """Return (n,) the head's output on scaled inputs (n, 10)."""
        w, parts, first = self.arrays, [], 0
        for k, names in enumerate(TOKENS):
            parts.append(x[:, first : first + len(names)] @ w[f"tokens.{k}.weight"].T + w[f"tokens.{k}.bias"])
            first += len(names)
        h = np.stack(parts, axis=1)
        for k in range(self.layers):
            h = self._layer(h, f"encoder.layers.{k}.")
        last = _norm(h[:, -1], w["encoder.norm.weight"], w["encoder.norm.bias"])
        out: FloatArray = (last @ w["head.weight"].T + w["head.bias"])[:, 0]
        return out

    def _layer(self, h: FloatArray, at: str) -> FloatArray:
        w, (n, tokens, width) = self.arrays, h.shape
        mixed = _norm(h, w[at + "norm1.weight"], w[at + "norm1.bias"])
        qkv = mixed @ w[at + "self_attn.in_proj_weight"].T + w[at + "self_attn.in_proj_bias"]
        q, k, v = qkv.reshape(n, tokens, 3, self.heads, width // self.heads).transpose(2, 0, 3, 1, 4)
        score = q @ k.swapaxes(-1, -2) / np.sqrt(width // self.heads)
        score = np.exp(score - score.max(axis=-1, keepdims=True))
        seen = (score / score.sum(axis=-1, keepdims=True)) @ v
        joined = seen.transpose(0, 2, 1, 3).reshape(n, tokens, width)
        h = h + joined @ w[at + "self_attn.out_proj.weight"].T + w[at + "self_attn.out_proj.bias"]
        lifted = _norm(h, w[at + "norm2.weight"], w[at + "norm2.bias"]) @ w[at + "linear1.weight"].T
        lifted = np.maximum(lifted + w[at + "linear1.bias"], 0.0)
        out: FloatArray = h + lifted @ w[at + "linear2.weight"].T + w[at + "linear2.bias"]
        return out

    @classmethod
    def of(cls, heads: int, arrays: Mapping[str, Any]) -> Sensitivity:
        """Return the network of these weights.  Raises `ValueError` if they do not fit each other."""
        made = cls(heads, {name: frozen(values) for name, values in arrays.items()})
        if not all(np.isfinite(values).all() for values in made.arrays.values()):
            raise ValueError("a weight of its network is no finite number")
        if not (made.layers and heads > 0 and (made.arrays["scale"] > 0).all()):
            raise ValueError("its network has no layers, no heads or a scale that is not positive")
        probe = made._head(np.zeros((1, INPUTS)))
        if probe.shape != (1,) or len(made.arrays["centre"]) != INPUTS or len(made.arrays["scale"]) != INPUTS:
            raise ValueError("the weights of its network do not fit each other")
        return made


def inputs(storage_p_mw: Any, known: Known, adjusted: FloatArray) -> FloatArray:
    """Return the (..., 10) inputs in the order of `TOKENS`: p.u. and MW."""
    listed = (
        known.vm[..., 1], known.p_mw[..., 1], known.vm[..., 0], known.p_mw[..., 0], known.e, known.z.real, known.z.imag,
        storage_p_mw, known.demand_p_mw, adjusted,
    )  # fmt: skip
    shape = np.broadcast_shapes(*(np.shape(values) for values in listed))
    made = np.empty((*shape, INPUTS))
    for k, values in enumerate(listed):
        made[..., k] = values
    return made


def _norm(h: FloatArray, weight: FloatArray, bias: FloatArray) -> FloatArray:
    centred = h - h.mean(axis=-1, keepdims=True)
    scaled: FloatArray = centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + _EPS) * weight + bias
    return scaled
