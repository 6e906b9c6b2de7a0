"""An interrupted training ends as one never interrupted, bit by bit; it learns; damaged checkpoints harm no other."""

import multiprocessing
import os
import random
import shutil
import signal
from itertools import product

import numpy as np
import pytest
import torch

import toy_banks
from feederlab.controllers.fixed import Fixed
from feederlab.controllers.none import NoControl
from feederlab.controllers.two_timescale import TwoTimescale
from feederlab.errors import InputError, ResultFileError
from feederlab.learn import CapacitorsEnv, DqnSettings, Policy, Stopped, train_dqn
from feederlab.learn.training.capacitors import greedy
from feederlab.learn.training.subject import lived
from feederlab.models.objective import Objective
from feederlab.simulate import RunOptions, simulate

STEPS = 70
REQUEST = {
    "fast": "none", "every": "2h", "days": 3, "holdout": 1, "steps": STEPS, "evaluate_every": 30,
    "checkpoint_every": 20, "settings": DqnSettings(hidden=(16, 16), warm_up=15, batch=8, target_every=7, replay=40),
}  # fmt: skip


def hourly():
    return toy_banks.scenario().resample("1h")


def train(out, **more):
    return train_dqn(hourly(), out, **{**REQUEST, **more})


def judged(env, policy):
    return lived(env, env.days, greedy(policy))["cost"]


def stop_after(calls):
    counter = iter(range(calls))
    return lambda: next(counter, None) is None


def last(out):
    return sorted((out / "checkpoints").iterdir())[-1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return train(out)


def same(one, other):
    assert last(one.folder).read_bytes() == last(other.folder).read_bytes()
    assert one.policy.read_bytes() == other.policy.read_bytes()
    assert (one.folder / "evaluation.csv").read_bytes() == (other.folder / "evaluation.csv").read_bytes()


def test_what_a_training_leaves(whole):
    assert sorted(path.name for path in whole.folder.iterdir()) == [
        "checkpoints", "evaluation.csv", "policy.safetensors", "training.json",
    ]  # fmt: skip
    assert [path.name for path in sorted((whole.folder / "checkpoints").iterdir())] == [
        "step-000000040.safetensors", "step-000000060.safetensors", "step-000000070.safetensors",
    ]  # fmt: skip
    assert whole.curve["step"].tolist() == [30, 60, 70]
    best = whole.curve.loc[whole.curve["holdout_cost"].idxmin()]
    policy = Policy.load(whole.policy)
    assert policy.training["step"] == best["step"]
    unseen = policy.training["holdout"]
    env = CapacitorsEnv(hourly(), "none", "2h", unseen, observation=policy.observation, cost_scale=1.0)
    assert judged(env, policy) == best["holdout_cost"]


@pytest.mark.parametrize("breaks", [[1, 35], [16, 1, 1, 42], [69]])
def test_stopping_anywhere_changes_nothing(breaks, whole, tmp_path):
    for steps in breaks:
        with pytest.raises(Stopped):
            train(tmp_path / "out", resume=True, stop=stop_after(steps))
    same(train(tmp_path / "out", resume=True), whole)


def test_a_fast_layer_with_memory_and_a_solver_is_resumed_as_well(tmp_path):
    more = {"fast": "lindistflow", "every": "4h", "days": 2, "steps": 18, "evaluate_every": 18, "checkpoint_every": 7}
    before = train(tmp_path / "whole", **more)
    with pytest.raises(Stopped):
        train(tmp_path / "out", stop=stop_after(11), **more)
    same(train(tmp_path / "out", resume=True, **more), before)


def test_killing_the_process_changes_nothing(whole, tmp_path):
    def killed_at(step, _):
        if step == 53:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)  # a fork must find no other thread at work
    child = multiprocessing.get_context("fork").Process(
        target=train, args=(tmp_path / "out",), kwargs={"progress": killed_at}
    )
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert last(tmp_path / "out").name == "step-000000040.safetensors"
    (tmp_path / "out" / "checkpoints" / ".step-000000060.safetensors.abcdefgh.part.safetensors").write_text("half")
    told = []
    same(train(tmp_path / "out", resume=True, progress=lambda step, _: told.append(step)), whole)
    assert told == list(range(41, STEPS + 1))
    assert not [path for path in (tmp_path / "out" / "checkpoints").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("more", [{"resume": True}, {"overwrite": True}])
def test_two_processes_do_not_train_in_one_folder(more, tmp_path):
    out = tmp_path / "out"

    def again(step, _):
        with pytest.raises(ResultFileError, match=f"another process is at work on {out}"):
            train(out, **more)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(out, progress=again)
    assert [path.name for path in out.iterdir()] == ["training.json"]


def test_a_finished_training_is_left_as_it_is(whole):
    before = {path: path.read_bytes() for path in whole.folder.rglob("*") if path.is_file()}
    again = train(whole.folder, resume=True)
    assert again.curve.equals(whole.curve)
    assert {path: path.read_bytes() for path in whole.folder.rglob("*") if path.is_file()} == before


def test_seeds_differ_and_no_generator_of_the_caller_moves(whole, tmp_path):
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    random.seed(3)
    first, threads = (np.random.rand(), torch.rand(1), random.random()), torch.get_num_threads()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    random.seed(3)
    other = train(tmp_path / "out", seed=1)
    assert (np.random.rand(), torch.rand(1), random.random()) == first  # noqa: NPY002
    assert torch.get_num_threads() == threads
    assert other.policy.read_bytes() != whole.policy.read_bytes()


def damaged(out, change):
    path = last(out)
    path.write_bytes(change(path.read_bytes()))
    return path


@pytest.mark.parametrize(
    "change", [lambda data: data[:-100], lambda data: b"", lambda data: data[:5000] + b"\x00\xff" + data[5002:]]
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_goes_on(change, whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole.folder, out)
    older = {path: path.read_bytes() for path in sorted((out / "checkpoints").iterdir())[:-1]}
    broken = damaged(out, change)
    with pytest.raises(ResultFileError, match=rf"{broken}.* delete it and resume again to go on from step-000000060"):
        train(out, resume=True)
    assert {path: path.read_bytes() for path in older} == older
    broken.unlink()
    same(train(out, resume=True), whole)


def test_resuming_another_training_is_refused(whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole.folder, out)
    with pytest.raises(ResultFileError, match=r"seed was 0, is 1.*--overwrite"):
        train(out, resume=True, seed=1)
    with pytest.raises(ResultFileError, match=r"settings\.batch was 8, is 32; steps was 70, is 71"):
        train(
            out,
            resume=True,
            steps=71,
            settings=DqnSettings(hidden=(16, 16), batch=32, warm_up=15, target_every=7, replay=40),
        )
    with pytest.raises(ResultFileError, match="give --resume to go on with it, --overwrite to begin anew"):
        train(out)
    same(train(out, overwrite=True), whole)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    for more in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(ResultFileError, match="holds files, and no training"):
            train(tmp_path, **more)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"keep": 0}, "keep must be at least 1"),
        ({"seed": -1}, "seed must not be negative"),
        ({"resume": True, "overwrite": True}, "give one of them"),
        ({"every": "20min"}, "no multiple of the slot"),
    ],
)
def test_what_cannot_be(more, message, tmp_path):
    with pytest.raises(InputError, match=message):
        train(tmp_path / "out", **more)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"hidden": ()}, "whole and positive"),
        ({"batch": 0}, "whole and positive"),
        ({"discount": 1.0}, r"discount must lie in \[0, 1\)"),
        ({"explore_last": 1.5}, "chances and shares"),
    ],
)
def test_settings_that_cannot_be(more, message):
    with pytest.raises(InputError, match=message):
        DqnSettings(**more)


