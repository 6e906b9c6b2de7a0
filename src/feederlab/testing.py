"""`check_controller`: the conformance suite that every controller must pass, for third-party controllers too.

>>> from feederlab.testing import check_controller
>>> from feederlab.controllers.none import NoControl
>>> check_controller(NoControl())
"""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pandas as pd

from feederlab.controllers.base import (
    Controller,
    ControlTask,
    Decision,
    Information,
    Measurement,
    Measurements,
    Prepared,
    Scope,
    Setpoints,
    Settle,
    State,
)
from feederlab.controllers.information import mask, restrict_task, visible_nodes
from feederlab.controllers.registry import settings_of
from feederlab.models.arrays import BoolArray, FloatArray
from feederlab.models.feeder import Feeder
from feederlab.models.plant import DeviceState, Plant, Wanted
from feederlab.models.powerflow.base import engine
from feederlab.models.scenario import Scenario
from feederlab.simulate import RunOptions, simulate

Check = Callable[["Case"], Iterator[str]]
_NODE_ARRAYS = ("vm", "load_p_mw", "load_q_mvar")
_DEVICE_ARRAYS = {
    "inverters": ("p_available_mw", "p_mw", "q_mvar"),
    "storages": ("storage_p_mw", "storage_q_mvar", "soc"),
    "capacitors": ("step",),
    "tap_changers": ("tap",),
}
_SETPOINTS = {
    "inverters": ("q_mvar", "p_mw"),
    "storages": ("storage_p_mw", "storage_q_mvar"),
    "capacitors": ("step",),
    "tap_changers": ("tap",),
}


def check_controller(
    controller: Controller, scenario: Scenario | None = None, *, tolerance: float = 1e-6, seed: int = 0
) -> None:
    """Check that a controller keeps the promises that `Controller` and `Prepared` make.

    Parameters
    ----------
    controller
        Any `Controller`.
    scenario
        Where to try it; default: `example_scenario()`, which has every kind of device and two zones.
    tolerance
        How far (MW, MVAr, times the largest rating) setpoints may differ that must be equal; room for solvers.
    seed
        Of the random perturbations.

    Raises
    ------
    AssertionError
        Listing every promise that is broken.
    """
    case = Case(controller, example_scenario() if scenario is None else scenario, tolerance, seed)
    broken: list[str] = []
    for name, check in CHECKS.items():
        try:
            for message in check(case):
                broken.append(f"{name}: {message}")  # one by one: what was found before an exception counts
        except Exception as error:  # a controller may raise anything; the report must go on
            broken.append(f"{name}: raised {type(error).__name__}: {error}")
    if broken:
        raise AssertionError(
            f"{type(controller).__name__} breaks {len(broken)} promises:\n  - " + "\n  - ".join(broken)
        )


class Case:
    """A controller, what it may see of a scenario, and a few measurements taken over its span."""

    def __init__(self, controller: Controller, scenario: Scenario, tolerance: float, seed: int) -> None:
        self.controller, self.scenario, self.seed = controller, scenario, seed
        full = scenario.task()
        self.full_task, self.task = full, restrict_task(controller.sees, full)
        self.seen: BoolArray = visible_nodes(controller.sees, full)
        self.measurements = _measurements(scenario, seed)
        rating = max([*full.inverters.s_mva, *full.storages.s_mva, 0.0])
        self.tolerance = tolerance * max(rating, 1e-3)

    def prepare(self, task: ControlTask | None = None, seed: int | None = None) -> Prepared:
        """Return the controller made ready for the restricted task."""
        return self.controller.prepare(task or self.task, seed=self.seed if seed is None else seed)

    def run(self, measurements: list[Measurement], prepared: Prepared | None = None) -> list[tuple[Setpoints, State]]:
        """Feed measurements in turn, masked, and return every answer."""
        ready = prepared or self.prepare()
        state, answers = ready.initial_state(), []
        for measurement in measurements:
            setpoints, state = ready.step(state, _read_only(mask(self.controller.sees, measurement, self.seen)))
            answers.append((setpoints, state))
        return answers

    def same(self, a: Setpoints, b: Setpoints) -> bool:
        """Whether two decisions ask for the same."""
        return all(
            _equal(getattr(a, name), getattr(b, name), self.tolerance)
            for names in _SETPOINTS.values()
            for name in names
        )


