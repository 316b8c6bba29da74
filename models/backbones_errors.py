"""What can be wrong with a backbone. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

from models.errors import LearningError


class BackboneError(LearningError, ValueError):
    """A backbone that cannot be had.

    BackboneError
    ├── UnknownBackbone       no such name
    ├── UnsupportedBackbone   it exists, and cannot be split, or not at this image size
    └── WeightsUnavailable    its weights are out of reach, or belong to another network
    """


class UnknownBackbone(BackboneError):
    """No network of this name. `near` are names like it."""

    reason = "unknown_backbone"

    def __init__(self, name: str, near: Sequence[str]) -> None:
        hint = f"; near matches: {', '.join(near)}" if near else ""
        super().__init__(f"no backbone is called {name!r}{hint}")
        self.name, self.near = name, tuple(near)


class UnsupportedBackbone(BackboneError):
    """The network exists, and a saliency map of it cannot be made."""

    reason = "unsupported_backbone"


class WeightsUnavailable(BackboneError):
    """The weights cannot be fetched, read, or do not fit."""

    reason = "weights_unavailable"
