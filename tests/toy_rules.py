"""Functions that `CallablePolicy` takes as controllers; subprocesses import them by name."""

from __future__ import annotations

import numpy as np


def droop(view):
    """Q(V) with local scope, in MVAr."""
    return -view.q_max_mvar * min(max((view.vm - 1.0) / 0.05, -1.0), 1.0) if view.vm == view.vm else 0.0


def leaning(row):
    """An action from one row of an observation; its first entry is the own voltage, from 1 p.u. in steps of 0.05."""
    return -0.5 * float(np.tanh(row).sum() - np.tanh(row[-6:]).sum())


def leaning_everywhere(observation):
    """Six actions from the observation of everything."""
    return np.tanh(0.1 * observation.sum() + np.arange(6))


def zone_mean(view):
    """Q with zone scope: against the zone's mean voltage, by the own headroom."""
    vm = view.vm[np.isfinite(view.vm)]
    return -5.0 * view.q_max_mvar[view.own] * float(np.clip(vm.mean() - 1.0 if len(vm) else 0.0, -0.2, 0.2))


def to_the_mean(view):
    """Q with global scope: each against the mean voltage of all."""
    return -2.0 * view.q_max_mvar * np.clip(np.nanmean(np.append(view.vm, 1.0)) - 1.0, -0.3, 0.3)
