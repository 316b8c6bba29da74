"""A random search for masking settings that work on the plants, judged on a part of the training set.

No true group is used: variants are judged on a third of the training split, cut by class alone, whose
groups are inferred (`cross_mistakes` on the frozen features of the whole training split). The score
is the cross-entropy on that third, as the mean of the inferred groups' means.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._common import predict, table
from benchmarks._selective_images import lite0
from masktune.contract.hyperparameters import (
    Fill,
    FinetuneConfig,
    HeadConfig,
    Hyperparameters,
    MaskingConfig,
    Target,
)
from models.backbones.network import Network
from models.data.loading.batches import make_loader
from models.data.loading.loader_settings import LoaderSettings, Masking, MaskSource
from models.evaluation.metrics import metrics
from models.masking.compute import load_or_compute_masks
from models.masking.rule import apply_masks
from models.masking.store import union
from models.masktune import continue_as_control, finetune_on_masks, fit_erm
from models.mitigation.features import compute_features
from models.mitigation.groups import class_groups, cross_mistakes
from models.probabilities import log_softmax, of_label
from models.mitigation.retrain import retrain_head
from models.run import Run
from models.training.checkpoints import CheckpointFolder
from models.training.fit import load_weights
from research._plants import Plants, cut_earlier, open_plants

_PARTS = 3  # variants are judged on one of them
_BATCH = 64
_GRID: dict[str, Sequence[Any]] = {
    "blocks": (None, 4, 5),
    "target": ("predicted", "label"),
    "sigmas": (0.0, 1.0, 2.0),
    "fill": ("black", "mean", "blur"),
    "iterations": (1, 2),
    "rate": (None, 0.01),
    "frozen": (False, True),
}


@dataclass(frozen=True)
class Variant:
    """`blocks`: where the network is cut for its maps, None for the end. `rate` None: ERM's last rate.

    `frozen`: fit a head to the untouched backbone's features of masked images, in place of a finetune.
    """

    blocks: int | None = None
    target: Target = "predicted"
    sigmas: float = 2.0
    fill: Fill = "black"
    iterations: int = 1
    rate: float | None = None
    frozen: bool = False
    masked: bool = True

    @property
    def name(self) -> str:
        return "-".join(str(value).lower() for value in asdict(self).values())


RELEASED, CONTROL = Variant(), Variant(masked=False)
FROZEN_CONTROL = Variant(frozen=True, masked=False)  # the effect of freezing alone


def search(archive: Path, config: Hyperparameters, run: Run, *, folder: Path, tries: int) -> dict[str, Any]:
    """Score the released recipe, the controls and `tries` variants; test the recipe, controls and the best.

    Returns JSON values. `search_seconds` covers this call alone: the whole search if `folder` had none of it.
    """
    started = time.perf_counter()
    cut = open_plants(archive, folder / "plants-cut", parts=_PARTS)
    space = folder / f"search-{config.image_size}-{config.epochs}-seed-{run.seed}"
    judge = _judge_groups(cut, run, folder=folder)
    rows = []
    for variant in (RELEASED, CONTROL, FROZEN_CONTROL, *_draw(tries, run.seed)):
        network = train_variant(variant, cut, config, run, folder=folder, space=space / "cut")
        logits = predict(network, cut.store, cut.store.rows("val"), config, run)
        losses = -of_label(log_softmax(logits.logits), logits.labels)
        means = [float(losses[judge == group].mean()) for group in np.unique(judge)]
        rows.append({**asdict(variant), "accuracy": float((logits.labels == logits.predictions).mean())})
        rows[-1] |= {"score": float(np.mean(means))}
    print(table(rows))
    best = min(rows, key=lambda row: float(row["score"]))
    chosen = Variant(**{k: v for k, v in best.items() if k in Variant.__dataclass_fields__})
    spent = time.perf_counter() - started
    whole = open_plants(archive, folder / "plants", parts=10)
    tested = {}
    final = {"released": RELEASED, "control": CONTROL, "frozen control": FROZEN_CONTROL, "chosen": chosen}
    for name, variant in final.items():
        network = train_variant(variant, whole, config, run, folder=folder, space=space / "whole")
        tested[name] = _test(network, whole, config, run)
        print(f"search, {name}: {tested[name]}", flush=True)
    summary = {"tried": rows, "chosen": asdict(chosen), "search_seconds": spent, "test": tested}
    return summary | {"judge_groups": np.bincount(judge).tolist()}


def _draw(tries: int, seed: int) -> Iterator[Variant]:
    rng = np.random.default_rng([seed, 3])
    tried = {RELEASED}
    while len(tried) <= tries:
        picked = {name: values[int(rng.integers(len(values)))] for name, values in _GRID.items()}
        variant = Variant(**picked)
        if variant.frozen:  # these two settings apply to the finetune only
            variant = replace(variant, iterations=1, rate=None)
        if variant not in tried:
            tried.add(variant)
            yield variant


def _judge_groups(cut: Plants, run: Run, *, folder: Path) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Inferred groups of the judging third, in the order of its rows."""
    network = lite0(len(cut.store.classes), 128).to(run.device)
    rows = cut.training_rows()
    loader = make_loader(cut.store, rows, LoaderSettings(128, _BATCH), run)
    features = compute_features(network, loader, run)
    groups = cross_mistakes(features, HeadConfig(), classes=cut.store.classes, seed=run.seed)
    return groups.assigned[np.isin(rows, cut.store.rows("val"))]


