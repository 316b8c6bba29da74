"""What the product's code amounts to: statements, documentation, names. `--check` holds the limits.

    python -m tests.measure [--checkout DIR] [--check] [--names]

A name counts where it is bound: a function, a class, a parameter, a variable, an attribute. `--names` prints
each place of a name that says nothing or is a metaphor.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGES = ("app", "worker", "models", "core", "masktune", "launcher", "web", "presets", "client", "cli")
"""Of this checkout and of those before the packages `masktune` and `launcher`."""
PARTICIPLES = frozenset(
    {"asked", "found", "given", "kept", "looks", "made", "said", "seen", "shown", "told", "turns", "wanted"}
)
"""Bare, they do not say what was found or given; `found_labels` does."""
METAPHORS = frozenset(
    {"briefing", "doorbell", "gaze", "gazes", "house", "housekeeper", "leaning", "leans", "lifeline"}
    | {"story", "weather", "wish", "wishes"}
)
"""Wherever they stand in a name."""
EMPTY = frozenset({"data", "item", "obj", "result", "value"})
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


class Name(NamedTuple):
    """A name and where it is bound."""

    place: str
    text: str

    @property
    def words(self) -> list[str]:
        return [word.lower() for word in _WORDS.findall(self.text)]

    @property
    def is_unclear(self) -> bool:
        words = self.words
        return (len(words) == 1 and words[0] in PARTICIPLES) or not METAPHORS.isdisjoint(words)

    @property
    def is_empty(self) -> bool:
        return self.text.strip("_") in EMPTY


@dataclass(frozen=True)
class Measure:
    """Counts over all packages; a docstring is documentation, and no statement. `line_length` is the mean of
    the lines that are not blank, in characters."""

    statements: int
    documentation: int
    line_length: float
    names: tuple[Name, ...]

    @property
    def figures(self) -> dict[str, float]:
        return {
            "statements": self.statements,
            "lines of docstrings and comments": self.documentation,
            "mean length of a line": self.line_length,
            "names that are participles or metaphors": sum(name.is_unclear for name in self.names),
            "names result, value, data, item, obj": sum(name.is_empty for name in self.names),
        }


class Limit(NamedTuple):
    """What `--check` holds: lowered with each deletion, and raised in no commit but as planned."""

    bound: float
    at_least: bool = False

    def allows(self, figure: float) -> bool:
        return figure >= self.bound if self.at_least else figure <= self.bound


LIMITS = {
    "statements": Limit(37_400),
    "lines of docstrings and comments": Limit(5_400, at_least=True),
    "mean length of a line": Limit(48.7),
    "names that are participles or metaphors": Limit(7),
    "names result, value, data, item, obj": Limit(60),
}
"""The last commit with the old layout (336e5c2) has 683 and 262 such names."""


def measure(root: Path) -> Measure:
    """Measure every Python file of the packages below `root`."""
    statements = documentation = lines = characters = 0
    names: list[Name] = []
    for file in sorted(file for package in PACKAGES for file in (root / package).rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        nodes = list(ast.walk(ast.parse(text)))
        docstrings = list(filter(None, map(_docstring, nodes)))
        statements += sum(isinstance(node, ast.stmt) for node in nodes) - len(docstrings)
        documentation += sum(map(_lines, docstrings)) + _comments(text)
        written = [line for line in text.splitlines() if line.strip()]
        lines, characters = lines + len(written), characters + sum(map(len, written))
        names += _names(nodes, file.relative_to(root))
    return Measure(statements, documentation, round(characters / max(lines, 1), 2), tuple(names))


def _docstring(node: ast.AST) -> ast.stmt | None:
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    if not isinstance(node, documented) or ast.get_docstring(node, clean=False) is None:
        return None
    return node.body[0]


def _lines(statement: ast.stmt) -> int:
    return (statement.end_lineno or statement.lineno) - statement.lineno + 1


def _comments(text: str) -> int:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(token.type == tokenize.COMMENT for token in tokens)


def _names(nodes: list[ast.AST], file: Path) -> Iterator[Name]:
    for node in nodes:
        match node:
            case ast.FunctionDef(name=text) | ast.AsyncFunctionDef(name=text) | ast.ClassDef(name=text):
                pass
            case ast.arg(arg=text) | ast.Name(id=text, ctx=ast.Store()):
                pass
            case ast.Attribute(attr=text, ctx=ast.Store()):
                pass
            case _:
                continue
        yield Name(f"{file}:{node.lineno}", text)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkout", type=Path, default=ROOT, help="the tree to measure")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a limit does not hold")
    parser.add_argument(
        "--names", action="store_true", help="print each unclear or empty name with its place"
    )
    options = parser.parse_args()
    counted = measure(options.checkout)
    if options.names:
        unclear = (name for name in counted.names if name.is_unclear or name.is_empty)
        print("\n".join(f"{name.place}  {name.text}" for name in unclear))
        return 0
    broken = []
    for figure, value in counted.figures.items():
        limit = LIMITS[figure]
        bound = "at least" if limit.at_least else "at most"
        print(f"{figure:<40}  {value:>9,}  {bound} {limit.bound:,}")
        if not limit.allows(value):
            broken.append(figure)
    if options.check and broken:
        print(f"beyond its limit: {', '.join(broken)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
