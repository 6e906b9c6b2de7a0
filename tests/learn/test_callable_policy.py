"""Any function is a controller; it is given what it may see, and what it does wrong is recorded, not raised."""

import dataclasses
import functools
import json
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest

import toy
import toy_rules
from command_line import refused
from feederlab.controllers import registry
from feederlab.controllers.base import GLOBAL, LOCAL, ZONE, Information, Scope
from feederlab.controllers.information import mask, restrict_task, visible_nodes
from feederlab.controllers.volt_var import VoltVar
from feederlab.errors import InputError, ResultFileError, UnknownNameError
from feederlab.learn import CallablePolicy, View
from feederlab.learn.volt_var.env import VoltVarEnv
from feederlab.learn.volt_var.layout import Layout
from feederlab.models.feeder import Feeder
from feederlab.models.scenario import Scenario
from feederlab.provenance import provenance
from feederlab.simulate import RunOptions, simulate
from feederlab.testing import check_controller, example_scenario
from feederlab.testing.trials import measurements


@pytest.fixture(scope="module")
def case():
    return example_scenario()


CONFORMING = {
    "local": CallablePolicy(toy_rules.leaning),
    "local raw": CallablePolicy(toy_rules.droop, raw=True),
    "zone": CallablePolicy(toy_rules.leaning, "zone", bound=0.8),
    "zone raw": CallablePolicy("toy_rules:zone_mean", "zone", raw=True),
    "local settling": CallablePolicy(toy_rules.droop, raw=True, damping=0.2),
    "global": CallablePolicy(toy_rules.leaning_everywhere, "global"),
    "global raw": CallablePolicy(toy_rules.to_the_mean, GLOBAL, raw=True),
}


@pytest.mark.parametrize("name", CONFORMING)
def test_it_keeps_the_promises_of_a_controller(name, case):
    controller = CONFORMING[name]
    assert controller.sees == Information(Scope(name.split()[0]))
    check_controller(controller, case)


def seen_by(f, case, sees, raw, measurement=None):
    """What f is given at one decision: [(arguments)]."""
    given = []

    def spy(shown):
        given.append(shown)
        return f(shown)

    controller = CallablePolicy(spy, sees, raw=raw)
    task, full = restrict_task(controller.sees, case.task()), case.task()
    ready = controller.prepare(task)
    given.clear()
    m = measurement or measurements(case, 0)[1]
    ready.step(ready.initial_state(), mask(controller.sees, m, visible_nodes(controller.sees, full)))
    return m, given


def test_a_local_rule_is_shown_its_own_readings_as_plain_numbers(case):
    m, given = seen_by(lambda view: 0.0, case, "local", True)
    inverters = case.feeder.inverters
    assert len(given) == len(inverters)
    for k, view in enumerate(given):
        node = inverters.node[k]
        values = {f.name: getattr(view, f.name) for f in dataclasses.fields(View)}
        p = min(m.p_available_mw[k], inverters.s_mva[k])
        assert values == {
            "time": m.time, "vm": m.vm[node], "vm_low": case.band[0, node], "vm_high": case.band[1, node],
            "load_p_mw": m.load_p_mw[node], "load_q_mvar": m.load_q_mvar[node], "p_available_mw": m.p_available_mw[k],
            "p_mw": m.p_mw[k], "q_mvar": m.q_mvar[k], "s_mva": inverters.s_mva[k],
            "q_max_mvar": pytest.approx(math.sqrt(inverters.s_mva[k] ** 2 - p**2)), "own": 0, "own_node": 0,
        }  # fmt: skip
        assert {type(value) for name, value in values.items() if name != "time"} == {float, int}


def test_a_zone_rule_is_shown_its_zone(case):
    m, given = seen_by(lambda view: 0.0, case, "zone", True)
    zone, place = np.array(case.task().zone), case.feeder.inverters.node
    for k, view in enumerate(given):
        nodes, mates = np.flatnonzero(zone == zone[place[k]]), np.flatnonzero(zone[place] == zone[place[k]])
        np.testing.assert_array_equal(view.vm, m.vm[nodes])
        np.testing.assert_array_equal(view.load_q_mvar, m.load_q_mvar[nodes])
        np.testing.assert_array_equal(view.q_mvar, m.q_mvar[mates])
        assert (nodes[view.own_node], mates[view.own]) == (place[k], k)


