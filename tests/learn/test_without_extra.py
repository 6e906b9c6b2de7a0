"""Without the extra feederlab[learn] all else works, and whatever needs it says so in one line."""

import subprocess
import sys

from hidden_modules import hiding

HIDDEN = ("torch", "stable_baselines3", "gymnasium", "safetensors", "skops", "tensorboard")
CODE = """
import contextlib, importlib, io, pkgutil, sys
import feederlab.learn
from feederlab.cli import main
from feederlab.errors import MissingExtraError

HINT, refused = "not installed: pip install 'feederlab[learn]'", []

def hints(what, do):
    try:
        do()
    except MissingExtraError as error:
        assert HINT in str(error) and "\\n" not in str(error), (what, error)
        refused.append(what)

for module in pkgutil.walk_packages(feederlab.learn.__path__, "feederlab.learn."):
    hints(module.name, lambda: importlib.import_module(module.name))
for name in feederlab.learn.__all__:
    hints(name, lambda: getattr(feederlab.learn, name))
assert {"feederlab.learn.train", "train_imitation", "CapacitorsEnv"} <= {*refused}, refused
assert not {"SB3Policy", "CallablePolicy", "SklearnPolicy", "feederlab.learn.rewards"} & {*refused}, refused

def command(*words):
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["feederlab", *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
    return code, out.getvalue(), err.getvalue()

for words in (
    *(("train", name, "mapdn33") for name in ("ppo", "sac", "td3", "imitation")), ("train", "dqn", "sce47"),
    ("reproduce", "smart-meter", "--quick"), ("reproduce", "two-timescale", "--quick"),
):
    code, out, err = command(*words, "--out", "out")
    assert (code, out) == (7, "") and HINT in err and err.count("\\n") == 1, (words, code, out, err)
code, out, err = command("scenarios")
assert code == 0 and "mapdn33" in out, err
"""


def test_one_line_says_what_to_install_and_nothing_else_is_lost(tmp_path):
    answer = subprocess.run(
        [sys.executable, "-c", hiding(*HIDDEN) + CODE], cwd=tmp_path, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    assert list(tmp_path.iterdir()) == []
