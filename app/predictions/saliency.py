"""Saliency maps on request: any method, as numbers or as images, with the resulting mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy.orm import Session

from app.http.etag import JSON
from app.http.negotiation import preferred
from app.inference import Explain, Inference, Pair, Seen, Upload
from app.predictions.saliency_schemas import Format, ImageSaliency, SaliencyAnswer, SaliencyQuery, View
from app.predictions.service import data_uri, finite_rows, pair_of
from app.registry import service as models
from core.errors import InvalidInput
from core.tables import JobRow, ModelRow
from masktune.contract.hyperparameters import MaskingConfig
from models.runtime import images as pictures

PNG = "image/png"


@dataclass(frozen=True)
class Plan:
    """All that a map reads from the database. `share` decides the mask unless it is None, else `sigmas`."""

    model: ModelRow
    pair: Pair
    explain: Explain
    sigmas: float
    share: float | None


@dataclass(frozen=True)
class Mapped:
    """One image: `pixels` (S, S, 3) uint8, `heat` (h, w) raw, `mask` (S, S), class indices."""

    pixels: NDArray[np.uint8]
    heat: NDArray[np.float32]
    mask: NDArray[np.bool_]
    label: int
    target: int


def plan(session: Session, inference: Inference, query: SaliencyQuery) -> Plan:
    """Resolve the model, the class and the mask rule. Raises for whatever is wrong with the query."""
    model = models.find(session, inference, query.model)
    target = None
    if query.target is not None:
        if query.target not in model.classes:
            raise InvalidInput.field(
                "?target", "unknown-class", f"model {model.id} has no class {query.target!r}"
            )
        target = model.classes.index(query.target)
    masking = _masking(session, model)
    return Plan(
        model=model,
        # Without the ERM model, which maps do not need: one forward pass instead of two.
        pair=Pair(pair_of(session, model).model, None),
        explain=Explain(query.method, target),
        sigmas=masking.sigmas if query.sigmas is None else query.sigmas,
        share=masking.share if query.sigmas is None else None,
    )


async def explain(inference: Inference, plan: Plan, uploads: Sequence[Upload]) -> list[Mapped]:
    """Compute the images' maps and masks. Raises `BadImage`, `Overloaded`, `InvalidInput`."""
    await inference.check_method(plan.explain, images=len(uploads))
    seen = await inference.see(plan.pair, uploads, plan.explain)
    return await inference.draw(lambda: _mapped(plan, seen))


def describe(plan: Plan, mapped: Sequence[Mapped]) -> SaliencyAnswer:
    """Convert the maps to the shape of the API."""
    classes = plan.model.classes
    return SaliencyAnswer(
        model=plan.model.id,
        method=plan.explain.method,
        sigmas=plan.sigmas if plan.share is None else None,
        share=plan.share,
        images=[
            ImageSaliency(
                label=classes[image.label],
                target=classes[image.target],
                size=(image.heat.shape[0], image.heat.shape[1]),
                map=finite_rows(image.heat),
                masked_share=float(image.mask.mean()),
                **{view: data_uri(picture(image, view)) for view in VIEWS},
            )
            for image in mapped
        ],
    )


def picture(image: Mapped, view: View) -> bytes:
    """Draw one view of the map as a PNG."""
    return pictures.png(VIEWS[view](image))


def format_of(query: SaliencyQuery, accept: str, *, images: int) -> Format:
    """Choose the format of the answer. Raises `InvalidInput` for a PNG of several images."""
    wanted: Format = "png" if preferred(accept, (JSON, PNG)) == PNG else "json"
    chosen = query.format or wanted
    if chosen == "png" and images != 1:
        raise InvalidInput.field(
            "?format", "one-image", "a PNG shows one image; send one, or use format=json"
        )
    return chosen


def _mapped(plan: Plan, seen: Seen) -> list[Mapped]:
    from app.inference.images import masked_pixels  # imports torch, which the engine has already loaded

    maps, targets = seen.scores.maps, seen.scores.targets
    assert maps is not None
    assert targets is not None
    masks = masked_pixels(maps, plan.model.image_size, sigmas=plan.sigmas, share=plan.share)
    labels = seen.scores.logits.argmax(1)
    return [
        Mapped(pixels.transpose(1, 2, 0), heat, mask, int(label), int(target))
        for pixels, heat, mask, label, target in zip(seen.squares, maps, masks, labels, targets, strict=True)
    ]


def _masking(session: Session, model: ModelRow) -> MaskingConfig:
    """Return the masking of the job that made the model, or the defaults if it had none."""
    job = None if model.job_id is None else session.get(JobRow, model.job_id)
    masking = {} if job is None else job.params.get("masking") or {}
    return MaskingConfig.from_json(masking)


def _overlay(image: Mapped) -> Image.Image:
    return pictures.overlay(image.pixels, image.heat)


def _heatmap(image: Mapped) -> Image.Image:
    return pictures.heatmap(image.heat, size=image.mask.shape)


def _mask(image: Mapped) -> Image.Image:
    return pictures.mask_image(image.pixels, image.mask)


VIEWS: dict[View, Callable[[Mapped], Image.Image]] = {"overlay": _overlay, "heatmap": _heatmap, "mask": _mask}
