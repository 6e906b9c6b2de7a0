"""What a sweep tries: settings of one controller, on a grid or drawn at random."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_type_hints

import numpy as np

from feederlab.controllers.registry import create, defaults_of
from feederlab.controllers.volt_var import VoltVar
from feederlab.errors import InputError, UnknownNameError
from feederlab.sweep import shape

MOST = 5000
"""Settings that one sweep may try."""
_REDRAWS = 50


@dataclass(frozen=True)
class Dimension:
    """One key and what it may be: a list of values, or a range to draw from."""

    key: str
    values: tuple[str, ...] = ()
    low: float = math.nan
    high: float = math.nan
    whole: bool = False

    def draw(self, rng: np.random.Generator) -> str:
        """Return one value: of a list with equal chance, of a range uniformly."""
        if self.values:
            return self.values[int(rng.integers(len(self.values)))]
        if self.whole:
            return str(int(rng.integers(round(self.low), round(self.high) + 1)))
        return f"{rng.uniform(self.low, self.high):.5g}"


@dataclass(frozen=True)
class Space:
    """A controller's specification and the dimensions that vary.

    Each `--set` is ``key=a,b,c`` (a list), ``key=lo..hi`` (a range, for random draws) or ``key=lo..hi/n`` (n values,
    evenly spaced, both ends included).  A key is any setting of the controller; for `volt_var` also those of
    `sweep.shape`.
    """

    controller: str
    dimensions: tuple[Dimension, ...]

    @classmethod
    def parse(cls, controller: str, settings: Sequence[str]) -> Space:
        """Read a space.

        Raises
        ------
        InputError
            An empty space, a key given twice, an inverted range, a value that its key cannot take, ...;
            `UnknownNameError` for a key or name that does not exist.
        """
        made = create(controller)
        if not settings:
            raise InputError("an empty space: add e.g. --set curve=mapdn,ieee1547_b or --set damping=0.05..0.5")
        shaped = shape.KEYS if isinstance(made, VoltVar) else ()
        known = [*defaults_of(type(made)), *shaped]
        dimensions: list[Dimension] = []
        for text in settings:
            key, equals, values = (part.strip() for part in text.partition("="))
            if not equals or not values:
                raise InputError(f"--set {text!r}: write key=a,b,c or key=lo..hi")
            head = key.partition(".")[0]
            if head not in known:
                raise UnknownNameError(f"{controller.partition(':')[0]} key", key, known)
            if key in (d.key for d in dimensions):
                raise InputError(f"--set gives {key} twice: write its values in one list, {key}=a,b,c")
            hint = float if key in shaped else get_type_hints(type(made)).get(key)
            dimensions.append(_dimension(key, values, hint))
        space = cls(controller, tuple(dimensions))
        space._check(tuple(shaped))
        return space

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that vary."""
        return tuple(d.key for d in self.dimensions)

    def settings(self, samples: int | None, seed: int) -> tuple[list[dict[str, str]], list[str]]:
        """Return the settings to try, key -> value, and what was left out and why.

        samples : None tries every combination; a number draws that many, all different, from `seed`.  Combinations
        that make no controller are left out, and drawn again.

        Raises
        ------
        InputError
            A range without `samples`, too many combinations, or none that makes a controller.
        """
        if samples is not None and not 1 <= samples <= MOST:
            raise InputError(f"the number of samples must lie in 1-{MOST}, not {samples}")
        kept: dict[str, dict[str, str]] = {}
        refused: dict[str, str] = {}
        for values in self._grid() if samples is None else self._draws(samples, seed):
            try:
                spec = self.spec(values)
                create(spec)
            except InputError as error:
                refused.setdefault(", ".join(f"{k}={v}" for k, v in values.items()), str(error))
                continue
            kept.setdefault(spec, values)
            if samples is not None and len(kept) == samples:
                break
        if not kept:
            raise InputError(f"no combination makes a controller: {_listed(refused)}")
        notes = []
        if refused:
            count = f"{len(refused)} combination" + ("s" if len(refused) > 1 else "")
            notes.append(f"{count} left out: {_listed(refused)}")
        if samples is not None and len(kept) < samples:
            notes.append(f"only {len(kept)} different settings were found where {samples} were asked for")
        return list(kept.values()), notes

    def spec(self, values: dict[str, str]) -> str:
        """Return the specification of one setting.  Raises `InputError` if the values do not go together."""
        plain = {key: value for key, value in values.items() if key not in shape.KEYS}
        shaped = {key: float(value) for key, value in values.items() if key in shape.KEYS}
        if shaped:
            plain["curve"] = shape.curve(shaped)
        join = "," if "=" in self.controller else ":"
        return self.controller + join + ",".join(f"{key}={value}" for key, value in plain.items())

    def _grid(self) -> Iterator[dict[str, str]]:
        ranges = [d.key for d in self.dimensions if not d.values]
        if ranges:
            raise InputError(
                f"{', '.join(ranges)}: a range lo..hi needs --samples N to draw from it, or lo..hi/n for n even steps"
            )
        count = math.prod(len(d.values) for d in self.dimensions)
        if count > MOST:
            raise InputError(f"{count} combinations are more than {MOST}: shorten the lists, or give --samples N")
        for values in itertools.product(*(d.values for d in self.dimensions)):
            yield dict(zip(self.keys, values, strict=True))

    def _draws(self, samples: int, seed: int) -> Iterator[dict[str, str]]:
        rng = np.random.default_rng(seed)
        for _ in range(_REDRAWS * samples):
            yield {d.key: d.draw(rng) for d in self.dimensions}

    def _check(self, shaped: tuple[str, ...]) -> None:
        """Try each value on its own, so that a wrong one is one clear message and not many combinations left out."""
        if "slope" in self.keys and "v_sat" in self.keys:
            raise InputError("give either v_sat or slope: v_sat = v_dead + q_max / slope")
        twice = set(self.keys) & set(shaped)
        fixed = [part.partition("=")[0].strip() for part in self.controller.partition(":")[2].split(",")]
        if twice and ("curve" in self.keys or "curve" in fixed):
            raise InputError(f"{', '.join(sorted(twice))} make a curve: do not give curve as well")
        again = [key for key in self.keys if key in fixed]
        if again:
            raise InputError(f"{', '.join(again)} is fixed in {self.controller!r} and swept: give it once")
        for d in self.dimensions:
            for value in d.values or (f"{d.low:.6g}", f"{d.high:.6g}"):
                if d.key in shaped:
                    shape.check_value(d.key, float(value))
                else:
                    create(self.spec({d.key: value}))


