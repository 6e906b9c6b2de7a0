"""PPO, SAC, TD3 and DQN: resumed to the bit wherever they were stopped or killed, with several copies; they learn."""

import multiprocessing
import os
import signal

import numpy as np
import pandas as pd
import pytest
import stable_baselines3
import torch

import toy_banks
from feederlab.errors import InputError, ResultFileError, UnknownNameError
from feederlab.learn import Policy
from feederlab.learn.environments import CAPACITORS
from feederlab.learn.policies.actor import ActorPolicy
from feederlab.learn.settings import DqnSettings, PpoSettings, SacSettings, Td3Settings
from feederlab.learn.tensors import read_tensors
from feederlab.learn.train import Stopped, train
from feederlab.learn.training.any_env import AnySubject
from feederlab.learn.training.network import Network
from feederlab.learn.volt_var.env import VoltVarEnv
from tiny_envs import DATED, FORGETFUL, LIMITED, TRACKING, UNMADE

SMALL = {"hidden": (8, 8), "critic_hidden": (16,)}
SETTINGS = {
    "ppo": PpoSettings(**SMALL, rollout=4, batch=6, epochs=2),
    "sac": SacSettings(**SMALL, warm_up=9, batch=8, replay=60, gradient_steps=1),
    "td3": Td3Settings(**SMALL, warm_up=9, batch=8, replay=60, train_every=2, gradient_steps=-1),
    "dqn": DqnSettings(hidden=(8, 8), warm_up=9, batch=8, replay=60, target_every=6),
}
VOLT_VAR = {"arguments": {"bound": 0.8, "episode": 7}, "days": 2, "holdout": 1, "steps": 96, "copies": 3,
            "evaluate_every": 30, "checkpoint_every": 20}  # fmt: skip
CASES = {
    "ppo": {},
    "ppo zone-wise": {"arguments": {"observation": "local", "reward": "l2 + losses"}},
    "sac": {},
    "sac row-wise": {"arguments": {"observation": "local"}},
    "td3": {},
    "td3 row-wise": {"arguments": {"observation": "local"}, "copies": 1},
    "ppo switching": {"env": CAPACITORS, "arguments": {"fast": "none", "every": "2h"}},
    "dqn switching": {"env": CAPACITORS, "arguments": {"fast": "none", "every": "2h"}, "copies": 2},
}


def learn(case, out, **more):
    algorithm = case.split()[0]
    scenario = toy_banks.scenario().resample("1h")
    return train(algorithm, scenario, out, settings=SETTINGS[algorithm], **{**VOLT_VAR, **CASES[case], **more})


def stop_after(calls):
    counter = iter(range(calls))
    return lambda: next(counter, None) is None


