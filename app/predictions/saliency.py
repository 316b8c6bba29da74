"""Saliency maps on request, as numbers or as images with the resulting mask, in the order of a prediction:
plan → load → read → forward → present."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from anyio.to_thread import run_sync
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.http.etag import JSON
from app.http.negotiation import preferred
from app.inference import Explain, Inference, Pair, Seen
from app.predictions import stored_images
from app.predictions.admission import loaded
from app.predictions.disconnect import while_present
from app.predictions.plans import pair_of
from app.predictions.presenter import data_uri, finite_rows
from app.predictions.request_images import Sent
from app.predictions.service import NOT_STORED, ReadImages
from app.predictions.stored_images import Stored
from app.registry import service as models
from app.services import Services
from core.errors import InvalidInput
from core.tables import JobRow, ModelRow
from masktune.contract.hyperparameters import MaskingConfig
from masktune.contract.predictions import (
    ImageSaliency,
    SaliencyAnswer,
    SaliencyFormat,
    SaliencyQuery,
    StoredSaliencyQuery,
    View,
)
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


async def explain_uploaded(request: Request, services: Services, query: SaliencyQuery) -> Response:
    """Explain the images in the body."""
    share = services.inference.memory.share()
    with Sent(request, services.settings, share, services.planners) as sent:
        await sent.receive()
        resolved = await run_sync(_plan, services, query, limiter=services.planners)
        view = _view(request, query, images=len(sent.sizes))
        services.inference.check_room(len(sent.sizes), resolved.explain)
        return await _explain(request, services.inference, resolved, sent.uploads, view)


async def explain_stored(request: Request, services: Services, query: StoredSaliencyQuery) -> Response:
    """Explain a sample of a data set."""
    resolved, stored = await run_sync(_plan_stored, services, query, limiter=services.planners)
    view = _view(request, query, images=1)
    with services.inference.memory.share() as share:
        read = partial(
            stored_images.read, request, stored, share, stores=services.stores, threads=services.planners
        )
        return await _explain(request, services.inference, resolved, read, view)


async def _explain(
    request: Request, inference: Inference, plan: Plan, read: ReadImages, view: View | None
) -> Response:
    """Carry out a plan, unless the client disconnects; `view` is the picture of a PNG, None for JSON.

    Raises `BadImage`, `Overloaded`, `InvalidInput`.
    """

    async def explained() -> Response:
        await loaded(request, inference, plan.pair)
        uploads = await read()
        await inference.check_method(plan.explain, images=len(uploads))
        seen = await inference.see(plan.pair, uploads, plan.explain)
        body = await inference.draw(partial(_written, plan, seen, view))
        return Response(body, media_type=JSON if view is None else PNG, headers=NOT_STORED)

    return await while_present(request, explained())


def _plan(services: Services, query: SaliencyQuery) -> Plan:
    with services.database.read() as session:
        return plan(session, services.inference, query)


def _plan_stored(services: Services, query: StoredSaliencyQuery) -> tuple[Plan, Stored]:
    with services.database.read() as session:
        resolved = plan(session, services.inference, query)
        return resolved, stored_images.find(session, resolved.model, query.dataset, query.sample)


def _view(request: Request, query: SaliencyQuery, *, images: int) -> View | None:
    """Return the view to answer with as PNG, or None to answer with JSON."""
    format = format_of(query, request.headers.get("accept", ""), images=images)
    return query.view if format == "png" else None


def _written(plan: Plan, seen: Seen, view: View | None) -> bytes:
    """Write the answer: one picture, or a `SaliencyAnswer` as JSON."""
    mapped = _mapped(plan, seen)
    if view is None:
        return describe(plan, mapped).model_dump_json().encode()
    return picture(mapped[0], view)


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


def format_of(query: SaliencyQuery, accept: str, *, images: int) -> SaliencyFormat:
    """Choose the format of the answer. Raises `InvalidInput` for a PNG of several images."""
    wanted: SaliencyFormat = "png" if preferred(accept, (JSON, PNG)) == PNG else "json"
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
