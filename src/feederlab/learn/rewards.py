"""Rewards: a weighted sum of named costs of a step, with the published voltage barriers among them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from feederlab.errors import InputError, UnknownNameError
from feederlab.metrics import BAND_TOLERANCE, V_REF
from feederlab.models.arrays import BoolArray, FloatArray

_BOWL_HALF, _BOWL_SPREAD = 0.05, 0.1  # p.u., P1's constants
_PLUS = re.compile(r"(?<![0-9.][eE])\+")  # the plus between two terms, not that of 1e+3


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a step came to, or many of them: all that a reward may depend on.

    Only `vm` is always read; the rest is needed by the terms that name it (`Reward.needs`), None is "not at hand".

    vm : (..., nodes) voltage magnitude (p.u.); a row with a NaN is a power flow without solution.
    band : (2, nodes) lowest and highest magnitude (p.u.).
    q_mvar : (..., inverters) reactive power of the inverters (MVAr).
    losses_mw : (...) active losses of all lines and transformers (MW).
    curtailed_mw : (...) available minus injected active power of all inverters (MW).
    moves : (...) positions by which taps moved, and steps that capacitor banks switched.
    storage_mw : (...) sum of |p| of the storage units (MW).
    slack : the node whose voltage is given, and no one's to keep.
    """

    vm: FloatArray
    band: FloatArray | None = None
    q_mvar: FloatArray | None = None
    losses_mw: FloatArray | float | None = None
    curtailed_mw: FloatArray | float | None = None
    moves: FloatArray | float | None = None
    storage_mw: FloatArray | float | None = None
    slack: int = 0


@dataclass(frozen=True)
class Term:
    """A cost that a reward may count.

    about : the formula, d = vm - 1 and [x]+ = max(0, x).
    reads : fields of `Outcome` besides vm.
    of : gives the cost, (...); what comes of an unsolved power flow is no matter.
    """

    name: str
    unit: str
    about: str
    source: str
    reads: tuple[str, ...]
    of: Callable[[Outcome], FloatArray]


def _l1(of: Outcome) -> FloatArray:
    return np.asarray(np.abs(of.vm - V_REF).mean(axis=-1))


def _l2(of: Outcome) -> FloatArray:
    return np.asarray(((of.vm - V_REF) ** 2).mean(axis=-1))


def _bowl(of: Outcome) -> FloatArray:
    d = np.abs(of.vm - V_REF)
    density = np.exp(-0.5 * (d / _BOWL_SPREAD) ** 2) / (math.sqrt(2 * math.pi) * _BOWL_SPREAD)
    return np.asarray(np.where(d > _BOWL_HALF, 2 * d - 0.095, 0.04 - 0.01 * density).mean(axis=-1))


def _courant_beltrami(of: Outcome) -> FloatArray:
    low, high = _given(of, "band")
    outside = np.maximum(of.vm - high, 0.0) + np.maximum(low - of.vm, 0.0)  # never both
    return np.asarray((outside**2).mean(axis=-1))


def _q_loss(of: Outcome) -> FloatArray:
    q = np.abs(_given(of, "q_mvar"))
    return np.asarray(q.sum(axis=-1) / max(q.shape[-1], 1))


def _outside(of: Outcome) -> FloatArray:
    v, (low, high) = of.vm**2, _given(of, "band") ** 2
    outside = np.maximum(v - high, 0.0) + np.maximum(low - v, 0.0)
    outside[..., of.slack] = 0.0
    return np.asarray(outside.sum(axis=-1))


def _is_out(of: Outcome) -> BoolArray:
    low, high = _given(of, "band")
    out = (of.vm < low - BAND_TOLERANCE) | (of.vm > high + BAND_TOLERANCE)
    out[..., of.slack] = False
    return np.asarray(out)


def _given(of: Outcome, field: str) -> FloatArray:
    value = getattr(of, field)
    if value is None:
        raise InputError(f"the reward needs {field!r}, which the outcome does not give: set Outcome.{field}")
    return np.asarray(value, dtype=float)


_P1, _CODE, _OWN = "P1, text and code", "P1, code", "feederlab"

_ALL = (
    Term("l1", "p.u.", "mean over the nodes of |d|", _P1, (), _l1),
    Term("l2", "p.u.²", "mean over the nodes of d²", "P1, text", (), _l2),
    Term("bowl", "1", "mean over the nodes of 2|d| - 0.095 where |d| > 0.05, else 0.04 - 0.01 N(d; 0, 0.1)", _P1, (),
         _bowl),
    Term("courant_beltrami", "p.u.²", "mean over the nodes of ([vm - high]+)² + ([low - vm]+)²", _CODE, ("band",),
         _courant_beltrami),
    Term("q_loss", "MVAr", "mean over the inverters of |q|", _P1, ("q_mvar",), _q_loss),
    Term("losses", "MW", "active losses of all lines and transformers", _OWN, ("losses_mw",),
         lambda of: _given(of, "losses_mw")),
    Term("outside", "p.u.²", "sum over all nodes but the slack of [vm² - high²]+ + [low² - vm²]+", _OWN, ("band",),
         _outside),
    Term("out_of_band", "1", "share of the nodes that are out of band; the slack never is", "P1, test metric",
         ("band",), lambda of: np.asarray(_is_out(of).mean(axis=-1))),
    Term("any_out_of_band", "1", "1 if any node but the slack is out of band, else 0", "P1, 1 - CR", ("band",),
         lambda of: _is_out(of).any(axis=-1).astype(float)),
    Term("curtailment", "MW", "available minus injected active power of the inverters", _OWN, ("curtailed_mw",),
         lambda of: _given(of, "curtailed_mw")),
    Term("switching", "1", "positions by which taps moved, and steps that capacitor banks switched", _OWN, ("moves",),
         lambda of: _given(of, "moves")),
    Term("storage", "MW", "sum over the storage units of |p|", _OWN, ("storage_mw",),
         lambda of: _given(of, "storage_mw")),
)  # fmt: skip
TERMS: Mapping[str, Term] = MappingProxyType({term.name: term for term in _ALL})
BARRIERS = ("l1", "l2", "bowl", "courant_beltrami")