def _immutable(case: Case) -> Iterator[str]:
    controller = case.controller
    if not dataclasses.is_dataclass(controller) or not controller.__dataclass_params__.frozen:
        yield "a controller must be a frozen dataclass, whose fields are its whole configuration"
        return
    if pickle.loads(pickle.dumps(controller)) != controller:
        yield "a pickled copy is not equal to the original"
    if type(controller)(**settings_of(controller)) != controller:
        yield "it cannot be rebuilt from its own fields"
    if not isinstance(controller.sees, Information):
        yield f"`sees` must be an Information such as LOCAL, not {controller.sees!r}"
    if not isinstance(controller.settle, Settle | None):
        yield f"`settle` must be a Settle or None, not {controller.settle!r}"


def _repeatable(case: Case) -> Iterator[str]:
    prepared = case.prepare()
    first = case.run(case.measurements, prepared)
    case.run(case.measurements[::-1], prepared)
    again = case.run(case.measurements, prepared)
    rebuilt = pickle.loads(pickle.dumps(case.controller)).prepare(case.task, seed=case.seed)
    fresh = case.run(case.measurements, rebuilt)
    for k, (a, b, c) in enumerate(zip(first, again, fresh, strict=True)):
        if not case.same(a[0], b[0]):
            yield f"decision {k} differs when the same run is repeated after other solves"
        if not case.same(a[0], c[0]):
            yield f"decision {k} differs when the controller is rebuilt from its configuration with the same seed"
        if not _equal(_leaves(a[1]), _leaves(b[1]), case.tolerance):
            yield f"the state after decision {k} differs when the same run is repeated"


def _pure(case: Case) -> Iterator[str]:
    prepared = case.prepare()
    for state in (prepared.initial_state(), case.run(case.measurements, prepared)[-1][1]):
        before = pickle.dumps(state)
        one, _ = prepared.step(state, _read_only(mask(case.controller.sees, case.measurements[0], case.seen)))
        if pickle.dumps(state) != before:
            yield "step() changes the state it is given; it must return a new one"
        two, _ = prepared.step(state, _read_only(mask(case.controller.sees, case.measurements[0], case.seen)))
        if not case.same(one, two):
            yield "equal state and measurement give different setpoints"


def _plain_state(case: Case) -> Iterator[str]:
    prepared = case.prepare()
    for state in (prepared.initial_state(), case.run(case.measurements, prepared)[-1][1]):
        if not isinstance(state, dict):
            yield f"the state must be a dict of plain arrays, not {type(state).__name__}"
        elif foreign := sorted({type(leaf).__name__ for leaf in _leaves(state) if not _is_plain(leaf)}):
            yield f"the state holds {', '.join(foreign)}; keep arrays, numbers and strings only"


def _sane(case: Case) -> Iterator[str]:
    for k, (setpoints, _) in enumerate(case.run(case.measurements)):
        measurement = case.measurements[k]
        yield from (f"decision {k}: {m}" for m in _shape_faults(case.task, setpoints))
        yield from (f"decision {k}: {m}" for m in _limit_faults(case, setpoints, measurement))


def _robust(case: Case) -> Iterator[str]:
    good = case.measurements[0]
    for name, hard in _hard_days(good).items():
        try:
            answers = case.run([good, hard, good])
        except Exception as error:
            yield f"raised {type(error).__name__} on {name}: {error}"
            continue
        yield from (f"on {name}: {m}" for m in _shape_faults(case.task, answers[1][0]))
        yield from (f"after {name}: {m}" for m in _limit_faults(case, answers[2][0], good))


