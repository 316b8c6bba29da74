"""Saliency maps on request."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.deps import CallerFirst, Predictor, SamplePredictor, opened
from app.http.responses import sends
from app.operations.problems_routes import problems
from app.predictions.routes import IMAGE_BODY
from app.predictions.saliency import SaliencyService
from masktune.contract.predictions import SaliencyAnswer, SaliencyQuery, StoredSaliencyQuery

router = APIRouter(prefix="/saliency", tags=["predict"], route_class=CallerFirst)

SaliencyMaps = Annotated[SaliencyService, opened("saliency")]

PICTURE = sends("image/png", description="The maps and pictures; with `format=png` one picture of one image.")


@router.get(
    "",
    response_model=SaliencyAnswer,
    summary="Show where a model looks in a stored sample",
    responses=problems(404, 409, 422, 503) | PICTURE,
)
async def explain_sample(
    request: Request,
    saliency: SaliencyMaps,
    caller: SamplePredictor,
    query: Annotated[StoredSaliencyQuery, Query()],
) -> Response:
    """Needs the scope `read` as well as `predict`: the pictures show the sample."""
    return await saliency.explain_stored(request, query)


@router.post(
    "",
    response_model=SaliencyAnswer,
    summary="Show where a model looks in uploaded images",
    responses=problems(404, 409, 413, 415, 422, 503) | PICTURE,
    openapi_extra=IMAGE_BODY,
)
async def explain_images(
    request: Request, saliency: SaliencyMaps, caller: Predictor, query: Annotated[SaliencyQuery, Query()]
) -> Response:
    return await saliency.explain_uploaded(request, query)
