"""feederlab: compare, certify and embed voltage controllers on electricity distribution feeders.

Everything public is here, flat, and imported when it is first used, so that ``import feederlab`` costs nothing:

>>> import feederlab as fl
>>> scenario = fl.load_scenario("mapdn33", start="2016-06-21", days=1)  # doctest: +SKIP
>>> fl.compare(scenario, {"none": fl.NoControl(), "droop": fl.VoltVar(curve="mapdn")}).table()  # doctest: +SKIP
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feederlab.certificate import Certificate
    from feederlab.certify import certify, lower_bounds
    from feederlab.compare import compare
    from feederlab.comparison import Comparison
    from feederlab.controllers.avr import Avr as AVR
    from feederlab.controllers.base import (
        GLOBAL,
        LOCAL,
        ZONE,
        Controller,
        ControlTask,
        Decision,
        Information,
        Measurement,
        Prepared,
        Scope,
        Setpoints,
        Settle,
        State,
    )
    from feederlab.controllers.cap_rule import CapRule
    from feederlab.controllers.coordination import Coordination
    from feederlab.controllers.enumerate import Enumerate
    from feederlab.controllers.feedback import Feedback
    from feederlab.controllers.fixed import Fixed
    from feederlab.controllers.fixed_pf import FixedPowerFactor
    from feederlab.controllers.foresight import Foresight
    from feederlab.controllers.lindistflow import LinDistFlow
    from feederlab.controllers.mpc import Mpc as MPC
    from feederlab.controllers.none import NoControl
    from feederlab.controllers.opf import Opf as OPF
    from feederlab.controllers.random_switching import RandomSwitching
    from feederlab.controllers.registry import create as create_controller
    from feederlab.controllers.safety_filter import SafetyFilter
    from feederlab.controllers.socp import Socp as SOCP
    from feederlab.controllers.storage_droop import StorageDroop
    from feederlab.controllers.storage_schedule import StorageSchedule
    from feederlab.controllers.together import Together
    from feederlab.controllers.two_timescale import TwoTimescale
    from feederlab.controllers.volt_var import VoltVar
    from feederlab.controllers.volt_watt import VoltWatt
    from feederlab.controllers.watt_var import WattVar
    from feederlab.errors import (
        FeederlabError,
        InputError,
        MissingExtraError,
        NotRadialError,
        Problem,
        ResultFileError,
        UnknownNameError,
        ValidationError,
    )
    from feederlab.hosting import Hosting, hosting_capacity
    from feederlab.metrics import METRICS, Metric, score
    from feederlab.models.feeder import Feeder
    from feederlab.models.objective import Objective
    from feederlab.models.plant import DeviceState, Plant, Wanted
    from feederlab.models.powerflow.base import PowerFlow, Solution
    from feederlab.models.powerflow.net import NetFlow, powerflow
    from feederlab.models.profiles import Profile
    from feederlab.models.scaling import sunniest_day
    from feederlab.models.scenario import ProfileNoise, Scenario, Series
    from feederlab.models.windows import random_windows
    from feederlab.opf_case import OpfResult, solve_opf
    from feederlab.record import Cell
    from feederlab.report.figures import write_figures
    from feederlab.report.html import write_report
    from feederlab.result import Result
    from feederlab.scenarios import load_scenario
    from feederlab.simulate import RunOptions, simulate
    from feederlab.study_file import read_study
    from feederlab.summary import Summary, summarise
    from feederlab.sweep import Sweep, sweep
    from feederlab.testing import check_controller

_HOMES: dict[str, str] = {
    "Certificate": "certificate", "certify": "certify", "lower_bounds": "certify",
    "Cell": "record", "Comparison": "comparison", "compare": "compare",
    "write_figures": "report.figures", "write_report": "report.html",
    **dict.fromkeys(
        ("GLOBAL", "LOCAL", "ZONE", "ControlTask", "Controller", "Decision", "Information", "Measurement", "Prepared",
         "Scope", "Setpoints", "Settle", "State"), "controllers.base"),
    "AVR": "controllers.avr:Avr", "CapRule": "controllers.cap_rule", "Coordination": "controllers.coordination",
    "Enumerate": "controllers.enumerate", "Fixed": "controllers.fixed", "Foresight": "controllers.foresight",
    "MPC": "controllers.mpc:Mpc", "RandomSwitching": "controllers.random_switching",
    "StorageDroop": "controllers.storage_droop", "StorageSchedule": "controllers.storage_schedule",
    "Together": "controllers.together", "TwoTimescale": "controllers.two_timescale",
    "Feedback": "controllers.feedback", "FixedPowerFactor": "controllers.fixed_pf",
    "LinDistFlow": "controllers.lindistflow", "NoControl": "controllers.none",
    "OPF": "controllers.opf:Opf", "create_controller": "controllers.registry:create",
    "SOCP": "controllers.socp:Socp", "SafetyFilter": "controllers.safety_filter", "VoltVar": "controllers.volt_var",
    "VoltWatt": "controllers.volt_watt", "WattVar": "controllers.watt_var",
    **dict.fromkeys(
        ("FeederlabError", "InputError", "MissingExtraError", "NotRadialError", "Problem", "ResultFileError",
         "UnknownNameError", "ValidationError"), "errors"),
    "METRICS": "metrics", "Metric": "metrics", "score": "metrics",
    "Feeder": "models.feeder", "Objective": "models.objective",
    "DeviceState": "models.plant", "Plant": "models.plant", "Wanted": "models.plant",
    "PowerFlow": "models.powerflow.base", "Solution": "models.powerflow.base", "Profile": "models.profiles",
    "ProfileNoise": "models.scenario", "Scenario": "models.scenario", "Series": "models.scenario",
    "random_windows": "models.windows", "read_study": "study_file",
    "NetFlow": "models.powerflow.net", "powerflow": "models.powerflow.net",
    "OpfResult": "opf_case", "solve_opf": "opf_case", "Result": "result", "load_scenario": "scenarios",
    "RunOptions": "simulate", "simulate": "simulate",
    "Hosting": "hosting", "hosting_capacity": "hosting", "Sweep": "sweep", "sweep": "sweep",
    "sunniest_day": "models.scaling", "Summary": "summary", "summarise": "summary", "check_controller": "testing",
}  # fmt: skip
"""name -> module inside feederlab, or ``module:its name there``."""

__all__ = [  # noqa: RUF022
    "AVR", "CapRule", "Coordination", "Enumerate", "Fixed", "Foresight", "MPC", "RandomSwitching", "StorageDroop",
    "StorageSchedule", "Together", "TwoTimescale",
    "Cell", "Certificate", "Comparison", "ControlTask", "Controller", "Decision", "DeviceState", "Feedback",
    "Feeder", "FeederlabError", "FixedPowerFactor", "GLOBAL", "Hosting", "Information", "InputError", "LOCAL",
    "LinDistFlow",
    "METRICS", "Measurement", "Metric", "MissingExtraError", "NetFlow", "NoControl", "NotRadialError", "OPF",
    "Objective", "OpfResult", "Plant", "PowerFlow", "Prepared", "Problem", "Profile", "ProfileNoise",
    "Result", "ResultFileError", "RunOptions", "SOCP", "SafetyFilter", "Scenario", "Scope", "Series", "Setpoints",
    "Settle", "Solution", "State", "Summary", "Sweep", "UnknownNameError", "ValidationError", "VoltVar", "VoltWatt",
    "Wanted", "WattVar", "ZONE", "certify", "check_controller", "compare", "create_controller",
    "hosting_capacity", "load_scenario", "lower_bounds", "powerflow", "random_windows", "read_study", "score",
    "simulate", "solve_opf", "summarise", "sunniest_day", "sweep", "write_figures", "write_report",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("feederlab")
    if name not in _HOMES:
        raise AttributeError(f"module 'feederlab' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value = getattr(import_module(f"feederlab.{module}"), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


class _Package(ModuleType):
    """Keeps ``feederlab.simulate`` the function: importing a submodule of that name would put the module there."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
