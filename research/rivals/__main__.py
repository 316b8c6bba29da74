"""Methods around MaskTune beside the product's own: the same features, budget and seeds, no group labels.

    python -m research.rivals [--data FOLDER] [--sets background camera coin …] [--methods …]
        [--seeds 0 1 2] [--quick] [--shares 0.95 0.5] [--backbone NAME] [--cache FOLDER] [--cells FILE]

The features are those of a frozen network with ImageNet weights, EfficientNet-Lite0 unless named otherwise,
the plants at 128 px and the digits at 64 px, computed once and kept in the cache folder. `--data` has mnist/, stampplants.zip,
stampplants-site.zip and stampplants-tag.zip (Waterbirds layout; the shortcut is the background, the camera,
a coin in a corner); without it there is only builtin:digits-on-photos, which ships.
The plants come as they are (95 %, one run a seed), as cuts of 98, 90, 80 and 50 % and of 10 : 1 and 30 : 1
between the classes, which drop training images, and with class and place exchanged; the digits on ten
colours, 99, 95 and 10 % on their class's, and Biased MNIST with its square on 99 %.
The given validation split is balanced over the groups and not read. Prints a table per set, average / worst
group on the test half, one of the minorities that the methods name, and one for each share of the set as it
is: mean ± standard deviation over seeds or cuts, and the differences to the default within them.
`--shares` leaves only the sets as they are and cuts of these shares. In the file of `--cells` every cell is
saved, and a run goes on where it was cut off; the file is of one commit and of the same arguments. Ends with
one JSON line; exits with 1 if the default misses a target of `research.rivals.targets`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._common import finish, make_run, table, work_folder
from models.mitigation.finder import infer_minority
from models.mitigation.groups import label_groups
from models.runtime.process import prepare_process
from research._cells import Cells, paired
from research.rivals.cases import add_sets, figures_on_test, parse, read_training
from research.rivals.features import FeatureCache
from research.rivals.methods import CEILING, CEILING_PUBLISHED, DEFAULT, RIVALS
from research.rivals.protocol import CONFIG, Fit, Training, retrain
from research.rivals.sets import NO_SHORTCUT, RANDOM_COLOURS, Case, read_cases
from research.rivals.targets import Row, aims, gate_aim, mean

_FEWEST_POSITIONS = 9  # of a map


def main() -> int:
    arguments = _arguments()
    prepare_process(arguments.threads)
    run = make_run("cpu", arguments.seeds[0], "rivals")
    origin = {"backbone": arguments.backbone, "threads": arguments.threads, "first seed": arguments.seeds[0]}
    cells = Cells(arguments.cells, ("set", "share", "repeat", "method"), origin)
    opened: list[bool] = []
    with work_folder(arguments.cache) as folder:
        cache = FeatureCache(folder, arguments.backbone)
        for kind in arguments.sets:
            for case in read_cases(kind, arguments.data, cache, seeds=arguments.seeds, quick=arguments.quick):
                if arguments.shares and (case.kind != kind or case.share not in arguments.shares):
                    continue
                if case.gate_only:
                    opened.append(_gate_opens(case))
                    continue
                measured = _measure(case, arguments.methods, cells)
                if case.share in (NO_SHORTCUT, RANDOM_COLOURS):
                    opened += [row["flagged"] is not None for row in measured if row["method"] == DEFAULT]
            mine = [row for row in cells.all if row["set"].startswith(kind)]
            print(table(_accuracies(mine)), table(_minorities(mine)), sep="\n\n", end="\n\n", flush=True)
            for share in dict.fromkeys(row["share"] for row in mine if row["set"] == kind):
                same = [row for row in mine if (row["set"], row["share"]) == (kind, share)]
                lines = table(paired(same, DEFAULT, "repeat"))
                print(f"{kind} {share:.0%}", lines, sep="\n", end="\n\n", flush=True)
    return finish("rivals", run, rows=cells.all, aims=aims(cells.all) | gate_aim(opened))


def _measure(case: Case, methods: Sequence[str], cells: Cells) -> list[Row]:
    """The case's rows, of which those that are not among the cells are measured."""
    training = read_training(case)
    for name in (*methods, CEILING):
        cell = {"set": case.kind, "share": case.share, "repeat": case.repeat, "method": name}
        small = math.prod(training.activations.shape[2:]) <= _FEWEST_POSITIONS
        if cell not in cells and not (name in RIVALS and RIVALS[name].has_views and small):
            cells.add(_row(case, name, _fit(case, name, training)))
    place = (case.kind, case.share, case.repeat)
    return [row for row in cells.all if (row["set"], row["share"], row["repeat"]) == place]


def _fit(case: Case, name: str, training: Training) -> Fit:
    if name != CEILING:
        return RIVALS[name].fit(training)
    true = label_groups(training.labels, case.train.places, classes=training.classes, names=training.classes)
    return Fit(retrain(training, true).head)


def _gate_opens(case: Case) -> bool:
    training = read_training(case)
    features, classes = training.features, training.classes
    return infer_minority(features, CONFIG, classes=classes, seed=training.seed).is_open


def _row(case: Case, method: str, fit: Fit) -> Row:
    """Average and worst group on the test half; what the method names, beside the true minority."""
    row: Row = {
        "set": case.kind,
        "share": case.share,
        "repeat": case.repeat,
        "method": method,
        **figures_on_test(case, fit.head),
        "flagged": None,
        "precision": None,
        "recall": None,
    }
    if fit.minority is not None:
        true = case.train.labels != case.train.places
        hits, flagged = int((fit.minority & true).sum()), int(fit.minority.sum())
        row |= {
            "flagged": flagged,
            "precision": hits / max(flagged, 1),
            "recall": hits / max(int(true.sum()), 1),
        }
    return row


def _accuracies(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Methods × shares: average / worst group, means over seeds or cuts; beside them what was published."""

    def show(method: str, mine: Sequence[Row]) -> str | None:
        if all(row["method"] != method for row in mine):
            return None
        return f"{mean(mine, method, 'average'):.3f} / {mean(mine, method, 'worst'):.3f}"

    summary = []
    for method in dict.fromkeys(row["method"] for row in rows):
        published = CEILING_PUBLISHED if method == CEILING else RIVALS[method].published
        cells = {name: show(method, mine) for name, mine in _by_case(rows).items()}
        figures = {
            "Waterbirds": published.waterbirds,
            "CelebA": published.celeba,
            "its labels": published.labels,
        }
        summary.append({"method": method, **cells, **figures})
    return summary


def _minorities(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Methods × shares: precision / recall of the named minority; "-" where none is named."""

    def show(method: str, mine: Sequence[Row]) -> str | None:
        named = [row for row in mine if row["method"] == method and row["flagged"] is not None]
        if not named:
            return None
        return f"{mean(named, method, 'precision'):.2f} / {mean(named, method, 'recall'):.2f}"

    methods = dict.fromkeys(row["method"] for row in rows)
    return [
        {"named by": method, **{name: show(method, mine) for name, mine in _by_case(rows).items()}}
        for method in methods
    ]


def _by_case(rows: Sequence[Row]) -> dict[str, list[Row]]:
    cases: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        cases[f"{row['set']} {row['share']:.0%}"].append(row)
    return cases


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="python -m research.rivals", description=__doc__.partition("\n")[0])
    add_sets(parser)
    parser.add_argument("--methods", nargs="+", choices=RIVALS, default=list(RIVALS))
    parser.add_argument("--shares", type=float, nargs="+", default=[])
    parser.add_argument("--cells", type=Path, help="a file of cells: read, and written after each")
    return parse(parser)


if __name__ == "__main__":
    sys.exit(main())
