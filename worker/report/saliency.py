"""Where each model looks, on a sample of one split: predicted labels, saliency maps, and masked shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from masktune.contract.hyperparameters import Crop, MaskingConfig
from masktune.contract.report import saliency as section
from masktune.contract.report.saliency import ClassPicture, SaliencyShifts, SaliencySummary
from masktune.contract.vocabulary import CONTROLS, Arm
from models.data.batches import Batch
from models.data.store import Store
from models.evaluation.masking_cost import MaskingCost, answers_under_masks, masking_cost
from models.evaluation.metrics import Names
from models.masking.compute import masks, method_of, target_of, thresholds
from models.runtime.batched_eval import answers, evaluating
from models.runtime.images import Pixels, overlay, png, thumbnail
from models.saliency import saliency
from models.shortcuts.saliency_summary import Floats, Labels, Maps, MeanMap, mean_maps, movement
from worker.protocol import ModelSpec
from worker.report.arms import BEFORE, Said, judged_arm, seed_name
from worker.stages.context import StageContext
from worker.stages.passes import loader_for

POOL = 2048
"""Most images of the split that are looked at, evenly spaced: a pass over a huge split is not worth it."""
COSTED = 1024
"""Most images of a split that are masked: each costs four forward passes."""
MAX_CLASSES = 20
"""Most classes with mean maps and inferred slices, those with the most images: enough to look through."""
_SHOWN, _AVERAGED = 8, 64  # classes with a picture; images in the mean image of a class
_SIDE = 160  # pixels per side of a mean map's picture


@dataclass(frozen=True)
class Seen:
    """One arm on the pool: predicted labels (N,), their probabilities (N,), low-resolution maps (N, h, w).

    The maps explain the class that the job's masks explain. `masking_maps`, from which masks are made, differ
    from `maps` only if the job crops. `masked` (N,) is the share of pixels that the arm's mask would cover.
    """

    labels: Labels
    probabilities: Floats
    maps: Maps
    masking_maps: Maps
    masked: Floats


@dataclass(frozen=True)
class Looks:
    """Where the shown models of a job look, on samples `rows` of `split`; the model before comes first."""

    split: str
    rows: Labels
    of: int
    seen: Mapping[Arm, Seen]

    @property
    def before(self) -> Arm:
        return next(iter(self.seen))

    @property
    def after(self) -> Arm | None:
        """The judged arm, if there is one besides the first and its maps have the same size."""
        after = judged_arm(self.seen)
        if after not in self.seen or after is self.before:
            return None
        same = self.seen[after].maps.shape == self.seen[self.before].maps.shape
        return after if same else None


def shown(models: Mapping[Arm, ModelSpec]) -> dict[Arm, ModelSpec]:
    """All models but the controls, which appear only in the figures."""
    return {arm: model for arm, model in models.items() if arm not in CONTROLS}


def look(context: StageContext, models: Mapping[Arm, ModelSpec], said: Said, *, split: str) -> Looks:
    """Run each shown model over the pool: one pass, or two if the job crops. Raises Stopped."""
    rows = context.store.rows(split)
    pool = evenly(rows, POOL)
    seen = {arm: _look(context, model, said, pool) for arm, model in shown(models).items()}
    order = sorted(seen, key=lambda arm: (arm not in BEFORE, list(Arm).index(arm)))
    return Looks(split, pool, len(rows), {arm: seen[arm] for arm in order})


def evenly(rows: Labels, count: int) -> Labels:
    """At most `count` of the rows, evenly spaced."""
    places = np.linspace(0, len(rows) - 1, min(count, len(rows)))
    return rows[np.unique(places.astype(np.int64))]


def _look(context: StageContext, model: ModelSpec, said: Said, rows: Labels) -> Seen:
    network, config = said.network(model), masking_of(context)

    def answer(batch: Batch) -> tuple[torch.Tensor, ...]:
        found = saliency(network, batch.images, method=method_of(config), target=target_of(config, batch))
        top = found.logits.float().softmax(1).max(1)
        masked = mask_of(config, found.maps, batch.images.shape[2]).float().mean((1, 2))
        return tuple(c.cpu() for c in (top.indices, top.values, found.maps, masked))

    def passed(crop: Crop) -> Iterator[NDArray[Any]]:
        with said.counted() as run, evaluating(network):
            columns = list(answers(loader_for(context, network, rows, run, crop=crop), run, answer))
        return (torch.cat(column).numpy() for column in zip(*columns, strict=True))

    labels, probabilities, maps, masked = passed("none")
    masking_maps = maps
    if config.crop != "none":
        _, _, masking_maps, masked = passed(config.crop)
    return Seen(labels, probabilities.astype(np.float64), maps, masking_maps, masked.astype(np.float64))


def masking_of(context: StageContext) -> MaskingConfig:
    """The masking of the job; the defaults for a job that masks nothing."""
    asked = context.spec.params.get("masking")
    return MaskingConfig.from_json(asked) if asked else MaskingConfig()


def mask_of(config: MaskingConfig, maps: torch.Tensor, side: int) -> torch.Tensor:
    """The masks (B, side, side), bool, that the finetune would make of these maps (B, h, w)."""
    size = (side, side)
    return masks(maps, thresholds(maps, size, sigmas=config.sigmas, share=config.share), size)


# --- the mean map of a class, and what moved ---------------------------------------------------


def make_saliency(
    context: StageContext, models: Mapping[Arm, ModelSpec], said: Said, looks: Looks, *, folder: Path
) -> SaliencySummary:
    """The section `saliency`; its pictures are written to `folder`."""
    store, kept = context.store, largest_classes(context.store, looks.rows)
    means = {}
    for arm, seen in looks.seen.items():
        of_classes = mean_maps(seen.maps, kept.labels, classes=store.classes)
        means[arm] = [of_classes[code] for code in kept.codes]
    return SaliencySummary(
        split=looks.split,
        n=len(looks.rows),
        split_size=looks.of,
        before=looks.before,
        after=looks.after,
        shift=_shifts(store, looks, kept),
        mean_maps={
            arm: [section.MeanMap.model_validate(mean) for mean in of_arm] for arm, of_arm in means.items()
        },
        pictures=[
            _pictures(
                context, models, said, looks, [(arm, of_arm[at]) for arm, of_arm in means.items()], folder
            )
            for at in range(min(_SHOWN, len(kept.codes)))
        ],
        left_out=list(kept.left_out),
    )


def _shifts(store: Store, looks: Looks, kept: Kept) -> SaliencyShifts | None:
    """The share of saliency that moved, over all images of the pool and over each kept class."""
    if looks.after is None:
        return None
    before, after = looks.seen[looks.before].maps, looks.seen[looks.after].maps
    found = movement(before, after, kept.labels, classes=store.classes)
    return SaliencyShifts.model_validate(
        replace(found, classes=tuple(found.classes[code] for code in kept.codes))
    )


def _pictures(
    context: StageContext,
    models: Mapping[Arm, ModelSpec],
    said: Said,
    looks: Looks,
    means: list[tuple[Arm, MeanMap]],
    folder: Path,
) -> ClassPicture:
    """The mean image of one class, plain and under each arm's mean map."""
    _, mean = means[0]
    rows = looks.rows[context.store.labels[looks.rows] == mean.id]
    pixels = _mean_image(context, said, models[looks.before], evenly(rows, _AVERAGED))
    return ClassPicture(
        class_name=mean.name,
        n=len(rows),
        n_averaged=min(len(rows), _AVERAGED),
        image=_save(folder, f"mean-{mean.id}.png", pixels, np.zeros((1, 1))),
        arms={
            arm: _save(folder, f"mean-{mean.id}-{arm}.png", pixels, np.array(of_arm.map))
            for arm, of_arm in means
            if of_arm.map is not None
        },
    )


