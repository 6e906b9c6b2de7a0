"""Rules learn from what they meet, are judged by days unseen, and no day is split by a fold."""

import copy
import json
import shlex
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import toy_days
from command_line import refused
from feederlab.controllers.base import GLOBAL, Controller, Prepared, Setpoints
from feederlab.controllers.registry import create
from feederlab.errors import InputError, ResultFileError, UnknownNameError
from feederlab.learn import EstimatorPolicy, SklearnPolicy, train_imitation
from feederlab.learn.imitation_judge import judge
from feederlab.learn.imitation_lessons import Lessons
from feederlab.learn.imitation_models import FAMILIES, Samples, Setting, cross_validate, day_folds, fit
from feederlab.learn.policies.estimators import inputs
from feederlab.learn.volt_var.layout import Layout
from feederlab.models.feeder import Feeder
from feederlab.models.scenario import Scenario
from feederlab.simulate import simulate
from feederlab.testing import example_scenario

TEACHER = "opf:method=sqp,max_time_s=100"  # on a busy machine, too, one answer
OWN = np.arange(2)
QUICK = {"teacher": TEACHER, "days": 6, "holdout": 2, "folds": 3, "jobs": 1}


@dataclass(frozen=True)
class Proportional(Controller):
    """A teacher whose answer is a known function of what is measured: q / room = tanh(a1 + a2 p/s + a3 load)."""

    sees: ClassVar = GLOBAL
    curtail: bool = False
    store: bool = False
    blind: bool = False

    def prepare(self, task, *, seed=None):
        return _Proportional(self, task)


class _Proportional(Prepared):
    def __init__(self, settings, task):
        self.settings, self.task = settings, task

    def step(self, state, m):
        s, p = self.task.inverters.s_mva, m.p_available_mw
        q = (0.1 - 0.5 * p / s + 2 * m.load_p_mw[self.task.inverters.node]) * np.sqrt(s**2 - p**2)
        from feederlab.controllers.base import Decision

        return Setpoints(
            q_mvar=q, p_mw=0.5 * p if self.settings.curtail else None,
            storage_p_mw=np.full(len(self.task.storages), 0.01) if self.settings.store else None,
            info=Decision(rung=3 if self.settings.blind else 0),
        ), state  # fmt: skip


@pytest.fixture(scope="module")
def case():
    return toy_days.scenario()


@pytest.fixture(scope="module")
def made(case, tmp_path_factory):
    return train_imitation(case, tmp_path_factory.mktemp("out") / "toy", models=("linear", "poly"), **QUICK)


def midnights(case, count=3):
    return [case.start + pd.Timedelta(days=k) for k in range(count)]


