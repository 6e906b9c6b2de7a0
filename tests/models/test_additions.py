"""Devices written as text."""

from __future__ import annotations

import pytest

from feederlab.errors import InputError, UnknownNameError
from feederlab.models.additions import FORMS, read_additions
from feederlab.testing import example_scenario


def test_they_are_what_with_devices_takes():
    texts = ["storage=5:0.5:2", "storage=7:0.1:0.2", "capacitor=29:0.3:2", "regulator=4:-8:8:1.25", "inverter=9:0.6:0"]
    assert read_additions(texts) == {
        "storages": {5: (0.5, 2.0), 7: (0.1, 0.2)}, "capacitors": {29: (0.3, 2)}, "regulators": {4: (-8, 8, 1.25)},
        "inverters": {9: (0.6, 0.0)},
    }  # fmt: skip
    before, after = example_scenario().feeder, example_scenario().with_devices(**read_additions(texts)).feeder
    for kind, more in (("storages", 2), ("capacitors", 1), ("tap_changers", 1), ("inverters", 1)):
        assert len(getattr(after, kind)) == len(getattr(before, kind)) + more
    assert after.tap_changers.rise_pu[-1] == pytest.approx(-0.0125)


@pytest.mark.parametrize(("texts", "error", "message"), [
    (["battery=5:1:1"], UnknownNameError, "unknown device 'battery'"),
    (["storage=5:1"], InputError, r"write storage=BUS:P_MW:E_MWH, e.g. storage=17:0.5:2"),
    (["capacitor=5:0.3:1.5"], InputError, "write capacitor=BUS:Q_MVAR:STEPS"),
    (["regulator=0:-8:8:one"], InputError, "write regulator=LINE:LOWEST:HIGHEST:PERCENT"),
    (["storage=5:1:1", "storage=5:2:2"], InputError, "there is a storage at bus 5 already"),
])  # fmt: skip
def test_what_is_no_device(texts, error, message):
    with pytest.raises(error, match=message):
        read_additions(texts)


def test_every_kind_has_an_example_that_reads():
    from feederlab.models.additions import _EXAMPLES

    assert _EXAMPLES.keys() == FORMS.keys()
    assert read_additions(list(_EXAMPLES.values())).keys() == {form[0] for form in FORMS.values()}
