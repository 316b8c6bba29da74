"""The gallery: the same images under ERM and MaskTune, picked by rule and never by hand.

Each item of the report's `gallery.items`:

    {"sample", "path", "label", "group", "rule", "moved", "image": file,
     "arms": {arm: {"label", "probability", "right", "overlay": file, "mask": file}}}

`moved` (0..1) is half the L1 distance of the two maps, each summing to 1: the share of saliency
that lies elsewhere; null where there is one model only or a map is empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.vocabulary import Arm
from models.config import MaskingConfig
from models.masking import masks, thresholds
from models.passes import evaluating, watched
from models.pictures import mask_image, overlay, png
from models.saliency import saliency
from worker.spec import ModelSpec
from worker.stages.compared import Said, loader_for
from worker.stages.context import StageContext

GALLERY_SPLIT = "test"
ITEMS = 12
POOL = 2048
"""Images of the split that are looked at, evenly spaced: a pass over a huge split is not worth it."""

RULES = {
    "moved": "the largest share of saliency that lies elsewhere under MaskTune",
    "disagree": "ERM and MaskTune give different labels, each as sure as can be",
    "mistake": "the answer is wrong and as sure as can be",
}


@dataclass(frozen=True)
class Seen:
    """One arm over the pool: labels (N,), probabilities of them (N,), low-resolution maps (N, h, w)."""

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    maps: NDArray[np.float32]


def make_gallery(
    context: StageContext, models: Mapping[Arm, ModelSpec], said: Said, *, split: str, folder: Path
) -> dict[str, Any]:
    """Pick up to 12 images of the split, write their pictures into `folder`, and say what is on them."""
    shown = shown_in_gallery(models)
    rows = context.store.rows(split)
    pool = rows[np.unique(np.linspace(0, len(rows) - 1, min(POOL, len(rows))).astype(np.int64))]
    seen: dict[Arm, Seen] = {arm: _look(context, model, said, pool) for arm, model in shown.items()}
    picked = list(_picked(context, seen, pool))
    items = [
        _item(context, seen, pool, index=index, rule=rule, folder=folder, squares=squares)
        for (rule, index), squares in zip(picked, _squares(context, shown, said, pool, picked), strict=True)
    ]
    used = {rule for rule, _ in picked}
    return {
        "rule": {rule: sentence for rule, sentence in RULES.items() if rule in used},
        "split": split,
        "pool": len(pool),
        "items": items,
    }


def shown_in_gallery(models: Mapping[Arm, ModelSpec]) -> dict[Arm, ModelSpec]:
    """Before and after; the control has its place in the figures."""
    return {arm: model for arm, model in models.items() if arm is not Arm.CONTROL}


def _look(context: StageContext, model: ModelSpec, said: Said, rows: NDArray[np.int64]) -> Seen:
    network, config = said.network(model), _masking(context)
    labels, probabilities, maps = [], [], []
    with said.counted() as run, evaluating(network):
        for batch in watched(loader_for(context, network, rows, run), run):
            found = saliency(network, batch.images, method=_method(config))
            top = found.logits.float().softmax(1).max(1)
            labels.append(top.indices.cpu())
            probabilities.append(top.values.cpu())
            maps.append(found.maps.cpu())
    return Seen(
        torch.cat(labels).numpy(),
        torch.cat(probabilities).numpy().astype(np.float64),
        torch.cat(maps).numpy(),
    )


def _masking(context: StageContext) -> MaskingConfig:
    """That of the job; the defaults for a job that masks nothing."""
    asked = context.spec.params.get("masking")
    return MaskingConfig.from_json(asked) if asked else MaskingConfig()


def _method(config: MaskingConfig) -> str:
    """Random masks have no map of their own: the default's is shown."""
    return MaskingConfig().method if config.method == "random" else config.method


# --- which ones -------------------------------------------------------------------------------


