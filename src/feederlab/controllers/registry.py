"""Controllers by name.  Names map to import strings, so that listing them imports nothing."""

from __future__ import annotations

import importlib
import re
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from feederlab.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from feederlab.controllers.base import Controller

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
    "avr": ("feederlab.controllers.avr:Avr", "tap changers by deadband, with line-drop compensation"),
    "cap_rule": ("feederlab.controllers.cap_rule:CapRule", "capacitor banks by voltage, reactive power or the clock"),
    "fixed": ("feederlab.controllers.fixed:Fixed", "taps and capacitor banks at given positions"),
    "random": ("feederlab.controllers.random_switching:RandomSwitching", "capacitor banks switched at random"),
    "enumerate": ("feederlab.controllers.enumerate:Enumerate", "the best of all capacitor configurations, one by one"),
    "dqn": ("feederlab.learn.dqn:Dqn", "slow layer: capacitor banks switched by a trained policy, policy=FILE"),
    "sb3": ("feederlab.learn.policies.sb3:SB3Policy", "inverters moved by a trained network, file=FILE"),
    "sklearn": (
        "feederlab.learn.policies.sklearn_policy:SklearnPolicy",
        "inverters moved by fitted regressors, file=FILE",
    ),
    "callable": (
        "feederlab.learn.policies.callable:CallablePolicy",
        "inverters moved by a function of yours, f=module:name",
    ),
    "two_timescale": (
        "feederlab.controllers.two_timescale:TwoTimescale",
        "slow switching over fast inverters: slow=..., fast=...",
    ),
    "storage_droop": ("feederlab.controllers.storage_droop:StorageDroop", "storage: local droop P(V) curve"),
    "storage_schedule": ("feederlab.controllers.storage_schedule:StorageSchedule", "storage: charges in given hours"),
    "random_storage": (
        "feederlab.controllers.random_storage:RandomStorage",
        "storage: charges and discharges at random",
    ),
    "coordination": (
        "feederlab.controllers.coordination:Coordination",
        "least change of proposals that keeps the band",
    ),
    "safety_filter": (
        "feederlab.controllers.safety_filter:SafetyFilter",
        "around any other: the least change that keeps the band, AC-checked",
    ),
    "smart_meter": (
        "feederlab.learn.smart_meter.controller:SmartMeterAgents",
        "storage: policies that households learnt from their own meters, policies=FOLDER",
    ),
    "mpc": ("feederlab.controllers.mpc:Mpc", "receding horizon: inverters, storage, taps, capacitors"),
    "foresight": (
        "feederlab.controllers.foresight:Foresight",
        "exact optimal power flow of the whole window at once",
    ),
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
    InputError
        If what the name stands for cannot be imported, or is no controller class.
    """
    if name in BUILT_IN:
        return _import(name, BUILT_IN[name][0])
    for point in entry_points(group=GROUP, name=name):
        return _import(name, point)
    if ":" in name:
        return _import(name, name)
    raise UnknownNameError("controller", name, list(names()))


def create(spec: str) -> Controller:
    """Build a controller from ``name``, ``name:key=value,...`` or ``module:Class:key=value,...``.

    Keys are the class's fields.  A field that holds a controller takes a name, and that controller's own fields are
    dotted, or follow it: ``two_timescale:fast=lindistflow,fast.about=flat`` or ``...:fast=lindistflow,about=flat``.
    Several controllers at once are written ``avr+volt_var:curve=mapdn`` (`Together`).  Parentheses hold a specification
    together: ``coordination:locals=(storage_droop+volt_var)``, ``(two_timescale:slow=random)+storage_droop``.

    Raises
    ------
    UnknownNameError
        If the controller or one of its keys does not exist.
    InputError
        If a value does not fit its key, or it is not clear what a plus sign joins.
    """
    specs = _each(spec)
    if len(specs) > 1:
        from feederlab.controllers.together import Together

        for one in specs[:-1]:
            _check_alone(spec, one)
        return Together(tuple(create(one) for one in specs))
    if specs[0].startswith("("):
        if not specs[0].endswith(")"):
            raise InputError(f"controller {spec!r}: only + may follow a closing parenthesis")
        return create(specs[0][1:-1])
    name, settings = _split(specs[0])
    return _build(name, load(name), settings)


def settings_of(controller: Controller) -> dict[str, Any]:
    """Return the configuration of a controller, key -> value."""
    return {f.name: getattr(controller, f.name) for f in fields(controller) if f.init}  # type: ignore[arg-type]


def defaults_of(cls: type[Controller]) -> dict[str, Any]:
    """Return key -> default of a controller class, None where there is none."""
    listed: dict[str, Any] = {}
    for f in fields(cls):  # type: ignore[arg-type]
        if f.init:
            made = f.default_factory() if f.default_factory is not MISSING else None
            listed[f.name] = made if f.default is MISSING else f.default
    return listed


def _build(name: str, cls: type[Controller], settings: Mapping[str, str]) -> Controller:
    values = _values(name, cls, settings)
    missing = [
        f.name
        for f in fields(cls)  # type: ignore[arg-type]
        if f.init and f.name not in values and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise InputError(f"controller {name!r} needs {', '.join(missing)}; write {name}:{missing[0]}=...")
    return cls(**values)


def _values(name: str, cls: type[Controller], settings: Mapping[str, str]) -> dict[str, Any]:
    """Return field -> value of every field that `settings` mentions."""
    defaults, hints = defaults_of(cls), get_type_hints(cls)
    inner_keys = {key for key in defaults if _holds_controller(hints[key])}
    settings = _owned(name, settings, defaults, inner_keys)
    values: dict[str, Any] = {}
    for key in dict.fromkeys(key.partition(".")[0] for key in settings):
        if key not in defaults:
            raise UnknownNameError(f"{name} key", key, list(defaults))
        inner = {k.partition(".")[2]: v for k, v in settings.items() if k.startswith(key + ".")}
        if key in inner_keys:
            values[key] = _nested(f"{name}:{key}", settings.get(key), defaults[key], inner)
        elif inner:
            raise InputError(
                f"controller {name!r}: {key!r} is no controller, so {key}.{next(iter(inner))} means nothing"
            )
        else:
            values[key] = _coerced(name, key, settings[key], hints[key])
    return values


def _holds_controller(hint: Any) -> bool:
    """Whether a field holds a controller, or a controller or None."""
    from feederlab.controllers.base import Controller

    kinds = [kind for kind in (get_args(hint) or (hint,)) if kind is not NoneType]
    return len(kinds) == 1 and isinstance(kinds[0], type) and issubclass(kinds[0], Controller)


def _owned(
    name: str, settings: Mapping[str, str], defaults: Mapping[str, Any], inner: Collection[str]
) -> dict[str, str]:
    """Return the settings, a key that the controller has not itself dotted to the inner one named last before it."""
    owned, last = {}, ""
    for key, value in settings.items():
        if key in inner:
            last = key
        full = key if key.partition(".")[0] in defaults or not last else f"{last}.{key}"
        if full in owned:
            raise InputError(f"controller {name!r}: {full} is given twice")
        owned[full] = value
    return owned


def _nested(where: str, name: str | None, default: Controller | None, settings: Mapping[str, str]) -> Controller:
    if name is not None and name.startswith("("):
        if settings:
            raise InputError(f"{where}: {next(iter(settings))} stands behind {name}; write it within the parentheses")
        return create(name)
    if name is not None:
        return _build(name, load(name), settings)
    if default is None:
        raise InputError(f"{where} has no default; name a controller: {where}=...")
    changed: Controller = replace(default, **_values(where, type(default), settings))  # type: ignore[type-var]
    return changed


_PLAIN: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", bool | None: "true or false"}


def _coerced(name: str, key: str, text: str, hint: Any) -> Any:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(hint).validate_python(text)
    except ValidationError as error:
        wanted = _PLAIN.get(hint) or error.errors()[0]["msg"].removeprefix("Input should be ")
        raise InputError(f"controller {name!r}: {key} must be {wanted}, not {text!r}") from None


def _each(spec: str) -> list[str]:
    """Cut ``avr+volt_var:...`` where a plus sign stands before a controller's name."""
    pieces, known = [""], names()
    for part in _cut(spec, "+"):
        name = re.split("[:,]", part.strip(), maxsplit=1)[0]
        starts = name in known or re.match(r"\s*(\(|[\w.]+:[A-Za-z_]\w*\s*(:|$))", part) is not None
        if starts or not pieces[-1]:
            pieces.append(part)
        else:
            pieces[-1] += f"+{part}"
    return [piece.strip() for piece in pieces if piece.strip()] or [spec]


