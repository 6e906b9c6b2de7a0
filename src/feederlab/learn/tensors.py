"""Files of named arrays with a JSON record in the header: safetensors, sealed with a checksum; reading runs no code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from feederlab import atomic
from feederlab.errors import ResultFileError
from feederlab.learn.extra import need

FORMAT = 1
Arrays = dict[str, np.ndarray[Any, Any]]


def write_tensors(path: Path, kind: str, arrays: Mapping[str, np.ndarray[Any, Any]], about: Mapping[str, Any]) -> None:
    """Write `arrays` and the JSON-ready `about` to one file, atomically.  kind : what the file is."""
    need("safetensors")
    from safetensors.numpy import save

    whole = {name: np.asarray(values, order="C") for name, values in arrays.items()}
    record = {"format": FORMAT, "kind": kind, **about}
    sealed = {"sha256": _checksum(record, whole), **record}
    data = save(whole, metadata={"feederlab": json.dumps(sealed)})  # one entry: several would stand in random order
    with atomic.whole(path) as scratch:
        scratch.write_bytes(data)


def read_tensors(path: Path, kind: str, remedy: str = "") -> tuple[Arrays, dict[str, Any]]:
    """Return the arrays and the record of a file that `write_tensors` wrote.

    Parameters
    ----------
    remedy
        What to do if the file is damaged; it ends the message.

    Raises
    ------
    ResultFileError
        If there is no such file, or it is cut short, altered, of another kind or of another format.
    """
    need("safetensors")
    from safetensors import SafetensorError
    from safetensors.numpy import load

    end = f"; {remedy}" if remedy else ""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ResultFileError(f"cannot read the {kind} {path}: {error.strerror or error}") from error
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        arrays, about = load(data), dict(json.loads(header["feederlab"]))
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise ResultFileError(f"{path} is damaged or no {kind}: {error}{end}") from error
    if about.get("kind") != kind:
        raise ResultFileError(f"{path} is no {kind}{end}")
    if about.get("format") != FORMAT:
        raise ResultFileError(f"{path} has format {about.get('format')}; this version reads format {FORMAT}{end}")
    if about.pop("sha256", None) != _checksum(about, arrays):
        raise ResultFileError(f"{path} is damaged: its content does not fit its checksum{end}")
    return arrays, about


def _checksum(record: Mapping[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]) -> str:
    total = hashlib.sha256(json.dumps(record).encode())
    for name in sorted(arrays):
        values = arrays[name]
        total.update(f"{name} {values.dtype.str} {values.shape}".encode())
        total.update(values.tobytes())
    return total.hexdigest()
