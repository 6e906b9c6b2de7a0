import numpy as np
import pandapower as pp
import pandapower.networks as networks
import pytest

from feederlab.models.feeder import Feeder
from feederlab.models.powerflow.base import engine
from feederlab.models.sensitivity import Sensitivity
from feederlab.testing import example_scenario


def meshed():
    net = networks.case33bw()
    net.bus[["min_vm_pu", "max_vm_pu"]] = 0.9, 1.1
    net.line["in_service"] = True
    for bus in (7, 17, 30):
        pp.create_sgen(net, bus, p_mw=0.3, sn_mva=0.5, controllable=True)
    return Feeder.from_pandapower(net, "meshed")


@pytest.fixture(scope="module", params=["radial with a transformer and capacitors", "meshed"])
def feeder(request):
    return meshed() if request.param == "meshed" else example_scenario().feeder


def test_voltages_move_as_the_power_flow_says(feeder):
    nodes, flow = feeder.inverters.node, engine(feeder)
    model = Sensitivity.of(feeder, nodes)
    rest = flow.solve(np.zeros(feeder.n_nodes, dtype=complex), slack_vm=1.0).vm ** 2
    np.testing.assert_allclose(model.v0, rest, atol=1e-10)
    for k, node in enumerate(nodes):
        for unit, predicted in ((1.0, model.v_by_p), (1j, model.v_by_q)):
            moved = []
            for sign in (1, -1):
                injection = np.zeros(feeder.n_nodes, dtype=complex)
                injection[node] = sign * 1e-3 * unit
                moved.append(flow.solve(injection, slack_vm=1.0).vm ** 2)
            np.testing.assert_allclose(predicted[:, k], (moved[0] - moved[1]) / 2e-3, atol=1e-7)


def test_the_gradient_of_the_losses_is_exact_to_second_order(feeder):
    """The model's error against finite differences of the power flow shrinks with the square of the injections."""
    nodes, flow = feeder.inverters.node, engine(feeder)
    model = Sensitivity.of(feeder, nodes, steps=0 * feeder.capacitors.step)
    rng = np.random.default_rng(0)
    full = rng.normal(size=feeder.n_nodes) * 0.1 + 1j * rng.normal(size=feeder.n_nodes) * 0.1
    full[feeder.slack] = 0
    steps, step = 0 * feeder.capacitors.step, 1e-4

    def gap(scale):
        injection = scale * full
        wanted = model.loss_at_rest + model.loss_by_p @ injection.real + model.loss_by_q @ injection.imag
        got = []
        for node in nodes:
            ends = []
            for sign in (1, -1):
                moved = injection.copy()
                moved[node] += sign * 1j * step
                ends.append(flow.solve(moved, slack_vm=1.0, steps=steps).losses_mw())
            got.append((ends[0] - ends[1]) / (2 * step))
        return np.abs(np.array(got) - wanted).max(), np.abs(wanted).max()

    coarse, size = gap(0.2)
    fine, _ = gap(0.02)
    assert coarse < 0.1 * size
    assert fine < coarse / 50


def test_its_curvature_is_symmetric_and_positive(feeder):
    nodes = feeder.inverters.node
    curvature = Sensitivity.of(feeder, nodes).loss_by_q[:, nodes]
    np.testing.assert_allclose(curvature, curvature.T, atol=1e-12)
    assert np.linalg.eigvalsh(curvature).min() > 0


def test_out_of_service_and_slack_have_no_effect(feeder):
    model = Sensitivity.of(feeder, np.array([-1, feeder.slack, int(feeder.inverters.node[0])]))
    np.testing.assert_array_equal(model.v_by_q[:, :2], 0.0)
    np.testing.assert_array_equal(model.loss_by_q[:2], 0.0)
    assert np.abs(model.v_by_q[:, 2]).max() > 0