def _check_alone(spec: str, one: str) -> None:
    """Raise `InputError` if what a plus sign follows could be an inner controller as well as the whole."""
    if one.startswith("("):
        return
    name, settings = _split(one)
    hints = get_type_hints(load(name))
    inner = [key for key in settings if key in hints and _holds_controller(hints[key])]
    if inner:
        raise InputError(
            f"controller {spec!r}: it is not clear what + joins; write {name}:{inner[-1]}=(...+...) for several inside "
            f"of it, or ({one})+... for others beside it (in quotes on a command line)"
        )


def _cut(text: str, at: str) -> list[str]:
    """Split `text` where `at` stands outside parentheses.  Raises `InputError` if these do not match."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            break
        if character == at and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    if depth:
        raise InputError(f"controller {text!r}: its parentheses do not match")
    return parts


def _split(spec: str) -> tuple[str, dict[str, str]]:
    """Return the name, registered or ``module:Class``, and the settings as written."""
    head, _, tail = spec.strip().partition(":")
    cls, _, rest = tail.partition(":")
    if cls.isidentifier() and head not in names():
        head, tail = f"{head}:{cls}", rest
    settings: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in _cut(tail, ","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise InputError(f"controller {spec!r}: write settings as key=value, not {part!r}")
        if key in settings:
            raise InputError(f"controller {spec!r}: {key} is given twice")
        settings[key] = value
    return head, settings


def _import(name: str, target: str | EntryPoint) -> type[Controller]:
    from feederlab.controllers.base import Controller

    try:
        if isinstance(target, EntryPoint):
            cls = target.load()
        else:
            module, _, attribute = target.partition(":")
            cls = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"cannot import the controller {name!r}: {error}; known: {', '.join(names())}") from error
    if not (isinstance(cls, type) and issubclass(cls, Controller) and is_dataclass(cls)):
        raise InputError(f"{name!r} is no feederlab controller: it must be a frozen dataclass derived from Controller")
    return cls
