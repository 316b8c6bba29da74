"""Slices inferred from the saliency maps of the model before; they need no groups.

Classes and slices count identical images once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from masktune.contract.report import saliency as section
from masktune.contract.vocabulary import Arm
from models.evaluation.metrics import Logits
from models.runtime.images import overlay, png, strip
from models.shortcuts.saliency_summary import Labels
from models.shortcuts.slices import InferredSlice, InferredSlices, Looked, infer_slices
from worker.protocol import ModelSpec
from worker.report.arms import Said
from worker.report.gallery import squares_of
from worker.report.saliency import Looks, largest_classes
from worker.stages.context import StageContext

_SHOWN = 5  # images of a slice
_PICTURED = 24  # slices with a picture: more than a person looks through


def cut(context: StageContext, looks: Looks, logits: Mapping[Arm, Logits]) -> InferredSlices:
    """Divide the pool's classes into slices by the first model's maps, and measure every model on each slice.

    Copies of an image are left out, since a few of them would form a slice of their own.
    """
    store, kept = context.store, largest_classes(context.store, looks.rows)
    inside = (kept.labels >= 0) & store.firsts(looks.rows)
    rows = looks.rows[inside]
    found = infer_slices(
        Looked(
            rows,
            kept.labels[inside],
            looks.seen[looks.before].maps[inside],
            store.groups[rows] if store.has_groups else None,
        ),
        classes=store.classes,
        predictions={arm.value: _of_rows(said, rows) for arm, said in logits.items()},
        rng=np.random.default_rng([context.run.seed & 0xFFFFFFFF, *b"slices"]),
    )
    return replace(found, classes=tuple(found.classes[code] for code in kept.codes))


def _of_rows(said: Logits, rows: Labels) -> Labels:
    """The predictions for `rows`, a subset of the split's rows; both in ascending order."""
    return said.predictions[np.searchsorted(said.rows, rows)]


def make_slices(
    context: StageContext,
    models: Mapping[Arm, ModelSpec],
    said: Said,
    looks: Looks,
    found: InferredSlices,
    *,
    folder: Path,
) -> section.InferredSlices:
    """The section `slices`; pictures of the slices of divided classes are written to `folder`."""
    cut_classes = {each.label for each in found.classes if each.slices > 1}
    pictured = [part for part in found.slices if part.label in cut_classes][:_PICTURED]
    pictures = {
        (part.label, part.index): _picture(context, models, said, looks, part, folder) for part in pictured
    }
    return section.InferredSlices(
        inferred=True,
        rule=found.rule,
        classes=[section.ClassSlices.model_validate(each) for each in found.classes],
        slices=[_slice(part, pictures.get((part.label, part.index))) for part in found.slices],
        split=looks.split,
        n=len(looks.rows),
        split_size=looks.of,
        model=looks.before,
        left_out=list(largest_classes(context.store, looks.rows).left_out),
    )


def _slice(part: InferredSlice, picture: str | None) -> section.InferredSlice:
    return section.InferredSlice(
        label=part.label,
        class_name=part.class_name,
        index=part.index,
        n=part.n,
        share=part.share,
        examples=list(part.examples),
        mean_map=part.mean_map,
        accuracies=[
            section.SliceModelAccuracy(
                model=Arm(one.model),
                n=one.n,
                correct=one.correct,
                accuracy=one.accuracy,
                low=one.low,
                high=one.high,
            )
            for one in part.accuracies
        ],
        picture=picture,
        n_pictured=min(_SHOWN, len(part.examples)) if picture else 0,
    )


def _picture(
    context: StageContext,
    models: Mapping[Arm, ModelSpec],
    said: Said,
    looks: Looks,
    part: InferredSlice,
    folder: Path,
) -> str:
    """The slice's first examples side by side, overlaid with the saliency maps of the model before."""
    rows = np.array(part.examples[:_SHOWN], np.int64)
    maps = looks.seen[looks.before].maps[np.searchsorted(looks.rows, rows)]
    squares = squares_of(context, said.network(models[looks.before]), rows)
    name = f"slice-{part.label}-{part.index}.png"
    images = [overlay(pixels, map) for pixels, map in zip(squares, maps, strict=True)]
    (folder / name).write_bytes(png(strip(images)))
    return name
