"""`Scenario`: a feeder, its profiles, a voltage band and a step length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from feederlab.errors import InputError
from feederlab.models.arrays import ComplexArray, FloatArray, IntArray, frozen
from feederlab.models.devices import Elements
from feederlab.models.feeder import Feeder
from feederlab.models.minutes import MinuteNoise
from feederlab.models.objective import Objective
from feederlab.models.profiles import Key, Profile
from feederlab.models.scoring import voltage_penalty
from feederlab.models.task import ControlTask


@dataclass(frozen=True, eq=False)
class Series:
    """What happens to a feeder over a run, whoever controls it.

    times : (T,).  load_mva : (T, nodes) net consumption of everything that no controller moves (MVA).
    p_available_mw : (T, inverters) active power that the sun offers (MW).  slack_vm : (T,) (p.u.).
    """

    times: pd.DatetimeIndex
    load_mva: ComplexArray
    p_available_mw: FloatArray
    slack_vm: FloatArray

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True)
class ProfileNoise:
    """Noise on the profiles: ``x + sigma * std(x) * N(0, 1)``, drawn from `seed` for each element of a table.

    With `one_sided` the normal's absolute value is taken, as in the public code of MAPDN (P1), where
    ``sigma = 0.01``.
    """

    sigma: float
    seed: int
    one_sided: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < np.inf or self.seed < 0:
            raise InputError(
                "the profile noise and its seed must be finite numbers, not negative: "
                f"sigma={self.sigma}, seed={self.seed}"
            )


@dataclass(frozen=True, eq=False)
class Scenario:
    """A feeder over time.

    band : (2, nodes) lowest and highest voltage magnitude (p.u.).
    start, periods, step : first instant, number of steps, and their length.
    noise : on the values of every step.  minutes : inside the steps of the data, where the scenario's are shorter.
    """

    name: str
    feeder: Feeder
    profiles: Mapping[Key, Profile]
    band: FloatArray
    start: pd.Timestamp
    periods: int
    step: pd.Timedelta
    noise: ProfileNoise | None = None
    minutes: MinuteNoise | None = None
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def build(
        cls,
        feeder: Feeder,
        profiles: Mapping[Key, Profile | pd.DataFrame],
        *,
        name: str = "",
        band: tuple[float, float] | None = None,
        step: str | pd.Timedelta | None = None,
        notes: tuple[str, ...] = (),
    ) -> Scenario:
        """Join a feeder with profiles over the whole span of the data.

        Parameters
        ----------
        profiles
            ``{(table, column): Profile or DataFrame[time x element index]}``, MW and MVAr.
        band
            Voltage band (p.u.) for every node; default: ``bus.min/max_vm_pu``, 0.95-1.05 where the net gives none.
        step
            Step length; default: that of the data.

        Raises
        ------
        ValidationError
            Profiles with gaps, NaN, unequal lengths, or elements that the net does not have.
        """
        from feederlab.models.validate import assert_valid_profiles

        ready = {k: p if isinstance(p, Profile) else Profile.from_frame(p) for k, p in profiles.items()}
        assert_valid_profiles(feeder.net, ready)
        times = next(iter(ready.values())).times
        native = times[1] - times[0] if len(times) > 1 else pd.Timedelta("15min")
        scenario = cls(
            name or feeder.name, feeder, ready, band_of(feeder, band), times[0], len(times), native, notes=notes
        )
        return scenario if step is None else scenario.resample(step)

    @property
    def times(self) -> pd.DatetimeIndex:
        """(periods,) instants of the steps."""
        return pd.date_range(self.start, periods=self.periods, freq=self.step)

    @property
    def data_span(self) -> tuple[pd.Timestamp, pd.Timestamp]:
        """First instant covered by the data, and the first one after it."""
        times = next(iter(self.profiles.values())).times
        return times[0], times[-1] + (times[1] - times[0] if len(times) > 1 else self.step)

    def window(self, start: str | pd.Timestamp, periods: int) -> Scenario:
        """Return the scenario from `start` on, `periods` steps long.

        Raises
        ------
        InputError
            If the window does not lie inside the data.
        """
        first, end = self.data_span
        begin = _instant(start)
        if periods < 1:
            raise InputError(f"a window needs at least one step, not {periods}")
        if begin < first or periods > (end - begin) / self.step:
            raise InputError(
                f"{periods} steps of {self.step} from {begin} do not lie inside the data of {self.name!r}, "
                f"which covers {first} up to {end}"
            )
        return replace(self, start=begin, periods=periods)

    def days(self, start: str | pd.Timestamp, days: float = 1) -> Scenario:
        """Return `days` days from `start` on."""
        if not 0 < days < 1e6:
            raise InputError(f"the number of days must be positive, and less than a million, not {days}")
        return self.window(start, max(1, round(days * (pd.Timedelta(days=1) / self.step))))

    def parts(self, length: str | pd.Timedelta) -> list[Scenario]:
        """Return the scenario cut into windows of `length`, one after another; the last may be shorter.

        Each part draws profile noise of its own.

        Raises
        ------
        InputError
            If `length` is no whole number of steps, or the feeder has storage, whose energy no part could hand on.
        """
        wanted = _duration(length)
        if wanted < self.step or wanted % self.step != pd.Timedelta(0):
            raise InputError(f"a chunk of {length} is no whole number of steps of {self.step}; use e.g. 1D, 7D")
        if len(self.feeder.storages):
            raise InputError(
                f"{self.name!r} has storage, which carries energy from each step to the next: "
                "its window cannot be cut into chunks"
            )
        size, cut = int(wanted / self.step), []
        for first in range(0, self.periods, size):
            part = self.window(self.start + first * self.step, min(size, self.periods - first))
            if self.noise is not None and first:
                own = np.random.SeedSequence([self.noise.seed, first // size]).generate_state(1)[0]
                part = replace(part, noise=replace(self.noise, seed=int(own)))
            cut.append(part)
        return cut

    def trimmed(self) -> Scenario:
        """Return the scenario with no more data than its own window needs: light to send to another process."""
        cut = Profile.cut if self.minutes is None else self.minutes.cut
        return replace(self, profiles={key: cut(p, self.times, self.step) for key, p in self.profiles.items()})

    def resample(self, step: str | pd.Timedelta) -> Scenario:
        """Return the scenario with another step length over the same span; it must divide a day."""
        length, day = _duration(step), pd.Timedelta(days=1)
        if length < pd.Timedelta(seconds=1) or day % length != pd.Timedelta(0):
            raise InputError(
                f"a step of {step} does not divide a day, or is shorter than 1 s; use e.g. 1min, 3min, 5min, 15min, 1h"
            )
        return replace(self, step=length, periods=max(1, int(self.periods * self.step / length)))

    def with_noise(self, sigma: float, seed: int, *, one_sided: bool = False) -> Scenario:
        """Return the scenario with noisy profiles (`ProfileNoise`)."""
        return replace(self, noise=ProfileNoise(sigma, seed, one_sided))

    def with_minutes(self, seed: int = 0, correlation: float = 3.0) -> Scenario:
        """Return the scenario in steps of one minute, with noise inside the steps of the data (`MinuteNoise`)."""
        return replace(self.resample("1min"), minutes=MinuteNoise(seed, correlation))

    def with_band(self, low: float, high: float) -> Scenario:
        """Return the scenario with another voltage band (p.u.)."""
        return replace(self, band=band_of(self.feeder, (low, high)))

    def with_devices(
        self,
        *,
        inverters: Mapping[int, tuple[float, float]] | None = None,
        storages: Mapping[int, tuple[float, float]] | None = None,
        capacitors: Mapping[int, tuple[float, int]] | None = None,
        regulators: Mapping[int, tuple[int, int, float]] | None = None,
        shape: FloatArray | None = None,
        dwell_s: float = 0.0,
        tap_delay_s: float = 0.0,
    ) -> Scenario:
        """Return the scenario with more devices, on a copy of its net; window, band and profiles stay.

        Parameters
        ----------
        inverters
            bus -> (s_mva, p_mw): rating and active power; p_mw = 0 is a STATCOM.
        storages
            bus -> (p_mw, e_mwh): rate and energy; it works between 10 and 90 % of the energy, from 50 % on.
        capacitors
            bus -> (q_mvar, steps): MVAr of one step at nominal voltage, and the number of steps, all open.
        regulators
            line index -> (lowest, highest, percent): a tap changer at the line's end towards the external grid, which
            regulates the voltage at the other end; its positions around 0, and the change of ratio per position.
        shape
            (T,) relative sun on the new inverters at the instants of the data; default: p_mw throughout.
        dwell_s, tap_delay_s
            Pace of the new capacitors and regulators: shortest time between two switchings, and the time that a tap
            changer takes for one position (s).

        Raises
        ------
        InputError
            If a place does not exist in the net, or the new devices are impossible.
        """
        from feederlab.models.library.devices_rule import with_devices

        return with_devices(
            self, inverters or {}, storages or {}, capacitors or {}, regulators or {}, shape, (dwell_s, tap_delay_s)
        )

    def task(self, objective: Objective | str = "losses", *, mismatch: float = 0.0, seed: int = 0) -> ControlTask:
        """Return what a controller may know of this scenario before it runs; `Controller.prepare` takes it.

        objective : what to minimise (`Objective.parse`).  mismatch : share by which the grid model's r and x may be
        off, drawn from `seed`.
        """
        feeder, goal = self.feeder, Objective.parse(objective) if isinstance(objective, str) else objective
        return ControlTask(
            feeder=feeder.with_line_errors(mismatch, seed) if mismatch else feeder, nodes=feeder.n_nodes,
            inverters=feeder.inverters, storages=feeder.storages, capacitors=feeder.capacitors,
            tap_changers=feeder.tap_changers, band=self.band, zone=feeder.node_zone,
            step_s=self.step.total_seconds(), objective=goal, voltage_penalty=voltage_penalty(goal, feeder),
        )  # fmt: skip

    def series(self) -> Series:
        """Sample the profiles at the scenario's steps.

        Table values stand where no profile is given.  `scaling` multiplies both, as in pandapower.
        """
        feeder, count = self.feeder, self.periods
        load = np.zeros((count, feeder.n_nodes), dtype=np.complex128)
        for sign, table, elements in (
            (1, "load", feeder.loads), (1, "storage", feeder.fixed_storages), (-1, "sgen", feeder.sgens),
        ):  # fmt: skip
            power = self._column(table, "p_mw", elements) + 1j * self._column(table, "q_mvar", elements)
            on = elements.node >= 0
            _add_columns(load, elements.node[on], sign * power[:, on])
        on = feeder.inverters.node >= 0
        available = np.where(on, np.maximum(self._column("sgen", "p_mw", feeder.inverters), 0.0), 0.0)
        slack = np.full(count, feeder.slack_vm)
        if ("ext_grid", "vm_pu") in self.profiles:
            slack = self.profiles["ext_grid", "vm_pu"].sample(self.times, self.step)[:, 0]
        for values in (load, available, slack):  # controllers are shown parts of them
            values.setflags(write=False)
        return Series(self.times, load, available, slack)

    def _column(self, table: str, column: str, elements: Elements) -> FloatArray:
        constant = elements.p_mw if column == "p_mw" else elements.q_mvar
        values = np.repeat(constant[None, :], self.periods, axis=0)
        profile = self.profiles.get((table, column))
        if profile is not None:
            position = {int(i): k for k, i in enumerate(profile.index)}
            mine = [(k, position[int(i)]) for k, i in enumerate(elements.index) if int(i) in position]
            if mine:
                here, there = np.array(mine).T
                values[:, here] = profile.sample(self.times, self.step)[:, there]
                if self.minutes is not None:
                    most = np.full(len(profile.index), np.inf)
                    if table == "sgen":
                        most[there] = np.abs(constant[here])
                    values[:, here] += self.minutes.of(profile, table, most, self.times, self.step)[:, there]
        return self._noisy(values * elements.scaling, table, column, elements.index)

    def _noisy(self, values: FloatArray, table: str, column: str, index: IntArray) -> FloatArray:
        if self.noise is None:
            return values
        rng = np.random.default_rng([self.noise.seed, sum(map(ord, table + column))])
        every = self.feeder.net[table].index.sort_values()  # one draw for all: an element keeps its own, whoever asks
        draw = rng.standard_normal((len(every), len(values)))[every.get_indexer(index)].T
        draw = np.abs(draw) if self.noise.one_sided else draw
        noisy: FloatArray = values + self.noise.sigma * values.std(axis=0) * draw
        return noisy


def band_of(feeder: Feeder, band: tuple[float, float] | None) -> FloatArray:
    """Return the (2, nodes) band: `band`, else the net's own limits, else 0.95-1.05."""
    if band is not None:
        lowest, highest = checked_band(band)
        return frozen(np.repeat([[lowest], [highest]], feeder.n_nodes, axis=1))
    low = np.where(np.isnan(feeder.vm_min), 0.95, feeder.vm_min)
    high = np.where(np.isnan(feeder.vm_max), 1.05, feeder.vm_max)
    return frozen([low, high])


