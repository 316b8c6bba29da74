"""Predictions with the reject option."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache, partial
from typing import Annotated, Any
from urllib.parse import parse_qsl

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from app.deps import CallerFirst, Predictor, Services, Serving, predictor
from app.http.etag import JSON
from app.inference import Share, Upload
from app.operations.problems_routes import problems
from app.predictions import service as predict
from app.predictions import stored_images as images
from app.predictions.admission import in_threads, loaded
from app.predictions.disconnect import while_present
from app.predictions.request_images import Sent
from app.predictions.schemas import PredictAnswer, PredictQuery, StoredPredictQuery
from masktune.contract.vocabulary import Scope as KeyScope

_PATH = "/predict"
Answerer = Callable[[Request, Exception], Awaitable[Response | None]]
"""Returns the response to an exception, or None if no handler takes it."""


class Direct:
    """`POST /predict` without FastAPI's router and solver, which cost more than a small network's pass.

    FastAPI documents the route, and answers every request whose query is not plainly well-formed.
    """

    def __init__(self, app: ASGIApp, answer: Answerer) -> None:
        self.app, self.answer = app, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = _query(scope)
        if query is None:
            return await self.app(scope, receive, send)
        scope["route"] = _ROUTE
        request = Request(scope, receive)
        try:
            services: Services = request.app.state.services
            caller = await predictor(request, services)
            response = await predict_uploaded(request, services, caller, query)
        except Exception as error:
            handled = await self.answer(request, error)
            if handled is None:
                raise
            response = handled
        await response(scope, receive, send)
        return None


def _query(scope: Scope) -> PredictQuery | None:
    """Return the query if `Direct` may answer the request, else None."""
    if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].endswith(_PATH):
        return None
    if scope["path"].removeprefix(scope.get("root_path", "")) != _PATH:
        return None
    return parsed(scope["query_string"])


@lru_cache(maxsize=1024)
def parsed(query: bytes) -> PredictQuery | None:
    """Parse the query string; None if FastAPI should report its faults."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    fields = dict(pairs)
    if len(fields) < len(pairs) or "" in fields.values():
        return None
    try:
        return PredictQuery.model_validate(fields)
    except ValidationError:
        return None


router = APIRouter(prefix=_PATH, tags=["predict"], route_class=CallerFirst)

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
        await loaded(request, services, plan.pair)
        upload = await images.read(request, services, stored, share)
        with in_threads(request):
            return await _answer(services, plan, query, [upload], deployed=False)

    with services.inference.memory.share() as share:
        return await while_present(request, answering(share))


async def predict_uploaded(
    request: Request, services: Serving, caller: Predictor, query: Annotated[PredictQuery, Query()]
) -> Response:
    with Sent(request, services) as sent:
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
_ROUTE = router.routes[-1]


def _plan(services: Services, query: PredictQuery) -> predict.Plan:
    with services.database.read() as session:
        return predict.plan(session, services, query)


def _plan_stored(services: Services, query: StoredPredictQuery) -> tuple[predict.Plan, images.Stored]:
    with services.database.read() as session:
        plan = predict.plan(session, services, query)
        return plan, images.find(session, plan.model, query.dataset, query.sample)


async def _answer_sent(
    request: Request, services: Services, query: PredictQuery, sent: Sent, plan: predict.Plan
) -> Response:
    async def answering() -> Response:
        return await _answer(services, plan, query, await sent.uploads(), deployed=True)

    async def once_loaded() -> Response:
        await loaded(request, services, plan.pair)
        with in_threads(request):
            return await answering()

    if services.inference.at_once(plan.pair, sent.sizes, predict.explanation(query)):
        return await answering()  # watching for a disconnect would take longer
    return await while_present(request, once_loaded())


async def _answer(
    services: Services,
    plan: predict.Plan,
    query: PredictQuery,
    uploads: Sequence[Upload],
    *,
    deployed: bool,
) -> Response:
    answer = await predict.predict(services, plan, query, uploads, deployed=deployed)
    return Response(answer, media_type=JSON)
