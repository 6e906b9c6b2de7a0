"""Checks of a study's values, for its schema: each says what is wrong in the words of the part that would refuse it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import AfterValidator, ValidationInfo
from pydantic_core import PydanticCustomError

from feederlab.errors import InputError, UnknownNameError


def fault(message: str, *at: str | int) -> PydanticCustomError:
    """Return an error for a validator to raise; `at` leads on from the value to the part of it that is wrong."""
    return PydanticCustomError("fault", "{message}", {"message": message, "at": at})


def accepted_by(check: Callable[[Any], object]) -> AfterValidator:
    """Return a validator that keeps a value if `check` takes it, and hands on what an `InputError` says."""

    def keep(value: Any) -> Any:
        try:
            check(value)
        except InputError as error:
            raise fault(str(error)) from None
        return value

    return AfterValidator(keep)


def controller(spec: str) -> None:
    """Refuse a specification that no controller can be built from."""
    from feederlab.controllers.registry import create

    create(spec)


def metric(name: str) -> None:
    """Refuse a metric that does not exist."""
    from feederlab.metrics import BY_NAME

    if name not in BY_NAME:
        raise UnknownNameError("metric", name, list(BY_NAME))


def objective(text: str) -> None:
    """Refuse an objective that a closed loop cannot have."""
    from feederlab.models.objective import Objective

    Objective.parse(text).check_feeder()


def band(limits: tuple[float, float]) -> None:
    """Refuse an impossible voltage band (p.u.)."""
    from feederlab.models.scenario import checked_band

    checked_band(limits)


def addition(text: str) -> None:
    """Refuse a device that cannot be read."""
    from feederlab.models.additions import read_additions

    read_additions([text])


def record(detail: str) -> None:
    """Refuse a degree of detail that runs cannot be kept in."""
    from feederlab.simulate import RunOptions

    RunOptions(record=detail)


def from_base(text: str, info: ValidationInfo) -> str:
    """Return a path from the folder that the validation's context names; as it is without one."""
    base = (info.context or {}).get("base")
    return text if base is None else str((Path(base) / text).resolve())


def existing(text: str, info: ValidationInfo) -> str:
    """Return the path of a file or folder as `from_base` does, and refuse one that is not there."""
    path = from_base(text, info)
    if info.context and not Path(path).exists():
        raise fault(f"there is no {path}; a relative path starts from the study file's folder")
    return path


def scenario_name(name: str, info: ValidationInfo) -> str:
    """Return the name of a scenario that exists, or the path of its file."""
    from feederlab.models import library
    from feederlab.scenarios import is_file

    if is_file(from_base(name, info)) or is_file(name):
        return existing(name, info)
    if name not in library.SCENARIOS and not name.startswith("simbench:"):
        raise fault(str(UnknownNameError("scenario", name, list(library.names()))))
    return name


def named(value: Any) -> Any:
    """Return a scenario given by its name alone as a table."""
    return {"name": value} if isinstance(value, str) else value


def dated(value: Any) -> Any:
    """Return a TOML date as text."""
    return value.isoformat() if isinstance(value, dt.date) else value


def by_spec(specs: Sequence[str]) -> dict[str, str]:
    """Return specification -> itself, each the label of its own row.

    Raises
    ------
    InputError
        If one is given twice.
    """
    twice = list(dict.fromkeys(spec for spec in specs if list(specs).count(spec) > 1))
    if twice:
        raise InputError(f"controllers given twice: {', '.join(map(str, twice))}")
    return dict(zip(specs, specs, strict=True))


def labelled(value: Any) -> Any:
    """Return a list of specifications as a table of rows, each labelled by itself."""
    if not isinstance(value, (list, tuple)):
        return value
    for number, one in enumerate(value):
        if not isinstance(one, str):
            raise fault(f"must be text such as 'volt_var:curve=mapdn', not {one!r}", number)
        if one in value[:number]:
            raise fault(f"controllers given twice: {one}", number)
    return by_spec(value)


def some(value: Any) -> Any:
    """Refuse an empty list or table."""
    if not value:
        raise fault("must not be empty")
    return value


def different(value: Any) -> Any:
    """Refuse a list that names something twice."""
    for number, one in enumerate(value):
        if one in value[:number]:
            raise fault(f"{one} is given twice", number)
    return value
