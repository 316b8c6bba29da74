"""Heads beside the default, with their spread: `python -m research.rivals.paired [--data FOLDER]`.

The plants and the digits on photographs of `research.rivals` as they are, one run a seed, and three cuts of
each kind of plants without a shortcut. Prints a table for each: average and worst group on the test half as
mean ± standard deviation, and each method's difference to the default on the same run; beside them what was
published, with the labels used for it. With `--cells`, every cell is saved, and a run goes on where it was
cut off; that file is of one commit and of the same arguments. Ends with one JSON line; there are no targets.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks._common import finish, make_run, table, work_folder
from models.runtime.process import prepare_process
from research._cells import Cells, OtherCells, paired
from research.rivals.cases import add_sets, figures_on_test, parse, read_training
from research.rivals.features import FeatureCache
from research.rivals.methods import DEFAULT, RIVALS
from research.rivals.sets import BUILTIN, NO_SHORTCUT, OWN_SHARE, PLANTS, Case, read_cases

_METHODS = ("erm", "control", "leia", "nsf", DEFAULT)
_KEY = ("set", "share", "repeat", "method")


def main() -> int:
    parser = argparse.ArgumentParser("python -m research.rivals.paired", description=_summary())
    add_sets(parser)
    parser.add_argument("--methods", nargs="+", choices=RIVALS, default=list(_METHODS))
    parser.add_argument("--cells", type=Path, help="a file of cells: read, and written after each")
    arguments = parse(parser)
    arguments.sets = [kind for kind in arguments.sets if kind in (*PLANTS, BUILTIN)]
    prepare_process(arguments.threads)
    origin = {"backbone": arguments.backbone, "threads": arguments.threads, "first seed": arguments.seeds[0]}
    try:
        cells = Cells(arguments.cells, _KEY, origin)
    except OtherCells as error:
        parser.error(str(error))
    with work_folder(arguments.cache) as folder:
        for case in _cases(arguments, FeatureCache(folder, arguments.backbone)):
            _measure(case, arguments.methods, cells)
    for kind, share in dict.fromkeys((cell["set"], cell["share"]) for cell in cells.all):
        mine = [cell for cell in cells.all if (cell["set"], cell["share"]) == (kind, share)]
        lines = [line | _published(line["method"]) for line in paired(mine, DEFAULT, "repeat")]
        print(f"{kind}, {share:.0%}", table(lines), sep="\n", end="\n\n", flush=True)
    return finish("rivals.paired", make_run("cpu", arguments.seeds[0], "paired"), rows=cells.all, aims={})


def _cases(arguments: argparse.Namespace, cache: FeatureCache) -> Iterator[Case]:
    for kind in arguments.sets:
        for case in read_cases(kind, arguments.data, cache, seeds=arguments.seeds, quick=arguments.quick):
            if case.kind == kind and case.share in (OWN_SHARE, NO_SHORTCUT) and not case.gate_only:
                yield case


def _measure(case: Case, methods: list[str], cells: Cells) -> None:
    base = {"set": case.kind, "share": case.share, "repeat": case.repeat}
    missing = [name for name in methods if base | {"method": name} not in cells]
    if not missing:
        return
    training = read_training(case)
    for name in missing:
        cells.add(base | {"method": name} | figures_on_test(case, RIVALS[name].fit(training).head))


def _published(method: str) -> dict[str, object]:
    published = RIVALS[method].published
    figures = {"Waterbirds": published.waterbirds, "CelebA": published.celeba}
    return {**figures, "its labels": published.labels}


def _summary() -> str:
    return (__doc__ or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
