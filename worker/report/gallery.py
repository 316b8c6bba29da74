"""The gallery: the same images before and after, chosen by fixed rules, never by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from masktune.contract.report.saliency import Gallery, GalleryAnswer, GalleryItem, GalleryRule
from models.backbones.network import Network
from models.masking.rule import fill_pixels
from models.runtime.images import heatmap, legible, mask_layer, mask_outline, thumbnail
from models.shortcuts.saliency_summary import RULE_SENTENCES, RULES, PairedMaps, saliency_shift, select
from models.types import Floats, Labels
from worker.context import StageContext
from worker.networks.features import loader_for
from worker.report.saliency import SaliencyPool, mask_of, masking_of, save_picture

ITEMS = 4
"""Images per rule."""
MISTAKEN: GalleryRule = "mistaken"
ORDINARY: GalleryRule = "ordinary"
_SIDE = 256  # pixels per side of a picture, kept small because one page shows sixty

RULE_TEXTS: dict[GalleryRule, str] = {
    **{rule: RULE_SENTENCES[rule] for rule in RULES},
    MISTAKEN: "the images on which the answer is wrong, most confident first",
    ORDINARY: "to compare, images of the same classes that every model answers correctly, the most usual "
    "confidence first",
}
CLASS_BALANCED_ORDER = "Within each rule, the first image of each class comes first, then the second of each."


def make_gallery(context: StageContext, pool: SaliencyPool, *, folder: Path) -> Gallery:
    """Pick up to 16 images of the pool, write their pictures to `folder`, return the section `gallery`."""
    shares: Floats = np.full(len(pool.rows), np.nan)  # NaN too where a map is empty
    if pool.after is not None:
        shares = saliency_shift(pool.arms[pool.before].maps, pool.arms[pool.after].maps)
    picks = list(_picks(context, pool, shares))
    rows = pool.rows[[index for _, index in picks]]
    pictures = squares_of(context, pool.arms[pool.before].network, rows)
    items = [
        _describe(context, pool, index=index, rule=rule, shift=shares[index], folder=folder, squares=squares)
        for (rule, index), squares in zip(picks, pictures, strict=True)
    ]
    used = {rule for rule, _ in picks}
    return Gallery(
        rules={rule: sentence for rule, sentence in RULE_TEXTS.items() if rule in used},
        class_balanced_order=CLASS_BALANCED_ORDER,
        split=pool.split,
        pool=len(pool.rows),
        items=items,
    )


# --- which ones -------------------------------------------------------------------------------


def _picks(context: StageContext, pool: SaliencyPool, shares: Floats) -> Iterator[tuple[GalleryRule, int]]:
    """Yield (rule, position in the pool): up to four per rule, each position once.
    Last come ordinary images of the same classes."""
    taken: set[int] = set()
    labels = context.store.labels[pool.rows]
    for rule, order in _orders(context, pool, shares):
        for index in class_balanced([i for i in order if i not in taken], labels)[:ITEMS]:
            taken.add(index)
            yield rule, index
    arms, classes = list(pool.arms.values()), set(labels[list(taken)].tolist())
    order = ordinary([arm.labels for arm in arms], arms[-1].probabilities, labels)
    for index in class_balanced([i for i in order if i not in taken and labels[i] in classes], labels)[
        :ITEMS
    ]:
        yield ORDINARY, index


def ordinary(predictions: Sequence[Labels], confidence: Floats, labels: Labels) -> list[int]:
    """Return the positions that every model answers as labelled; first those whose confidence (N,) is nearest
    to the median."""
    right = np.flatnonzero(np.all([predicted == labels for predicted in predictions], axis=0))
    if not len(right):
        return []
    unusual = np.abs(confidence[right] - np.median(confidence[right]))
    return [int(i) for i in right[np.argsort(unusual, kind="stable")]]


def class_balanced(order: Sequence[int], labels: Labels) -> list[int]:
    """Reorder the positions: the first of each class in order, then the second of each, and so on."""
    counts: Counter[int] = Counter()
    ranks = []  # of each position within its class
    for index in order:
        ranks.append(counts[int(labels[index])])
        counts[int(labels[index])] += 1
    return [index for _, index in sorted(zip(ranks, order, strict=True), key=itemgetter(0))]


def _orders(
    context: StageContext, pool: SaliencyPool, shares: Floats
) -> Iterator[tuple[GalleryRule, list[int]]]:
    """Yield each rule with the positions that it admits, best first."""
    before = pool.arms[pool.before]
    after = pool.arms[pool.after or pool.before]
    facts = PairedMaps(np.arange(len(pool.rows)), before.masked, shares, before.labels, after.labels)
    for rule in RULES:
        yield rule, select(rule, facts)
    if pool.after is None:
        wrong = before.labels != context.store.labels[pool.rows]
        by_confidence = np.argsort(-before.probabilities, kind="stable")
        yield MISTAKEN, [int(i) for i in by_confidence if wrong[i]]


# --- what is shown ------------------------------------------------------------------------------


def squares_of(
    context: StageContext, network: Network, rows: NDArray[np.int64]
) -> Iterator[NDArray[np.uint8]]:
    """Yield the images, (S, S, 3) uint8, as the network sees them, in the order of `rows`."""
    if not len(rows):
        return
    order = np.argsort(rows, kind="stable")
    loader = loader_for(context, network, rows[order])
    images = torch.cat([batch.images.cpu() for batch in loader.epoch(None)])  # (N, 3, S, S)
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    yield from pixels[np.argsort(order, kind="stable")]


def _describe(
    context: StageContext,
    pool: SaliencyPool,
    *,
    index: int,
    rule: GalleryRule,
    shift: float,
    folder: Path,
    squares: NDArray[np.uint8],
) -> GalleryItem:
    store, row, masking = context.store, int(pool.rows[index]), masking_of(context)
    sample = store.sample(row)
    picture = thumbnail(legible(squares), side=_SIDE)
    answers = {}
    for arm, arm_saliency in pool.arms.items():
        label, map = int(arm_saliency.labels[index]), arm_saliency.maps[index]
        masking_map = torch.from_numpy(arm_saliency.masking_maps[index][None])
        mask = mask_of(masking, masking_map, len(squares))
        filled = fill_pixels(torch.from_numpy(squares).permute(2, 0, 1)[None], mask, masking.fill)
        layers = {
            "heatmap": heatmap(map, picture.size),
            "mask": mask_layer(filled[0].permute(1, 2, 0).numpy(), mask[0].numpy(), picture.size),
            "mask_outline": mask_outline(mask[0].numpy(), picture.size),
        }
        probability = float(arm_saliency.probabilities[index])
        answers[arm] = GalleryAnswer(
            label=store.classes[label],
            probability=probability if np.isfinite(probability) else None,
            correct=label == sample.label,
            **{
                name: save_picture(folder, f"{row}-{arm}-{name}.png", layer) for name, layer in layers.items()
            },
        )
    return GalleryItem(
        sample=row,
        path=sample.path,
        label=store.classes[sample.label],
        group=None if sample.group is None else store.group_names[sample.group],
        rule=rule,
        shift=None if np.isnan(shift) else float(shift),
        masked_share=float(pool.arms[pool.before].masked[index]),
        image=save_picture(folder, f"{row}-image.png", picture),
        arms=answers,
    )
