"""The fitted predictor: a polynomial of own and neighbours' actions and voltages, learnt from recorded steps.

    v_i(a) - v~_i = F_i(a - a~, |u~|),

F_i a polynomial of the actions' changes and of the voltage magnitudes measured where the actions stand, of its own
neighbourhood only: F_v of (36) in Liu, Giraldo, Palensky and Vergara.  It is saved as JSON: exponents follow from the
order, coefficients are numbers, and nothing is run when it is read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from feederlab.atomic import write_text
from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray, IntArray
from feederlab.models.predictors.base import Predicted

MAX_ORDER, MAX_TERMS = 4, 5000
_ALPHAS = np.logspace(-9, 1, 11)


@dataclass(frozen=True, eq=False)
class VoltagePolynomial:
    """The polynomials of one neighbourhood.

    actions : names of the k actions (`Actions.names`).  meters : the m buses whose voltages go in.
    buses : the n buses whose voltages come out.  order : of the polynomials.
    centre, scale : (k + m,) of the inputs, actions (MW, MVAr) before voltages (p.u.).
    coefficients : (terms, n) of the monomials of the scaled inputs, in the order of `exponents`; result in p.u.
    """

    actions: tuple[str, ...]
    meters: tuple[int, ...]
    buses: tuple[int, ...]
    order: int
    centre: FloatArray
    scale: FloatArray
    coefficients: FloatArray

    def at(self, metered: FloatArray, vm: FloatArray, present: FloatArray) -> PolynomialPredictor:
        """Return the predictor at one measurement.

        metered, vm : (m,), (n,) magnitudes (p.u.) at the meters and buses, taken under the actions `present` (k,).
        """
        return PolynomialPredictor(self, metered, vm, present, exponents(len(self.centre), self.order))


@dataclass(frozen=True, eq=False)
class PolynomialPredictor:
    """A `VoltagePolynomial` at one measurement; powers : (terms, inputs) exponents."""

    polynomial: VoltagePolynomial
    metered: FloatArray
    vm: FloatArray
    present: FloatArray
    powers: IntArray

    def __call__(self, actions: FloatArray) -> Predicted:
        poly, k = self.polynomial, len(actions)
        x = (np.concatenate([actions - self.present, self.metered]) - poly.centre) / poly.scale
        step = poly.scale[:k]
        v = self.vm**2 + _terms(x, self.powers) @ poly.coefficients
        slopes = np.stack(
            [poly.coefficients.T @ _terms(x, self.powers, (j,)) / step[j] for j in range(k)], axis=1
        )  # fmt: skip

        def curvature(multipliers: FloatArray) -> FloatArray:
            weight, h = poly.coefficients @ multipliers, np.empty((k, k))
            for i in range(k):
                for j in range(i + 1):
                    h[i, j] = h[j, i] = weight @ _terms(x, self.powers, (i, j)) / (step[i] * step[j])
            return h

        return Predicted(v, slopes, curvature)


@dataclass(frozen=True, eq=False)
class VoltagePolynomials:
    """The polynomials of all neighbourhoods of a feeder."""

    feeder: str
    neighbours: str
    groups: tuple[VoltagePolynomial, ...]

    def save(self, path: str | Path) -> Path:
        """Write them as JSON."""
        groups = [
            {
                "actions": list(g.actions), "meters": list(g.meters), "buses": list(g.buses), "order": g.order,
                "centre": g.centre.tolist(), "scale": g.scale.tolist(), "coefficients": g.coefficients.tolist(),
            }
            for g in self.groups
        ]  # fmt: skip
        content = {"kind": _KIND, "feeder": self.feeder, "neighbours": self.neighbours, "groups": groups}
        return write_text(Path(path), json.dumps(content, indent=1))

    @classmethod
    def load(cls, path: str | Path) -> VoltagePolynomials:
        """Read what `save` wrote.

        Raises
        ------
        InputError
            If there is no such file, or it holds something else.
        """
        try:
            content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
            if content["kind"] != _KIND:
                raise ValueError(f"its kind is {content['kind']!r}")
            groups = tuple(_read(g) for g in content["groups"])
            return cls(str(content["feeder"]), str(content["neighbours"]), groups)
        except OSError as error:
            raise InputError(
                f"cannot read the polynomials {str(path)!r}: {error.strerror}; fit them with fit_polynomial"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{str(path)!r} does not hold voltage polynomials ({error}); write them with fit_polynomial(...).save"
            ) from None


_KIND = "feederlab voltage polynomials 1"


def fit_group(
    actions: tuple[str, ...], meters: tuple[int, ...], buses: tuple[int, ...], order: int, change: FloatArray,
    metered: FloatArray, before: FloatArray, after: FloatArray,
) -> VoltagePolynomial:  # fmt: skip
    """Fit the polynomials of one neighbourhood by ridge regression, its weight chosen by leave-one-out.

    change : (T, k) change of the actions (MW, MVAr).  metered : (T, m) voltage magnitudes at the meters before it.
    before, after : (T, n) at the buses (p.u.).

    Raises
    ------
    InputError
        For an order outside 1 to 4, or one that takes more terms than `MAX_TERMS` or there are steps.
    """
    from sklearn.linear_model import RidgeCV

    if not 1 <= order <= MAX_ORDER:
        raise InputError(f"the order of the polynomials must be 1 to {MAX_ORDER}, not {order}")
    inputs = np.hstack([change, metered])
    powers = exponents(inputs.shape[1], order)
    if len(powers) > min(MAX_TERMS, len(inputs)):
        raise InputError(
            f"polynomials of order {order} in {inputs.shape[1]} quantities have {len(powers)} terms, more than "
            f"{'the limit of ' + str(MAX_TERMS) if len(powers) > MAX_TERMS else f'the {len(inputs)} steps to fit'}; "
            "take a lower order, fewer neighbours or more days"
        )
    centre, spread = inputs.mean(axis=0), inputs.std(axis=0)
    centre[: change.shape[1]] = 0.0  # no change of actions is where predictions must be best
    scale = np.where(spread > 1e-9, spread, 1.0)
    rise = after**2 - before**2
    unit = float(rise.std()) or 1.0
    model = RidgeCV(alphas=_ALPHAS, fit_intercept=False)
    model.fit(_terms((inputs - centre) / scale, powers), rise / unit)
    coefficients = np.reshape(model.coef_, (len(buses), len(powers))).T * unit
    return VoltagePolynomial(actions, meters, buses, order, centre, scale, coefficients)


def exponents(inputs: int, order: int) -> IntArray:
    """Return the (terms, inputs) exponents of all monomials up to `order`, in scikit-learn's order."""
    from sklearn.preprocessing import PolynomialFeatures

    features = PolynomialFeatures(order).fit(np.zeros((1, inputs)))
    return np.asarray(features.powers_, dtype=np.int64)


