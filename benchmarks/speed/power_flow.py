"""One power flow against pandapower, a batch against power-grid-model called by hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandapower
import pandapower.networks
import power_grid_model as pgm

from benchmarks.speed.timing import Row, paired
from feederlab.models.feeder import Feeder
from feederlab.models.powerflow.base import engine

STEPS = 2000


def rows() -> Iterator[Row]:
    net = pandapower.networks.case33bw()
    feeder = Feeder.from_pandapower(net)
    flow = engine(feeder)
    load = np.zeros(feeder.n_nodes, dtype=complex)
    np.add.at(load, feeder.loads.node, feeder.loads.p_mw + 1j * feeder.loads.q_mvar)

    def ours() -> None:
        flow.solve(-load)

    others = {
        "pandapower.runpp": (lambda: pandapower.runpp(net), 100.0),
        'runpp(init="results")': (lambda: pandapower.runpp(net, init="results"), 0.0),
        "runpp(recycle)": (
            lambda: pandapower.runpp(net, recycle={"bus_pq": True, "gen": False, "trafo": False}, init="results"),
            0.0,
        ),
    }
    for name, (theirs, aim) in others.items():
        a, b, ratio = paired(ours, theirs, rounds=9, ours_repeat=200, theirs_repeat=5)
        yield Row("one power flow, case33", a, name, b, ratio, aim)
    yield batch(feeder, load)


def batch(feeder: Feeder, load: np.ndarray) -> Row:
    flow = engine(feeder)
    scale = np.random.default_rng(0).uniform(0.3, 1.0, (STEPS, feeder.n_nodes))
    injection = np.asarray(-load * scale, dtype=np.complex128)
    model, update = by_hand(feeder, injection)

    def theirs() -> None:
        model.calculate_power_flow(update_data=update, output_component_types=["node"], error_tolerance=1e-10)

    a, b, ratio = paired(lambda: flow.solve_batch(injection), theirs, rounds=9)
    what = f"batched power flow, case33, {STEPS} steps"
    return Row(
        what, a, "power-grid-model by hand", b, 1 / ratio, 1.5, faster=False, note=f"{1e6 * a / STEPS:.1f} us a step"
    )


def by_hand(feeder: Feeder, injection: np.ndarray) -> tuple[pgm.PowerGridModel, dict[str, np.ndarray]]:
    """Return the feeder as a person would write it for power-grid-model: lines, loads, one source."""
    lines, n = feeder.branches, feeder.n_nodes
    two_port, kv = lines.two_port, feeder.node_vn_kv
    ohm = kv[lines.from_node] ** 2 / feeder.base_mva

    def table(name: str, count: int, **columns: object) -> np.ndarray:
        array = pgm.initialize_array("input", name, count)
        for column, values in columns.items():
            array[column] = values
        return array

    ids = np.arange(n)
    ones = 1
    inputs = {
        "node": table("node", n, id=ids, u_rated=kv * 1e3),
        "line": table(
            "line", len(lines), id=1000 + np.arange(len(lines)), from_node=lines.from_node, to_node=lines.to_node,
            from_status=ones, to_status=ones, r1=two_port.r * ohm, x1=two_port.x * ohm, c1=0.0, tan1=0.0, i_n=1e3,
        ),
        "sym_load": table(
            "sym_load", n, id=2000 + ids, node=ids, status=ones, type=pgm.LoadGenType.const_power, p_specified=0.0,
            q_specified=0.0,
        ),
        "source": table("source", 1, id=[9999], node=[feeder.slack], status=[1], u_ref=[1.0], sk=[1e20]),
    }  # fmt: skip
    update = pgm.initialize_array("update", "sym_load", injection.shape)
    update["id"] = inputs["sym_load"]["id"]
    update["p_specified"], update["q_specified"] = -1e6 * injection.real, -1e6 * injection.imag
    return pgm.PowerGridModel(inputs), {"sym_load": update}
