"""Predictions with the reject option."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.deps import CallerFirst, Predictor, SamplePredictor, opened
from app.http.multipart import MULTIPART
from app.http.responses import BINARY, body_of, shape_of
from app.operations.problems_routes import problems
from app.predictions.service import PredictionService
from masktune.contract.predictions import Answer, ImageUpload, PredictQuery, StoredPredictQuery

router = APIRouter(prefix="/predict", tags=["predict"], route_class=CallerFirst)

IMAGE_BODY = body_of(
    "One image as the body, or several as files in a form, under any field names.",
    **{"image/*": {"schema": BINARY}, MULTIPART: shape_of(ImageUpload)},
)
Predictions = Annotated[PredictionService, opened("predictions")]


@router.get(
    "",
    response_model=Answer,
    summary="Predict a stored sample",
    responses=problems(404, 409, 422, 503),
)
async def predict_sample(
    request: Request,
    predictions: Predictions,
    caller: SamplePredictor,
    query: Annotated[StoredPredictQuery, Query()],
) -> Response:
    """Needs the scope `read` as well as `predict`: the answer may contain a picture of the sample."""
    return await predictions.predict_stored(request, query)


@router.post(
    "",
    response_model=Answer,
    summary="Predict uploaded images",
    responses=problems(404, 409, 413, 415, 422, 503),
    openapi_extra=IMAGE_BODY,
)
async def predict_images(
    request: Request, predictions: Predictions, caller: Predictor, query: Annotated[PredictQuery, Query()]
) -> Response:
    return await predictions.predict_uploaded(request, query)
