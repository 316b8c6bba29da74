"""The gallery: the same images before and after, chosen by fixed rules, never by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image

from masktune.contract.report.saliency import Gallery, GalleryAnswer, GalleryItem, GalleryRule
from models.backbones import Network
from models.runtime.images import mask_image, overlay, png, thumbnail
from models.shortcuts.saliency_summary import RULE_WORDS, RULES, Floats, Gaze, Labels, moved, pick
from worker.report.saliency import Looks, mask_of, masking_of
from worker.stages.context import StageContext
from worker.stages.passes import loader_for

GALLERY_SPLIT = "test"
ITEMS = 4
"""Images per rule."""
MISTAKEN: GalleryRule = "mistaken"
_SIDE = 256  # pixels per side of a picture, kept small because one page shows sixty

WORDS: dict[GalleryRule, str] = {
    **{rule: RULE_WORDS[rule] for rule in RULES},
    MISTAKEN: "the images on which the answer is wrong, most confident first",
}
CLASS_BALANCED_ORDER = "Within each rule, the first image of each class comes first, then the second of each."


def make_gallery(context: StageContext, network: Network, looks: Looks, *, folder: Path) -> Gallery:
    """Pick up to 12 images of the pool, write their pictures to `folder`, return the section `gallery`."""
    away = _moved(looks)
    picked = list(_picked(context, looks, away))
    pictures = squares_of(context, network, looks.rows[[index for _, index in picked]])
    items = [
        _item(context, looks, index=index, rule=rule, away=away[index], folder=folder, squares=squares)
        for (rule, index), squares in zip(picked, pictures, strict=True)
    ]
    used = {rule for rule, _ in picked}
    return Gallery(
        rules={rule: sentence for rule, sentence in WORDS.items() if rule in used},
        class_balanced_order=CLASS_BALANCED_ORDER,
        split=looks.split,
        pool=len(looks.rows),
        items=items,
    )


# --- which ones -------------------------------------------------------------------------------


def _moved(looks: Looks) -> Floats:
    """The moved share of each image, (N,); NaN if one of its maps is empty or there is only one model."""
    if looks.after is None:
        return np.full(len(looks.rows), np.nan)
    return moved(looks.seen[looks.before].maps, looks.seen[looks.after].maps)


def _picked(context: StageContext, looks: Looks, away: Floats) -> Iterator[tuple[GalleryRule, int]]:
    """Yield (rule, position in the pool): up to four per rule, each position once."""
    taken: set[int] = set()
    labels = context.store.labels[looks.rows]
    for rule, order in _orders(context, looks, away):
        for index in class_balanced([i for i in order if i not in taken], labels)[:ITEMS]:
            taken.add(index)
            yield rule, index


def class_balanced(order: Sequence[int], labels: Labels) -> list[int]:
    """Reorder the positions: the first of each class in order, then the second of each, and so on."""
    seen: Counter[int] = Counter()
    turns = []
    for index in order:
        turns.append(seen[int(labels[index])])
        seen[int(labels[index])] += 1
    return [index for _, index in sorted(zip(turns, order, strict=True), key=itemgetter(0))]


def _orders(context: StageContext, looks: Looks, away: Floats) -> Iterator[tuple[GalleryRule, list[int]]]:
    """Yield each rule with the positions that it admits, best first."""
    before = looks.seen[looks.before]
    after = looks.seen[looks.after or looks.before]
    gaze = Gaze(np.arange(len(looks.rows)), before.masked, away, before.labels, after.labels)
    for rule in RULES:
        yield rule, [found.row for found in pick(rule, gaze, count=len(looks.rows))]
    if looks.after is None:
        yield MISTAKEN, _mistaken(before.labels != context.store.labels[looks.rows], before.probabilities)


def _mistaken(wrong: NDArray[np.bool_], sure: Floats) -> list[int]:
    order: Labels = np.argsort(-sure, kind="stable")
    return [int(i) for i in order if wrong[i]]


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


def _item(
    context: StageContext,
    looks: Looks,
    *,
    index: int,
    rule: GalleryRule,
    away: float,
    folder: Path,
    squares: NDArray[np.uint8],
) -> GalleryItem:
    store, row = context.store, int(looks.rows[index])
    sample = store.sample(row)
    blank = np.zeros(squares.shape[:2], bool)
    answers = {}
    for arm, found in looks.seen.items():
        label, map = int(found.labels[index]), found.maps[index]
        masking_map = torch.from_numpy(found.masking_maps[index][None])
        masked = mask_of(masking_of(context), masking_map, len(squares))[0].numpy()
        probability = float(found.probabilities[index])
        answers[arm] = GalleryAnswer(
            label=store.classes[label],
            probability=probability if np.isfinite(probability) else None,
            correct=label == sample.label,
            overlay=_save(folder, f"{row}-{arm}-overlay.png", overlay(squares, map)),
            mask=_save(folder, f"{row}-{arm}-mask.png", mask_image(squares, masked)),
        )
    return GalleryItem(
        sample=row,
        path=sample.path,
        label=store.classes[sample.label],
        group=None if sample.group is None else store.group_names[sample.group],
        rule=rule,
        shift=None if np.isnan(away) else float(away),
        masked_share=float(looks.seen[looks.before].masked[index]),
        image=_save(folder, f"{row}-image.png", mask_image(squares, blank)),
        arms=answers,
    )


def _save(folder: Path, name: str, image: Image) -> str:
    (folder / name).write_bytes(png(thumbnail(image, side=_SIDE)))
    return name
