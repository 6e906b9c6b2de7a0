"""Which settings of a controller keep the band at least loss: grids, random draws, the Pareto front."""

from feederlab.sweep.result import Sweep
from feederlab.sweep.study import sweep

__all__ = ["Sweep", "sweep"]
