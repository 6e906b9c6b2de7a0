"""Pictures and terminal tables: what they show, measured on the drawn objects rather than on pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandapower.networks as pn
import pytest
from rich.console import Console

import toy
from feederlab import compare
from feederlab.comparison import Comparison
from feederlab.errors import InputError
from feederlab.metrics import METRICS
from feederlab.models.feeder import Feeder
from feederlab.models.topology import Topology
from feederlab.report.feeder_plot import plot_feeder
from feederlab.report.layout import coordinates, tree_places
from feederlab.report.table import comparison_table
from feederlab.report.voltage_plot import plot_voltages
from feederlab.simulate import RunOptions


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(toy.short(), ["none", "volt_var:curve=ieee1547_b", "socp", "opf"])


def _is_picture(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000


def test_pictures_are_written(comparison: Comparison, tmp_path: Path) -> None:
    assert _is_picture(plot_voltages(comparison, tmp_path / "voltages.png"))
    assert _is_picture(plot_feeder(toy.scenario(), tmp_path / "feeder.png"))
    assert plot_feeder(toy.scenario(), tmp_path / "feeder.svg").read_text().startswith("<?xml")


def test_a_comparison_without_trajectories_still_has_its_envelope(tmp_path: Path) -> None:
    made = compare(toy.short(3), ["none"], RunOptions(record="metrics"), certificates=False)
    assert _is_picture(plot_voltages(made, tmp_path / "voltages.png"))


def test_meshed_feeders_are_drawn(tmp_path: Path) -> None:
    assert _is_picture(plot_feeder(toy.scenario(meshed=True), tmp_path / "meshed.png"))


def test_wrong_endings_and_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="use an ending such as"):
        plot_feeder(toy.scenario(), tmp_path / "feeder.docx")
    with pytest.raises(InputError, match="does not exist"):
        plot_feeder(toy.scenario(), tmp_path / "nowhere" / "feeder.png")


@pytest.mark.parametrize("net", [pn.case33bw, pn.create_cigre_network_mv, pn.create_cigre_network_lv])
def test_tree_layout_gives_every_node_its_own_place_and_children_lie_to_the_right(net: object) -> None:
    feeder = Feeder.from_pandapower(net(), validate=False)  # type: ignore[operator]
    places = tree_places(Topology.of(feeder))
    assert len(np.unique(places, axis=0)) == feeder.n_nodes
    assert places[feeder.slack, 0] == 0
    if feeder.is_radial:
        ahead = places[feeder.branches.to_node, 0] - places[feeder.branches.from_node, 0]
        assert set(np.abs(ahead)) == {1.0}


def test_coordinates_are_used_only_when_they_look_like_a_map() -> None:
    feeder = toy.scenario().feeder
    assert coordinates(Topology.of(feeder)) is None  # pandapower's made-up coordinates of this case cross
    net = toy.net()
    places = tree_places(Topology.of(feeder))
    net.bus["geo"] = [f'{{"type": "Point", "coordinates": [{x}, {y}]}}' for x, y in places[feeder.bus_node]]
    mapped = Feeder.from_pandapower(net)
    np.testing.assert_allclose(coordinates(Topology.of(mapped)), places)
    net.bus.loc[5, "geo"] = None
    assert coordinates(Topology.of(Feeder.from_pandapower(net))) is None


def _text(comparison: Comparison, width: int = 120) -> str:
    console = Console(width=width, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(comparison_table(comparison.table(), title="toy", width=width))
    return captured.get()


def _row(text: str, label: str) -> list[str]:
    return next(line for line in text.splitlines() if line.strip().startswith(label)).split()


def test_the_table_fits_marks_the_best_and_shows_units(comparison: Comparison) -> None:
    text = _text(comparison)
    assert max(map(len, text.splitlines())) <= 120
    assert " MW" in text
    assert "p.u." in text
    assert "100.00*" in _row(text, "opf")
    losses = f"{comparison.table().set_index('controller').loc['none', 'loss_mw']:.4f}"
    assert losses in _row(text, "none")  # the lowest losses of all, bought with the voltage: not marked


def test_a_narrow_table_leaves_columns_out(comparison: Comparison) -> None:
    text = _text(comparison, width=90)
    assert max(map(len, text.splitlines())) <= 100
    assert "CR" in text
    assert "losses" in text
    assert "|q|" not in text


def test_long_labels_and_notes_are_not_lost() -> None:
    rows = compare(toy.scenario(meshed=True).window("2016-06-20 12:00", 2), ["none", "socp"])
    console = Console(width=120)
    with console.capture() as captured:
        console.print(comparison_table(rows.table()))
    assert "socp: not applicable: the feeder is meshed" in captured.get()


def test_scores_of_equal_rows_are_not_marked(comparison: Comparison) -> None:
    twin = replace(comparison, metrics=comparison.metrics.copy(deep=True))
    for metric in METRICS:
        twin.metrics[metric.name][:] = 1.0
    assert "1.00*" not in _text(twin)
    assert "1.0000*" not in _text(twin)
