"""Cells of an experiment: saved one by one, so that a run goes on, and told as means with their spread."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.runtime.files import replacing

Cell = dict[str, Any]


class Cells:
    """Cells in the order in which they were measured, and in a file, if there is one.

    `key` names the fields that tell cells apart. The file begins with the commit and the `arguments` that
    the figures depend on; the program ends with a message if either differs.
    """

    def __init__(self, file: Path | None, key: Sequence[str], arguments: Mapping[str, Any]) -> None:
        self._file, self._key, self.all = file, tuple(key), list[Cell]()
        self._origin = {"commit": _commit(), "arguments": dict(arguments)}
        if file is not None and file.exists():
            origin, *self.all = map(json.loads, file.read_text().splitlines())
            if origin != self._origin:
                sys.exit(f"{file} has the cells of {origin}, not of {self._origin}: name another place")

    def __contains__(self, cell: Mapping[str, Any]) -> bool:
        return any(all(known[field] == cell[field] for field in self._key) for known in self.all)

    def add(self, cell: Cell) -> None:
        """To stderr as well."""
        print(json.dumps(cell), file=sys.stderr, flush=True)
        self.all.append(cell)
        if self._file is not None:
            with replacing(self._file) as out:
                out.write("".join(f"{json.dumps(line)}\n" for line in (self._origin, *self.all)).encode())


def _commit() -> str:
    """Of this checkout, with "-dirty" behind it if files differ; empty outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    return subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip()


def paired(cells: Sequence[Cell], default: str, repeat: str) -> list[Cell]:
    """A line for each method: average and worst group as mean ± standard deviation over the repeats, and the
    differences to the method `default`, each within its repeat, the field of that name."""
    of_default = {cell[repeat]: cell for cell in cells if cell["method"] == default}
    lines = []
    for method in dict.fromkeys(cell["method"] for cell in cells):
        mine = [cell for cell in cells if cell["method"] == method]
        pairs = [(cell, of_default[cell[repeat]]) for cell in mine if cell[repeat] in of_default]
        line: Cell = {"method": method, "runs": len(mine)}
        for figure in ("average", "worst"):
            gains = [cell[figure] - other[figure] for cell, other in pairs if method != default]
            line[figure] = _spread([cell[figure] for cell in mine])
            line[f"{figure} − default"] = _spread(gains, sign="+") if gains else None
        lines.append(line)
    return lines


def _spread(figures: Sequence[float], sign: str = "") -> str:
    mean = format(float(np.mean(figures)), f"{sign}.3f")
    return f"{mean} ± {np.std(figures, ddof=1):.3f}" if len(figures) > 1 else mean
