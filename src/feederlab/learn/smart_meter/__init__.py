"""Smart meters: what one household can learn from its own meter alone, and do with its own storage (P0).

`MeterHistory` is all that an agent gets; `VoltageModel` says what its battery will do to its voltage.
"""
