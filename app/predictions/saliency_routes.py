"""Saliency maps on request."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.auth.deps import PREDICTOR, SAMPLE_PREDICTOR
from app.http.problems import problems
from app.http.responses import query_of, sends
from app.http.validation import parse_query
from app.predictions.routes import IMAGE_BODY, PredictionRoute
from app.predictions.saliency import SaliencyService
from masktune.contract.predictions import SaliencyAnswer, SaliencyQuery, StoredSaliencyQuery

router = APIRouter(prefix="/saliency", tags=["predict"], route_class=PredictionRoute)

PICTURE = sends("image/png", description="The maps and pictures; with `format=png` one picture of one image.")


@router.get(
    "",
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
    "",
    dependencies=[PREDICTOR],
    response_model=SaliencyAnswer,
    summary="Show where a model looks in uploaded images",
    responses=problems(404, 409, 413, 415, 422, 503) | PICTURE,
    openapi_extra=query_of(SaliencyQuery) | IMAGE_BODY,
)
async def explain_images(request: Request) -> Response:
    service: SaliencyService = request.app.state.services.saliency
    return await service.explain_uploaded(request, parse_query(SaliencyQuery, request))