@given(days=st.integers(2, 12), folds=st.integers(2, 12), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_no_day_is_split_by_a_fold(days, folds, seed):
    rng = np.random.default_rng(seed)
    day = np.concatenate([np.arange(days), rng.integers(days, size=rng.integers(0, 60))])
    rng.shuffle(day)
    if folds > days:
        with pytest.raises(InputError, match="more days"):
            day_folds(day, folds)
        return
    tested = []
    for train, test in day_folds(day, folds):
        assert not {*day[train]} & {*day[test]}
        assert len(train) + len(test) == len(day)
        tested.extend(test)
    assert sorted(tested) == list(range(len(day)))


def test_every_fold_of_a_training_keeps_days_whole_in_all_rounds(case, monkeypatch):
    """The samples of all rounds carry the day that they are of: checked against what the regressors are given."""
    import feederlab.learn.imitation_models as models

    seen = []
    plain = models._Fold.__init__

    def spy(self, x, a, room_mvar, own, train, test, *rest):
        seen.append((x, train, test))
        plain(self, x, a, room_mvar, own, train, test, *rest)

    monkeypatch.setattr(models._Fold, "__init__", spy)
    chosen = midnights(case, 4)
    lessons = Lessons.ask(case, chosen, Proportional())
    layout = Layout.of(case.task(), "local", [case.days(d).series() for d in chosen], identity=False)
    from feederlab.learn.imitation_pupil import Pupil

    Pupil(lessons, layout, 1.0, False, 2, 2, 0, 1).learn("linear", lambda k: None)
    suns = {
        d: {*np.float32(case.days(d).series().p_available_mw[:, 0] / case.feeder.inverters.s_mva[0])} - {np.float32(0)}
        for d in chosen
    }
    assert len({len(x) for x, _, _ in seen}) == 2  # two rounds, then three
    for x, train, test in seen[:2]:
        for sun in suns.values():
            sides = [bool({*np.float32(x[side, 3])} & sun) for side in (train, test)]
            assert sum(sides) == 1


def test_the_teachers_answers_and_the_visited_measurements_are_those_of_simulate(case):
    chosen = midnights(case)
    lessons = Lessons.ask(case, chosen, create(TEACHER))
    task = case.task()
    layout = Layout.of(task, "local", identity=False)
    lived = lessons.lived(layout, lambda t, _: lessons.q_mvar[:, t])
    rows = lived.rows
    assert lived.solved.all()
    assert lessons.known.all()
    s, node = case.feeder.inverters.s_mva, case.feeder.inverters.node
    for k, day in enumerate(chosen):
        run, series = simulate(case.days(day), create(TEACHER)).data, case.days(day).series()
        np.testing.assert_allclose(lessons.q_mvar[k], run["q_mvar"], atol=1e-12)
        np.testing.assert_allclose(lived.losses_mw[k], run["losses_mw"], rtol=1e-9)
        np.testing.assert_allclose(lived.excess[k], run["voltage_excess"], atol=1e-12)
        np.testing.assert_array_equal(lived.in_band[k], run["out_share"] == 0)
        p = np.minimum(series.p_available_mw, s)
        room = np.sqrt(s**2 - p**2)
        np.testing.assert_allclose(lessons.actions(1.0)[k] * room, run["q_mvar"], atol=1e-9)
        assert np.abs(lessons.actions(0.1)).max() == 1.0
        np.testing.assert_allclose(rows[k, 0, :, 4], 0.0)
        before = np.clip(run["q_mvar"].to_numpy()[:-1], -room[1:], room[1:])
        np.testing.assert_allclose(rows[k, 1:, :, 4], before / s, atol=1e-6)
        np.testing.assert_allclose(rows[k, :, :, 1], series.load_mva.real[:, node], atol=1e-6)
        np.testing.assert_allclose(rows[k, :, :, 3], series.p_available_mw / s, atol=1e-6)


def test_a_rule_in_a_lesson_does_what_it_does_in_simulate(case, made):
    chosen = midnights(case)
    policy = EstimatorPolicy.load(made.policy)
    lessons = Lessons.ask(case, chosen, create("lindistflow"))
    layout, task = policy.layout_of(case.task()), case.task()
    asked, columns = [], inputs(layout, task, 3, False)

    def decide(t, rows):
        q = np.clip(policy.mean(rows, columns), -1, 1) * lessons.room_mvar[:, t]
        asked.append(q)
        return q

    lessons.lived(layout, decide)
    for k, day in enumerate(chosen):
        run = simulate(case.days(day), SklearnPolicy(policy)).data
        np.testing.assert_allclose(np.array(asked)[:, k], run["q_mvar"], atol=1e-6)


def test_a_stricter_band_reaches_the_teacher_alone(case):
    day = max(midnights(case, 8), key=lambda d: case.days(d).series().p_available_mw.max())
    loose, strict = (Lessons.ask(case, [day], create(TEACHER), margin=margin) for margin in (0.0, 0.01))
    highest = []
    for lessons in (loose, strict):
        run = simulate(case.days(day), Given(lessons.q_mvar[0])).data
        highest.append(float(run["vm_pu"].max()))
    assert highest[0] == pytest.approx(1.05, abs=1e-4)
    assert highest[1] == pytest.approx(1.04, abs=1e-4)
    assert loose.scenario.band.max() == strict.scenario.band.max() == 1.05


@dataclass(frozen=True, eq=False)
class Given(Controller):
    """Plays setpoints back."""

    q_mvar: np.ndarray
    sees: ClassVar = GLOBAL

    def prepare(self, task, *, seed=None):
        return _Given(self.q_mvar)


class _Given(Prepared):
    def __init__(self, q):
        self.q = q

    def initial_state(self):
        return {"t": 0}

    def step(self, state, m):
        return Setpoints(q_mvar=self.q[state["t"]]), {"t": state["t"] + 1}


def test_a_teacher_that_a_linear_rule_can_follow_is_followed(case, tmp_path):
    found = train_imitation(case, tmp_path / "out", models=("linear",), **{**QUICK, "teacher": Proportional()})
    assert found.rules["cv_r2"][0] > 0.9999
    assert found.table["controller"].tolist() == ["none", "volt_var:curve=mapdn", "Proportional", "linear, local"]
    for day in found.holdout:
        one, two = (simulate(case.days(day), c).data["q_mvar"] for c in (Proportional(), create(
            f"sklearn:file={found.policy}")))  # fmt: skip
        np.testing.assert_allclose(one, two, atol=2e-3)


def test_cross_validated_error_against_a_plain_loop():
    """One inverter, ridge without preprocessing but the scaling: the folds done by hand."""
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    day, x, room = np.repeat(np.arange(6), 10), rng.normal(size=(60, 2)), rng.uniform(0.2, 1.0, 60)
    a = np.clip(0.5 * x[:, 0] + 0.1 * rng.normal(size=60), -1, 1)
    score = cross_validate(Samples((x,), a[:, None], room[:, None], day, (OWN,)), [Setting("linear", 1, 2.0)], 3, 0)[0]
    total = about = 0.0
    for train, test in day_folds(day, 3):
        mean, spread = x[train].mean(axis=0), x[train].std(axis=0)
        weight = room[train] ** 2 / (room[train] ** 2).mean()
        fitted = Ridge(alpha=2.0).fit((x[train] - mean) / spread, a[train], sample_weight=weight)
        answer = np.clip(fitted.predict((x[test] - mean) / spread), -1, 1)
        q = a[test] * room[test]
        total += ((answer * room[test] - q) ** 2).sum()
        about += ((q - (a * room)[train].mean()) ** 2).sum()
    assert score.rms_mvar == pytest.approx(np.sqrt(total / 60))
    assert score.r2 == pytest.approx(1 - total / about)


def test_sharing_powers_between_alphas_changes_no_score():
    rng = np.random.default_rng(0)
    x, day = rng.uniform(-1, 1, size=(120, 5)), np.repeat(np.arange(6), 20)
    a, room = np.tanh(x[:, 0] * x[:, 1] + x[:, 4]), rng.uniform(0.2, 1.0, 120)
    samples = Samples((x,), a[:, None], room[:, None], day, (np.arange(2),))
    for score in cross_validate(samples, FAMILIES["poly"], 3, 0):
        total = 0.0
        for train, test in day_folds(day, 3):
            part = Samples((x[train],), a[train, None], room[train, None], day[train], samples.own)
            answer = np.clip(fit(part, score.setting, 0)[0].predict(x[test]), -1, 1)
            total += (((answer - a[test]) * room[test]) ** 2).sum()
        assert score.rms_mvar == pytest.approx(np.sqrt(total / 120), rel=1e-9)


def test_the_best_setting_is_chosen_and_processes_change_nothing(case):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(400, 3))
    a = np.stack([x[:, 0] ** 2 - 0.5, x[:, 1] * x[:, 2], np.zeros(400)], axis=1)
    samples = Samples((x, x, x), a, np.ones((400, 3)), np.repeat(np.arange(8), 50), (np.arange(3),) * 3)
    few = [FAMILIES["linear"][0], FAMILIES["boosting"][0]]
    alone, together = (cross_validate(samples, few, 2, 0, jobs) for jobs in (1, 2))
    assert alone == together
    scores = cross_validate(samples, FAMILIES["poly"], 4, 0)
    best = min(scores, key=lambda one: one.rms_mvar)
    assert (best.setting.degree, best.setting.alpha) == (2, 1e-3)
    assert best.rms_mvar < 1e-4
    three = fit(samples, best.setting, 0)
    np.testing.assert_allclose(three[2].predict(x), 0.0)


