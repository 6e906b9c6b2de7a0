"""The example of docs/extending.md runs as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


def test_the_examples_run(tmp_path):
    controller, trial, loop = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    (tmp_path / "ramped_droop.py").write_text(controller)
    (tmp_path / "trial.py").write_text(trial)
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "trial.py"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    none, ramped = (float(line.split()[3]) for line in done.stdout.splitlines())
    assert ramped < none
    done = subprocess.run([sys.executable, "-c", loop], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4
    named = "from feederlab.controllers.registry import create; print(create('ramped_droop:RampedDroop:slope=5'))"
    done = subprocess.run([sys.executable, "-c", named], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "RampedDroop(slope=5.0, ramp=0.1)"