def train_variant(
    variant: Variant, plants: Plants, config: Hyperparameters, run: Run, *, folder: Path, space: Path
) -> Network:
    """Train ERM (once for all variants, in `space`), compute masks, and train the variant on them."""
    store = plants.store
    if variant.frozen and not variant.masked:
        return _frozen_head(plants, config, run, folder=folder, masks=None)
    network = lite0(len(store.classes), config.image_size)
    fit_erm(network, store, config, run, folder=space / "erm")
    last = CheckpointFolder(space / "erm").last()
    if not variant.masked:
        continue_as_control(network, store, config, run, folder=space / "control", start=last)
        return network
    masking = MaskingConfig(
        target=variant.target, sigmas=variant.sigmas, fill=variant.fill, iterations=variant.iterations
    )
    config = replace(config, masking=masking, finetune=FinetuneConfig(learning_rate=variant.rate))
    start, sets = last, list[MaskSource]()
    for iteration in range(variant.iterations):
        looking = network if variant.blocks is None else cut_earlier(network, variant.blocks)
        place = space / variant.name
        sets.append(load_or_compute_masks(looking, store, config, run, folder=place / f"masks-{iteration}"))
        if variant.frozen:
            return _frozen_head(plants, config, run, folder=folder, masks=union(sets))
        tuned = place / f"finetune-{iteration}"
        finetune_on_masks(
            network, store, config, run, folder=tuned, start=start, masks=union(sets), iteration=iteration
        )
        start = CheckpointFolder(tuned).last()
    load_weights(network, start)
    return network


def _frozen_head(
    plants: Plants, config: Hyperparameters, run: Run, *, folder: Path, masks: MaskSource | None
) -> Network:
    """The untouched backbone with a head fitted to the (masked) training images, balanced over classes."""
    store = plants.store
    network = lite0(len(store.classes), config.image_size).to(run.device)
    fill = partial(apply_masks, fill=config.masking.fill)
    masking = None if masks is None else Masking(masks, fill)
    settings = LoaderSettings(config.image_size, _BATCH, masking=masking)
    features = compute_features(network, make_loader(store, store.rows("train"), settings, run), run)
    groups = class_groups(features.labels, store.classes)
    retrain_head(network, features, groups, HeadConfig(), seed=run.seed, device=run.device)
    return network


def _test(network: Network, plants: Plants, config: Hyperparameters, run: Run) -> dict[str, float]:
    store = plants.store
    logits = predict(network, store, store.rows("test"), config, run)
    measured = metrics(logits.labels, logits.predictions, groups=store.groups[logits.rows])
    assert measured.worst_group_accuracy is not None
    return {"average": measured.accuracy, "worst_group": measured.worst_group_accuracy}
