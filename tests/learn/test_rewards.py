"""Rewards: every published barrier against numbers worked out by hand, the other terms against the metrics."""

import contextlib
import io
import math
import re
import timeit
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import toy
from feederlab import simulate
from feederlab.controllers.none import NoControl
from feederlab.errors import InputError, UnknownNameError
from feederlab.learn.rewards import BARRIERS, PRESETS, TERMS, Outcome, Reward
from feederlab.metrics import per_step
from feederlab.models.scoring import voltage_excess
from feederlab.report.reward_plot import barrier, plot_barriers

PAGE = Path(__file__).parents[2] / "docs" / "rewards.md"
BAND = np.array([[0.95] * 4, [1.05] * 4])
VM = np.array([1.0, 0.97, 1.08, 0.92])  # distances 0, 0.03, 0.08, 0.08
Q = np.array([0.4, -0.2, 0.0])  # mean |q| = 0.2
# N(d; 0, 0.1) = 3.98942280 exp(-50 d^2): at 0: 3.98942280; at 0.03: exp(-0.045) = 0.95599748 -> 3.81387815
BOWL = (0.04 - 0.0398942280 + 0.04 - 0.0381387815 + 2 * (0.16 - 0.095)) / 4


def cost(name, **given_):
    return float(TERMS[name].of(Outcome(**({"vm": VM, "band": BAND} | given_))))


def outcomes(rng, shape=(), nodes=4, inverters=3):
    return Outcome(
        1 + 0.05 * rng.normal(size=(*shape, nodes)), BAND, rng.normal(size=(*shape, inverters)),
        *(rng.random(shape) for _ in range(4)), slack=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "wanted", "rel"),
    [
        ("l1", 0.19 / 4, 1e-14),
        ("l2", (0.0009 + 2 * 0.0064) / 4, 1e-14),
        ("bowl", BOWL, 1e-8),
        ("courant_beltrami", 2 * 0.03**2 / 4, 1e-13),
    ],
)
def test_barriers_by_hand(name, wanted, rel):
    assert cost(name) == pytest.approx(wanted, rel=rel)


@pytest.mark.parametrize(
    ("preset", "voltage"),
    [
        ("mapdn_l1", 0.19 / 4),
        ("mapdn_l2", 2 * 0.0137 / 4),  # the code's: twice the text's
        ("mapdn_bowl", BOWL),
        ("mapdn_courant_beltrami", 0.0018 / 4),
    ],
)
def test_presets_are_the_rewards_of_the_public_code(preset, voltage):
    reward = Reward.parse(preset)(Outcome(vm=VM, band=BAND, q_mvar=Q))
    assert float(reward) == pytest.approx(-(voltage + 0.1 * 0.2), rel=1e-8)


def test_the_barriers_count_the_slack_and_the_rest_does_not():
    with_slack, without = (np.array([vm, 1.0, 1.0, 1.0]) for vm in (1.08, 1.0))
    for name in BARRIERS:
        assert cost(name, vm=with_slack) > cost(name, vm=without)
    for name in ("outside", "out_of_band", "any_out_of_band"):
        assert cost(name, vm=with_slack) == 0 < cost(name, vm=with_slack, slack=1)


def test_the_bowl_jumps_at_its_edge_as_published():
    below, above = barrier("bowl", np.array([1.05 - 1e-12, 1.05 + 1e-12]))
    inner = 0.04 - 0.1 * math.exp(-0.125) / math.sqrt(2 * math.pi)
    assert below == pytest.approx(inner, abs=1e-11)
    assert above == pytest.approx(0.005, abs=1e-11)
    assert above - below == pytest.approx(2.0653e-4, abs=1e-8)
    for low, high in ((0.9, 0.95 - 1e-9), (0.95 + 1e-9, 1.05 - 1e-9), (1.05 + 1e-9, 1.1)):  # and nowhere else
        assert np.abs(np.diff(barrier("bowl", np.linspace(low, high, 1001)))).max() < 2.1 * (high - low) / 1000


@given(st.floats(0.0, 0.2))
def test_barriers_are_symmetric_and_grow_away_from_one(d):
    for name in BARRIERS:
        below, above, further = barrier(name, np.array([1 - d, 1 + d, 1 + d + 1e-6]))
        assert below == pytest.approx(above, abs=1e-15) or abs(d - 0.05) < 1e-15
        assert further >= above


