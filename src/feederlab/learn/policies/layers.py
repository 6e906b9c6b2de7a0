"""The layers of a network as named arrays of a file, and the checks that every policy file shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

KIND = "feederlab policy"
"""What every policy file calls itself; its `method` says which kind."""

Layers = tuple[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]], ...]
"""(W, b) of each layer, float32 (out, in) and (out,)."""


def layer_arrays(layers: Layers) -> dict[str, np.ndarray[Any, Any]]:
    """Return the layers by their names in a file: ``layerK.weight``, ``layerK.bias``."""
    return {
        f"layer{k}.{what}": values
        for k, pair in enumerate(layers)
        for what, values in zip(("weight", "bias"), pair, strict=True)
    }


def layers_of(arrays: Mapping[str, np.ndarray[Any, Any]], count: int) -> Layers:
    """Return `count` layers from a file's arrays.  Raises `KeyError` where one is missing."""
    return tuple((arrays[f"layer{k}.weight"], arrays[f"layer{k}.bias"]) for k in range(count))


def check_layers(layers: Layers, inputs: int | None = None, outputs: int | None = None) -> None:
    """Raise `ValueError` unless each layer takes what the one before gives, in finite float32 numbers.

    inputs, outputs : of the whole network, where they are known.
    """
    if not layers:
        raise ValueError("it has no layers")
    if any(w.dtype != np.float32 or b.dtype != np.float32 for w, b in layers):
        raise ValueError("a weight is not float32")
    sizes = [layers[0][0].shape[-1] if inputs is None else inputs, *(len(bias) for _, bias in layers)]
    shapes = zip(layers, sizes, sizes[1:], strict=False)
    fits = [w.shape == (out, into) and b.shape == (out,) for (w, b), into, out in shapes]
    if not (all(fits) and outputs in (None, sizes[-1])):
        raise ValueError("its layers do not fit its observation and its actions")
    if not all(np.isfinite(w).all() and np.isfinite(b).all() for w, b in layers):
        raise ValueError("a weight is no finite number")
