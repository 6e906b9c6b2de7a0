"""Learned parts: environments over the same plant, policies as controllers.  Needs the extra ``feederlab[learn]``.

``gymnasium.make("feederlab.learn:feederlab/Capacitors-v0", scenario="sce47", step="1min")`` gives the environment.
What is public here is imported when it is first used: running a policy needs neither torch nor gymnasium.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feederlab.learn.capacitors import CapacitorsEnv
    from feederlab.learn.dqn import Dqn
    from feederlab.learn.imitation import Imitation, train_imitation
    from feederlab.learn.policies.actor import Actor, ActorPolicy
    from feederlab.learn.policies.callable import CallablePolicy
    from feederlab.learn.policies.estimators import EstimatorPolicy
    from feederlab.learn.policies.saving import save_policy
    from feederlab.learn.policies.sb3 import SB3Policy
    from feederlab.learn.policies.sklearn_policy import SklearnPolicy
    from feederlab.learn.policies.view import View
    from feederlab.learn.policy import Policy
    from feederlab.learn.rewards import Reward
    from feederlab.learn.settings import DqnSettings, PpoSettings, SacSettings, Td3Settings
    from feederlab.learn.smart_meter.env import SmartMeterEnv
    from feederlab.learn.train import Stopped, Training, train_dqn
    from feederlab.learn.volt_var.env import VoltVarEnv
    from feederlab.learn.volt_var.sb3 import VoltVarVecEnv
    from feederlab.learn.volt_var.vector import VoltVarVectorEnv

_HOMES = {
    "Actor": "policies.actor", "ActorPolicy": "policies.actor", "CallablePolicy": "policies.callable",
    "SB3Policy": "policies.sb3", "View": "policies.view", "save_policy": "policies.saving",
    "EstimatorPolicy": "policies.estimators", "SklearnPolicy": "policies.sklearn_policy",
    "Imitation": "imitation", "train_imitation": "imitation",
    "VoltVarEnv": "volt_var.env", "VoltVarVecEnv": "volt_var.sb3", "VoltVarVectorEnv": "volt_var.vector",
    "SmartMeterEnv": "smart_meter.env", "Reward": "rewards",
    "CapacitorsEnv": "capacitors", "Dqn": "dqn", "Policy": "policy", "DqnSettings": "settings",
    "PpoSettings": "settings", "SacSettings": "settings", "Td3Settings": "settings", "Stopped": "train",
    "Training": "train", "train_dqn": "train",
}  # fmt: skip
__all__ = [
    "Actor", "ActorPolicy", "CallablePolicy", "CapacitorsEnv", "Dqn", "DqnSettings", "EstimatorPolicy", "Imitation",
    "Policy", "PpoSettings", "Reward", "SB3Policy", "SacSettings", "SklearnPolicy", "SmartMeterEnv", "Stopped",
    "Td3Settings", "Training", "View", "VoltVarEnv", "VoltVarVecEnv", "VoltVarVectorEnv", "save_policy", "train_dqn",
    "train_imitation",
]  # fmt: skip

if find_spec("gymnasium") is not None:
    import_module("feederlab.learn.environments")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'feederlab.learn' has no attribute {name!r}")
    return getattr(import_module(f"feederlab.learn.{_HOMES[name]}"), name)
