import csv
from pathlib import Path

import numpy as np
import pandapower
import pytest
from matpowercaseframes import CaseFrames

from feederlab.errors import InputError, UnknownNameError
from feederlab.models.feeder import Feeder
from feederlab.models.library.matpower import read_case
from feederlab.models.matlab import MatlabError, run, statements
from feederlab.models.matpower_case import BASE_KV, BR_R, BR_X, PD, QD, TAP, read_tables, shipped
from feederlab.models.powerflow.base import engine

CASES = Path(__file__).parents[1] / "cases" / "radial_cases.csv"
ROWS = list(csv.DictReader(line for line in CASES.read_text().splitlines() if not line.startswith("#")))

SMALL = """function mpc = small
mpc.version = '2';
mpc.baseMVA = 10;
mpc.bus = [ % kW
    1 3 0   0  0 0 1 1 0 12.66 1 1   1;
    2 1 100 60 0 0 1 1 0 12.66 1 1.1 0.9;
];
mpc.gen = [1 0 0 10 -10 1.02 100 1 10 0];
mpc.branch = [1 2 0.5 0.25 0 5 0 0 0 0 1 -360 360];
"""


def base_solution(net):
    feeder = Feeder.from_pandapower(net)
    injection = np.zeros(feeder.n_nodes, dtype=complex)
    np.subtract.at(injection, feeder.loads.node, feeder.loads.p_mw + 1j * feeder.loads.q_mvar)
    return feeder, engine(feeder).solve(injection)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["case"])
def test_base_losses_and_lowest_voltage(row):
    net = read_case(row["case"])
    feeder, solved = base_solution(net)
    digits = len(row["loss_kw"].partition(".")[2])
    assert solved.losses_mw() * 1e3 == pytest.approx(float(row["loss_kw"]), abs=0.501 * 10**-digits)
    vm = feeder.to_buses(solved.vm)
    digits = len(row["vmin_pu"].partition(".")[2])
    assert vm.min() == pytest.approx(float(row["vmin_pu"]), abs=0.501 * 10**-digits)
    if row["bus"]:
        assert net.bus.name.iloc[int(vm.argmin())] == row["bus"]


def test_case33bw_is_pandapowers():
    ours, theirs = read_case("case33bw"), pandapower.networks.case33bw()
    pandapower.runpp(ours, numba=False)
    pandapower.runpp(theirs, numba=False)
    assert ours.res_bus.vm_pu.to_numpy() == pytest.approx(theirs.res_bus.vm_pu.to_numpy(), abs=1e-9)
    assert (~ours.line.in_service).sum() == 5


def test_tables_equal_those_of_another_reader_where_nothing_is_converted():
    for name in ("case9", "case57", "case118", "case300"):
        ours, theirs = read_tables(name), CaseFrames(str(shipped()[name]))
        for table in ("bus", "gen", "branch", "gencost"):
            assert np.array_equal(getattr(ours, table), getattr(theirs, table).to_numpy(dtype=float)), (name, table)


def test_conversions_of_case141():
    raw, ours = CaseFrames(str(shipped()["case141"])), read_tables("case141")
    ohm = 12.47**2 / 10
    assert ours.branch[:, [BR_R, BR_X]] == pytest.approx(raw.branch[["BR_R", "BR_X"]].to_numpy() / ohm, rel=1e-12)
    mva = raw.bus.PD.to_numpy() / 1e3
    assert ours.bus[:, PD] == pytest.approx(0.85 * mva, rel=1e-12)
    assert ours.bus[:, QD] == pytest.approx(np.sqrt(1 - 0.85**2) * mva, rel=1e-12)
    assert ours.bus[:, PD].sum() == pytest.approx(11.945, abs=5e-4)
    assert ours.bus[:, QD].sum() == pytest.approx(7.403, abs=5e-4)


def test_expressions_in_tables_of_case533mt():
    ours = read_tables("case533mt_hi")
    assert ours.base_mva == pytest.approx(50 / 3, rel=1e-15)
    assert ours.bus[:2, BASE_KV] == pytest.approx([135 / np.sqrt(3), 12 / np.sqrt(3)], rel=1e-15)


@pytest.mark.parametrize("hv_side", ["from", "to"])
def test_a_transformer_with_ratio_shift_and_charging_keeps_its_two_port(tmp_path, hv_side):
    kv = ("110", "12.66") if hv_side == "from" else ("12.66", "110")
    text = (
        SMALL.replace("12.66", kv[0], 1).replace("0 0 1 1 0 12.66", f"0 0 1 1 0 {kv[1]}")
        .replace("100 60 0 0", "4 2 0.3 0.7").replace("0.5 0.25 0 5 0 0 0 0", "0.004 0.03 0.02 25 0 0 1.04 30")
    )  # fmt: skip
    path = tmp_path / "t.m"
    path.write_text(text)
    feeder, solved = base_solution(read_case(path))
    t = 1.04 * np.exp(1j * np.radians(30))
    ys, b = 1 / (0.004 + 0.03j), 0.02j / 2
    y = np.array([[(ys + b) / abs(t) ** 2, -ys / np.conj(t)], [-ys / t, ys + b + (0.3 + 0.7j) / 10]])
    u = solved.u[feeder.bus_node]
    s = u * np.conj(y @ u) * 10
    assert abs(u[0]) == pytest.approx(1.02, abs=1e-12)
    assert -s[1] == pytest.approx(4 + 2j, abs=1e-7)
    assert read_case(path).trafo.sn_mva.iloc[0] == 25


