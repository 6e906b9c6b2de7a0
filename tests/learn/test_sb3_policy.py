"""A trained network acts in `simulate` as in its environment; a file that is not trusted runs nothing."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3

import toy
import toy_actors
from command_line import refused
from feederlab.compare import compare
from feederlab.controllers import registry
from feederlab.controllers.base import GLOBAL, LOCAL, ZONE
from feederlab.controllers.none import NoControl
from feederlab.controllers.safety_filter import SafetyFilter
from feederlab.errors import InputError, ResultFileError, UnknownNameError
from feederlab.learn import ActorPolicy, SB3Policy
from feederlab.learn.volt_var.copies import Copies
from feederlab.learn.volt_var.env import VoltVarEnv
from feederlab.result import Result
from feederlab.simulate import simulate
from feederlab.testing import check_controller, example_scenario
from feederlab.testing.trials import measurements
from hidden_modules import hiding

SCOPES = {"global": GLOBAL, "zone": ZONE, "local": LOCAL}


def untrained(algorithm, env):
    """A model as it is before any training; tiny."""
    return algorithm("MlpPolicy", env, policy_kwargs={"net_arch": [8]}, device="cpu", seed=0)


@pytest.fixture(scope="module")
def case():
    return example_scenario()


@pytest.fixture
def file(case, tmp_path):
    return str(toy_actors.policy(case).save(tmp_path / "policy.safetensors"))


@pytest.fixture(scope="module")
def stock(case, tmp_path_factory):
    """``stock(algorithm, scope)``: the file of an untrained model of VoltVarEnv, and the model."""
    folder, made = tmp_path_factory.mktemp("stock"), {}

    def make(algorithm, scope="global"):
        if (algorithm, scope) not in made:
            model = untrained(algorithm, VoltVarEnv(case, observation=scope))
            path = folder / f"{algorithm.__name__}-{scope}.zip"
            model.save(path)
            made[algorithm, scope] = str(path), model
        return made[algorithm, scope]

    return make


@pytest.mark.parametrize("scope", SCOPES)
def test_it_keeps_the_promises_of_a_controller(scope, case, tmp_path):
    file = toy_actors.policy(case, scope).save(tmp_path / "policy.safetensors")
    controller = SB3Policy(str(file))
    assert controller.sees == SCOPES[scope]
    check_controller(controller, case)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("output", ["clip", "tanh"])
def test_a_run_is_the_environments_episode_to_the_last_bit(scope, output, case, tmp_path, monkeypatch):
    policy = toy_actors.policy(case, scope, 0.7, output=output)
    run = simulate(case, SB3Policy(str(policy.save(tmp_path / "p.safetensors")))).data
    taken, apply = [], Copies.apply
    monkeypatch.setattr(Copies, "apply", lambda self, q: taken.append(apply(self, q)) or taken[-1])
    env = VoltVarEnv(case, observation=scope, bound=0.7, layout=policy.layout_of(case.task()))
    seen, _ = env.reset(options={"start": case.start})
    beyond = 0
    for _ in range(case.periods):
        rows = seen if env.layout.shared else seen[None, :]
        beyond += int((np.abs(policy.mean(rows)) > 1).sum())
        seen, *_ = env.step(policy.act(rows))
    np.testing.assert_array_equal(run["q_mvar"], np.concatenate([t.q_mvar for t in taken]))
    vm = np.concatenate([t.solved.vm for t in taken])
    np.testing.assert_array_equal(run["vm_pu"], case.feeder.to_buses(vm))
    assert int(run["clipped"].sum()) == beyond
    assert (beyond > 0) == (output == "clip")
    assert set(run["status"].to_numpy().tolist()) == {"ok"}


def test_a_policy_acts_alike_in_a_fresh_process_without_any_learner(case, file):
    layout = ActorPolicy.load(file).layout_of(case.task())
    here = [ActorPolicy.load(file).act(layout.read(m)).tobytes().hex() for m in measurements(case, 0)]
    code = f"""
from feederlab.controllers.registry import create
from feederlab.learn import ActorPolicy
from feederlab.simulate import simulate
from feederlab.testing import example_scenario
from feederlab.testing.trials import measurements
case, policy = example_scenario(), ActorPolicy.load({file!r})
for m in measurements(case, 0):
    print(policy.act(policy.layout_of(case.task()).read(m)).tobytes().hex())
