"""A model trained with plain stable-baselines3 becomes a file that needs no trust, and acts as it did."""

import pytest
import torch
from stable_baselines3 import A2C, PPO, SAC, TD3
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from feederlab.errors import InputError
from feederlab.learn import SB3Policy, save_policy
from feederlab.learn.training.row_wise import RowActorCritic
from feederlab.learn.volt_var.env import VoltVarEnv
from feederlab.learn.volt_var.sb3 import VoltVarVecEnv
from feederlab.simulate import simulate
from feederlab.testing import example_scenario


@pytest.fixture(scope="module")
def case():
    return example_scenario()


def model_of(algorithm, env, policy="MlpPolicy", **more):
    return algorithm(policy, env, policy_kwargs={"net_arch": [8]} | more, device="cpu", seed=0)


@pytest.mark.parametrize("algorithm", [PPO, SAC, TD3])
def test_it_acts_as_the_model(algorithm, case, tmp_path):
    env = VoltVarEnv(case, bound=0.8)
    model = model_of(algorithm, env)
    controller = SB3Policy(str(save_policy(model, env, tmp_path / "policy.safetensors")))
    run = simulate(case, controller).data
    seen, _ = env.reset(options={"start": case.start})
    for k in range(case.periods):
        seen, _, _, _, info = env.step(model.predict(seen, deterministic=True)[0])
        assert info["losses_mw"] == pytest.approx(float(run["losses_mw"][k]), rel=1e-6)


@pytest.mark.parametrize(
    "wrap", [lambda case: DummyVecEnv([lambda: VoltVarEnv(case)]), lambda case: VoltVarVecEnv(2, case)]
)
def test_the_environment_may_be_vectorised(wrap, case, tmp_path):
    env = wrap(case)
    assert save_policy(model_of(PPO, env), env, tmp_path / "policy.safetensors").is_file()


def test_a_row_wise_model_is_saved_with_its_scope(case, tmp_path):
    env = VoltVarEnv(case, observation="local")
    file = save_policy(
        model_of(PPO, env, RowActorCritic, net_arch={"pi": [8], "vf": [8]}), env, tmp_path / "policy.safetensors"
    )
    assert str(SB3Policy(str(file)).sees) == "local"


class Doubled(BaseFeaturesExtractor):
    """Features of its own: twice the observation."""

    def __init__(self, space):
        super().__init__(space, features_dim=space.shape[0])

    def forward(self, observation):
        return 2 * observation


def test_what_is_no_plain_network_is_refused(case, tmp_path):
    env = VoltVarEnv(case)
    central = VoltVarEnv(case, observation="zone")
    normalised = VecNormalize(DummyVecEnv([lambda: VoltVarEnv(case)]))
    for model, of, message in (
        (model_of(PPO, env, features_extractor_class=Doubled), env, "its layers alone answer otherwise"),
        (model_of(PPO, env, activation_fn=torch.nn.ELU), env, "its layers alone answer otherwise"),
        (model_of(A2C, env), env, "the A2C model is no plain network"),
        (model_of(PPO, central), central, "the PPO model is no plain network"),
        (model_of(PPO, normalised), normalised, "VecNormalize"),
        (model_of(PPO, env), None, "NoneType is no VoltVarEnv"),
        (model_of(PPO, env), VoltVarEnv(case, observation="local"), "no plain network of this environment"),
    ):
        with pytest.raises(InputError, match=message):
            save_policy(model, of, tmp_path / "policy.safetensors")
    assert not list(tmp_path.iterdir())
