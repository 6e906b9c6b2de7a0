"""Exact AC optimal power flow as a controller: certified by the relaxation where that is tight, else searched for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import numpy as np

from feederlab.controllers.base import GLOBAL, Controller, ControlTask, Information, Prepared
from feederlab.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from feederlab.models.branchflow.relaxation import Relaxation

Method = Literal["ipopt", "sqp"]


@dataclass(frozen=True)
class Opf(Controller):
    """The cheapest setpoints that the exact AC power flow allows, on radial and meshed feeders.

    With `certify`, on a radial feeder, the convex relaxation is solved first.  If an AC power flow at its setpoints
    costs what the relaxation proves to be the least possible, they are the global optimum (status ``"global"``).
    Otherwise a local search starts from them, and whatever costs least in an AC power flow is taken: its answer, the
    relaxation's, or the previous setpoints (status ``"global"`` if that meets the bound, else ``"local"``).  Where
    limits remain broken it searches from a second start.  On a meshed feeder there is no relaxation and no bound.  A
    search ends in a local optimum; where exports are curtailed for a loading limit there are many, some 0.5 % apart.

    Costs are the task's objective plus its voltage penalty, which also prices overloads (`SetpointProblem`);
    `Decision.objective` is that cost in an AC power flow.  The bound knows no loading limits, and stays one.

    Parameters
    ----------
    method
        ``"ipopt"``: Ipopt on all voltages, the reference.  ``"sqp"``: sequential quadratic programming in the
        setpoints, each iterate a solved power flow (`models.reduced`), from the cheapest of the relaxation's
        setpoints (with `certify`), the previous ones, and, where these break a limit, q = 0.
    objective
        E.g. ``"losses"`` or ``"losses=1+control_effort=0.01"``; empty: the task's.
    certify
        Solve the relaxation first (radial feeders, and without a deadline).  Default: with Ipopt, not with SQP, whose
        search takes a quarter of the relaxation's time on 322 buses and ends at the same cost
        (``python -m benchmarks.sqp_against_ipopt``).
    curtail
        Whether active power may be lowered.
    max_loading_percent
        Soft limit of the current at both ends of every line and transformer that has one (%); 0: none.
    deadline_ms
        Wall-clock time of a whole decision (``method="sqp"``); 0: none.  The search starts from the previous setpoints,
        clipped to what the devices can do now, or from q = 0 where that is cheaper, and returns the cheapest state that
        it has met when no further iteration fits (status ``"out of time"``): never worse than where it started.
        Whether one fits is judged before it begins, by the slowest so far (the first by a rehearsal without load): a
        slower one ends late by the difference, and the start's power flow is solved in any case.  Decisions then depend
        on the machine's speed.
    tol
        Relative gap between an AC cost and the bound at which it counts as the global optimum.
    max_time_s
        Time limit of one search (s).
    """

    sees: ClassVar[Information] = GLOBAL
    objective: str = ""
    method: Method = "ipopt"
    certify: bool | None = None
    curtail: bool = False
    max_loading_percent: float = 0.0
    deadline_ms: float = 0.0
    tol: float = 1e-6
    max_time_s: float = 2.0

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise UnknownNameError("opf method", self.method, get_args(Method))
        if not (self.tol > 0 and self.max_time_s > 0):
            raise InputError(f"tol and max_time_s must be positive, not {self.tol} and {self.max_time_s}")
        if not 0 <= self.deadline_ms < np.inf or not 0 <= self.max_loading_percent < np.inf:
            raise InputError(
                "deadline_ms and max_loading_percent must be 0 (none) or positive, not "
                f"{self.deadline_ms} and {self.max_loading_percent}"
            )
        if self.deadline_ms > 0 and self.method != "sqp":
            raise InputError("deadline_ms needs method=sqp: Ipopt's iterates are no power flows until it ends")

    def prepare(self, task: ControlTask, *, seed: int | None = None) -> Prepared:
        """Compile.

        Raises `InputError` for the objective ``cost``, for voltage-controlled generators, and for a loading limit
        where no branch has a rating.
        """
        task = task.pursuing(self.objective)
        given = task.grid(), task.band, task.objective, task.voltage_penalty
        if self.method == "sqp":
            from feederlab.controllers.opf_sqp import SqpPrepared
            from feederlab.models.setpoints import SetpointProblem

            problem = SetpointProblem(*given, curtail=self.curtail, max_loading_percent=self.max_loading_percent)
            deadline_s = self.deadline_ms / 1e3 or np.inf
            relaxation = self._relaxation(task) if np.isinf(deadline_s) else None
            return SqpPrepared(task, problem, relaxation, self.tol, deadline_s, self.max_time_s)
        from feederlab.controllers.opf_ipopt import IpoptPrepared
        from feederlab.models.acopf.feeder import AcOpf
        from feederlab.models.acopf.ipopt import Ipopt

        ipopt = Ipopt(max_iterations=300, max_time_s=self.max_time_s)
        model = AcOpf(*given, curtail=self.curtail, max_loading_percent=self.max_loading_percent, ipopt=ipopt)
        return IpoptPrepared(task, model, self._relaxation(task), self.tol)

    def _relaxation(self, task: ControlTask) -> Relaxation | None:
        wanted = self.method == "ipopt" if self.certify is None else self.certify
        if not wanted or not task.grid().is_radial:
            return None
        from feederlab.models.branchflow.relaxation import Relaxation

        return Relaxation(task.grid(), task.band, task.objective, task.voltage_penalty, curtail=self.curtail)