def test_powers_are_taken_of_the_own_terminals_and_the_rest_counts_as_it_is():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(300, 40))
    own = np.array([3, 17])
    a = 0.4 * x[:, 3] * x[:, 17] + 0.3 * x[:, 30] - 0.2 * x[:, 0]
    day = np.repeat(np.arange(6), 50)
    samples = Samples((x, x), np.stack([a, x[:, 5] * x[:, 6]], axis=1), np.ones((300, 2)), day, (own, own))
    fitted = fit(samples, Setting("poly", 2, 1e-3), 0)
    assert fitted[0][:-1].transform(x[:2]).shape == (2, 5 + 38)
    np.testing.assert_allclose(fitted[0].predict(x), a, atol=1e-4)
    assert np.abs(fitted[1].predict(x) - x[:, 5] * x[:, 6]).max() > 0.3  # a product of others' readings is not there


def test_what_a_training_writes_and_says(made, case):
    assert sorted(p.relative_to(made.folder).as_posix() for p in made.folder.rglob("*")) == [
        "policy.skops", "rules", "rules.csv", "rules/local-linear.skops", "rules/local-poly.skops", "table.csv",
        "training.json",
    ]  # fmt: skip
    record = json.loads((made.folder / "training.json").read_text())
    assert not {*record["days"]} & {*record["holdout"]}
    assert (len(record["days"]), len(record["holdout"])) == (6, 2)
    assert len(made.rules) == 2
    assert made.rules["picked"].sum() == 1
    assert made.rules.loc[made.rules["picked"], "cv_cost_mw"].item() == made.rules["cv_cost_mw"].min()
    assert made.rules["samples"].tolist() == [6 * 24 * 3] * 2
    policy = EstimatorPolicy.load(made.policy)
    assert policy.training["rule"]["model"] == made.rules.loc[made.rules["picked"], "model"].item()
    assert policy.training["days"] == record["days"]
    assert policy.scope.value == "local"
    pd.testing.assert_frame_equal(pd.read_csv(made.folder / "table.csv"), made.table)