def last(out):
    return sorted((out / "checkpoints").iterdir())[-1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """``whole(case)``: a training that nothing interrupted."""
    made = {}

    def find(case):
        if case not in made:
            made[case] = learn(case, tmp_path_factory.mktemp("whole") / "out")
        return made[case]

    return find


def same(one, other):
    assert last(one.folder).read_bytes() == last(other.folder).read_bytes()
    assert one.policy.read_bytes() == other.policy.read_bytes()
    assert (one.folder / "evaluation.csv").read_bytes() == (other.folder / "evaluation.csv").read_bytes()


@pytest.mark.parametrize("case", CASES)
def test_stopping_anywhere_changes_nothing(case, whole, tmp_path):
    rollouts = 8 if "ppo" in case else 16 if case == "td3" else 32
    for calls in (0, 1, rollouts // 3, 1, rollouts // 4):
        with pytest.raises(Stopped):
            learn(case, tmp_path / "out", resume=True, stop=stop_after(calls))
    same(learn(case, tmp_path / "out", resume=True), whole(case))


@pytest.mark.parametrize("case", ["ppo", "sac", "td3 row-wise"])
def test_killing_the_process_changes_nothing(case, whole, tmp_path):
    def killed_at(step, _):
        if step >= 70:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)  # a fork must find no other thread at work
    child = multiprocessing.get_context("fork").Process(
        target=learn, args=(case, tmp_path / "out"), kwargs={"progress": killed_at}
    )
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert 40 <= int(last(tmp_path / "out").name[5:14]) < 70
    same(learn(case, tmp_path / "out", resume=True), whole(case))


def test_a_resumed_replay_buffer_that_went_round_is_the_same(whole, tmp_path):
    """60 transitions are remembered of 96, in three copies."""
    arrays, about = read_tensors(last(whole("sac").folder), "feederlab checkpoint")
    assert about["replay"] == {"position": 12, "full": True}
    assert arrays["replay.observations"].shape[:2] == (20, 3)


@pytest.mark.parametrize("case", ["ppo", "ppo zone-wise", "sac row-wise", "td3"])
def test_the_curve_is_what_the_policy_does_on_the_held_out_days(case, whole):
    made = whole(case)
    policy = ActorPolicy.load(made.policy)
    best = made.curve[made.curve["best"]].iloc[-1]
    assert policy.training["step"] == best["step"]
    assert best["holdout_reward"] == made.curve["holdout_reward"].max()
    arguments = {"bound": 0.8, **CASES[case].get("arguments", {})}
    arguments.pop("episode", None)
    if case != "ppo":
        arguments["bound"] = CASES[case].get("arguments", VOLT_VAR["arguments"]).get("bound", 1.0)
    assert policy.bound == arguments["bound"]
    learnt = learn_env(policy, arguments)
    seen, over, rewards, scores = learnt.reset(options={"day": policy.training["holdout"][0]})[0], False, [], []
    while not over:
        seen, reward, _, over, info = learnt.step(policy.act(np.atleast_2d(seen)))
        rewards.append(reward)
        scores.append((info["in_band"], info["losses_mw"]))
    assert np.mean(rewards) == pytest.approx(best["holdout_reward"], rel=1e-9)
    assert np.mean(scores, axis=0) == pytest.approx([best["holdout_in_band"], best["holdout_losses_mw"]], rel=1e-9)


def learn_env(policy, arguments):
    scenario = toy_banks.scenario().resample("1h")
    layout = policy.layout_of(scenario.task())
    return VoltVarEnv(scenario, days=policy.training["holdout"], layout=layout, **arguments)


def test_ppo_on_banks_gives_a_policy_that_two_timescale_runs(whole):
    policy = Policy.load(whole("ppo switching").policy)
    assert policy.training["method"] == "ppo"
    assert policy.values(np.zeros(len(policy.observation), dtype=np.float32)).shape == (6,)


def test_other_seeds_and_copies_are_other_trainings(whole, tmp_path):
    for name, more in (("seed", {"seed": 1}), ("copies", {"copies": 6})):
        other = learn("ppo", tmp_path / name, **more)
        assert other.policy.read_bytes() != whole("ppo").policy.read_bytes()
        with pytest.raises(ResultFileError, match=f"{name} was"):
            learn("ppo", tmp_path / name, resume=True)


def test_data_that_changed_are_another_training(whole, tmp_path):
    made = learn("ppo", tmp_path / "out")
    scenario = toy_banks.scenario().with_devices(inverters={9: (0.5, 0.4)}).resample("1h")
    with pytest.raises(ResultFileError, match=r"belongs to another training .*data was"):
        train("ppo", scenario, made.folder, settings=SETTINGS["ppo"], **VOLT_VAR, resume=True)


def test_time_that_is_up_ends_a_training_which_goes_on_when_it_is_given_more(whole, tmp_path):
    first = learn("ppo", tmp_path / "out", minutes=1e-9)
    assert first.curve["step"].tolist() == [0]
    assert ActorPolicy.load(first.policy).training["step"] == 0
    again = learn("ppo", tmp_path / "out", minutes=1e-9, resume=True)
    assert again.curve["step"].tolist() == [0]
    rest = learn("ppo", tmp_path / "out", minutes=5, resume=True)
    assert rest.curve["step"].tolist()[1:] == whole("ppo").curve["step"].tolist()
    ours, theirs = (read_tensors(last(made.folder), "feederlab checkpoint")[0] for made in (rest, whole("ppo")))
    assert {*ours} == {*theirs}
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_the_best_network_is_the_one_asked_for(tmp_path):
    made = learn("sac", tmp_path / "out", best="in_band,-losses_mw", evaluate_every=12)
    order = made.curve.sort_values(["holdout_in_band", "holdout_losses_mw", "step"], ascending=[False, True, True])
    assert ActorPolicy.load(made.policy).training["step"] == order.iloc[0]["step"]
    with pytest.raises(
        UnknownNameError, match=r"unknown score of the held-out days 'in_bnd': did you mean 'in_band'\?"
    ):
        learn("sac", tmp_path / "other", best="in_bnd")


def test_tensorboard_shows_each_step_once_after_a_resumed_training(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Cut(Exception):
        pass

    def cut(step, _):
        if step >= 75:
            raise Cut

    with pytest.raises(Cut):
        learn("ppo", tmp_path / "out", tensorboard=True, checkpoint_every=50, evaluate_every=12, progress=cut)
    made = learn("ppo", tmp_path / "out", tensorboard=True, checkpoint_every=50, evaluate_every=12, resume=True)
    logs = EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    logs.Reload()
    shown = logs.Scalars("holdout/reward")
    assert [event.step for event in shown] == made.curve["step"].tolist()
    assert [event.value for event in shown] == pytest.approx(made.curve["holdout_reward"].tolist(), rel=1e-6)
    assert {"rollout/reward", "train/value_loss", "holdout/losses_mw"} <= {*logs.Tags()["scalars"]}


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize(
    ("algorithm", "settings", "steps"),
    [
        ("ppo", PpoSettings(hidden=(32,), critic_hidden=(32,), rollout=16, batch=64, learning_rate=0.02), 6_000),
        (
            "sac",
            SacSettings(hidden=(32,), critic_hidden=(64,), warm_up=100, batch=64, gradient_steps=1, learning_rate=5e-3),
            700,
        ),
        (
            "td3",
            Td3Settings(hidden=(32,), critic_hidden=(64,), warm_up=100, batch=64, gradient_steps=1, learning_rate=5e-3),
            700,
        ),
    ],
)
def test_every_learner_follows_what_it_sees(algorithm, settings, steps, rows, tmp_path):
    made = train(
        algorithm, None, tmp_path, env=TRACKING, arguments={"rows": rows}, settings=settings, steps=steps,
        copies=8 if algorithm == "ppo" else 1, evaluate_every=steps,
    )  # fmt: skip
    network = Network.load(made.policy)
    goal = np.random.default_rng(1).uniform(-0.9, 0.9, (50, 2)).astype(np.float32)
    place = np.broadcast_to(np.linspace(0, 1, 2, dtype=np.float32), goal.shape)
    taken = np.stack([network.act(seen) for seen in (np.stack([goal, place], axis=2) if rows else goal)])
    assert np.abs(taken - goal).mean() < 0.15  # at random: 0.6


@pytest.mark.parametrize("algorithm", ["ppo", "dqn"])
def test_discrete_actions_are_learnt(algorithm, tmp_path):
    settings = {
        "ppo": PpoSettings(hidden=(32,), critic_hidden=(32,), rollout=16, batch=64, learning_rate=0.02),
        "dqn": DqnSettings(hidden=(32,), warm_up=100, learning_rate=5e-3, discount=0.1),
    }[algorithm]
    made = train(
        algorithm, None, tmp_path, env=TRACKING, arguments={"discrete": True}, settings=settings,
        steps=4_000 if algorithm == "ppo" else 1_500, copies=8 if algorithm == "ppo" else 1,
    )  # fmt: skip
    network = Network.load(made.policy)
    seen = np.random.default_rng(1).uniform(-0.9, 0.9, (200, 2)).astype(np.float32)
    taken = np.array([network.act(one) for one in seen])
    assert np.mean(taken == 1 + np.sign(np.round(seen[:, 0]))) > 0.9


def test_an_environment_with_days_of_its_own_is_judged_on_others(tmp_path):
    scenario = toy_banks.scenario()
    request = {"env": DATED, "days": 1, "holdout": 2, "settings": PpoSettings(rollout=8, batch=8), "steps": 48,
               "evaluate_every": 16, "best": "-error"}  # fmt: skip
    made = train("ppo", scenario, tmp_path / "a", **request)
    assert train("ppo", scenario, tmp_path / "b", **request).curve.equals(made.curve)
    assert (made.curve["holdout_fitted"] == 1).all()  # what the training days gave holds on the others, too
    network = Network.load(made.policy)
    record = network.training
    assert not {*record["days"]} & {*record["holdout"]}
    assert made.curve["holdout_error"].to_numpy() == pytest.approx(-made.curve["holdout_reward"].to_numpy())
    assert "holdout_at" not in made.curve  # a count is no score


@pytest.mark.parametrize(
    ("algorithm", "more", "message"),
    [
        ("dqn", {"env": "feederlab/VoltVar-v0"}, r"dqn cannot learn the actions of .*Box.*: take ppo or sac or td3"),
        (
            "sac",
            {"env": CAPACITORS, "arguments": {"every": "2h"}},
            r"sac cannot learn the actions of .*Discrete\(6\): take ppo or dqn",
        ),
        ("ppo", {"env": "feederlab/VoltVr-v0"}, "unknown environment .* did you mean 'feederlab/VoltVar-v0'"),
        ("ppo", {"arguments": {"obsrvation": "zone"}}, "unknown argument of feederlab/VoltVar-v0 'obsrvation'"),
        ("ppo", {"arguments": {"days": "x"}}, "the argument 'days' of feederlab/VoltVar-v0 is set by the training"),
        ("ppo", {"env": CAPACITORS, "arguments": {"bound": 1}}, "unknown argument of feederlab/Capacitors-v0 'bound'"),
        ("ppo", {"env": TRACKING, "arguments": {"bound": 1}}, "unknown argument of tiny/Tracking-v0 'bound'"),
        ("ppo", {"env": UNMADE}, "tiny/Unmade-v0 cannot be made: ModuleNotFoundError"),
        ("ppo", {"env": TRACKING, "arguments": {"width": "x"}}, "tiny/Tracking-v0 cannot be made: TypeError"),
        ("dqn", {"arguments": {"fast": 5}}, "the fast controller must be a controller or its spec"),
        ("ppo", {"env": FORGETFUL}, r"tiny/Forgetful-v0 has no state\(\)"),
        ("ppo", {"env": LIMITED}, "end them itself"),
        (
            "ppo",
            {"copies": 5, "settings": PpoSettings(rollout=3, batch=4)},
            "15 transitions, which are no whole number",
        ),
        ("ppo", {"copies": 0}, "copies must be at least 1, not 0"),
        ("ppo", {"minutes": 0}, "minutes must be a positive number, not 0"),
        ("ppo", {"settings": SacSettings()}, "ppo learns by PpoSettings, not SacSettings"),
        ("a2c", {}, "unknown algorithm 'a2c'"),
    ],
)
def test_what_does_not_fit_is_refused(algorithm, more, message, tmp_path):
    with pytest.raises(InputError, match=message):
        train(algorithm, toy_banks.scenario().resample("1h"), tmp_path / "out", days=2, holdout=1, steps=10, **more)
    assert not (tmp_path / "out").exists()


def test_our_own_environments_need_a_scenario(tmp_path):
    for name in ("feederlab/VoltVar-v0", CAPACITORS):
        with pytest.raises(InputError, match="needs a scenario"):
            train("ppo", None, tmp_path / "out", env=name)
    with pytest.raises(InputError, match="tiny/Dated-v0 needs a scenario"):
        train("ppo", None, tmp_path / "out", env=DATED)


@pytest.mark.parametrize(
    ("kind", "more", "message"),
    [
        (PpoSettings, {"log_std": float("nan")}, "log_std must lie in"),
        (PpoSettings, {"batch": 1}, "at least 2 transitions"),
        (PpoSettings, {"activation": "gelu"}, "tanh or relu"),
        (PpoSettings, {"clip": 0.0}, "clip, max_gradient above 0"),
        (PpoSettings, {"entropy": -0.1}, "entropy must not be negative"),
        (PpoSettings, {"critic_hidden": ()}, "whole and positive"),
        (SacSettings, {"tau": 2.0}, "chances and shares"),
        (SacSettings, {"entropy": "much"}, "entropy must be auto"),
        (SacSettings, {"entropy": "auto_0"}, "entropy must be auto"),
        (SacSettings, {"entropy": "-1"}, "entropy must be auto"),
        (SacSettings, {"entropy": "nan"}, "entropy must be auto"),
        (SacSettings, {"entropy_target": "low"}, "entropy_target must be auto or a number"),
        (SacSettings, {"gradient_steps": 0}, "at least 1, or -1"),
        (SacSettings, {"discount": 1.0}, r"discount must lie in \[0, 1\)"),
        (Td3Settings, {"noise": -1.0}, "noise must not be negative"),
        (Td3Settings, {"policy_delay": 0}, "whole and positive"),
        (Td3Settings, {"warm_up": -1}, "whole and positive"),
    ],
)
def test_settings_that_cannot_be_are_refused(kind, more, message):
    with pytest.raises(InputError, match=message):
        kind(**more)


@pytest.mark.parametrize("algorithm", ["ppo", "td3"])
def test_a_training_that_diverges_says_so(algorithm, tmp_path, monkeypatch):
    settings = {"ppo": PpoSettings(rollout=8, batch=8), "td3": Td3Settings(warm_up=8, batch=8)}[algorithm]

    def burst(self, *_, **__):  # as a learning rate that is too large ends
        for weights in self.policy.parameters():
            weights.data.fill_(float("nan"))

    monkeypatch.setattr(getattr(stable_baselines3, algorithm.upper()), "train", burst)
    with pytest.raises(InputError, match=r"has diverged by step \d+: a weight is no finite number"):
        train(algorithm, None, tmp_path / "out", env=TRACKING, steps=64, settings=settings)


def test_the_policy_of_a_resumed_training_is_that_of_its_checkpoint(tmp_path):
    """A file that is gone comes back, and one of an evaluation after the checkpoint goes."""
    more = {"env": TRACKING, "steps": 16, "settings": PpoSettings(rollout=8, batch=8)}
    policy = train("ppo", None, tmp_path / "out", **more).policy
    best = policy.read_bytes()
    policy.unlink()
    assert train("ppo", None, tmp_path / "out", **more, resume=True).policy.read_bytes() == best
    policy.write_bytes(train("ppo", None, tmp_path / "other", **more, seed=1).policy.read_bytes())
    assert train("ppo", None, tmp_path / "out", **more, resume=True).policy.read_bytes() == best


def test_a_score_that_is_no_number_is_never_the_best(tmp_path, monkeypatch):
    scores = iter([float("nan"), -2.0, float("nan"), -3.0, -1.0])
    monkeypatch.setattr(AnySubject, "judge", lambda *_: {"reward": next(scores)})
    made = train(
        "ppo", None, tmp_path / "out", env=TRACKING, steps=40, evaluate_every=8, settings=PpoSettings(rollout=8)
    )
    assert made.curve["best"].tolist() == [True, True, False, False, True]


def test_sac_may_keep_a_fixed_weight_of_the_entropy(tmp_path):
    settings = SacSettings(**SMALL, warm_up=9, batch=8, entropy="0.01", entropy_target="-2")
    made = train("sac", toy_banks.scenario().resample("1h"), tmp_path / "a", settings=settings, **VOLT_VAR)
    assert "entropy" not in read_tensors(last(made.folder), "feederlab checkpoint")[0]
    assert pd.read_csv(tmp_path / "a" / "evaluation.csv", float_precision="round_trip").equals(made.curve)
