"""`/backbones`: the networks that a job may name."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.auth.deps import READER, CallerFirst
from app.http.etag import conditional
from app.http.pagination import DEFAULT_LIMIT, Cursor
from app.http.problems import problems
from app.http.responses import NOT_MODIFIED
from app.registry import backbones
from masktune.contract.base import Page
from masktune.contract.models import Backbone
from masktune.contract.vocabulary import WeightsPlace

router = APIRouter(prefix="/backbones", tags=["models"], route_class=CallerFirst)

MOST = 2000
"""The whole list in one page: each page costs the reading of all caches."""

NamePart = Annotated[
    str, Query(max_length=100, description="Part of the name, with or without the library: `timm/res`.")
]
Place = Annotated[WeightsPlace | None, Query(description="Only networks whose published weights are there.")]


@router.get(
    "",
    dependencies=[READER],
    response_model=Page[Backbone],
    summary="List the networks that a job may name, those with the nearest weights first",
    responses=NOT_MODIFIED | problems(422),
)
def list_backbones(
    request: Request,
    name: NamePart = "",
    weights: Place = None,
    limit: Annotated[int, Query(ge=1, le=MOST, description="Most entries in the page.")] = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    page = backbones.listing(name=name, weights=weights, cursor=cursor, limit=limit)
    return conditional(request, page)
