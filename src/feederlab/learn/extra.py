"""The extra that this room needs, and the one line that says so where it is missing."""

from __future__ import annotations

from importlib.util import find_spec

from feederlab.errors import MissingExtraError


def need(*modules: str) -> None:
    """Make sure that `modules` can be imported.

    Raises
    ------
    MissingExtraError
        Naming those that cannot, and the command that installs them.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"{', '.join(missing)} not installed: pip install 'feederlab[learn]'")
