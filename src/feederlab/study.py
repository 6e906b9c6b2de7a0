"""`Study`: what one ``feederlab compare`` command asks for, so that it can be stored and repeated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from feederlab.errors import InputError, ResultFileError

if TYPE_CHECKING:
    from feederlab.compare import Progress
    from feederlab.comparison import Comparison
    from feederlab.models.scenario import Scenario
    from feederlab.simulate import RunOptions


@dataclass(frozen=True)
class Study:
    """A comparison as plain values.

    scenario : name or file.  controllers : specifications ``name:key=value,...``.  profiles : folder.
    start, days, step : window and step length; None: first day of the data, 1 day, the scenario's step.
    band : lowest and highest voltage (p.u.).  objective : ``name`` or ``name=weight+...``.
    mismatch, vm_noise, dropout, delay : see `RunOptions`.  profile_noise : see `ProfileNoise`.
    chunk : length of the parts that the window is computed in (`feederlab.compare.compare`).
    """

    scenario: str
    controllers: tuple[str, ...]
    profiles: str | None = None
    start: str | None = None
    days: float = 1.0
    step: str | None = None
    band: tuple[float, float] | None = None
    objective: str = "losses"
    mismatch: float = 0.0
    vm_noise: float = 0.0
    profile_noise: float = 0.0
    dropout: float = 0.0
    delay: int = 0
    seed: int = 0
    record: str = "all"
    chunk: str = ""

    def load(self) -> Scenario:
        """Return the scenario."""
        from feederlab.scenarios import load_scenario

        scenario = load_scenario(
            self.scenario, profiles=self.profiles, start=self.start, days=self.days, step=self.step, band=self.band
        )
        if self.profile_noise < 0:
            raise InputError(f"the noise of profiles must not be negative, not {self.profile_noise}")
        return scenario.with_noise(self.profile_noise, self.seed) if self.profile_noise else scenario

    def options(self) -> RunOptions:
        """Return how the closed loop runs."""
        from feederlab.models.objective import Objective
        from feederlab.simulate import RunOptions

        return RunOptions(
            objective=Objective.parse(self.objective), mismatch=self.mismatch, vm_noise=self.vm_noise,
            dropout=self.dropout, delay=self.delay, seed=self.seed, record=self.record,
        )  # fmt: skip

    def run(
        self,
        *,
        jobs: int = 1,
        backend: str = "loky",
        out: str | Path | None = None,
        overwrite: bool = False,
        resume: bool = False,
        also: Callable[[Comparison, Path], None] | None = None,
        progress: Progress | None = None,
    ) -> Comparison:
        """Run the comparison (`feederlab.compare.compare`); the study itself is kept in its record."""
        from feederlab.compare import compare
        from feederlab.controllers.registry import create

        if not self.controllers:
            raise InputError("no controller given: add e.g. -c none -c volt_var (feederlab controllers lists them)")
        for spec in self.controllers:
            create(spec)  # a wrong name is reported before a large scenario is read
        options = self.options()
        return compare(
            self.load(), self.controllers, options, chunk=self.chunk, jobs=jobs, backend=backend, out=out,
            overwrite=overwrite, resume=resume, also=also, progress=progress, request=asdict(self),
        )  # fmt: skip

    def absolute(self) -> Study:
        """Return the study with its files as absolute paths, so that it can be repeated from anywhere."""
        from feederlab.scenarios import is_file

        return replace(
            self,
            scenario=str(Path(self.scenario).resolve()) if is_file(self.scenario) else self.scenario,
            profiles=None if self.profiles is None else str(Path(self.profiles).resolve()),
        )

    @classmethod
    def from_record(cls, path: str | Path) -> Study:
        """Return the study of a saved comparison, from its ``run.json`` or folder.

        Raises
        ------
        ResultFileError
            If there is none, or the comparison was made from Python with objects that no name describes.
        """
        from feederlab.comparison import read_record

        request = read_record(Path(path)).get("request")
        if not request:
            raise ResultFileError(f"{path} records a comparison made from Python; only its own script can repeat it")
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(cls).validate_python(request)
        except ValidationError as error:
            raise ResultFileError(f"{path} does not describe a comparison: {error.errors()[0]['msg']}") from error
