"""Where a result comes from: scenario, controller, configuration, versions, seed."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from feederlab.controllers.base import Controller
from feederlab.controllers.registry import settings_of
from feederlab.models.scenario import Scenario

_PACKAGES = (
    "feederlab", "pandapower", "power-grid-model", "cvxpy", "clarabel", "piqp", "pyomo", "cyipopt", "numpy", "scipy",
)  # fmt: skip


def provenance(scenario: Scenario, controller: Controller, label: str, options: Any) -> dict[str, Any]:
    """Return a JSON-ready record of one run."""
    cls, files = type(controller), _files(controller)
    return {
        "label": label or cls.__name__,
        "controller": f"{cls.__module__}:{cls.__qualname__}",
        "settings": {k: _plain(v) for k, v in settings_of(controller).items()},
        "sees": str(controller.sees),
        **({"reads": files} if files else {}),
        "scenario": scenario.name,
        "start": str(scenario.start),
        "periods": scenario.periods,
        "step_s": scenario.step.total_seconds(),
        "options": {k: _plain(v) for k, v in asdict(options).items()},
        "versions": dict(versions()),
    }


def _files(controller: Controller) -> dict[str, str]:
    """Return the files that a controller or a part of it decides by, and the SHA-256 of what stands in them."""
    found = {}
    for file in controller.reads:
        try:
            found[file] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
        except OSError:
            found[file] = "cannot be read"
    for value in settings_of(controller).values():
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Controller):
                found |= _files(part)
    return found


@cache  # reading the metadata of nine packages takes as long as fifty steps
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    return {name: version(name) for name in _PACKAGES} | {"python": platform.python_version()}


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if callable(value):  # its own text would name a place in memory, and never be the same twice
        named = value if hasattr(value, "__qualname__") else type(value)
        return f"{named.__module__}:{named.__qualname__}"
    return str(value)
