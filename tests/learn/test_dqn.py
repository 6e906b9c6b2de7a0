"""A policy file is refused wherever it does not fit or was touched; the controller keeps the interface's promises."""

import copy
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

import toy
import toy_banks
from feederlab.controllers import registry
from feederlab.controllers.two_timescale import TwoTimescale
from feederlab.errors import InputError, ResultFileError
from feederlab.learn import Dqn, Policy
from feederlab.learn.observation import LIMIT
from feederlab.models.feeder import Feeder
from feederlab.models.scenario import Scenario
from feederlab.simulate import simulate
from feederlab.testing import check_controller, example_scenario
from feederlab.testing.trials import measurements


@pytest.fixture
def file(banks, make_policy, tmp_path):
    return make_policy(banks).save(tmp_path / "policy.safetensors")


def test_it_keeps_the_promises_of_a_controller(make_policy, tmp_path):
    case = example_scenario()
    file = make_policy(case, interval_s=case.step.total_seconds()).save(tmp_path / "policy.safetensors")
    check_controller(Dqn(str(file)), case)


def test_a_saved_policy_is_the_same_policy(banks, make_policy, tmp_path):
    before = make_policy(banks)
    file, again = before.save(tmp_path / "a.safetensors"), before.save(tmp_path / "b.safetensors")
    assert file.read_bytes() == again.read_bytes()
    after = Policy.load(file)
    x = np.random.default_rng(1).normal(size=(20, len(before.observation))).astype(np.float32)
    for row in x:
        np.testing.assert_array_equal(after.values(row), before.values(row))
    np.testing.assert_array_equal(after.actions, before.actions)
    assert after.observation.rows() == before.observation.rows()
    assert (after.feeder, after.interval_s, after.slot_s) == (before.feeder, before.interval_s, before.slot_s)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_forward_pass_is_torchs(make_policy, seed):
    policy = make_policy(toy_banks.scenario(), seed=seed)
    layers = []
    for weight, bias in policy.layers:
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        linear.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
        layers += [linear, torch.nn.ReLU()]
    x = np.random.default_rng(seed).normal(size=len(policy.observation)).astype(np.float32)
    with torch.no_grad():
        expected = torch.nn.Sequential(*layers[:-1])(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(policy.values(x), expected, rtol=1e-4, atol=1e-3)


def test_running_a_policy_imports_no_torch(file):
    code = (
        "import sys, feederlab; from feederlab.controllers.registry import create; "
        f"create('two_timescale:slow=dqn,policy={file},fast=none,every=1h'); "
        "from feederlab.learn import Policy; "
        f"Policy.load({str(file)!r}); print('torch' in sys.modules, 'stable_baselines3' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]


def test_a_lost_reading_counts_as_the_mean_and_a_wild_one_is_cut_off(make_policy):
    case = example_scenario()
    policy, now = make_policy(case), measurements(case, 0)[0]
    load = np.array(now.load_p_mw)
    load[[3, 4]] = np.nan, 1e9
    seen = policy.observation.read(case.feeder, replace(now, load_p_mw=load))
    others = np.delete(np.arange(case.feeder.n_nodes), case.feeder.slack).tolist()
    assert seen[others.index(3)] == 0
    assert seen[others.index(4)] == LIMIT


def prepare(scenario, file, every="1h"):
    TwoTimescale(slow=Dqn(str(file)), every=every).prepare(scenario.task())


def without_a_bank(net):
    net.shunt.drop(index=1, inplace=True)


def other_bank(net):
    net.shunt.loc[1, "q_mvar"] = -0.5


def more_steps(net):
    net.shunt.loc[0, "max_step"] = 3


def other_inverter(net):
    net.sgen.loc[2, "sn_mva"] = 9.0


def moved_inverter(net):
    net.sgen.loc[0, "bus"] = 5


def moved_line(net):
    net.line.loc[31, "from_bus"] = 29


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_a_bank, "capacitors: trained with 0, 1, here 0"),
        (other_bank, "capacitors 1 have another size"),
        (more_steps, "capacitors 0 have another max step"),
        (other_inverter, "inverters 2 have another size"),
        (moved_inverter, "inverters 0 have another node"),
        (moved_line, "branches join other nodes"),
    ],
)
def test_a_policy_of_another_feeder_is_refused(change, message, banks, file):
    prepare(banks, file)
    net = copy.deepcopy(banks.feeder.net)
    change(net)
    with pytest.raises(InputError, match=message):
        prepare(Scenario.build(Feeder.from_pandapower(net, "other"), banks.profiles), file)


