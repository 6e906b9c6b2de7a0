"""The HTML report as a file: complete in itself, faithful to the comparison, safe for any label."""

from __future__ import annotations

import base64
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import toy
from feederlab import cli, compare
from feederlab.certificate import Certificate
from feederlab.comparison import Comparison
from feederlab.controllers.none import NoControl
from feederlab.controllers.volt_var import VoltVar
from feederlab.errors import InputError
from feederlab.metrics import METRICS
from feederlab.models.feeder import Feeder
from feederlab.models.scenario import Scenario
from feederlab.models.topology import Topology
from feederlab.report import content as content_module
from feederlab.report.content import draw_content
from feederlab.report.figures import write_figures
from feederlab.report.html import render, write_report
from feederlab.report.layout import along_the_feeder
from feederlab.report.scores import findings
from feederlab.report.series import Bins, duration_curve, regrets, steps_to_show, worst_voltages
from feederlab.simulate import RunOptions

EVIL = '<script>alert("1")</script>&\u2028'


@pytest.fixture(scope="module")
def made() -> Comparison:
    return compare(toy.short(12), ["none", "volt_var:curve=ieee1547_b", "lindistflow", "socp"])


@pytest.fixture(scope="module")
def bare() -> Comparison:
    """A run without trajectories of buses."""
    return compare(toy.short(3), ["none"], RunOptions(record="metrics"), certificates=False)


@pytest.fixture(scope="module")
def windows() -> Comparison:
    parts = [toy.short(4), toy.short(4, "2016-06-20 18:00")]
    return compare(parts, {"none": NoControl(), EVIL: VoltVar(curve="ieee1547_b")}, seeds=[0, 1], certificates=False)


