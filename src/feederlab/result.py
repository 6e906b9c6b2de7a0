"""`Result`: one closed-loop run, as labelled arrays with provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feederlab.atomic import whole
from feederlab.errors import ResultFileError

if TYPE_CHECKING:
    import xarray as xr

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Result:
    """What one controller did to one scenario.

    data : Dataset over time, bus, branch, inverter, storage, capacitor, transformer; units in each variable's attrs.
    timing : Dataset over time; the only part that differs between two runs of the same thing.
    provenance : scenario, controller and its configuration, seed, versions.
    certificate : Dataset over time, the lower bounds of these steps (`certify.lower_bounds`), if there are any.
    """

    data: xr.Dataset
    timing: xr.Dataset
    provenance: dict[str, Any]
    certificate: xr.Dataset | None = None

    def save(self, path: str | Path) -> Path:
        """Write NetCDF-4, atomically: the file appears whole or not at all."""
        certified = self.certificate is not None
        attrs = {"provenance": json.dumps(self.provenance), "format": FORMAT, "certified": int(certified)}
        groups = {"": self.data.assign_attrs(attrs), "timing": self.timing}
        if self.certificate is not None:
            groups["certificate"] = self.certificate
        return write_dataset(Path(path), groups)

    @classmethod
    def joined(cls, parts: Sequence[Result]) -> Result:
        """Return runs of consecutive windows as one."""
        import xarray as xr

        first = parts[0]
        if len(parts) == 1:
            return first
        how: Any = {"dim": "time", "data_vars": "minimal", "coords": "minimal", "compat": "override"}
        bounds = [part.certificate for part in parts if part.certificate is not None]
        return cls(
            xr.concat([part.data for part in parts], **how), xr.concat([part.timing for part in parts], **how),
            first.provenance | {"periods": sum(part.provenance["periods"] for part in parts)},
            xr.concat(bounds, **how) if len(bounds) == len(parts) else None,
        )  # fmt: skip

    def cut(self, lengths: Sequence[int]) -> list[Result]:
        """Return the runs of consecutive windows of so many steps that `joined` made this one of."""
        if len(lengths) == 1:
            return [self]
        ends, parts = list(accumulate(lengths)), []
        for first, last in zip([0, *ends], ends, strict=False):
            here = {"time": slice(first, last)}
            bounds = None if self.certificate is None else self.certificate.isel(here)
            about = self.provenance | {"periods": last - first}
            parts.append(Result(self.data.isel(here), self.timing.isel(here), about, bounds))
        return parts

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read a file that `save` wrote.

        Raises
        ------
        ResultFileError
            If the file is missing, truncated, or not a feederlab result.
        """
        import xarray as xr

        if not Path(path).is_file():
            raise ResultFileError(f"no result file at {path}")
        try:
            data = xr.load_dataset(path, engine="netcdf4")
            timing = xr.load_dataset(path, engine="netcdf4", group="timing")
            certified = data.attrs.pop("certified", 0)
            certificate = xr.load_dataset(path, engine="netcdf4", group="certificate") if certified else None
            provenance = json.loads(data.attrs.pop("provenance"))
            written = data.attrs.pop("format")
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ResultFileError(
                f"{path} is truncated or no feederlab result: {error}; run the study again"
            ) from error
        if written != FORMAT:
            raise ResultFileError(f"{path} has format {written}; this version reads format {FORMAT}")
        return cls(data, timing, provenance, certificate)


def write_dataset(target: Path, groups: Mapping[str, xr.Dataset]) -> Path:
    """Write Datasets as the groups of one NetCDF-4 file (``""``, the root, comes first), atomically.

    Raises `ResultFileError` if it cannot be written.
    """
    with whole(target) as scratch:
        for group, data in groups.items():
            packed = {name: {"zlib": True, "complevel": 1} for name, v in data.variables.items() if _packs(v)}
            try:
                data.to_netcdf(
                    scratch, engine="netcdf4", group=group or None, mode="a" if group else "w", encoding=packed
                )
            except RuntimeError as error:  # what netCDF makes of a full disk
                raise ResultFileError(f"cannot write {target} ({error}): is the disk full?") from error
    return target


def _packs(variable: xr.Variable) -> bool:
    """Say whether compression pays: big numeric arrays only."""
    return variable.ndim > 1 and variable.size > 0 and variable.dtype.kind in "fiub"