def test_the_other_terms_by_hand():
    assert cost("outside") == pytest.approx((1.08**2 - 1.05**2) + (0.95**2 - 0.92**2), rel=1e-13)
    assert cost("out_of_band") == 0.5
    assert cost("any_out_of_band") == 1
    assert cost("any_out_of_band", vm=np.array([1.0, 0.95 - 1e-8, 1.05 + 1e-8, 1.0])) == 0  # a solver's accuracy
    assert cost("q_loss", q_mvar=Q) == pytest.approx(0.2, rel=1e-15)
    assert cost("q_loss", q_mvar=np.zeros(0)) == 0
    for name, field in (
        ("losses", "losses_mw"), ("curtailment", "curtailed_mw"), ("switching", "moves"), ("storage", "storage_mw"),
    ):  # fmt: skip
        assert cost(name, **{field: 3.5}) == 3.5


def test_terms_are_the_metrics_of_a_run():
    scenario = toy.short()
    data, slack = simulate(scenario, NoControl()).data, scenario.feeder.slack
    vm = data["vm_pu"].to_numpy()
    np.testing.assert_array_equal(scenario.feeder.bus_node, np.arange(vm.shape[1]))  # each bus is a node
    band = scenario.band.copy()
    band[1] = np.median(vm)  # half of all voltages out
    seen = Outcome(vm, band, data["q_mvar"].to_numpy(), data["losses_mw"].to_numpy(), slack=slack)
    wanted = band.copy()
    wanted[:, slack] = 0.0, np.inf
    none = np.full((len(vm), 1), np.nan)
    scores = per_step(vm, wanted, none, np.array([True]))
    assert 0 < scores["out_share"].mean() < 1
    np.testing.assert_array_equal(TERMS["out_of_band"].of(seen), scores["out_share"])
    np.testing.assert_array_equal(TERMS["any_out_of_band"].of(seen), scores["out_share"] > 0)
    np.testing.assert_allclose(TERMS["l1"].of(seen), scores["deviation_pu"], rtol=1e-13)
    excess = voltage_excess(vm.astype(complex), band, slack)
    np.testing.assert_allclose(TERMS["outside"].of(seen), excess, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(
        Reward.parse("losses + 7*outside")(seen), -(data["losses_mw"].to_numpy() + 7 * excess), rtol=1e-12
    )


def test_many_steps_at_once_are_single_steps():
    seen = outcomes(np.random.default_rng(3), (5, 2))
    reward = Reward.parse(" + ".join(f"{k + 1}*{name}" for k, name in enumerate(TERMS)))
    together, costs = reward(seen), reward.costs(seen)
    assert together.shape == (5, 2)
    for at in np.ndindex(5, 2):
        one = Outcome(
            seen.vm[at], BAND, seen.q_mvar[at], seen.losses_mw[at], seen.curtailed_mw[at], seen.moves[at],
            seen.storage_mw[at], slack=1,
        )  # fmt: skip
        assert reward(one).shape == ()
        assert float(reward(one)) == pytest.approx(together[at], rel=1e-14)
        summed = sum((k + 1) * costs[name][at] for k, name in enumerate(TERMS))
        assert together[at] == pytest.approx(-summed, rel=1e-14)


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("lost", [slice(None), 0, 3])
def test_no_solution_has_no_reward(name, lost):
    seen = outcomes(np.random.default_rng(4), (3,))
    seen.vm[1, lost] = np.nan
    reward = Reward.parse(name)
    for values in (reward(seen), reward.costs(seen)[name]):
        np.testing.assert_array_equal(np.isnan(values), [False, True, False])


def test_inputs_are_left_alone():
    seen = outcomes(np.random.default_rng(5), (3,))
    for array in (seen.vm, seen.q_mvar, seen.losses_mw):
        array.setflags(write=False)
    Reward.parse(" + ".join(TERMS))(seen)


WEIGHT = st.one_of(st.floats(0, 1e300, allow_subnormal=False), st.integers(0, 10**15).map(float))


@given(st.lists(st.sampled_from(sorted(TERMS)), min_size=1, unique=True), st.data())
def test_what_is_written_is_read_again(names, data):
    weights = [data.draw(WEIGHT) for _ in names]
    weights[0] = weights[0] or 1.0
    reward = Reward(tuple(zip(names, weights, strict=True)))
    assert Reward.parse(str(reward)) == reward
    assert Reward.parse(str(reward).replace(" ", "")) == reward
    behind = "+".join(f"{name}={weight!r}" for name, weight in reward.weights)
    assert Reward.parse(behind) == reward


def test_spellings():
    wanted = Reward((("l1", 1.0), ("q_loss", 0.1)))
    for text in ("l1 + 0.1*q_loss", "l1+.1 * q_loss", " l1+q_loss=0.1 ", "1e0*l1 + 1e-1*q_loss", "mapdn_l1"):
        assert Reward.parse(text) == wanted
    assert str(wanted) == "l1 + 0.1*q_loss"
    assert Reward.parse("1e+3*losses+2E+1*l1") == Reward((("losses", 1e3), ("l1", 20.0)))
    assert str(Reward.parse("0.5*mapdn_l2 + switching")) == "l2 + 0.05*q_loss + switching"


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("q_los", UnknownNameError, "did you mean 'q_loss'"),
        ("l1 + 0.1*curtailmnt", UnknownNameError, "did you mean 'curtailment'"),
        ("mapdn_bowls", UnknownNameError, "did you mean 'mapdn_bowl'"),
        ("-1*l1", InputError, "non-negative"),
        ("nan*l1", InputError, "non-negative"),
        ("inf*l1", InputError, "non-negative"),
        ("0,1*l1", InputError, "'0,1' is no number"),
        ("l1=", InputError, "'' is no number"),
        ("", InputError, "empty term"),
        ("l1 +", InputError, "empty term"),
        ("mapdn_l1 + l1", InputError, "'l1' twice"),
        ("0*l1", InputError, "no term with a positive weight"),
    ],
)
def test_what_cannot_be_a_reward_is_said(text, error, said):
    with pytest.raises(error, match=re.escape(said)):
        Reward.parse(text)


