"""The radial view: orientation, merged parallels, descendants, and what closes a loop."""

from __future__ import annotations

import numpy as np
import pandapower as pp
import pandapower.networks as networks
import pytest
import scipy.sparse as sp
from grids import random_nets, small_net
from hypothesis import HealthCheck, Phase, given, settings

from feederlab.errors import NotRadialError
from feederlab.models.feeder import Feeder


def admittance(feeder: Feeder, f, t, port) -> np.ndarray:
    """Return the (nodes, nodes) admittance matrix of branches."""
    n, (yff, yft, ytf, ytt) = feeder.n_nodes, port.admittances()
    rows, columns = np.concatenate([f, f, t, t]), np.concatenate([f, t, f, t])
    return sp.coo_matrix((np.concatenate([yff, yft, ytf, ytt]), (rows, columns)), shape=(n, n)).toarray()


def assert_tree(feeder: Feeder) -> None:
    tree, rows = feeder.tree, feeder.branches
    assert len(tree) == feeder.n_nodes - 1
    assert sorted([tree.root, *tree.child]) == list(range(feeder.n_nodes))
    seen = {tree.root}
    for k in range(len(tree)):
        assert int(tree.parent[k]) in seen  # breadth-first: parents come first
        assert tree.up[k] == (-1 if tree.parent[k] == tree.root else list(tree.child).index(tree.parent[k]))
        seen.add(int(tree.child[k]))
    ends = np.where(tree.flipped, rows.from_node, rows.to_node)
    assert np.array_equal(ends, tree.child[tree.group])
    full = admittance(feeder, rows.from_node, rows.to_node, rows.two_port)
    merged = admittance(feeder, tree.parent, tree.child, tree.merged(rows.two_port))
    assert np.allclose(merged, full, rtol=1e-10, atol=1e-10 * np.abs(full).max())


@pytest.mark.parametrize("make", [small_net, networks.case33bw, networks.create_cigre_network_mv])
def test_published_feeders(make):
    assert_tree(Feeder.from_pandapower(make()))


@settings(
    max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(random_nets(meshed=False, zero_impedance=True))
def test_random_feeders(nets):
    feeder = Feeder.from_pandapower(nets[0], validate=False)
    if feeder.is_radial:  # an auxiliary node of an open line end keeps it radial; two three-winding parts do too
        assert_tree(feeder)
    else:
        pytest.fail("a tree of lines must be radial")


def test_descendants():
    feeder = Feeder.from_pandapower(networks.case33bw())
    tree = feeder.tree
    below = tree.descendants().toarray()
    assert below.shape == (32, 33)
    expected = np.zeros((32, 33))
    for n in range(33):
        while n != tree.root:
            k = list(tree.child).index(n)
            expected[k, [m for m in range(33) if _is_below(tree, m, int(tree.child[k]))]] = 1
            n = int(tree.parent[k])
    assert np.array_equal(below, expected)


def _is_below(tree, node, ancestor) -> bool:
    while node != ancestor and node != tree.root:
        node = int(tree.parent[list(tree.child).index(node)])
    return node == ancestor


def test_loop_message_names_the_lines():
    net = networks.case33bw()
    net.line.loc[[33, 35], "in_service"] = True
    feeder = Feeder.from_pandapower(net)
    assert not feeder.is_radial
    with pytest.raises(NotRadialError) as raised:
        _ = feeder.tree
    message = str(raised.value)
    assert message.count("line ") == 2  # as many as there are loops
    assert "close a loop" in message
    assert "'opf', which solves meshed feeders" in message


def test_parallel_branches_are_no_loop():
    net = small_net()
    pp.create_line(net, 1, 2, 0.3, "NAYY 4x50 SE")
    pp.create_line(net, 2, 1, 0.1, "NAYY 4x50 SE")
    feeder = Feeder.from_pandapower(net)
    assert feeder.is_radial
    assert_tree(feeder)


def test_a_line_beside_a_closed_switch_is_no_loop():
    net = small_net()
    net.line["c_nf_per_km"] = 400.0
    pp.create_switch(net, 2, 3, "b", closed=True)
    feeder = Feeder.from_pandapower(net)
    assert feeder.is_radial
    assert [feeder.branches.name(k) for k in range(len(feeder.branches))] == ["line 0", "trafo 0"]
    charging = 2 * np.pi * 50 * 400e-9 * 0.2 * 0.4**2 / feeder.base_mva
    assert feeder.node_shunt[feeder.bus_node[2]] == pytest.approx(1j * charging, rel=1e-9)