def test_it_learns_to_switch(tmp_path):
    """On its own days it must come close to the best of all fixed configurations of each day, which it is not shown."""
    case = toy_banks.scenario()
    made = train_dqn(
        case, tmp_path, fast="none", every="1h", days=3, holdout=1, steps=400, evaluate_every=200,
        settings=DqnSettings(warm_up=100, hidden=(32, 32), target_every=50),
    )  # fmt: skip
    policy = Policy.load(made.policy)
    goal = RunOptions(objective=Objective.parse("voltage_deviation"))
    env = CapacitorsEnv(case, "none", "1h", observation=policy.observation, cost_scale=1.0)
    learned = judged(env, policy) * 24 * 4
    fixed = []
    for first, second in product(range(2), range(3)):
        banks = TwoTimescale(slow=Fixed(step=f"{first}/{second}"), fast=NoControl(), every="1h")
        run = simulate(case, banks, goal).data["voltage_deviation"].to_numpy()
        fixed.append(run.reshape(4, -1).sum(axis=1))
    assert learned < np.min(fixed, axis=0).sum()


def test_without_held_out_days_the_last_network_is_kept(tmp_path):
    made = train(tmp_path / "out", holdout=0, days=2, steps=40, evaluate_every=25)
    assert made.curve["holdout_reward"].isna().all()
    assert Policy.load(made.policy).training["step"] == 40
    again = train(tmp_path / "out", holdout=0, days=2, steps=40, evaluate_every=25, resume=True)
    assert again.curve.equals(made.curve)