def moved(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N,): half the L1 distance of maps (N, h, w) as distributions; NaN where one of them is empty."""
    a, b = (m.reshape(len(m), -1).astype(np.float64) for m in (before, after))
    total_a, total_b = a.sum(1, keepdims=True), b.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = 0.5 * np.abs(a / total_a - b / total_b).sum(1)
    return np.where((total_a[:, 0] > 0) & (total_b[:, 0] > 0), distance, np.nan)


def _picked(
    context: StageContext, seen: Mapping[Arm, Seen], pool: NDArray[np.int64]
) -> Iterator[tuple[str, int]]:
    """(rule, position in the pool), each position once."""
    taken: set[int] = set()
    for rule, order in _orders(context, seen, pool).items():
        room = ITEMS // 2 if rule == "moved" else ITEMS - len(taken)
        for index in [i for i in order if i not in taken][:room]:
            taken.add(index)
            yield rule, index


def _orders(context: StageContext, seen: Mapping[Arm, Seen], pool: NDArray[np.int64]) -> dict[str, list[int]]:
    """For each rule the positions that it admits, the best first; equals in stored order."""
    if not {Arm.ERM, Arm.MASKTUNE} <= seen.keys():
        only = next(iter(seen.values()))
        wrong = only.labels != context.store.labels[pool]
        return {"mistake": _ranked(np.where(wrong, only.probabilities, np.nan))}
    erm, tuned = seen[Arm.ERM], seen[Arm.MASKTUNE]
    differ = erm.labels != tuned.labels
    surest = np.where(differ, erm.probabilities * tuned.probabilities, np.nan)
    wrong = (tuned.labels != context.store.labels[pool]) & ~differ
    return {
        "moved": _ranked(moved(erm.maps, tuned.maps)),
        "disagree": _ranked(surest),
        "mistake": _ranked(np.where(wrong, tuned.probabilities, np.nan)),
    }


def _ranked(values: NDArray[np.float64]) -> list[int]:
    """Positions by falling value, without those that are NaN."""
    order = np.argsort(-values, kind="stable")
    return [int(i) for i in order if not np.isnan(values[i])]


# --- what is shown ------------------------------------------------------------------------------


def _squares(
    context: StageContext,
    shown: Mapping[Arm, ModelSpec],
    said: Said,
    pool: NDArray[np.int64],
    picked: list[tuple[str, int]],
) -> Iterator[NDArray[np.uint8]]:
    """The images (S, S, 3) as the networks see them, in the order of `picked`."""
    if not picked:
        return
    network = said.network(next(iter(shown.values())))
    rows = pool[[index for _, index in picked]]
    order = np.argsort(rows, kind="stable")
    loader = loader_for(context, network, rows[order])
    images = torch.cat([batch.images.cpu() for batch in loader.epoch(None)])  # (12, 3, S, S)
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    yield from pixels[np.argsort(order, kind="stable")]


def _item(
    context: StageContext,
    seen: Mapping[Arm, Seen],
    pool: NDArray[np.int64],
    *,
    index: int,
    rule: str,
    folder: Path,
    squares: NDArray[np.uint8],
) -> dict[str, Any]:
    store, row = context.store, int(pool[index])
    sample = store.sample(row)
    blank = np.zeros(squares.shape[:2], bool)
    item: dict[str, Any] = {
        "sample": row,
        "path": sample.path,
        "label": store.classes[sample.label],
        "group": None if sample.group is None else store.group_names[sample.group],
        "rule": rule,
        "moved": _moved_of(seen, index),
        "image": _save(folder, f"{row}-image.png", png(mask_image(squares, blank))),
        "arms": {},
    }
    for arm, found in seen.items():
        label, map = int(found.labels[index]), found.maps[index]
        masked = _mask(context, map, squares)
        item["arms"][arm.value] = {
            "label": store.classes[label],
            "probability": float(found.probabilities[index]),
            "right": label == sample.label,
            "overlay": _save(folder, f"{row}-{arm}-overlay.png", png(overlay(squares, map))),
            "mask": _save(folder, f"{row}-{arm}-mask.png", png(mask_image(squares, masked))),
        }
    return item


def _moved_of(seen: Mapping[Arm, Seen], index: int) -> float | None:
    if not {Arm.ERM, Arm.MASKTUNE} <= seen.keys():
        return None
    value = moved(seen[Arm.ERM].maps[index : index + 1], seen[Arm.MASKTUNE].maps[index : index + 1])[0]
    return None if np.isnan(value) else float(value)


def _mask(context: StageContext, map: NDArray[np.float32], squares: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """What the finetune would mask of this image under this model: (S, S) bool."""
    config = _masking(context)
    maps, size = torch.from_numpy(map[None]), (squares.shape[0], squares.shape[1])
    bounds = thresholds(maps, size, sigmas=config.sigmas, share=config.share)
    return masks(maps, bounds, size)[0].numpy()


def _save(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return name
