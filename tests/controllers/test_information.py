from dataclasses import replace

import numpy as np
import pytest

from feederlab.controllers.base import GLOBAL, LOCAL, ZONE, Information, Scope
from feederlab.controllers.information import mask, restrict_task, visible_nodes
from feederlab.controllers.none import NoControl
from feederlab.testing import Case, example_scenario


@pytest.fixture(scope="module")
def scenario():
    return example_scenario()


@pytest.fixture(scope="module")
def task(scenario):
    return scenario.task()


def test_local_sees_the_devices_own_nodes(task):
    own = {*task.inverters.node, *task.storages.node, *task.capacitors.node, *task.tap_changers.node}
    assert set(np.flatnonzero(visible_nodes(LOCAL, task))) == own


def test_zone_sees_the_zones_that_hold_devices(task):
    zone = np.array(task.zone)
    south_only = replace(
        task,
        inverters=replace(task.inverters, node=np.where(zone[task.inverters.node] == "south", task.inverters.node, -1)),
        storages=replace(task.storages, node=np.full(2, -1)),
        capacitors=replace(task.capacitors, node=np.full(3, -1)),
        tap_changers=replace(task.tap_changers, node=np.full(1, -1)),
    )
    np.testing.assert_array_equal(visible_nodes(ZONE, south_only), zone == "south")


def test_a_device_outside_every_zone_sees_itself_only(task):
    bare = replace(task, zone=("",) * task.nodes)
    np.testing.assert_array_equal(visible_nodes(ZONE, bare), visible_nodes(LOCAL, task))


def test_global_sees_everything_and_nothing_is_hidden(scenario, task):
    seen = visible_nodes(GLOBAL, task)
    assert seen.all()
    measurement = Case(NoControl(), scenario, 1e-6, 0).measurements[0]
    assert mask(GLOBAL, measurement, seen) is measurement


def test_the_mask_hides_nodes_and_the_slack_but_no_device(scenario, task):
    measurement = Case(NoControl(), scenario, 1e-6, 0).measurements[0]
    seen = visible_nodes(LOCAL, task)
    hidden = mask(LOCAL, measurement, seen)
    for name in ("vm", "load_p_mw", "load_q_mvar"):
        assert np.isnan(getattr(hidden, name)[~seen]).all()
        np.testing.assert_array_equal(getattr(hidden, name)[seen], getattr(measurement, name)[seen])
    assert np.isnan(hidden.slack_vm)
    np.testing.assert_array_equal(hidden.q_mvar, measurement.q_mvar)
    assert np.isfinite(measurement.vm).all()


def test_only_who_declares_it_gets_the_grid_and_the_forecast(task):
    full = replace(task, forecast=lambda time, periods: None)
    assert restrict_task(LOCAL, full).feeder is None
    assert restrict_task(ZONE, full).feeder is task.feeder
    assert restrict_task(GLOBAL, full).forecast is None
    assert restrict_task(Information(Scope.LOCAL, forecast=True), full).forecast is full.forecast
    with pytest.raises(LookupError, match="declare sees = GLOBAL"):
        restrict_task(LOCAL, full).grid()


def test_a_wrapper_sees_the_union_of_its_parts():
    assert LOCAL.union(ZONE) == ZONE
    assert GLOBAL.union(LOCAL) == GLOBAL
    assert LOCAL.union(Information(Scope.LOCAL, forecast=True)) == Information(Scope.LOCAL, forecast=True)
    assert str(Information(Scope.GLOBAL, forecast=True)) == "global+forecast"


@pytest.mark.parametrize("sees", [LOCAL, ZONE])
def test_the_slack_stays_hidden_where_every_node_has_a_device(scenario, task, sees):
    measurement = Case(NoControl(), scenario, 1e-6, 0).measurements[0]
    hidden = mask(sees, measurement, np.ones(task.nodes, dtype=bool))
    assert np.isnan(hidden.slack_vm)
    np.testing.assert_array_equal(hidden.vm, measurement.vm)
