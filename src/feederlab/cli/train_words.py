"""What is written on the command line of `feederlab train`, and the command that compares what was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote
from typing import TYPE_CHECKING, Any

from feederlab.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from feederlab.learn.train import Training


def read_settings(algorithm: str, pairs: Sequence[str]) -> Any:
    """Return the hyper-parameters of an algorithm that ``KEY=VALUE`` pairs change.

    Raises
    ------
    UnknownNameError
        For a key that does not exist.
    InputError
        For a value that does not fit.
    """
    from dataclasses import fields
    from typing import get_type_hints

    from pydantic import TypeAdapter, ValidationError

    from feederlab.learn.settings import SETTINGS

    kind = SETTINGS[algorithm]
    hints, given = get_type_hints(kind), dict[str, Any]()
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if key not in hints:
            raise UnknownNameError("hyper-parameter", key, [f.name for f in fields(kind)])
        try:
            value: Any = text.split(",") if key.endswith("hidden") else text
            given[key] = TypeAdapter(hints[key]).validate_python(value)
        except ValidationError as error:
            wrong = error.errors()[0]["msg"].removeprefix("Input should be ")
            raise InputError(f"--set {pair}: {key} must be {wrong}" if equals else f"--set {pair}: write {key}=VALUE") \
                from None  # fmt: skip
    return kind(**given)


def read_arguments(pairs: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of an environment written ``KEY=VALUE``: numbers, true or false, or else text.

    Raises
    ------
    InputError
        For anything else.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"--arg {pair}: write KEY=VALUE")
        if key in found:
            raise InputError(f"--arg {pair}: {key} is given twice")
        found[key] = _value(text)
    return found


def read_days(text: str) -> int | list[str]:
    """Return how many days to draw, or the dates ``DATE,DATE,...``."""
    return int(text) if text.strip().isdecimal() else [day.strip() for day in text.split(",") if day.strip()]


def compare_command(
    name: str,
    made: Training,
    arguments: Mapping[str, Any],
    *,
    add: Sequence[str],
    profiles: str | None,
    step: str | None,
) -> str | None:
    """Return the command that compares the policy on a held-out day; None where no controller runs it."""
    import feederlab.answer as answer
    from feederlab.learn.environments import CAPACITORS, VOLT_VAR
    from feederlab.learn.train import KIND, RECORD

    record = answer.read(made.folder, RECORD, KIND)
    if record["environment"] == CAPACITORS:
        rows = _switching(made, str(record["every"]), str(arguments.get("fast", "lindistflow")))
        rows = ["--objective", "voltage_deviation", *rows]
    elif record["environment"] == VOLT_VAR:
        beside = ("none", "volt_var:curve=mapdn", f"sb3:file={made.policy}", "opf")
        rows = [word for row in beside for word in ("-c", row)]
    else:
        return None
    words = ["feederlab", "compare", name, "--start", (record["holdout"] or record["days"])[0]]
    words += [word for device in add for word in ("--add", device)]
    words += ["--profiles", profiles] if profiles else []
    words += ["--step", step] if step else []
    return " ".join(quote(word) for word in words + rows)


def _switching(made: Training, every: str, fast: str) -> list[str]:
    own, _, settings = fast.partition(":")
    inner = "".join(f",fast.{pair.strip()}" for pair in settings.split(",") if pair.strip())
    rows = [f"two_timescale:every={every},slow={slow},fast={own}{inner}"
            for slow in ("fixed", f"dqn,slow.policy={made.policy}")]  # fmt: skip
    return [word for row in rows for word in ("-c", row)]


def _value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
