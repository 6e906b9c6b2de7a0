"""Lines of the keys of a TOML text, against texts whose lines are known, and against tomllib's own reading."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feederlab.toml_lines import lines_of

TEXT = '''\
# a comment = 1
title = "a # b = [c]"   # [not.a.table]
text = """
key = 1
[table] \\""" still
""""
raw = \'\'\'
x = ''
\'\'\'
"quoted.key" = 1
a.b . "c d" = 1979-05-27T07:32:00Z

list = [
  1,   # one, two
  [2, 3],
  { x = 1, y = [
    "]", \'}\' ] },
]

[windows]
random = { count = 3, seed = 4 }

[[scenarios]]
name = "one"
  [scenarios.deep]
  key = true

[[scenarios]]
name = "two"
band = [
  0.9,
  1.1,
]
[[scenarios.more]]
k = 1
[[scenarios.more]]
k = 2
'''


def paths(value: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path} - {()} | {found for key, inner in items for found in paths(inner, (*path, key))}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_of_a_text_with_everything(newline: str) -> None:
    lines = lines_of(TEXT.replace("\n", newline))
    assert set(lines) == paths(tomllib.loads(TEXT))
    rows = TEXT.split("\n")
    for path, text in {
        ("title",): "title =", ("text",): 'text = """', ("raw",): "raw =", ("quoted.key",): '"quoted.key"',
        ("a", "b", "c d"): "a.b", ("a",): "a.b", ("list",): "list", ("list", 0): "  1,", ("list", 1, 1): "  [2, 3]",
        ("list", 2, "x"): "  { x", ("list", 2, "y"): "  { x", ("list", 2, "y", 1): '    "]"',
        ("windows",): "[windows]", ("windows", "random", "seed"): "random",
        ("scenarios", 0, "deep"): "  [scenarios.deep]",
        ("scenarios", 0, "deep", "key"): "  key = true", ("scenarios", 1, "name"): 'name = "two"',
        ("scenarios", 1, "band", 1): "  1.1", ("scenarios", 1, "more", 1, "k"): "k = 2",
    }.items():  # fmt: skip
        assert rows[lines[path] - 1].startswith(text), path
    assert lines["scenarios",] == lines["scenarios", 0] == rows.index("[[scenarios]]") + 1
    assert lines["scenarios", 1] > lines["scenarios", 0, "deep", "key"]


def test_a_text_that_is_no_toml() -> None:
    with pytest.raises(tomllib.TOMLDecodeError, match="line 2"):
        lines_of("a = 1\nb = \n")


_strings = st.text(st.sampled_from("ab\"'#=[]{},.\\ \n\t"), max_size=6)
_keys = st.text(st.sampled_from('ab-_9."#]= '), max_size=4)
_values = st.recursive(
    st.integers(-9, 9) | st.booleans() | st.just(1.5) | _strings,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3),
    max_leaves=8,
)


class _Writer:
    """Writes a document, and the line of each path while it does."""

    def __init__(self, gaps: list[int]) -> None:
        self.text, self.lines, self._gaps = "", {}, gaps  # type: dict[tuple[str | int, ...], int]

    def document(self, data: dict[str, Any]) -> None:
        plain = {key: value for key, value in data.items() if not self._is_table(value) and not self._is_array(value)}
        for key, value in plain.items():
            self._gap()
            self._pair(key, value, ())
        for key, value in data.items():
            for number, table in enumerate(value) if self._is_array(value) else [(None, value)]:
                if key in plain:
                    continue
                path = (key,) if number is None else (key, number)
                self._gap()
                self._note(path)
                self.text += f"[{_quoted(key)}]\n" if number is None else f" [[ {_quoted(key)} ]] # x = 1\n"
                for inner, one in table.items():
                    self._gap()
                    self._pair(inner, one, path)

    @staticmethod
    def _is_table(value: Any) -> bool:
        return isinstance(value, dict) and len(value) > 1

    @staticmethod
    def _is_array(value: Any) -> bool:
        return isinstance(value, list) and len(value) > 0 and all(isinstance(one, dict) for one in value)

    def _pair(self, key: str, value: Any, path: tuple[str | int, ...]) -> None:
        self._note((*path, key))
        self.text += f"{_quoted(key)} = "
        self._value(value, (*path, key))
        self.text += " # y = [\n"

    def _value(self, value: Any, path: tuple[str | int, ...]) -> None:
        if isinstance(value, list):
            self.text += "["
            for number, one in enumerate(value):
                self._gap()
                self._note((*path, number))
                self._value(one, (*path, number))
                self.text += ","
            self.text += "]"
        elif isinstance(value, dict):
            self.text += "{"
            for number, (key, one) in enumerate(value.items()):
                self.text += ", " if number else ""
                self._note((*path, key))
                self.text += f"{_quoted(key)} = "
                self._value(one, (*path, key))
            self.text += "}"
        elif isinstance(value, str) and "'" not in value and "\n" in value:
            self.text += f"'''\n{value}'''"
        else:
            self.text += json.dumps(value)

    def _gap(self) -> None:
        self.text += "# [c]\n" * self._gaps[len(self.text) % len(self._gaps)] + (
            "" if self.text.endswith("\n") else " "
        )

    def _note(self, path: tuple[str | int, ...]) -> None:
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], self.text.count("\n") + 1)


def _quoted(key: str) -> str:
    return json.dumps(key)


@given(st.dictionaries(_keys, _values, max_size=4), st.lists(st.integers(0, 2), min_size=1, max_size=5))
def test_lines_of_any_document(data: dict[str, Any], gaps: list[int]) -> None:
    writer = _Writer(gaps)
    writer.document(data)
    assert tomllib.loads(writer.text) == data
    assert lines_of(writer.text) == writer.lines
