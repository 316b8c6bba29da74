"""Where each model looks, on a sample of one split: predicted labels, saliency maps, and masked shares."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL.Image import Image

from masktune.contract.hyperparameters import Crop, Hyperparameters, MaskingConfig
from masktune.contract.report import saliency as section
from masktune.contract.report.saliency import ClassPicture, SaliencyShifts, SaliencySummary
from masktune.contract.vocabulary import Arm
from models.backbones.network import Network
from models.data.store import Store, evenly
from models.evaluation.metrics import Names
from models.masking.compute import PredictionMaps, predict_with_maps
from models.masking.rule import masks_of
from models.runtime.images import Pixels, heatmap, legible, png, thumbnail
from models.shortcuts.masking_cost import (
    MaskedPredictions,
    MaskingCost,
    masking_cost,
    predict_under_masks,
)
from models.shortcuts.saliency_summary import MeanMap, mean_maps, saliency_shifts
from models.training.frozen import backbone_digest
from models.types import Floats, Labels, Maps
from worker.context import StageContext
from worker.networks.features import LogitsCache, loader_for
from worker.report.arms import BEFORE, clusters_of, seeded
from worker.results import ModelSpec

POOL = 2048
"""Most images of the split that are looked at, evenly spaced: a pass over a huge split is not worth it."""
COSTED = 512
"""Most images that are masked: each costs two forward passes more, for each model. On 200, a mask that
changes 10 points more answers than the rule asks for is seen in 85 % of draws
(`research.shortcut_reliance`)."""
MAX_CLASSES = 20
"""Most classes with mean maps, those with the most images: enough to look through."""
# Of the progress of a report, where the logits of a model on a split have 1: for a backbone, and for a model.
MAPS, MASKS = 3, 4
_PICTURED, _AVERAGED = 8, 64  # classes with a picture; images in the mean image of a class
_SIDE = 160  # pixels per side of a mean map's picture


@dataclass(frozen=True)
class ArmSaliency:
    """One arm on the pool: predicted labels (N,), −1 if a logit is not finite, their probabilities (N,),
    low-resolution maps (N, h, w).

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

    def masking(self, arm: Arm) -> PredictionMaps:
        """The arm's answers with the maps from which masks are made."""
        one = self.arms[arm]
        return PredictionMaps(self.rows, one.labels, one.probabilities, one.masking_maps, one.masked)


def explain_pool(
    context: StageContext,
    models: Mapping[Arm, ModelSpec],
    cache: LogitsCache,
    *,
    split: str,
    after: Arm | None,
) -> SaliencyPool:
    """Run these models over images of the split: one pass for all that share a backbone, or two if the job
    crops. Raises Stopped.
    """
    of_split = context.store.rows(split)
    rows = evenly(of_split, POOL)
    backbones = defaultdict[str, dict[Arm, Network]](dict)
    for arm, model in models.items():
        network = cache.network(model)
        backbones[backbone_digest(network)][arm] = network
    explained: dict[Arm, ArmSaliency] = {}
    for networks in backbones.values():
        explained |= _explain(context, networks, cache, rows)
    order = sorted(explained, key=lambda arm: (arm not in BEFORE, list(Arm).index(arm)))
    arms = {arm: explained[arm] for arm in order}
    before = order[0]
    comparable = after in order[1:] and arms[after].maps.shape == arms[before].maps.shape
    return SaliencyPool(split, len(of_split), rows, arms, before, after if comparable else None)


def _explain(
    context: StageContext, networks: Mapping[Arm, Network], cache: LogitsCache, rows: Labels
) -> dict[Arm, ArmSaliency]:
    """Explain networks that share a backbone."""
    config, some_network = masking_of(context), next(iter(networks.values()))

    def explained(crop: Crop) -> list[PredictionMaps]:
        with cache.passes.next(MAPS) as run:
            loader = loader_for(context, some_network, rows, run, crop=crop)
            return predict_with_maps(list(networks.values()), loader, config, run)

    whole = explained("none")
    cropped = whole if config.crop == "none" else explained(config.crop)
    return {
        arm: ArmSaliency(
            network,
            plain.predicted,
            plain.probabilities,
            plain.maps,
            masking.maps,
            masking.masked,
        )
        for (arm, network), plain, masking in zip(networks.items(), whole, cropped, strict=True)
    }


def masking_of(context: StageContext) -> MaskingConfig:
    """The masking of the job; the defaults for a job that masks nothing."""
    trains = isinstance(context.spec.params, Hyperparameters)
    return context.params.masking.with_chosen(None) if trains else MaskingConfig()


def mask_of(config: MaskingConfig, maps: torch.Tensor, side: int) -> torch.Tensor:
    """The masks (B, side, side), bool, that the finetune would make of these maps (B, h, w)."""
    return masks_of(maps, (side, side), sigmas=config.fixed_sigmas, share=config.share)


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
        shifts = saliency_shifts(
            before,
            after,
            classes.labels,
            classes=store.classes,
            clusters=clusters_of(store, pool.rows),
        )
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
    """The numbers of the largest classes of some rows.
    `labels` (N,) are −1 for a class left out."""

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


def costs_of_masks(context: StageContext, pool: SaliencyPool, cache: LogitsCache) -> dict[Arm, MaskingCost]:
    """The cost of each model's own mask, on at most 512 images of the pool.
    Raises Stopped."""
    store, config = context.store, masking_of(context)
    rows = evenly(pool.rows[store.firsts(pool.rows)], COSTED)  # intervals assume samples without copies
    same_size = defaultdict[int, list[Arm]](list)
    for arm, explained in pool.arms.items():
        same_size[explained.network.spec.image_size].append(arm)
    masked: dict[Arm, MaskedPredictions] = {}
    for arms in same_size.values():
        networks = [pool.arms[arm].network for arm in arms]
        with cache.passes.next(MASKS * len(networks)) as run:
            loader = loader_for(context, networks[0], rows, run)
            plain = [pool.masking(arm) for arm in arms]
            masked |= zip(arms, predict_under_masks(networks, loader, plain, config, run), strict=True)
    return {
        arm: masking_cost(
            masked[arm],
            generator=seeded(context.run, "mask", pool.split, arm),
            groups=store.groups[rows] if store.has_groups else None,
            clusters=clusters_of(store, rows),
            names=Names(store.classes, store.group_names),
        )
        for arm in pool.arms
    }
