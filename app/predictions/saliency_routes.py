"""Saliency maps on request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request, Response

from app.deps import CallerFirst, Predictor
from app.http.etag import JSON
from app.inference import Inference, Share, Upload
from app.operations.problems_routes import problems
from app.predictions import saliency
from app.predictions import stored_images as images
from app.predictions.admission import loaded
from app.predictions.disconnect import while_present
from app.predictions.request_images import Sent
from app.predictions.routes import IMAGE_BODY, NOT_STORED, SEES_SAMPLES
from app.predictions.saliency_schemas import SaliencyAnswer, SaliencyQuery, StoredSaliencyQuery, View
from app.services import Services, Serving

router = APIRouter(prefix="/saliency", tags=["predict"], route_class=CallerFirst)

PICTURE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The maps and pictures; with `format=png` one picture of one image.",
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get(
    "",
    dependencies=[SEES_SAMPLES],
    response_model=SaliencyAnswer,
    summary="Show where a model looks in a stored sample",
    responses=problems(404, 409, 422, 503) | PICTURE,
)
async def explain_stored(
    request: Request, services: Serving, caller: Predictor, query: Annotated[StoredSaliencyQuery, Query()]
) -> Response:
    """Needs the scope `read` as well as `predict`: the pictures show the sample."""
    plan, stored = await run_sync(_plan_stored, services, query, limiter=services.planners)

    async def answering(share: Share) -> Response:
        view = _view(request, query, images=1)
        await loaded(request, services.inference, plan.pair)
        threads, stores = services.planners, services.stores
        upload = await images.read(request, stored, share, stores=stores, threads=threads)
        return await _answer(services.inference, plan, [upload], view)

    with services.inference.memory.share() as share:
        return await while_present(request, answering(share))


@router.post(
    "",
    response_model=SaliencyAnswer,
    summary="Show where a model looks in uploaded images",
    responses=problems(404, 409, 413, 415, 422, 503) | PICTURE,
    openapi_extra=IMAGE_BODY,
)
async def explain_uploaded(
    request: Request, services: Serving, caller: Predictor, query: Annotated[SaliencyQuery, Query()]
) -> Response:
    share = services.inference.memory.share()
    with Sent(request, services.settings, share, services.planners) as sent:
        await sent.receive()
        plan = await run_sync(_plan, services, query, limiter=services.planners)
        view = _view(request, query, images=len(sent.sizes))
        services.inference.check_room(len(sent.sizes), plan.explain)

        async def answering() -> Response:
            await loaded(request, services.inference, plan.pair)
            return await _answer(services.inference, plan, await sent.uploads(), view)

        return await while_present(request, answering())


def _plan(services: Services, query: SaliencyQuery) -> saliency.Plan:
    with services.database.read() as session:
        return saliency.plan(session, services.inference, query)


def _plan_stored(services: Services, query: StoredSaliencyQuery) -> tuple[saliency.Plan, images.Stored]:
    with services.database.read() as session:
        plan = saliency.plan(session, services.inference, query)
        return plan, images.find(session, plan.model, query.dataset, query.sample)


def _view(request: Request, query: SaliencyQuery, *, images: int) -> View | None:
    """Return the view to answer with as PNG, or None to answer with JSON."""
    format = saliency.format_of(query, request.headers.get("accept", ""), images=images)
    return query.view if format == "png" else None


async def _answer(
    inference: Inference, plan: saliency.Plan, uploads: Sequence[Upload], view: View | None
) -> Response:
    mapped = await saliency.explain(inference, plan, uploads)
    if view is not None:
        return Response(
            await inference.draw(lambda: saliency.picture(mapped[0], view)),
            media_type=saliency.PNG,
            headers=NOT_STORED,
        )
    answer = await inference.draw(lambda: saliency.describe(plan, mapped).model_dump_json())
    return Response(answer, media_type=JSON, headers=NOT_STORED)