def test_limits_ratings_and_numbers_survive(tmp_path):
    path = tmp_path / "small.m"
    path.write_text(SMALL)
    net = read_case(path)
    assert net.sn_mva == 10
    assert net.bus.name.tolist() == ["1", "2"]
    assert net.bus.min_vm_pu.tolist() == pytest.approx([np.nan, 0.9], nan_ok=True)
    assert net.bus.max_vm_pu.tolist() == pytest.approx([np.nan, 1.1], nan_ok=True)
    assert net.line.max_i_ka.iloc[0] == pytest.approx(5 / (np.sqrt(3) * 12.66))
    assert net.ext_grid.vm_pu.iloc[0] == 1.02
    assert net.line.r_ohm_per_km.iloc[0] == pytest.approx(0.5 * 12.66**2 / 10)


def test_several_reference_buses_are_one_busbar():
    net = read_case("case16ci")
    feeder = Feeder.from_pandapower(net)
    assert len(net.ext_grid) == 1
    assert set(feeder.bus_node[:3]) == {feeder.slack}
    assert feeder.is_radial


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        ("for k = 1:2\n  mpc.bus(k, 3) = 1;\nend", "only assignments"),
        ("mpc.branch = mpc.branch * mpc.bus;", "linear algebra"),
        ("mpc.bus(:, 3) = scale_load(2, mpc);", "scale_load"),
        ("mpc.bus(:, PD) = mpc.bus(:, PD) / 1e3;", "PD"),
        ("mpc.bus(7, 3) = 1;", "outside 1..2"),
        ("mpc = loadcase('case9');", "not understood"),
        ("mpc.bus(:, 3) = mpc.bus(:, 3)';", "not understood"),
        ("mpc.bus(:, [3 4]) = mpc.bus(:, 3);", "does not fit"),
    ],
)
def test_a_tail_that_is_not_understood_is_refused_by_line(tmp_path, tail, reason):
    path = tmp_path / "odd.m"
    path.write_text(SMALL + "\n% a comment\n" + tail + "\n")
    with pytest.raises(InputError) as error:
        read_tables(path)
    assert "odd.m, line 12:" in str(error.value)
    assert tail.split("\n")[0].split(";")[0] in str(error.value)
    assert reason in str(error.value)


def test_a_conversion_written_in_another_way_is_evaluated(tmp_path):
    path = tmp_path / "own.m"
    path.write_text(SMALL + "kv = 12.66;\nZ = kv^2 / mpc.baseMVA; mpc.branch(:, 3:4) = mpc.branch(:, 3:4) ./ Z;\n"
                    "mpc.bus(2, [3, 4]) = [80 ...\n  -45] / 1e3; end\n")  # fmt: skip
    case = read_tables(path)
    ohm = 12.66**2 / 10
    assert case.branch[0, [BR_R, BR_X]] == pytest.approx([0.5 / ohm, 0.25 / ohm])
    assert case.bus[1, [PD, QD]] == pytest.approx([0.08, -0.045])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mpc.version = '2'", "mpc.version = '1'", "version"),
        ("mpc.baseMVA = 10", "mpc.baseMVA = 0", "baseMVA"),
        ("mpc.branch = [1 2", "mpc.branch = [1 9", r"buses that mpc.bus does not list: \[9\]"),
        ("2 1 100", "1 1 100", "occurs twice"),
        ("1 3 0", "1 1 0", "reference"),
        ("2 1 100 60", "2 1 100", "row 2 has 12 elements"),
        ("mpc.gen = [1 0", "mpc.gent = [1 0", "mpc.gen is missing"),
        ("-360 360];", "-360 360", "bracket"),
    ],
)
def test_faulty_tables_are_refused(tmp_path, old, new, message):
    path = tmp_path / "bad.m"
    path.write_text(SMALL.replace(old, new))
    with pytest.raises(InputError, match=message):
        read_tables(path)


def test_generators_that_hold_a_voltage_are_refused():
    with pytest.raises(InputError, match=r"buses \[400\]"):
        read_case("case4_dist")


def test_unknown_case_and_missing_file(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'case33bw'"):
        read_case("case33bq")
    with pytest.raises(InputError, match="no case file"):
        read_case(tmp_path / "none.m")


def test_statements_know_their_lines():
    text = "a = 1; b = [1 2\n3 4]; % ; no\n%{\nc = 3\n%}\nd = {'x;y', 'z'}; e = 'it;s'\nf = 1 + ...\n 2\n"
    found = [(s.line, s.text.replace("\n", " ")) for s in statements(text)]
    assert found == [
        (1, "a = 1"), (1, "b = [1 2 3 4]"), (6, "d = {'x;y', 'z'}"), (6, "e = 'it;s'"), (7, "f = 1 +   2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2^-1", 0.5),
        ("-2^2", -4.0),
        ("2*3/4", 1.5),
        ("1 - 2 - 3", -4.0),
        ("sqrt(16)*cos(0)", 4.0),
        ("(1+2)*pi", 3 * np.pi),
    ],
)
def test_arithmetic_is_matlabs(text, value):
    assert run(f"x = {text};")["x"] == pytest.approx(value, rel=1e-15)


def test_signs_in_a_row_follow_matlab():
    assert run("x = [1 -2; 1 - 2, 3*sqrt( 4 )];")["x"].tolist() == [[1, -2], [-1, 6]]
    with pytest.raises(MatlabError, match="elements"):
        run("x = [1 -2; 1 - 2];")


def test_no_ratio_column_is_left_unread():
    assert (read_tables("case18").branch[:, TAP] == 1).sum() == 1
    assert len(read_case("case18").trafo) == 1
