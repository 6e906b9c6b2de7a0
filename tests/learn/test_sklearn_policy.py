"""Fitted regressors act as they answer, see their own row alone, and come back from a file that runs no code."""

import json
import pickle
import subprocess
import sys
import zipfile
from dataclasses import replace

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

import toy
from feederlab.controllers.base import GLOBAL, LOCAL, ZONE
from feederlab.controllers.registry import create
from feederlab.errors import InputError, ResultFileError
from feederlab.learn import EstimatorPolicy, SklearnPolicy
from feederlab.learn.policies.skops_file import RECORD
from feederlab.learn.volt_var.layout import Layout
from feederlab.simulate import RunOptions, simulate
from feederlab.testing import check_controller, example_scenario
from feederlab.testing.trials import measurements

SCOPES = {"local": LOCAL, "zone": ZONE, "global": GLOBAL}


@pytest.fixture(scope="module")
def case():
    return example_scenario()


def widths(case, scope, present_q=False):
    """How many numbers each inverter's regressor gets, counted by hand."""
    task = case.task()
    nodes, inverters = task.nodes, len(task.inverters)
    if scope == "global":
        return [nodes + 2 * (nodes - 1) + inverters * (1 + present_q)] * inverters
    own = 4 + present_q
    if scope == "local":
        return [own] * inverters
    zone = np.array(task.zone)
    return [
        own + 3 * (zone == zone[at]).sum() + (zone[task.inverters.node] == zone[at]).sum() * (1 + present_q)
        for at in task.inverters.node
    ]


def policy(case, scope="local", make=Ridge, present_q=False, bound=1.0):
    """Regressors fitted to random answers."""
    rng, fitted = np.random.default_rng(1), []
    for width in widths(case, scope, present_q):
        x = rng.normal(size=(60, width))
        fitted.append(make().fit(x, np.tanh(x @ rng.normal(size=width) / 3)))
    return EstimatorPolicy.of(case, fitted, scope, present_q=present_q, bound=bound)


def poly():
    return make_pipeline(StandardScaler(), PolynomialFeatures(2), StandardScaler(), Ridge())


def boosting():
    return HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=5)


@pytest.fixture
def file(case, tmp_path):
    return policy(case, make=poly).save(tmp_path / "policy.skops")


@pytest.mark.parametrize("present_q", [False, True])
@pytest.mark.parametrize("scope", SCOPES)
def test_it_keeps_the_promises_of_a_controller(scope, present_q, case):
    controller = SklearnPolicy(policy(case, scope, present_q=present_q))
    assert controller.sees == SCOPES[scope]
    check_controller(controller, case)


@pytest.mark.parametrize("make", [poly, boosting])
def test_a_file_keeps_them_too_and_acts_as_what_was_saved(make, case, tmp_path):
    made = policy(case, make=make, bound=0.7)
    controller = create(f"sklearn:file={made.save(tmp_path / 'p.skops')}")
    assert controller.sees == LOCAL
    check_controller(controller, case)
    one, two = (simulate(case, c).data for c in (controller, SklearnPolicy(made)))
    np.testing.assert_array_equal(one["q_mvar"], two["q_mvar"])
    assert float(np.abs(one["q_mvar"]).max()) > 0.01


