"""`lines_of`: the line of every key in a TOML text, so that a message about a value can say where it stands."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Callable

Path = tuple[str | int, ...]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}(?!")'  # up to two quotes may stand right before the closing three
    r"|'''.*?'{3,5}(?!')"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


def lines_of(text: str) -> dict[Path, int]:
    """Return path -> line (from 1) of every table, key and array element of a TOML text.

    Keys are strings, places in an array integers from 0: ``("scenarios", 1, "band", 0)``.  A table's line is that of
    its header, or of its first key where it has none.

    Raises
    ------
    tomllib.TOMLDecodeError
        If the text is no TOML.
    """
    tomllib.loads(text)  # from here on every token is known to be well-formed
    scan = _Scan(text.replace("\r\n", "\n"))
    scan.document()
    return scan.lines


class _Scan:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.lines: dict[Path, int] = {}
        self._ends = [match.start() for match in re.finditer("\n", text)]
        self._count: dict[Path, int] = {}  # array of tables -> number of its tables so far

    def document(self) -> None:
        table: Path = ()
        while self._skip() < len(self.text):
            if self._takes("[["):
                array = self._inside(self._key())
                number = self._count[array] = self._count.get(array, -1) + 1
                table = (*array, number)
                self._note(table)
                self._take("]]")
            elif self._takes("["):
                table = self._inside(self._key())
                self._note(table)
                self._take("]")
            else:
                self._pair(table)

    def _inside(self, keys: Path) -> Path:
        """Return where a header leads: through an array of tables into its last one."""
        path: Path = ()
        for place, key in enumerate(keys):
            path = (*path, key)
            if place < len(keys) - 1 and path in self._count:
                path = (*path, self._count[path])
        return path

    def _pair(self, table: Path) -> None:
        self._skip()
        begin, path = self.at, (*table, *self._key())
        self._note(path, begin)
        self._skip()
        self._take("=")
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip()
        if self._takes("["):
            self._list("]", lambda number: self._element((*path, number)))
        elif self._takes("{"):
            self._list("}", lambda _: self._pair(path))
        else:
            token = _STRING.match(self.text, self.at) or _SCALAR.match(self.text, self.at)
            assert token is not None
            self.at = token.end()

    def _element(self, path: Path) -> None:
        self._skip()
        self._note(path)
        self._value(path)

    def _list(self, close: str, item: Callable[[int], None]) -> None:
        number = 0
        while self._skip() < len(self.text) and not self._takes(close):
            item(number)
            number += 1
            self._skip()
            self._takes(",")

    def _key(self) -> Path:
        parts: list[str | int] = []
        while True:
            self._skip()
            token = _STRING.match(self.text, self.at) or _BARE_KEY.match(self.text, self.at)
            assert token is not None
            parts += tomllib.loads(f"{token.group()} = 0")
            self.at = token.end()
            self._skip()
            if not self._takes("."):
                return tuple(parts)

    def _note(self, path: Path, at: int | None = None) -> None:
        """Keep the line of a path and, where they have none yet, of the tables around it."""
        line = 1 + bisect_right(self._ends, (self.at if at is None else at) - 1)
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], line)

    def _skip(self) -> int:
        blank = _BLANK.match(self.text, self.at)
        assert blank is not None
        self.at = blank.end()
        return self.at

    def _takes(self, token: str) -> bool:
        found = self.text.startswith(token, self.at)
        self.at += len(token) * found
        return found

    def _take(self, token: str) -> None:
        self._skip()
        self.at += len(token)