def test_a_global_rule_is_shown_everything_once(case):
    m, (view,) = seen_by(lambda view: np.zeros(6), case, "global", True)
    np.testing.assert_array_equal(view.vm, m.vm)
    np.testing.assert_array_equal(view.p_available_mw, m.p_available_mw)
    assert (view.own, view.own_node) == (-1, -1)


@pytest.mark.parametrize("sees", ["local", "zone", "global"])
def test_without_raw_it_is_given_the_environments_observation(sees, case):
    answer = np.zeros(6) if sees == "global" else 0.0
    m, given = seen_by(lambda row: answer, case, sees, False)
    rows = Layout.of(case.task(), sees).read(m)
    np.testing.assert_array_equal(np.stack(given), rows)
    assert {row.dtype for row in given} == {np.dtype(np.float32)}


@pytest.mark.parametrize(("sees", "raw"), [("local", False), ("zone", False), ("zone", True), ("global", True)])
def test_what_it_is_given_leads_nowhere_else(sees, raw, case):
    """No array is a part of a larger one, and none is shared: writing into it changes nothing for the next."""
    answer = np.zeros(6) if sees == "global" else 0.0
    m = measurements(case, 0)[1]
    before = pickle.dumps(m)

    def vandal(shown):
        arrays = [shown] if isinstance(shown, np.ndarray) else list(vars(shown).values())
        for array in arrays:
            if isinstance(array, np.ndarray):
                assert array.base is None
                array[...] = 99.0
        return answer

    _, given = seen_by(vandal, case, sees, raw, m)
    assert len(given) == (1 if sees == "global" else 6)
    assert pickle.dumps(m) == before


def test_a_raw_droop_is_the_built_in_droop_without_settling(case):
    task, m = case.task(), measurements(case, 0)[2]
    ours, built_in = (
        c.prepare(task).step(c.prepare(task).initial_state(), m)[0].q_mvar
        for c in (CallablePolicy(toy_rules.droop, raw=True), VoltVar("mapdn"))
    )
    np.testing.assert_allclose(ours, built_in, rtol=0, atol=1e-12)


def test_a_damped_droop_is_the_built_in_droop(case):
    ours, built_in = (
        simulate(case, controller, RunOptions(batch=False)).data
        for controller in (CallablePolicy(toy_rules.droop, raw=True, damping=0.1), VoltVar("mapdn"))
    )
    np.testing.assert_array_equal(ours["rounds"], built_in["rounds"])
    for name in ("q_mvar", "vm_pu", "losses_mw"):
        np.testing.assert_allclose(ours[name], built_in[name], rtol=0, atol=1e-10)


def test_a_run_is_the_environments_episode(case):
    env = VoltVarEnv(case, observation="zone", bound=0.6)
    run = simulate(case, CallablePolicy(toy_rules.leaning, "zone", bound=0.6, layout=env.layout)).data
    seen, _ = env.reset(options={"start": case.start})
    losses = []
    for _ in range(case.periods):
        seen, _, _, _, info = env.step(np.array([toy_rules.leaning(row) for row in seen]))
        losses.append(info["losses_mw"])
    np.testing.assert_allclose(run["losses_mw"], losses, rtol=1e-12)


