"""Predictions with the reject option, and saliency maps on request."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from app.auth.deps import PREDICTOR, SAMPLE_PREDICTOR, CallerFirst
from app.http.multipart import MULTIPART
from app.http.problems import problems
from app.http.responses import BINARY, body_of, query_of, sends, shape_of
from app.http.validation import parse_query
from app.predictions.disconnect import cancel_on_disconnect
from app.predictions.saliency import SaliencyService
from app.predictions.service import PredictionService
from masktune.contract.serving.predictions import (
    Answer,
    ImageUpload,
    SaliencyAnswer,
    SaliencyQuery,
    StoredPredictQuery,
    StoredSaliencyQuery,
    UploadedPredictQuery,
)


class PredictionRoute(CallerFirst):
    """Route that calls its function with the request alone.
    FastAPI's dependencies take as much of the CPU as half of a small network's prediction. A prediction
    changes nothing: it has no entry in the audit log.
    """

    handle = APIRoute.handle

    def get_answer_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self.endpoint


router = APIRouter(tags=["predict"], route_class=PredictionRoute)

IMAGE_BODY = body_of(
    "One image as the body, or several as files in a form, under any field names.",
    **{"image/*": {"schema": BINARY}, MULTIPART: shape_of(ImageUpload)},
)
PICTURE = sends("image/png", description="The maps and pictures; with `format=png` one picture of one image.")


# In front: FastAPI tries the routes in order, and twice. It is 2.5 % of an answer's instructions.
@router.post(
    "/predict",
    dependencies=[PREDICTOR],
    response_model=Answer,
    summary="Predict uploaded images",
    responses=problems(404, 409, 413, 415, 422, 503),
    openapi_extra=query_of(UploadedPredictQuery) | IMAGE_BODY,
)
async def predict_images(request: Request) -> Response:
    service: PredictionService = request.app.state.services.predictions
    return await service.predict_uploaded(request, parse_query(UploadedPredictQuery, request))


@router.get(
    "/predict",
    dependencies=[SAMPLE_PREDICTOR],
    response_model=Answer,
    summary="Predict a stored sample",
    responses=problems(404, 409, 422, 503),
    openapi_extra=query_of(StoredPredictQuery),
)
async def predict_sample(request: Request) -> Response:
    """Needs the scope `read` as well as `predict`: the answer may contain a picture of the sample."""
    service: PredictionService = request.app.state.services.predictions
    query = parse_query(StoredPredictQuery, request)
    return await cancel_on_disconnect(request, service.predict_stored(query))


@router.get(
    "/saliency",
    dependencies=[SAMPLE_PREDICTOR],
    response_model=SaliencyAnswer,
    summary="Show where a model looks in a stored sample",
    responses=problems(404, 409, 422, 503) | PICTURE,
    openapi_extra=query_of(StoredSaliencyQuery),
)
async def explain_sample(request: Request) -> Response:
    """Needs the scope `read` as well as `predict`: the pictures show the sample."""
    service: SaliencyService = request.app.state.services.saliency
    return await service.explain_stored(request, parse_query(StoredSaliencyQuery, request))


@router.post(
    "/saliency",
    dependencies=[PREDICTOR],
    response_model=SaliencyAnswer,
    summary="Show where a model looks in uploaded images",
    responses=problems(404, 409, 413, 415, 422, 503) | PICTURE,
    openapi_extra=query_of(SaliencyQuery) | IMAGE_BODY,
)
async def explain_images(request: Request) -> Response:
    service: SaliencyService = request.app.state.services.saliency
    return await service.explain_uploaded(request, parse_query(SaliencyQuery, request))