run = simulate(case.window(case.start, 4), create("sb3:file={file}")).data
print(run["q_mvar"].to_numpy().tobytes().hex())
"""
    answer = subprocess.run(
        [sys.executable, "-c", hiding("torch", "stable_baselines3", "gymnasium") + code],
        capture_output=True,
        text=True,
        check=True,
    )
    run = simulate(case.window(case.start, 4), SB3Policy(file)).data
    assert answer.stdout.split() == [*here, run["q_mvar"].to_numpy().tobytes().hex()]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "does not fit its checksum"),
        (lambda data: data[: len(data) // 2], "is damaged or no feederlab policy"),
        (lambda data: b"\x80\x04" + data, "is damaged or no feederlab policy"),
        (lambda data: b"PK\x03\x04" + data, "is damaged or no model of stable-baselines3"),
        (None, "cannot read the policy"),
    ],
)
def test_the_command_line_refuses_a_spoilt_file_in_one_line(spoil, message, file, run, tmp_path):
    data = Path(file).read_bytes()
    if spoil is None:
        Path(file).unlink()
    else:
        Path(file).write_bytes(spoil(data))
    answer = run("compare", "mapdn33", "--days", "1", "-c", "none", "-c", f"sb3:file={file}")
    refused(answer, ResultFileError.exit_code, message, tmp_path, [] if spoil is None else ["policy.safetensors"])


def test_a_policy_of_another_feeder_is_a_skipped_row_that_says_why(file, case):
    table = compare(toy.scenario().window(toy.START, 4), {"none": NoControl(), "mine": SB3Policy(file)})
    (reason,) = table.skipped.values()
    assert "does not fit: it was trained on 'example' with 34 nodes, here are 33" in reason


def test_what_the_file_says_itself_is_not_said_again(file):
    with pytest.raises(InputError, match="says itself what it was trained with: leave out observation, bound"):
        SB3Policy(file, observation="zone", bound=0.8)


def test_impossible_settings_are_refused_at_once(tmp_path):
    with pytest.raises(ResultFileError, match=r"cannot read the policy .*: No such file"):
        SB3Policy(str(tmp_path / "nowhere.safetensors"))
    with pytest.raises(ResultFileError, match=r"cannot read the policy .*: Is a directory"):
        SB3Policy(str(tmp_path))
    with pytest.raises(UnknownNameError, match="did you mean 'global'"):
        SB3Policy(observation="globel")
    with pytest.raises(InputError, match=r"bound must lie in \(0, 1\], not 1.2"):
        SB3Policy(bound=1.2)
    with pytest.raises(InputError, match="sb3 needs a policy: file=FILE"):
        SB3Policy().prepare(example_scenario().task())


def test_a_switching_policy_belongs_to_dqn(case, make_policy, tmp_path):
    file = make_policy(case).save(tmp_path / "policy.safetensors")
    with pytest.raises(ResultFileError, match="slow=dqn,policy=FILE"):
        SB3Policy(str(file))


def test_a_file_that_was_written_anew_is_read_anew(case, file):
    controller = SB3Policy(file)
    before = simulate(case.window(case.start, 2), controller).data
    toy_actors.policy(case, "local", seed=5).save(file)
    assert controller.sees == LOCAL
    after = simulate(case.window(case.start, 2), controller).data
    assert np.abs(after["q_mvar"] - before["q_mvar"]).max() > 1e-3


def test_a_comparison_is_not_resumed_with_another_policy_in_the_same_file(case, file, tmp_path):
    short, rows = case.window(case.start, 2), {"mine": SafetyFilter(SB3Policy(file)), "none": NoControl()}
    compare(short, rows, out=tmp_path / "runs", certificates=False)
    record = json.loads((tmp_path / "runs" / "run.json").read_text())["controllers"]
    assert record["mine"]["reads"] == {file: hashlib.sha256(Path(file).read_bytes()).hexdigest()}
    assert "reads" not in record["none"]
    before = compare(short, rows, out=tmp_path / "runs", certificates=False, resume=True)
    run = before.runs[next(cell for cell in before.runs if cell.controller == "mine")]
    assert Result.load(run.save(tmp_path / "run.nc")).provenance["reads"] == record["mine"]["reads"]
    toy_actors.policy(case, seed=5).save(file)
    with pytest.raises(ResultFileError, match="holds the result of another run"):
        compare(short, rows, out=tmp_path / "runs", certificates=False, resume=True)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def with_a_bomb(file, into, path):
    """A copy of a stock file that makes the folder `path` when it is unpickled."""
    import base64
    import pickle

    with zipfile.ZipFile(file) as old, zipfile.ZipFile(into, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "data":
                data = json.loads(content)
                data["seed"] = {":type:": "int", ":serialized:": base64.b64encode(pickle.dumps(Bomb(path))).decode()}
                content = json.dumps(data).encode()
            new.writestr(name, content)
    return str(into)


def test_nothing_in_a_stock_file_runs_unless_it_is_trusted(case, stock, tmp_path, run):
    trap = tmp_path / "trap"
    file = with_a_bomb(stock(PPO)[0], tmp_path / "model.zip", str(trap))
    with pytest.raises(InputError, match=r"runs whatever code it holds\. .* say trust=true"):
        SB3Policy(file)
    with pytest.raises(InputError, match="trust=true"):
        registry.create(f"sb3:file={file}")
    answer = run("compare", "mapdn33", "--days", "1", "-c", f"sb3:file={file}")
    refused(answer, InputError.exit_code, "trust=true", tmp_path, ["model.zip"])
    assert not trap.exists()
    trusted = SB3Policy(file, trust=True)
    assert trusted.sees == GLOBAL
    assert not trap.exists()  # what it sees is read from plain text
    trusted.prepare(case.task())
    assert trap.exists()  # or this test would show nothing


@pytest.mark.parametrize("algorithm", [PPO, A2C, SAC, TD3, DDPG])
def test_a_trusted_stock_file_acts_as_its_model(algorithm, case, stock):
    file, model = stock(algorithm)
    controller = SB3Policy(file, trust=True, bound=0.8)
    env = VoltVarEnv(case, bound=0.8)
    bare = simulate(case, controller).data  # without a layout: loads centred on 0, scaled by 1 MW
    env = VoltVarEnv(case, bound=0.8, layout=type(env.layout).of(case.task()))
    seen, _ = env.reset(options={"start": case.start})
    losses = []
    for _ in range(case.periods):
        action, _ = model.predict(seen, deterministic=True)
        seen, _, _, _, info = env.step(action)
        losses.append(info["losses_mw"])
    np.testing.assert_allclose(bare["losses_mw"], losses, rtol=1e-6)


def test_a_layout_file_says_scope_and_scales(case, stock, tmp_path):
    file, model = stock(PPO, "zone")
    env = VoltVarEnv(case, observation="zone")
    (tmp_path / "layout.json").write_text(json.dumps(env.layout.record()))
    controller = registry.create(f"sb3:file={file},trust=true,layout={tmp_path / 'layout.json'}")
    assert controller.sees == GLOBAL  # its network reads the rows of all zones
    run = simulate(case, controller).data
    seen, _ = env.reset(options={"start": case.start})
    for k in range(10):
        action, _ = model.predict(seen, deterministic=True)
        seen, _, _, _, info = env.step(action)
        assert info["losses_mw"] == pytest.approx(float(run["losses_mw"][k]), rel=1e-6)
    with pytest.raises(InputError, match="is of scope zone, not local"):
        SB3Policy(file, True, observation="local", layout=str(tmp_path / "layout.json"))


class OneRow(VoltVarEnv):
    """One inverter's row alone, whichever it is."""

    def __init__(self, case, scope):
        import gymnasium

        super().__init__(case, observation=scope)
        self.observation_space = gymnasium.spaces.Box(-10, 10, (self.layout.shape[1],), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)


