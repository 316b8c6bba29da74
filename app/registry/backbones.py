"""The networks that a job may name, those whose weights are nearest first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from app.http import pagination
from app.inference.backbones import list_backbones
from masktune.contract.base import Page
from masktune.contract.models import Backbone
from masktune.contract.vocabulary import WeightsPlace

if TYPE_CHECKING:
    from models.backbones.build import ListedBackbone

_RANKS: Mapping[str, float] = {place: float(rank) for rank, place in enumerate(WeightsPlace)}


def listing(*, name: str, weights: WeightsPlace | None, cursor: str | None, limit: int) -> Page[Backbone]:
    """Return a page of the networks that meet both conditions, by place of the weights, then by name."""
    after = pagination.decode(cursor)
    rest = [
        network
        for network in map(_describe, list_backbones())
        if name in _full_name(network)
        and weights in (None, network.weights)
        and (after is None or _position(network) > after)
    ]
    rest.sort(key=_position)
    networks = rest[:limit]
    more = len(rest) > len(networks)
    return Page(data=networks, next_cursor=pagination.encode(*_position(networks[-1])) if more else None)


def _describe(listed: ListedBackbone) -> Backbone:
    return Backbone(
        name=listed.name,
        library=listed.library,
        weights=WeightsPlace(listed.weights),
        image_size=listed.image_size,
        weights_url=listed.url,
    )


def _full_name(network: Backbone) -> str:
    """Jobs may name the library where the plain name is enough, so `timm/tf_efficient` must match too."""
    return network.name if "/" in network.name else f"{network.library}/{network.name}"


def _position(network: Backbone) -> tuple[float, str]:
    return _RANKS[network.weights], network.name
