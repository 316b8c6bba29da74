"""Saliency maps on request, as numbers or as images with the resulting mask, in the order of a prediction:
plan → load → enter → read → forward → present."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from app.datasets.stores import Stores
from app.http.negotiation import preferred
from app.http.responses import JSON
from app.inference import SLOW_IMAGES, SLOW_METHODS, Explain, ForwardResult, Inference, Pair
from app.inference.backbones import check_method
from app.predictions import stored_images
from app.predictions.disconnect import cancel_on_disconnect
from app.predictions.presenter import data_uri, finite_rows
from app.predictions.request_images import RequestImages
from app.predictions.service import NOT_STORED
from app.predictions.stored_images import Stored
from app.registry import service as models
from app.registry.service import pair_of
from core.errors import InvalidInput
from core.queries import jobs
from core.session import Database
from core.settings import Settings
from core.tables import JobRow, ModelRow
from masktune.contract.hyperparameters import Fill, MaskingConfig
from masktune.contract.serving.predictions import (
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
class SaliencyPlan:
    """All that a map reads from the database.
    `share` decides the mask unless it is None, else `sigmas`; `fill` replaces what is masked.
    """

    model: ModelRow
    pair: Pair
    explain: Explain
    sigmas: float
    share: float | None
    fill: Fill


@dataclass(frozen=True)
class Mapped:
    """One image: `pixels` (S, S, 3) uint8, `heat` (h, w) raw, `mask` (S, S), class indices.

    `filled` are the pixels with those of the mask replaced.
    """

    pixels: NDArray[np.uint8]
    heat: NDArray[np.float32]
    mask: NDArray[np.bool_]
    filled: NDArray[np.uint8]
    label: int
    target: int

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height of the image where it is shown."""
        return pictures.legible_size(self.pixels)


def plan(session: Session, inference: Inference, query: SaliencyQuery) -> SaliencyPlan:
    """Resolve the model, the class and the mask rule. Raises for whatever is wrong with the query."""
    check_method(query.method, "?method")
    model = models.find(session, inference, query.model)
    target = None
    if query.target is not None:
        if query.target not in model.classes:
            raise InvalidInput.field(
                "?target", "unknown-class", f"model {model.id} has no class {query.target!r}"
            )
        target = model.classes.index(query.target)
    masking = _masking(session, model)
    return SaliencyPlan(
        model=model,
        # Without the ERM model, which maps do not need: one forward pass instead of two.
        pair=Pair(pair_of(session, model).model, None),
        explain=Explain(query.method, target),
        sigmas=masking.fixed_sigmas if query.sigmas is None else query.sigmas,
        share=masking.share if query.sigmas is None else None,
        fill=masking.fill,
    )


@dataclass(frozen=True)
class SaliencyService:
    """Explains images."""

    settings: Settings
    database: Database
    stores: Stores
    inference: Inference
    threads: CapacityLimiter
    """Those of predictions."""

    async def explain_uploaded(self, request: Request, query: SaliencyQuery) -> Response:
        """Explain the images in the body."""
        with RequestImages(request, self.settings, self.threads) as images:
            await images.receive()
            if query.method in SLOW_METHODS and len(images.sizes) > SLOW_IMAGES:
                raise InvalidInput.field(
                    "?method",
                    "too-many-images",
                    f"{query.method} takes at most {SLOW_IMAGES} images at a time",
                )
            resolved = await run_sync(self._plan, query, limiter=self.threads)
            view = _view(request, query, images=len(images.sizes))
            return await cancel_on_disconnect(request, self._explain_uploaded(resolved, images, view))

    async def explain_stored(self, request: Request, query: StoredSaliencyQuery) -> Response:
        """Explain a sample of a data set."""
        resolved, stored = await run_sync(self._plan_stored, query, limiter=self.threads)
        view = _view(request, query, images=1)
        return await cancel_on_disconnect(request, self._explain_stored(resolved, stored, view))

    async def _explain_uploaded(
        self, plan: SaliencyPlan, images: RequestImages, view: View | None
    ) -> Response:
        engine = await self.inference.engine(plan.pair)
        with self.inference.admitted(len(images.sizes), images.nbytes, plan.explain) as reservation:
            uploads = await images.uploads()
            forward = await self.inference.forward(engine, uploads, reservation, plan.explain)
            return await self._respond(plan, forward, view)

    async def _explain_stored(self, plan: SaliencyPlan, stored: Stored, view: View | None) -> Response:
        engine = await self.inference.engine(plan.pair)
        upload = await stored_images.read(
            stored, self.inference.admission, stores=self.stores, threads=self.threads
        )
        with self.inference.admitted(1, len(upload.content), plan.explain) as reservation:
            forward = await self.inference.forward(engine, [upload], reservation, plan.explain)
            return await self._respond(plan, forward, view)

    async def _respond(self, plan: SaliencyPlan, forward: ForwardResult, view: View | None) -> Response:
        """Draw the answer; `view` is the picture of a PNG, None for JSON."""
        body = await self.inference.draw(partial(_written, plan, forward, view))
        return Response(body, media_type=JSON if view is None else PNG, headers=NOT_STORED)

    def _plan(self, query: SaliencyQuery) -> SaliencyPlan:
        with self.database.read() as session:
            return plan(session, self.inference, query)

    def _plan_stored(self, query: StoredSaliencyQuery) -> tuple[SaliencyPlan, Stored]:
        with self.database.read() as session:
            resolved = plan(session, self.inference, query)
            return resolved, stored_images.find(session, resolved.model, query.dataset, query.sample)


