"""Masks whose size is measured (`masking.sigmas = "auto"`) beside fixed ones and the control.

    python -m research.auto_sigmas [--mnist ../shared/data/mnist] [--sets ring square none]
        [--seeds 0 1] [--batch-size 32] [--plants stampplants.zip] [--work FOLDER]

`ring`: MNIST's halves, with a ring of 5×5 px in the upper left corner of 98 % of the digits 5–9 and 2 % of
the others; in the test split it is on the wrong class. `square`: Biased MNIST in the order of the preset,
where 2 standard deviations suffice. `none`: the halves with a ring on half of each, which tells nothing.
16,000 training images each. `--plants` adds finetuned photographs with their background as shortcut. Ends
with one JSON line; exits with 1 if a target is missed, and with 2 if the data is absent.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks._common import Aim, add_machine, finish, make_run, packed, predict, table, work_folder
from benchmarks._selective_images import lite0, open_plants
from masktune.contract.hyperparameters import Hyperparameters, MaskingConfig, OptimizerConfig
from models.backbones.network import Network
from models.data.importing.builtin import HALVES, BuiltinData, BuiltinOptions, make_builtin
from models.data.layout import DatasetInfo
from models.data.store import Store
from models.masking.compute import load_or_compute_masks
from models.sigmas import fix_sigmas
from models.masking.store import MaskSet
from models.masktune import continue_as_control, finetune, fit_erm
from models.run import Run
from models.runtime.process import prepare_process
from models.training.checkpoints import CheckpointFolder
from models.inputs import new_network
from research._data import require
from tests.support.arrays import Arrays

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
DIGIT_SETS = ("ring", "square", "none")
_TRAIN, _VAL = 16_000, 4_000
_RING = 5  # pixels
_EPOCHS = {"ring": 6, "square": 3, "none": 4, "plants": 3}


@dataclass(frozen=True)
class Case:
    """A data set with its network and the pixels (H, W) bool of its shortcut, if that has a place."""

    name: str
    store: Store
    network: Network
    config: Hyperparameters
    shortcut: NDArray[np.bool_] | None = None


def main() -> int:
    arguments = _arguments()
    prepare_process(arguments.threads)
    rows: list[dict[str, Any]] = []
    with work_folder(arguments.work) as folder:
        for seed in arguments.seeds:
            run = make_run(arguments.device, seed, f"seed {seed}")
            for case in _cases(arguments, seed, folder):
                mine = list(_arms(case, run, folder / f"{case.name}-{seed}-{arguments.batch_size}"))
                print(table(mine), flush=True)
                rows += mine
    print(table(rows))
    return finish("auto_sigmas", run, rows=rows, aims=_aims(rows))


def _arms(case: Case, run: Run, folder: Path) -> Iterator[dict[str, Any]]:
    """A row for ERM, for MaskTune with each size of masks, and for the control."""
    network, store, config = case.network, case.store, case.config
    fit_erm(network, store, config, run, folder=folder / "erm")
    auto, choice = fix_sigmas(network, store, config, run)
    assert choice is not None
    for point in choice.curve:
        print(
            f"{case.name}: {point.sigmas:g} masks {point.masked_share:.3f}, own {point.own.accuracy:.3f}, "
            f"elsewhere {point.elsewhere.accuracy:.3f}",
            file=sys.stderr,
        )
    fixed = {name: replace(config, masking=config.masking.with_chosen(float(name))) for name in ("2", "1")}
    yield _row(case, run, "erm")
    start = CheckpointFolder(folder / "erm").last()
    for name, chosen in (fixed | {"auto": auto}).items():
        fit_erm(network, store, config, run, folder=folder / "erm")  # loads it: the first maps are ERM's
        place = folder / f"sigmas-{name}"
        _, sets = finetune(
            *(network, store, chosen, run),
            start=start,
            masks=partial(_masks, network, store, chosen, run, place),
            checkpoints=partial(_numbered, place / "finetune"),
        )
        reason = choice.reason if name == "auto" else None
        yield _row(case, run, f"sigmas {name}", chosen.masking, sets[0], reason)
    continue_as_control(network, store, auto, run, folder=folder / "control", start=start)
    yield _row(case, run, "control")


def _masks(
    network: Network, store: Store, config: Hyperparameters, run: Run, folder: Path, iteration: int
) -> MaskSet:
    place = _numbered(folder / "masks", iteration)
    return load_or_compute_masks(network, store, config, run, folder=place, iteration=iteration)


def _numbered(folder: Path, iteration: int) -> Path:
    return folder.with_name(f"{folder.name}-{iteration + 1}")


def _row(
    case: Case,
    run: Run,
    arm: str,
    masking: MaskingConfig | None = None,
    masks: MaskSet | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    """The accuracy on test, its lowest over the groups, and what the first masks cover."""
    test = case.store.rows("test")
    logits = predict(case.network, case.store, test, case.config, run)
    right, groups = logits.labels == logits.predictions, case.store.groups[test]
    return {
        "set": case.name,
        "seed": run.seed,
        "arm": arm,
        "accuracy": float(right.mean()),
        "worst_group": min(float(right[groups == group].mean()) for group in np.unique(groups)),
        "sigmas": None if masking is None else masking.fixed_sigmas,
        "iterations": None if masking is None else masking.iterations,
        "reason": reason,
        "masked": None if masks is None else masks.masked_share,
        "shortcut_masked": _covered(case, masks),
    }


def _covered(case: Case, masks: MaskSet | None) -> float | None:
    """The masked share of the shortcut's pixels, in the training images that have it."""
    if masks is None or case.shortcut is None:
        return None
    rows = case.store.rows("train")
    marked = rows[case.store.groups[rows] % 2 == 1]
    masked = masks.masks(torch.from_numpy(marked), case.config.image_size, torch.device("cpu")).numpy()
    return float(masked[:, case.shortcut].mean())


