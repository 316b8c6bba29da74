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
ROOT = Path(__file__).parents[1]
_FIGURES = ("average", "worst")


class OtherCells(Exception):
    """The file has cells of another commit or of other arguments."""


class Cells:
    """Cells in the order in which they were measured, and in a file, if there is one.

    `key` names the fields that tell cells apart. The file begins with the commit and the `arguments` that
    the figures depend on. Raises OtherCells unless both are the same.
    """

    def __init__(self, file: Path | None, key: Sequence[str], arguments: Mapping[str, Any]) -> None:
        self._file, self._key = file, tuple(key)
        self._origin = {"commit": commit(), "arguments": dict(arguments)}
        self.all: list[Cell] = []
        if file is not None and file.exists():
            origin, *self.all = map(json.loads, file.read_text().splitlines())
            if origin != self._origin:
                raise OtherCells(
                    f"{file} has the cells of {origin}, not of {self._origin}: name another file"
                )

    def __contains__(self, cell: Mapping[str, Any]) -> bool:
        return any(all(known[field] == cell[field] for field in self._key) for known in self.all)

    def add(self, cell: Cell) -> None:
        """To stderr as well."""
        print(json.dumps(cell), file=sys.stderr, flush=True)
        self.all.append(cell)
        if self._file is not None:
            lines = "".join(f"{json.dumps(line)}\n" for line in (self._origin, *self.all))
            with replacing(self._file) as out:
                out.write(lines.encode())


def commit() -> str:
    """Of this checkout, with "-dirty" behind it if files differ; "unknown" outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, text=True)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def paired(cells: Sequence[Cell], default: str, repeat: str) -> list[Cell]:
    """A line for each method: average and worst group as mean ± standard deviation over the repeats, and the
    differences to the method `default`, each within its repeat, the field of that name."""
    by_method: dict[str, dict[Any, Cell]] = {}
    for cell in cells:
        by_method.setdefault(cell["method"], {})[cell[repeat]] = cell
    lines = []
    for method, mine in by_method.items():
        line: Cell = {"method": method, "runs": len(mine)}
        for figure in _FIGURES:
            line[figure] = _spread([cell[figure] for cell in mine.values()])
        other = by_method.get(default, {})
        is_paired = method != default and other.keys() >= mine.keys()
        for figure in _FIGURES:
            gains = (
                [cell[figure] - other[number][figure] for number, cell in mine.items()] if is_paired else []
            )
            line[f"{figure} − default"] = _spread(gains, sign="+") if gains else None
        lines.append(line)
    return lines


def _spread(figures: Sequence[float], sign: str = "") -> str:
    mean = format(float(np.mean(figures)), f"{sign}.3f")
    return f"{mean} ± {np.std(figures, ddof=1):.3f}" if len(figures) > 1 else mean