class Kept(NamedTuple):
    """The numbers of the largest classes of some rows. `labels` (N,) are −1 for a class left out."""

    codes: tuple[int, ...]
    labels: Labels
    left_out: tuple[str, ...]


def largest_classes(store: Store, rows: Labels) -> Kept:
    """Keep the largest `MAX_CLASSES`, in the data set's order; classes without rows are not in `left_out`."""
    labels = store.labels[rows]
    counts = np.bincount(labels, minlength=len(store.classes))
    order = [int(c) for c in np.argsort(-counts, kind="stable") if counts[c]]
    kept, left_out = sorted(order[:MAX_CLASSES]), sorted(order[MAX_CLASSES:])
    within = np.where(np.isin(labels, kept), labels, -1)
    return Kept(tuple(kept), within, tuple(store.classes[c] for c in left_out))


def _mean_image(context: StageContext, said: Said, model: ModelSpec, rows: Labels) -> Pixels:
    """The mean of these images, (S, S, 3) uint8; what they have in common appears sharp."""
    loader = loader_for(context, said.network(model), np.sort(rows))
    mean = torch.cat([batch.images.cpu() for batch in loader.epoch(None)]).mean(0)
    pixels: Pixels = (mean * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return pixels


def _save(folder: Path, name: str, pixels: Pixels, heat: NDArray[np.float64]) -> str:
    (folder / name).write_bytes(png(thumbnail(overlay(pixels, heat), side=_SIDE)))
    return name


# --- what a model's own mask costs it ------------------------------------------------------------


def costs_of_masks(
    context: StageContext, models: Mapping[Arm, ModelSpec], said: Said, *, splits: list[str]
) -> dict[str, dict[Arm, MaskingCost]]:
    """The cost of each shown model's own mask, on at most 1,024 images of each split. Raises Stopped."""
    return {
        split: {arm: _cost(context, model, said, split, arm) for arm, model in shown(models).items()}
        for split in splits
    }


def _cost(context: StageContext, model: ModelSpec, said: Said, split: str, arm: Arm) -> MaskingCost:
    store, network = context.store, said.network(model)
    samples = store.rows(split)
    rows = evenly(samples[store.firsts(samples)], COSTED)  # intervals assume samples without copies
    config = masking_of(context)
    with said.counted() as run:
        whole = loader_for(context, network, rows, run)
        crops = config.crop != "none"
        cropped = loader_for(context, network, rows, run, crop=config.crop) if crops else None
        answers = answers_under_masks(network, whole, config, run, cropped=cropped)
    return masking_cost(
        answers,
        generator=np.random.default_rng([run.seed & 0xFFFFFFFF, *f"mask/{split}/{seed_name(arm)}".encode()]),
        groups=store.groups[answers.rows] if store.has_groups else None,
        names=Names(store.classes, store.group_names),
    )
