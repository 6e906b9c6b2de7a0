"""Two-ports seen from the other side, and several in parallel, are the same circuit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feederlab.models.branches import TwoPort, merge_parallel

_value = st.floats(1e-3, 1.0)
_signed = st.floats(-0.5, 0.5).map(lambda x: round(x, 6))


@st.composite
def two_ports(draw, count, shift=None):
    def column(strategy):
        return np.array([draw(strategy) for _ in range(count)])

    return TwoPort(
        r=column(_value), x=column(_value), g_f=column(_signed), b_f=column(_signed), g_t=column(_signed),
        b_t=column(_signed), ratio=column(st.floats(0.8, 1.25)),
        shift_rad=column(st.floats(-3.0, 3.0)) if shift is None else np.full(count, shift),
    )  # fmt: skip


def matrix(port: TwoPort) -> np.ndarray:
    """Return (n, 2, 2) admittance matrices."""
    yff, yft, ytf, ytt = port.admittances()
    return np.array([[yff, yft], [ytf, ytt]]).transpose(2, 0, 1)


@settings(derandomize=True)
@given(two_ports(3))
def test_reversed_is_the_same_circuit(port):
    rows = np.array([True, False, True])
    flipped = matrix(port.reversed(rows))
    assert np.allclose(flipped[rows], matrix(port)[rows][:, ::-1, ::-1], rtol=1e-12, atol=1e-12)
    assert np.array_equal(flipped[~rows], matrix(port)[~rows])
    again = port.reversed(rows).reversed(rows)
    assert np.allclose(matrix(again), matrix(port), rtol=1e-12, atol=1e-12)


@settings(derandomize=True)
@given(two_ports(5, shift=0.3), st.permutations([0, 0, 1, 1, 2]))
def test_merged_admittances_add(port, group):
    group = np.array(group)
    merged = matrix(merge_parallel(port, group, 3))
    for k in range(3):
        assert np.allclose(merged[k], matrix(port)[group == k].sum(axis=0), rtol=1e-10, atol=1e-10)


def test_different_shifts_do_not_merge():
    one, zero = np.ones(2), np.zeros(2)
    port = TwoPort(one, one, zero, zero, zero, zero, one, np.array([0.0, 0.5]))
    with pytest.raises(ValueError, match="different phase shifts"):
        merge_parallel(port, np.array([0, 0]), 1)


def test_admittances_by_hand():
    """A line of z = 0.1 + 0.2j and total charging 0.02; a transformer of ratio 1.05 and shift 30 degrees."""
    port = TwoPort(*(np.array([v]) for v in (0.1, 0.2, 0.0, 0.01, 0.0, 0.01, 1.05, np.pi / 6)))
    ys, t = 1 / (0.1 + 0.2j), 1.05 * np.exp(1j * np.pi / 6)
    expected = [[(ys + 0.01j) / 1.05**2, -ys / np.conj(t)], [-ys / t, ys + 0.01j]]
    assert np.allclose(matrix(port)[0], expected, rtol=1e-14)


def test_put_and_take():
    port = TwoPort(*(np.arange(3.0) + k for k in range(8)))
    changed = port.put(np.array([1]), port.take(np.array([2])))
    assert changed.r.tolist() == [0.0, 2.0, 2.0]
    assert port.r.tolist() == [0.0, 1.0, 2.0]
