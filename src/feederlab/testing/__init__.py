"""The conformance suite for controllers, `check_controller`, and a scenario to try them on."""

from feederlab.testing.conformance import check_controller
from feederlab.testing.example import example_scenario
from feederlab.testing.trials import Case

__all__ = ["Case", "check_controller", "example_scenario"]
