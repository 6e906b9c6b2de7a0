"""What a predictive controller believes about the coming steps: forecasts behind the interface `Forecast`.

Every source answers for the step at `now` and those after it, in steps of the controller's own length.  Where the data
end sooner, the horizon shrinks.
"""

from __future__ import annotations

import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from feederlab.errors import InputError, UnknownNameError
from feederlab.models.arrays import ComplexArray, FloatArray
from feederlab.models.scenario import Series
from feederlab.models.task import ControlTask, Forecast

NAMES = ("perfect", "persistence", "noisy(SIGMA)", "noisy(SIGMA;SEED)", "module:function")


class ForecastError(RuntimeError):
    """A forecast that failed inside a run; the controller goes on without it."""


@dataclass(frozen=True, eq=False)
class Present:
    """What is measured at the present step.

    load_mva : (nodes,) net consumption that nothing controls (MVA).  p_available_mw : (inverters,).  slack_vm : (p.u.).
    """

    time: pd.Timestamp
    load_mva: ComplexArray
    p_available_mw: FloatArray
    slack_vm: float

    def held(self, periods: int, step_s: float) -> Series:
        """Return `periods` steps in which nothing changes."""
        times = pd.date_range(self.time, periods=periods, freq=pd.Timedelta(seconds=step_s))
        return Series(
            times, np.repeat(self.load_mva[None, :], periods, axis=0),
            np.repeat(self.p_available_mw[None, :], periods, axis=0), np.full(periods, self.slack_vm),
        )  # fmt: skip


class Source(ABC):
    """Where a forecast comes from."""

    informed: ClassVar[bool] = True
    """Whether it needs the handle `ControlTask.forecast`."""

    @abstractmethod
    def ahead(self, task: ControlTask, now: Present, periods: int) -> Series:
        """Return at most `periods` steps from `now` on.  Raises `ForecastError` if it has no answer."""

    def check(self, task: ControlTask, periods: int) -> None:
        """Raise `InputError` for what can be known to be impossible before the run."""
        if task.forecast is None:
            raise InputError(
                f"the forecast {self} needs a forecast handle, which this task has not; `simulate` gives one to every "
                "controller that sees a forecast; elsewhere use forecast=persistence"
            )
        known = _known(task)
        if known is not None:
            have = len(known) * _spacing_s(known, task.step_s) / task.step_s
            if periods > have + 1e-9:
                raise InputError(
                    f"a horizon of {periods} steps of {task.step_s:g} s ({periods * task.step_s / 3600:g} h) is longer "
                    f"than the data, which have {have:g} steps ({have * task.step_s / 3600:g} h): shorten the horizon, "
                    "or run a longer window"
                )


@dataclass(frozen=True)
class Perfect(Source):
    """What will happen: the task's forecast handle, averaged over the controller's steps where these are longer."""

    def ahead(self, task: ControlTask, now: Present, periods: int) -> Series:
        assert task.forecast is not None
        probe = _called(task.forecast, now.time, 2, "the forecast handle")
        ratio = max(round(task.step_s / _spacing_s(probe.times, task.step_s)), 1)
        found = _called(task.forecast, now.time, periods * ratio, "the forecast handle")
        checked(found, task, periods * ratio, "the forecast handle", ForecastError)
        return averaged(found, ratio)

    def __str__(self) -> str:
        return "perfect"


@dataclass(frozen=True)
class Noisy(Source):
    """The perfect forecast, every load and every sun times its own ``1 + sigma N(0, 1)``.

    The errors follow from (seed, instant of the decision) alone.  The present step has none, and their size does not
    grow with the lead time: sigma is that of every later step, drawn anew at every decision.  Sun stays at 0 or above.
    """

    sigma: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < np.inf or self.seed < 0:
            raise InputError(
                f"noisy(sigma;seed) needs a finite sigma and a seed, neither negative, not {self.sigma} and {self.seed}"
            )

    def ahead(self, task: ControlTask, now: Present, periods: int) -> Series:
        true = Perfect().ahead(task, now, periods)
        rng = np.random.default_rng([self.seed, abs(int(now.time.value))])
        load = 1 + self.sigma * rng.standard_normal(true.load_mva.shape)
        sun = 1 + self.sigma * rng.standard_normal(true.p_available_mw.shape)
        load[0], sun[0] = 1.0, 1.0
        return Series(true.times, true.load_mva * load, np.maximum(true.p_available_mw * sun, 0.0), true.slack_vm)

    def __str__(self) -> str:
        return f"noisy({self.sigma:g};{self.seed})"


@dataclass(frozen=True)
class Persistence(Source):
    """What is measured now stays: loads, sun, slack voltage."""

    informed: ClassVar[bool] = False

    def ahead(self, task: ControlTask, now: Present, periods: int) -> Series:
        return now.held(periods, task.step_s)

    def check(self, task: ControlTask, periods: int) -> None:
        return

    def __str__(self) -> str:
        return "persistence"


