"""The numpy network is torch's; equal rows have equal answers to the last bit; its file is refused once touched."""

import copy
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

import toy_actors
from feederlab.errors import InputError, ResultFileError, UnknownNameError
from feederlab.learn import Actor, ActorPolicy
from feederlab.learn.policy import Policy
from feederlab.models.feeder import Feeder
from feederlab.models.scenario import Scenario
from feederlab.testing import example_scenario


@pytest.fixture(scope="module")
def case():
    return example_scenario()


@pytest.fixture
def file(case, tmp_path):
    return toy_actors.policy(case).save(tmp_path / "policy.safetensors")


@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(1, 70), min_size=2, max_size=4),
    activation=st.sampled_from(["tanh", "relu"]),
    output=st.sampled_from(["clip", "tanh"]),
)
@settings(max_examples=60, deadline=None)
def test_the_forward_pass_is_torchs(seed, sizes, activation, output):
    network = toy_actors.actor(sizes, seed, activation, output)
    layers = []
    for weight, bias in network.layers:
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        linear.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
        layers += [linear, torch.nn.Tanh() if activation == "tanh" else torch.nn.ReLU()]
    layers[-1:] = [torch.nn.Tanh()] if output == "tanh" else []
    x = np.random.default_rng(seed).normal(size=(5, sizes[0])).astype(np.float32)
    with torch.no_grad():
        expected = torch.nn.Sequential(*layers)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(network.mean(x), expected, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(network(x), expected.clip(-1, 1), rtol=2e-5, atol=2e-5)
    assert network(x).dtype == np.float32
    assert output == "clip" or np.array_equal(network(x), network.mean(x))


@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(1, 70), min_size=2, max_size=4),
    rows=st.integers(1, 40),
    activation=st.sampled_from(["tanh", "relu"]),
)
@settings(max_examples=60, deadline=None)
def test_a_rows_answer_does_not_depend_on_what_stands_beside_it(seed, sizes, rows, activation):
    network = toy_actors.actor(sizes, seed, activation)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, sizes[0])).astype(np.float32)
    k, whole = int(rng.integers(rows)), network.mean(x)
    others = rng.normal(size=(2 * rows, sizes[0])).astype(np.float32)
    others[rows] = x[k]
    alone = [
        network.mean(x[k]), network.mean(x[k : k + 1])[0], network.mean(others)[rows],
        network.mean(np.stack([x, others[:rows]]))[0, k], network.mean(np.asfortranarray(x))[k],
    ]  # fmt: skip
    for answer in alone:
        np.testing.assert_array_equal(answer, whole[k])


def test_a_network_keeps_its_weights_when_training_goes_on():
    linear = torch.nn.Linear(3, 2)
    network = Actor(((linear.weight.detach().numpy(), linear.bias.detach().numpy()),))
    before = network(np.ones(3, np.float32))
    with torch.no_grad():
        linear.weight += 0.25
    np.testing.assert_array_equal(network(np.ones(3, np.float32)), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda layers: layers[1:] + layers[:1], "do not fit"),
        (lambda layers: (), "no layers"),
        (lambda layers: ((layers[0][0] * np.float32(np.nan), layers[0][1]), *layers[1:]), "no finite number"),
        (lambda layers: tuple((w.astype(float), b) for w, b in layers), "not float32"),
        (lambda layers: tuple((w, b[:, None]) for w, b in layers), "do not fit"),
    ],
)
def test_an_impossible_network_is_refused(change, message):
    good = toy_actors.actor([5, 4, 3])
    with pytest.raises(InputError, match=message):
        Actor(change(good.layers))


def test_unknown_functions_are_refused():
    layers = toy_actors.actor([5, 4, 3]).layers
    with pytest.raises(UnknownNameError, match=r"activation of a network 'tahn': did you mean 'tanh'\?"):
        Actor(layers, "tahn")
    with pytest.raises(UnknownNameError, match="output of a network 'linear'"):
        Actor(layers, "tanh", "linear")


@pytest.mark.parametrize("scope", ["global", "zone", "local"])
def test_a_saved_policy_is_the_same_policy(scope, case, tmp_path):
    before = toy_actors.policy(case, scope, 0.6, "sac", activation="relu", output="tanh")
    file, again = before.save(tmp_path / "a.safetensors"), before.save(tmp_path / "b.safetensors")
    assert file.read_bytes() == again.read_bytes()
    after = ActorPolicy.load(file)
    layout = after.layout_of(case.task())
    x = np.random.default_rng(1).normal(size=(20, *layout.shape)).astype(np.float32)
    np.testing.assert_array_equal(after.act(x), before.act(x))
    assert after.act(x).shape == (20, len(case.feeder.inverters))
    assert (after.scope.value, after.bound, after.method) == (scope, 0.6, "sac")
    assert (after.feeder, after.training, after.versions) == (before.feeder, before.training, before.versions)
    assert (after.layout, after.actor.activation, after.actor.output) == (before.layout, "relu", "tanh")


def test_every_changed_byte_is_noticed(file):
    data = file.read_bytes()
    rng = np.random.default_rng(0)
    for at in [0, 3, 8, 9, len(data) - 1, *rng.integers(0, len(data), 60).tolist()]:
        file.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        with pytest.raises(ResultFileError, match=r"policy\.safetensors"):
            ActorPolicy.load(file)
    for length in (0, 5, 100, len(data) - 1):
        file.write_bytes(data[:length])
        with pytest.raises(ResultFileError, match=r"policy\.safetensors"):
            ActorPolicy.load(file)


def npy(path):
    with path.open("wb") as stream:
        np.save(stream, np.zeros(3))


def foreign_safetensors(path):
    path.write_bytes(save({"w": np.zeros(3)}, metadata={"format": "pt"}))


