"""Where each model looks, on a sample of one split: predicted labels, saliency maps, and masked shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image

from masktune.contract.hyperparameters import Crop, MaskingConfig
from masktune.contract.report import saliency as section
from masktune.contract.report.saliency import ClassPicture, SaliencyShifts, SaliencySummary
from masktune.contract.vocabulary import Arm
from models.backbones.network import Network
from models.data.batches import Batch
from models.data.store import Store
from models.evaluation.masking_cost import MaskingCost, masking_cost, predict_under_masks
from models.evaluation.metrics import Names
from models.masking.compute import method_of, target_of
from models.masking.rule import threshold_masks, thresholds
from models.runtime.batched_eval import evaluating, map_batches
from models.runtime.images import Pixels, heatmap, legible, png, thumbnail
from models.saliency import saliency
from models.shortcuts.saliency_summary import MeanMap, mean_maps, saliency_shifts
from models.types import Floats, Labels, Maps
from worker.protocol import ModelSpec
from worker.report.arms import BEFORE, LogitsCache, seeded
from worker.stages.context import StageContext
from worker.stages.passes import loader_for

POOL = 2048
"""Most images of the split that are looked at, evenly spaced: a pass over a huge split is not worth it."""
COSTED = 1024
"""Most images of a split that are masked: each costs four forward passes."""
MAX_CLASSES = 20
"""Most classes with mean maps and inferred slices, those with the most images: enough to look through."""
_PICTURED, _AVERAGED = 8, 64  # classes with a picture; images in the mean image of a class
_SIDE = 160  # pixels per side of a mean map's picture


@dataclass(frozen=True)
class ArmSaliency:
    """One arm on the pool: predicted labels (N,), their probabilities (N,), low-resolution maps (N, h, w).

    The maps explain the class that the job's masks explain. `masking_maps`, from which masks are made, differ
    from `maps` only if the job crops. `masked` (N,) is the share of pixels that the arm's mask would cover.
    """

    network: Network
    labels: Labels
    probabilities: Floats
    maps: Maps
    masking_maps: Maps
    masked: Floats


@dataclass(frozen=True)
class SaliencyPool:
    """Samples `rows` of `split`, which has `split_size`, and where the models of a job, the controls apart,
    look in them. The model before comes first.
    """

    split: str
    split_size: int
    rows: Labels
    arms: Mapping[Arm, ArmSaliency]
    before: Arm
    after: Arm | None
    """The treatment that the report is about, if its maps have the same size as the first one's."""


def explain_pool(
    context: StageContext,
    models: Mapping[Arm, ModelSpec],
    cache: LogitsCache,
    *,
    split: str,
    after: Arm | None,
) -> SaliencyPool:
    """Run each of these models over the pool: one pass, or two if the job crops. Raises Stopped."""
    of_split = context.store.rows(split)
    rows = evenly(of_split, POOL)
    explained = {arm: _explain(context, model, cache, rows) for arm, model in models.items()}
    order = sorted(explained, key=lambda arm: (arm not in BEFORE, list(Arm).index(arm)))
    arms = {arm: explained[arm] for arm in order}
    before = order[0]
    comparable = after in order[1:] and arms[after].maps.shape == arms[before].maps.shape
    return SaliencyPool(split, len(of_split), rows, arms, before, after if comparable else None)


def evenly(rows: Labels, count: int) -> Labels:
    """At most `count` of the rows, evenly spaced."""
    places = np.linspace(0, len(rows) - 1, min(count, len(rows)))
    return rows[np.unique(places.astype(np.int64))]


def _explain(context: StageContext, model: ModelSpec, cache: LogitsCache, rows: Labels) -> ArmSaliency:
    network, config = cache.network(model), masking_of(context)

    def answer(batch: Batch) -> tuple[torch.Tensor, ...]:
        explained = saliency(network, batch.images, method=method_of(config), target=target_of(config, batch))
        top = explained.logits.float().softmax(1).max(1)
        masked = mask_of(config, explained.maps, batch.images.shape[2]).float().mean((1, 2))
        return tuple(c.cpu() for c in (top.indices, top.values, explained.maps, masked))

    def columns_of_pass(crop: Crop) -> Iterator[NDArray[Any]]:
        with cache.passes.next() as run, evaluating(network):
            columns = list(map_batches(loader_for(context, network, rows, run, crop=crop), run, answer))
        return (torch.cat(column).numpy() for column in zip(*columns, strict=True))

    labels, probabilities, maps, masked = columns_of_pass("none")
    masking_maps = maps
    if config.crop != "none":
        _, _, masking_maps, masked = columns_of_pass(config.crop)
    return ArmSaliency(
        network, labels, probabilities.astype(np.float64), maps, masking_maps, masked.astype(np.float64)
    )


def masking_of(context: StageContext) -> MaskingConfig:
    """The masking of the job; the defaults for a job that masks nothing."""
    return MaskingConfig.from_json(context.spec.params.get("masking") or {})


