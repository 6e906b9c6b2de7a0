"""Every environment of ours that Gymnasium knows passes its check, and stands in the docs."""

import warnings
from pathlib import Path

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

import feederlab.learn  # noqa: F401  (registers them)
import toy
import toy_banks

OURS = sorted(name for name in gym.registry if name.startswith("feederlab/"))


def test_there_are_three():
    assert OURS == ["feederlab/Capacitors-v0", "feederlab/SmartMeter-v0", "feederlab/VoltVar-v0"]


@pytest.mark.parametrize("name", OURS)
def test_gymnasiums_check(name):
    env = gym.make(name, **_settings(name))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped, skip_render_check=True)


def _settings(name):
    if "Capacitors" in name:
        return {"scenario": toy_banks.scenario(), "every": "4h", "fast": "none", "cost_scale": 1.0}
    if "SmartMeter" in name:
        storage = toy.scenario().with_devices(storages={17: (0.2, 0.8)})
        return {"scenario": storage, "bus": 17, "stages": "H", "days": ["2016-06-20"]}
    return {"scenario": toy.scenario(), "observation": "local"}


@pytest.mark.parametrize("name", OURS)
def test_the_docs_describe_each(name):
    page = (Path(__file__).parents[2] / "docs" / "environments.md").read_text()
    assert f"`{name}`" in page
