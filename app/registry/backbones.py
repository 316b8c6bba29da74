"""`/backbones`: the networks that a job may name, those whose weights are nearest first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request, Response

from app.auth.deps import READER, CallerFirst
from app.http.lists import DEFAULT_LIMIT, Cursor, decode, encode
from app.http.problems import problems
from app.http.responses import NOT_MODIFIED, conditional
from app.inference import backbones
from masktune.contract.base import Page
from masktune.contract.models import Backbone
from masktune.contract.vocabulary import WeightsPlace

if TYPE_CHECKING:
    from models.backbones.build import ListedBackbone

router = APIRouter(prefix="/backbones", tags=["models"], route_class=CallerFirst)

MOST = 3000
"""The whole list in one page: each page costs the reading of all caches."""


_RANKS: Mapping[str, float] = {place: float(rank) for rank, place in enumerate(WeightsPlace)}


@router.get(
    "",
    dependencies=[READER],
    response_model=Page[Backbone],
    summary="List the networks that a job may name, those with the nearest weights first",
    responses=NOT_MODIFIED | problems(422),
)
def list_backbones(
    request: Request,
    name: Annotated[
        str, Query(max_length=100, description="Part of the name, with or without the library: `timm/res`.")
    ] = "",
    weights: Annotated[
        WeightsPlace | None, Query(description="Only networks whose published weights are there.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MOST, description="Most entries in the page.")] = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    return conditional(request, listing(name=name, weights=weights, cursor=cursor, limit=limit))


def listing(*, name: str, weights: WeightsPlace | None, cursor: str | None, limit: int) -> Page[Backbone]:
    """Return a page of the networks that meet both conditions, by place of the weights, then by name."""
    after = decode(cursor)
    rest = [
        network
        for network in map(_describe, backbones.list_backbones())
        if name in _full_name(network)
        and weights in (None, network.weights)
        and (after is None or _position(network) > after)
    ]
    rest.sort(key=_position)
    networks = rest[:limit]
    more = len(rest) > len(networks)
    return Page(data=networks, next_cursor=encode(*_position(networks[-1])) if more else None)


def _describe(listed: ListedBackbone) -> Backbone:
    return Backbone(
        name=listed.name,
        library=listed.library,
        weights=WeightsPlace(listed.weights),
        image_size=listed.image_size,
        weights_url=listed.url,
        license=listed.license,
    )


def _full_name(network: Backbone) -> str:
    """Jobs may name the library where the plain name is enough, so `timm/tf_efficient` must match too."""
    return network.name if "/" in network.name else f"{network.library}/{network.name}"


def _position(network: Backbone) -> tuple[float, str]:
    return _RANKS[network.weights], network.name