def _non_interference(case: Case) -> Iterator[str]:
    if case.controller.sees.scope is Scope.GLOBAL:
        return
    base = case.run(case.measurements)
    rng = np.random.default_rng(case.seed)
    for zone, nodes, own in _viewpoints(case):
        changed = [_perturb(m, nodes, own, rng) for m in case.measurements]
        task = _perturb_task(case, nodes, own) if case.controller.sees.scope is Scope.LOCAL else case.task
        other = case.run(changed, case.prepare(task))
        for k, (a, b) in enumerate(zip(base, other, strict=True)):
            for kind, names in _SETPOINTS.items():
                rows = own[kind]
                for name in names:
                    if not _equal(_rows(getattr(a[0], name), rows), _rows(getattr(b[0], name), rows), case.tolerance):
                        yield f"decision {k}: {name} of {zone} follows what it may not see"
                seen = [_rows(leaf, rows, len(rows)) for leaf in _leaves(a[1])]
                if not _equal(seen, [_rows(leaf, rows, len(rows)) for leaf in _leaves(b[1])], case.tolerance):
                    yield f"decision {k}: the state's row of {zone} follows what it may not see"


def _closed_loop(case: Case) -> Iterator[str]:
    scenario = case.scenario.window(case.scenario.start + case.scenario.periods // 2 * case.scenario.step, 2)
    one, two = (simulate(scenario, case.controller, RunOptions(seed=case.seed)).data for _ in range(2))
    for name in ("vm_pu", "q_mvar", "p_mw"):
        if not np.allclose(one[name], two[name], atol=case.tolerance, equal_nan=True):
            yield f"two runs with the same seed differ in {name}"


def _batch(case: Case) -> Iterator[str]:
    """Many steps decided at once equal the same steps decided one by one, whatever came before them."""
    prepared, settle = case.prepare(), case.controller.settle
    together = prepared.step_batch(_stacked(case))
    if together is None:
        return
    if settle is not None and settle.start != "zero":
        yield "step_batch must not be offered where a settling loop goes on from the previous setpoints"
    if any(
        getattr(together, name) is not None for kind in _SETPOINTS if kind != "inverters" for name in _SETPOINTS[kind]
    ):
        yield "step_batch may move inverters only; let it return None where it would move anything else"
        return
    later = case.run(case.measurements, prepared)[-1][1]
    for k, measurement in enumerate(case.measurements):
        row = {name: _row(getattr(together, name), k) for name in _SETPOINTS["inverters"]}
        for state in (prepared.initial_state(), later):
            alone, _ = prepared.step(state, _read_only(mask(case.controller.sees, measurement, case.seen)))
            if not case.same(alone, replace(together, **row)):
                yield f"decision {k} of step_batch differs from that of step"
    scenario = _middle(case.scenario, 24)
    batch, one_by_one = (
        simulate(scenario, case.controller, RunOptions(seed=case.seed, batch=b)).data for b in (True, False)
    )
    for name in batch:
        a, b = batch[name].to_numpy(), one_by_one[name].to_numpy()
        same = np.allclose(a, b, rtol=1e-9, atol=1e-9, equal_nan=True) if a.dtype.kind == "f" else np.array_equal(a, b)
        if not same:
            yield f"{name} of a run with step_batch differs from that of one without"


CHECKS: dict[str, Check] = {
    "immutable": _immutable,
    "repeatable": _repeatable,
    "pure": _pure,
    "plain state": _plain_state,
    "sane": _sane,
    "robust": _robust,
    "non-interference": _non_interference,
    "closed loop": _closed_loop,
    "batch": _batch,
}
"""name -> check; each yields one message per broken promise."""


def _measurements(scenario: Scenario, seed: int) -> list[Measurement]:
    """Measurements at four instants, under random setpoints."""
    feeder, series, rng = scenario.feeder, scenario.series(), np.random.default_rng(seed)
    plant = Plant(feeder, engine(feeder), scenario.step.total_seconds() / 3600)
    devices, taken = DeviceState.initial(feeder), []
    for t in np.linspace(0, len(series) - 1, 6).astype(int)[1:-1]:
        q = rng.uniform(-0.3, 0.3, len(feeder.inverters)) * feeder.inverters.s_mva
        devices, _ = plant.apply(devices, Wanted(q_mvar=q), series.p_available_mw[t])
        load, slack = series.load_mva[t], float(series.slack_vm[t])
        solved = plant.solve(load, devices, slack)
        taken.append(Measurement.take(series.times[t], 0, solved, load, devices, series.p_available_mw[t], slack))
    return taken


def _middle(scenario: Scenario, periods: int) -> Scenario:
    """Return the middle `periods` steps, or all where there are fewer."""
    count = min(periods, scenario.periods)
    return scenario.window(scenario.start + (scenario.periods - count) // 2 * scenario.step, count)


def _stacked(case: Case) -> Measurements:
    """Return the case's measurements as `Prepared.step_batch` gets them."""
    masked = [mask(case.controller.sees, m, case.seen) for m in case.measurements]
    arrays = {
        name: np.stack([getattr(m, name) for m in masked]) for name in (*_NODE_ARRAYS, *_DEVICE_ARRAYS["inverters"])
    }
    if case.controller.settle is None:
        arrays.update({name: np.full_like(arrays[name], np.nan) for name in ("vm", "p_mw", "q_mvar")})
    for values in arrays.values():
        values.setflags(write=False)
    times = pd.DatetimeIndex([m.time for m in masked])
    return Measurements(times=times, settle_round=0, slack_vm=np.array([m.slack_vm for m in masked]), **arrays)


def _row(values: Any, k: int) -> Any:
    return values[k] if np.ndim(values) == 2 else values


def _hard_days(good: Measurement) -> dict[str, Measurement]:
    def with_all(names: tuple[str, ...], value: float) -> Measurement:
        arrays: dict[str, Any] = {name: np.full(len(getattr(good, name)), value) for name in names}
        return replace(good, **arrays)

    devices = _DEVICE_ARRAYS["inverters"] + _DEVICE_ARRAYS["storages"]
    return {
        "lost voltages": with_all(("vm",), np.nan),
        "one lost voltage": replace(good, vm=np.where(np.arange(len(good.vm)) == len(good.vm) // 2, np.nan, good.vm)),
        "lost loads": with_all(("load_p_mw", "load_q_mvar"), np.nan),
        "everything lost": replace(with_all(_NODE_ARRAYS + devices, np.nan), slack_vm=np.nan),
        "no sun": with_all(("p_available_mw", "p_mw"), 0.0),
        "loads a hundred times as large": replace(
            good, load_p_mw=100 * good.load_p_mw, load_q_mvar=100 * good.load_q_mvar
        ),
        "ten times the sun": replace(good, p_available_mw=10 * good.p_available_mw),
        "collapsed voltages": with_all(("vm",), 0.3),
        "soaring voltages": with_all(("vm",), 1.7),
        "no load": with_all(("load_p_mw", "load_q_mvar"), 0.0),
    }


def _viewpoints(case: Case) -> Iterator[tuple[str, BoolArray, dict[str, BoolArray]]]:
    """Yield (name, own nodes, own devices by kind) of every device (LOCAL) or zone (ZONE)."""
    task = case.full_task
    tables = {kind: getattr(task, kind) for kind in _DEVICE_ARRAYS}
    nothing = {kind: np.zeros(len(table), dtype=bool) for kind, table in tables.items()}
    placed = {kind: table.node for kind, table in tables.items() if hasattr(table, "node")}
    if case.controller.sees.scope is Scope.LOCAL:
        for kind, node in placed.items():
            for i, at in enumerate(node):
                own = {**nothing, kind: np.arange(len(node)) == i}
                yield f"{kind}[{i}]", np.arange(task.nodes) == at, own
        return
    zone = np.array(task.zone)
    for name in sorted(set(task.zone) - {""}):
        own = {**nothing, **{kind: (node >= 0) & (zone[node] == name) for kind, node in placed.items()}}
        yield f"zone {name!r}", zone == name, own


def _perturb(m: Measurement, nodes: BoolArray, own: dict[str, BoolArray], rng: np.random.Generator) -> Measurement:
    """Return the measurement with everything but the own nodes and devices changed."""
    changed: dict[str, Any] = {"slack_vm": m.slack_vm + 0.01}
    for name in _NODE_ARRAYS:
        values = getattr(m, name)
        changed[name] = np.where(nodes, values, values * rng.uniform(0.9, 1.1, len(values)) + 1e-3)
    for kind, names in _DEVICE_ARRAYS.items():
        for name in names:
            values = getattr(m, name)
            if values.dtype.kind == "i":
                changed[name] = np.where(own[kind], values, values + 1)
            else:
                changed[name] = np.where(own[kind], values, values * rng.uniform(0.3, 0.9, len(values)) + 1e-4)
    return replace(m, **changed)


def _perturb_task(case: Case, nodes: BoolArray, own: dict[str, BoolArray]) -> ControlTask:
    """Return the task with other devices' ratings and other nodes' band changed."""
    task, changed = case.task, {}
    for kind in ("inverters", "storages"):
        table = getattr(task, kind)
        changed[kind] = replace(table, s_mva=np.where(own[kind], table.s_mva, 1.5 * table.s_mva))
    return replace(task, band=np.where(nodes, task.band, task.band + 0.01), **changed)


def _shape_faults(task: ControlTask, setpoints: Any) -> Iterator[str]:
    if not isinstance(setpoints, Setpoints):
        yield f"step() must return Setpoints first, not {type(setpoints).__name__}"
        return
    if not isinstance(setpoints.info, Decision):
        yield f"Setpoints.info must be a Decision, not {type(setpoints.info).__name__}"
    for kind, names in _SETPOINTS.items():
        count = len(getattr(task, kind))
        for name in names:
            values = getattr(setpoints, name)
            if values is not None and np.shape(values) != (count,):
                yield f"{name} has shape {np.shape(values)}, not ({count},)"


def _limit_faults(case: Case, setpoints: Setpoints, m: Measurement) -> Iterator[str]:
    task, room = case.task, case.tolerance
    inverters, storages = task.inverters, task.storages
    p_max = np.minimum(m.p_available_mw, inverters.s_mva)
    ranges: dict[str, tuple[Any, Any]] = {
        "q_mvar": (-inverters.s_mva, inverters.s_mva),
        "p_mw": (0.0 * p_max, p_max),
        "storage_p_mw": (storages.p_min_mw, storages.p_max_mw),
        "storage_q_mvar": (-storages.s_mva, storages.s_mva),
        "tap": (task.tap_changers.tap_min, task.tap_changers.tap_max),
        "step": (0 * task.capacitors.max_step, task.capacitors.max_step),
    }
    for name, (low, high) in ranges.items():
        values = getattr(setpoints, name)
        if values is None or np.shape(values) != np.shape(low):
            continue
        if not np.isfinite(values).all():
            yield f"{name} is not finite although nothing is wrong with the measurement"
        elif np.any(values < low - room) or np.any(values > high + room):
            yield f"{name} = {np.round(values, 6)} leaves the devices' limits"
        elif name in ("tap", "step") and np.asarray(values).dtype.kind != "i":
            yield f"{name} must hold integers, not {np.asarray(values).dtype}"


def _read_only(measurement: Measurement) -> Measurement:
    """Return a copy whose arrays raise when written to."""
    copies = {}
    for f in fields(measurement):
        value = getattr(measurement, f.name)
        if isinstance(value, np.ndarray):
            value = value.copy()
            value.setflags(write=False)
        copies[f.name] = value
    return Measurement(**copies)


def _leaves(state: Any) -> list[Any]:
    if isinstance(state, dict):
        return [leaf for key in sorted(state) for leaf in _leaves(state[key])]
    if isinstance(state, list | tuple):
        return [leaf for value in state for leaf in _leaves(value)]
    return [state]


def _is_plain(leaf: Any) -> bool:
    if isinstance(leaf, np.ndarray):
        return leaf.dtype.kind in "biufcUSM"
    return leaf is None or isinstance(leaf, bool | int | float | complex | str | np.generic)


def _rows(values: Any, rows: BoolArray, count: int | None = None) -> Any:
    """Return the given rows; None for what has no rows (or not `count` of them)."""
    if not isinstance(values, np.ndarray) or values.ndim == 0 or (count is not None and len(values) != count):
        return None
    return values[rows]


def _equal(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_equal(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if a is None or b is None or isinstance(a, str) or isinstance(b, str):
        return bool(a is b or a == b)
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype.kind in "US":
        return bool(a.shape == b.shape and np.array_equal(a, b))
    return bool(np.allclose(a, b, rtol=1e-6, atol=tolerance, equal_nan=True))


def example_scenario() -> Scenario:
    """Return a day on the 33-bus feeder behind a tap-changing transformer, with every kind of device and two zones."""
    import pandapower as pp
    import pandapower.networks as networks

    net = networks.case33bw()
    net.bus[["min_vm_pu", "max_vm_pu"]] = 0.95, 1.05
    net.ext_grid["bus"] = pp.create_bus(net, vn_kv=110.0, min_vm_pu=0.95, max_vm_pu=1.05)
    pp.create_transformer_from_parameters(
        net, net.ext_grid.bus[0], 0, sn_mva=10.0, vn_hv_kv=110.0, vn_lv_kv=12.66, vk_percent=10.0, vkr_percent=0.5,
        pfe_kw=5.0, i0_percent=0.05, tap_side="hv", tap_neutral=0, tap_min=-4, tap_max=4, tap_step_percent=1.25,
        tap_pos=0, tap_changer_type="Ratio",
    )  # fmt: skip
    net.bus["zone"] = ["south" if 5 < bus < 18 else "north" for bus in net.bus.index]
    for bus, p in ((12, 0.5), (17, 0.6), (21, 0.4), (24, 1.0), (32, 0.5), (30, 0.0)):
        pp.create_sgen(net, bus, p_mw=p, sn_mva=1.2 * p if p else 0.5, controllable=True)
    for bus in (15, 28):
        pp.create_storage(
            net, bus, p_mw=0.0, max_e_mwh=1.0, min_e_mwh=0.1, soc_percent=50.0, sn_mva=0.3, min_p_mw=-0.3, max_p_mw=0.3
        )
    for bus in (11, 23, 29):
        pp.create_shunt(net, bus, q_mvar=-0.15, p_mw=0.0, step=1, max_step=3, controllable=True)
    hour = np.arange(0.0, 24.0, 0.25)
    times = pd.date_range("2016-06-21", periods=len(hour), freq="15min")
    demand = 0.6 + 0.3 * np.sin((hour - 12) / 24 * 2 * np.pi) ** 2
    sun = np.maximum(0.0, np.sin((hour - 5) / 15 * np.pi))

    def profile(table: str, column: str, shape: FloatArray) -> pd.DataFrame:
        peak = net[table][column]
        return pd.DataFrame(shape[:, None] * peak.to_numpy(), index=times, columns=peak.index)

    profiles = {
        ("load", "p_mw"): profile("load", "p_mw", demand),
        ("load", "q_mvar"): profile("load", "q_mvar", demand),
        ("sgen", "p_mw"): profile("sgen", "p_mw", sun),
    }
    return Scenario.build(Feeder.from_pandapower(net, "example"), profiles, band=(0.95, 1.05))
