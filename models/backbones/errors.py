"""Errors of backbones. Does not import torch."""

from __future__ import annotations

from collections.abc import Sequence

from models.errors import LearningError


class BackboneError(LearningError, ValueError):
    """A backbone cannot be built.

    BackboneError
    ├── UnknownBackbone       no such name
    ├── UnsupportedBackbone   it exists, but cannot be split, or not at this image size
    └── WeightsUnavailable    its weights cannot be fetched or read, or belong to another network
    """


class UnknownBackbone(BackboneError):
    """There is no network of this name. `near` lists similar names."""

    reason = "unknown_backbone"

    def __init__(self, name: str, near: Sequence[str]) -> None:
        hint = f"; near matches: {', '.join(near)}" if near else ""
        super().__init__(f"there is no backbone {name!r}{hint}")
        self.name, self.near = name, tuple(near)


class UnsupportedBackbone(BackboneError):
    """The network exists, but saliency maps cannot be computed for it."""

    reason = "unsupported_backbone"


class WeightsUnavailable(BackboneError):
    """The weights cannot be fetched or read, or do not fit."""

    reason = "weights_unavailable"
