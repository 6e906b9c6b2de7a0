"""Row-wise policies: action i depends on row i alone, the critic on all rows; the network taken out acts the same."""

import gymnasium as gym
import numpy as np
import pytest
import torch

import toy_banks
from feederlab.learn.settings import PpoSettings, SacSettings, Td3Settings
from feederlab.learn.training.algorithms import actor_of, make_model
from feederlab.learn.training.volt_var import VoltVarSubject
from tiny_envs import TRACKING

SETTINGS = {
    "ppo": PpoSettings(hidden=(16, 8), critic_hidden=(12,), rollout=4, batch=8),
    "ppo relu": PpoSettings(hidden=(16, 8), critic_hidden=(12,), rollout=4, batch=8, activation="relu"),
    "sac": SacSettings(hidden=(16, 8), critic_hidden=(12,), warm_up=4, batch=8),
    "td3": Td3Settings(hidden=(16, 8), critic_hidden=(12,), warm_up=4, batch=8),
}


def model_of(case, scope, steps=16):
    """A model that has learnt a little, so that no weight is what it was at first."""
    scenario = toy_banks.scenario().resample("1h")
    copies = VoltVarSubject(scenario, {"observation": scope, "episode": 6}, 2, 0, 0).copies(2)
    torch.manual_seed(0)
    return make_model(case.split()[0], copies, SETTINGS[case], 0).learn(steps)


def observations(model, count=5):
    shape = (count, *model.observation_space.shape)
    return np.random.default_rng(3).uniform(-2, 2, shape).astype(np.float32)


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("case", SETTINGS)
def test_the_network_taken_out_acts_as_the_model_does(case, scope):
    model = model_of(case, scope)
    actor, seen = actor_of(model), observations(model)
    rows = seen if scope == "local" else seen[:, None]
    assert actor(rows).reshape(len(seen), -1) == pytest.approx(model.predict(seen, deterministic=True)[0], abs=2e-6)
    assert actor.inputs == rows.shape[2]
    assert actor.outputs == (1 if scope == "local" else 3)


@pytest.mark.parametrize("case", SETTINGS)
def test_an_action_depends_on_its_own_row_alone_and_the_critic_on_all(case):
    model = model_of(case, "local")
    seen = torch.tensor(observations(model, 1), requires_grad=True)
    with torch.no_grad():
        actions = model.policy._predict(seen, deterministic=True)
    assert actions.shape == (1, 3)
    for i in range(3):
        for j in range(3):
            other = seen.detach().clone()
            other[:, j] += 0.5
            with torch.no_grad():
                moved = model.policy._predict(other, deterministic=True)
            assert (torch.equal(moved[0, i], actions[0, i])) == (i != j)
    worth = model.policy.predict_values(seen) if "ppo" in case else model.critic(seen, actions)[0]
    (slope,) = torch.autograd.grad(worth.sum(), seen)
    assert (slope.abs().sum(dim=2) > 0).all()


@pytest.mark.parametrize("case", SETTINGS)
def test_equal_rows_get_equal_actions_whatever_their_place(case):
    model = model_of(case, "local")
    seen = observations(model, 1)
    with torch.no_grad():
        there = model.policy._predict(torch.tensor(seen), deterministic=True).numpy()
        turned = model.policy._predict(torch.tensor(seen[:, [2, 0, 1]]), deterministic=True).numpy()
    assert turned == pytest.approx(there[:, [2, 0, 1]], abs=1e-6)


@pytest.mark.parametrize("case", ["ppo", "sac"])
def test_what_is_drawn_has_the_likelihood_that_is_told(case):
    """Of a row-wise policy the actions are independent: their joint log-likelihood is the sum over the rows."""
    model = model_of(case, "local")
    seen = torch.tensor(observations(model, 4))
    with torch.no_grad():
        if case == "ppo":
            drawn = torch.rand(4, 3) - 0.5
            told = model.policy.evaluate_actions(seen, drawn)[1]
            spread = model.policy.log_std.exp()
            each = torch.distributions.Normal(model.policy._predict(seen, deterministic=True), spread).log_prob(drawn)
        else:
            drawn, told = model.actor.action_log_prob(seen)
            mean, log_std, _ = model.actor.get_action_dist_params(seen)
            before = torch.atanh(drawn.clamp(-1 + 1e-6, 1 - 1e-6))
            each = torch.distributions.Normal(mean, log_std.exp()).log_prob(before) - torch.log(1 - drawn**2 + 1e-6)
    assert each.sum(dim=1).numpy() == pytest.approx(told.numpy(), abs=1e-3)


def test_a_table_that_has_no_row_for_each_action_is_refused():
    from feederlab.errors import InputError
    from feederlab.learn.training.algorithms import check_fit

    env = gym.make(TRACKING, rows=True)
    check_fit("ppo", "x", env.observation_space, env.action_space)
    with pytest.raises(InputError, match="has 2 rows, which must be one for each action"):
        check_fit("ppo", "x", env.observation_space, gym.spaces.Box(-1, 1, (3,), np.float32))
    with pytest.raises(InputError, match=r"must be a vector in \[-1, 1\].*RescaleAction"):
        check_fit("sac", "x", env.observation_space, gym.spaces.Box(0, 1, (2,), np.float32))
    with pytest.raises(InputError, match="must be a float32 vector or table"):
        check_fit("sac", "x", gym.spaces.Discrete(3), env.action_space)