def mask_of(config: MaskingConfig, maps: torch.Tensor, side: int) -> torch.Tensor:
    """The masks (B, side, side), bool, that the finetune would make of these maps (B, h, w)."""
    size = (side, side)
    return threshold_masks(maps, thresholds(maps, size, sigmas=config.sigmas, share=config.share), size)


# --- the mean map of a class, and what moved ---------------------------------------------------


def make_saliency(context: StageContext, pool: SaliencyPool, *, folder: Path) -> SaliencySummary:
    """The section `saliency`; its pictures are written to `folder`."""
    store, classes = context.store, largest_classes(context.store, pool.rows)
    means = {}
    for arm, arm_saliency in pool.arms.items():
        maps_of_classes = mean_maps(arm_saliency.maps, classes.labels, classes=store.classes)
        means[arm] = [maps_of_classes[code] for code in classes.codes]
    shift = None
    if pool.after is not None:
        before, after = pool.arms[pool.before].maps, pool.arms[pool.after].maps
        shifts = saliency_shifts(before, after, classes.labels, classes=store.classes)
        of_classes = tuple(shifts.classes[code] for code in classes.codes)
        shift = SaliencyShifts.model_validate(replace(shifts, classes=of_classes))
    return SaliencySummary(
        split=pool.split,
        n=len(pool.rows),
        split_size=pool.split_size,
        before=pool.before,
        after=pool.after,
        shift=shift,
        mean_maps={
            arm: [section.MeanMap.model_validate(mean) for mean in of_arm] for arm, of_arm in means.items()
        },
        pictures=[
            _pictures(context, pool, [(arm, of_arm[at]) for arm, of_arm in means.items()], folder)
            for at in range(min(_PICTURED, len(classes.codes)))
        ],
        left_out=list(classes.left_out),
    )


def _pictures(
    context: StageContext, pool: SaliencyPool, means: list[tuple[Arm, MeanMap]], folder: Path
) -> ClassPicture:
    """The mean image of one class, and each arm's mean map as a layer over it."""
    _, mean = means[0]
    rows = pool.rows[context.store.labels[pool.rows] == mean.id]
    averaged = evenly(rows, _AVERAGED)
    loader = loader_for(context, pool.arms[pool.before].network, np.sort(averaged))
    # What the images have in common appears sharp in their mean.
    mean_image = torch.cat([batch.images.cpu() for batch in loader.epoch(None)]).mean(0)  # (3, S, S)
    pixels: Pixels = (mean_image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    picture = thumbnail(legible(pixels), side=_SIDE)
    return ClassPicture(
        class_name=mean.name,
        n=len(rows),
        n_averaged=len(averaged),
        image=save_picture(folder, f"mean-{mean.id}.png", picture),
        heatmaps={
            arm: save_picture(
                folder, f"mean-{mean.id}-{arm}-heatmap.png", heatmap(np.array(of_arm.map), picture.size)
            )
            for arm, of_arm in means
            if of_arm.map is not None
        },
    )


class LargestClasses(NamedTuple):
    """The numbers of the largest classes of some rows. `labels` (N,) are −1 for a class left out."""

    codes: tuple[int, ...]
    labels: Labels
    left_out: tuple[str, ...]


def largest_classes(store: Store, rows: Labels) -> LargestClasses:
    """The largest `MAX_CLASSES`, in the data set's order; classes without rows are not in `left_out`."""
    labels = store.labels[rows]
    counts = np.bincount(labels, minlength=len(store.classes))
    order = [int(c) for c in np.argsort(-counts, kind="stable") if counts[c]]
    codes, left_out = sorted(order[:MAX_CLASSES]), sorted(order[MAX_CLASSES:])
    within = np.where(np.isin(labels, codes), labels, -1)
    return LargestClasses(tuple(codes), within, tuple(store.classes[c] for c in left_out))


def save_picture(folder: Path, name: str, image: Image) -> str:
    """Write the picture as a PNG; return its name."""
    (folder / name).write_bytes(png(image))
    return name


# --- what a model's own mask costs it ------------------------------------------------------------


def costs_of_masks(
    context: StageContext, models: Mapping[Arm, ModelSpec], cache: LogitsCache, *, splits: list[str]
) -> dict[str, dict[Arm, MaskingCost]]:
    """The cost of each model's own mask, on at most 1,024 images of each split. Raises Stopped."""
    store, config = context.store, masking_of(context)
    costs: dict[str, dict[Arm, MaskingCost]] = {}
    for split in splits:
        samples = store.rows(split)
        rows = evenly(samples[store.firsts(samples)], COSTED)  # intervals assume samples without copies
        costs[split] = {}
        for arm, model in models.items():
            network, cropped = cache.network(model), None
            with cache.passes.next() as run:
                whole = loader_for(context, network, rows, run)
                if config.crop != "none":
                    cropped = loader_for(context, network, rows, run, crop=config.crop)
                predictions = predict_under_masks(network, whole, config, run, cropped=cropped)
            costs[split][arm] = masking_cost(
                predictions,
                generator=seeded(run, "mask", split, arm),
                groups=store.groups[predictions.rows] if store.has_groups else None,
                names=Names(store.classes, store.group_names),
            )
    return costs
