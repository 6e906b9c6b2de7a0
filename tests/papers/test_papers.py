"""Reproductions by name."""

import pytest

from feederlab import papers
from feederlab.errors import InputError, UnknownNameError
from feederlab.papers.reproduction import Reproduction


@pytest.mark.parametrize("name", papers.names())
def test_every_name_is_a_reproduction_that_knows_its_name(name: str) -> None:
    made = papers.create(name)
    assert isinstance(made, Reproduction)
    assert made.name == name
    assert made.citation
    assert made.values() == papers.create(name).values()


def test_wrong_names_and_settings() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'mapdn-classical'"):
        papers.create("mapdn-clasical")
    with pytest.raises(InputError, match=r"'opf-baselines' has no windows: it can be given cases, networks, steps"):
        papers.create("opf-baselines", windows=3)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("mapdn-classical", {"networks": ("mapdn34",)}, "unknown network 'mapdn34': did you mean"),
        ("mapdn-classical", {"networks": ()}, "at least one, not none"),
        ("mapdn-classical", {"networks": ("mapdn33", "mapdn33")}, "different names"),
        ("mapdn-classical", {"windows": 0}, "windows must be at least 1, not 0"),
        ("mapdn-classical", {"seed": -1}, "seed must be at least 0, not -1"),
        ("opf-baselines", {"cases": ("case6",)}, "unknown case 'case6'"),
        ("opf-baselines", {"networks": ("case300",)}, "unknown scenario 'case300'"),
        ("opf-baselines", {"steps": 7}, "must divide a day's 1440 minutes"),
        ("opf-baselines", {"steps": 0}, "must divide a day's 1440 minutes"),
    ],
)
def test_impossible_settings(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        papers.create(name, **settings)
