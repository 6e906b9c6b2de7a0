"""What Tables 3-5 of MAPDN report (P1: Wang, Xu, Gu, Song, Green, NeurIPS 2021): the means that are at hand."""

from __future__ import annotations

CITATION = (
    "Wang, Xu, Gu, Song, Green: Multi-Agent Reinforcement Learning for Active Voltage Control on Power Distribution "
    "Networks, NeurIPS 2021, Tables 3-5 (33, 141, 322 buses)"
)
TABLE = {"mapdn33": "Table 3", "mapdn141": "Table 4", "mapdn322": "Table 5"}
ROWS = {"none": "none", "droop": "volt_var:curve=mapdn", "OPF": "opf"}
"""The paper's rows -> our controllers.  Its droop is the preset `mapdn`, settled as in its public code."""
OTHERS = {"IEEE 1547-B": "volt_var:curve=ieee1547_b", "lindistflow": "lindistflow", "socp": "socp"}
"""Our own rows under the same protocol."""
LABELS = {spec: label for label, spec in (ROWS | OTHERS).items()}

CR_PCT = {
    "mapdn33": {"none": 70.6, "droop": 100.0, "OPF": 100.0, "learner COMA-L1": 97.0},
    "mapdn141": {"none": 37.9, "droop": 100.0, "OPF": 100.0, "learner SQDDPG-L1": 96.0},
    "mapdn322": {"none": 32.1, "droop": 99.4, "OPF": 86.8, "learner MADDPG-L1": 77.7},
}
"""Controllable rate: share of steps with every bus in band (%).  Of the learners, the one with the highest."""
LOSS_MW = {
    "mapdn33": {"none": 0.069, "droop": 0.082, "OPF": 0.056, "learner COMA-L1": 0.105},
    "mapdn141": {"none": 0.956, "droop": 1.519, "OPF": 0.819, "learner SQDDPG-L1": 1.757},
    "mapdn322": {"none": 0.038, "droop": 0.061, "OPF": 0.057, "learner MADDPG-L1": 0.070},
}
"""Mean losses (MW): of the lines, as the public code sums them; of lines and transformers in the row OPF."""
LOSS_METRIC = {"none": "line_loss_mw", "droop": "line_loss_mw", "OPF": "loss_mw"}
LEARNER_SHARE_PCT = {"mapdn33": 80, "mapdn141": 60, "mapdn322": 80}
"""Share of sqrt(s^2 - p^2) that a learner may use (%); droop and OPF may use all of it."""
LEARNER_PERIODS = 480
