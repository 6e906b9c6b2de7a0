"""What a killed process left half-written is cleared away, and nothing else."""

import tempfile
from pathlib import Path

import pytest

from feederlab import atomic


@pytest.mark.parametrize("name", ["out", "table.csv", "run.v2.nc", "old.old"])
def test_sweeping_clears_what_was_left_of_a_file(name: str, tmp_path: Path) -> None:
    target = tmp_path / name
    target.write_text("before")
    other = tmp_path / f".{name}.mine.part"
    other.write_text("not ours")
    writing = atomic.whole(target)
    scratch = writing.__enter__()  # and never left
    scratch.write_text("half")
    atomic.sweep(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([other.name, name])
    assert target.read_text() == "before"
    del writing


@pytest.mark.parametrize("name", ["out", "out.v2"])
def test_sweeping_clears_what_was_left_of_a_folder_and_puts_the_old_one_back(name: str, tmp_path: Path) -> None:
    target = tmp_path / name
    Path(tempfile.mkdtemp(dir=tmp_path, prefix=f".{name}.", suffix=".part"), "new").touch()
    Path(tempfile.mkdtemp(dir=tmp_path, prefix=f".{name}.", suffix=".old"), "before").touch()
    atomic.sweep(target)
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [name, f"{name}/before"]
