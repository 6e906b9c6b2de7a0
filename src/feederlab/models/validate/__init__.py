"""Rules that look a net and its profiles over; every problem found is raised together, and nothing is repaired.

A rule is a small function that returns a list of `Problem`.  Rules look at what is in service, and skip values that
another rule has already refused, so that one fault is reported once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from feederlab.errors import Problem, ValidationError
from feederlab.models.profiles import Key, Profile
from feederlab.models.validate.devices import DEVICE_RULES
from feederlab.models.validate.electrical import ELECTRICAL_RULES
from feederlab.models.validate.graph import build_graph
from feederlab.models.validate.series import SERIES_RULES
from feederlab.models.validate.tables import TABLE_RULES, has_tables
from feederlab.models.validate.topology import TOPOLOGY_RULES
from feederlab.models.validate.units import unit_slip

__all__ = ["assert_valid_net", "assert_valid_profiles", "net_problems", "profile_problems"]


def net_problems(net: Any) -> list[Problem]:
    """Return what is wrong with a pandapower net."""
    if unusable := has_tables(net):
        return unusable
    problems = [problem for rule in (*TABLE_RULES, *ELECTRICAL_RULES, *DEVICE_RULES) for problem in rule(net)]
    graph = build_graph(net)
    problems += [problem for rule in (*TOPOLOGY_RULES, unit_slip) for problem in rule(net, graph)]
    return problems


def profile_problems(net: Any, profiles: Mapping[Key, Profile]) -> list[Problem]:
    """Return what is wrong with profiles for a valid net."""
    return [problem for rule in SERIES_RULES for problem in rule(net, profiles)]


def assert_valid_net(net: Any) -> None:
    """Raise `ValidationError` with every problem of the net."""
    if problems := net_problems(net):
        raise ValidationError(problems)


def assert_valid_profiles(net: Any, profiles: Mapping[Key, Profile]) -> None:
    """Raise `ValidationError` with every problem of the profiles."""
    if problems := profile_problems(net, profiles):
        raise ValidationError(problems)
