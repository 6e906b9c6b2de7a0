"""`Study`: what a comparison asks for, as plain values that a command, a file or a record can hold.

The fields' annotations are the schema: reading a study from a file or a record (`feederlab.study_file`,
`Study.from_record`) checks them all at once.  Made in Python, a study is checked by what it calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationInfo

from feederlab import study_checks as checks
from feederlab.errors import InputError, ResultFileError, UnknownNameError

if TYPE_CHECKING:
    from feederlab.comparison import Comparison
    from feederlab.models.scenario import Scenario
    from feederlab.simulate import RunOptions

Place = tuple[str | int, ...]
"""Where a value stands in a study: ``("scenarios", 0, "band")``."""
Fault = Callable[[Place, InputError], None]

_STRICT = ConfigDict(extra="forbid")
_Count = Annotated[int, Field(ge=1, strict=True)]  # strict: true is no number
_Seed = Annotated[int, Field(ge=0, strict=True)]
_Share = Annotated[float, Field(ge=0, lt=1, strict=True)]
_Size = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
_Days = Annotated[float, Field(gt=0, lt=1e6, strict=True)]


@dataclass(frozen=True)
class ScenarioChoice:
    """A scenario of a study.

    name : a named scenario, or a .json / .m file.  label : its name in tables; needed where two would share one.
    profiles : folder.  step, band : step length, and lowest and highest voltage (p.u.); None: the scenario's own.
    profile_noise : of loads and sun, in standard deviations (`ProfileNoise`), drawn from the study's first seed.
    add : devices to add, e.g. ``"storage=17:0.5:2"`` (`feederlab.models.additions`).
    """

    __pydantic_config__ = _STRICT

    name: Annotated[str, AfterValidator(checks.scenario_name)]
    label: str = ""
    profiles: Annotated[str, AfterValidator(checks.existing)] | None = None
    step: str | None = None
    band: Annotated[tuple[float, float], checks.accepted_by(checks.band)] | None = None
    profile_noise: _Size = 0.0
    add: tuple[Annotated[str, checks.accepted_by(checks.addition)], ...] = ()

    def load(self, seed: int, at: Place, wrong: Fault) -> Scenario | None:
        """Return the scenario over all its data; None after `wrong` was told what is the matter."""
        from feederlab.models.additions import read_additions
        from feederlab.scenarios import load_scenario

        key = "name"
        try:
            scenario = load_scenario(self.name, profiles=self.profiles, band=self.band)
            key = "add"
            scenario = scenario.with_devices(**read_additions(self.add)) if self.add else scenario
            key = "step"
            scenario = scenario if self.step is None else scenario.resample(self.step)
            key = "profile_noise"
            scenario = scenario.with_noise(self.profile_noise, seed) if self.profile_noise else scenario
        except InputError as error:
            wrong((*at, key), error)
            return None
        return replace(scenario, name=self.label) if self.label else scenario


def _one_length(value: Any) -> Any:
    if value.periods is not None and value.days is not None:
        raise checks.fault("give periods or days, not both", "days")
    return value


@dataclass(frozen=True)
class RandomWindows:
    """`count` windows drawn from all the data (`feederlab.random_windows`), each `periods` steps or `days` long."""

    __pydantic_config__ = _STRICT

    count: _Count
    periods: _Count | None = None
    days: _Days | None = None
    seed: _Seed = 0


@dataclass(frozen=True)
class Windows:
    """When a study runs: windows from `starts` on, `periods` steps or `days` long, or `random` ones.

    Default: one day from the first instant of the data on.
    """

    __pydantic_config__ = _STRICT

    starts: Annotated[tuple[Annotated[str, BeforeValidator(checks.dated)], ...], AfterValidator(checks.different)] = ()
    periods: _Count | None = None
    days: _Days | None = None
    random: Annotated[RandomWindows, AfterValidator(_one_length)] | None = None

    def of(self, scenario: Scenario, wrong: Fault) -> list[Scenario]:
        """Return the windows of a scenario; those that it does not have are told to `wrong`."""
        from feederlab.models.windows import random_windows

        if self.random is not None:
            drawn = self.random
            try:
                return random_windows(scenario, drawn.count, _length(scenario, drawn), drawn.seed)
            except InputError as error:
                wrong(("windows", "random"), error)
                return []
        made: list[Scenario] = []
        for number, start in enumerate(self.starts or (str(scenario.data_span[0]),)):
            try:
                if self.periods is None:
                    window = scenario.days(start, 1.0 if self.days is None else self.days)
                else:
                    window = scenario.window(start, self.periods)
                if any(window.start == other.start for other in made):
                    raise InputError(f"{window.start} is given twice")
                made.append(window)
            except InputError as error:
                wrong(("windows", "starts", number), error)
        return made


def _length(scenario: Scenario, window: RandomWindows) -> int:
    import pandas as pd

    days = 1.0 if window.days is None else window.days
    return max(1, round(days * (pd.Timedelta(days=1) / scenario.step))) if window.periods is None else window.periods


def _one_kind(windows: Any) -> Any:
    if windows.random is not None:
        for key in ("starts", "periods", "days"):
            if getattr(windows, key) not in ((), None):
                raise checks.fault(f"random windows bring their own start and length: give no {key} with them", key)
    return _one_length(windows)


@dataclass(frozen=True)
class Loop:
    """How the closed loop differs from the plain one (`RunOptions`)."""

    __pydantic_config__ = _STRICT

    mismatch: _Share = 0.0
    vm_noise: _Size = 0.0
    dropout: _Share = 0.0
    delay: Annotated[int, Field(ge=0, strict=True)] = 0


@dataclass(frozen=True)
class Statistics:
    """What to test (`feederlab.significance.significance`); metrics: its default ones if none are named."""

    __pydantic_config__ = _STRICT

    reference: str
    metrics: tuple[Annotated[str, checks.accepted_by(checks.metric)], ...] = ()
    level: Annotated[float, Field(gt=0, lt=1, strict=True)] = 0.05
    resamples: Annotated[int, Field(ge=100, strict=True)] = 10_000
    seed: _Seed = 0
    correction: Literal["holm", "bonferroni", "fdr_bh"] = "holm"
    unit: Literal["window", "cell"] = "window"


@dataclass(frozen=True)
class Output:
    """What is kept: `folder` (none: nothing), how much of each run (`RunOptions.record`), pictures, a report."""

    __pydantic_config__ = _STRICT

    folder: Annotated[str, AfterValidator(checks.from_base)] | None = None
    record: Annotated[str, checks.accepted_by(checks.record)] = "all"
    figures: bool = False
    report: bool = False


def _with_reference(value: Statistics | None, info: ValidationInfo) -> Statistics | None:
    rows = info.data.get("controllers")
    if value is not None and rows and value.reference not in rows:
        raise checks.fault(str(UnknownNameError("reference row", value.reference, list(rows))), "reference")
    if value is not None and rows and len(rows) < 2:
        raise checks.fault(f"there is no row but the reference {value.reference!r}: add another controller")
    return value


@dataclass(frozen=True)
class Study:
    """A comparison as plain values.

    scenarios, windows, seeds : every row runs in every window of every scenario with every seed.
    controllers : label -> specification ``name:key=value,...``.
    title : heading.  objective : ``name`` or ``name=weight+...``.  options : the loop's flaws.
    metrics : columns of the printed table; none: as many as fit.  statistics : tests against a reference row.
    certificates : bound every step from below, for the gap columns.
    chunk : length of the parts that windows are computed in (`feederlab.compare.compare`).
    """

    __pydantic_config__ = _STRICT

    scenarios: Annotated[
        tuple[Annotated[ScenarioChoice, BeforeValidator(checks.named)], ...], AfterValidator(checks.some)
    ]  # fmt: skip
    controllers: Annotated[
        dict[str, Annotated[str, checks.accepted_by(checks.controller)]],
        BeforeValidator(checks.labelled),
        AfterValidator(checks.some),
    ]
    windows: Annotated[Windows, AfterValidator(_one_kind)] = Windows()
    seeds: Annotated[tuple[_Seed, ...], AfterValidator(checks.some), AfterValidator(checks.different)] = (0,)
    title: str = ""
    objective: Annotated[str, checks.accepted_by(checks.objective)] = "losses"
    options: Loop = Loop()
    metrics: Annotated[
        tuple[Annotated[str, checks.accepted_by(checks.metric)], ...], AfterValidator(checks.different)
    ] = ()
    statistics: Annotated[Statistics | None, AfterValidator(_with_reference)] = None
    output: Output = Output()
    certificates: bool = True
    chunk: str = ""

    def load(self, wrong: Fault | None = None) -> list[Scenario]:
        """Return every window of every scenario; `wrong` is told what is the matter (default: it is raised)."""
        tell = wrong or _raise
        made: list[Scenario] = []
        taken: set[str] = set()
        for number, choice in enumerate(self.scenarios):
            at: Place = ("scenarios", number)
            whole = choice.load(self.seeds[0], at, tell)
            if whole is None:
                continue
            if whole.name in taken:
                tell(at, InputError(f"a second scenario named {whole.name!r}: give each its own label"))
                continue
            taken.add(whole.name)
            windows = self.windows.of(whole, tell)
            made += windows
            if self.chunk and windows:
                self._check_chunk(windows[0], tell)
            if self.statistics is not None and windows:
                self._check_pairs(windows, tell)
        return made

    def _check_chunk(self, window: Scenario, wrong: Fault) -> None:
        """Tell before anything runs that a window cannot be cut."""
        try:
            window.parts(self.chunk)
        except InputError as error:
            wrong(("chunk",), error)

    def _check_pairs(self, windows: Sequence[Scenario], wrong: Fault) -> None:
        """Tell before anything runs that the windows of a scenario cannot serve the statistics."""
        from feederlab.significance import refuse_overlap

        if len(windows) * len(self.seeds) < 2:
            text = "they need several windows or seeds: give e.g. windows.random = { count = 20, days = 1 }"
            wrong(("statistics",), InputError(text))
        try:
            refuse_overlap(
                {"name": w.name, "start": w.start, "periods": w.periods, "step_s": w.step.total_seconds()}
                for w in windows
            )
        except InputError as error:
            wrong(("windows",), error)

    def loop(self) -> RunOptions:
        """Return how the closed loop runs."""
        from feederlab.models.objective import Objective
        from feederlab.simulate import RunOptions

        flaws = {name: getattr(self.options, name) for name in ("mismatch", "vm_noise", "dropout", "delay")}
        return RunOptions(Objective.parse(self.objective), seed=self.seeds[0], record=self.output.record, **flaws)

    def run(self, scenarios: Sequence[Scenario] | None = None, **how: Any) -> Comparison:
        """Run the comparison; the study itself is kept in its record.

        scenarios : what `load` returned, if it was called before.  how : where and how to run it: jobs, backend, out,
        overwrite, resume, also, progress of `feederlab.compare.compare`.
        """
        from feederlab.compare import compare
        from feederlab.controllers.registry import create

        if not self.controllers:
            raise InputError("no controller given: add e.g. -c none -c volt_var (feederlab controllers lists them)")
        rows = {label: create(spec) for label, spec in self.controllers.items()}  # before a large scenario is read
        options = self.loop()
        return compare(
            self.load() if scenarios is None else scenarios, rows, options, seeds=self.seeds, chunk=self.chunk,
            certificates=self.certificates, request=self.plain(), **how,
        )  # fmt: skip

    def plain(self) -> dict[str, Any]:
        """Return the study as JSON-ready values."""
        from pydantic import TypeAdapter

        values: dict[str, Any] = TypeAdapter(Study).dump_python(self, mode="json")
        return values

    def absolute(self) -> Study:
        """Return the study with its files as absolute paths, so that it can be repeated from anywhere."""
        from feederlab.scenarios import is_file

        def resolved(choice: ScenarioChoice) -> ScenarioChoice:
            name = str(Path(choice.name).resolve()) if is_file(choice.name) else choice.name
            profiles = None if choice.profiles is None else str(Path(choice.profiles).resolve())
            return replace(choice, name=name, profiles=profiles)

        return replace(self, scenarios=tuple(map(resolved, self.scenarios)))

    @classmethod
    def from_record(cls, path: str | Path) -> Study:
        """Return the study of a saved comparison, from its ``run.json`` or folder.

        Raises
        ------
        ResultFileError
            If there is none, or the comparison was made from Python with objects that no name describes.
        """
        from pydantic import TypeAdapter, ValidationError

        from feederlab.record import read_record

        request = read_record(Path(path)).get("request")
        if not request:
            raise ResultFileError(f"{path} records a comparison made from Python; only its own script can repeat it")
        try:
            return TypeAdapter(cls).validate_python(request)
        except ValidationError as error:
            raise ResultFileError(f"{path} does not describe a comparison: {error.errors()[0]['msg']}") from error


def _raise(at: Place, error: InputError) -> None:
    raise error
