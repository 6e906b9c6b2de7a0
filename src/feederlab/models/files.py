"""A user's own feeder: a net file and a folder of profiles become a scenario, exactly as they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from feederlab.errors import InputError, UnknownNameError
from feederlab.models.feeder import Feeder
from feederlab.models.netfile import load_net
from feederlab.models.profiles import Key, Profile
from feederlab.models.scenario import Scenario
from feederlab.models.validate.series import KNOWN

__all__ = ["load_net", "load_profiles", "scenario_from_files", "write_profiles"]

_ENDINGS = (".csv", ".parquet")
_OFFSET = r":\d\d(?:\.\d+)?([+-]\d\d:?\d\d|Z)$"
_NOT_UTF8 = "is no UTF-8 text; save it as CSV in UTF-8"


def scenario_from_files(
    net_path: str | Path,
    profiles_folder: str | Path | None = None,
    *,
    band: tuple[float, float] | None = None,
    step: str | pd.Timedelta | None = None,
) -> Scenario:
    """Return the scenario of a user's own net and profiles.

    The net is never altered: only devices that its tables mark as controllable are controlled.

    Parameters
    ----------
    net_path
        pandapower .json or MATPOWER .m file.
    profiles_folder
        Folder of ``load.p_mw.csv``, ``sgen.p_mw.parquet``, ...; without it the table values hold for one day.
    band
        Voltage band (p.u.); default: ``bus.min/max_vm_pu``, 0.95-1.05 where the net gives none.
    step
        Step length; default: that of the profiles.

    Raises
    ------
    InputError
        If a file cannot be read.
    ValidationError
        Everything that is wrong with the net, or with the profiles.
    """
    path = Path(net_path)
    feeder = Feeder.from_pandapower(load_net(path), name=path.stem)
    notes = list(feeder.notes)
    if profiles_folder is None:
        profiles: Mapping[Key, Profile | pd.DataFrame] = _one_constant_day(feeder)
        notes.append("no profiles given: loads and generators keep their table values for one day")
    else:
        profiles = load_profiles(profiles_folder)
    if not (len(feeder.inverters) or len(feeder.storages) or len(feeder.capacitors) or len(feeder.tap_changers)):
        notes.append(
            "no device to control: controllers have nothing to do; mark generators with sgen.controllable = True and "
            "give their sn_mva, or add storage, shunts with max_step above 1, or transformers with a tap range"
        )
    return Scenario.build(feeder, profiles, band=band, step=step, notes=tuple(notes))


def _one_constant_day(feeder: Feeder) -> dict[Key, pd.DataFrame]:
    times = pd.date_range("2016-01-01", periods=96, freq="15min")
    first = feeder.net.ext_grid.index[feeder.net.ext_grid.in_service.astype(bool)][0]
    return {("ext_grid", "vm_pu"): pd.DataFrame(feeder.slack_vm, index=times, columns=[first])}


def load_profiles(folder: str | Path) -> dict[Key, Profile]:
    """Read a folder of profiles, one file per table and column, e.g. ``load.p_mw.csv``.

    The first column is the time (ISO 8601, or 31.12.2016 23:45); the others are headed by the element's index in the
    net.  Values are MW and MVAr with a decimal point; columns are separated by comma or semicolon.

    Raises
    ------
    InputError
        If the folder or a file cannot be read; names file, line, column and value.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    found: dict[Key, Path] = {}
    known = [f"{table}.{column}" for table, column in KNOWN]
    for path in sorted(p for p in folder.iterdir() if p.suffix in _ENDINGS and not p.name.startswith(".")):
        if path.stem not in known:
            raise UnknownNameError("profile", path.stem, known)
        table, _, column = path.stem.partition(".")
        if (table, column) in found:
            raise InputError(f"{path} and {found[table, column].name} are the same profile; remove one of them")
        found[table, column] = path
    if not found:
        raise InputError(f"{folder} holds no profile; name the files {', '.join(f'{name}.csv' for name in known)}")
    return {key: Profile.from_frame(_read(path)) for key, path in found.items()}


