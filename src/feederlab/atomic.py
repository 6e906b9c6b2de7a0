"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """Give a path beside `target` to write to; if nothing is raised, it takes the target's place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=f".part{target.suffix}")
    os.close(handle)
    scratch = Path(name)
    try:
        yield scratch
        os.chmod(scratch, 0o644)
        os.replace(scratch, target)
    finally:
        scratch.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> Path:
    """Write a text file."""
    with whole(target) as scratch:
        scratch.write_text(text, encoding="utf-8")
    return target


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give a new folder beside `target` to fill; if nothing is raised, it takes the place of what is there.

    Where `target` is a link to a folder, the folder that it leads to is replaced.
    """
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
    scratch.chmod(0o777 & ~_umask())
    aside = scratch.with_suffix(".old")
    try:
        yield scratch
        if target.exists():
            os.replace(target, aside)
        try:
            os.replace(scratch, target)
        except OSError:
            if aside.exists():
                os.replace(aside, target)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def sweep(target: Path) -> None:
    """Clear away what a killed process left half-written beside `target`; a folder it was about to replace comes back.

    Nothing else may be writing to `target`.
    """
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[a-z0-9_]{{8}}\.(part(?:{re.escape(target.suffix)})?|old)")
    beside = list(target.parent.iterdir()) if target.parent.is_dir() else []
    for path, found in ((path, pattern.fullmatch(path.name)) for path in beside):
        if found is None:
            continue
        if found[1] == "old" and not target.exists():
            os.replace(path, target)
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
