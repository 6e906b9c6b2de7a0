"""`CallablePolicy`: any function as a controller, which is given what it may see and nothing else."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from feederlab.controllers.base import Controller, ControlTask, Information, Measurement, Prepared, Scope, Settle
from feederlab.controllers.information import mask, visible_nodes
from feederlab.errors import InputError, ResultFileError, UnknownNameError
from feederlab.learn.policies.acting import Acting, Wish, wish_of
from feederlab.learn.policies.view import viewpoints
from feederlab.learn.volt_var.layout import SCOPES, Layout
from feederlab.models.arrays import FloatArray


@dataclass(frozen=True)
class CallablePolicy(Controller):
    """q of the inverters from a function.

    f : the function, or where to import it from, ``"module:name"``.  It must be pure: equal arguments, equal answer.
    sees : ``"local"``, ``"zone"`` or ``"global"`` (or an `Information`).  With local and zone scope f is called once
    for each inverter, on that inverter's own view, and gives one number; with global scope it is called once, on the
    view of everything, and gives (inverters,).
    raw : False: f takes an observation, float32 (entries,), as `VoltVarEnv` gives it (a row of it with local and zone
    scope), and returns actions a in [-1, 1]: ``q = bound * a * sqrt(s^2 - p^2)``.  True: f takes a `View` in MW, MVAr
    and p.u., and returns q in MVAr.
    bound : of the action, (0, 1].
    layout : of the observation: a `Layout`, its record, or a file of that (JSON); default: `Layout.of` the task, whose
    loads are centred on 0 and scaled by 1 MW.
    damping : 0: f decides once in a step, on the grid as the last setpoints leave it.  Above 0: it stands for a fast
    local loop, which settles inside every step, from zero, with this damping (`Settle`), as `VoltVar` does with 0.1.

    What exceeds [-1, 1], or sqrt(s^2 - p^2), is cut and counted.  What f raises in a run, or a number that is not
    finite, is a failed decision: that inverter keeps its last setpoint, and the step's status says what happened.  To
    find plain mistakes early, f is called once in `prepare` on a flat grid, where it has to answer.

    Raises
    ------
    UnknownNameError, InputError
        For an unknown scope, an impossible bound or layout, or an f that cannot be imported or called.
    """

    f: Any = ""
    sees: Any = Information(Scope.LOCAL)
    raw: bool = False
    bound: float = 1.0
    layout: Any = None
    damping: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "sees", _information(self.sees))
        if isinstance(self.layout, Layout):
            object.__setattr__(self, "layout", self.layout.record())
        if not 0 < self.bound <= 1:
            raise InputError(f"the bound of a policy must lie in (0, 1], not {self.bound}")
        if self.raw and (self.bound != 1.0 or self.layout):
            raise InputError("a raw function answers in MVAr and takes no observation: leave out bound and layout")
        if not 0 <= self.damping <= 1:
            raise InputError(
                f"the damping of a policy must lie in [0, 1], not {self.damping}; 0: it decides once a step"
            )
        if self.f != "":
            self.function()

    @property
    def settle(self) -> Settle | None:
        """As a fast local loop does, if it is one."""
        return Settle("zero", self.damping) if self.damping > 0 else None

    def function(self) -> Callable[[Any], Any]:
        """Return f itself."""
        return _imported(self.f) if isinstance(self.f, str) else _callable(self.f, _name(self.f))

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.layout,) if isinstance(self.layout, str) and self.layout else ()

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Call f on a flat grid.

        Raises
        ------
        InputError
            If there is no f, it raises there, or gives no finite number for each of its inverters; or there is no
            inverter, an inverter is in no zone, or the layout belongs to another feeder.
        ResultFileError
            If the file of the layout cannot be read.
        """
        if self.f == "":
            raise InputError("callable needs a function: f=module:name")
        if not len(task.inverters):
            raise InputError("there is no inverter to control: the feeder needs sgens that are controllable")
        layout = None if self.raw else layout_of(task, self.sees.scope, self.layout)
        ready = _Prepared(task, self.function(), _name(self.f), self.sees, layout, self.bound)
        ready.try_out()
        return ready


