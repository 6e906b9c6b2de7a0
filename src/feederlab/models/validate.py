"""Rules that look a net and its profiles over; every problem found is raised together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from feederlab.errors import Problem, ValidationError
from feederlab.models.profiles import Key, Profile


def net_problems(net: Any) -> list[Problem]:
    """Return what is wrong with a net."""
    return []


def profile_problems(net: Any, profiles: Mapping[Key, Profile]) -> list[Problem]:
    """Return what is wrong with profiles."""
    return []


def assert_valid_net(net: Any) -> None:
    """Raise `ValidationError` with every problem of the net."""
    if problems := net_problems(net):
        raise ValidationError(problems)


def assert_valid_profiles(net: Any, profiles: Mapping[Key, Profile]) -> None:
    """Raise `ValidationError` with every problem of the profiles."""
    if problems := profile_problems(net, profiles):
        raise ValidationError(problems)