def test_the_table_is_what_simulate_and_its_metrics_give(made, case):
    from feederlab.metrics import BY_NAME, Run

    rows = made.table.set_index("controller")
    specs = {"none": "none", "volt_var:curve=mapdn": "volt_var:curve=mapdn", TEACHER: TEACHER}
    specs |= {f"{m}, local": f"sklearn:file={made.folder}/rules/local-{m}.skops" for m in ("linear", "poly")}
    assert list(rows.index) == list(specs)
    found = {}
    for label, spec in specs.items():
        runs = [Run(simulate(case.days(day), create(spec))) for day in made.holdout]
        found[label] = {name: np.mean([BY_NAME[name].value(run) for run in runs]) for name in ("cr_pct", "loss_mw")}
        worst = max(max(run("drop_pu").max(), run("rise_pu").max()) for run in runs)
        assert rows["worst_pu"][label] == pytest.approx(worst, abs=1e-9)
    for label, scores in found.items():
        assert rows["in_band_pct"][label] == pytest.approx(scores["cr_pct"])
        assert rows["loss_mw"][label] == pytest.approx(scores["loss_mw"], rel=1e-7)
        for column, base in (("kept_of_droop_pct", "volt_var:curve=mapdn"), ("kept_of_none_pct", "none")):
            full = found[base]["loss_mw"] - found[TEACHER]["loss_mw"]
            kept = 100 * (found[base]["loss_mw"] - scores["loss_mw"]) / full
            expected = kept if full > 0 else np.nan  # a base that leaves the band may lose less than the teacher
            assert rows[column][label] == pytest.approx(expected, abs=1e-3, nan_ok=True)


def test_a_grade_is_earned_on_days_unseen(case):
    """The closed loop of each fold by hand: a rule fitted without its days, run on them by simulate."""
    from feederlab.learn.imitation_pupil import Pupil

    chosen = midnights(case, 4)
    lessons = Lessons.ask(case, chosen, create(TEACHER))
    layout = Layout.of(case.task(), "local", [case.days(d).series() for d in chosen], identity=False)
    pupil = Pupil(lessons, layout, 1.0, False, 0, 2, 0, 1)
    score = pupil.best("linear", pupil.met)
    grade = pupil.grade(pupil.met, score)
    costs, inside, price = [], [], case.task().voltage_penalty
    for train, test in day_folds(np.arange(4), 2):
        rule = pupil.policy(fit(pupil.met.of(train), score.setting, 0))
        assert not {*pupil.met.of(train).day} & {*test}
        for day in test:
            run = simulate(case.days(chosen[day]), SklearnPolicy(rule)).data
            costs.append(run["losses_mw"].to_numpy() + price * run["voltage_excess"].to_numpy())
            inside.append(run["out_share"].to_numpy() == 0)
    assert grade.cost_mw == pytest.approx(np.mean(costs), rel=1e-4)
    assert grade.in_band_pct == pytest.approx(100 * np.mean(inside))