def _terms(x: FloatArray, powers: IntArray, by: tuple[int, ...] = ()) -> FloatArray:
    """Return the monomials at x (..., inputs), derived by the inputs named in `by`; (..., terms)."""
    factor = np.ones(len(powers))
    left = powers.copy()
    for j in by:
        factor = factor * left[:, j]
        left[:, j] = np.maximum(left[:, j] - 1, 0)
    product = np.broadcast_to(factor, (*x.shape[:-1], len(powers))).copy()
    for j in range(x.shape[-1]):
        product *= (x[..., j, None] ** np.arange(left[:, j].max() + 1))[..., left[:, j]]
    return product


def _read(group: dict[str, Any]) -> VoltagePolynomial:
    centre, scale, coefficients = (np.asarray(group[n], dtype=float) for n in ("centre", "scale", "coefficients"))
    made = VoltagePolynomial(
        tuple(map(str, group["actions"])), tuple(map(int, group["meters"])), tuple(map(int, group["buses"])),
        int(group["order"]), centre, scale, coefficients,
    )  # fmt: skip
    inputs = len(made.actions) + len(made.meters)
    if not 1 <= made.order <= MAX_ORDER or centre.shape != (inputs,) or scale.shape != (inputs,):
        raise ValueError("order, centre or scale do not fit the actions and meters")
    if coefficients.shape != (len(exponents(inputs, made.order)), len(made.buses)):
        raise ValueError("the number of coefficients does not fit the order")
    if not (np.isfinite(centre).all() and (scale > 0).all() and np.isfinite(coefficients).all()):
        raise ValueError("coefficients are not finite, or a scale is not positive")
    return made