@pytest.mark.parametrize(
    "write",
    [
        npy,
        foreign_safetensors,
        lambda path: path.write_bytes(pickle.dumps({"w": 1})),
        lambda path: path.write_bytes(b"PK\x03\x04 a zip file"),
        lambda path: path.write_text('{"policy": 1}'),
        lambda path: torch.save({"w": torch.zeros(3)}, path),
    ],
)
def test_a_foreign_file_is_refused(write, tmp_path):
    write(tmp_path / "foreign")
    with pytest.raises(ResultFileError, match="damaged or no feederlab policy"):
        ActorPolicy.load(tmp_path / "foreign")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ResultFileError, match=r"cannot read the feederlab policy .*: No such file"):
        ActorPolicy.load(tmp_path / "nowhere.safetensors")
    with pytest.raises(ResultFileError, match="cannot read"):
        ActorPolicy.load(tmp_path)


def rewritten(file, **changed):
    """The file with another record, and the checksum of the old one."""
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    record = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["feederlab"]) | changed
    file.write_bytes(save(load(data), metadata={"feederlab": json.dumps(record)}))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": 99}, "has format 99; this version reads format 1"),
        ({"kind": "feederlab checkpoint"}, "is no feederlab policy"),
        ({"bound": 1.0}, "does not fit its checksum"),
    ],
)
def test_an_altered_record_is_refused(changed, message, file):
    rewritten(file, **changed)
    with pytest.raises(ResultFileError, match=message):
        ActorPolicy.load(file)


def without(mapping, key):
    return {name: value for name, value in mapping.items() if name != key}


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("bound", lambda p: 1.5),
        ("bound", lambda p: float("nan")),
        ("bound", lambda p: 0.0),
        ("feeder", lambda p: {}),
        ("feeder", lambda p: without(p.feeder, "inverters")),
        ("layout", lambda p: {**p.layout, "scope": "everywhere"}),
        ("layout", lambda p: {**p.layout, "scale": [0.0] * len(p.layout["scale"])}),
        ("layout", lambda p: {**p.layout, "centre": p.layout["centre"][1:]}),
        ("layout", lambda p: {**p.layout, "centre": [float("nan")] * len(p.layout["centre"])}),
        ("layout", lambda p: without(p.layout, "identity")),
    ],
)
def test_a_policy_that_contradicts_itself_is_neither_written_nor_read(field, change, case, tmp_path, monkeypatch):
    broken = replace(toy_actors.policy(case), **{field: change(toy_actors.policy(case))})
    with pytest.raises(InputError, match="contradicts itself"):
        broken.save(tmp_path / "policy.safetensors")
    assert not list(tmp_path.iterdir())
    with monkeypatch.context() as lax:
        lax.setattr(ActorPolicy, "_check", lambda self: None)
        file = broken.save(tmp_path / "policy.safetensors")
    with pytest.raises(ResultFileError, match="is no usable feederlab policy"):
        ActorPolicy.load(file)


def without_an_inverter(net):
    net.sgen.loc[1, "controllable"] = False


def other_size(net):
    net.sgen.loc[2, "sn_mva"] = 9.0


def moved(net):
    net.sgen.loc[0, "bus"] = 5


def moved_line(net):
    net.line.loc[31, "from_bus"] = 29


@pytest.mark.parametrize(
    ("change", "message", "local"),
    [
        (without_an_inverter, "inverters: trained with 0, 1, 2, 3, 4, 5, here 0, 2, 3, 4, 5", "trained with inverters"),
        (other_size, "inverters 2 have another size", None),  # others' ratings are no business of a local rule
        (moved, "inverters 0 have another node", "inverters are at other nodes"),
        (moved_line, "branches join other nodes", None),
    ],
)
def test_a_policy_of_another_feeder_is_refused(change, message, local, case):
    net = copy.deepcopy(case.feeder.net)
    change(net)
    task = Scenario.build(Feeder.from_pandapower(net, "other"), case.profiles).task()
    with pytest.raises(InputError, match=f"the policy FILE does not fit: .*{message}"):
        toy_actors.policy(case).check(task, "FILE")
    mine = toy_actors.policy(case, "local")
    if local is None:
        mine.check(replace(task, feeder=None), "FILE")
    else:
        with pytest.raises(InputError, match=local):
            mine.check(replace(task, feeder=None), "FILE")


def test_another_layout_is_refused(case):
    task, zone = case.task(), toy_actors.policy(case, "zone")
    with pytest.raises(InputError, match=r"takes \d+ entries, and the observation here has \d+ in a row"):
        replace(zone, layout={**zone.layout, "identity": False}).check(task, "FILE")
    twofold = toy_actors.actor([zone.actor.inputs, 4, 2])
    with pytest.raises(InputError, match="its network moves 12 inverters, and here are 6"):
        replace(zone, actor=twofold).check(task, "FILE")
    short = {**zone.layout, **{key: zone.layout[key][:-1] for key in ("centre", "scale")}}
    with pytest.raises(InputError, match="sources"):
        replace(zone, layout=short).check(task, "FILE")
    zone.check(case.task(mismatch=0.2), "FILE")  # a wrong grid model is no other feeder


def test_the_two_kinds_of_policy_do_not_pass_for_each_other(case, make_policy, file, tmp_path):
    switching = make_policy(case).save(tmp_path / "switching.safetensors")
    with pytest.raises(ResultFileError, match=r"holds a dqn policy, which switches banks: .*slow=dqn,policy=FILE"):
        ActorPolicy.load(switching)
    with pytest.raises(ResultFileError, match=r"its method is 'ppo'; a policy that moves inverters .*sb3:file=FILE"):
        Policy.load(file)
