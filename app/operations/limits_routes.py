"""`/limits`: the size limits of requests. Needs no key, since the limits could be found by trying."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.http.deps import SettingsDep
from app.http.etag import conditional
from app.http.responses import NOT_MODIFIED
from masktune.contract.operations import Limits

router = APIRouter(tags=["service"])


@router.get("/limits", summary="Get the size limits", response_model=Limits, responses=NOT_MODIFIED)
async def get_limits(request: Request, settings: SettingsDep) -> Response:
    """Ask before an upload, to avoid sending what would be refused."""
    return conditional(request, Limits.model_validate(settings, from_attributes=True))
