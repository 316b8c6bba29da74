"""Predictions with the reject option."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from app.deps import CallerFirst, Predictor
from app.operations.problems_routes import problems
from app.predictions import service
from app.predictions.schemas import PredictQuery, StoredPredictQuery
from app.services import Serving
from masktune.contract.predictions import Answer
from masktune.contract.vocabulary import Scope as KeyScope

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
    response_model=Answer,
    summary="Predict a stored sample",
    responses=problems(404, 409, 422, 503),
)
async def predict_stored(
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
async def predict_uploaded(
    request: Request, services: Serving, caller: Predictor, query: Annotated[PredictQuery, Query()]
) -> Response:
    return await service.predict_uploaded(request, services, query)
