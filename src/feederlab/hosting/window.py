"""The window that a hosting study looks at when none is given."""

from __future__ import annotations

from feederlab.models.scaling import sunniest_day
from feederlab.models.scenario import Scenario
from feederlab.scenarios import load_scenario

SUNNIEST = "the day of the data on which generation exceeds load most"


def study_window(
    name: str,
    *,
    profiles: str | None = None,
    start: str | None = None,
    days: float | None = None,
    step: str | None = None,
    band: tuple[float, float] | None = None,
) -> tuple[Scenario, str]:
    """Return the scenario's window, and how it was chosen.

    Without `start` it begins with the day on which generation exceeds load most, at the instant where that is most
    pronounced (`models.scaling.sunniest_day`); `days` defaults to 1, `step` to the data's own: finer steps would only
    interpolate.  The other arguments are those of `load_scenario`.
    """
    whole = load_scenario(name, profiles=profiles, band=band)
    day = sunniest_day(whole)
    if start is None and days is None and step is None:
        return day, SUNNIEST
    stepped = whole.resample(day.step if step is None else step)
    length = 1.0 if days is None else days
    if start is None:
        return stepped.days(day.start, length), SUNNIEST if days is None else f"from {SUNNIEST} on"
    return stepped.days(start, length), "as asked for"
