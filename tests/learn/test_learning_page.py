"""docs/learning.md: the defaults it lists are those of the code, and its examples of Python run."""

import re
from pathlib import Path

import pytest

from feederlab.learn.settings import SETTINGS
from feederlab.learn.train import STEPS

PAGE = (Path(__file__).parents[2] / "docs" / "learning.md").read_text(encoding="utf-8")
TABLES = {
    "ppo": ("`ppo`, `PpoSettings`:", "`sac`, `SacSettings`"),
    "sac": ("`sac`, `SacSettings`", "`dqn`, `DqnSettings`"),
    "td3": ("`sac`, `SacSettings`", "`dqn`, `DqnSettings`"),
    "dqn": ("### The network and its hyper-parameters", "### The policy file"),
}


def shown(value):
    return (
        ",".join(map(str, value))
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


@pytest.mark.parametrize("algorithm", TABLES)
def test_the_defaults_are_those_of_the_code(algorithm):
    first, last = TABLES[algorithm]
    part = PAGE[PAGE.index(first) : PAGE.index(last)]
    rows = [line.split(" | ") for line in part.splitlines() if line.startswith("| `")]
    listed = {}
    for row in rows:
        listed |= dict(zip(re.findall(r"`(\w+)`", row[0]), row[1].split("; "), strict=True))
    settings = SETTINGS[algorithm]()
    wanted = {name: shown(getattr(settings, name)) for name in settings.to_dict()}
    assert {name: value for name, value in listed.items() if name in wanted} == wanted
    assert {*listed} <= {name for kind in SETTINGS.values() for name in kind().to_dict()}


def test_the_steps_are_those_of_the_code():
    for algorithm, steps in STEPS.items():
        rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("| `") and "feederlab/" in line]
        (row,) = [cells for cells in rows if f"`{algorithm}`" in cells[1]]
        assert row[5].strip() == f"{steps:,}"


@pytest.mark.slow
def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "PpoSettings" in block)
    exec(compile(code, "learning.md", "exec"), {})
    assert (tmp_path / "policies" / "ppo33" / "policy.safetensors").is_file()
