"""`/dependents`: what needs something that may be deleted."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.auth.deps import READER, CallerFirst
from app.http.deps import Reading
from app.http.etag import conditional
from app.http.problems import problems
from app.http.responses import NOT_MODIFIED
from core.queries import registry
from masktune.contract.base import ModelRef
from masktune.contract.deletion import Dependents

router = APIRouter(tags=["service"], route_class=CallerFirst)


@router.get(
    "/dependents",
    dependencies=[READER],
    response_model=Dependents,
    summary="List what needs a data set, a model or a job, before it is deleted",
    responses=NOT_MODIFIED | problems(404, 422),
)
def get_dependents(
    request: Request,
    session: Reading,
    of: Annotated[ModelRef, Query(description="Id of a data set, a job or a model, or an alias.")],
) -> Response:
    return conditional(request, registry.dependents(session, of))
