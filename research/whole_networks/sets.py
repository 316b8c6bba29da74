"""Small images with a shortcut, packed, and how long a network is trained on each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks._common import packed
from masktune.contract.hyperparameters import BiasAssignment, Hyperparameters, OptimizerConfig
from models.backbones.network import Network
from models.data.importing.builtin import BuiltinOptions, make_builtin
from models.data.layout import DatasetInfo
from models.data.store import Store
from models.defaults import default_hyperparameters
from models.inputs import new_network
from models.mitigation.logistic import folds
from models.run import Run
from models.types import Bools, Labels
from research.pattern_kinds import pattern_images
from research.rivals.sets import BUILTIN, coloured_digits
from tests.support.arrays import Arrays

_IMAGES = {"train": 16_000, "val": 4_000, "test": 10_000}  # of Biased MNIST
_VAL_PARTS = 10  # one of them is the share that the service cuts from train where no val is given
_LITE0 = "timm/tf_efficientnet_lite0"


@dataclass(frozen=True)
class Experiment:
    """A training set with one seed; what several methods need of it is kept in `folder`."""

    store: Store
    config: Hyperparameters
    run: Run
    folder: Path

    @property
    def epochs(self) -> int:
        """What each method's network has in all: ERM's, and those of the finetune or of the control."""
        return self.config.epochs + self.config.finetune.epochs

    def new_network(self) -> Network:
        return new_network(self.store, self.config)


class Plan(NamedTuple):
    """`make(mnist, seed)` paints a set; groups are what the worst is sought among, in test alone. The epochs
    of ERM and of the finetune make an even number, since SAM has half. With `arms_alone`, only the arms of
    MaskTune and the default are trained."""

    make: Callable[[Path | None, int], Arrays]
    epochs: int
    image_size: int = 28
    needs_mnist: bool = True
    backbone: str | None = None
    rate: float = 0.01
    arms_alone: bool = False


def open_experiment(
    name: str, mnist: Path | None, run: Run, folder: Path, *, epochs: int | None = None
) -> Experiment:
    """Pack the set into `folder`, unless it is there. Networks, batches and finetunes are as the service has
    them for a set of that size, but for the plan's own; `epochs` instead of its are for a smoke run."""
    plan, place = PLANS[name], folder / f"{name}-{run.seed}"
    if not (place / "images").exists():
        arrays = plan.make(mnist, run.seed)
        classes = tuple(str(label) for label in np.unique(arrays.labels))
        place.mkdir(parents=True, exist_ok=True)
        packed(place / "images", arrays, DatasetInfo(name, "research", classes))
    store = Store.open(place / "images")
    trained = len(store.rows("train"))
    config = default_hyperparameters(
        plan.image_size,
        trained,
        len(store.classes),
        backbone=plan.backbone,
        pretrained=plan.backbone is not None,
    )
    config = replace(
        config,
        image_size=plan.image_size,
        epochs=epochs or plan.epochs,
        augmentation="none",
        freeze_backbone=False,
        optimizer=OptimizerConfig(learning_rate=plan.rate),
        seed=run.seed,
    )
    return Experiment(store, config, run, place)


def _biased_mnist(assignment: BiasAssignment, mnist: Path | None, seed: int) -> Arrays:
    """16,000 images of the paper's set, drawn at random; in test the square is on the wrong class."""
    arrays = make_builtin("biased-mnist", BuiltinOptions(root=mnist, seed=seed, assignment=assignment))
    assert arrays.splits is not None
    splits, rng = np.array(arrays.splits), np.random.default_rng([seed, 6])
    rows = [rng.permutation(np.flatnonzero(splits == name))[:count] for name, count in _IMAGES.items()]
    chosen = np.sort(np.concatenate(rows))
    return Arrays(arrays.images[chosen], arrays.labels[chosen], splits[chosen].tolist(), arrays.labels[chosen])


def _digits_on_colours(mnist: Path | None, seed: int) -> Arrays:
    """Ten digits, 99 % on the colour of their class, in test on random ones; the worst is that of a class."""
    assert mnist is not None
    train, test = coloured_digits(mnist, "train", 0.99), coloured_digits(mnist, "t10k", 0.1)
    images, labels = (np.concatenate([train[part], test[part]]) for part in (0, 1))
    tested = np.arange(len(labels)) >= len(train[1])
    return Arrays(images, labels, _splits(labels, tested, seed), labels)


def _digits_on_photographs(_: Path | None, seed: int) -> Arrays:
    arrays = make_builtin(BUILTIN)
    assert arrays.splits is not None
    tested = np.array(arrays.splits) == "test"
    return Arrays(arrays.images, arrays.labels, _splits(arrays.labels, tested, seed), arrays.groups)


def _date_stamp(_: Path | None, seed: int) -> Arrays:
    """Digits on photographs, a date in a corner on 95 % of one class and 5 % of the other."""
    images, labels, places, tested = pattern_images("date", 0)
    return Arrays(images, labels, _splits(labels, tested, seed), labels * 2 + places)


def _splits(labels: Labels, tested: Bools, seed: int) -> list[str]:
    """A tenth of what is not tested selects the epoch: with the shortcut, as in training."""
    names = np.where(tested, "test", "train").astype("<U5")
    others = np.flatnonzero(~tested)
    fold = folds(labels[others], count=_VAL_PARTS, rng=np.random.default_rng([seed, 7]))
    names[others[fold == 0]] = "val"
    return list(names.tolist())


PLANS = {
    "biased-mnist-random": Plan(partial(_biased_mnist, "random"), epochs=5),
    "biased-mnist-order": Plan(partial(_biased_mnist, "order"), epochs=5),
    "digits-on-colours": Plan(_digits_on_colours, epochs=15),
    "digits-on-photos": Plan(_digits_on_photographs, epochs=12, image_size=64, needs_mnist=False),
    "date-stamp": Plan(
        _date_stamp, epochs=3, image_size=96, needs_mnist=False, backbone=_LITE0, rate=0.003, arms_alone=True
    ),
}