def _view(request: Request, query: SaliencyQuery, *, images: int) -> View | None:
    """Return the view to answer with as PNG, or None to answer with JSON."""
    format = format_of(query, request.headers.get("accept", ""), images=images)
    return query.view if format == "png" else None


def _written(plan: SaliencyPlan, forward: ForwardResult, view: View | None) -> bytes:
    """Write the answer: one picture, or a `SaliencyAnswer` as JSON."""
    mapped = _mapped(plan, forward)
    if view is None:
        return describe(plan, mapped).model_dump_json().encode()
    return picture(mapped[0], view)


def describe(plan: SaliencyPlan, mapped: Sequence[Mapped]) -> SaliencyAnswer:
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
    accepted: SaliencyFormat = "png" if preferred(accept, (JSON, PNG)) == PNG else "json"
    format = query.format or accepted
    if format == "png" and images != 1:
        raise InvalidInput.field(
            "?format", "one-image", "a PNG shows one image; send one, or use format=json"
        )
    return format


def _mapped(plan: SaliencyPlan, forward: ForwardResult) -> list[Mapped]:
    from app.inference.images import (
        fill_masks,
        masked_pixels,
    )  # imports torch, which the engine has already loaded

    maps, targets = forward.scores.maps, forward.scores.targets
    assert maps is not None
    assert targets is not None
    masks = masked_pixels(maps, plan.model.image_size, sigmas=plan.sigmas, share=plan.share)
    filled = fill_masks(forward.squares, masks, plan.fill)
    labels = forward.scores.logits.argmax(1)
    return [
        Mapped(pixels.transpose(1, 2, 0), heat, mask, filled.transpose(1, 2, 0), int(label), int(target))
        for pixels, heat, mask, filled, label, target in zip(
            forward.squares, maps, masks, filled, labels, targets, strict=True
        )
    ]


def _masking(session: Session, model: ModelRow) -> MaskingConfig:
    """Return the masking of the job that made the model, or the defaults if it had none."""
    job = None if model.job_id is None else session.get(JobRow, model.job_id)
    if job is None:
        return MaskingConfig()
    return MaskingConfig.from_json(job.params.get("masking") or {}).with_chosen(jobs.chosen_sigmas(job))


VIEWS: dict[View, Callable[[Mapped], Image.Image]] = {
    "overlay": lambda image: pictures.overlay(image.pixels, image.heat),
    "image": lambda image: pictures.legible(image.pixels),
    "heatmap": lambda image: pictures.heatmap(image.heat, image.shown_size),
    "mask": lambda image: pictures.mask_layer(image.filled, image.mask, image.shown_size),
    "mask_outline": lambda image: pictures.mask_outline(image.mask, image.shown_size),
}
