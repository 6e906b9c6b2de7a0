"""How much PV fits on a feeder under each controller before the band or a loading limit breaks."""

from feederlab.hosting.capacity import hosting_capacity
from feederlab.hosting.result import Capacity, Hosting

__all__ = ["Capacity", "Hosting", "hosting_capacity"]
