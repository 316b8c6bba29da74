"""`/presets`: hyperparameters by name."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.auth.deps import READER, CallerFirst
from app.http.etag import conditional
from app.http.problems import problems
from app.http.responses import NOT_MODIFIED
from app.jobs import presets
from core.errors import NotFound
from masktune.contract.jobs import Preset, Presets

router = APIRouter(prefix="/presets", tags=["service"], route_class=CallerFirst)


@router.get("", dependencies=[READER], summary="List presets", response_model=Presets, responses=NOT_MODIFIED)
def list_presets(request: Request) -> Response:
    return conditional(request, Presets(data=list(presets.load().values())))


@router.get(
    "/{name}",
    dependencies=[READER],
    summary="Get a preset",
    response_model=Preset,
    responses=NOT_MODIFIED | problems(404),
)
def get_preset(request: Request, name: str) -> Response:
    preset = presets.load().get(name)
    if preset is None:
        raise NotFound("there is no such preset; GET /presets lists them")
    return conditional(request, preset)