class _Page(HTMLParser):
    """The tags of a page, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        (self.scripts if self.tags and self.tags[-1][0] == "script" else self.text).append(data)


def _content(text: str) -> Any:
    return json.loads(re.search(r'<script type="application/json" id="content">(.*?)</script>', text, re.S).group(1))  # type: ignore[union-attr]


def _f32(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


def test_the_page_loads_nothing(made: Comparison) -> None:
    page = _Page(render(made))
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "poster", "data", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    css = re.search(r"<style>(.*?)</style>", render(made), re.S)
    assert css is not None
    assert "url(" not in css.group(1)
    assert "@import" not in css.group(1)


def test_every_metric_and_value_is_there(made: Comparison) -> None:
    text, rows = render(made), made.table()
    for metric in METRICS:
        known = rows[metric.name].dropna()
        assert (f'data-metric="{metric.name}"' in text) == (len(known) > 0)
        for value in known:
            assert f'data-number="{float(value)}"' in text
    for version in made.record["versions"].values():
        assert version in text
    assert made.record["scenarios"][0]["fingerprint"] in text


def test_labels_are_text_everywhere(windows: Comparison) -> None:
    text = render(windows)
    page = _Page(text)
    assert text.count('<script>alert("1")') == 0
    assert EVIL in "".join(page.text)
    assert EVIL in _content(text)["controllers"]
    assert sum(tag == "script" for tag, _ in page.tags) == 4


def test_the_drawn_numbers_are_those_of_the_runs(made: Comparison) -> None:
    (group,) = draw_content(made)["groups"]
    labels = list(map(str, made.metrics["controller"].to_numpy()))
    for number, drawn in group["runs"].items():
        result = made.run(labels[number])
        data = result.data
        np.testing.assert_allclose(_f32(drawn["vm_max"]), data["vm_max_pu"], rtol=1e-6)
        np.testing.assert_allclose(_f32(drawn["losses"]), data["losses_mw"], rtol=1e-6)
        vm = np.frombuffer(base64.b64decode(drawn["vm"]), "<u2").reshape(12, -1) / 40_000
        np.testing.assert_allclose(vm, data["vm_pu"], atol=1.3e-5)
        gap = Certificate.of(data, result.certificate).gap
        np.testing.assert_allclose(_f32(drawn["regret"])[-1], np.nansum(gap) * 0.25, rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(
            _f32(drawn["decide_ms"])[-1], 1e3 * float(result.timing["decision_s"].max()), rtol=1e-6
        )
        share = _f32(drawn["devices"]["q_pct"])
        q = np.abs(data["q_mvar"].to_numpy()).mean(axis=0)
        np.testing.assert_allclose(share, 100 * q / data["inverter_s_mva"].to_numpy(), rtol=1e-5, atol=1e-6)


def test_the_worst_voltage_is_the_one_furthest_out(made: Comparison) -> None:
    data = made.run("none").data
    worst = worst_voltages(data)
    low, high = data["vm_low"].to_numpy(), data["vm_high"].to_numpy()
    for bus, vm in enumerate(data["vm_pu"].to_numpy().T):
        excess = [max(v - high[bus], low[bus] - v) for v in vm]
        assert max(worst[bus] - high[bus], low[bus] - worst[bus]) == max(excess)


def test_runs_carry_their_topology_to_disk_and_back(made: Comparison, tmp_path: Path) -> None:
    feeder = toy.scenario().feeder
    made.save(tmp_path / "out")
    grid = Topology.from_data(Comparison.load(tmp_path / "out").run("none").data)
    assert grid is not None
    assert grid.n_nodes == feeder.n_nodes
    np.testing.assert_array_equal(grid.from_node, feeder.branches.from_node)
    np.testing.assert_array_equal(grid.node_bus, feeder.node_bus)
    np.testing.assert_array_equal(grid.inverter, feeder.inverters.node)
    assert grid.slack == feeder.slack
    walk = along_the_feeder(grid)
    assert sorted(walk) == list(range(feeder.n_nodes))
    assert walk[0] == feeder.slack
    assert {(min(e), max(e)) for e in pairwise(walk)} & {
        (min(e), max(e)) for e in zip(grid.from_node, grid.to_node, strict=True)
    }


def test_findings_name_who_keeps_the_band_and_how_far_from_optimal(made: Comparison) -> None:
    rows = made.table().set_index("controller")
    ((name, sentences),) = findings(made, made.table(), "losses")
    assert name == "toy"
    keepers = [label for label in rows.index if rows.loc[label, "infeasible_steps"] == 0]
    assert keepers
    assert all(label in sentences[0] for label in keepers)
    assert "none" not in sentences[0].split()
    least = f"{rows.loc[keepers, 'loss_mw'].min():.4g} MW"
    assert any(least in sentence and "certified" in sentence for sentence in sentences)
    assert any(f"none at {int(rows.loc['none', 'infeasible_steps'])}" in sentence for sentence in sentences)


def test_findings_without_certificates_claim_no_optimum(windows: Comparison) -> None:
    ((_, sentences),) = findings(windows, windows.table(), "losses")
    assert "optimum" in sentences[-1]
    assert "no certificate" in sentences[-1]
    assert not any("above the optimum" in s or "certified optimum" in s for s in sentences)


def test_findings_tell_overloads_and_lost_power_flows() -> None:
    net, data = toy.net(), toy.profiles(toy.net())
    net.line["max_i_ka"] = 0.1
    for column in ("p_mw", "q_mvar"):
        data["load", column].iloc[47] *= 9  # beyond what the feeder can carry
    scenario = Scenario.build(Feeder.from_pandapower(net, "weak"), data).window("2016-06-20 11:30", 4)
    made = compare(scenario, ["none", "volt_var:curve=mapdn"], certificates=False)
    rows = made.table()
    ((_, sentences),) = findings(made, rows, "losses")
    assert any("power-flow solution" in s and "none at 1, volt_var:curve=mapdn at 1" in s for s in sentences)
    over, most = float(rows["overload_steps"].iloc[0]), float(rows["max_loading_pct"].iloc[0])
    assert over > 0
    said = f"loaded above 100 % at some of the 4 steps: none at {over:.0f} (up to {most:.0f} %)"
    assert any(said in s for s in sentences)


def test_findings_count_the_steps_of_each_scenario() -> None:
    other = replace(toy.scenario().resample("30min"), name="slow")
    made = compare([toy.short(4), other.window("2016-06-20 11:00", 3)], ["opf"], certificates=False)
    (_, first), (_, second) = findings(made, made.table(), "losses")
    assert "at all 4 steps" in first[0]
    assert "at all 3 steps" in second[0]


def test_means_come_with_tests_against_the_reference(windows: Comparison) -> None:
    asked = {"reference": "none", "metrics": ["loss_mw"], "unit": "cell", "correction": "bonferroni"}
    text = render(replace(windows, record={**windows.record, "request": {"statistics": asked}}))
    tests = windows.significance("none", ["loss_mw"], unit="cell", correction="bonferroni")
    section = text[text.index('<section id="statistics">') : text.index('id="figures"')]
    assert "Differences from none" in section
    assert f"{tests['difference'].iloc[0]:+.3g}" in section
    assert "Bonferroni over these 1 comparisons" in section
    assert 'id="statistics"' not in render(windows)  # nothing asked, and no row named opf


def test_what_has_no_room_is_said(windows: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_module, "_MOST_RUNS", 3)
    text = render(windows)
    assert "The figures show the first 1 of 4 combinations" in text
    assert len(_content(text)["groups"]) == 1


def test_a_run_whose_bounds_broke_keeps_its_figures(bare: Comparison) -> None:
    (cell,) = bare.runs
    text = render(replace(bare, failed={cell: "its lower bounds: no memory"}))
    assert "none: failed: its lower bounds: no memory" in text
    assert f'data-number="{bare.table()["loss_mw"].item()}"' in text


def test_windows_and_seeds_are_averaged(windows: Comparison) -> None:
    text, rows = render(windows), windows.table()
    mean = rows.groupby("controller")["loss_mw"].mean()
    for value in mean:
        assert f'data-number="{float(value)}"' in text
    assert "mean ± standard deviation of 4 runs each" in text
    assert len(_content(text)["groups"]) == 4


def test_a_run_without_trajectories_is_still_reported(bare: Comparison) -> None:
    (group,) = draw_content(bare)["groups"]
    assert group["feeder"] is None
    assert group["time"] == ["2016-06-20T11:00:00", "2016-06-20T11:15:00", "2016-06-20T11:30:00", "2016-06-20T11:45:00"]
    assert "vm" not in group["runs"][0]
    assert "losses" in group["runs"][0]
    assert 'data-metric="loss_mw"' in render(bare)


def test_skipped_rows_are_shown_with_their_reason() -> None:
    made = compare(toy.scenario(meshed=True).window("2016-06-20 12:00", 2), ["none", "socp"])
    assert "not applicable: the feeder is meshed" in render(made)


def test_long_runs_are_thinned_and_extremes_kept() -> None:
    values = np.random.default_rng(0).normal(size=1001)
    bins = Bins(1001, 100)
    assert len(bins.first) <= 100
    assert bins.last[-1] == 1000
    assert bins.highest(values).max() == values.max()
    assert bins.lowest(values).min() == values.min()
    whole = np.add.reduceat(np.ones(1001), bins.first)
    np.testing.assert_allclose((bins.mean(values) * whole).sum(), values.sum())
    curve = duration_curve(values)
    assert (curve[0], curve[-1]) == (values.max(), values.min())
    assert (np.diff(curve) <= 0).all()


def test_the_worst_steps_stay_on_the_slider(made: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [result.data for result in made.runs.values()]
    kept = steps_to_show(runs, 6)
    assert len(kept) < 12
    for data in runs:
        assert int(np.nanargmax(data["vm_max_pu"])) in kept
        assert int(np.nanargmin(data["vm_min_pu"])) in kept
    monkeypatch.setattr(content_module, "_VOLTAGES", 11 * 33 * 4)
    (group,) = draw_content(made)["groups"]
    assert not group["step_time"]  # too few for a slider
    assert "vm" not in group["runs"][0]
    assert len(_f32(group["runs"][0]["worst"])) == 33


def test_regret_is_the_sum_of_certified_gaps(made: Comparison) -> None:
    result = made.run("volt_var:curve=ieee1547_b")
    summed = regrets(result)
    assert summed is not None
    gap = Certificate.of(result.data, result.certificate).gap
    np.testing.assert_allclose(np.diff(summed[0]), gap[1:] * 0.25)
    assert regrets(replace(result, certificate=None)) is None


def test_figures_come_as_png_and_svg(made: Comparison, tmp_path: Path) -> None:
    two = {cell: run for cell, run in made.runs.items() if cell.controller in ("none", "socp")}
    files = write_figures(replace(made, runs=two), tmp_path / "figures")
    names = {path.name for path in files}
    for name in ("voltages", "feeder", "heat_map", "duration_curves", "regret", "decision_times"):
        assert {f"{name}.png", f"{name}.svg"} <= names
    for path in files:
        head = path.read_bytes()[:100]
        assert head.startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml")


def test_figures_without_data_are_left_out(bare: Comparison, tmp_path: Path) -> None:
    names = {path.stem for path in write_figures(bare, tmp_path / "figures")}
    assert names == {"voltages", "duration_curves", "decision_times"}
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="give a folder"):
        write_figures(bare, tmp_path / "file")


def test_where_a_report_cannot_be_written(made: Comparison, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        write_report(made, tmp_path)
    with pytest.raises(InputError, match="no folder that exists"):
        write_report(made, tmp_path / "nowhere" / "report.html")
    assert not list(tmp_path.iterdir())


def _call(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["feederlab", *map(str, words)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return int(exit_.value.code or 0)


def test_the_command_adds_to_the_folder_without_spoiling_it(
    bare: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    bare.save(folder)
    assert _call(monkeypatch, "report", folder, "--figures", folder / "figures") == 0
    assert "report.html" in capsys.readouterr().out
    assert (folder / "report.html").stat().st_size < 10e6
    assert _call(monkeypatch, "report", folder, "--out", tmp_path / "elsewhere.html") == 0
    bare.save(folder)  # the same comparison may replace it: all in there is its own
    assert not (folder / "report.html").exists()
    (folder / "mine.txt").write_text("")
    assert _call(monkeypatch, "report", tmp_path / "nothing") == 6


def test_compare_writes_a_report_on_demand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = toy.write_files(tmp_path / "grid")
    words = ("compare", net, "--profiles", net.parent / "profiles", "--step", "6h", "-c", "none", "--report")
    assert _call(monkeypatch, *words) == 2
    assert _call(monkeypatch, *words, "--out", tmp_path / "out") == 0
    assert "report.html" in json.loads((tmp_path / "out" / "run.json").read_text())["files"]
    assert (tmp_path / "out" / "report.html").is_file()