def _aims(rows: Sequence[dict[str, Any]]) -> dict[str, Aim]:
    """The ring is unlearnt; where 2 standard deviations are right, auto is as good."""
    by_case: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    for row in rows:
        by_case.setdefault((row["set"], row["seed"]), {})[row["arm"]] = row
    aims = {}
    for (name, seed), arms in by_case.items():
        auto, control = arms["sigmas auto"]["accuracy"], arms["control"]["accuracy"]
        if name == "ring":
            aims[f"ring/{seed}/accuracy"] = Aim(auto, at_least=0.85)
            aims[f"ring/{seed}/above_control"] = Aim(auto - control, at_least=0.08)
        elif name in ("square", "plants"):
            aims[f"{name}/{seed}/below_2"] = Aim(arms["sigmas 2"]["accuracy"] - auto, at_most=0.01)
    return aims


def _cases(arguments: argparse.Namespace, seed: int, folder: Path) -> Iterator[Case]:
    for name in arguments.sets:
        place = folder / f"{name}-{seed}"
        if not place.exists():
            packed(place, *_digits(name, BuiltinOptions(root=arguments.mnist, seed=seed)))
        store = Store.open(place)
        config = Hyperparameters(epochs=_EPOCHS[name], batch_size=arguments.batch_size, seed=seed)
        config = replace(config, masking=replace(config.masking, sigmas="auto"))
        yield Case(name, store, new_network(store, config), config, _shortcut(name))
    if arguments.plants:
        store = open_plants(arguments.plants, folder / "plants", parts=10)
        config = Hyperparameters(
            backbone="timm/tf_efficientnet_lite0",
            image_size=96,
            epochs=_EPOCHS["plants"],
            optimizer=OptimizerConfig(learning_rate=0.003),
            seed=seed,
        )
        config = replace(config, masking=replace(config.masking, sigmas="auto"))
        yield Case("plants", store, lite0(len(store.classes), config.image_size), config)


def _digits(name: str, options: BuiltinOptions) -> tuple[Arrays, DatasetInfo]:
    rng = np.random.default_rng(options.seed)
    if name == "square":
        data = make_builtin("biased-mnist", replace(options, assignment="order"))
        groups = data.groups
    else:
        data = make_builtin("mnist", options)
        groups = None
    splits = _splits(data, rng)
    rows = np.flatnonzero(splits != "")
    images, splits = data.images[rows].copy(), splits[rows]
    if groups is not None:
        labels, groups = data.labels[rows], groups[rows]
    else:
        labels = (data.labels[rows] >= 5).astype(np.int64)
        share = np.full(len(rows), 0.5) if name == "none" else np.where(labels == 1, 0.98, 0.02)
        if name == "ring":
            share[splits == "test"] = 1 - labels[splits == "test"]
        ringed = rng.random(len(rows)) < share
        images[ringed] = _with_ring(images[ringed])
        groups = 2 * labels + ringed
    names = tuple(f"{half}{mark}" for half in HALVES for mark in ("", " marked"))
    return Arrays(images, labels, splits.tolist(), groups), DatasetInfo(name, "builtin", HALVES, names)


def _splits(data: BuiltinData, rng: np.random.Generator) -> NDArray[np.str_]:
    """The split of each image, "" for one that is left out."""
    given = np.array(data.splits)
    splits = np.full(len(given), "", given.dtype)
    splits[given == "test"] = "test"
    if "val" in given:
        chosen = {"train": rng.permutation(np.flatnonzero(given == "train"))[:_TRAIN]}
        chosen["val"] = rng.permutation(np.flatnonzero(given == "val"))[:_VAL]
    else:
        order = rng.permutation(np.flatnonzero(given == "train"))
        chosen = {"train": order[:_TRAIN], "val": order[_TRAIN : _TRAIN + _VAL]}
    for split, rows in chosen.items():
        splits[rows] = split
    return splits


def _with_ring(images: Images) -> Images:
    ringed = images.copy()
    ringed[:, _shortcut("ring")] = 255
    return ringed


def _shortcut(name: str) -> NDArray[np.bool_]:
    """The pixels (28, 28) of the ring or the square."""
    place = np.zeros((28, 28), bool)
    if name == "square":
        place[:4, :4] = True
    else:
        place[:_RING, :_RING] = True
        place[1 : _RING - 1, 1 : _RING - 1] = False
    return place


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", type=Path, default=Path("../shared/data/mnist"))
    parser.add_argument("--sets", nargs="*", choices=DIGIT_SETS, default=list(DIGIT_SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--plants", type=Path, help="a zip in the Waterbirds layout")
    add_machine(parser)
    arguments = parser.parse_args()
    require(parser, arguments.mnist if arguments.sets else None, arguments.plants)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
