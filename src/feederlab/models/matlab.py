"""A safe reader of the MATLAB subset that case files are written in: assignments and arithmetic, nothing else.

Data files in MATLAB's language may compute with their tables after listing them.  Guessing what such a tail does gives
wrong numbers without a word, so every statement is either evaluated exactly or refused by line number.  No code of the
file is executed: there are no loops, no conditions, and only the functions of `FUNCTIONS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from feederlab.models.arrays import FloatArray

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "sqrt": np.sqrt, "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos,
    "atan": np.arctan, "exp": np.exp, "abs": np.abs,
}  # fmt: skip
"""Functions that an expression may call."""

_CONSTANTS = {"pi": np.pi, "Inf": np.inf, "inf": np.inf, "NaN": np.nan, "nan": np.nan}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z]\w*(?:\.[A-Za-z]\w*)*)"
    r"|(?P<op>\.\*|\./|\.\^|[-+*/^(),:\[\];]))"
)
_PIECE = re.compile(
    r"(?P<skip>^[ \t]*%\{[ \t]*\n(?:.*\n)*?[ \t]*%\}[ \t]*$|%[^\n]*|\.\.\.[^\n]*\n)"
    r"|(?P<text>'[^'\n]*'|\"[^\"\n]*\")|(?P<open>[\[({])|(?P<close>[\])}])|(?P<end>[;\n])"
    r"|(?P<code>[^%.'\"\[\](){};\n]+|.)",
    re.MULTILINE,
)
_TARGET = re.compile(r"([A-Za-z]\w*(?:\.[A-Za-z]\w*)*)\s*(\(.*\))?\s*=(?!=)\s*(.*)", re.DOTALL)
_UNPACK = re.compile(r"\[([^\]]*)\]\s*=\s*(\w+)\s*;?$", re.DOTALL)
_OPAQUE = re.compile(r"('[^']*'|\"[^\"]*\"|\{.*\})$", re.DOTALL)


class MatlabError(ValueError):
    """A statement outside the subset; `line` is where it starts."""

    def __init__(self, line: int, statement: str, reason: str) -> None:
        super().__init__(reason)
        self.line, self.statement, self.reason = line, " ".join(statement.split())[:120], reason


@dataclass(frozen=True)
class Statement:
    """One statement, comments and continuations removed, and the line on which it starts."""

    line: int
    text: str


def run(text: str, unpackable: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, Any]:
    """Evaluate a file and return its variables: floats, (rows, columns) arrays, or the text of strings and cells.

    Fields keep their dotted name (``"mpc.bus"``).  The language's ``*`` and ``/`` are taken where one side is a scalar.

    Parameters
    ----------
    unpackable
        ``[A, B, ...] = name`` assigns these numbers in turn (column numbers by name).

    Raises
    ------
    MatlabError
        At the first statement outside the subset.
    """
    variables: dict[str, Any] = {}
    listed = statements(text)
    for position, statement in enumerate(listed):
        try:
            _execute(statement.text, variables, unpackable or {}, last=position == len(listed) - 1)
        except MatlabError:
            raise
        except (ValueError, IndexError, KeyError) as error:
            reason = error.args[0] if error.args else "not understood"
            raise MatlabError(statement.line, statement.text, str(reason)) from error
    return variables


def statements(text: str) -> list[Statement]:
    """Split a file at ``;`` and line ends outside brackets and strings."""
    found: list[Statement] = []
    pieces: list[str] = []
    line, begin, depth = 1, 1, 0
    for match in _PIECE.finditer(text.replace("\r\n", "\n") + "\n"):
        piece, kind = match.group(), match.lastgroup
        if kind == "open" or kind == "close":
            depth += 1 if kind == "open" else -1
        if kind == "end" and depth == 0:
            if pieces:
                found.append(Statement(begin, "".join(pieces).strip()))
            pieces = []
        elif kind == "skip":
            pieces += [" "] * bool(pieces)
        elif pieces or not piece.isspace():
            begin = begin if pieces else line
            pieces.append(piece)
        line += piece.count("\n")
    if pieces or depth:
        raise MatlabError(begin, "".join(pieces), "a bracket is not closed")
    return found


def _execute(text: str, variables: dict[str, Any], unpackable: Mapping[str, tuple[int, ...]], *, last: bool) -> None:
    if text.startswith("function ") or (last and text in ("end", "return")):
        return
    if unpack := _UNPACK.match(text):
        names, source = re.split(r"[\s,]+", unpack[1].strip()), unpack[2]
        if source not in unpackable or len(names) > len(unpackable[source]):
            raise ValueError(f"{source} does not give {len(names)} numbers here")
        variables.update(zip(names, map(float, unpackable[source]), strict=False))
        return
    target = _TARGET.match(text)
    if target is None:
        raise ValueError("only assignments are understood")
    name, where, value = target[1], target[2], target[3].strip()
    if _OPAQUE.match(value) and where is None:
        variables[name] = value
        return
    result = matrix(value[1:-1], variables) if _is_matrix(value) else evaluate(value, variables)
    if where is None:
        variables[name] = result
        return
    table = np.array(_known(variables, name), dtype=float, ndmin=2)
    cells = _indices(evaluate_list(where[1:-1], variables), table)
    block = np.atleast_2d(result)
    if block.size != 1 and block.shape != (len(cells[0]), len(cells[1])):
        raise ValueError(f"a {block.shape[0]} by {block.shape[1]} value does not fit {name}{where}")
    table[np.ix_(*cells)] = block
    variables[name] = table


def _is_matrix(value: str) -> bool:
    return value.startswith("[") and value.find("]") == len(value) - 1


def matrix(text: str, variables: Mapping[str, Any]) -> FloatArray:
    """Read the inside of ``[ ... ]``: rows end at ``;`` or the line's end, elements at blanks or commas."""
    rows = []
    for line in re.split(r"[;\n]", text):
        if not line.strip():
            continue
        try:
            rows.append([float(part) for part in line.replace(",", " ").split()])
        except ValueError:
            rows.append([_scalar(evaluate(part, variables)) for part in _elements(line)])
    if len({len(row) for row in rows}) > 1:
        short = next(k for k, row in enumerate(rows) if len(row) != len(rows[0]))
        raise ValueError(f"row {short + 1} has {len(rows[short])} elements, row 1 has {len(rows[0])}")
    return np.array(rows, dtype=float).reshape(len(rows), -1)


