"""`load_scenario`: a scenario from its name, or from a user's own files."""

from __future__ import annotations

from pathlib import Path

from feederlab.models.scenario import Scenario, checked_band

FILE_TYPES = (".json", ".m")


def is_file(name: str) -> bool:
    """Say whether `name` means a file: by its ending, or because it names one that exists."""
    return Path(name).suffix.lower() in FILE_TYPES or Path(name).is_file()


def load_scenario(
    name: str,
    *,
    profiles: str | Path | None = None,
    start: str | None = None,
    days: float | None = None,
    step: str | None = None,
    band: tuple[float, float] | None = None,
) -> Scenario:
    """Return a scenario.

    Parameters
    ----------
    name
        A named scenario (``feederlab scenarios`` lists them; ``simbench:<code>`` for any SimBench grid), or the path of
        a pandapower ``.json`` or MATPOWER ``.m`` file.
    profiles
        Folder of ``<table>.<column>.csv|parquet`` files for a file, or of the original CSV files for a MAPDN scenario.
    start, days
        The window; `start` defaults to the first day of the data, `days` to 1.  Without both: all of the data.
    step
        Step length, e.g. ``"3min"``; default: the scenario's own.
    band
        Lowest and highest voltage (p.u.); default: the scenario's own.

    Raises
    ------
    InputError
        Unknown names, files that cannot be read, dates outside the data, an empty band, ...
    """
    if band is not None:
        checked_band(band)  # before the data are read, which may take a while
    if is_file(name):
        from feederlab.models.files import scenario_from_files

        scenario = scenario_from_files(name, profiles)
    else:
        from feederlab.models import library

        scenario = library.load(name, profiles_folder=profiles)
    if band is not None:
        scenario = scenario.with_band(*band)
    if step is not None:
        scenario = scenario.resample(step)
    if start is None and days is None:
        return scenario
    return scenario.days(scenario.data_span[0] if start is None else start, 1 if days is None else days)
