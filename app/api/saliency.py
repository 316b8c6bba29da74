"""Saliency maps on request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from app.api.predict import IMAGE_BODY
from app.api.problems import problems
from app.deps import Predictor, Services, Serving
from app.inference import Upload
from app.schemas.saliency import SaliencyAnswer, SaliencyQuery, StoredSaliencyQuery
from app.services import images, saliency
from app.services.presence import while_present
from app.services.representation import JSON

router = APIRouter(prefix="/saliency", tags=["predict"])

PICTURE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The maps and pictures, or with `format=png` the picture of one.",
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get(
    "",
    response_model=SaliencyAnswer,
    summary="Where a model looks at a stored sample",
    responses=problems(404, 409, 422, 503) | PICTURE,
)
async def explain_stored(
    request: Request, services: Serving, caller: Predictor, query: Annotated[StoredSaliencyQuery, Query()]
) -> Response:
    plan, upload = await run_in_threadpool(_plan_stored, services, query)
    return await while_present(request, _answer(request, services, query, (plan, [upload])))


@router.post(
    "",
    response_model=SaliencyAnswer,
    summary="Where a model looks at uploaded images",
    responses=problems(404, 409, 413, 415, 422, 503) | PICTURE,
    openapi_extra=IMAGE_BODY,
)
async def explain_uploaded(
    request: Request, services: Serving, caller: Predictor, query: Annotated[SaliencyQuery, Query()]
) -> Response:
    uploads = await images.received(request, services.settings)
    plan = await run_in_threadpool(_plan, services, query)
    return await while_present(request, _answer(request, services, query, (plan, uploads)))


def _plan(services: Services, query: SaliencyQuery) -> saliency.Plan:
    with services.database.read() as session:
        return saliency.plan(session, query)


def _plan_stored(services: Services, query: StoredSaliencyQuery) -> tuple[saliency.Plan, Upload]:
    with services.database.read() as session:
        plan = saliency.plan(session, query)
        return plan, images.stored(session, services.stores, plan.model, query.dataset, query.sample)


async def _answer(
    request: Request,
    services: Services,
    query: SaliencyQuery,
    asked: tuple[saliency.Plan, Sequence[Upload]],
) -> Response:
    plan, uploads = asked
    format = saliency.format_of(query, request.headers.get("accept", ""), images=len(uploads))
    mapped = await saliency.explain(services, plan, uploads)
    if format == "png":
        return Response(
            await services.inference.draw(lambda: saliency.picture(mapped[0], query.view)),
            media_type=saliency.PNG,
        )
    answer = await services.inference.draw(lambda: saliency.describe(plan, mapped).model_dump_json())
    return Response(answer, media_type=JSON)