def test_what_is_cut_is_counted(case):
    short = case.window(case.start, 4)
    beyond = simulate(short, CallablePolicy(lambda row: 1.25, bound=0.8)).data
    room = np.sqrt(
        case.feeder.inverters.s_mva**2 - np.minimum(beyond["p_available_mw"], case.feeder.inverters.s_mva) ** 2
    )
    np.testing.assert_allclose(beyond["q_mvar"], 0.8 * room)
    assert beyond["clipped"].to_numpy().tolist() == [6] * 4
    assert simulate(short, CallablePolicy(lambda row: 1.0)).data["clipped"].sum() == 0
    raw = simulate(short, CallablePolicy(lambda view: 2 * view.q_max_mvar if view.s_mva > 0.7 else 0.0, raw=True)).data
    big = int((case.feeder.inverters.s_mva > 0.7).sum())
    assert 0 < big < 6
    assert raw["clipped"].to_numpy().tolist() == [big] * 4


def moody(view, says):
    """Refuses to answer for the third quarter of an hour of any hour."""
    if view.time.minute == 30:
        return says()
    return 0.1 * view.q_max_mvar


def raises():
    raise KeyError("no such reading")


FAILURES = [(raises, "KeyError for inverter 0: 'no such reading'"), (lambda: math.nan, "no finite number"),
            (lambda: [1.0, 2.0], "TypeError for inverter 0: it answers with shape (2,), not one number"),
            (lambda: None, "no finite number"), (lambda: "high", "ValueError for inverter 0")]  # fmt: skip


@pytest.mark.parametrize(("says", "status"), FAILURES)
def test_a_failed_decision_is_held_and_says_why(says, status, case):
    controller = CallablePolicy(functools.partial(moody, says=says), raw=True)
    run = simulate(case.window(case.start, 5), controller).data
    assert run["rung"].to_numpy().tolist() == [0, 0, 3, 0, 0]
    assert str(run["status"].to_numpy()[2]).startswith(f"held: {status}")
    np.testing.assert_array_equal(run["q_mvar"][2], run["q_mvar"][1])
    assert run["clipped"].sum() == 0


def test_only_those_that_fail_are_held(case):
    def half(view):
        return 0.1 if view.s_mva > 0.7 or view.time.year == 2000 else math.inf * view.time.minute

    run = simulate(case.window(case.start + 2 * case.step, 1), CallablePolicy(half, raw=True)).data
    big = case.feeder.inverters.s_mva > 0.7
    np.testing.assert_array_equal(run["q_mvar"][0], np.where(big, 0.1, 0.0))
    assert str(run["status"].to_numpy()[0]) == f"held at {6 - big.sum()} of 6 inverters: no finite number"


@pytest.mark.parametrize(
    ("f", "sees", "message"),
    [
        (lambda row: row.nonsense, "local", "AttributeError for inverter 0: .*nonsense"),
        (lambda row: np.zeros(2), "local", r"answers with shape \(2,\), not one number"),
        (lambda row: np.zeros(5), "global", r"answers with shape \(5,\), not \(6,\)"),
        (lambda row: 0.5, "global", r"answers with shape \(\), not \(6,\)"),
        (lambda row: (np.zeros(6), None), "global", "gives no answer on a flat grid"),
        (lambda row: math.nan, "zone", "it is no finite number"),
        (lambda: 1.0, "local", "TypeError"),
    ],
)
def test_a_plain_mistake_is_found_before_the_run(f, sees, message, case):
    with pytest.raises(InputError, match=f"gives no answer on a flat grid.*{message}|{message}"):
        CallablePolicy(f, sees).prepare(case.task())


def test_it_is_written_on_the_command_line():
    controller = registry.create("callable:f=toy_rules:leaning,sees=zone,bound=0.8")
    assert controller == CallablePolicy("toy_rules:leaning", ZONE, bound=0.8)
    assert registry.create("callable:f=toy_rules:droop,raw=true").sees == LOCAL


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("callable:f=toy_rules:drop", InputError, "cannot import the policy 'toy_rules:drop': AttributeError"),
        ("callable:f=nowhere:droop", InputError, "cannot import the policy 'nowhere:droop': ModuleNotFoundError"),
        ("callable:f=toy_rules", InputError, "f must name a function as module:name"),
        ("callable:f=toy_rules:np.pi", InputError, "the policy toy_rules:np.pi is no function but float"),
        ("callable:f=toy_rules:droop,sees=lokal", UnknownNameError, "did you mean 'local'"),
        ("callable:f=toy_rules:droop,bound=1.1", InputError, r"must lie in \(0, 1\], not 1.1"),
        ("callable:f=toy_rules:droop,raw=true,bound=0.8", InputError, "leave out bound and layout"),
        ("callable:f=toy_rules:droop,damping=-1", InputError, r"damping of a policy must lie in \[0, 1\], not -1"),
    ],
)
def test_what_cannot_be_is_refused_at_once(spec, error, message):
    with pytest.raises(error, match=message):
        registry.create(spec)