@pytest.mark.parametrize("scope", ["local", "zone", "global"])
def test_what_is_read_at_the_own_terminals(scope, case):
    from feederlab.learn.policies.estimators import own_inputs

    task = case.task()
    layout = Layout.of(task, scope, identity=False)
    for present_q in (False, True):
        columns = inputs(layout, task, 3, present_q)
        own = own_inputs(layout, task, columns)
        for k, (mine, chosen) in enumerate(zip(own, columns, strict=True)):
            row = k if scope != "global" else 0
            names = [layout.names[layout.index[row][chosen[place]]] for place in mine]
            node, index = task.inverters.node[k], task.inverters.index[k]
            wanted = [f"vm at node {node}", f"load p at node {node}", f"load q at node {node}",
                      f"available p of inverter {index}"]  # fmt: skip
            assert sorted(names) == sorted(wanted + [f"q of inverter {index}"] * present_q)


def test_a_share_of_nothing_is_no_number(case):
    rows = {label: create("none") for label in ("none", "droop", "teacher")}
    table = judge(case, midnights(case, 1), rows, teacher="teacher", droop="droop", none="none")
    assert table["kept_of_droop_pct"].isna().all()
    assert table["kept_of_none_pct"].isna().all()
    assert (table["unsolved"] == 0).all()


def test_the_same_seed_gives_the_same_rules_and_another_run_is_refused(made, case, tmp_path):
    again = train_imitation(case, tmp_path / "out", models=("linear", "poly"), **QUICK)
    pd.testing.assert_frame_equal(again.table, made.table)
    pd.testing.assert_frame_equal(again.rules, made.rules)
    with pytest.raises(ResultFileError, match="another question"):
        train_imitation(case, tmp_path / "out", models=("linear",), **QUICK)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "training.json").write_text('{"format": 1, "kind": "training"}')
    with pytest.raises(ResultFileError, match="is no imitation"):
        train_imitation(case, tmp_path / "else", models=("linear",), **QUICK, overwrite=True)


def test_zone_and_global_rules_see_what_they_say(case, tmp_path):
    found = train_imitation(
        case, tmp_path / "out", models=("poly",), observation=("zone", "global"), rounds=1,
        **{**QUICK, "holdout": 0},
    )  # fmt: skip
    assert found.table.empty
    assert found.rules["observation"].tolist() == ["zone", "global"]
    assert EstimatorPolicy.load(found.policy).scope.value == "zone"
    for _, row in found.rules.iterrows():
        policy = create(f"sklearn:file={found.folder / row['file']}")
        assert str(policy.sees) == row["observation"]
        run = simulate(case.days(found.days[0]), policy).data
        assert set(run["status"].to_numpy().tolist()) == {"ok"}


def test_boosting_end_to_end_from_files_alone(case, tmp_path):
    few = {**QUICK, "days": 2, "folds": 2, "holdout": 1}
    found = train_imitation(case, tmp_path / "out", models=("boosting",), rounds=0, **few)
    assert found.rules["samples"].tolist() == [48]
    run = simulate(case.days(found.holdout[0]), create(f"sklearn:file={found.policy}")).data
    np.testing.assert_allclose(found.table["loss_mw"].iloc[-1], run["losses_mw"].mean(), rtol=1e-9)


def without_inverters():
    grid = copy.deepcopy(toy_days.scenario().feeder.net)
    grid.sgen["controllable"] = False
    case = toy_days.scenario()
    return Scenario.build(Feeder.from_pandapower(grid, "bare"), dict(case.profiles), band=(0.95, 1.05))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds": 7}, "needs at least 7 training days"),
        ({"folds": 1}, "at least 2 training days"),
        ({"days": 7, "holdout": 2}, "cannot be drawn"),
        ({"models": ()}, "at least one model"),
        ({"models": ("poly", "poly")}, "named twice"),
        ({"rounds": -1}, "must not be negative"),
        ({"jobs": 0}, "positive number"),
        ({"bound": 0.0}, r"\(0, 1\]"),
        ({"margin": -0.1}, "margin"),
        ({"margin": 0.06}, "leaves nothing of the voltage band"),
        ({"teacher": "volt_var"}, "a teacher sees everything"),
        ({"teacher": Proportional(curtail=True)}, "lowers active power"),
        ({"teacher": Proportional(blind=True)}, "no answer at any step"),
    ],
)
def test_refusals(change, message, case, tmp_path):
    with pytest.raises(InputError, match=message):
        train_imitation(case, tmp_path / "out", **{**QUICK, "models": ("linear",), **change})
    assert not (tmp_path / "out").exists()