def write_profiles(profiles: Mapping[Key, Profile | pd.DataFrame], folder: str | Path, fmt: str = "csv") -> None:
    """Write profiles as `load_profiles` reads them; each file appears only when it is complete.

    fmt : ``"csv"`` or ``"parquet"``.
    """
    if f".{fmt}" not in _ENDINGS:
        raise UnknownNameError("profile format", fmt, [ending[1:] for ending in _ENDINGS])
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for (table, column), profile in profiles.items():
        frame = profile.to_frame() if isinstance(profile, Profile) else profile
        frame = frame.set_axis([str(c) for c in frame.columns], axis=1).rename_axis(index="time", columns=None)
        part = folder / f".{table}.{column}.{os.getpid()}.part"
        try:
            if fmt == "csv":
                frame.to_csv(part, date_format="%Y-%m-%dT%H:%M:%S")
            else:
                frame.to_parquet(part)
            part.replace(folder / f"{table}.{column}.{fmt}")
        finally:
            part.unlink(missing_ok=True)


def _read(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return _read_parquet(path)
    try:
        with path.open(encoding="utf-8-sig") as handle:
            header = handle.readline().rstrip("\r\n")
    except UnicodeDecodeError:
        raise InputError(f"{path} {_NOT_UTF8}") from None
    separator = ";" if header.count(";") > header.count(",") else ","
    labels = [label.strip().strip('"') for label in header.split(separator)]
    _check_header(path, labels)
    try:
        frame = pd.read_csv(
            path, sep=separator, header=None, skiprows=1, names=list(range(len(labels))), index_col=False,
            skip_blank_lines=False, float_precision="round_trip", encoding="utf-8-sig", low_memory=False,
        )  # fmt: skip
    except UnicodeDecodeError:
        raise InputError(f"{path} {_NOT_UTF8}") from None
    except (ValueError, pd.errors.ParserWarning) as error:
        raise InputError(f"{path}: {error}") from error
    while len(frame) and frame.iloc[-1].isna().all():
        frame = frame.iloc[:-1]
    _check_cells(path, frame, labels)
    times = _times(path, frame[0])
    values = frame.drop(columns=0).astype(float)
    return values.set_axis([int(label) for label in labels[1:]], axis=1).set_axis(times, axis=0)


def _check_header(path: Path, labels: list[str]) -> None:
    if len(labels) < 2:
        raise InputError(f"{path}, line 1: expected a time column and one column per element, separated by , or ;")
    for position, label in enumerate(labels[1:], start=2):
        if not label.isdecimal():
            raise InputError(f"{path}, line 1, column {position}: {label!r} is no element index (a whole number)")
        if label in labels[1 : position - 1]:
            raise InputError(f"{path}, line 1, column {position}: element {label} occurs twice")


def _check_cells(path: Path, frame: pd.DataFrame, labels: list[str]) -> None:
    """Raise for the first cell, by line, that holds no number."""
    worst: tuple[int, str] | None = None
    for position in range(1, len(labels)):
        values = frame[position]
        numbers = values if values.dtype.kind in "fi" else pd.to_numeric(values, errors="coerce")
        bad = np.flatnonzero(~np.isfinite(numbers.to_numpy(dtype=float)))
        if len(bad) and (worst is None or bad[0] < worst[0]):
            cell = values.iloc[bad[0]]
            what = "a value is missing" if pd.isna(cell) else f"{cell!r} is no number (use a decimal point)"
            worst = int(bad[0]), f"column {labels[position]}: {what}"
    if worst is not None:
        raise InputError(f"{path}, line {worst[0] + 2}, {worst[1]}")


def _times(path: Path, column: pd.Series) -> pd.DatetimeIndex:
    text = column.astype(str)
    if len(text.str.extract(_OFFSET, expand=False).unique()) > 1:
        raise InputError(
            f"{path}, column 1: the times change their UTC offset (summer time); give local standard time throughout, "
            "without an offset"
        )
    for form in ("ISO8601", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S"):
        times = pd.to_datetime(text, format=form, errors="coerce")
        if times.notna().any() or not len(times):
            break
    bad = np.flatnonzero(times.isna())
    if len(bad):
        raise InputError(
            f"{path}, line {bad[0] + 2}, column 1: {column.iloc[bad[0]]!r} is no time; write 2016-06-21T12:00 or "
            "21.06.2016 12:00"
        )
    return pd.DatetimeIndex(times)


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is truncated or no Parquet file: {error}") from error
    if not isinstance(frame.index, pd.DatetimeIndex) and len(frame.columns):
        first = frame.columns[0]
        frame = frame.set_axis(_times(path, frame[first]), axis=0).drop(columns=first)
    try:
        return frame.set_axis([int(label) for label in frame.columns], axis=1)
    except ValueError as error:
        raise InputError(f"{path}: the columns must be element indices: {error}") from None
