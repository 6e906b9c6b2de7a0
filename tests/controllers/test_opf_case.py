"""`solve_opf` on cases, nets and files."""

import json
from pathlib import Path

import numpy as np
import pandapower
import pandapower.networks as networks
import pytest

from feederlab.errors import FeederlabError, InputError, UnknownNameError
from feederlab.models.feeder import Feeder
from feederlab.opf_case import solve_opf


def compensated(buses: tuple[int, ...] = (11, 29)):
    net = networks.case33bw()
    for bus in buses:
        pandapower.create_sgen(net, bus, p_mw=0.0, sn_mva=5.0, controllable=True)
    return net


def test_case_by_name() -> None:
    result = solve_opf("case9")
    assert result.converged
    assert result.objective == pytest.approx(5296.686, rel=1e-6)
    assert result.violation < 1e-8
    assert list(result.bus.index) == list(range(1, 10))
    assert result.setpoints.p_mw.sum() == pytest.approx(315.0 + result.losses_mw, abs=1e-6)
    assert json.loads(json.dumps(result.to_dict()))["objective_name"] == "cost"


def test_feeder_is_certified() -> None:
    result = solve_opf(compensated(), band=(0.5, 1.5))
    assert result.status == "global"
    assert result.objective * 1e3 == pytest.approx(135.753, abs=6e-4)
    assert result.objective == result.losses_mw
    assert abs(result.gap) < 1e-6
    assert result.violation < 1e-8
    assert result.vm_pu.min() > 0.9
    assert list(result.setpoints.bus) == [11, 29]


def test_feeder_with_a_band_it_cannot_keep() -> None:
    result = solve_opf(Feeder.from_pandapower(compensated((11,))), "losses", band=(0.99, 1.01))
    assert result.converged
    assert result.excess > 0
    assert result.gap > -1e-6


def test_meshed_net_has_no_bound() -> None:
    net = compensated()
    net.line["in_service"] = True
    result = solve_opf(net, band=(0.5, 1.5))
    assert result.converged
    assert np.isnan(result.bound)
    assert np.isnan(result.gap)
    assert result.losses_mw < 0.1358


def test_json_file_and_costs(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    pandapower.to_json(networks.case9(), str(path))
    net = networks.case9()
    pandapower.runopp(net, numba=False, delta=1e-10)
    result = solve_opf(path, "cost")
    assert result.objective == pytest.approx(net.res_cost, rel=1e-6)
    np.testing.assert_allclose(result.vm_pu, net.res_bus.vm_pu, atol=1e-3)
    pandapower.to_json(compensated(), str(path))
    assert solve_opf(path, "losses").status == "global"
    with pytest.raises(InputError, match="no costs"):
        solve_opf(networks.create_cigre_network_mv(), "cost")


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="case118"):
        solve_opf("case181")
    with pytest.raises(InputError, match="no file"):
        solve_opf(tmp_path / "absent.json")
    (tmp_path / "torn.json").write_text('{"_module": "pandapower.auxi')
    with pytest.raises(InputError, match="truncated or no JSON"):
        solve_opf(tmp_path / "torn.json")
    (tmp_path / "list.json").write_text("[1, 2]")
    with pytest.raises(FeederlabError):
        solve_opf(tmp_path / "list.json")
