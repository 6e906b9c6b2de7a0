"""The error tree. Each class carries the exit code that the command line returns for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches


class FeederlabError(Exception):
    """Base of every error that feederlab raises on purpose; its message is meant to be read by a person."""

    exit_code = 1


class InputError(FeederlabError):
    """A net, profile, option or file that cannot be used as given."""

    exit_code = 2


class UnknownNameError(InputError):
    """A scenario, controller, objective or option that does not exist.

    Parameters
    ----------
    kind
        What was looked up, e.g. ``"controller"``.
    name
        The name as given.
    known
        The names that exist; the nearest one is suggested.
    """

    exit_code = 3

    def __init__(self, kind: str, name: str, known: Sequence[str]) -> None:
        near = get_close_matches(name, list(known), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        listed = ", ".join(sorted(known)[:40]) or "none"
        super().__init__(f"unknown {kind} {name!r}: {hint}known: {listed}")
        self.kind, self.name, self.known = kind, name, tuple(known)


@dataclass(frozen=True)
class Problem:
    """One fault in the input: where it is, what is there, what is accepted, and how to mend it."""

    table: str
    column: str
    index: tuple[object, ...]
    message: str

    def __str__(self) -> str:
        shown = ", ".join(str(i) for i in self.index[:8]) + (", ..." if len(self.index) > 8 else "")
        place = f"{self.table}.{self.column}" if self.column else self.table
        return f"{place}[{shown}]: {self.message}" if self.index else f"{place}: {self.message}"


class ValidationError(InputError):
    """All faults found in a net or its profiles, raised together (`problems` lists them)."""

    exit_code = 4

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        head = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__(f"{head} in the input:\n" + "\n".join(f"  - {p}" for p in self.problems))


class NotRadialError(InputError):
    """A method that needs a radial feeder was given one with loops; the message names the lines that close them."""

    exit_code = 5


class ResultFileError(FeederlabError):
    """A result file or folder that is truncated, foreign, or belongs to another run."""

    exit_code = 6


class MissingExtraError(FeederlabError):
    """An optional dependency is not installed; the message gives the one command that installs it."""

    exit_code = 7
