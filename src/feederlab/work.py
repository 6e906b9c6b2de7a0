"""Does independent pieces of work: here, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from feederlab.errors import InputError, MissingExtraError, NotRadialError, UnknownNameError

BACKENDS = ("loky", "ray")
_RETRIES = 3  # how often Ray starts a piece of work again whose worker died

Steps = Callable[[int], None]
"""Called with the number of steps done since the last call."""


class Piece(Protocol):
    """A piece of work that can be sent to another process."""

    def __call__(self, done: Steps | None = None) -> Any: ...


@dataclass(frozen=True)
class Refusal:
    """Why a piece of work has no answer.

    kind : ``"input"``, it cannot be done with this input; ``"meshed"``, because of loops; ``"failed"``, it broke.
    details : the traceback of what broke.
    """

    reason: str
    kind: Literal["input", "meshed", "failed"]
    details: str = ""


def attempt(piece: Piece, done: Steps | None = None) -> Any:
    """Return a piece's answer, or a `Refusal`: whatever it raises must not stop the others."""
    try:
        return piece(done)
    except NotRadialError as error:
        return Refusal(str(error), "meshed")
    except InputError as error:
        return Refusal(str(error), "input")
    except Exception as error:
        return Refusal(f"{type(error).__name__}: {error}".rstrip(": "), "failed", traceback.format_exc())


def check_backend(jobs: int, backend: str) -> None:
    """Make sure that `work` can be done so.

    Raises
    ------
    InputError
        If `jobs` is no number of processes; `UnknownNameError` for an unknown backend.
    MissingExtraError
        If Ray is asked for and not installed.
    """
    if jobs == 0 or jobs < -1:
        raise InputError(f"jobs must be a positive number, or -1 for all cores, not {jobs}")
    if backend not in BACKENDS:
        raise UnknownNameError("backend", backend, BACKENDS)
    if backend == "ray":
        from importlib.util import find_spec

        if find_spec("ray") is None:
            raise MissingExtraError("the backend ray is not installed: pip install 'feederlab[distributed]'")


def work(
    pieces: Sequence[Piece], *, jobs: int = 1, backend: str = "loky", steps: Callable[[int, int], None] | None = None
) -> Iterator[tuple[int, Any]]:
    """Yield (position, answer) of every piece as it is done; the answer is a `Refusal` where there is none.

    jobs : processes of this machine, each with one solver thread; 1: none but this one; -1: as many as cores.
    backend : ``"loky"`` (joblib) or ``"ray"``, where `jobs` sizes a local cluster unless one is already there.
    steps : called with (position, steps done since the last call); with one job while it is at work.
    """
    if backend == "ray":
        yield from _on_ray(pieces, jobs)
    elif jobs == 1 or len(pieces) <= 1:
        for k, piece in enumerate(pieces):
            yield k, attempt(piece, None if steps is None else lambda count, k=k: steps(k, count))  # type: ignore[misc]
    else:
        yield from _in_processes(pieces, jobs)


def _in_processes(pieces: Sequence[Piece], jobs: int) -> Iterator[tuple[int, Any]]:
    """Work in processes.  When one dies, the pieces in flight are lost with it, and are done again.

    If that happens twice, the rest is done one by one: then it is known which piece kills its process.
    """
    from concurrent.futures.process import BrokenProcessPool

    left = dict(enumerate(pieces))
    for _ in range(2):
        try:
            for k, answer in _parallel(left, jobs):
                del left[k]
                yield k, answer
        except BrokenProcessPool:
            continue
        return
    for k, piece in left.items():
        try:
            yield from _parallel({k: piece}, 2)
        except BrokenProcessPool as error:
            yield k, Refusal(f"its process died (out of memory?): {str(error).splitlines()[0]}", "failed")


def _parallel(pieces: Mapping[int, Piece], jobs: int) -> Iterator[tuple[int, Any]]:
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(backend="loky", inner_max_num_threads=1):
        yield from Parallel(n_jobs=jobs, return_as="generator_unordered")(
            delayed(_alone)(k, piece) for k, piece in list(pieces.items())
        )


def _alone(k: int, piece: Piece) -> tuple[int, Any]:
    """Do a piece in a worker process; joblib limits BLAS and OpenMP, and this limits solvers written in Rust."""
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    return k, attempt(piece)


def _on_ray(pieces: Sequence[Piece], jobs: int) -> Iterator[tuple[int, Any]]:
    """Work on a Ray cluster: the one that runs or that RAY_ADDRESS names, else a local one.

    Ray itself starts a piece again whose worker or machine died.  No more pieces are in flight than twice its cores.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    mine = not ray.is_initialized()
    if mine:
        local = not os.environ.get("RAY_ADDRESS")
        cores = {"num_cpus": None if jobs == -1 else jobs, "include_dashboard": False} if local else {}
        ray.init(log_to_driver=False, logging_level="error", **cores)
    try:
        remote = ray.remote(num_cpus=1, max_retries=_RETRIES)(_alone)
        room = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting = iter(enumerate(pieces))
        flying: dict[Any, int] = {}
        while True:
            for k, piece in waiting:
                flying[remote.remote(k, piece)] = k
                if len(flying) >= room:
                    break
            if not flying:
                return
            (ready, *_), _ = ray.wait(list(flying), num_returns=1)
            k = flying.pop(ready)
            try:
                yield ray.get(ready)
            except ray.exceptions.RayError as error:
                yield k, Refusal(f"its worker died {_RETRIES + 1} times: {str(error).splitlines()[0]}", "failed")
    finally:
        if mine:
            ray.shutdown()
