"""What the commands of this package share: which sets they read, how a method sees one, how it is tested."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from models.mitigation.features import Head
from research._data import require
from research.rivals.features import BACKBONE, frozen_network
from research.rivals.protocol import Training
from research.rivals.sets import BUILTIN, PLANTS, SETS, Case


def add_sets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, help="the folder with the plants and mnist/")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--quick", action="store_true", help="the sets as they are, and one without a shortcut"
    )
    parser.add_argument("--backbone", default=BACKBONE, help="the frozen network (default: %(default)s)")
    parser.add_argument("--cache", type=Path, help="a folder for features (default: a temporary one)")
    parser.add_argument("--threads", type=int, default=2)


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments; without `--data` only the set that ships can be read."""
    arguments = parser.parse_args()
    arguments.sets = arguments.sets or (SETS if arguments.data else [BUILTIN])
    if arguments.data is None and arguments.sets != [BUILTIN]:
        parser.error(f"only {BUILTIN} needs no --data")
    if arguments.data is not None:
        folders = [PLANTS.get(kind, "mnist") for kind in arguments.sets if kind != BUILTIN]
        require(parser, *(arguments.data / name for name in folders))
    return arguments


def read_training(case: Case) -> Training:
    """What methods may see: no place."""
    train, seed = case.train, case.seed
    network = frozen_network(train.backbone, train.images.shape[1], int(train.labels.max()) + 1)
    return Training(train.stage_features(), train.images, train.activations, network, seed)


def figures_on_test(case: Case, head: Head) -> dict[str, float]:
    """Average and worst group on the test half."""
    test = case.test
    right = head.logits(test.last).argmax(1) == test.labels
    cells = np.unique(np.stack([test.labels, test.places], 1), axis=0, return_inverse=True)[1].reshape(-1)
    worst = float((np.bincount(cells, right) / np.bincount(cells)).min())
    return {"average": float(right.mean()), "worst": worst}
