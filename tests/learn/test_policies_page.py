"""The examples of docs/policies.md run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "policies.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)


@pytest.mark.parametrize("code", EXAMPLES, ids=[f"example-{k}" for k in range(len(EXAMPLES))])
def test_an_example_runs(code, tmp_path):
    (tmp_path / "example.py").write_text(code)  # a file of its own: what it defines can be pickled
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "example.py"], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d", done.stdout)


def test_there_are_examples():
    assert len(EXAMPLES) == 3
