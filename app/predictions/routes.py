"""Predictions with the reject option."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from app.deps import CallerFirst, Predictor
from app.http.multipart import MULTIPART
from app.http.responses import BINARY, body_of, shape_of
from app.operations.problems_routes import problems
from app.predictions import service
from app.services import Serving
from masktune.contract.predictions import Answer, ImageUpload, PredictQuery, StoredPredictQuery
from masktune.contract.vocabulary import Scope as KeyScope

router = APIRouter(prefix="/predict", tags=["predict"], route_class=CallerFirst)

IMAGE_BODY = body_of(
    "One image as the body, or several as files in a form, under any field names.",
    **{"image/*": {"schema": BINARY}, MULTIPART: shape_of(ImageUpload)},
)


async def _may_see(caller: Predictor) -> None:
    caller.need(KeyScope.READ)


SEES_SAMPLES = Depends(_may_see)
"""The images returned for a stored sample show its pixels, so the caller also needs the scope to read it."""


@router.get(
    "",
    dependencies=[SEES_SAMPLES],
    response_model=Answer,
    summary="Predict a stored sample",
    responses=problems(404, 409, 422, 503),
)
async def predict_sample(
    request: Request, services: Serving, caller: Predictor, query: Annotated[StoredPredictQuery, Query()]
) -> Response:
    """Needs the scope `read` as well as `predict`: the answer may contain a picture of the sample."""
    return await service.predict_stored(request, services, query)


@router.post(
    "",
    response_model=Answer,
    summary="Predict uploaded images",
    responses=problems(404, 409, 413, 415, 422, 503),
    openapi_extra=IMAGE_BODY,
)
async def predict_images(
    request: Request, services: Serving, caller: Predictor, query: Annotated[PredictQuery, Query()]
) -> Response:
    return await service.predict_uploaded(request, services, query)