def test_the_rule_at_work_is_the_formula_step_by_step(case):
    """An independent closed loop by pandapower: measure, answer, cut, apply."""
    import copy

    import pandapower as pp

    made = policy(case, bound=0.6)
    layout = Layout.of(case.task(), "local", identity=False)
    short = case.window(case.start + 44 * case.step, 4)
    run, series, feeder = simulate(short, SklearnPolicy(made)).data, short.series(), case.feeder
    q = np.zeros(len(feeder.inverters))
    s = feeder.inverters.s_mva
    for t in range(4):
        p = np.minimum(series.p_available_mw[t], s)
        room = np.sqrt(s**2 - p**2)
        q = np.clip(q, -room, room)
        net = copy.deepcopy(feeder.net)
        for (table, column), profile in short.profiles.items():
            frame = profile.to_frame()
            net[table].loc[frame.columns, column] = frame.loc[series.times[t]]
        net.storage["p_mw"] = 0.0
        net.sgen.loc[feeder.inverters.index, "q_mvar"] = q
        pp.runpp(net)
        for k, index in enumerate(feeder.inverters.index):
            bus, node = feeder.inverters.bus[k], feeder.inverters.node[k]
            load = series.load_mva[t, node]
            x = [(net.res_bus.vm_pu[bus] - 1) / 0.05, load.real, load.imag, series.p_available_mw[t, k] / s[k]]
            assert net.sgen.bus[index] == bus
            q[k] = 0.6 * np.clip(made.estimators[k].predict([x])[0], -1, 1) * room[k]
        np.testing.assert_allclose(run["q_mvar"][t], q, atol=1e-5)  # rows are float32
    assert layout.shape == (len(s), 5)


def test_every_regressor_gets_its_own_row_and_nothing_else(case):
    given = []

    class Spy(LinearRegression):
        def predict(self, x):
            given.append(x.copy())
            return super().predict(x)

    made = policy(case, make=Spy)
    ready = SklearnPolicy(made).prepare(replace(case.task(), feeder=None))
    given.clear()
    measurement = measurements(case, 0)[0]
    ready.step(ready.initial_state(), measurement)
    rows = Layout.of(case.task(), "local", identity=False).read(measurement)
    assert len(given) == len(rows)
    for x, row in zip(given, rows, strict=True):
        np.testing.assert_array_equal(x, row[None, :4].astype(float))


def test_one_regressor_for_all_inverters(case):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 4))
    made = EstimatorPolicy.of(case, LinearRegression().fit(x, 0.1 * x[:, 0]), "local")
    check_controller(SklearnPolicy(made), case)
    measurement = measurements(case, 0)[0]
    found, _ = SklearnPolicy(made).prepare(case.task()).step({"q_mvar": np.zeros(6)}, measurement)
    s, p = case.feeder.inverters.s_mva, measurement.p_available_mw
    vm = measurement.vm[case.feeder.inverters.node]
    np.testing.assert_allclose(found.q_mvar, 0.1 * (vm - 1) / 0.05 * np.sqrt(s**2 - p**2), atol=1e-6)


def test_one_regressor_with_an_answer_for_each_inverter_sees_everything(case):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, widths(case, "global")[0]))
    made = EstimatorPolicy.of(case, Ridge().fit(x, np.tanh(x[:, :6])), "global")
    check_controller(SklearnPolicy(made), case)


def test_what_exceeds_the_range_is_cut_and_counted_and_no_number_is_held(case):
    class Wild(LinearRegression):
        answer = 3.0

        def predict(self, x):
            if np.isnan(self.answer):
                raise RuntimeError("no")
            return np.full(len(x), self.answer)

    fitted = [Wild().fit(np.eye(4), np.ones(4)) for _ in range(6)]
    made = EstimatorPolicy.of(case, fitted, "local", bound=0.5)
    short = case.window(case.start, 3)
    run = simulate(short, SklearnPolicy(made)).data
    s, p = case.feeder.inverters.s_mva, short.series().p_available_mw
    np.testing.assert_allclose(run["q_mvar"], 0.5 * np.sqrt(s**2 - p**2))
    assert run["clipped"].to_numpy().tolist() == [6, 6, 6]
    fitted[2].answer = np.nan
    ready = SklearnPolicy(replace(made)).prepare
    with pytest.raises(InputError, match="to an average observation"):
        ready(case.task())
    fitted[2].answer = 3.0
    prepared = SklearnPolicy(made).prepare(case.task())
    fitted[2].answer = np.nan
    found, _ = prepared.step({"q_mvar": np.full(6, 0.01)}, measurements(case, 0)[0])
    assert (found.info.rung, found.q_mvar[2]) == (3, 0.01)
    assert "held at 1 of 6" in found.info.status


