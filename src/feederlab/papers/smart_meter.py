"""Households that learn from their own meters: estimation, local training, coordination, against the optimum."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from feederlab.errors import FeederlabError
from feederlab.papers.learnt import Learnt
from feederlab.papers.reproduction import How, Reproduced, Row
from feederlab.papers.smart_meter_case import AGENTS, BAND

if TYPE_CHECKING:
    from feederlab.learn.smart_meter.agents import Taught
    from feederlab.learn.smart_meter.lesson import AgentSettings
    from feederlab.papers.smart_meter_scores import Score
    from feederlab.papers.smart_meter_work import Days

SOURCE, HALF = "text", {3: 0.5, 6: 0.4}
FIGURE_NODE = "R10"
"""The node at which the paper shows its estimation errors."""
BETAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
NONE, ALONE, QP, EXACT, OPF = (
    "no control", "independent agents", "QP, polynomials, neighbours on the line", "QP, true grid",
    "multi-period OPF",
)  # fmt: skip


@dataclass(frozen=True)
class SmartMeter(Learnt):
    """Storage behind three and six meters of CIGRE's low-voltage benchmark: learn on some days, judge on others.

    days : unseen days, evenly spread over the year.  train : days of the meters' histories.
    seeds : of exploration, voltage models and training.  steps : that each household learns from.
    seed : the first of the seeds.
    quick : 2 days, 1 seed, 2,048 steps, 8 days of history and no stage E; too few to conclude anything.
    """

    name: ClassVar[str] = "smart-meter"
    citation: ClassVar[str] = (
        "Liu, Giraldo, Palensky, Vergara, Distributed reinforcement learning using local smart meter data for voltage "
        "regulation in distribution networks"
    )
    least: ClassVar[Mapping[str, int]] = {"days": 2, "train": 8, "seeds": 1, "steps": 2_048}
    most: ClassVar[Mapping[str, int]] = {"days": 12, "train": 30, "seeds": 2, "steps": 60_000}

    @property
    def settings_of_agents(self) -> AgentSettings:
        """How the households learn."""
        from feederlab.learn.smart_meter.lesson import AgentSettings

        return AgentSettings(steps=self.sizes["steps"], stages="H" if self.quick else "all", band=BAND)

    @property
    def betas(self) -> tuple[float, ...]:
        """The values of the sweep."""
        return (0.5, 1.0) if self.quick else BETAS

    def compute(self, how: How) -> Reproduced:
        from feederlab.papers import smart_meter_scores as scores

        began = time.perf_counter()
        test, _, train = (tuple(some) for some in self.chosen_days())
        errors = _errors(self, train, test, how)
        with tempfile.TemporaryDirectory() as scratch:
            base = (Path(scratch) if how.out is None else how.out) / "policies"
            taught = _teach(self, train, base, how)
            race, central = _compare_training(self, train, test, how)
            found = _live(self, base, test, how)
        share = scores.lost(central, [found[3, ALONE, seed].reward for seed in self._seeds])
        tables = {
            f"Voltages, {len(test)} unseen days": scores.voltages(found, self.betas),
            "Sweep of beta": scores.sweep(found, self.betas),
            "Estimation error on unseen days, % of the voltage": scores.estimation(errors),
            "Training": scores.training(race, taught, central, found, self.sizes["steps"]),
        }
        rows = (*_estimation_rows(errors), *_training_rows(race, share), *_voltage_rows(self, found))
        return Reproduced(
            self.name, self.citation, self.values(), rows, tables, _notes(self, race, test, train),
            time.perf_counter() - began,
        )  # fmt: skip

    @property
    def _seeds(self) -> range:
        return range(self.seed, self.seed + self.sizes["seeds"])


def _errors(study: SmartMeter, train: Days, test: Days, how: How) -> pd.DataFrame:
    """Return a row for each node, behaviour of the storage, stage and seed (`EstimationError`)."""
    from dataclasses import asdict

    from feederlab.papers.smart_meter_work import Errors

    nodes = (FIGURE_NODE,) if study.quick else (FIGURE_NODE, *AGENTS[3])
    pieces = [Errors(3, (node,), train, test, seed) for node in nodes for seed in study._seeds]
    answers = how.do("estimation", pieces)
    return pd.DataFrame([asdict(row) for part in answers for row in part])


def _teach(study: SmartMeter, train: Days, base: Path, how: How) -> dict[tuple[int, int], dict[int, Taught]]:
    """Return (agents, seed) -> bus -> what its household has learnt; goes on with what a killed run left.

    Raises
    ------
    FeederlabError
        If an agent was lost: then no row says what it seems to.
    """
    from feederlab.learn.smart_meter.agents import Lost, train_agents
    from feederlab.learn.smart_meter.lesson import Lesson
    from feederlab.papers.smart_meter_case import bus_of, smart_meter_scenario
    from feederlab.papers.smart_meter_work import Recorded, folders, left

    keys = [(agents, seed, node) for agents in AGENTS for seed in study._seeds for node in AGENTS[agents]]
    pieces = [Recorded(agents, node, train, seed) for agents, seed, node in keys]
    histories = how.do("histories", pieces)
    lessons: dict[tuple[int, int], dict[int, Lesson]] = {}
    for (agents, seed, node), history in zip(keys, histories, strict=True):
        bus = bus_of(smart_meter_scenario(agents), node)
        lessons.setdefault((agents, seed), {})[bus] = Lesson(history, study.settings_of_agents, seed)
    found: dict[tuple[int, int], dict[int, Taught]] = {}
    for (agents, seed), those in lessons.items():
        folder = folders(base, agents, seed)
        done = {bus: one for bus, it in those.items() if how.resume and (one := left(folder, bus, it)) is not None}
        rest = {bus: lesson for bus, lesson in those.items() if bus not in done}

        def tell(bus: int, _: Any) -> None:
            if how.progress is not None:
                how.progress("training", 1, len(keys))

        answers = train_agents(rest, folder, jobs=how.jobs, progress=tell) if rest else {}
        for bus, answer in answers.items():
            if isinstance(answer, Lost):
                raise FeederlabError(f"the agent at bus {bus} of {agents} was lost: {answer.reason}")
            done[bus] = answer
        found[agents, seed] = done
    return found


def _compare_training(study: SmartMeter, train: Days, test: Days, how: How) -> tuple[dict[str, float], list[Any]]:
    """Return seconds per step of every way to train, and the central trainings."""
    from feederlab.papers.smart_meter_work import Central, Race, Recorded

    history = Recorded(3, AGENTS[3][-1], train, study.seed)()
    steps, slow = (128, 128) if study.quick else (4096, 1024)
    race = Race(3, history, train, study.settings_of_agents, steps, slow)
    timed: dict[str, float] = replace(how, jobs=1).do("training times", [race])[0]
    pieces = [Central(3, train, test, study.settings_of_agents, seed) for seed in study._seeds]
    return timed, how.do("central training", pieces)


def _live(study: SmartMeter, base: Path, test: Days, how: How) -> dict[tuple[int, str, int], Score]:
    """Return (agents, row, seed) -> what it did on the unseen days."""
    from feederlab.controllers.registry import create
    from feederlab.papers.smart_meter_scores import Score
    from feederlab.papers.smart_meter_work import ClosedLoop, Polynomials, controllers, folders, gap_between

    start, length = gap_between(test)
    cases = [(agents, seed) for agents in AGENTS for seed in study._seeds]
    files = how.do("polynomials", [
        Polynomials(agents, str(folders(base, agents, seed)), start, 4 if study.quick else length,
                    2 if study.quick else 4, str(base / f"polynomials-{agents}-{seed}.json"))
        for agents, seed in cases
    ])  # fmt: skip
    keys, pieces = [], []
    for agents in AGENTS:
        for name, spec in ((NONE, "none"), (OPF, "foresight:objective=storage_use,terminal=free,storage_q=false")):
            keys.append((agents, name, study.seed))
            pieces.append(ClosedLoop(agents, create(spec), test))
    for (agents, seed), file in zip(cases, files, strict=True):
        for name, controller in controllers(str(folders(base, agents, seed)), file, study.betas).items():
            keys.append((agents, ALONE if name == "beta = 1" else name, seed))
            pieces.append(ClosedLoop(agents, controller, test))
    lived = how.do("closed loop", pieces)
    reward = study.settings_of_agents.reward
    return {key: Score.of(key[0], one, reward, BAND) for key, one in zip(keys, lived, strict=True)}


def _estimation_rows(errors: pd.DataFrame) -> list[Row]:
    rows = []
    for stage, words, claim in (("H", "after H", 4.0), ("all", "after E", 2.0)):
        for storage, how in (("explores", "while all storage moves at random"), ("rests", "while storage rests")):
            mine = errors[(errors.meter.str.endswith(FIGURE_NODE)) & (errors.storage == storage)]
            found = mine[mine.stage == stage].p95_pct.to_numpy()
            if not len(found):
                continue
            value, std = float(found.mean()), float(found.std(ddof=1)) if len(found) > 1 else math.nan
            why = "within what the paper shows" if value <= claim else "more than the paper shows"
            rows.append(Row(
                FIGURE_NODE, f"{words}, {how}", "95 % of |error|", "%", claim, "about", value, 2, std, len(found),
                f"{why} [1]",
            ))  # fmt: skip
    return rows


def _training_rows(race: Mapping[str, float], share: tuple[float, float, int]) -> list[Row]:
    rows = []
    for name, words in (("pandapower", "pandapower's power flow"), ("engine", "our power flow")):
        ratio = race["local"] / race[name]
        rows.append(Row(
            "3 agents", f"one household over central, {words}", "time per step", "", 1 / 3, "about", ratio, 2, why=(
                "of one household; all run side by side [2]" if name == "pandapower" else
                "the power flow is no longer what takes the time [2]"),
        ))  # fmt: skip
    value, std, count = share
    why = "within the paper's 30 %" if value <= 30 else "more than the paper's 30 %"
    why = "local training is the better one here" if value < 0 else why
    rows.append(Row(
        "3 agents", "local below central training", "reward on unseen days", "%", 30.0, "about", value, 0, std, count,
        f"{why} [3]",
    ))  # fmt: skip
    return rows


def _voltage_rows(study: SmartMeter, found: Mapping[tuple[int, str, int], Score]) -> list[Row]:
    from feederlab.papers.smart_meter_scores import keeping

    rows = []
    for agents in AGENTS:
        kept = keeping(found, agents, study.betas)
        for name in (NONE, ALONE, f"beta = {HALF[agents]:g}", QP, EXACT, OPF):
            runs = [score for (many, row, _), score in found.items() if (many, row) == (agents, name)]
            if not runs:
                continue
            out = np.array([score.out_of_band for score in runs], dtype=float)
            claimed = 0.0 if name.startswith(("beta", "QP", OPF)) else math.nan
            std = float(out.std(ddof=1)) if len(out) > 1 else math.nan
            rows.append(Row(
                f"{agents} agents", name, "steps out of band", f"of {runs[0].steps}", claimed,
                "band kept" if claimed == 0 else "", float(out.mean()), 1 if len(out) > 1 else 0, std, len(out),
                _why(name, float(out.mean()), claimed, 1.0 in kept),
            ))  # fmt: skip
        rows.append(Row(
            f"{agents} agents", "largest beta that keeps the band", "beta", "", HALF[agents], SOURCE,
            max(kept, default=math.nan), 1, why=f"all that do: {', '.join(f'{b:g}' for b in kept) or 'none'} [4]",
        ))  # fmt: skip
    return rows


def _why(name: str, out: float, claimed: float, alone: bool) -> str:
    """Return why a row differs; alone : whether the agents keep the band without any coordination."""
    if claimed != 0:
        return ""
    if out == 0:
        return "as in the paper"
    if name.startswith("beta"):
        return "less is done than beta = 1 does, which " + (
            "keeps the band [4]" if alone else "is not enough either [4]"
        )
    return "nodes without a unit are not in the program [5]" if name == QP else ""


def _notes(study: SmartMeter, race: Mapping[str, float], test: Days, train: Days) -> tuple[str, ...]:
    sizes = study.sizes
    each, fast = race["local"] / race["pandapower"], race["local"] / race["engine"]
    return (
        f"Models fitted on {len(train)} days on which all storage moved at random; judged on {len(test)} others, all "
        f"steps. {FIGURE_NODE} has a meter and no battery: it expects its voltage from its demand and last readings. "
        "The paper shows a figure for one profile that is lost.",
        "PPO with one copy of the environment and one thread, one training after another in one process: "
        f"{1e3 * race['local']:.1f} ms per step on a household's own estimate, {1e3 * race['engine']:.1f} ms on the "
        f"grid with our power flow, {1e3 * race['pandapower']:.1f} ms with pandapower.runpp (fewer steps); one flow "
        "in a step. "
        f"Against pandapower a household takes {each:.2f} of the central time if all learn side by side, and the three "
        f"take {3 * each:.2f} one after another. Against our power flow these are {fast:.2f} and {3 * fast:.2f}: what "
        "local training spares is then not time, but the grid model and everyone's data. To it comes the voltage "
        f"model, {race['fit']:.0f} s once.",
        f"(28) at the true voltages, all units together, agents alone against one agent for all that was trained on "
        f"the true grid; {sizes['steps']} steps each, {study.settings_of_agents.copies} copies.",
        "Largest of those betas of the sweep with which every unseen day of every seed stays within the band at all "
        "nodes. beta scales what all do alike: where they together do too much it helps, where they do too little it "
        "hurts. A household sees its own node alone: what is missed elsewhere it does not know of (column *out at "
        "units' nodes*).",
        "Polynomials of order 4 of the agents' own voltages, fitted on days of agents that no one coordinates; each "
        "agent knows its neighbours along the line, and keeps their voltages and its own in band. The program with the "
        "true grid knows all nodes.",
        "Rewards' weights, prices, margins and the profiles are lost: `RelaxedReward`, `AgentSettings` and "
        "`smart_meter_scenario` say what stands for them. Each household explores while the others' storage rests. "
        "Every day begins with storage half full. The multi-period OPF minimises storage use within the band, knows "
        "the day and the grid, and gives no reactive power; it goes to the very edge of the band, which (28) with its "
        "margins counts as outside.",
    )  # fmt: skip
