"""`SB3Policy`: a policy that stable-baselines3 trained, as a controller."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from feederlab.controllers.base import GLOBAL, Controller, ControlTask, Information, Prepared, Scope
from feederlab.errors import InputError, ResultFileError, UnknownNameError
from feederlab.learn.policies.acting import ActingOnRows
from feederlab.learn.policies.actor import ActorPolicy
from feederlab.learn.policies.callable import layout_of, read_layout
from feederlab.learn.policies.stock import Peek, is_stock, load_means, peek
from feederlab.learn.volt_var.layout import SCOPES


@dataclass(frozen=True)
class SB3Policy(Controller):
    """q = bound * a * sqrt(s^2 - p^2), a from a trained network, without exploration.

    file : a policy as ``feederlab train`` writes it (``.safetensors``): it says what it sees and on which feeder it was
    trained, needs neither torch nor stable-baselines3, and reading it runs no code.  Or a model as stable-baselines3
    saves it (``.zip``), which needs `trust`, and the extra ``feederlab[learn]``.
    trust : load a ``.zip``, which unpickles: that runs whatever code the file holds.
    observation, bound, layout : for a ``.zip`` alone, which knows only shapes: the scope of its observation
    (``"global"`` unless said), the bound of its actions (1 unless said), and the file of its `Layout` (JSON of
    ``env.layout.record()``), which says the scope too.  Without it, the observation is that of `Layout.of` the task
    with no data: loads centred on 0 and scaled by 1 MW.

    What the network asks beyond [-1, 1] is cut and counted in `clipped`.

    A ``.zip`` whose network takes the rows of all inverters at once sees everything, whatever the rows hold.  One with
    zone or local scope that takes a single row (entries,) and answers (1,) is applied to each inverter's row alone.

    Raises
    ------
    ResultFileError
        If the file is missing, damaged, or no policy that moves inverters.
    InputError
        If a ``.zip`` is not trusted, or something is said that the file says itself.
    """

    file: str = ""
    trust: bool = False
    observation: str | None = None
    bound: float | None = None
    layout: str | None = None

    def __post_init__(self) -> None:
        if self.observation is not None and self.observation not in SCOPES:
            raise UnknownNameError("scope of an observation", self.observation, SCOPES)
        if self.bound is not None and not 0 < self.bound <= 1:
            raise InputError(f"sb3: bound must lie in (0, 1], not {self.bound}")
        if self.file:
            _ = self.sees

    @property
    def sees(self) -> Information:
        """As the file says; everything where no file is named."""
        if not self.file:
            return GLOBAL
        path = Path(self.file)
        if is_stock(path):
            return Information(self._scope()) if self._by_row(self._trusted(path)) else GLOBAL
        return Information(self._policy().scope)

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(file for file in (self.file, self.layout) if file)

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Read the policy.

        Raises
        ------
        ResultFileError
            If the file is missing or damaged.
        InputError
            If none is named, or it was made for another feeder, other inverters or another observation; the message
            names the difference.
        MissingExtraError
            For a ``.zip`` without stable-baselines3.
        """
        if not self.file:
            raise InputError("sb3 needs a policy: file=FILE; `feederlab train` writes one")
        if not is_stock(Path(self.file)):
            policy = self._policy()
            policy.check(task, self.file)
            return ActingOnRows(task, "sb3", policy.layout_of(task), policy.bound, policy.mean)
        found = self._trusted(Path(self.file))
        layout, by_row = layout_of(task, self._scope(), self.layout), self._by_row(found)
        rows, entries = layout.shape
        seen = (rows, entries) if layout.shared and not by_row else (entries,)
        moved = (1,) if by_row else (len(task.inverters),)
        if (found.observation, found.action) != (seen, moved):
            raise InputError(
                f"the policy {self.file} does not fit: it takes {found.observation} and answers {found.action}, and "
                f"the {layout.scope.value} observation here is {seen}, to be answered by {moved}. Name the observation "
                "it was trained on (observation=..., layout=FILE), or train one for this case"
            )
        means = load_means(Path(self.file), found, layout.shape, by_row)
        return ActingOnRows(task, "sb3", layout, 1.0 if self.bound is None else self.bound, means)

    def _policy(self) -> ActorPolicy:
        said = [key for key in ("observation", "bound", "layout") if getattr(self, key) is not None]
        if said:
            raise InputError(f"sb3: {self.file} says itself what it was trained with: leave out {', '.join(said)}")
        return _read(self.file)

    def _scope(self) -> Scope:
        """What the rows of a stock file's observation hold."""
        if self.layout is None:
            return Scope(self.observation or "global")
        scope = str(read_layout(self.layout)["scope"])
        if self.observation not in (None, scope):
            raise InputError(f"sb3: {self.layout} is of scope {scope}, not {self.observation}")
        return Scope(scope)

    def _by_row(self, found: Peek) -> bool:
        """Whether a stock network is to be applied to each inverter's row alone."""
        return self._scope() is not Scope.GLOBAL and len(found.observation) == 1 and found.action == (1,)

    def _trusted(self, path: Path) -> Peek:
        """Return what a stock file says of itself, if it may be loaded."""
        found = peek(path)
        if not self.trust:
            raise InputError(
                f"{self.file} is a .zip as stable-baselines3 saves it: loading it unpickles, which runs whatever code "
                "it holds. If you know where it comes from, say trust=true; `feederlab train` writes policies that "
                "need no trust"
            )
        return found


def _read(file: str) -> ActorPolicy:
    """Return the policy of a file, read once for as long as the file stays as it is."""
    try:
        about = Path(file).stat()
    except OSError as error:
        raise ResultFileError(f"cannot read the policy {file}: {error.strerror or error}") from error
    return _read_once(str(Path(file).absolute()), file, (about.st_ino, about.st_mtime_ns, about.st_size))


@lru_cache(maxsize=16)
def _read_once(_place: str, file: str, _state: tuple[int, int, int]) -> ActorPolicy:
    return ActorPolicy.load(file)
