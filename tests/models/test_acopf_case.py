"""Optimal power flow of MATPOWER cases against published optima (MATPOWER 8, `runopf`, its default solver)."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandapower
import pandapower.networks as networks
import pytest

from feederlab.errors import InputError
from feederlab.models.acopf.case import solve
from feederlab.models.acopf.case_grid import CaseGrid
from feederlab.models.acopf.net_case import grid_of_net
from feederlab.models.matpower_case import read_tables
from feederlab.models.objective import Objective
from feederlab.opf_case import solve_opf

COST = Objective((("cost", 1.0),))
OPTIMA = {
    "case5": 17551.89, "case9": 5296.686, "case14": 8081.525, "case30": 576.892,
    "case39": 41864.178, "case57": 41737.786, "case118": 129660.69, "case300": 719725.10,
}  # fmt: skip


@pytest.mark.parametrize(("name", "optimum"), OPTIMA.items())
def test_matpower_optimum_from_a_flat_start(name: str, optimum: float) -> None:
    grid = CaseGrid.from_tables(read_tables(name))
    state = solve(grid, COST)
    assert state.report.solved
    assert state.report.objective == pytest.approx(optimum, rel=1e-6)
    assert state.violation(grid) < 1e-8


def test_other_objectives_reach_less_of_what_they_minimise() -> None:
    grid = CaseGrid.from_tables(read_tables("case30"))
    cheapest = solve(grid, COST)
    losses = solve(grid, Objective((("losses", 1.0),)))
    assert losses.report.objective == pytest.approx(losses.losses(grid) * grid.base_mva, rel=1e-8)
    assert losses.losses(grid) < 0.9 * cheapest.losses(grid)
    level = solve(grid, Objective((("voltage_deviation", 1.0),)))
    others = np.arange(len(grid.bus_id)) != grid.slack[0]
    deviation = [float(((np.abs(s.voltage[others]) ** 2 - 1) ** 2).sum()) for s in (level, cheapest)]
    assert level.report.objective == pytest.approx(deviation[0], abs=1e-9)
    assert deviation[0] < 0.2 * deviation[1]
    imported = solve(grid, Objective((("substation_import", 1.0),)))
    at_slack = np.isin(grid.gen_node, grid.slack)
    assert imported.power[at_slack].real.sum() == pytest.approx(grid.p_low[at_slack].sum(), abs=1e-6)


def test_violation_sees_every_limit() -> None:
    grid = CaseGrid.from_tables(read_tables("case30"))
    state = solve(grid, COST)
    tighter = {
        "vm_high": np.abs(state.voltage) - 0.01, "p_high": state.power.real - 0.01, "q_low": state.power.imag + 0.01,
        "demand": grid.demand + 0.01, "rating": np.abs(state.flows(grid)[0]) - 0.01,
        "angle_high": np.full(len(grid.rating), -0.5),
    }  # fmt: skip
    for name, limit in tighter.items():
        assert state.violation(replace(grid, **{name: limit})) >= 0.01 - 1e-9, name


def test_angle_limits_bind() -> None:
    grid = CaseGrid.from_tables(read_tables("case9"))
    free = solve(grid, COST)
    ends = grid.ends
    angle = np.angle(free.voltage[ends.from_node] * np.conj(free.voltage[ends.to_node]))
    widest = np.abs(angle).max()
    tight = replace(grid, angle_low=np.full(len(angle), -0.8 * widest), angle_high=np.full(len(angle), 0.8 * widest))
    bound = solve(tight, COST)
    assert bound.report.solved
    assert bound.violation(tight) < 1e-8
    assert bound.report.objective > free.report.objective + 1.0


def test_piecewise_linear_cost_follows_the_quadratic_it_samples() -> None:
    tables = read_tables("case9")
    quadratic = solve(CaseGrid.from_tables(tables), COST).report.objective
    rows = []
    for unit, row in zip(tables.gen, tables.gencost, strict=True):
        p = np.linspace(unit[9], unit[8], 60)
        points = np.stack([p, np.polyval(row[4:7], p)], axis=1)
        rows.append([1, 0, 0, len(points), *points.ravel()])
    sampled = solve(CaseGrid.from_tables(replace(tables, gencost=np.array(rows))), COST)
    assert sampled.report.solved
    assert quadratic <= sampled.report.objective < quadratic * 1.0005


def test_parallel_branches_share_the_flow() -> None:
    tables = read_tables("case9")
    half = tables.branch.copy()
    half[:, [2, 3]] *= 2  # twice the impedance, half the charging and rating: two of them are the original
    half[:, [4, 5]] /= 2
    swapped = half.copy()
    swapped[:, [0, 1]] = half[:, [1, 0]]
    doubled = replace(tables, branch=np.concatenate([half, swapped]))
    assert solve(CaseGrid.from_tables(doubled), COST).report.objective == pytest.approx(5296.686, rel=1e-6)


def _cubic(tables):
    row = [2, 0, 0, 4, 1e-3, 0.1, 1.0, 0.0]
    return replace(tables, gencost=np.array([row] * len(tables.gen)))


def _concave(tables):
    row = [1, 0, 0, 3, 0.0, 0.0, 100.0, 1000.0, 200.0, 1100.0]
    return replace(tables, gencost=np.array([row] * len(tables.gen)))


def _capability(tables):
    gen = tables.gen.copy()
    gen[0, 10] = 5.0
    return replace(tables, gen=gen)


def _no_impedance(tables):
    branch = tables.branch.copy()
    branch[2, [2, 3]] = 0.0
    return replace(tables, branch=branch)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_cubic, "polynomial of degree 3; at most 2"),
        (_concave, "not convex"),
        (_capability, "capability curves"),
        (_no_impedance, r"branch rows \[3\] of the case have no impedance"),
        (lambda tables: replace(tables, gencost=np.zeros((0, 0))), "no cost table"),
        (lambda tables: replace(tables, gencost=tables.gencost[:2]), "3 generators and 2 rows of gencost"),
    ],
)
def test_what_is_not_understood_is_refused(change, message: str) -> None:
    with pytest.raises(InputError, match=message):
        solve(CaseGrid.from_tables(change(read_tables("case9"))), COST)


def test_objective_without_meaning_on_a_case() -> None:
    with pytest.raises(InputError, match="'curtailment' has no value on a MATPOWER case"):
        solve(CaseGrid.from_tables(read_tables("case9")), Objective((("curtailment", 1.0),)))


@pytest.mark.parametrize("net", [networks.case5, networks.case9, networks.case30])
def test_net_with_costs_agrees_with_runopp(net) -> None:
    net = net()
    grid, node = grid_of_net(net)
    state = solve(grid, COST)
    pandapower.runopp(net, numba=False, init="pf", delta=1e-10)
    assert state.report.objective == pytest.approx(net.res_cost, rel=1e-6)
    np.testing.assert_allclose(np.abs(state.voltage[node]), net.res_bus.vm_pu, atol=2e-3)


@pytest.mark.parametrize("objective", ["cost", "losses"])
def test_a_file_that_names_foreign_code_is_refused_before_decoding(
    objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "evil.json"
    pandapower.to_json(networks.case9(), str(path))
    content = json.loads(path.read_text())
    content["_object"]["extra"] = {"_module": "foreign_code", "_class": "x", "_object": "{}"}
    path.write_text(json.dumps(content))
    (tmp_path / "foreign_code.py").write_text("raise SystemExit('the module of the file was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="run foreign code"):
        solve_opf(path, objective)