def test_a_policy_of_another_size_of_feeder_or_interval_is_refused(banks, file):
    with pytest.raises(InputError, match=r"trained on 'toy' with 33 nodes, here are 34"):
        prepare(example_scenario(), file)
    with pytest.raises(InputError, match=r"decides every 3600 s, here every 1800 s .*every=3600s"):
        prepare(banks, file, every="30min")
    with pytest.raises(InputError, match=r"decides every 3600 s, here every 900 s"):
        Dqn(str(file)).prepare(banks.task())  # alone, it would act in every slot


def test_another_layout_of_the_observation_is_refused(banks, make_policy, tmp_path):
    policy = make_policy(banks)
    names = ("q at bus 2", *policy.observation.names[1:])
    file = replace(policy, observation=replace(policy.observation, names=names)).save(tmp_path / "policy.safetensors")
    with pytest.raises(InputError, match="its observation has 'q at bus 2' where this feeder has 'net p at bus 1'"):
        prepare(banks, file)


def test_a_wrong_grid_model_is_no_other_feeder(banks, file):
    TwoTimescale(slow=Dqn(str(file)), every="1h").prepare(banks.task(mismatch=0.2))


def test_a_policy_works_on_any_window_and_under_any_fast_layer(banks, file):
    spec = f"two_timescale:every=1h,slow=dqn,slow.policy={file},fast=volt_var"
    run = simulate(banks.window("2016-06-21 07:15", 13), registry.create(spec))
    assert (run.data["clipped"] == 0).all()


def test_no_policy_is_named():
    with pytest.raises(InputError, match="policy=FILE"):
        Dqn().prepare(toy.scenario().task())


def test_every_changed_byte_is_noticed(file):
    data = file.read_bytes()
    rng = np.random.default_rng(0)
    for at in [0, 3, 8, 9, len(data) - 1, *rng.integers(0, len(data), 60).tolist()]:
        file.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        with pytest.raises(ResultFileError, match=r"policy\.safetensors"):
            Policy.load(file)
    for length in (0, 5, 100, len(data) - 1):
        file.write_bytes(data[:length])
        with pytest.raises(ResultFileError, match=r"policy\.safetensors"):
            Policy.load(file)


def test_what_is_no_policy(file, tmp_path):
    with pytest.raises(ResultFileError, match=r"cannot read the feederlab policy .*: No such file"):
        Policy.load(tmp_path / "nowhere.safetensors")
    with pytest.raises(ResultFileError, match="cannot read"):
        Policy.load(tmp_path)
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(save({"w": np.zeros(3)}, metadata={"format": "pt"}))
    with pytest.raises(ResultFileError, match="damaged or no feederlab policy"):
        Policy.load(foreign)
    foreign.write_bytes(b"PK\x03\x04 a zip file, such as stable-baselines3 writes")
    with pytest.raises(ResultFileError, match="damaged or no feederlab policy"):
        Policy.load(foreign)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", 99, "has format 99; this version reads format 1"),
        ("kind", "feederlab checkpoint", "is no feederlab policy"),
        ("interval_s", 60.0, "does not fit its checksum"),
    ],
)
def test_an_altered_record_is_refused(key, value, message, file):
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    record = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["feederlab"])
    record[key] = value
    file.write_bytes(save(load(data), metadata={"feederlab": json.dumps(record)}))
    with pytest.raises(ResultFileError, match=message):
        Policy.load(file)


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("layers", lambda p: p.layers[:2], "layers do not fit"),
        ("layers", lambda p: ((p.layers[0][0] * np.nan, p.layers[0][1]), *p.layers[1:]), "no finite number"),
        ("actions", lambda p: p.actions + 1, "an action asks for steps that a bank has not"),
        ("actions", lambda p: p.actions[:, :1], "do not fit its capacitor banks"),
        ("feeder", lambda p: {}, "capacitors"),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(field, change, message, banks, make_policy, tmp_path):
    policy = make_policy(banks)
    file = replace(policy, **{field: change(policy)}).save(tmp_path / "policy.safetensors")
    with pytest.raises(ResultFileError, match=message):
        Policy.load(file)
