"""Predictions with the reject option."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Request, Response

from app.deps import CallerFirst, Predictor
from app.http.etag import JSON
from app.inference import Share
from app.operations.problems_routes import problems
from app.predictions import service as predict
from app.predictions import stored_images as images
from app.predictions.admission import loaded
from app.predictions.disconnect import while_present
from app.predictions.request_images import Sent
from app.predictions.schemas import PredictAnswer, PredictQuery, StoredPredictQuery
from app.predictions.usage import UsageCounters
from app.services import Services, Serving
from masktune.contract.vocabulary import Scope as KeyScope

NOT_STORED = {"Cache-Control": "private, no-store"}
"""Headers of an answer: it depends on an alias, a calibration and the caller's key, and may show an image."""

router = APIRouter(prefix="/predict", tags=["predict"], route_class=CallerFirst)

IMAGE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One image as the body, or several as files in a form, under any field names.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}}
                    },
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


async def _may_see(caller: Predictor) -> None:
    caller.need(KeyScope.READ)


SEES_SAMPLES = Depends(_may_see)
"""The images returned for a stored sample show its pixels, so the caller also needs the scope to read it."""


@router.get(
    "",
    dependencies=[SEES_SAMPLES],
    response_model=PredictAnswer,
    summary="Predict a stored sample",
    responses=problems(404, 409, 422, 503),
)
async def predict_stored(
    request: Request, services: Serving, caller: Predictor, query: Annotated[StoredPredictQuery, Query()]
) -> Response:
    """Needs the scope `read` as well as `predict`: the answer may contain a picture of the sample."""
    plan, stored = await run_sync(_plan_stored, services, query, limiter=services.planners)

    async def answering(share: Share) -> Response:
        await loaded(request, services.inference, plan.pair)
        threads, stores = services.planners, services.stores
        upload = await images.read(request, stored, share, stores=stores, threads=threads)
        return _answer(await predict.predict(services.inference, plan, query, [upload]))

    with services.inference.memory.share() as share:
        return await while_present(request, answering(share))


async def predict_uploaded(
    request: Request, services: Serving, caller: Predictor, query: Annotated[PredictQuery, Query()]
) -> Response:
    share = services.inference.memory.share()
    with Sent(request, services.settings, share, services.planners) as sent:
        await sent.receive()
        services.inference.check_room(len(sent.sizes))
        read = partial(services.plans.get, query, partial(_plan, services, query))
        return await predict.answered(read, partial(_answer_sent, request, services, query, sent))


router.add_api_route(
    "",
    predict_uploaded,
    methods=["POST"],
    response_model=PredictAnswer,
    summary="Predict uploaded images",
    responses=problems(404, 409, 413, 415, 422, 503),
    openapi_extra=IMAGE_BODY,
)


def _plan(services: Services, query: PredictQuery) -> predict.Plan:
    with services.database.read() as session:
        return predict.plan(session, services.inference, services.artifacts, query)


def _plan_stored(services: Services, query: StoredPredictQuery) -> tuple[predict.Plan, images.Stored]:
    with services.database.read() as session:
        plan = predict.plan(session, services.inference, services.artifacts, query)
        return plan, images.find(session, plan.model, query.dataset, query.sample)


async def _answer_sent(
    request: Request, services: Services, query: PredictQuery, sent: Sent, plan: predict.Plan
) -> Response:
    async def answering() -> Response:
        await loaded(request, services.inference, plan.pair)
        uploads, counters = await sent.uploads(), UsageCounters(services.metrics, services.tally)
        return _answer(await predict.predict(services.inference, plan, query, uploads, counters=counters))

    return await while_present(request, answering())


def _answer(body: str) -> Response:
    return Response(body, media_type=JSON, headers=NOT_STORED)
