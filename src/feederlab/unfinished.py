"""What a comparison has finished so far, kept on disk so that a killed one can go on.

While a comparison that is saved to DIR is at work, ``DIR.unfinished`` beside it holds ``run.json`` (what is being
compared) and one NetCDF file per finished piece of work, each written atomically.  It is removed once DIR is complete.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from feederlab.atomic import sweep, write_text
from feederlab.errors import ResultFileError
from feederlab.lock import LOCK, held
from feederlab.record import changed_versions, identity
from feederlab.result import Result, write_dataset

_RECORD, _DONE = "run.json", "done"


class Unfinished:
    """The folder beside the one that a comparison is saved to.  Open it with ``with``: one process at a time.

    Parameters
    ----------
    target
        Where the comparison is saved to.
    record
        What identifies it.
    resume
        Go on with what is there.
    overwrite
        Discard what is there.

    Raises
    ------
    ResultFileError
        When entered: if unfinished work is there and neither was said, if it is that of another comparison or of other
        versions, or if another process is at work on it.
    """

    def __init__(self, target: Path, record: Mapping[str, Any], *, resume: bool, overwrite: bool) -> None:
        self._target, self.folder = target, target.with_name(f"{target.name}.unfinished")
        self._record, self._resume, self._overwrite = record, resume, overwrite
        self._lock = contextlib.ExitStack()

    def exists(self) -> bool:
        """Whether something unfinished is there."""
        return (self.folder / _RECORD).is_file()

    def __enter__(self) -> Unfinished:
        try:
            if self.exists():
                self._lock.enter_context(held(self.folder))
                self._take_over()
            elif self.folder.exists() and any(path.name != LOCK for path in self.folder.iterdir()):
                raise ResultFileError(f"{self.folder} holds files, and no unfinished comparison: move it elsewhere")
            else:
                (self.folder / _DONE).mkdir(parents=True, exist_ok=True)
                self._lock.enter_context(held(self.folder))
            sweep(self._target)
            write_text(self.folder / _RECORD, json.dumps(self._record, indent=2) + "\n")
        except BaseException:
            self._lock.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._lock.close()
        if kind is None or not any((self.folder / _DONE).glob("*.nc")):
            shutil.rmtree(self.folder)

    def put(self, key: str, answer: Any) -> None:
        """Keep a finished answer: a `Result`, or a Dataset."""
        path = self.folder / _DONE / f"{key}.nc"
        if isinstance(answer, Result):
            answer.save(path)
        else:
            write_dataset(path, {"": answer})

    def get(self, key: str) -> Any:
        """Return an answer that `put` kept, or None."""
        import xarray as xr

        path = self.folder / _DONE / f"{key}.nc"
        if not path.is_file():
            return None
        if key.startswith("run"):
            return Result.load(path)
        return xr.load_dataset(path, engine="netcdf4")

    def _take_over(self) -> None:
        """Make sure that what is there may be continued, or clear it away."""
        try:
            there = json.loads((self.folder / _RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            there = {}
        same = isinstance(there, dict) and bool(there) and identity(there) == identity(self._record)
        if same and self._resume:
            changed = changed_versions(there, self._record)
            if not changed:
                return
            if not self._overwrite:
                raise ResultFileError(
                    f"{self.folder} was begun with other versions of {', '.join(changed)}: install those to go on, "
                    "or give --overwrite to begin anew"
                )
        if not self._overwrite:
            whose = (
                "of this comparison: give --resume to go on" if same else "of another comparison: choose another folder"
            )
            raise ResultFileError(f"{self.folder} holds unfinished work {whose}, or give --overwrite to discard it")
        for path in self.folder.iterdir():
            if path.name == _DONE:
                shutil.rmtree(path)
        (self.folder / _DONE).mkdir()