def _dimension(key: str, text: str, hint: object) -> Dimension:
    if ".." not in text:
        values = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
        if not values:
            raise InputError(f"--set {key}: no values; write {key}=a,b,c or {key}=lo..hi")
        if hint in (int, float):
            for value in values:
                _number(key, value)
        return Dimension(key, values)
    if hint not in (int, float):
        raise InputError(f"--set {key}: only a number has a range; list the values as {key}=a,b,c")
    span, slash, count = text.partition("/")
    left, _, right = span.partition("..")
    low, high = _number(key, left), _number(key, right)
    if not low < high:
        raise InputError(f"--set {key}={text}: the range is empty or inverted; write the smaller number first")
    if not slash:
        return Dimension(key, (), low, high, hint is int)
    if not count.strip().isdecimal() or not 2 <= int(count) <= MOST:
        raise InputError(f"--set {key}={text}: after the slash stands a number of values, 2 or more, not {count!r}")
    even = np.linspace(low, high, int(count))
    return Dimension(key, tuple(dict.fromkeys(str(round(v)) if hint is int else f"{v:.6g}" for v in even)))


def _number(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"--set {key}: {text.strip()!r} is no number; write e.g. {key}=0.1,0.2 or {key}=0.1..0.5")
    return value


def _listed(refused: dict[str, str]) -> str:
    shown = [f"{values} ({reason})" for values, reason in list(refused.items())[:3]]
    return "; ".join(shown) + ("; ..." if len(refused) > 3 else "")
