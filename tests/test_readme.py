"""Every snippet of the README runs, and of the pages that begin with one."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", re.M | re.S)
PAGES = ("README.md", "docs/time_coupled.md")
SNIPPETS = [found for page in PAGES for found in BLOCK.findall((ROOT / page).read_text())]
ENV = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "MPLBACKEND": "agg"}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder that looks like the root of the repository to a snippet, but keeps what it writes."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "examples", folder / "examples")
    return folder


def commands(body):
    """The commands of a shell block: comments dropped, continued lines joined."""
    joined = body.replace("\\\n", " ")
    return [line for line in (re.sub(r"\s+#.*$", "", row).strip() for row in joined.splitlines()) if line]


def test_there_are_snippets_of_both_kinds():
    assert {kind for kind, _ in SNIPPETS} == {"python", "sh"}


@pytest.mark.parametrize("body", [body for kind, body in SNIPPETS if kind == "python"])
def test_python_snippet(body, workplace):
    done = subprocess.run([sys.executable, "-c", body], cwd=workplace, env=ENV, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("body", [body for kind, body in SNIPPETS if kind == "sh"])
def test_shell_commands(body, workplace):
    for command in commands(body):  # in turn: one may need what another wrote
        words = shlex.split(command)
        if words[0] == "feederlab":
            done = subprocess.run(words, cwd=workplace, env=ENV, capture_output=True, text=True)
        else:
            assert words[0] == "make", f"this test does not know how to check {command!r}"
            done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, env=ENV, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        assert "Traceback" not in done.stderr
