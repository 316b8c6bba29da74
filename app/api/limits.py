"""`/limits`: what a client may send, to be asked before it sends. No key: whoever may not know may try."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.answers import NOT_MODIFIED
from app.deps import Serving
from app.schemas.limits import Limits
from app.services.representation import conditional

router = APIRouter(tags=["service"])


@router.get("/limits", summary="How large what is sent may be", response_model=Limits, responses=NOT_MODIFIED)
async def limits(request: Request, services: Serving) -> Response:
    """Asked for before an upload, it saves sending what would be refused."""
    return conditional(request, Limits.model_validate(services.settings))
