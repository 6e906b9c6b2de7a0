"""Noise inside the steps of the data: what quarter hours say about their own minutes."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np
import pandas as pd
from scipy.signal import lfilter

from feederlab.errors import InputError
from feederlab.models.arrays import FloatArray
from feederlab.models.profiles import Profile

_MINUTE, _DAY = pd.Timedelta(minutes=1), pd.Timedelta(days=1)
_HOURLY = {"sgen": pd.Timedelta(hours=1)}
"""Tables whose values are hourly, joined by lines, even in finer data: SimBench's suns are."""
_FOURTH = (1, -4, 6, -4, 1)


@dataclass(frozen=True)
class MinuteNoise:
    """Clouds and customers within the quarter hours of a profile, which interpolation leaves smooth.

    In the data's k-th step the minutes t get

        n(t) = lambda_k (sigma(t) z(t) - mean of sigma z over the step),    z(t) = phi z(t-1) + sqrt(1 - phi^2) N(0, 1),

    with ``phi = exp(-1 min / correlation)``: an AR(1) process for each element, independent of the others, since clouds
    over sites some hundred metres apart have little to do with each other from one minute to the next (Lohmann,
    Monahan, Heinemann, Atmos. Chem. Phys. 16, 6365, 2016).

    The minutes scatter about their step as the steps scatter among themselves: with the fourth difference
    ``d_k = x[k-2] - 4 x[k-1] + 6 x[k] - 4 x[k+1] + x[k+2]``, to which a smooth day contributes next to nothing and
    independent deviations of size s contribute sqrt(70) s, sigma is the mean square of d around k, rooted, over
    sqrt(70).  (For generators the differences are taken over hours, since SimBench's suns are hourly.)  So clouds are
    large under a broken sky, small under a clear or an overcast one, and there is no noise at night.

    lambda_k in [0, 1] is as large as keeps every value's sign and a generator below its table power.  So each step of
    the data keeps its energy, no sun is negative, and steps as long as the data's, or multiples, have no noise at all.
    Active and reactive power of an element share z.

    seed : of the draws; an element's minutes depend on it, the table, the element's index and the date alone.
    correlation : time constant of z (minutes).  Ours: a cloud of one to two kilometres at 10 m/s takes about three.
    """

    seed: int = 0
    correlation: float = 3.0

    def __post_init__(self) -> None:
        if self.seed < 0 or not 0 < self.correlation < np.inf:
            raise InputError(
                "the minutes' seed must not be negative, and their correlation time (minutes) must be positive: "
                f"seed={self.seed}, correlation={self.correlation}"
            )

    def of(
        self, profile: Profile, table: str, most: FloatArray, times: pd.DatetimeIndex, step: pd.Timedelta
    ) -> FloatArray:
        """Return the (len(times), n) noise of a profile's elements, averaged over steps of length `step`.

        most : (n,) largest magnitude that the noise may lead to; where the profile itself is larger, it adds nothing.
        """
        if len(profile.times) < 2:
            return np.zeros((len(times), len(profile.index)))
        length = profile.times[1] - profile.times[0]
        whole = int(length / _MINUTE)
        if whole < 2 or length % _MINUTE or _DAY % length:
            return np.zeros((len(times), len(profile.index)))
        first, days = times[0].normalize(), (times[-1] + step).ceil("D") - times[0].normalize()
        minutes = pd.date_range(first, periods=int(days / _MINUTE), freq=_MINUTE)
        profile = self.cut(profile, times, step)
        inside = (minutes >= times[0].floor(length)) & (minutes < (times[-1] + step).ceil(length))
        x = profile.sample(minutes[inside], _MINUTE)
        sigma = self._scatter(profile, table).sample(minutes[inside], _MINUTE)
        raw = (sigma * self._draws(profile, table, first, days // _DAY)[inside]).reshape(-1, whole, x.shape[1])
        noise = raw - raw.mean(axis=1, keepdims=True)
        along = noise * np.sign(x).reshape(noise.shape)
        size = np.abs(x).reshape(noise.shape)
        room = np.where(along < 0, size, np.maximum(most - size, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(along == 0, 1.0, room / np.abs(along)).min(axis=1, keepdims=True)
        share = np.where((size > 0).all(axis=1, keepdims=True), np.minimum(share, 1.0), 0.0)
        values = (share * noise).reshape(x.shape)
        begin = np.asarray((times - minutes[inside][0]) // _MINUTE)
        if step <= _MINUTE:
            return np.asarray(values[begin])
        end = int((times[-1] + step - minutes[inside][0]) // _MINUTE)
        return np.asarray(np.add.reduceat(values[:end], begin) / np.diff(begin, append=end)[:, None])

    @staticmethod
    def cut(profile: Profile, times: pd.DatetimeIndex, step: pd.Timedelta) -> Profile:
        """Return the profile with no more data than the noise at these times depends on."""
        length = profile.times[1] - profile.times[0] if len(profile.times) > 1 else step
        margin = 4 * max(length, *_HOURLY.values())
        first = max(times[0] - margin, profile.times[0])
        return profile.cut(pd.DatetimeIndex([first, max(times[-1] + margin, first)]), step)

    @staticmethod
    def _scatter(profile: Profile, table: str) -> Profile:
        """Return sigma of the shapes, as a profile of the same elements."""
        apart = max(round(_HOURLY.get(table, _MINUTE) / (profile.times[1] - profile.times[0])), 1)
        shapes, size = profile.shapes, len(profile.shapes)
        square, count = np.zeros_like(shapes), size - 4 * apart
        if count > 0:
            fourth = sum(b * shapes[j * apart : j * apart + count] for j, b in enumerate(_FOURTH))
            square[2 * apart : size - 2 * apart] = fourth**2 / sum(b * b for b in _FOURTH)
        around = np.pad(square, ((apart, apart), (0, 0)))
        mean = np.mean([around[k : k + size] for k in range(2 * apart + 1)], axis=0)
        return Profile(profile.times, np.sqrt(mean), profile.pick, np.abs(profile.scale), profile.index)

    def _draws(self, profile: Profile, table: str, first: pd.Timestamp, days: int) -> FloatArray:
        """Return the (minutes, n) values of z over `days` days; every day begins anew."""
        phi = np.exp(-1 / self.correlation)
        z = np.empty((days, 24 * 60, len(profile.index)))
        for k in range(days):
            date = (first + k * _DAY).toordinal()
            for e, index in enumerate(profile.index):
                rng = np.random.default_rng([self.seed, crc32(table.encode()), date, int(index)])
                z[k, :, e] = rng.standard_normal(24 * 60)
        z[:, 1:] *= np.sqrt(1 - phi**2)
        return np.asarray(lfilter([1.0], [1.0, -phi], z, axis=1).reshape(-1, z.shape[2]))
