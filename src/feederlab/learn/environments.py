"""The environments that ``gymnasium.make`` knows once this module, or `feederlab.learn`, is imported."""

from __future__ import annotations

from feederlab.learn.extra import need

need("gymnasium")
from gymnasium.envs.registration import register  # noqa: E402

CAPACITORS, VOLT_VAR = "feederlab/Capacitors-v0", "feederlab/VoltVar-v0"
SMART_METER = "feederlab/SmartMeter-v0"

register(id=CAPACITORS, entry_point="feederlab.learn.capacitors:CapacitorsEnv")
register(
    id=VOLT_VAR, entry_point="feederlab.learn.volt_var.env:VoltVarEnv",
    vector_entry_point="feederlab.learn.volt_var.vector:VoltVarVectorEnv",
)  # fmt: skip
register(id=SMART_METER, entry_point="feederlab.learn.smart_meter.env:SmartMeterEnv")
