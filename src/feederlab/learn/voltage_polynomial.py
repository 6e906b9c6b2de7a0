"""Fit the polynomials that `Coordination(predictor="polynomial")` predicts voltages with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from feederlab.controllers.base import Controller
from feederlab.errors import InputError
from feederlab.models.arrays import ComplexArray, FloatArray, IntArray
from feederlab.models.feeder import Feeder
from feederlab.models.powerflow.base import engine
from feederlab.models.predictors.actions import KINDS, UNITS, Actions
from feederlab.models.predictors.neighbours import links_text, neighbourhoods, watched_nodes
from feederlab.models.predictors.polynomial import VoltagePolynomials, fit_group
from feederlab.models.scenario import Scenario, Series
from feederlab.simulate import RunOptions, simulate

_MOVED = 1e-6  # MW, MVAr: a power that never changes by more is not decided


def fit_polynomial(
    scenario: Scenario,
    locals: Controller,
    *,
    neighbours: str | Mapping[int, Sequence[int]] = "all",
    order: int = 2,
    explore: float = 0.2,
    seed: int = 0,
) -> VoltagePolynomials:
    """Fit voltage polynomials on the history of uncoordinated local controllers.

    The scenario is run under `locals` alone.  Each step gives one sample: the voltages that its loads make under the
    setpoints of the step before, how the actions then change, and the voltages after that.

    Parameters
    ----------
    locals
        The controllers that are to be coordinated, alone.
    neighbours
        As for `Coordination`.
    order
        Of the polynomials, 1 to 4; the paper takes 4.
    explore
        Standard deviation of what is added to every recorded action, in ranges of that action over the run.  Local
        controllers that read the same feeder act alike, and from a history where all act together no one can tell who
        moved the voltage.  0: the bare history.

    Raises
    ------
    InputError
        If nothing acts, the polynomials have more terms than the run has steps, or a power flow has no solution.
    """
    if not explore >= 0:
        raise InputError(f"explore must not be negative, not {explore}")
    neighbours = links_text(neighbours)
    feeder, series = scenario.feeder, scenario.series()
    run = simulate(scenario, locals, RunOptions(seed=seed)).data
    powers = {name: run[name].to_numpy().astype(float) for name in KINDS}
    actions = _decided(scenario, powers)
    taken = np.stack(
        [powers[KINDS[k]][:, d] for k, d in zip(actions.kind, actions.device, strict=True)], axis=1
    )  # fmt: skip
    rest = -series.load_mva.copy()
    for name, unit in zip(KINDS, UNITS, strict=True):
        table = feeder.storages if name.startswith("storage") else feeder.inverters
        on = np.flatnonzero(table.node >= 0)
        np.add.at(rest.T, table.node[on], unit * powers[name].T[on])
    np.subtract.at(rest.T, actions.node, (taken * actions.unit).T)
    spread = taken.max(axis=0) - taken.min(axis=0)
    after = taken + explore * spread * np.random.default_rng(seed).standard_normal(taken.shape)
    before = np.vstack([np.zeros(taken.shape[1]), after[:-1]])
    switched = np.hstack([run["tap"].to_numpy(), run["step"].to_numpy()]).astype(np.int64)
    vm_before, vm_after = (_voltages(feeder, series, switched, rest, a, actions) for a in (before, after))
    groups = []
    of = neighbourhoods(neighbours, np.unique(actions.node), feeder, feeder.node_zone)
    for neighbourhood in sorted(set(of.values()), key=sorted):
        rows = np.flatnonzero(np.isin(actions.node, list(neighbourhood)))
        nodes = np.unique(actions.node[rows])
        watched = watched_nodes(neighbours, nodes, feeder.slack, feeder.node_zone)
        nodes = nodes[nodes != feeder.slack]
        meters, buses = (tuple(int(bus) for bus in feeder.node_bus[some]) for some in (nodes, watched))
        fitted = fit_group(
            actions.part(rows).names, meters, buses, order, (after - before)[:, rows], vm_before[:, nodes],
            vm_before[:, watched], vm_after[:, watched],
        )  # fmt: skip
        groups.append(fitted)
    return VoltagePolynomials(feeder.name, neighbours, tuple(groups))


def _voltages(
    feeder: Feeder, series: Series, switched: IntArray, rest_mva: ComplexArray, taken: FloatArray, actions: Actions
) -> FloatArray:
    """Return the (T, nodes) voltage magnitudes under actions (T, k).

    switched : (T, tap changers + capacitor banks) positions.  rest_mva : (T, nodes) injection of everything else.
    """
    injection, flow, vm = rest_mva.copy(), engine(feeder), np.empty(rest_mva.shape)
    np.add.at(injection.T, actions.node, (taken * actions.unit).T)
    taps = len(feeder.tap_changers)
    for setting in np.unique(switched, axis=0):
        rows = (switched == setting).all(axis=1)
        vm[rows] = flow.solve_batch(
            injection[rows], taps=setting[:taps], steps=setting[taps:], slack_vm=series.slack_vm[rows]
        ).vm
    if not np.isfinite(vm).all():
        raise InputError("a power flow of the history has no solution; take milder local controllers or less explore")
    return vm


def _decided(scenario: Scenario, powers: Mapping[str, FloatArray]) -> Actions:
    """Return the actions: powers that the local controllers moved, whole tables of them."""
    kinds, devices, nodes = [], [], []
    offered = np.minimum(scenario.series().p_available_mw, scenario.feeder.inverters.s_mva)
    for kind, name in enumerate(KINDS):
        table = scenario.feeder.inverters if kind < 2 else scenario.feeder.storages
        moved = np.abs(powers[name] - offered) if name == "p_mw" else np.abs(powers[name])
        if not (moved > _MOVED).any():
            continue
        rows = np.flatnonzero((table.node >= 0) & (table.s_mva > 0))
        kinds.append(np.full(len(rows), kind))
        devices.append(rows)
        nodes.append(table.node[rows])
    if not kinds:
        raise InputError(f"the local controllers moved nothing on {scenario.name!r}: there is nothing to fit")
    return Actions.of(np.concatenate(kinds), np.concatenate(devices), np.concatenate(nodes))
