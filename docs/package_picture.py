"""Draws which package imports which, from the code:  python -m docs.package_picture docs/images/packages.svg

A package stands above all that it imports. An arrow is left out where a chain of others leads to the same
package. Under each name stands the first sentence of the package's docstring. Green are the packages of the
distribution `masktune`.
"""

from __future__ import annotations

import ast
import sys
import textwrap
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = (
    "launcher",
    "masktune.cli",
    "web",
    "app",
    "worker",
    "masktune.client",
    "models",
    "core",
    "masktune.contract",
)
"""In the order, from left to right, of those that stand at one height."""
WIDTH, HEIGHT, GAP, DROP = 232, 84, 16, 56
"""Of a box, between two boxes, and between two rows; in pixels."""
_LINE, _LETTERS = 15, 36

Graph = Mapping[str, frozenset[str]]


def import_graph() -> Graph:
    """Package → the packages that its modules import, those of functions included.

    Raises `graphlib.CycleError` for a circle.
    """
    graph = {name: frozenset(_imports(name)) for name in PACKAGES}
    TopologicalSorter(graph).prepare()
    return graph


def _imports(name: str) -> Iterator[str]:
    for path in (ROOT / name.replace(".", "/")).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules: list[str] = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                modules = [node.module]
            for module in modules:
                # `from masktune import Client`: its names come from the client.
                owner = _package("masktune.client" if module == "masktune" else module)
                if owner not in (None, name):
                    yield str(owner)


def _package(module: str) -> str | None:
    return next((name for name in PACKAGES if f"{module}.".startswith(f"{name}.")), None)


def without_detours(graph: Graph) -> Graph:
    """Leave out each import that a chain of others stands for."""
    below: dict[str, frozenset[str]] = {}
    for name in TopologicalSorter(graph).static_order():
        below[name] = graph[name].union(*(below[one] for one in graph[name]))
    return {
        name: frozenset(one for one in imported if not any(one in below[other] for other in imported))
        for name, imported in graph.items()
    }


def rows(graph: Graph) -> list[list[str]]:
    """The packages by height, the highest first: each one above the highest that it imports."""
    heights: dict[str, int] = {}
    for name in TopologicalSorter(graph).static_order():
        heights[name] = 1 + max((heights[one] for one in graph[name]), default=-1)
    return [
        [name for name in graph if heights[name] == height] for height in range(max(heights.values()), -1, -1)
    ]


def purpose(name: str) -> str:
    """The first sentence of the package's docstring."""
    text = (ROOT / name.replace(".", "/") / "__init__.py").read_text(encoding="utf-8")
    first_line = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    return first_line.partition(". ")[0].rstrip(".").replace("`", "")


def picture(graph: Graph) -> str:
    """The graph as SVG."""
    levels = rows(graph)
    width = max(map(len, levels)) * (WIDTH + GAP) + GAP
    height = len(levels) * (HEIGHT + DROP) - DROP + 2 * GAP
    corners = {
        name: (
            round((width - len(level) * (WIDTH + GAP) + GAP) / 2) + column * (WIDTH + GAP),
            GAP + row * (HEIGHT + DROP),
        )
        for row, level in enumerate(levels)
        for column, name in enumerate(level)
    }
    arrows = [
        _arrow(corners[name], corners[imported])
        for name in PACKAGES
        for imported in sorted(without_detours(graph)[name], key=PACKAGES.index)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="sans-serif">',
            '<title>Which package imports which</title><rect width="100%" height="100%" fill="#fff"/>',
            '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
            'orient="auto"><path d="M0 0 8 4 0 8z" fill="#555"/></marker>',
            *arrows,
            *(_box(name, *corner) for name, corner in corners.items()),
            "</svg>\n",
        ]
    )


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    x, y = start[0] + WIDTH // 2, start[1] + HEIGHT
    to_x, to_y = end[0] + WIDTH // 2, end[1]
    line = f"M{x} {y}C{x} {y + DROP // 2} {to_x} {to_y - DROP // 2} {to_x} {to_y}"
    return f'<path d="{line}" fill="none" stroke="#555" marker-end="url(#head)"/>'


def _box(name: str, x: int, y: int) -> str:
    lines = textwrap.wrap(purpose(name), _LETTERS)
    texts = "".join(
        f'<text x="{x + 10}" y="{y + 40 + _LINE * number}" font-size="12">{escape(line)}</text>'
        for number, line in enumerate(lines)
    )
    fill = "#e9f5ea" if name.startswith("masktune.") else "#f2f5f9"
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{fill}" stroke="#8aa"/>'
        f'<text x="{x + 10}" y="{y + 21}" font-size="15" font-weight="bold">{name}</text>{texts}'
    )


def main() -> None:
    """Write the picture to the path of the command line."""
    Path(sys.argv[1]).write_text(picture(import_graph()), encoding="utf-8")


if __name__ == "__main__":
    main()
