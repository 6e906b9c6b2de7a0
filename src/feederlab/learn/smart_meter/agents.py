"""Agents of many households, each in a process of its own; one that dies does not stop the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feederlab.errors import InputError, ResultFileError
from feederlab.learn.extra import need
from feederlab.learn.smart_meter.household import Household
from feederlab.learn.smart_meter.lesson import Lesson

MODULE = "feederlab.learn.smart_meter.agent"
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
_POLL_S = 0.05


@dataclass(frozen=True)
class Taught:
    """An agent that came to its end.

    folder : of its `Household`.  log : `agent.Learnt.log`.  seconds : the process's whole life.
    """

    folder: Path
    log: Mapping[str, Any]
    seconds: float

    @property
    def household(self) -> Household:
        """What it has learnt."""
        return Household.load(self.folder)


@dataclass(frozen=True)
class Lost:
    """An agent without an answer, and why."""

    reason: str
    seconds: float


@dataclass(eq=False)
class _Running:
    process: subprocess.Popen[bytes]
    began: float
    said: Path


def train_agents(
    lessons: Mapping[int, Lesson],
    out: str | Path,
    *,
    jobs: int = -1,
    progress: Callable[[int, Taught | Lost], None] | None = None,
    started: Callable[[int, int], None] | None = None,
) -> dict[int, Taught | Lost]:
    """Let every household learn from its own lesson, each in a fresh interpreter of its own.

    A process is given one folder, its lesson, and gives one folder, its `Household`: there is no channel between
    agents, and none back to the readings of another meter.  They run side by side, in no order.

    Parameters
    ----------
    lessons
        By pandapower bus of the storage unit; the answer of bus b goes to the folder ``out/bus-b``, which
        ``smart_meter:policies=out`` reads.
    jobs
        Processes at a time; -1: as many as cores.
    progress
        Told of each agent that has come to its end.
    started
        Told the bus and the process id of each agent as it begins.

    Raises
    ------
    InputError
        If there is no lesson, or `jobs` is no number of processes.
    """
    need("torch", "stable_baselines3", "gymnasium", "safetensors")
    if not lessons:
        raise InputError("there is no household to learn: give at least one lesson")
    if jobs == 0 or jobs < -1:
        raise InputError(f"jobs must be a positive number, or -1 for all cores, not {jobs}")
    places, base = (os.cpu_count() or 1) if jobs == -1 else jobs, Path(out)
    waiting, running, found = list(lessons), dict[int, _Running](), dict[int, Taught | Lost]()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            while waiting or running:
                while waiting and len(running) < places:
                    bus = waiting.pop(0)
                    running[bus] = _start(lessons[bus], Path(scratch) / str(bus), household_folder(base, bus))
                    if started is not None:
                        started(bus, running[bus].process.pid)
                for bus in [b for b, one in running.items() if one.process.poll() is not None]:
                    found[bus] = _ended(running.pop(bus), household_folder(base, bus))
                    if progress is not None:
                        progress(bus, found[bus])
                time.sleep(_POLL_S)
        finally:
            for one in running.values():  # whatever broke here must leave no process behind
                one.process.kill()
                one.process.wait()
    return {bus: found[bus] for bus in lessons}


def household_folder(base: str | Path, bus: int) -> Path:
    """Return where the household at a bus is kept."""
    return Path(base) / f"bus-{bus}"


def _start(lesson: Lesson, scratch: Path, out: Path) -> _Running:
    lesson.save(scratch / "lesson")
    for old in out.glob("*") if out.is_dir() else ():  # a lost agent must not leave an older one's answer standing
        if old.name in ANSWERS:
            old.unlink()
    said = scratch / "said.txt"
    environment = {**os.environ, **dict.fromkeys(_ONE_THREAD, "1")}
    command = [sys.executable, "-m", MODULE, str(scratch / "lesson"), str(out)]
    with said.open("wb") as words:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=words, stderr=subprocess.STDOUT, env=environment
        )  # fmt: skip
    return _Running(process, time.perf_counter(), said)


def _ended(one: _Running, out: Path) -> Taught | Lost:
    seconds, code = time.perf_counter() - one.began, one.process.returncode
    if code < 0:
        return Lost(f"its process was killed ({signal.Signals(-code).name}; out of memory?)", seconds)
    if code:
        words = one.said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return Lost(words[-1] if words else f"its process ended with code {code}", seconds)
    try:
        Household.load(out)
        return Taught(out, json.loads((out / "log.json").read_text(encoding="utf-8")), seconds)
    except (OSError, ValueError, ResultFileError) as error:
        return Lost(f"its answer cannot be read: {error}", seconds)


ANSWERS = ("policy.safetensors", "voltage.safetensors", "log.json")
