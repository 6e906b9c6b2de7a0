"""`check_controller`: the conformance suite that every controller must pass, for third-party controllers too.

>>> from feederlab.testing import check_controller
>>> from feederlab.controllers.none import NoControl
>>> check_controller(NoControl())
"""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from feederlab.controllers.base import Controller, Information, Scope, Settle
from feederlab.controllers.information import mask
from feederlab.controllers.registry import settings_of
from feederlab.models.scenario import Scenario
from feederlab.simulate import RunOptions, simulate
from feederlab.testing.example import example_scenario
from feederlab.testing.faults import limit_faults, shape_faults
from feederlab.testing.trials import Case, hard_days, middle, perturb, perturb_task, stacked, viewpoints
from feederlab.testing.values import SETPOINTS, equal, is_plain, leaves, read_only, row_of, rows_of

Check = Callable[["Case"], Iterator[str]]


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
        if not equal(leaves(a[1]), leaves(b[1]), case.tolerance):
            yield f"the state after decision {k} differs when the same run is repeated"


def _pure(case: Case) -> Iterator[str]:
    prepared = case.prepare()
    for state in (prepared.initial_state(), case.run(case.measurements, prepared)[-1][1]):
        before = pickle.dumps(state)
        one, _ = prepared.step(state, read_only(mask(case.controller.sees, case.measurements[0], case.seen)))
        if pickle.dumps(state) != before:
            yield "step() changes the state it is given; it must return a new one"
        two, _ = prepared.step(state, read_only(mask(case.controller.sees, case.measurements[0], case.seen)))
        if not case.same(one, two):
            yield "equal state and measurement give different setpoints"


def _plain_state(case: Case) -> Iterator[str]:
    prepared = case.prepare()
    for state in (prepared.initial_state(), case.run(case.measurements, prepared)[-1][1]):
        if not isinstance(state, dict):
            yield f"the state must be a dict of plain arrays, not {type(state).__name__}"
        elif foreign := sorted({type(leaf).__name__ for leaf in leaves(state) if not is_plain(leaf)}):
            yield f"the state holds {', '.join(foreign)}; keep arrays, numbers and strings only"


def _sane(case: Case) -> Iterator[str]:
    for k, (setpoints, _) in enumerate(case.run(case.measurements)):
        measurement = case.measurements[k]
        yield from (f"decision {k}: {m}" for m in shape_faults(case.task, setpoints))
        yield from (f"decision {k}: {m}" for m in limit_faults(case, setpoints, measurement))


def _robust(case: Case) -> Iterator[str]:
    good = case.measurements[0]
    for name, hard in hard_days(good).items():
        try:
            answers = case.run([good, hard, good])
        except Exception as error:
            yield f"raised {type(error).__name__} on {name}: {error}"
            continue
        yield from (f"on {name}: {m}" for m in shape_faults(case.task, answers[1][0]))
        yield from (f"after {name}: {m}" for m in limit_faults(case, answers[2][0], good))


def _non_interference(case: Case) -> Iterator[str]:
    if case.controller.sees.scope is Scope.GLOBAL:
        return
    base = case.run(case.measurements)
    rng = np.random.default_rng(case.seed)
    for zone, nodes, own in viewpoints(case):
        changed = [perturb(m, nodes, own, rng) for m in case.measurements]
        task = perturb_task(case, nodes, own) if case.controller.sees.scope is Scope.LOCAL else case.task
        other = case.run(changed, case.prepare(task))
        for k, (a, b) in enumerate(zip(base, other, strict=True)):
            for kind, names in SETPOINTS.items():
                rows = own[kind]
                for name in names:
                    if not equal(
                        rows_of(getattr(a[0], name), rows), rows_of(getattr(b[0], name), rows), case.tolerance
                    ):
                        yield f"decision {k}: {name} of {zone} follows what it may not see"
                seen = [rows_of(leaf, rows, len(rows)) for leaf in leaves(a[1])]
                if not equal(seen, [rows_of(leaf, rows, len(rows)) for leaf in leaves(b[1])], case.tolerance):
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
    together = prepared.step_batch(stacked(case))
    if together is None:
        return
    if settle is not None and settle.start != "zero":
        yield "step_batch must not be offered where a settling loop goes on from the previous setpoints"
    if any(
        getattr(together, name) is not None for kind in SETPOINTS if kind != "inverters" for name in SETPOINTS[kind]
    ):
        yield "step_batch may move inverters only; let it return None where it would move anything else"
        return
    later = case.run(case.measurements, prepared)[-1][1]
    for k, measurement in enumerate(case.measurements):
        row = {name: row_of(getattr(together, name), k) for name in SETPOINTS["inverters"]}
        for state in (prepared.initial_state(), later):
            alone, _ = prepared.step(state, read_only(mask(case.controller.sees, measurement, case.seen)))
            if not case.same(alone, replace(together, **row)):
                yield f"decision {k} of step_batch differs from that of step"
    scenario = middle(case.scenario, 24)
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
