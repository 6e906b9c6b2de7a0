"""Controllers by name.  Names map to import strings, so that listing them imports nothing."""

from __future__ import annotations

import importlib
from dataclasses import MISSING, fields
from importlib.metadata import entry_points
from typing import Any

from feederlab.controllers.base import Controller
from feederlab.errors import InputError, UnknownNameError

GROUP = "feederlab.controllers"

BUILT_IN: dict[str, tuple[str, str]] = {
    "none": ("feederlab.controllers.none:NoControl", "inverters at q = 0, everything else as it is"),
    "fixed_pf": ("feederlab.controllers.fixed_pf:FixedPowerFactor", "constant power factor"),
    "volt_var": ("feederlab.controllers.volt_var:VoltVar", "local droop Q(V) curve (mapdn, ieee1547_a/b, rule21, ...)"),
    "volt_watt": ("feederlab.controllers.volt_watt:VoltWatt", "local P(V) curve"),
    "watt_var": ("feederlab.controllers.watt_var:WattVar", "local Q(P) curve"),
    "feedback": ("feederlab.controllers.feedback:Feedback", "projected gradient on measured voltages"),
    "lindistflow": ("feederlab.controllers.lindistflow:LinDistFlow", "QP setpoints on the linear model"),
    "socp": ("feederlab.controllers.socp:Socp", "setpoints of the branch-flow relaxation, certified"),
    "opf": ("feederlab.controllers.opf:Opf", "exact AC optimal power flow, certified then polished"),
}
"""name -> (``module:Class``, one line)."""


def names() -> dict[str, str]:
    """Return name -> one line, the built-in controllers first, then those of installed packages."""
    listed = {name: line for name, (_, line) in BUILT_IN.items()}
    for point in entry_points(group=GROUP):
        listed.setdefault(point.name, f"from {point.value}")
    return listed


def load(name: str) -> type[Controller]:
    """Return the class of a controller by registered name or ``module:Class``.

    Raises
    ------
    UnknownNameError
        With the nearest known name.
    """
    if name in BUILT_IN:
        return _import(BUILT_IN[name][0])
    for point in entry_points(group=GROUP, name=name):
        return _checked(point.load(), point.value)
    if ":" in name:
        return _import(name)
    raise UnknownNameError("controller", name, list(names()))


def create(spec: str) -> Controller:
    """Build a controller from ``name``, ``name:key=value,...`` or ``module:Class:key=value,...``.

    Raises
    ------
    UnknownNameError
        If the controller or one of its keys does not exist.
    InputError
        If a value does not fit its key.
    """
    name, settings = _split(spec)
    cls = load(name)
    known = [f.name for f in fields(cls) if f.init]  # type: ignore[arg-type]
    for key in settings:
        if key not in known:
            raise UnknownNameError(f"key of controller {name!r}", key, known)
    from pydantic import TypeAdapter, ValidationError

    try:
        made: Controller = TypeAdapter(cls).validate_python(settings)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "settings"
        raise InputError(f"controller {name!r}, key {key!r}: {first['msg']}, not {first['input']!r}") from None
    return made


def settings_of(controller: Controller) -> dict[str, Any]:
    """Return the configuration of a controller as plain values."""
    return {f.name: getattr(controller, f.name) for f in fields(controller)}  # type: ignore[arg-type]


def defaults_of(cls: type[Controller]) -> dict[str, Any]:
    """Return key -> default of a controller class."""
    listed = {}
    for f in fields(cls):  # type: ignore[arg-type]
        if f.init:
            listed[f.name] = f.default if f.default is not MISSING else None
    return listed


def _split(spec: str) -> tuple[str, dict[str, str]]:
    head, _, tail = spec.partition(":")
    if head not in names() and tail:
        cls, _, tail = tail.partition(":")
        head = f"{head}:{cls}"
    settings = {}
    for part in filter(None, (p.strip() for p in tail.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            raise InputError(f"controller {spec!r}: write settings as key=value, not {part!r}")
        settings[key.strip()] = value.strip()
    return head, settings


def _import(target: str) -> type[Controller]:
    module, _, name = target.partition(":")
    try:
        return _checked(getattr(importlib.import_module(module), name), target)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"cannot import the controller {target!r}: {error}; known: {', '.join(names())}") from error


def _checked(cls: Any, target: str) -> type[Controller]:
    if not (isinstance(cls, type) and issubclass(cls, Controller)):
        raise InputError(f"{target!r} is no feederlab Controller class")
    return cls
