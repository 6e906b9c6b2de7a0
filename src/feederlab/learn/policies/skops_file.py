"""Files of fitted estimators with a JSON record: skops archives, sealed with a checksum.

Reading one builds nothing but types that are known to be harmless, and unpickles nothing.  Plain ``skops.io.load``
reads such a file as well: the record is one more entry of the archive, which skops leaves alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from feederlab import atomic
from feederlab.errors import InputError, ResultFileError
from feederlab.learn.extra import need

FORMAT = 1
RECORD = "feederlab.json"
TRUSTED = ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",)
"""Types that are built besides those that skops itself trusts (scikit-learn's public estimators, numpy, plain values).

A tree is data, but compiled code follows its indices unchecked: `_check_trees` does that beforehand.
"""
_MOST = 1 << 30  # bytes of all entries: a small archive could unpack to any size
_PICKLES = (b"\x80", b"\x78", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")
"""How pickles begin, and joblib's compressed ones."""
_NOT_AN_ARCHIVE = (zipfile.BadZipFile, zlib.error, ValueError, KeyError, TypeError, EOFError, NotImplementedError,
                   RuntimeError)  # fmt: skip


def write_estimators(path: Path, kind: str, estimators: Sequence[Any], about: Mapping[str, Any]) -> None:
    """Write fitted `estimators` and the JSON-ready `about` to one file, atomically.  kind : what the file is.

    Raises
    ------
    InputError
        If skops cannot write an estimator.
    """
    skops = _skops()
    try:
        entries = _entries(skops.dumps(list(estimators)))
    except Exception as error:  # an estimator may hold anything
        raise InputError(f"the estimators cannot be written as skops: {error}") from error
    record = json.loads(json.dumps({"format": FORMAT, "kind": kind, **about}))
    sealed = {"sha256": _checksum(record, entries), **record}
    with atomic.whole(path) as scratch, zipfile.ZipFile(scratch, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in [*entries.items(), (RECORD, json.dumps(sealed).encode())]:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)


def read_record(path: Path, kind: str) -> dict[str, Any]:
    """Return the record of a file that `write_estimators` wrote; nothing is built.

    Raises
    ------
    ResultFileError
        If there is no such file, or it is cut short, altered, of another kind or of another format.
    """
    return _sealed(path, kind)[1]


def read_estimators(path: Path, kind: str, *, trust: bool = False) -> tuple[list[Any], dict[str, Any]]:
    """Return the estimators and the record of a file that `write_estimators` wrote.

    trust : also build types that are not known to be harmless, which can run code of the file's choosing.

    Raises
    ------
    ResultFileError
        As `read_record`, or if the estimators cannot be built.
    InputError
        If the file holds types that are not known to be harmless, and is not trusted; the message names them.
    """
    entries, about = _sealed(path, kind)
    skops = _skops()
    data = _archive(entries)
    try:
        foreign = sorted(set(skops.get_untrusted_types(data=data)) - set(TRUSTED))
    except Exception as error:  # a record that is sealed can still describe nonsense
        raise ResultFileError(f"{path} is no usable {kind}: {type(error).__name__}: {error}") from error
    if foreign and not trust:
        raise InputError(
            f"{path} holds {', '.join(foreign[:8])}{', ...' if len(foreign) > 8 else ''}: not among the types that are "
            "known to be harmless, and building them can run code. If you know where the file comes from, say "
            "trust=true"
        )
    try:
        estimators = skops.loads(data, trusted=[*TRUSTED, *foreign])
        if not isinstance(estimators, list) or not estimators:
            raise ValueError("it holds no list of estimators")
        _check_trees(estimators)
    except Exception as error:
        raise ResultFileError(f"{path} is no usable {kind}: {type(error).__name__}: {error}") from error
    return estimators, about


def _skops() -> Any:
    """Return skops.io.

    When it is imported, scikit-learn looks through all of its own modules, one of which imports torch: seconds that
    nothing here needs.
    """
    need("skops")
    import importlib

    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("skops.io")
    finally:
        if hidden:
            del sys.modules["torch"]


def _sealed(path: Path, kind: str) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return the archive's entries but the record, and the record, if the two fit each other."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ResultFileError(f"cannot read the {kind} {path}: {error.strerror or error}") from error
    if data.startswith(_PICKLES):
        raise ResultFileError(
            f"{path} looks like a pickle or joblib file, which runs code when it is read: it is not read. Save the "
            "estimators with EstimatorPolicy.save"
        )
    try:
        entries = _entries(data)
    except _NOT_AN_ARCHIVE as error:
        raise ResultFileError(f"{path} is damaged or no {kind}: {error}") from error
    if RECORD not in entries:
        more = " It is a plain skops file: EstimatorPolicy.save writes what belongs to it" * ("schema.json" in entries)
        raise ResultFileError(f"{path} is no {kind}: it has no entry {RECORD}.{more}")
    try:
        about = dict(json.loads(entries.pop(RECORD)))
    except (ValueError, TypeError) as error:
        raise ResultFileError(f"{path} is damaged or no {kind}: {error}") from error
    if about.get("kind") != kind:
        raise ResultFileError(f"{path} is no {kind}")
    if about.get("format") != FORMAT:
        raise ResultFileError(f"{path} has format {about.get('format')}; this version reads format {FORMAT}")
    if about.pop("sha256", None) != _checksum(about, entries):
        raise ResultFileError(f"{path} is damaged: its content does not fit its checksum")
    return entries, about


def _entries(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        listed = archive.infolist()
        if len({one.filename for one in listed}) < len(listed):
            raise ValueError("an entry stands in it twice")
        if sum(one.file_size for one in listed) > _MOST:
            raise ValueError("it would unpack to more than 1 GB")
        return {one.filename: archive.read(one) for one in listed}


def _archive(entries: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _checksum(record: Mapping[str, Any], entries: Mapping[str, bytes]) -> str:
    total = hashlib.sha256(json.dumps(record).encode())
    for name in sorted(entries):
        total.update(f"{name} {len(entries[name])}".encode())
        total.update(entries[name])
    return total.hexdigest()


def _check_trees(whole: Any) -> None:
    """Raise `ValueError` if a tree of gradient boosting leads outside itself, in a circle, or to no such input.

    Every part is looked at: estimators stand inside pipelines, ensembles and regressors of several outputs.
    """
    seen, parts = set[int](), [whole]
    while parts:
        part = parts.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Mapping):
            parts += part.values()
        elif isinstance(part, list | tuple | set) or (isinstance(part, np.ndarray) and part.dtype == object):
            parts += np.ravel(part) if isinstance(part, np.ndarray) else part
        elif hasattr(part, "__dict__") and not isinstance(part, type):
            parts += vars(part).values()
            for stage in getattr(part, "_predictors", ()):
                for tree in stage:
                    _check_tree(tree, part.n_features_in_)


def _check_tree(tree: Any, inputs: int) -> None:
    nodes, count = tree.nodes, len(tree.nodes)
    inner = nodes[nodes["is_leaf"] == 0]
    own = np.flatnonzero(nodes["is_leaf"] == 0)
    forward = all((inner[side] > own).all() and (inner[side] < count).all() for side in ("left", "right"))
    known = (inner["feature_idx"] >= 0).all() and (inner["feature_idx"] < inputs).all()
    if not (count and forward and known) or inner["is_categorical"].any():
        raise ValueError("a tree contradicts itself")
