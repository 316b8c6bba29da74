"""Slices inferred from the saliency maps of the model before; they need no groups.

Classes and slices count identical images once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from masktune.contract.report import saliency as section
from masktune.contract.vocabulary import Arm
from models.evaluation.metrics import Logits
from models.runtime.images import heatmap, legible, strip, thumbnail
from models.shortcuts.slices import InferredSlice, SliceInputs, infer_slices
from worker.report.arms import clusters_of, seeded
from worker.report.gallery import squares_of
from worker.report.saliency import SaliencyPool, largest_classes, save_picture
from worker.stages.context import StageContext

_EXAMPLES = 5  # images of a slice
_SIDE = 112  # pixels per side of an example
_PICTURED = 24  # slices with a picture: more than a person looks through


def make_slices(
    context: StageContext, pool: SaliencyPool, logits: Mapping[Arm, Logits], *, folder: Path
) -> section.InferredSlices:
    """The section `slices`: the pool's classes divided by the first model's maps, every model on each slice.

    Copies of an image are left out, since a few of them would form a slice of their own. Pictures of the
    slices of divided classes are written to `folder`.
    """
    store, classes = context.store, largest_classes(context.store, pool.rows)
    inside = (classes.labels >= 0) & store.firsts(pool.rows)
    rows = pool.rows[inside]
    inferred = infer_slices(
        SliceInputs(
            rows,
            classes.labels[inside],
            pool.arms[pool.before].maps[inside],
            store.groups[rows] if store.has_groups else None,
            clusters_of(store, rows),
        ),
        classes=store.classes,
        predictions={  # both rows ascend
            arm.value: of_arm.predictions[np.searchsorted(of_arm.rows, rows)]
            for arm, of_arm in logits.items()
        },
        rng=seeded(context.run, "slices"),
    )
    by_class = [inferred.classes[code] for code in classes.codes]
    divided = {each.label for each in by_class if each.slices > 1}
    pictured = [part for part in inferred.slices if part.label in divided][:_PICTURED]
    plain = {"picture": None, "heatmap": None, "n_pictured": 0}
    pictures = {(part.label, part.index): _picture(context, pool, part, folder) for part in pictured}
    return section.InferredSlices(
        inferred=True,
        rule=inferred.rule,
        classes=[section.ClassSlices.model_validate(each) for each in by_class],
        slices=[
            section.InferredSlice.model_validate(asdict(part) | pictures.get((part.label, part.index), plain))
            for part in inferred.slices
        ],
        split=pool.split,
        n=len(pool.rows),
        split_size=pool.split_size,
        model=pool.before,
        left_out=list(classes.left_out),
    )


def _picture(context: StageContext, pool: SaliencyPool, part: InferredSlice, folder: Path) -> dict[str, Any]:
    """The slice's first examples side by side, and the saliency maps of the model before as a layer."""
    before, rows = pool.arms[pool.before], np.array(part.examples[:_EXAMPLES], np.int64)
    maps = before.maps[np.searchsorted(pool.rows, rows)]
    squares = squares_of(context, before.network, rows)
    images = [thumbnail(legible(pixels), side=_SIDE) for pixels in squares]
    heatmaps = [heatmap(map, image.size) for map, image in zip(maps, images, strict=True)]
    name = f"slice-{part.label}-{part.index}"
    return {
        "picture": save_picture(folder, f"{name}.png", strip(images)),
        "heatmap": save_picture(folder, f"{name}-heatmap.png", strip(heatmaps)),
        "n_pictured": len(rows),
    }