def test_other_refusals(case, tmp_path):
    for change in ({"models": ("forest",)}, {"observation": ("everything",)}, {"teacher": "opff"}):
        with pytest.raises(UnknownNameError):
            train_imitation(case, tmp_path / "out", **{**QUICK, **change})
    with pytest.raises(InputError, match="no inverter"):
        train_imitation(without_inverters(), tmp_path / "out", **QUICK)
    stored = example_scenario()
    with pytest.raises(InputError, match="moves storage"):
        Lessons.ask(stored, [stored.start], Proportional(store=True))
    assert list(tmp_path.iterdir()) == []


def test_steps_without_a_solution_are_no_lessons(case):
    """Under a hundredfold load the first power flow of a day has no solution."""
    day = case.start
    heavy = dict(case.profiles)
    key = ("load", "p_mw")
    values = heavy[key].to_frame().copy()
    values.iloc[5] *= 100
    from feederlab.models.profiles import Profile

    heavy[key] = Profile.from_frame(values)
    lessons = Lessons.ask(replace(case, profiles=heavy), [day], Proportional())
    assert lessons.known[0].sum() == 23
    layout = Layout.of(case.task(), "local", identity=False)
    solved = lessons.lived(layout, lambda t, _: lessons.q_mvar[:, t]).solved
    assert solved[0].tolist() == [t != 5 for t in range(24)]


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    import toy

    case = toy_days.scenario()
    frames = {key: p.to_frame() for key, p in case.profiles.items()}
    return toy.write_files(tmp_path_factory.mktemp("net"), case.feeder.net, frames)


def test_the_command_and_the_comparison_that_it_names(run, net, tmp_path):
    words = ("train", "imitation", net, "--profiles", net.parent / "profiles", "--teacher", TEACHER, "--days", "4",
             "--holdout", "1", "--folds", "2", "--rounds", "1", "--model", "linear,poly", "--jobs", "1", "--step",
             "1h")  # fmt: skip
    answer = run(*words, "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    assert "Cross-validated over the training days" in answer.out
    assert "poly, local" in answer.out
    command = answer.out[answer.out.index("feederlab compare") :].strip()
    assert "\n" not in command
    compared = run(*shlex.split(command)[1:], "--json")
    assert compared.code == 0, compared.err
    assert len(json.loads(compared.out)["rows"]) == 4
    again = run(*words, "--out", tmp_path / "out", "--json")
    assert again.code == 0, again.err
    said = json.loads(again.out)
    assert [row["controller"] for row in said["table"]] == ["none", "volt_var:curve=mapdn", TEACHER, "linear, local",
                                                           "poly, local"]  # fmt: skip
    left = sorted(p.name for p in tmp_path.iterdir())
    refused(run(*words, "--out", tmp_path / "out", "--seed", "1"), 6, "of another question", tmp_path, left)


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--model", "forest"), 3, "unknown model 'forest'"),
        (("--observation", "everything"), 3, "unknown observation"),
        (("--days", "2016-06-20,2016-06-21", "--holdout", "2016-06-20"), 2, "a held-out day must be unseen"),
        (("--folds", "9"), 2, "more days, or 2 to 6 folds"),
        (("--teacher", "opff"), 3, "did you mean 'opf'"),
        (("--margin", "0.2"), 2, "leaves nothing"),
    ],
)
def test_refusals_of_the_command(more, code, message, run, net, tmp_path):
    words = ("train", "imitation", net, "--profiles", net.parent / "profiles", "--days", "6", "--holdout", "1")
    refused(run(*words, "--out", tmp_path / "out", *more), code, message, tmp_path)


def test_what_must_be_given(run, net, tmp_path):
    refused(run("train", "imitation", "--out", tmp_path / "out"), 2, "give one scenario", tmp_path)
    refused(run("train", "imitation", net), 2, "give --out", tmp_path)
