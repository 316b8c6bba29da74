"""Whole networks beside the default: `python -m research.whole_networks [--data FOLDER] --work FOLDER`.

ERM, its control, MaskTune, SAM with three heads, TAB and CMID on small images: Biased MNIST with its square
at random and by digit order, ten digits on ten colours at 99 %, digits on photographs, and a date stamp on
photographs with pretrained weights, the last with MaskTune's arms and the default alone. `--data` has mnist/;
without it there are the two last, which ship. All networks have the same number of gradients, that of ERM and
the finetune together; TAB's helper and CMID's simple model come on top. Where a training has epochs to choose
from, plain accuracy on val chooses; no group is read. The default is ERM whose last layer is balanced over
inferred groups.

Prints a table for each set: average and worst group on test as mean ± standard deviation over the seeds, and
each method's difference to the default on the same seed; beside them what was published. Where the test has
no groups, the worst is a class. Cells are saved in the work folder, and the same command goes on where it
was cut off; they are of one commit and of the same arguments. Ends with one JSON line; there are no targets.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks._common import add_machine, finish, make_run, predict, table, work_folder
from models.evaluation.metrics import metrics
from models.runtime.process import prepare_process
from research._cells import Cell, Cells, paired
from research._data import require
from research.rivals.methods import Published
from research.whole_networks.methods import ARMS, DEFAULT, METHODS, PUBLISHED
from research.whole_networks.sets import PLANS, Experiment, open_experiment

_KEY = ("set", "seed", "method")


def main() -> int:
    arguments = _arguments()
    prepare_process(arguments.threads)
    with work_folder(arguments.work) as folder:
        origin = {name: getattr(arguments, name) for name in ("threads", "device", "epochs")}
        cells = Cells(folder / "cells.jsonl", ("set", "seed", "method"), origin)
        for name in arguments.sets:
            for seed in arguments.seeds:
                run = make_run(arguments.device, seed, f"{name} {seed}")
                experiment = open_experiment(name, arguments.mnist, run, folder, epochs=arguments.epochs)
                for method in arguments.methods:
                    cell = {"set": name, "seed": seed, "method": method}
                    if cell not in cells and (method in ARMS or not PLANS[name].arms_alone):
                        cells.add(cell | _measure(experiment, method))
            mine = [cell for cell in cells.all if cell["set"] == name]
            lines = [line | _published(line["method"]) for line in paired(mine, DEFAULT, "seed")]
            print(name, table(lines), sep="\n", end="\n\n", flush=True)
        return finish("whole_networks", run, rows=cells.all, aims={})


def _measure(experiment: Experiment, method: str) -> Cell:
    started, (network, note) = time.monotonic(), METHODS[method](experiment)
    store, rows = experiment.store, experiment.store.rows("test")
    logits = predict(network, store, rows, experiment.config, experiment.run)
    measured = metrics(logits.labels, logits.predictions, groups=store.groups[rows])
    figures = {"average": measured.accuracy, "worst": measured.worst_group_accuracy}
    return {**figures, "note": note, "seconds": round(time.monotonic() - started, 1)}


def _published(method: str) -> Cell:
    published = PUBLISHED.get(method, Published(None, None, ""))
    return {"Waterbirds": published.waterbirds, "CelebA": published.celeba, "its labels": published.labels}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, help="the folder with mnist/")
    parser.add_argument("--sets", nargs="+", choices=PLANS, default=[])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="of ERM, for a smoke run (default: each set's own)")
    add_machine(parser)
    arguments = parser.parse_args()
    shipped = [name for name, plan in PLANS.items() if not plan.needs_mnist]
    arguments.sets = arguments.sets or (list(PLANS) if arguments.data else shipped)
    if arguments.data is None and not set(arguments.sets) <= set(shipped):
        parser.error(f"only {' and '.join(shipped)} need no --data")
    arguments.mnist = None if arguments.data is None else arguments.data / "mnist"
    require(parser, arguments.mnist)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