def _elements(line: str) -> list[str]:
    """Split a row; ``1 -2`` is two elements, ``1 - 2`` and ``1-2`` are one, as in MATLAB."""
    line = re.sub(r"\s*(\.?[*/^])\s*", r"\1", line)
    line = re.sub(r"(?<=[\w).])\s+([+-])\s+", r"\1", line)
    parts, depth = [""], 0
    for char in line:
        depth += (char == "(") - (char == ")")
        if depth == 0 and (char.isspace() or char == ","):
            parts.append("")
        else:
            parts[-1] += char
    return [part for part in parts if part]


def _with_commas(bracketed: re.Match[str]) -> str:
    if re.search(r"[;\n]", bracketed[1].strip()):
        raise ValueError("a table of several rows inside an expression is not understood")
    return f"[{','.join(_elements(bracketed[1]))}]"


def evaluate(text: str, variables: Mapping[str, Any]) -> Any:
    """Return the value of one expression."""
    values = evaluate_list(text, variables)
    if len(values) != 1 or values[0] is None:
        raise ValueError(f"{text.strip()!r} is no single value")
    return values[0]


def evaluate_list(text: str, variables: Mapping[str, Any]) -> list[Any]:
    """Return the values of expressions separated by commas; None stands for a bare colon."""
    parser = _Parser(text, variables)
    values = parser.arguments()
    if parser.peek():
        raise ValueError(f"{parser.peek()!r} is not understood")
    return values