class _Prepared(Acting):
    def __init__(
        self, task: ControlTask, f: Callable[[Any], Any], name: str, sees: Information, layout: Layout | None,
        bound: float,
    ) -> None:  # fmt: skip
        super().__init__(task, name)
        self._task, self._f, self._sees, self._layout, self._bound = task, f, sees, layout, bound
        self._seen, self._points = visible_nodes(sees, task), viewpoints(task, sees.scope)

    def try_out(self) -> None:
        """Raise `InputError` unless f answers on a flat grid under half the sun."""
        n, nodes, none = len(self._s), self._task.nodes, np.zeros(0)
        flat = Measurement(
            pd.Timestamp("2000-01-01 12:00"), 0, np.ones(nodes), np.zeros(nodes), np.zeros(nodes), 1.0, self._s / 2,
            self._s / 2, np.zeros(n), none, none, none, none.astype(np.int64), none.astype(np.int64),
        )  # fmt: skip
        found, why = self._answers(mask(self._sees, flat, self._seen), np.sqrt(0.75) * self._s)
        if not np.isfinite(found).all():
            raise InputError(
                f"the policy {self._name} gives no answer on a flat grid: {why or 'it is no finite number'}"
            )

    def _wish(self, measurement: Measurement, room_mvar: FloatArray) -> Wish:
        found, why = self._answers(measurement, room_mvar)
        if self._layout is not None:
            return wish_of(found, self._bound, room_mvar, why)
        found = np.where(np.isfinite(found), found, np.nan)
        cut = int((np.abs(found) > room_mvar * (1 + 1e-9) + 1e-12).sum())
        return Wish(np.minimum(np.maximum(found, -room_mvar), room_mvar), cut, why)

    def _answers(self, measurement: Measurement, room_mvar: FloatArray) -> tuple[FloatArray, str]:
        """Return (inverters,) what f says, NaN where it fails, and why; an inverter without supply is not asked."""
        found, why = np.zeros(len(self._s)), ""
        rows = None if self._layout is None else self._layout.read(measurement)
        for point in self._points:
            if rows is None:
                shown: Any = point.of(measurement, self._task, room_mvar)
            else:
                shown = rows[0 if self._sees.scope is Scope.GLOBAL else point.rows[0]].copy()  # leads to no other row
            try:
                found[point.rows] = _numbers(self._f(shown), len(point.rows), self._sees.scope)
            except Exception as error:  # f may raise anything; a run goes on
                found[point.rows] = np.nan
                whose = "" if len(self._points) == 1 else f" for inverter {self._task.inverters.index[point.rows[0]]}"
                why = why or f"{type(error).__name__}{whose}: {error}"
        return found, why


def layout_of(task: ControlTask, scope: Scope, layout: Any) -> Layout:
    """Return the layout that `layout` (a record, a file of one, or nothing) stands for on a task.

    Raises
    ------
    InputError
        If it has another scope, or belongs to another feeder.
    ResultFileError
        If the file cannot be read, or holds no layout.
    """
    if layout is None or layout == "":
        return Layout.of(task, scope)
    record, where = (layout, "the layout") if isinstance(layout, Mapping) else (read_layout(layout), str(layout))
    try:
        made = Layout.from_record(task, record)
    except (KeyError, TypeError, ValueError, UnknownNameError) as error:
        raise ResultFileError(f"{where} is no layout of an observation: {type(error).__name__} {error}") from error
    if made.scope is not scope:
        raise InputError(f"{where} is of scope {made.scope.value}, and the policy sees {scope.value}")
    return made


def read_layout(path: str | Path) -> Mapping[str, Any]:
    """Return the record of a layout from a JSON file.  Raises `ResultFileError` if there is none."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultFileError(f"cannot read the layout {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ResultFileError(f"{path} is no layout of an observation: {error}") from error
    if not isinstance(record, dict) or record.get("scope") not in SCOPES:
        raise ResultFileError(f"{path} is no layout of an observation: it has no scope ({', '.join(SCOPES)})")
    return record


def _numbers(answer: Any, count: int, scope: Scope) -> FloatArray:
    """Return (count,) numbers; raises `TypeError` where the answer is anything else."""
    values = np.asarray(answer, dtype=float)
    if scope is not Scope.GLOBAL and values.size == 1:
        values = values.reshape(1)
    if values.shape != (count,):
        wanted = f"({count},)" if scope is Scope.GLOBAL else "one number"
        raise TypeError(f"it answers with shape {values.shape}, not {wanted}")
    return values


def _information(sees: Any) -> Information:
    if isinstance(sees, Information):
        if sees.forecast:
            raise InputError("a function gets no forecast: sees must be local, zone or global")
        return sees
    name = sees.value if isinstance(sees, Scope) else str(sees)
    if name not in SCOPES:
        raise UnknownNameError("scope of a policy", name, SCOPES)
    return Information(Scope(name))


def _imported(where: str) -> Callable[[Any], Any]:
    module, colon, name = where.partition(":")
    if not (module and colon and name):
        raise InputError(f"f must name a function as module:name, not {where!r}")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # the module is the user's, and may raise anything
        raise InputError(f"cannot import the policy {where!r}: {type(error).__name__}: {error}") from error
    return _callable(found, where)


def _callable(f: Any, name: str) -> Callable[[Any], Any]:
    if not callable(f):
        raise InputError(f"the policy {name} is no function but {type(f).__name__}")
    called: Callable[[Any], Any] = f
    return called


def _name(f: Any) -> str:
    if isinstance(f, str):
        return f
    named = f if hasattr(f, "__qualname__") else type(f)
    return f"{named.__module__}:{named.__qualname__}"
