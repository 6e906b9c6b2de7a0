import numpy as np
import pytest

from feederlab.controllers.curves import VOLT_VAR, VOLT_WATT, WATT_VAR, Curve, find_curve
from feederlab.errors import InputError, UnknownNameError

# The published breakpoints: V1..V4 with Q = +top, 0, 0, -top (V2 = V3 where the curve has no dead band).
PUBLISHED = {
    "mapdn": (0.95, 1.00, 1.00, 1.05, 1.0),
    "ieee1547_a": (0.90, 1.00, 1.00, 1.10, 0.25),
    "ieee1547_b": (0.92, 0.98, 1.02, 1.08, 0.44),
    "hawaii14h": (0.94, 0.97, 1.03, 1.06, 0.44),
    "rule21": (0.92, 0.967, 1.033, 1.07, 0.30),
    "vde4105": (0.93, 0.97, 1.03, 1.07, 0.436),
}


@pytest.mark.parametrize("name", VOLT_VAR)
def test_volt_var_presets_have_the_published_breakpoints(name):
    v1, v2, v3, v4, top = PUBLISHED[name]
    curve = VOLT_VAR[name]
    v = np.array([0.5, v1, (v1 + v2) / 2, v2, v3, (v3 + v4) / 2, v4, 1.5])
    np.testing.assert_allclose(curve(v), [top, top, top / 2, 0, 0, -top / 2, -top, -top], atol=1e-12)


def test_vde4105_is_cos_phi_090_at_the_rated_apparent_power():
    assert VOLT_VAR["vde4105"].points[0][1] == pytest.approx(0.9 * np.tan(np.arccos(0.9)), abs=5e-4)


def test_volt_watt_and_watt_var_presets():
    np.testing.assert_allclose(VOLT_WATT["ieee1547"](np.array([1.0, 1.06, 1.08, 1.10, 1.2])), [1, 1, 0.5, 0, 0])
    np.testing.assert_allclose(WATT_VAR["ieee1547_a"](np.array([0, 0.5, 0.75, 1.0])), [0, 0, -0.125, -0.25])
    np.testing.assert_allclose(WATT_VAR["ieee1547_b"](np.array([0, 0.5, 0.75, 1.0])), [0, 0, -0.22, -0.44])


def test_points_written_out():
    written = find_curve("0.92:0.44/0.98:0/1.02:0/1.08:-0.44", VOLT_VAR)
    assert written == VOLT_VAR["ieee1547_b"]
    assert find_curve("0.92:0.44 0.98:0 1.02:0 1.08:-0.44", VOLT_VAR) == written


def test_an_unknown_voltage_gives_an_unknown_answer():
    assert np.isnan(VOLT_VAR["mapdn"](np.array([np.nan]))).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mapdm", "unknown curve 'mapdm': did you mean 'mapdn'"),
        ("1:0/0.9:1", "must ascend"),
        ("1:0/1:1", "must ascend"),
        ("1:a", "'1:a' is no point"),
        ("1:0:3", "'1:0:3' is no point"),
        ("nan:0/1:1", "finite"),
    ],
)
def test_impossible_curves_are_refused(text, message):
    with pytest.raises((InputError, UnknownNameError), match=message):
        find_curve(text, VOLT_VAR)


def test_no_points():
    with pytest.raises(InputError, match="finite points"):
        Curve(())
