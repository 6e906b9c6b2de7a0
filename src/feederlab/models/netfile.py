"""A user's net from a file: pandapower JSON, read without running anything that the file names, or MATPOWER .m."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from feederlab.errors import InputError

_TABLES = {("pandas.core.frame", "DataFrame"), ("pandas", "DataFrame"), ("pandas.core.series", "Series"),
           ("pandas", "Series")}  # fmt: skip
_NUMPY = {"array", "bool", "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
          "float16", "float32", "float64"}  # fmt: skip
_PLAIN = (
    _TABLES
    | {("numpy", name) for name in _NUMPY}
    | {("builtins", name) for name in ("tuple", "set", "frozenset", "complex")}
    | {
        ("pandapower.auxiliary", "pandapowerNet"),
        ("networkx", "MultiGraph"),
        ("pandapower.control.util.characteristic", "SplineCharacteristic"),
        ("pandapower.control.util.characteristic", "LogSplineCharacteristic"),
    }
)
"""(module, class) of plain values and tables; decoding them runs no code of the file's choosing."""
_LEFT_OUT = ("pandapower.control.", "pandapower.timeseries.")


def load_net(path: str | Path) -> Any:
    """Read a net from a pandapower JSON file or a MATPOWER .m file.

    pandapower's JSON decoder imports any module that the file names and makes objects of its classes.  Here the file
    is searched first, however deeply its tables are nested: objects of pandapower's own controllers and time series
    are left out (they take no part in a power flow), and anything else but plain values and tables is refused.

    Raises
    ------
    InputError
        If the file does not exist, is truncated, of another kind, or names a foreign class.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    if path.suffix == ".m":
        from feederlab.models.library.matpower import read_case

        return read_case(path)
    if path.suffix != ".json":
        raise InputError(f"{path}: a net must be a pandapower .json or a MATPOWER .m file, not {path.suffix or 'this'}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text file") from None
    left_out = sorted(_search(text, path))
    return _decode(text, left_out, path)


def _decode(text: str, left_out: list[str], path: Path) -> Any:
    import pandapower

    try:
        net = pandapower.from_json_string(text, convert=True, omit_modules=left_out or None)
    except Exception as error:  # the decoder fails in many ways on a file that is no net
        raise InputError(f"{path} is no pandapower net: {error}") from error
    if not isinstance(net, pandapower.pandapowerNet):
        raise InputError(f"{path} is no pandapower net; write one with pandapower.to_json(net, path)")
    return net


def _search(text: str, path: Path) -> set[str]:
    """Return the modules to leave out; refuse every other class that is not plain."""
    left_out: set[str] = set()

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        modules = [value for key, value in pairs if key == "_module"]
        classes = [value for key, value in pairs if key == "_class"]
        for kind in itertools.product(modules, classes):
            if kind not in _PLAIN and str(kind[0]).startswith(_LEFT_OUT):
                left_out.add(str(kind[0]))
            elif kind not in _PLAIN:
                raise InputError(
                    f"{path} names the class {kind[0]}.{kind[1]}, which is no part of a plain net; decoding it would "
                    "run foreign code, so it is not loaded. Save the net without it"
                )
            for key, value in pairs:
                if key == "_object" and isinstance(value, str) and kind in _TABLES and not _is_json(value):
                    raise InputError(f"{path} keeps a table in another file ({value[:60]!r}); a net must be one file")
        for _, value in pairs:
            nested(value)
        return dict(pairs)

    def nested(value: Any) -> None:
        if isinstance(value, list):
            for item in value:
                nested(item)
        elif isinstance(value, str) and _is_json(value):
            try:
                json.loads(value, object_pairs_hook=look)
            except json.JSONDecodeError:
                if "_module" in value or "\\u" in value:
                    raise InputError(f"{path} holds a table that cannot be read: {value[:60]!r}") from None

    try:
        json.loads(text, object_pairs_hook=look)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path} is truncated or no JSON: {error}") from None
    return left_out


def _is_json(value: str) -> bool:
    return value.lstrip()[:1] in ("{", "[")