def checked_band(band: tuple[float, float]) -> tuple[float, float]:
    """Return `band` if it is one, in p.u.; raises `InputError` otherwise."""
    lowest, highest = band
    if not lowest < highest:
        raise InputError(
            f"the voltage band {lowest},{highest} is empty or inverted; give LO,HI in p.u., e.g. 0.95,1.05"
        )
    if not 0.5 <= lowest < highest <= 2:
        raise InputError(
            f"the voltage band {lowest},{highest} does not lie in 0.5-2; give LO,HI in p.u., not in %, e.g. 0.95,1.05"
        )
    return band


def _instant(start: str | pd.Timestamp) -> pd.Timestamp:
    begin: pd.Timestamp | None
    try:
        begin = pd.Timestamp(start)
    except (ValueError, OverflowError):
        begin = None
    if begin is None or pd.isna(begin):
        raise InputError(f"{str(start)!r} is no date; write e.g. 2016-06-21 or 2016-06-21T12:00")
    if begin.tz is not None:
        raise InputError(f"the start {start} has a time zone; give the data's time without one, e.g. 2016-06-21T12:00")
    return begin


def _duration(step: str | pd.Timedelta) -> pd.Timedelta:
    hint = "write e.g. 3min, 15min, 1h"
    if isinstance(step, str) and step.strip().replace(".", "", 1).isdecimal():
        raise InputError(f"step {step!r} has no unit; {hint}")
    length: pd.Timedelta | None
    try:
        length = pd.Timedelta(step)
    except (ValueError, OverflowError):
        length = None
    if length is None or pd.isna(length):
        raise InputError(f"step {str(step)!r} is no duration; {hint}")
    return length


def _add_columns(total: ComplexArray, node: IntArray, values: ComplexArray) -> None:
    """Add `values` (T, n) onto the columns `node` of `total`; elements may share a node."""
    import scipy.sparse as sp

    gather = sp.csr_matrix((np.ones(len(node)), (np.arange(len(node)), node)), shape=(len(node), total.shape[1]))
    total += values @ gather