_ALPHA = ("q_loss", 0.1)
PRESETS: Mapping[str, tuple[tuple[str, float], ...]] = MappingProxyType(
    {
        "mapdn_l1": (("l1", 1.0), _ALPHA),
        "mapdn_l2": (("l2", 2.0), _ALPHA),  # the code's: its l2 is twice the text's
        "mapdn_bowl": (("bowl", 1.0), _ALPHA),
        "mapdn_courant_beltrami": (("courant_beltrami", 1.0), _ALPHA),
    }
)
"""The rewards of P1 as its public code computes them; the published results come from that code."""


@dataclass(frozen=True)
class Reward:
    """The reward of a step, ``r = -sum_k w_k c_k``: weights times the costs of `TERMS`.

    The reward of a step whose power flow has no solution is NaN, whatever its terms are: an environment must say what
    that is worth.

    weights : (term, weight) pairs, weights non-negative; terms with weight 0 are not computed.

    Raises
    ------
    UnknownNameError, InputError
        For an unknown term, one that is named twice, a weight that is negative or no number, or no positive weight.

    References
    ----------
    P1: Wang, Xu, Gu, Song, Green, "Multi-agent reinforcement learning for active voltage control on power distribution
    networks", NeurIPS 2021, and its public code.  Both average over all buses, the slack included; q is in MVAr.  On
    P1's feeders every bus is a node; elsewhere, buses that closed switches join count once.
    """

    weights: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        for name, weight in self.weights:
            if name not in TERMS:
                raise UnknownNameError("term of a reward", name, [*TERMS, *PRESETS])
            if not 0 <= weight < math.inf:
                raise InputError(
                    f"the weight of {name!r} in a reward must be a non-negative number, not {weight}: "
                    "each term is a cost, and the reward is minus their sum"
                )
        names = [name for name, _ in self.weights]
        twice = [name for name in TERMS if names.count(name) > 1]
        if twice:
            raise InputError(f"the reward {self} names {twice[0]!r} twice; give each term once, with its weight")
        if not any(weight > 0 for _, weight in self.weights):
            raise InputError("the reward has no term with a positive weight")

    @classmethod
    def parse(cls, text: str) -> Reward:
        """Read ``"l1 + 0.1*q_loss"``, ``"l1+q_loss=0.1"``, a preset, or a sum with presets in it.

        Raises
        ------
        UnknownNameError, InputError
            As the class itself, and for a weight that is no number.
        """
        pairs: list[tuple[str, float]] = []
        for part in _PLUS.split(text):
            if not part.strip():
                raise InputError(f"reward {text!r} has an empty term; write a sum of terms as in 'l1 + 0.1*q_loss'")
            name, weight = _pair(text, part.strip())
            pairs += [(term, weight * own) for term, own in PRESETS.get(name, ((name, 1.0),))]
        return cls(tuple(pairs))

    def needs(self, term: str) -> bool:
        """Return whether a term takes part: what no term needs need not be computed, e.g. ``needs("losses")``.

        Raises
        ------
        UnknownNameError
            If there is no such term.
        """
        if term not in TERMS:
            raise UnknownNameError("term of a reward", term, list(TERMS))
        return dict(self.weights).get(term, 0.0) > 0

    def costs(self, outcome: Outcome) -> dict[str, FloatArray]:
        """Return the cost c_k, (...), of each term that takes part, not weighted; NaN without solution.

        Raises
        ------
        InputError
            If the outcome lacks what a term needs.
        """
        unsolved = 0.0 * outcome.vm.sum(axis=-1)  # 0, or NaN
        return {name: TERMS[name].of(outcome) + unsolved for name, weight in self.weights if weight > 0}

    def __call__(self, outcome: Outcome) -> FloatArray:
        """Return the reward, (...); NaN without solution.

        Raises
        ------
        InputError
            If the outcome lacks what a term needs.
        """
        total = 0.0 * outcome.vm.sum(axis=-1)  # 0, or NaN
        for name, weight in self.weights:
            if weight > 0:
                total = total - weight * TERMS[name].of(outcome)
        return np.asarray(total)

    def __str__(self) -> str:
        return " + ".join(name if weight == 1 else f"{_number(weight)}*{name}" for name, weight in self.weights)


def _pair(text: str, part: str) -> tuple[str, float]:
    """Return name and weight of ``name``, ``weight*name`` or ``name=weight``."""
    if "*" in part:
        weight, _, name = part.partition("*")
    elif "=" in part:
        name, _, weight = part.partition("=")
    else:
        name, weight = part, "1"
    try:
        return name.strip(), float(weight)
    except ValueError:
        raise InputError(
            f"reward {text!r}: {weight.strip()!r} is no number; write terms as in 'l1 + 0.1*q_loss'"
        ) from None


def _number(weight: float) -> str:
    """Return the shortest text that reads as the same number."""
    short = f"{weight:g}"
    return short if float(short) == weight else repr(float(weight))