@dataclass(frozen=True)
class Custom(Source):
    """The user's own: a callable as `Forecast` describes it, ``(time, periods) -> Series``.

    The present step is replaced by what is measured.  name : how messages call it.
    """

    function: Callable[[pd.Timestamp, int], Any]
    name: str

    def ahead(self, task: ControlTask, now: Present, periods: int) -> Series:
        found = _called(self.function, now.time, periods, self.name)
        checked(found, task, periods, self.name, ForecastError)
        _on_time(found, task, now.time, self.name, ForecastError)
        load, sun, slack = (np.array(values) for values in (found.load_mva, found.p_available_mw, found.slack_vm))
        load[0], sun[0], slack[0] = now.load_mva, now.p_available_mw, now.slack_vm
        return Series(found.times, load.astype(np.complex128), sun, slack)

    def check(self, task: ControlTask, periods: int) -> None:
        """Call it once, at the window's first instant, and check what it returns."""
        known = _known(task)
        if known is None:
            return  # no instant is known: the first decision will tell
        super().check(task, periods)
        try:
            found = self.function(known[0], periods)
        except Exception as error:  # the user's code may raise anything
            raise InputError(
                f"the forecast {self.name} raised {type(error).__name__} for {known[0]} and {periods} steps: {error}"
            ) from error
        checked(found, task, periods, self.name, InputError)
        _on_time(found, task, known[0], self.name, InputError)

    def __str__(self) -> str:
        return self.name


def source(forecast: str | Forecast) -> Source:
    """Return the source that a callable or a name stands for: one of `NAMES`, e.g. ``noisy(0.1)``.

    Raises
    ------
    UnknownNameError
        For another name.
    InputError
        If the function cannot be imported, or sigma and seed are no numbers.
    """
    if not isinstance(forecast, str):
        if not callable(forecast):
            raise InputError(
                f"a forecast must be {', '.join(NAMES)}, or a function (time, periods) -> Series, not {forecast!r}"
            )
        return Custom(forecast, getattr(forecast, "__qualname__", type(forecast).__name__))
    text = forecast.strip()
    if text == "perfect":
        return Perfect()
    if text == "persistence":
        return Persistence()
    if found := re.fullmatch(r"noisy\((.*)\)", text):
        parts = re.split(r"[;,]", found[1])
        try:
            return Noisy(float(parts[0]), *(int(part) for part in parts[1:]))
        except (ValueError, TypeError):
            raise InputError(f"forecast {text!r}: write noisy(SIGMA) or noisy(SIGMA;SEED), e.g. noisy(0.1;7)") from None
    if ":" not in text:
        raise UnknownNameError("forecast", text, NAMES)
    module, _, attribute = text.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InputError(f"cannot import the forecast {text!r}: {error}") from error
    if not callable(function):
        raise InputError(f"the forecast {text!r} is no function (time, periods) -> Series, but {function!r}")
    return Custom(function, text)


def checked(found: Any, task: ControlTask, periods: int, name: str, error: type[Exception]) -> None:
    """Raise `error` unless `found` is a `Series` of 1 to `periods` steps that fits the task and is finite."""
    if not isinstance(found, Series):
        raise error(f"the forecast {name} must return a feederlab.models.scenario.Series, not {type(found).__name__}")
    count = len(found.times)
    wanted: dict[str, tuple[int, ...]] = {
        "load_mva": (count, task.nodes), "p_available_mw": (count, len(task.inverters)), "slack_vm": (count,),
    }  # fmt: skip
    if not 1 <= count <= periods:
        raise error(f"the forecast {name} must return 1 to {periods} steps, as asked; it returned {count}")
    for column, shape in wanted.items():
        values = getattr(found, column)
        if np.shape(values) != shape:
            raise error(
                f"the forecast {name} must return {column} of shape {shape} (steps, then nodes or inverters), "
                f"not {np.shape(values)}"
            )
        if np.asarray(values).dtype.kind not in ("iufc" if column == "load_mva" else "iuf"):
            real = "" if column == "load_mva" else "real "
            raise error(f"the forecast {name} must return {real}numbers in {column}, not {np.asarray(values).dtype}")
        if not np.isfinite(values).all():
            bad = np.argwhere(~np.isfinite(np.asarray(values)))[0].tolist()
            raise error(f"the forecast {name} returned {column} that is not finite, first at {bad}")


def _on_time(found: Series, task: ControlTask, time: pd.Timestamp, name: str, error: type[Exception]) -> None:
    """Raise `error` unless `found` begins at `time` and goes on in the task's steps."""
    if found.times[0] != time:
        raise error(f"the forecast {name} must begin with the step asked for, {time}; it begins at {found.times[0]}")
    if (step_s := _spacing_s(found.times, task.step_s)) != task.step_s:
        raise error(f"the forecast {name} must have steps of {task.step_s:g} s, not of {step_s:g} s")


def _known(task: ControlTask) -> pd.DatetimeIndex | None:
    """Return the instants that the forecast handle has data for, None if it does not tell."""
    handle = getattr(task.forecast, "fine", task.forecast)  # an interval's handle stands on one in steps
    times = getattr(getattr(handle, "series", None), "times", None)
    return times if times is not None and len(times) else None


def _called(function: Callable[[pd.Timestamp, int], Any], time: pd.Timestamp, periods: int, name: str) -> Any:
    try:
        return function(time, periods)
    except Exception as error:  # the user's code may raise anything; inside a run that is data
        raise ForecastError(f"the forecast {name} raised {type(error).__name__}: {error}") from error


def _spacing_s(times: pd.DatetimeIndex, default_s: float) -> float:
    return float((times[1] - times[0]).total_seconds()) if len(times) > 1 else default_s


def averaged(series: Series, ratio: int) -> Series:
    """Return the means over `ratio` steps each; the last group may be shorter."""
    if ratio == 1:
        return series
    first = np.arange(0, len(series), ratio)
    size = np.diff(np.append(first, len(series)))

    def mean(values: Any) -> Any:
        return np.add.reduceat(values, first, axis=0) / size.reshape(-1, *[1] * (np.ndim(values) - 1))

    return Series(series.times[first], mean(series.load_mva), mean(series.p_available_mw), mean(series.slack_vm))
