"""`feederlab train dqn`: what it prints and writes, how Ctrl-C and --resume work, what it refuses."""

import json
import shlex
import signal

import numpy as np
import pytest

import toy
import toy_banks
from command_line import refused
from feederlab.learn import CapacitorsEnv, Policy
from feederlab.learn.policies.actor import ActorPolicy

WORDS = ("--every", "2h", "--fast", "fixed_pf:cos_phi=0.95", "--holdout", "1", "--days", "2", "--steps", "30",
         "--evaluate-every", "15", "--checkpoint-every", "2000", "--set", "warm_up=10",
         "--set", "hidden=8,8")  # fmt: skip


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    case = toy_banks.scenario()
    return toy.write_files(
        tmp_path_factory.mktemp("net"), case.feeder.net, {key: p.to_frame() for key, p in case.profiles.items()}
    )


@pytest.fixture
def words(net):
    return ("train", "dqn", net, "--profiles", net.parent / "profiles", *WORDS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a training that nothing interrupts; the first test fills it."""
    return tmp_path_factory.mktemp("whole") / "policies" / "one"


def trained(run, words, out):
    """Train, unless that is done; return what was printed."""
    answer = run(*words, "--out", out, "--resume")
    assert answer.code == 0, answer.err
    return answer


def test_a_training_from_files_and_the_comparison_that_it_names(run, words, whole):
    out, answer = whole, trained(run, words, whole)
    assert sorted(path.name for path in out.iterdir()) == [
        "checkpoints", "evaluation.csv", "evaluation.png", "policy.safetensors", "training.json",
    ]  # fmt: skip
    assert Policy.load(out / "policy.safetensors").training["settings"]["hidden"] == [8, 8]
    assert (out / "evaluation.png").read_bytes()[:4] == b"\x89PNG"
    command = answer.out[answer.out.index("feederlab compare") :].strip()
    assert "\n" not in command
    compared = run(*shlex.split(command)[1:], "--json")
    assert compared.code == 0, compared.err
    assert len(json.loads(compared.out)["rows"]) == 2


def test_ctrl_c_keeps_a_checkpoint_and_resume_goes_on(run, words, whole, tmp_path, monkeypatch):
    trained(run, words, whole)
    step, taken = CapacitorsEnv.step, []

    def interrupted(self, action):
        taken.append(action)
        if len(taken) == 60:
            signal.raise_signal(signal.SIGINT)
        return step(self, action)

    monkeypatch.setattr(CapacitorsEnv, "step", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    stopped = run(*words, "--out", tmp_path / "out")
    assert stopped.code == 130
    assert "the same command with --resume goes on" in stopped.err
    assert "Traceback" not in stopped.err
    assert signal.getsignal(signal.SIGINT) is handler
    assert len(list((tmp_path / "out" / "checkpoints").iterdir())) == 1
    again = run(*words, "--out", tmp_path / "out", "--resume", "--json")
    assert again.code == 0
    assert json.loads(again.out)["curve"][-1]["step"] == 30
    for name in ("policy.safetensors", "evaluation.csv", "checkpoints/step-000000030.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_stops_at_once(number, run, words, tmp_path, monkeypatch):
    def twice(self, action):
        signal.raise_signal(number)
        signal.raise_signal(number)

    monkeypatch.setattr(CapacitorsEnv, "step", twice)
    stopped = run(*words, "--out", tmp_path / "out")
    assert stopped.code == 130
    assert "stopped: the same command with --resume" in stopped.err


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--set", "gamma=0.9"), 3, "unknown hyper-parameter 'gamma'"),
        (("--set", "batch"), 2, "write batch=VALUE"),
        (("--set", "batch=many"), 2, "batch must be a valid integer"),
        (("--set", "discount=2"), 2, "the discount must lie in [0, 1)"),
        (("--fast", "voltvar"), 3, "did you mean 'volt_var'?"),
        (("--days", "2016-06-20", "--holdout", "2016-06-20"), 2, "a held-out day must be unseen"),
        (("--every", "50min"), 2, "no multiple of the slot"),
    ],
)
def test_refusals(more, code, message, run, words, tmp_path):
    refused(run(*words, "--out", tmp_path / "out", *more), code, message, tmp_path)


INVERTERS = ("--step", "1h", "--days", "2", "--holdout", "1", "--steps", "64", "--copies", "4", "--set", "hidden=8,8")
LEARNERS = {
    "ppo": ("--set", "rollout=4", "--set", "batch=16", "--arg", "observation=local", "--arg", "bound=0.8"),
    "sac": ("--set", "warm_up=20", "--set", "critic_hidden=16", "--set", "entropy=auto_0.1"),
    "td3": ("--set", "warm_up=20", "--set", "noise=0.2", "--arg", "reward=l2 + losses", "--arg", "episode=6"),
}


@pytest.mark.parametrize("algorithm", LEARNERS)
def test_a_policy_for_inverters_and_the_comparison_that_it_names(algorithm, run, net, tmp_path):
    more = ("--profiles", net.parent / "profiles", *INVERTERS, *LEARNERS[algorithm], "--best", "in_band,-losses_mw")
    answer = run("train", algorithm, net, *more, "--out", tmp_path / "out", "--tensorboard")
    assert answer.code == 0, answer.err
    assert "best on the held-out days after" in answer.out
    assert "losses mw" in answer.out
    assert (tmp_path / "out" / "evaluation.png").read_bytes()[:4] == b"\x89PNG"
    assert list((tmp_path / "out" / "tensorboard").iterdir())
    policy = ActorPolicy.load(tmp_path / "out" / "policy.safetensors")
    assert policy.bound == (0.8 if algorithm == "ppo" else 1.0)
    compared = run(*shlex.split(answer.out[answer.out.index("feederlab compare") :].strip())[1:], "--json")
    assert compared.code == 0, compared.err
    rows = json.loads(compared.out)["rows"]
    assert len(rows) == 4


def test_time_that_is_up_is_no_failure(run, net, tmp_path):
    more = ("--profiles", net.parent / "profiles", *INVERTERS, *LEARNERS["ppo"], "--out", tmp_path / "out")
    answer = run("train", "ppo", net, *more, "--minutes", "1e-9", "--json")
    assert answer.code == 0, answer.err
    assert [row["step"] for row in json.loads(answer.out)["curve"]] == [0]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("dqn", "--env", "feederlab/VoltVar-v0"), 2, "dqn cannot learn the actions of feederlab/VoltVar-v0"),
        (("sac", "--env", "feederlab/VoltVr-v0"), 3, "did you mean 'feederlab/VoltVar-v0'?"),
        (("ppo", "--arg", "reward"), 2, "--arg reward: write KEY=VALUE"),
        (("ppo", "--arg", "bound=1", "--arg", "bound=2"), 2, "bound is given twice"),
        (("ppo", "--arg", "bound=2"), 2, "the bound of the action must lie in (0, 1], not 2"),
        (("ppo", "--arg", "reward=lossess"), 3, "did you mean 'losses'?"),
        (("ppo", "--every", "5min"), 3, "unknown argument of feederlab/VoltVar-v0 'every'"),
        (("td3", "--set", "clip=0.1"), 3, "unknown hyper-parameter 'clip'"),
        (("ppo", "--set", "hidden=8,x"), 2, "hidden must be"),
        (("ppo", "--minutes", "-1"), 2, "minutes must be a positive number"),
        (("ppo", "--best", "in_bnd"), 3, "did you mean 'in_band'?"),
    ],
)
def test_refusals_of_the_other_learners(words, code, message, run, net, tmp_path):
    algorithm, *more = words
    given = (net, "--profiles", net.parent / "profiles", "--days", "2", "--holdout", "1", "--steps", "8", *more)
    refused(run("train", algorithm, *given, "--out", tmp_path / "out"), code, message, tmp_path)


def test_what_must_be_given(run, net, tmp_path):
    refused(run("train", "dqn", "--out", tmp_path / "out"), 2, "give one scenario", tmp_path)
    refused(run("train", "dqn", net), 2, "give --out", tmp_path)


def test_added_banks_are_switched_too(run, words, tmp_path):
    bus = int(toy_banks.scenario().feeder.bus_index[-1])
    more = ("--add", f"capacitor={bus}:0.01:2", "--steps", "4", "--out", tmp_path / "out")
    answer = run(*words, *more)
    assert answer.code == 0, answer.err
    banks = toy_banks.scenario().feeder.capacitors
    assert Policy.load(tmp_path / "out" / "policy.safetensors").actions.shape == (
        3 * np.prod(banks.max_step + 1), len(banks) + 1,
    )  # fmt: skip
    command = shlex.split(answer.out[answer.out.index("feederlab compare") :].strip())
    assert f"capacitor={bus}:0.01:2" in command
    compared = run(*command[1:], "--json")
    assert compared.code == 0, compared.err