class _Parser:
    """Recursive descent: sum < product < sign < power < atom; ranges only as an argument."""

    def __init__(self, text: str, variables: Mapping[str, Any]) -> None:
        self.variables, self.position = variables, 0
        self.tokens: list[str] = []
        at, text = 0, re.sub(r"\[([^\[\]]*)\]", _with_commas, text.rstrip())
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise ValueError(f"{text[at:].strip()[:20]!r} is not understood")
            self.tokens.append(match.group().strip())
            at = match.end()

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take(self, *accepted: str) -> str:
        token = self.peek()
        if not token or token not in accepted:
            return ""
        self.position += 1
        return token

    def arguments(self) -> list[Any]:
        values = [self.argument()]
        while self.take(","):
            values.append(self.argument())
        return values

    def argument(self) -> Any:
        if self.peek() == ":":
            self.position += 1
            return None
        first = self.sum()
        if not self.take(":"):
            return first
        last = self.sum()
        return np.arange(_scalar(first), _scalar(last) + 1)[None, :]

    def sum(self) -> Any:
        value = self.product()
        while sign := self.take("+", "-"):
            value = _combine(sign, value, self.product())
        return value

    def product(self) -> Any:
        value = self.signed()
        while operator := self.take("*", "/", ".*", "./"):
            value = _combine(operator, value, self.signed())
        return value

    def signed(self) -> Any:
        if sign := self.take("+", "-"):
            value = self.signed()
            return -value if sign == "-" else value
        return self.power()

    def power(self) -> Any:
        base = self.atom()
        while operator := self.take("^", ".^"):
            minus = self.take("-")
            exponent = self.atom()
            base = _combine(operator, base, -exponent if minus else exponent)
        return base

    def atom(self) -> Any:
        token = self.peek()
        self.position += 1
        if token == "(":
            value = self.sum()
            return self._close(")", value)
        if token == "[":
            row = [np.atleast_1d(self.sum()).ravel()]
            while self.take(","):
                row.append(np.atleast_1d(self.sum()).ravel())
            return self._close("]", np.concatenate(row)[None, :])
        if token and (token[0].isdigit() or token[0] == "."):
            return float(token)
        if token and token[0].isalpha():
            return self._named(token)
        raise ValueError(f"a value is missing before {token!r}" if token else "the expression ends too early")

    def _named(self, name: str) -> Any:
        called = self.take("(")
        if called and name in FUNCTIONS and name not in self.variables:
            return self._close(")", FUNCTIONS[name](self.sum()))
        value = self.variables[name] if name in self.variables else _CONSTANTS.get(name)
        if value is None or isinstance(value, str):
            raise ValueError(f"{name} is not known as a number, a table or one of {', '.join(FUNCTIONS)}")
        if not called:
            return value
        table = np.array(value, dtype=float, ndmin=2)
        block = table[np.ix_(*_indices(self.arguments(), table))]
        return self._close(")", float(block[0, 0]) if block.size == 1 else block)

    def _close(self, bracket: str, value: Any) -> Any:
        if not self.take(bracket):
            raise ValueError(f"{bracket!r} is missing before {self.peek()!r}")
        return value


def _combine(operator: str, left: Any, right: Any) -> Any:
    if operator in ("*", "/", "^"):
        if np.size(right) > 1 and (operator != "*" or np.size(left) > 1):
            raise ValueError(f"{operator!r} with a table on the right is linear algebra, not understood here")
        if operator == "^" and np.size(left) > 1:
            raise ValueError("'^' of a table is linear algebra, not understood here")
    elif np.size(left) > 1 and np.size(right) > 1 and np.shape(left) != np.shape(right):
        raise ValueError(f"{operator!r} of a {np.shape(left)} and a {np.shape(right)} table")
    plain = operator.lstrip(".")
    if plain == "+":
        return left + right
    if plain == "-":
        return left - right
    if plain == "*":
        return left * right
    return left / right if plain == "/" else left**right


def _indices(given: list[Any], table: FloatArray) -> tuple[list[int], list[int]]:
    if len(given) == 1 and 1 in table.shape:
        given = [1.0, given[0]] if table.shape[0] == 1 else [given[0], 1.0]
    if len(given) != 2:
        raise ValueError("give a row and a column index")
    picked = []
    for axis, value in enumerate(given):
        size = table.shape[axis]
        wanted = np.arange(1, size + 1) if value is None else np.atleast_1d(np.asarray(value, dtype=float)).ravel()
        if np.any(wanted != np.round(wanted)) or np.any(wanted < 1) or np.any(wanted > size):
            raise ValueError(f"index {wanted.tolist()[:5]} outside 1..{size}")
        picked.append([int(w) - 1 for w in wanted])
    return picked[0], picked[1]


def _known(variables: Mapping[str, Any], name: str) -> Any:
    if name not in variables or isinstance(variables[name], str):
        raise ValueError(f"{name} is not a table")
    return variables[name]


def _scalar(value: Any) -> float:
    if np.size(value) != 1:
        raise ValueError("a single number is needed here")
    return float(np.asarray(value, dtype=float).ravel()[0])