def test_only_what_is_needed_is_asked_for():
    reward = Reward.parse("l1 + 0.1*q_loss + 0*losses")
    assert [name for name in TERMS if reward.needs(name)] == ["l1", "q_loss"]
    assert list(reward.costs(Outcome(vm=VM, q_mvar=Q))) == ["l1", "q_loss"]
    with pytest.raises(UnknownNameError, match="did you mean 'losses'"):
        reward.needs("loses")
    for name, term in TERMS.items():
        for field in term.reads:
            with pytest.raises(InputError, match=re.escape(f"set Outcome.{field}")):
                Reward.parse(name)(Outcome(vm=VM))
        if not term.reads:
            assert np.isfinite(Reward.parse(name)(Outcome(vm=VM)))


def test_256_copies_of_33_nodes_take_less_than_100_microseconds():
    rng = np.random.default_rng(6)
    seen = Outcome(vm=1 + 0.05 * rng.normal(size=(256, 33)), q_mvar=rng.normal(size=(256, 6)))
    reward = Reward.parse("mapdn_l1")
    assert min(timeit.repeat(lambda: reward(seen), number=20, repeat=50)) / 20 < 100e-6


def rows(heading):
    """The cells of the first table under a heading of the page."""
    table = re.search(rf"^## {heading}\n.*?^\|[-|]+\|\n(.*?)\n\n", PAGE.read_text(), re.M | re.S)
    split = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table[1].splitlines()]
    return [[cell.strip().replace("\\|", "|") for cell in line] for line in split]


def test_the_page_lists_every_term_with_its_formula():
    listed = {name.strip("`"): (formula, unit) for name, formula, unit, _ in rows("Terms")}
    assert list(listed) == list(TERMS)
    for name, term in TERMS.items():
        assert listed[name] == (term.about, term.unit)


def test_the_page_lists_every_preset_with_its_sum():
    listed = {name.strip("`"): spec.strip("`") for name, spec, _ in rows("Presets")}
    assert listed == {name: str(Reward.parse(name)) for name in PRESETS}


def test_the_example_of_the_page_runs():
    (body,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(body, {})
    outside = 1.06**2 - 1.05**2
    assert printed.getvalue().startswith(f"losses + 10*outside {-(0.05 + 10 * outside):.6f}")


def test_picture(tmp_path):
    path = plot_barriers(tmp_path / "rewards.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="cannot draw"):
        plot_barriers(tmp_path / "rewards.doc")
