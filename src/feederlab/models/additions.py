"""Devices to add to a scenario, written as text: ``storage=17:0.5:2``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from feederlab.errors import InputError, UnknownNameError

FORMS = {
    "inverter": ("inverters", ("BUS", "S_MVA", "P_MW"), (int, float, float)),
    "storage": ("storages", ("BUS", "P_MW", "E_MWH"), (int, float, float)),
    "capacitor": ("capacitors", ("BUS", "Q_MVAR", "STEPS"), (int, float, int)),
    "regulator": ("regulators", ("LINE", "LOWEST", "HIGHEST", "PERCENT"), (int, int, int, float)),
}
"""kind -> (argument of `Scenario.with_devices`, names of its numbers, their types)."""


def read_additions(texts: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of `Scenario.with_devices` from texts like ``capacitor=29:0.3:2``.

    Raises
    ------
    InputError
        For an unknown kind, a number too many, too few or that is none, and two of a kind at one place.
    """
    wanted: dict[str, dict[int, tuple[Any, ...]]] = {}
    for text in texts:
        kind, _, rest = text.partition("=")
        if kind.strip() not in FORMS:
            raise UnknownNameError("device", kind.strip(), list(FORMS))
        argument, names, types = FORMS[kind.strip()]
        form = f"{kind.strip()}={':'.join(names)}"
        try:
            place, *numbers = (read(part) for read, part in zip(types, rest.split(":"), strict=True))
        except ValueError:
            raise InputError(f"{text!r} is no device; write {form}, e.g. {_EXAMPLES[kind.strip()]}") from None
        there = wanted.setdefault(argument, {})
        if place in there:
            raise InputError(f"{text!r}: there is a {kind.strip()} at {names[0].lower()} {place} already; write {form}")
        there[int(place)] = tuple(numbers)
    return wanted


_EXAMPLES = {
    "inverter": "inverter=17:0.6:0.5", "storage": "storage=17:0.5:2", "capacitor": "capacitor=29:0.3:2",
    "regulator": "regulator=0:-8:8:1.25",
}  # fmt: skip