def test_the_command_line_refuses_in_one_line(run, tmp_path):
    refused(run("compare", "mapdn33", "--days", "1", "-c", "callable:f=toy_rules:drop"), 2, "cannot import", tmp_path)
    refused(run("compare", "mapdn33", "--days", "1", "-c", "callable"), 2, "callable needs a function", tmp_path)


def test_a_forecast_is_not_given():
    with pytest.raises(InputError, match="a function gets no forecast"):
        CallablePolicy(toy_rules.droop, Information(Scope.LOCAL, forecast=True))


def test_a_layout_comes_as_itself_its_record_or_a_file(case, tmp_path):
    layout = Layout.of(case.task(), "zone", [case.series()])
    (tmp_path / "layout.json").write_text(json.dumps(layout.record()))
    runs = [
        simulate(case.window(case.start, 4), CallablePolicy(toy_rules.leaning, "zone", layout=given)).data["q_mvar"]
        for given in (layout, layout.record(), str(tmp_path / "layout.json"), None)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_array_equal(runs[0], runs[2])
    assert np.abs(runs[0] - runs[3]).max() > 1e-3
    with pytest.raises(InputError, match="the layout is of scope zone, and the policy sees local"):
        CallablePolicy(toy_rules.leaning, layout=layout).prepare(case.task())
    with pytest.raises(InputError, match="sources"):
        CallablePolicy(toy_rules.leaning, "zone", layout=layout).prepare(toy.scenario().task())
    (tmp_path / "layout.json").write_text("{")
    with pytest.raises(ResultFileError, match=r"layout\.json is no layout"):
        CallablePolicy(toy_rules.leaning, layout=str(tmp_path / "layout.json")).prepare(case.task())


def test_inverters_that_cannot_be_served(case):
    net = toy.net()
    net.sgen["controllable"] = False
    bare = Scenario.build(Feeder.from_pandapower(net), toy.profiles(net))
    with pytest.raises(InputError, match="no inverter to control"):
        CallablePolicy(toy_rules.droop, raw=True).prepare(bare.task())
    unzoned = replace(case.task(), zone=("",) * case.feeder.n_nodes)
    for raw in (True, False):
        with pytest.raises(InputError, match="is in no zone"):
            CallablePolicy(lambda shown: 0.0, "zone", raw=raw).prepare(unzoned)


def test_an_inverter_without_supply_is_not_asked():
    net = toy.net()
    net.bus.loc[17, "in_service"] = False
    dark = Scenario.build(Feeder.from_pandapower(net), toy.profiles(net))
    assert (dark.feeder.inverters.node < 0).tolist() == [False, True, False]
    asked = []
    for raw in (True, False):
        asked.clear()
        run = simulate(
            dark.window(toy.START, 1), CallablePolicy(lambda shown: asked.append(shown) or 0.1, raw=raw)
        ).data
        assert len(asked) == 4  # twice two: in prepare, and in the one step
        assert (run["q_mvar"].to_numpy() != 0).tolist() == [[True, False, True]]


def test_the_record_of_a_run_names_the_function(case):
    said = provenance(case, CallablePolicy(toy_rules.droop, raw=True), "", RunOptions())
    assert said["settings"]["f"] == "toy_rules:droop"
    assert said["sees"] == said["settings"]["sees"] == "local"
    assert "0x" not in json.dumps(provenance(case, CallablePolicy(functools.partial(int)), "", RunOptions()))