def test_threads_do_not_wait_for_each_other_on_a_single_row(case):
    from threadpoolctl import threadpool_info, threadpool_limits

    seen = []

    class Spy(LinearRegression):
        def predict(self, x):
            seen.append([pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"])
            return super().predict(x)

    made = EstimatorPolicy.of(case, Spy().fit(np.eye(4), np.ones(4)), "local")
    with threadpool_limits(2, user_api="openmp"):
        simulate(case.window(case.start, 1), SklearnPolicy(made))
        after = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"]
    assert seen
    assert seen[-1]
    assert {*seen[-1]} == {1}
    assert {*after} == {2}


def test_a_policy_acts_alike_in_a_fresh_process(case, file):
    short = case.window(case.start + 40 * case.step, 4)
    code = f"""
from feederlab.controllers.registry import create
from feederlab.simulate import simulate
from feederlab.testing import example_scenario
case = example_scenario()
run = simulate(case.window(case.start + 40 * case.step, 4), create("sklearn:file={file}")).data
print(run["q_mvar"].to_numpy().tobytes().hex())
import sys
assert "torch" not in sys.modules
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = simulate(short, SklearnPolicy(file=str(file))).data["q_mvar"].to_numpy().tobytes().hex()
    assert answer.stdout.split() == [here]


def test_plain_skops_reads_the_file_as_well(file, case):
    found = skops.io.load(file, trusted=[])
    np.testing.assert_array_equal(found[0].predict(np.ones((1, 4))), policy(case, make=poly).estimators[0].predict(
        np.ones((1, 4))))  # fmt: skip


def rewritten(file, change):
    """Write the archive anew, entry by entry as ``change(name, data)`` gives it."""
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries.items():
            if (new := change(name, data)) is not None:
                archive.writestr(name, new)


def other_bound(name, data):
    return json.dumps({**json.loads(data), "bound": 0.5}).encode() if name == RECORD else data


def other_number(name, data):
    return data[:-8] + np.float64(0.123).tobytes() if name.endswith(".npy") else data


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: f.write_bytes(f.read_bytes()[:-30]), "is damaged or no feederlab estimator policy"),
        (lambda f: f.write_bytes(b""), "is damaged or no"),
        (lambda f: f.write_bytes(b"safetensors or anything"), "is damaged or no"),
        (lambda f: f.unlink(), "cannot read"),
        (lambda f: rewritten(f, other_bound), "does not fit its checksum"),
        (lambda f: rewritten(f, other_number), "does not fit its checksum"),
        (lambda f: rewritten(f, lambda n, d: None if n == RECORD else d), "plain skops file"),
        (lambda f: rewritten(f, lambda n, d: None if n.endswith(".npy") else d), "does not fit its checksum"),
        (lambda f: rewritten(f, lambda n, d: b"[1]" if n == RECORD else d), "is damaged or no"),
        (lambda f: rewritten(f, lambda n, d: b'{"kind": "else"}' if n == RECORD else d), "is no feederlab"),
        (lambda f: f.write_bytes(pickle.dumps(Ridge())), "runs code when it is read"),
        (lambda f: joblib.dump(Ridge(), f, compress=3) and None, "runs code when it is read"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(damage, message, case, file):
    damage(file)
    with pytest.raises(ResultFileError, match=message):
        SklearnPolicy(file=str(file))


def test_an_entry_that_stands_twice_is_refused(file):
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("schema.json", archive.read("schema.json"))
    with pytest.raises(ResultFileError, match="twice"):
        SklearnPolicy(file=str(file))


class Ran:
    """What a file must not be able to run."""

    marks: list = []  # noqa: RUF012

    def __init__(self):
        self.marks.append("built")
        self.state = 1

    def __setstate__(self, state):
        self.marks.append("restored")

    def predict(self, x):
        return np.zeros(len(x))


def test_types_that_are_not_known_to_be_harmless_need_trust_and_are_named(case, tmp_path):
    foreign = EstimatorPolicy.of(case, Ran(), "local").save(tmp_path / "foreign.skops")
    forest = policy(case, make=lambda: RandomForestRegressor(2)).save(tmp_path / "forest.skops")
    Ran.marks.clear()
    for path, name in ((foreign, "Ran"), (forest, r"sklearn\.tree\._tree\.Tree")):
        controller = SklearnPolicy(file=str(path))
        with pytest.raises(InputError, match=f"{name}.*trust=true"):
            controller.prepare(case.task())
    assert Ran.marks == []
    SklearnPolicy(file=str(foreign), trust=True).prepare(case.task())
    assert Ran.marks == ["restored"]
    check_controller(create(f"sklearn:file={forest},trust=true"), case)


@pytest.mark.parametrize(
    ("field", "value"), [("left", 10_000), ("right", 0), ("feature_idx", 4), ("is_categorical", 1)]
)
def test_a_tree_that_leads_outside_itself_is_refused(field, value, case, tmp_path):
    made = policy(case, make=boosting)
    made.estimators[3]._predictors[0][0].nodes[field][0] = value
    path = made.save(tmp_path / "p.skops")
    with pytest.raises(ResultFileError, match="a tree contradicts itself"):
        SklearnPolicy(file=str(path)).prepare(case.task())


def test_it_fits_its_own_feeder_only(case, file):
    with pytest.raises(InputError, match="does not fit: it was trained on 'example'"):
        simulate(toy.short(), SklearnPolicy(file=str(file)))
    moved = case.task()
    moved = replace(moved, feeder=None, inverters=replace(moved.inverters, node=moved.inverters.node[::-1].copy()))
    with pytest.raises(InputError, match="inverters are at other nodes"):
        SklearnPolicy(file=str(file)).prepare(moved)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda case: EstimatorPolicy.of(case, object()), "with predict, not object"),
        (lambda case: EstimatorPolicy.of(case, [Ridge()] * 2), "2 estimators for 6 inverters"),
        (lambda case: EstimatorPolicy.of(case, Ridge().fit(np.eye(3), np.ones(3))), "takes 3 numbers"),
        (lambda case: EstimatorPolicy.of(case, Ridge()), "numbers, or none"),
        (lambda case: policy(case, bound=1.5), "must lie in"),
        (lambda case: SklearnPolicy(Ridge()), "takes an EstimatorPolicy"),
        (lambda case: SklearnPolicy(policy(case), file="p.skops"), "not both"),
        (lambda case: SklearnPolicy().prepare(case.task()), "file=FILE"),
        (lambda case: create("sklearn:policy=p"), "takes an EstimatorPolicy, not str"),
    ],
)
def test_refusals(make, message, case):
    with pytest.raises(InputError, match=message):
        make(case)


def test_lost_readings_are_the_centre_and_a_file_that_is_written_anew_is_read_anew(case, tmp_path):
    path = tmp_path / "p.skops"
    policy(case).save(path)
    run = simulate(case, SklearnPolicy(file=str(path)), RunOptions(dropout=0.3, seed=1)).data
    assert set(run["status"].to_numpy().tolist()) == {"ok"}
    one = simulate(case.window(case.start, 2), SklearnPolicy(file=str(path))).data["q_mvar"]
    policy(case, bound=0.5).save(path)
    two = simulate(case.window(case.start, 1), SklearnPolicy(file=str(path))).data["q_mvar"]
    np.testing.assert_allclose(two[0], 0.5 * one[0])


def test_two_writes_of_one_policy_read_alike(case):
    made = policy(case)
    assert pickle.loads(pickle.dumps(made)) == made
    assert policy(case, bound=0.5) != made
    assert hash(pickle.loads(pickle.dumps(made))) == hash(made)
    assert "6 x Ridge, local" in str(made)
