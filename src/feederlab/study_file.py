"""`read_study`: a study from a TOML file; what is wrong with it is said all at once, with key and line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from feederlab.errors import InputError
from feederlab.study import Loop, Output, Place, RandomWindows, ScenarioChoice, Statistics, Study, Windows
from feederlab.toml_lines import lines_of

if TYPE_CHECKING:
    from feederlab.comparison import Comparison
    from feederlab.models.scenario import Scenario

_TABLES: dict[tuple[str, ...], type] = {
    (): Study, ("scenarios",): ScenarioChoice, ("windows",): Windows, ("windows", "random"): RandomWindows,
    ("options",): Loop, ("statistics",): Statistics, ("output",): Output,
}  # fmt: skip
_WHAT = {
    "string": "text in quotes", "int": "a whole number", "float": "a number", "bool": "true or false",
    "tuple": "a list, e.g. [1, 2]", "dataclass": "a table, e.g. { key = value }", "dict": "a table of LABEL = \"SPEC\"",
}  # fmt: skip
_RANGE = {
    "greater_than_equal": "must be at least {ge:g}", "greater_than": "must be more than {gt:g}",
    "less_than": "must be less than {lt:g}", "less_than_equal": "must be at most {le:g}",
    "finite_number": "must be a finite number", "literal_error": "must be one of {expected}",
    "int_from_float": "must be a whole number", "too_long": "must have at most {max_length} entries",
}  # fmt: skip


@dataclass(frozen=True)
class StudyFile:
    """A study and where its values stand in its file."""

    path: Path
    study: Study
    lines: Mapping[Place, int]

    def load(self) -> list[Scenario]:
        """Return every window of every scenario.

        Raises
        ------
        InputError
            With every window or scenario that the data do not have, and its line.
        """
        wrong: list[tuple[Place, str]] = []
        made = self.study.load(lambda at, error: wrong.append((at, str(error))))
        if wrong:
            raise _refusal(self.path, self.lines, wrong)
        return made

    def run(self, scenarios: Sequence[Scenario] | None = None, **how: Any) -> Comparison:
        """Run the study (`Study.run`); without ``out`` it is saved to the folder that the file names."""
        how.setdefault("out", self.study.output.folder)
        return self.study.run(self.load() if scenarios is None else scenarios, **how)


def read_study(path: str | Path) -> StudyFile:
    """Read a study file; relative paths in it start from its folder.

    Raises
    ------
    InputError
        If there is no such file, it is no TOML, or its values make no study: every fault with key, line, value, what
        is accepted, and the nearest known name.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")  # some editors begin a file with a byte-order mark
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is no text in UTF-8: {error}") from None
    except OSError as error:
        raise InputError(f"cannot read the study file {file}: {error.strerror}") from None
    try:
        values, lines = tomllib.loads(text), lines_of(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{file} is no TOML: {_syntax(str(error), text)}") from None
    try:
        study = TypeAdapter(Study).validate_python(values, context={"base": file.resolve().parent})
    except ValidationError as error:
        wrong = [_said(one) for one in error.errors()]
        raise _refusal(file, lines, wrong) from None
    return StudyFile(file, study, lines)


def _syntax(message: str, text: str) -> str:
    """Return ``line 3, column 5: what``, with the line itself."""
    what, _, where = message.partition(" (at ")
    number = re.search(r"line (\d+)", where)
    line = int(number.group(1)) if number else text.count("\n") + (not text.endswith("\n"))
    shown = text.splitlines()[line - 1].strip() if text.strip() else ""
    return f"line {line}: {what[:1].lower()}{what[1:]}: {shown}"


def _refusal(file: Path, lines: Mapping[Place, int], wrong: Sequence[tuple[Place, str]]) -> InputError:
    placed = sorted(((_line(lines, at), _key(at), message) for at, message in wrong), key=lambda one: one[0])
    head = "1 problem" if len(placed) == 1 else f"{len(placed)} problems"
    told = [f"  - {f'line {line}, ' if line else ''}{key}: {message}" for line, key, message in placed]
    return InputError(f"{head} in {file}:\n" + "\n".join(told))


def _line(lines: Mapping[Place, int], at: Place) -> int:
    """Return the line of a value, or of the table where it is missing; 0 at the top level."""
    while at and at not in lines:
        at = at[:-1]
    return lines.get(at, 0)


def _key(at: Place) -> str:
    """Return ``scenarios[1].band``, counted from 1 as a reader does, or ``controllers."my row"``."""
    text = ""
    for part in at:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            text += ("." if text else "") + (part if re.fullmatch(r"[\w-]+", part) else f'"{part}"')
    return text


def _said(error: Any) -> tuple[Place, str]:
    """Return where a fault of the schema is, and what to do about it."""
    at, kind, given, context = tuple(error["loc"]), error["type"], error["input"], error.get("ctx", {})
    if kind == "fault":
        return at + tuple(context["at"]), str(context["message"])
    table = tuple(part for part in at[:-1] if isinstance(part, str))
    if kind == "unexpected_keyword_argument":
        return at, _unknown(str(at[-1]), table)
    if kind == "missing":
        return at, "is missing" if isinstance(at[-1], str) else "is missing: the list is too short"
    if kind in _RANGE:
        return at, f"{_RANGE[kind].format(**context)}, not {given!r}"
    what = _WHAT.get(kind.partition("_")[0])
    return at, f"must be {what}, not {given!r}" if what else f"{error['msg']}, not {given!r}"


def _unknown(key: str, table: tuple[str, ...]) -> str:
    names = {path: [field.name for field in fields(of)] for path, of in _TABLES.items()}
    known = names[table]
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    home = next((path for path, has in names.items() if key in has), None)
    if home is not None:
        hint = f"it belongs into [{'.'.join(home)}]; " if home else "it belongs to the top, before the first [table]; "
    else:
        hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown key here: {hint}known: {', '.join(sorted(known))}"
