"""Options that several verbs read in the same way."""

from __future__ import annotations

from feederlab.errors import InputError


def read_band(text: str | None) -> tuple[float, float] | None:
    """Return the band written ``LO,HI`` (p.u.), None for None.  Raises `InputError` for anything else."""
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--band {text!r}: give LO,HI in p.u., e.g. 0.95,1.05") from None
    return low, high
