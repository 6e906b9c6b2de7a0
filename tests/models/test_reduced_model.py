"""Derivatives of the reduced model against finite differences of the power flow, on random feeders."""

import numpy as np
import pytest
from grids import random_nets
from hypothesis import given, settings
from hypothesis import strategies as st

from feederlab.models.feeder import Feeder
from feederlab.models.objective import Objective
from feederlab.models.operating_point import OperatingPoint
from feederlab.models.reduced.model import ReducedModel
from feederlab.models.setpoints import SetpointProblem
from strategies import operating_points, radial_feeders

TERMS = [
    "losses", "voltage_deviation", "substation_import", "control_effort", "curtailment",
    "losses=2+voltage_deviation=0.5+control_effort=0.1",
]  # fmt: skip


@st.composite
def cases(draw, objectives: list[str]):
    """A radial or meshed feeder with every line limited, an operating point, and for each objective a reduced model and
    setpoints inside their bounds."""
    meshed = draw(st.booleans())
    feeder = Feeder.from_pandapower(draw(random_nets(meshed=True))[0]) if meshed else draw(radial_feeders(6))
    band = np.repeat([[0.97], [1.03]], feeder.n_nodes, axis=1)
    point, curtail, found = draw(operating_points(feeder)), draw(st.booleans()), []
    for name in objectives:
        problem = SetpointProblem(
            feeder, band, Objective.parse(name), 100.0, curtail=curtail, max_loading_percent=30.0
        )  # fmt: skip
        model = ReducedModel(problem)
        shares = np.array([draw(st.integers(-9, 9)) / 10 for _ in range(model.size)])
        found.append((model, point, model.project(point, shares)))
    return found


def moved(model: ReducedModel, point: OperatingPoint, z: np.ndarray, k: int, step: float):
    return [model.evaluate(point, z + sign * step * np.eye(len(z))[k]) for sign in (1, -1)]


def gradient(model: ReducedModel, point: OperatingPoint, z: np.ndarray, weights: np.ndarray) -> np.ndarray:
    by = model.expand(point, model.evaluate(point, z))
    return by.gradient + weights @ by.slopes


@settings(max_examples=8, deadline=None)
@given(cases(TERMS), st.integers(0, 1000))
def test_derivatives_are_exact(drawn, seed: int) -> None:
    rng, step = np.random.default_rng(seed), 1e-4
    for model, point, z in drawn:
        here = model.evaluate(point, z)
        by = model.expand(point, here)
        weights = rng.uniform(0.0, 3.0, len(here.rows))
        hessian = model.hessian(point, here, by, weights)
        size, slope = max(1.0, np.abs(hessian).max()), max(1.0, np.abs(by.slopes).max())
        np.testing.assert_allclose(hessian, hessian.T, atol=1e-9 * size)
        for k in range(model.size):
            up, down = moved(model, point, z, k, step)
            np.testing.assert_allclose(by.slopes[:, k], (up.rows - down.rows) / (2 * step), atol=1e-6 * slope)
            change = (up.price.objective - down.price.objective) / (2 * step)
            assert by.gradient[k] == pytest.approx(change, abs=1e-6, rel=1e-5)
            ends = [gradient(model, point, z + sign * step * np.eye(len(z))[k], weights) for sign in (1, -1)]
            np.testing.assert_allclose(hessian[:, k], (ends[0] - ends[1]) / (2 * step), atol=1e-5 * size)


@settings(max_examples=8, deadline=None)
@given(cases(["losses=1+voltage_deviation=0.1"]))
def test_states_are_priced_and_feasible(drawn) -> None:
    """The rows are what the cost prices, and projected setpoints are what the devices can do."""
    model, point, z = drawn[0]
    here = model.evaluate(point, z)
    assert np.maximum(here.rows, 0).sum() == pytest.approx(here.price.excess + here.price.overload, abs=1e-9)
    assert here.cost == pytest.approx(here.price.objective + 100.0 * (here.price.excess + here.price.overload))
    q, p = model.problem.feasible(point, here.q_mvar, here.p_mw)
    np.testing.assert_allclose(q, here.q_mvar, atol=1e-12)
    np.testing.assert_allclose(p, here.p_mw, atol=1e-12)
    np.testing.assert_allclose(model.position(q, p), z, atol=1e-12)