@pytest.mark.parametrize("scope", ["zone", "local"])
def test_a_stock_network_of_one_row_serves_every_inverter(scope, case, tmp_path):
    untrained(SAC, OneRow(case, scope)).save(tmp_path / "model.zip")
    controller = SB3Policy(str(tmp_path / "model.zip"), True, scope)
    assert controller.sees == SCOPES[scope]
    check_controller(controller, case)


def test_a_stock_model_of_everything_keeps_the_promises_of_a_controller(case, stock):
    check_controller(SB3Policy(stock(PPO)[0], True), case)


def test_a_stock_file_that_does_not_fit_is_refused(case, stock, tmp_path):
    file, _ = stock(PPO)
    with pytest.raises(InputError, match=r"it takes \(1\d\d,\) and answers \(6,\), and the local observation here is"):
        SB3Policy(file, True, "local").prepare(case.task())
    with pytest.raises(ResultFileError, match="cannot read the layout"):
        SB3Policy(file, True, layout=str(tmp_path / "nowhere.json"))
    (tmp_path / "layout.json").write_text('{"scope": "global"}')
    with pytest.raises(ResultFileError, match=r"layout\.json is no layout of an observation"):
        SB3Policy(file, True, layout=str(tmp_path / "layout.json")).prepare(case.task())


def test_a_stock_file_that_moves_no_inverters_is_refused(tmp_path):
    untrained(DQN, "CartPole-v1").save(tmp_path / "dqn.zip")
    with pytest.raises(ResultFileError, match="is no space of numbers"):
        SB3Policy(str(tmp_path / "dqn.zip"), trust=True)
    np.savez(tmp_path / "arrays.npz", w=np.zeros(3))
    with pytest.raises(ResultFileError, match="is damaged or no model of stable-baselines3"):
        SB3Policy(str(tmp_path / "arrays.npz"), trust=True)


def test_a_damaged_stock_file_is_refused_without_a_traceback(case, stock, tmp_path):
    data, spoilt = Path(stock(PPO)[0]).read_bytes(), tmp_path / "model.zip"
    rng = np.random.default_rng(0)
    for at in rng.integers(4, len(data), 40).tolist():
        spoilt.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        with suppress(ResultFileError, InputError):  # what a zip file's own checksums do not cover is not noticed
            SB3Policy(str(spoilt), True).prepare(case.task())
    for length in (5, 100, len(data) // 2, len(data) - 1):
        spoilt.write_bytes(data[:length])
        with pytest.raises(ResultFileError, match=r"model\.zip"):
            SB3Policy(str(spoilt), True)
